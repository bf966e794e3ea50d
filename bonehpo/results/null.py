"""The null check: the same procedure on labels that mean nothing. What it still finds is not there."""

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from bonehpo.analysis.comparison import Interval, mean_interval
from bonehpo.analysis.estimates import CHANCE, NestedEstimate, nested_accuracy, trial_estimates
from bonehpo.domain import Hyperparameters, ProgressCallback
from bonehpo.engine import Engine
from bonehpo.errors import StudyError
from bonehpo.results.finished import FinishedStudy, parameters_of
from bonehpo.results.fitting import Arm, FittedArm, fit_arms
from bonehpo.results.record import Result
from bonehpo.search.space import candidates

NAME = "null"

DEFAULT_TRIALS = 8


def null_address(finished: FinishedStudy, n_trials: int = DEFAULT_TRIALS) -> str:
    """What the null check is made from."""
    return finished.address(NAME, n_trials)


def run_null(
    finished: FinishedStudy, engine: Engine, progress: ProgressCallback, n_trials: int = DEFAULT_TRIALS
) -> Result:
    """Search a short list of candidates on permuted labels, and estimate as for a real study.

    A specimen's two labels are exchanged, or not, by the toss of a coin: what is learnt from others then says nothing of it.

    Args:
        finished: Of the study.
        engine: Where fits run.
        progress: Told after every fit.
        n_trials: Candidates of a quasi-random sequence, the baseline first.

    Raises:
        StudyError: Too few candidates can be fitted, or there are too few specimens to permute.
    """
    swapped = swapped_specimens(finished.store.specimens, finished.plan.config.search.seed)
    arms = [_arm(finished, choice, swapped) for choice in _choices(finished, n_trials)]
    fitted = [arm for arm in fit_arms(arms, engine, progress).values() if arm.fits]
    if len(fitted) < 2:
        raise StudyError("the null check needs two candidates that can be fitted: give it more trials")
    folds = _folds_table(fitted)
    nested = nested_accuracy(folds)
    honest = mean_interval(np.array(list(nested.by_set.values())))
    best = max(trial_estimates(folds), key=lambda e: e.mean)
    naive = mean_interval(folds.loc[folds["trial"] == best.trial, "test_score"].to_numpy(float))
    return finished.result(
        NAME,
        "explanation",
        null_address(finished, n_trials),
        parameters={"swapped": " ".join(swapped), "trials": len(fitted)},
        metrics={"nested_accuracy": nested.mean, "paper_accuracy": best.mean},
        sentences=[
            f"With permuted labels (exchanged on {', '.join(swapped)}) the nested accuracy of {len(fitted)} candidates is "
            f"{nested.mean:.3f} ({honest.lower:.3f} to {honest.upper:.3f}, n = {len(nested.by_set)} sets).",
            _honest_verdict(honest),
            f"The best candidate's own accuracy is {best.mean:.3f} ({naive.lower:.3f} to {naive.upper:.3f}, were its "
            f"{len(fitted[best.trial].folds)} folds independent). {_naive_verdict(naive)}",
        ],
        tables={"trials": _trials_table(fitted), "sets": _sets_table(nested)},
        arms=fitted,
    )


def swapped_specimens(specimens: Sequence[str], seed: int) -> tuple[str, ...]:
    """Specimens whose labels are exchanged: a coin is tossed for each, again while all or none are.

    Raises:
        StudyError: There are fewer than two.
    """
    if len(specimens) < 2:
        raise StudyError("labels can be permuted among two specimens or more")
    generator = np.random.default_rng([seed, len(specimens)])
    tossed = np.zeros(len(specimens), bool)
    while tossed.all() or not tossed.any():
        tossed = generator.random(len(specimens)) < 0.5
    return tuple(name for name, heads in zip(specimens, tossed, strict=True) if heads)


def _honest_verdict(interval: Interval) -> str:
    if interval.lower > CHANCE:
        return "Caution: that is above chance although the labels mean nothing: scores of this study leak."
    if interval.upper < CHANCE:
        return "That is below chance: networks learn from the others what is wrong here. It is no leak."
    return f"It covers chance ({CHANCE}), as it must."


def _naive_verdict(interval: Interval) -> str:
    if interval.lower > CHANCE:
        return "That is above chance, although there is nothing to be found: the best of many flatters."
    return "Here the best of them does not flatter by much."


def _choices(finished: FinishedStudy, n_trials: int) -> tuple[Hyperparameters, ...]:
    config = finished.plan.config
    listed = replace(config, search=replace(config.search, sampler="quasi-random"))
    return candidates(listed, n_trials)[:n_trials]


def _arm(finished: FinishedStudy, choice: Hyperparameters, swapped: tuple[str, ...]) -> Arm:
    plan, parameters = finished.plan, parameters_of(choice)
    tasks = (plan.task(choice, pair) for pair in plan.pairs)
    return Arm(
        name=", ".join(f"{name} {value}" for name, value in parameters.items()),
        parameters=parameters,
        tasks=tuple(replace(task, spec=replace(task.spec, swapped=swapped)) for task in tasks),
    )


def _folds_table(fitted: Sequence[FittedArm]) -> pd.DataFrame:
    return pd.DataFrame({"trial": i, **asdict(fold)} for i, arm in enumerate(fitted) for fold in arm.folds)


def _trials_table(fitted: Sequence[FittedArm]) -> pd.DataFrame:
    return pd.DataFrame(
        {"trial": i, **arm.arm.parameters, "mean": arm.spread.mean, "sd": arm.spread.sd, "n_folds": len(arm.folds)}
        for i, arm in enumerate(fitted)
    )


def _sets_table(nested: NestedEstimate) -> pd.DataFrame:
    return pd.DataFrame(
        {"test": name, "chosen": nested.chosen[name], "accuracy": accuracy} for name, accuracy in nested.by_set.items()
    )
