"""The best of the fold models, as the paper shows it (Fig 4): its architecture, its accuracies, its softmax outputs."""

import math
from collections.abc import Sequence

import pandas as pd

from bonehpo.domain import FoldScores, Hyperparameters, ProgressCallback
from bonehpo.engine import Engine
from bonehpo.results.finished import FinishedStudy, parameters_of
from bonehpo.results.fitting import FittedArm, fit_arms
from bonehpo.results.record import Result

NAME = "best-fold"


def best_fold_address(finished: FinishedStudy) -> str:
    """What the table of fold models is made from."""
    return finished.address(NAME)


def run_best_fold(finished: FinishedStudy, engine: Engine, progress: ProgressCallback) -> Result:
    """Table of the optimum's fold models with fresh seeds, the best first, and of its layers."""
    arm = fit_arms([finished.optimum_arm()], engine, progress)["optimum"]
    folds = ranked(arm)
    best = folds[0]
    table = pd.DataFrame(_row(fold, tuple(finished.plan.sets)) for fold in folds)
    choice = finished.choice
    return finished.result(
        NAME,
        "explanation",
        best_fold_address(finished),
        parameters={**parameters_of(choice), "test": best.test, "validation": best.validation},
        metrics={"best_accuracy": best.test_score, "mean_accuracy": arm.spread.mean, **best.details},
        sentences=[
            f"The best of {len(folds)} fold models tests {best.test} (validation {best.validation}): accuracy "
            f"{best.test_score:.3f}; the mean of all is {arm.spread.mean:.3f} ± {arm.spread.sd:.3f}. The best fold was "
            "chosen by its test accuracy: it shows how a network works, and not how well networks do."
        ],
        tables={"folds": table, "layers": layers_table(choice, finished.plan.side)},
    )


def layers_table(choice: Hyperparameters, side: int) -> pd.DataFrame:
    """The layers of a network from input to output; flat layers have no height and width."""
    from bonehpo.learning.networks import build_network, layer_table  # imports TensorFlow, which takes seconds

    rows = layer_table(build_network(layers=choice.layers, kernel=choice.kernel, side=side))
    shapes = [(*(math.nan,) * (3 - len(row.shape)), *row.shape) for row in rows]
    return pd.DataFrame(
        {
            "name": row.name,
            "kind": row.kind,
            "height": shape[0],
            "width": shape[1],
            "channels": shape[2],
            "parameters": row.n_parameters,
        }
        for row, shape in zip(rows, shapes, strict=True)
    )


def ranked(arm: FittedArm) -> list[FoldScores]:
    """Folds of an arm by test accuracy, the surer of equals first."""
    return sorted(arm.folds, key=_merit, reverse=True)


def _merit(fold: FoldScores) -> tuple[float, float]:
    return fold.test_score, fold.details["softmax_pristine"] + fold.details["softmax_failed"]


def _row(fold: FoldScores, sets: Sequence[str]) -> dict[str, object]:
    return {
        "test": fold.test,
        "validation": fold.validation,
        "train": " ".join(name for name in sets if name not in (fold.test, fold.validation)),
        "accuracy": fold.test_score,
        **fold.details,
    }
