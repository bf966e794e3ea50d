"""A fit that never learnt is named stuck, and is offered another seed where study.toml says so."""

import dataclasses
import json
import math

import made_up_study
import numpy as np
import pytest
from commands import call
from tiny_study import LONG_ENOUGH, finish, plan_of

from bonehpo.config import Training
from bonehpo.domain import HoldoutPair
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.fits import (
    KNOWLEDGE,
    Curves,
    FitResult,
    Predictions,
    fit_path,
    is_stuck,
    load_answers,
    load_fit,
    restart_seed,
    save_fit,
)
from bonehpo.learning.fitting import run_fit
from bonehpo.search.plan import fold_records
from bonehpo.search.summary import summarise

LEARNS = Hyperparameters(layers=1, learning_rate=1e-2, kernel=3, batch=8)
DECAYS = dataclasses.replace(LEARNS, learning_rate=1e-4, weight_decay=1e4)
"""Each step takes all of every kernel away, so that no seed learns."""
ONE_UNIT = dataclasses.replace(LEARNS, dense_units=1)
"""About half of the seeds draw a hidden unit that no image wakes."""

DECAYING = LONG_ENOUGH.replace("learning_rate = [1e-4, 1e-2]", "learning_rate = [1e-4]\nweight_decay = [1e4]").replace(
    "learning_rate = 1e-2", "learning_rate = 1e-4\nweight_decay = 1e4"
)

LN_2 = math.log(2)
ALIKE, UNLIKE = np.full(6, 0.4, np.float32), np.linspace(0.3, 0.7, 6, dtype=np.float32)


def result_of(losses, output, task="damage", **more):
    """A made-up fit with this training loss by epoch, and these outputs on both held-out sets."""
    n, losses = len(output), np.array(losses, np.float32)
    told = Predictions(
        specimen=np.full(n, "TB5"),
        state=np.ones(n, np.int64),
        plane=np.full(n, "XY"),
        position=np.arange(n),
        truth=np.arange(n, dtype=np.float32) % 2,
        output=output,
    )
    held_out = np.zeros((2, len(losses)), np.float32)
    return FitResult(
        key="0" * 32,
        task=task,
        pair=HoldoutPair("TB5", "TB6"),
        seed=1,
        precision="float32",
        cpu_seconds=1.0,
        started_s=0.0,
        finished_s=1.0,
        epochs=(len(losses) - 1,) * 2,
        curves=Curves(losses, losses, held_out, held_out),
        predictions=(told, told),
        **more,
    )


@pytest.mark.parametrize(
    ("losses", "output", "stuck"),
    [
        ([LN_2 + 0.08, *[LN_2 + 0.001] * 7], ALIKE, True),
        ([LN_2 + 0.08, *[LN_2 + 0.001] * 7], UNLIKE, True),
        ([50.0] * 8, ALIKE, True),
        ([LN_2, 0.3, 0.3, *[LN_2] * 5], ALIKE, True),
        ([LN_2, 0.3, 0.3, *[LN_2] * 5], UNLIKE, False),
        ([1.5, 1.2, 1.0, 0.9, 0.85, 0.8, 0.78, 0.75], UNLIKE, False),
        ([*[LN_2] * 6, 0.6, 0.5], UNLIKE, False),
        ([LN_2, 0.3, 0.1, *[0.0] * 5], ALIKE, False),
        ([LN_2 - 0.9 * KNOWLEDGE] * 8, UNLIKE, True),
        ([LN_2 - 1.1 * KNOWLEDGE] * 8, UNLIKE, False),
        ([LN_2 + 0.9 * KNOWLEDGE] * 8, UNLIKE, True),
        ([LN_2 + 1.1 * KNOWLEDGE] * 8, UNLIKE, False),
        ([LN_2], UNLIKE, True),
        ([0.4], UNLIKE, False),
    ],
    ids=[
        "dead units",
        "answers that hardly differ",
        "saturated",
        "died late",
        "died late, tested by an early epoch",
        "too fast to learn, still falling",
        "learnt late",
        "learnt, and sure of all held-out slices",
        "just within below",
        "just learnt",
        "just within above",
        "just too noisy",
        "one epoch",
        "one epoch that learnt",
    ],
)
def test_a_fit_is_stuck_if_it_ends_without_having_learnt(losses, output, stuck):
    assert is_stuck(result_of(losses, output)) == stuck


def test_a_fit_of_strain_is_stuck_if_it_says_one_strain_for_all_slices():
    assert is_stuck(result_of([LN_2] * 8, ALIKE, task="strain"))
    assert is_stuck(result_of([0.1] * 8, ALIKE, task="strain"))
    assert not is_stuck(result_of([LN_2] * 8, UNLIKE, task="strain"))


def test_a_real_fit_is_stuck_if_its_kernels_vanish_and_is_not_if_it_learns(tmp_path):
    plan = plan_of(tmp_path, LONG_ENOUGH)
    dead, live = (run_fit(plan.task(choice, plan.pairs[0])) for choice in (DECAYS, LEARNS))
    assert (is_stuck(dead), is_stuck(live)) == (True, False)
    assert [fold.is_stuck for fold in (*fold_records(dead), *fold_records(live))] == [True, True, False, False]
    assert dead.restarts == live.restarts == 0


def test_a_stuck_fit_takes_other_seeds_until_they_are_used_up_and_the_last_stands(tmp_path):
    plan = plan_of(tmp_path, LONG_ENOUGH + "restarts = 2\n")
    task = plan.task(DECAYS, plan.pairs[0])
    found = run_fit(task)
    assert found.restarts == 2
    assert found.key == task.spec.key
    assert found.seed == restart_seed(task.spec.seed, 2)
    assert len({restart_seed(task.spec.seed, attempt) for attempt in range(3)}) == 3
    alone = run_fit(plan_of(tmp_path / "alone", LONG_ENOUGH).task(DECAYS, plan.pairs[0]))
    assert alone.seed == task.spec.seed == restart_seed(task.spec.seed, 0)
    assert found.cpu_seconds > alone.cpu_seconds


def with_seed(task, seed, restarts):
    training = dataclasses.replace(task.spec.training, restarts=restarts)
    return dataclasses.replace(task, spec=dataclasses.replace(task.spec, seed=seed, training=training))


def test_the_first_seed_that_learns_is_kept_with_its_network_and_is_not_computed_again(tmp_path):
    plan = plan_of(tmp_path, LONG_ENOUGH)
    task = plan.task(ONE_UNIT, plan.pairs[0])
    fits = {seed: run_fit(with_seed(task, seed, 0)) for seed in range(6)}
    again = {seed: run_fit(with_seed(task, restart_seed(seed, 1), 0)) for seed in fits if is_stuck(fits[seed])}
    saved = next(seed for seed, result in again.items() if not is_stuck(result))
    restarted = with_seed(plan.task(ONE_UNIT, plan.pairs[0], keep=True), saved, 2)
    found = run_fit(restarted)
    assert (found.restarts, found.seed, is_stuck(found)) == (1, restart_seed(saved, 1), False)
    assert np.array_equal(found.predictions[0].output, again[saved].predictions[0].output)
    assert {record.restarts for record in fold_records(found)} == {1}
    kept = load_answers(restarted.states)
    assert np.allclose(np.sort(kept.output[kept.held_out == 0]), np.sort(found.predictions[0].output), atol=1e-6)
    written = fit_path(task.fits, found.key).stat().st_mtime_ns
    resumed = run_fit(restarted)
    assert fit_path(task.fits, found.key).stat().st_mtime_ns == written
    assert (resumed.restarts, resumed.seed, resumed.cpu_seconds) == (1, found.seed, found.cpu_seconds)
    learnt = next(seed for seed, result in fits.items() if not is_stuck(result))
    same = run_fit(with_seed(task, learnt, 2))
    assert (same.restarts, same.seed) == (0, learnt)
    assert np.array_equal(same.predictions[0].output, fits[learnt].predictions[0].output)


def test_a_fit_of_before_is_read_and_judged(tmp_path):
    save_fit(result_of([LN_2] * 4, ALIKE), tmp_path)
    path = fit_path(tmp_path, "0" * 32)
    with np.load(path) as file:
        arrays = dict(file)
    head = json.loads(str(arrays["head"]))
    del head["restarts"]
    np.savez_compressed(path, **{**arrays, "head": np.array(json.dumps(head))})
    found = load_fit(tmp_path, "0" * 32)
    assert found.restarts == 0
    assert is_stuck(found)


def test_restarts_are_in_the_address_of_a_fit_only_where_there_are_any(tmp_path):
    plan = plan_of(tmp_path, LONG_ENOUGH)
    spec = plan.task(LEARNS, plan.pairs[0]).spec
    several = [
        dataclasses.replace(spec, training=Training(epochs=12, restarts=n, precision="float32")) for n in range(3)
    ]
    assert several[0].key == spec.key
    assert len({one.key for one in several}) == 3


def test_stuck_fits_are_counted_for_each_trial_and_the_optimum_and_shown(tmp_path, monkeypatch):
    plan = plan_of(tmp_path, DECAYING)
    finish(plan)
    found = summarise(plan)
    assert [row.n_stuck for row in found.trials] == [3, 3]
    assert found.optimum.n_stuck == 3
    best = found.estimates.trial
    sentence = (
        f"3 of 3 fits of the optimum with fresh seeds and 3 of 3 fits of trial {best} and 3 of 3 fits of trial {1 - best} "
        "are stuck: their training loss stayed at ln 2, or the same answer was given for every slice."
    )
    assert found.stuck_in_words == sentence
    monkeypatch.chdir(tmp_path)
    text = call("show", "--bone", "TB").output
    assert sentence in text
    assert text.count("complete; 3 of 3 fits stuck") == 2
    told = json.loads(call("show", "--bone", "TB", "--json").output)
    assert [row["n_stuck"] for row in told["trials"]] == [3, 3]
    assert told["optimum"]["n_stuck"] == 3


@pytest.mark.parametrize(
    ("task", "counts", "sentence"),
    [
        ("damage", {}, ""),
        ("damage", {3: 1}, "1 of 10 fits of trial 3 is stuck: its training loss stayed at ln 2, or"),
        ("strain", {3: 2}, "2 of 10 fits of trial 3 are stuck: the same answer was given for every slice."),
        (
            "damage",
            dict.fromkeys((3, 4, 5, 6, 7), 2),
            "fits of trial 5, 2 of 10 fits of trial 3, 2 of 10 fits of trial 4 and 2 more",
        ),
    ],
)
def test_stuck_fits_are_told_in_one_sentence(task, counts, sentence):
    study = made_up_study.study(task=task)
    trials = tuple(dataclasses.replace(row, n_stuck=counts.get(row.trial, 0)) for row in study.trials)
    told = dataclasses.replace(study, trials=trials).stuck_in_words
    assert sentence in told
    assert bool(told) == bool(counts)
