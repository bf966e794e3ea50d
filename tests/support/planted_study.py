"""A study over fits that lie among the results beforehand, at their addresses, with the scores that a test wants.

Nothing is trained: a search of six trials takes seconds.
"""

import dataclasses

import numpy as np

from bonehpo.config import Search, Space, StudyConfig, StudyFolder
from bonehpo.engine import open_engine
from bonehpo.folds import specimen_sets
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.fits import Curves, FitResult, Predictions, load_fit, save_fit
from bonehpo.search.plan import FinishedPair, SearchPlan
from bonehpo.search.pruning import read_stop
from bonehpo.search.recorder import NullRecorder
from bonehpo.search.storage import load_study
from bonehpo.search.study import SearchOptions, run_search

SETS = ("TB5", "TB6", "TB9", "TB11", "TB12")
SPACE = Space(layers=(1, 2, 3), learning_rate=(1e-3,), kernel=(3, 5), batch=(8,))
BASELINE = Hyperparameters(layers=2, learning_rate=1e-3, kernel=3, batch=8)
N_IMAGES = 40
N_TRIALS = 6
"""With this seed: the baseline, bad, better, bad, bad, bad."""
MEAN = {(1, 3): 0.6, (1, 5): 0.6, (2, 3): 0.8, (2, 5): 0.8, (3, 3): 0.9, (3, 5): 0.5}
"""Accuracy of each choice of layers and kernel; the baseline is good, one choice is better."""


def plan_of(folder, **search):
    config = StudyConfig(bone="TB", space=SPACE, baseline=BASELINE, search=Search(sampler="random", seed=4, **search))
    return SearchPlan(
        folder=StudyFolder(folder / "TB"),
        config=config,
        store_id="ab" * 32,
        side=16,
        sets=specimen_sets(SETS, ("XY",)),
        n_images=dict.fromkeys(SETS, N_IMAGES),
        ran_on="phantom",
        storage=f"sqlite:///{folder}/optuna.db",
    )


def answers(accuracy, rng):
    """What a network says that is right for about this share of a set's slices."""
    truth = np.repeat([0, 1], N_IMAGES // 2).astype(np.float32)
    right = np.arange(N_IMAGES) < round(N_IMAGES * accuracy + rng.normal(0, 1.5))
    words = np.full(N_IMAGES, "TB5"), np.ones(N_IMAGES, np.int64), np.full(N_IMAGES, "XY"), np.arange(N_IMAGES)
    return Predictions(*words, truth, np.where(right, truth, 1 - truth).astype(np.float32))


def plant(plan, choice, repeat=0, luck=(0.0,) * 10):
    """Put the fits of a choice among the results, as if it had been trained; those of a repeat with their networks.

    `luck` is added to the accuracies of each pair.
    """
    rng = np.random.default_rng(choice.layers + 10 * choice.kernel + 100 * repeat)
    for pair, more in zip(plan.pairs, luck, strict=True):
        task = plan.task(choice, pair, repeat=repeat, keep=repeat > 0)
        mean = MEAN[choice.layers, choice.kernel] + more
        told = tuple(answers(mean - 0.05 * SETS.index(name), rng) for name in pair)
        right = np.array([[np.mean((p.output > 0.5) == p.truth)] for p in told], dtype=np.float32)
        one = np.zeros(1, np.float32)
        result = FitResult(
            key=task.spec.key,
            task="damage",
            pair=pair,
            seed=task.spec.seed,
            precision="float32",
            cpu_seconds=1.0,
            started_s=0.0,
            finished_s=1.0,
            epochs=(0, 0),
            curves=Curves(one, one, one.repeat(2).reshape(2, 1), right),
            predictions=told,
        )
        save_fit(result, task.fits)
        for file in (task.network, task.states):
            if file is not None:
                file.parent.mkdir(exist_ok=True)
                file.touch()


def plant_all(folder):
    """Put the fits of the whole space, and of every choice with fresh seeds, into a study's folder."""
    plan = plan_of(folder)
    for layers, kernel in MEAN:
        choice = dataclasses.replace(BASELINE, layers=layers, kernel=kernel)
        plant(plan, choice)
        plant(plan, choice, repeat=1)
    return plan.folder


def new_study(planted, folder, **search):
    plan = plan_of(folder, **search)
    plan.folder.optimum.mkdir(parents=True)
    plan.folder.fits.symlink_to(planted.fits)
    for network in planted.optimum.iterdir():
        (plan.folder.optimum / network.name).touch()
    return plan


class Tape(NullRecorder):
    """A recorder that remembers what it was told of trials."""

    def __init__(self, cut_at=None):
        self.told, self.folds, self.cut_at = {}, 0, cut_at

    def study(self, record):
        self.record = record

    def fold(self, trial_number, fold):
        self.folds += 1
        if self.folds == self.cut_at:
            raise KeyboardInterrupt

    def trial_finished(self, trial_number, summary):
        self.told[trial_number] = summary


def run(plan, n_trials=N_TRIALS, recorder=None, prune=True):
    with open_engine(0) as engine:
        options = SearchOptions(n_trials=n_trials, prune=prune)
        return run_search(plan, engine, recorder or NullRecorder(), options)


def study_of(plan):
    return load_study(plan.storage, "TB", plan.identity)


def mean_of(trial):
    return MEAN[trial.params["layers"], trial.params["kernel"]]


def mean_validation(pairs):
    return np.mean([fold.validation_score for pair in pairs for fold in pair.folds])


def verdicts(plan):
    return {trial.number: (trial.value, read_stop(trial), trial.params) for trial in study_of(plan).trials}


def pairs_of(plan, layers, kernel):
    choice = dataclasses.replace(BASELINE, layers=layers, kernel=kernel)
    found = {pair.label: load_fit(plan.folder.fits, plan.task(choice, pair).spec.key) for pair in plan.pairs}
    return {label: FinishedPair.of(result) for label, result in found.items()}
