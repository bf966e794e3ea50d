"""The search: trial after trial under full nested cross-validation, resumable at every finished fit.

What was finished is in Optuna's storage and among the fits before anything else is told. A search that was stopped, by a
signal or a power cut, goes on with the same call at the first missing pair of the trial that it was at.
"""

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from typing import NamedTuple

import optuna
import pandas as pd
from optuna.trial import TrialState

from bonehpo.analysis.estimates import choose_optimum
from bonehpo.config import plain
from bonehpo.domain import Hyperparameters
from bonehpo.engine import DeadlinePassed, Engine, Outcome
from bonehpo.errors import EngineError, FitError, StudyError
from bonehpo.learning.architecture import count_parameters
from bonehpo.learning.fits import CODE_VERSION, FitResult, FitTask, find_fit, run_fit
from bonehpo.search.facts import optimum_facts, replay_trial, study_facts, trial_summary
from bonehpo.search.interrupts import HeldInterrupts
from bonehpo.search.objective import FinishedPair, SearchPlan, fold_facts, objective
from bonehpo.search.optimum import Optimum, folds_table, hyperparameters, network_path, read_optimum
from bonehpo.search.recorder import FoldFacts, Recorder
from bonehpo.search.space import candidates, check_space, make_sampler, suggest
from bonehpo.search.storage import OPTIMUM, REASON, Driver, RecordedTrial, open_storage, open_study, record_pair

logger = logging.getLogger(__name__)


class SearchProgress(NamedTuple):
    """Where a search is.

    Attributes:
        trial: Number of the trial at work, from 0; None while the optimum is fitted again.
        n_trials: Trials that the study shall have.
        fit: Fits of it that are finished.
        n_fits: Fits that it takes.
        best: Highest mean accuracy of a complete trial so far; NaN before the first.
        seconds_left: Estimate from the fits trained so far; NaN before the first.
        choice: Its hyperparameters.
    """

    trial: int | None
    n_trials: int
    fit: int
    n_fits: int
    best: float
    seconds_left: float
    choice: Hyperparameters


class SearchOutcome(NamedTuple):
    """How a call of `run_search` ended: finished trials of how many wanted, and whether the optimum is fitted again."""

    n_complete: int
    n_failed: int
    n_trials: int
    has_optimum: bool


def run_search(
    plan: SearchPlan,
    engine: Engine,
    recorder: Recorder,
    n_trials: int,
    *,
    timeout_s: float | None = None,
    progress: Callable[[SearchProgress], None] = lambda _: None,
) -> SearchOutcome:
    """Search until the study has `n_trials` trials, then fit the optimum again with fresh seeds.

    Args:
        plan: What is searched, on what.
        engine: Where fits run.
        recorder: Who writes down what is found.
        n_trials: Trials that the study shall have in all, those of earlier calls included.
        timeout_s: Stop after this time; within a trial too. The next call goes on.
        progress: Told after every fit.

    Raises:
        StudyError: Storage or store do not fit, or the disk is full.
        NetworkError: The space holds an architecture that cannot be built.
        StoreError: The store is damaged.
    """
    check_space(plan.config, plan.side)
    storage = open_storage(plan.storage)
    before = _count_trials(storage, plan.folder.name)
    study = open_study(storage, plan.folder.name, _identity(plan), make_sampler(plan.config, before))
    with HeldInterrupts() as interrupts, Driver(plan.folder) as driver:
        with driver.alone():
            n_trials = _enqueue(study, plan, n_trials)
        search = _Search(plan, study, engine, recorder, interrupts, n_trials, timeout_s, progress)
        recorder.study(study_facts(plan, study))
        try:
            for trial in study.get_trials(deepcopy=False):
                if trial.state.is_finished():  # killed between storage and record, or MLflow was out
                    replay_trial(plan, trial, recorder)
            complete = search.run(driver)
        except BaseException:
            recorder.interrupted()
            raise
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    return SearchOutcome(states.count(TrialState.COMPLETE), states.count(TrialState.FAIL), n_trials, complete)


def _count_trials(storage: optuna.storages.RDBStorage, name: str) -> int:
    counts = [s.n_trials for s in optuna.get_all_study_summaries(storage) if s.study_name == name]
    return counts[0] if counts else 0


def _identity(plan: SearchPlan) -> dict[str, str]:
    """What must stay as it is while a study lasts: the store, and all that changes a score or a proposal."""
    config = plain(plan.config)
    settings = {
        f"{table}.{key}": json.dumps(value)
        for table in ("split", "space", "baseline", "training")
        for key, value in config[table].items()
    }
    search = plan.config.search
    return {
        "store": plan.store_id,
        "code": str(CODE_VERSION),
        **settings,
        "search.sampler": search.sampler,
        "search.seed": str(search.seed),
    }


def _enqueue(study: optuna.Study, plan: SearchPlan, n_trials: int) -> int:
    """Put the candidates that are fixed beforehand in line, once each; how many trials there can be."""
    known = {json.dumps(t.system_attrs.get("fixed_params"), sort_keys=True) for t in study.get_trials(deepcopy=False)}
    fixed = candidates(plan.config, n_trials)
    for choice in fixed:
        params = dataclasses.asdict(choice)
        if json.dumps(params, sort_keys=True) not in known:
            study.enqueue_trial(params)
    return n_trials if plan.config.protocol == "adaptive" else min(n_trials, len(fixed))


class _Search:
    """The state of one call of `run_search`."""

    def __init__(
        self,
        plan: SearchPlan,
        study: optuna.Study,
        engine: Engine,
        recorder: Recorder,
        interrupts: HeldInterrupts,
        n_trials: int,
        timeout_s: float | None,
        progress: Callable[[SearchProgress], None],
    ) -> None:
        self.plan, self.study, self.engine, self.recorder = plan, study, engine, recorder
        self.interrupts, self.n_trials, self.tell = interrupts, n_trials, progress
        self.started = time.monotonic()
        self.deadline = None if timeout_s is None else self.started + timeout_s
        self.n_trained = 0

    def run(self, driver: Driver) -> bool:
        """Trials until there are enough, then the optimum. True when it is fitted; False when time ran out before."""
        try:
            while (trial := driver.next_trial(self.study, self.n_trials)) is not None:
                self.run_trial(trial)
            return self.fit_optimum()
        except DeadlinePassed:
            self.recorder.interrupted()
            return False

    def run_trial(self, trial: optuna.Trial) -> None:
        """Fit the missing pairs of a trial, and tell Optuna its value or why it has none."""
        choice = suggest(trial, self.plan.config.space)
        number = trial.number
        frozen = self.study.get_trials(deepcopy=False)[number]
        done = dict(RecordedTrial.of(frozen).pairs)
        replay_trial(self.plan, frozen, self.recorder)
        tasks = [self.plan.task(choice, pair) for pair in self.plan.pairs if pair.label not in done]
        self._report(number, choice, len(done))

        def keep(task: FitTask, result: FitResult) -> None:
            done[task.spec.pair.label] = FinishedPair.of(result)
            record_pair(trial, task.spec.pair, done[task.spec.pair.label])
            for fold in fold_facts(result):
                self.recorder.fold(number, fold)
            self._report(number, choice, len(done))

        try:
            self._fit(tasks, keep)
        except (FitError, EngineError) as error:
            if isinstance(error, DeadlinePassed):
                raise
            trial.set_user_attr(REASON, str(error))
            frozen = self.study.tell(trial, state=TrialState.FAIL)
        else:
            folds = [fold for pair in self.plan.pairs for fold in done[pair.label].folds]
            frozen = self.study.tell(trial, objective(folds))
        self.recorder.trial_finished(number, trial_summary(frozen, [f for pair in done.values() for f in pair.folds]))

    def _fit(self, tasks: Sequence[FitTask], keep: Callable[[FitTask, FitResult], None]) -> None:
        """Take what is among the fits, train the rest; hand each result to `keep` as it comes."""
        missing = []
        for task in tasks:
            found = find_fit(task)
            if found is not None:
                keep(task, found)
            else:
                missing.append(task)
        with closing(self.engine.run(run_fit, missing, self.deadline)) as outcomes:
            while (outcome := self._next(outcomes)) is not None:
                result = _result(outcome.error) if outcome.error is not None else outcome.result()
                self.n_trained += 1
                keep(outcome.task, result)

    def _next(self, outcomes: Iterator[Outcome[FitTask, FitResult]]) -> Outcome[FitTask, FitResult] | None:
        with self.interrupts.window():
            return next(outcomes, None)

    def fit_optimum(self) -> bool:
        """Choose the optimum and fit it again with fresh seeds, keeping its networks."""
        folds = folds_table(self.study)
        if folds.empty:
            return False
        rule, side = self.plan.config.search.optimum, self.plan.side
        trials = {t.number: t for t in self.study.get_trials(deepcopy=False)}
        choices = {int(n): hyperparameters(trials[int(n)].params) for n in folds["trial"].unique()}
        number = choose_optimum(
            folds, rule, {n: count_parameters(c.layers, c.kernel, side) for n, c in choices.items()}
        )
        results: dict[str, FitResult] = {}

        def keep(task: FitTask, result: FitResult) -> None:
            results[task.spec.pair.label] = result
            self._report(None, choices[number], len(results))

        self._report(None, choices[number], 0)
        networks = self.plan.folder.optimum / str(number)
        self._fit(
            [self.plan.task(choices[number], p, repeat=1, network=network_path(networks, p)) for p in self.plan.pairs],
            keep,
        )
        optimum = Optimum(
            trial=number,
            rule=rule,
            n_trials=len(choices),
            keys={label: result.key for label, result in results.items()},
            chosen=datetime.now().astimezone().isoformat(timespec="seconds"),
        )
        self._record_optimum(optimum, choices[number], folds, results)
        return True

    def _record_optimum(
        self, optimum: Optimum, choice: Hyperparameters, folds: pd.DataFrame, results: dict[str, FitResult]
    ) -> None:
        known = read_optimum(self.study)
        if known is not None and dataclasses.replace(known, chosen=optimum.chosen) == optimum:
            optimum = known
        else:
            self.study.set_user_attr(OPTIMUM, json.dumps(dataclasses.asdict(optimum)))
        refit: list[FoldFacts] = [f for pair in self.plan.pairs for f in fold_facts(results[pair.label])]
        self.recorder.optimum(optimum_facts(optimum, choice, folds, refit), refit)

    def _report(self, trial: int | None, choice: Hyperparameters, fit: int) -> None:
        n_fits = len(self.plan.pairs)
        complete = [t for t in self.study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
        later = 0 if trial is None else max(self.n_trials - trial - 1, 0) + 1  # the optimum's own fits are the last
        fits_left = later * n_fits + n_fits - fit
        elapsed = time.monotonic() - self.started
        self.tell(
            SearchProgress(
                trial=trial,
                n_trials=self.n_trials,
                fit=fit,
                n_fits=n_fits,
                best=max((float(t.value or 0.0) for t in complete), default=float("nan")),
                seconds_left=elapsed / self.n_trained * fits_left if self.n_trained else float("nan"),
                choice=choice,
            )
        )


def _result(error: BaseException) -> FitResult:
    if isinstance(error, OSError):
        raise StudyError(
            f"a result could not be written: {error.strerror or error}: free space in the study folder and run the same "
            "command again; nothing finished is lost"
        ) from error
    raise error
