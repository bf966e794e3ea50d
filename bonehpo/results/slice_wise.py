"""The value of a leak: the optimum trained and tested on slices that were split at random, beside its own split.

Many papers split slices of the same specimens into training and test. Neighbouring slices of one bone look alike, so that
the accuracy is that of bones which the network knows.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bonehpo.analysis.comparison import Comparison, compare_by_set
from bonehpo.analysis.intervals import binomial_sd, mean_interval
from bonehpo.domain import Group, ProgressCallback
from bonehpo.engine import Engine
from bonehpo.folds import Sets
from bonehpo.learning.fits import FitResult
from bonehpo.results.finished import (
    Configuration,
    Findings,
    FinishedStudy,
    FittedConfiguration,
    fit_configurations,
    parameters_of,
)

NAME = "slice-wise"

SLICES = "slices"
"""The split of single slices, beside the names of splits by sets."""


def slice_wise_address(finished: FinishedStudy) -> str:
    """Content address of the comparison of splits by slices and by sets."""
    return finished.address(NAME)


def run_slice_wise(finished: FinishedStudy, engine: Engine, progress: ProgressCallback) -> Findings:
    """The optimum's hyperparameters on slices split at random, and in the split of the study, both with fresh seeds.

    Args:
        finished: The study.
        engine: Where fits run.
        progress: Told after every fit.

    Raises:
        StudyError: A fit on slices split at random diverged.
    """
    plan, own = finished.plan, finished.plan.split
    asked = [slice_wise_configuration(finished), replace(finished.optimum_configuration(), name=own)]
    fitted = {name: found.whole() for name, found in fit_configurations(asked, engine, progress).items()}
    by_set = {name: accuracy_by_set(found.fits, plan.sets) for name, found in fitted.items()}
    leak = compare_by_set(by_set[SLICES], by_set[own])
    splits = pd.DataFrame({"split": name, **_estimate(found)} for name, found in fitted.items())
    sets = pd.DataFrame(
        {"set": name, "accuracy": by_set[own][name], "accuracy_slice_wise": by_set[SLICES][name]} for name in plan.sets
    )
    folds = [
        {"split": name, "test": fold.test, "validation": fold.validation, "accuracy": fold.test_score}
        for name, found in fitted.items()
        for fold in found.folds
    ]
    return Findings(
        parameters={**parameters_of(finished.choice), "seed": plan.config.search.seed},
        metrics={
            **{f"accuracy/{name}": found.spread.mean for name, found in fitted.items()},
            **{key: float(getattr(leak, key)) for key in ("difference", "lower", "upper", "p")},
        },
        sentences=_sentences(splits, leak, finished.optimum.trial),
        tables={"splits": splits, "sets": sets, "folds": pd.DataFrame(folds)},
        configurations=list(fitted.values()),
    )


def slice_wise_configuration(finished: FinishedStudy) -> Configuration:
    """The optimum's hyperparameters on as many parts as the study has sets, one fit for each pair of them.

    Parts are of the size of the sets, in each class: training, validation and test hold as many slices as in the study.
    """
    groups = finished.plan.sets.values()
    plan = replace(finished.plan, sets={f"part-{i}": held for i, held in enumerate(groups, start=1)})
    tasks = (plan.task(finished.choice, pair, repeat=1) for pair in plan.pairs)
    seed = plan.config.search.seed
    return Configuration(
        name=SLICES,
        parameters={**parameters_of(finished.choice), "split": SLICES},
        tasks=tuple(replace(task, spec=replace(task.spec, slice_seed=seed)) for task in tasks),
    )


def accuracy_by_set(fits: Sequence[FitResult], sets: Sets) -> dict[str, float]:
    """Share of the slices of each set that are called right, whatever they were tested with.

    Args:
        fits: Which together test slices of all sets.
        sets: Set name to groups.
    """
    set_of = {group: name for name, groups in sets.items() for group in groups}
    answers = [predictions for fit in fits for predictions in fit.predictions]
    slices = pd.DataFrame(
        {
            "set": [set_of[Group(*named)] for p in answers for named in zip(p.specimen, p.plane, strict=True)],
            "right": np.concatenate([(p.output > 0.5) == (p.truth > 0.5) for p in answers]),
        }
    )
    return {str(name): float(share) for name, share in slices.groupby("set")["right"].mean().items()}


def _estimate(fitted: FittedConfiguration) -> Mapping[str, float]:
    """Mean over folds, and its interval over what was tested, parts or sets."""
    by_test = pd.DataFrame(list(fitted.folds)).groupby("test")["test_score"].mean().to_numpy(float)
    n_slices = np.mean([len(predictions.truth) for fit in fitted.fits for predictions in fit.predictions])
    interval = mean_interval(by_test, binomial_sd(float(by_test.mean()), float(n_slices)))
    return {
        "mean": fitted.spread.mean,
        "sd": fitted.spread.sd,
        "n_folds": len(fitted.folds),
        **interval._asdict(),
        "n_sets": len(by_test),
    }


def _sentences(splits: pd.DataFrame, leak: Comparison, trial: int) -> list[str]:
    slices, own = splits.to_dict("records")
    name = "mixed sets" if own["split"] == "mixed" else own["split"]
    if leak.lower > 0:
        verdict = "By so much a split of slices flatters: its networks know the bones that they are tested on."
    else:
        verdict = f"With {leak.n_sets} sets that is not told from nothing."
    said = [
        f"Apparent accuracy of trial {trial} on slices of all specimens split at random: {_told(slices)} parts), and split "
        f"by {name}: {_told(own)} sets), both with fresh seeds.",
        f"The leak is worth {leak.difference:.3f} ({leak.lower:.3f} to {leak.upper:.3f}, 95 %, over the slices of each of "
        f"n = {leak.n_sets} sets; p = {leak.p:.4g}, at least {leak.smallest_p:.4g}). {verdict}",
        "The interval over parts is of other slices of these bones, and says nothing of another bone.",
    ]
    return [text.replace("-0.", "−0.") for text in said]


def _told(row: Mapping[Hashable, Any]) -> str:
    return f"{row['mean']:.3f} ({row['lower']:.3f} to {row['upper']:.3f}, 95 %, n = {row['n_sets']}"
