"""Accuracy of the optimum by plane and class: where damage shows, and which of the two classes is missed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bonehpo.analysis.comparison import compare_by_set
from bonehpo.domain import ProgressCallback
from bonehpo.engine import Engine
from bonehpo.learning.fits import FitResult
from bonehpo.results.finished import Findings, FinishedStudy, fit_configurations
from bonehpo.search.plan import fold_records
from bonehpo.task import DAMAGE

NAME = "by-plane"

BOTH = "both"
"""Pristine and failed slices together."""


def by_plane_address(finished: FinishedStudy) -> str:
    """Content address of the accuracy by plane and class."""
    return finished.address(NAME)


def run_by_plane(finished: FinishedStudy, engine: Engine, progress: ProgressCallback) -> Findings:
    """Accuracy of the optimum's fold models with fresh seeds in each plane and on each class.

    Args:
        finished: The study.
        engine: Where fits run.
        progress: Told after every fit.
    """
    fitted = fit_configurations([finished.optimum_configuration()], engine, progress)["optimum"].whole()
    sets = accuracies_by_plane(fitted.fits)
    planes = over_sets(sets)
    return Findings(
        parameters={},
        metrics={f"{row['plane']}/{row['label']}": float(row["accuracy"]) for row in planes.to_dict("records")},
        sentences=_sentences(sets, planes),
        tables={"planes": planes, "sets": sets},
    )


def accuracies_by_plane(fits: Sequence[FitResult]) -> pd.DataFrame:
    """Accuracy on each test set, in each plane, on each class, mean over the folds of the set.

    Args:
        fits: Of all holdout pairs of one configuration.

    Returns:
        Columns `test`, `plane`, `label` (pristine, failed, both), `accuracy`.
    """
    slices = pd.concat(
        [
            pd.DataFrame(
                {
                    "test": fold.scores.test,
                    "validation": fold.scores.validation,
                    "plane": fold.predictions.plane,
                    "label": np.array(DAMAGE.labels)[fold.predictions.truth.astype(int)],
                    "accuracy": (fold.predictions.output > 0.5) == (fold.predictions.truth > 0.5),
                }
            )
            for fit in fits
            for fold in fold_records(fit)
        ]
    )
    told = pd.concat([slices, slices.assign(label=BOTH)])
    folds = told.groupby(["test", "validation", "plane", "label"], sort=False)["accuracy"].mean().reset_index()
    return folds.groupby(["test", "plane", "label"], sort=False)["accuracy"].mean().reset_index()


def over_sets(sets: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over test sets.

    Args:
        sets: See `accuracies_by_plane`.

    Returns:
        Columns `plane`, `label`, `accuracy`, `sd`, `n_sets`; planes in the order of their names, both classes last.
    """
    found = sets.groupby(["plane", "label"])["accuracy"].agg(accuracy="mean", sd="std", n_sets="count").reset_index()
    order = {name: i for i, name in enumerate((*DAMAGE.labels, BOTH))}
    return found.sort_values(
        ["plane", "label"], key=lambda c: c.map(order) if c.name == "label" else c, ignore_index=True
    )


def _sentences(sets: pd.DataFrame, planes: pd.DataFrame) -> list[str]:
    both = planes[planes["label"] == BOTH]
    means = ", ".join(f"{plane} {mean:.3f}" for plane, mean in zip(both["plane"], both["accuracy"], strict=True))
    said = [f"Accuracy by plane: {means}."]
    if len(both) > 1:
        ranked = list(both.sort_values("accuracy", kind="stable")["plane"])
        best, worst = str(ranked[-1]), str(ranked[0])
        of_set = {
            plane: dict(zip(rows["test"], rows["accuracy"], strict=True))
            for plane, rows in sets[sets["label"] == BOTH].groupby("plane")
        }
        found = compare_by_set(of_set[best], of_set[worst])
        said.append(
            f"{best} is ahead of {worst} by {found.difference:.3f} ({found.lower:.3f} to {found.upper:.3f}, 95 %, "
            f"n = {found.n_sets} test sets); the widest difference of {len(both)} planes, picked after the fact."
        )
    right = planes.groupby("label")["accuracy"].mean()
    told = ", ".join(f"of {label} ones {right[label]:.3f}" for label in DAMAGE.labels)
    said.append(f"Share of slices that are called right, mean over planes: {told}.")
    return [text.replace("-0.", "−0.") for text in said]
