"""Figures of a whole study: how its optimum learnt, and which hyperparameters mattered."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bonehpo.report.figures.style import BLACK, BLUE, PHANTOM, SERIES, Drawn, Words, draw_figure, letter

Curve = npt.NDArray[np.floating]

PARTS = ("train", "validation", "test")
MEASURES = {"loss": "loss (nats)", "accuracy": "accuracy", "error_percent": "mean absolute error (% strain)"}


def learning_curves_figure(curves: Sequence[Mapping[str, Curve]], ran_on: str, folder: Path) -> Drawn | None:
    """Loss and accuracy (or error) of the optimum after each epoch, mean and spread over folds.

    Args:
        curves: For each fold arrays (epoch,) by name: `train_loss`, `validation_accuracy`, `test_loss` and so on.
        ran_on: "phantom" or "scans".
        folder: Where to draw.

    Returns:
        The figure; None where no fold has curves.
    """
    measures = [m for m in MEASURES if any(f"train_{m}" in fold for fold in curves)]
    if not measures:
        return None

    def paint(figure: Figure) -> None:
        grid = figure.subplots(1, len(measures), squeeze=False)[0]
        for i, (axes, measure) in enumerate(zip(grid, measures, strict=True)):
            _paint_curves(axes, curves, measure)
            letter(axes, i)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(PARTS))

    caption = Words(
        name="learning-curves",
        title="Learning curves of the optimum",
        caption=f"After each epoch, mean over n = {len(curves)} folds; bands are one standard deviation over folds. "
        "Training curves are running means over an epoch's augmented images."
        + (f" {PHANTOM}" if ran_on == "phantom" else ""),
    )
    return draw_figure(paint, caption, folder, height_mm=70)


def _paint_curves(axes: Axes, curves: Sequence[Mapping[str, Curve]], measure: str) -> None:
    for part, look in zip(PARTS, SERIES, strict=False):
        name = f"{part}_{measure}"
        found = [fold[name] for fold in curves if name in fold]
        if not found:
            continue
        n_epochs = min(len(curve) for curve in found)
        values = np.stack([curve[:n_epochs] for curve in found])
        epochs = np.arange(1, n_epochs + 1)
        mean, sd = values.mean(axis=0), values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(n_epochs)
        axes.fill_between(epochs, mean - sd, mean + sd, color=look.color, alpha=0.15, linewidth=0)
        axes.plot(epochs, mean, color=look.color, linestyle=look.dash, marker=look.marker, markersize=3, label=part)
    axes.set(xlabel="epoch", ylabel=MEASURES[measure])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def importance_figure(importances: Mapping[str, float], n_trials: int, ran_on: str, folder: Path) -> Drawn | None:
    """How much of the variation of the score each hyperparameter accounts for.

    Args:
        importances: Share of each hyperparameter, 0 to 1, as Optuna's evaluator says.
        n_trials: Complete trials that it saw.
        ran_on: "phantom" or "scans".
        folder: Where to draw.

    Returns:
        The figure; None where there is nothing to draw.
    """
    if not importances:
        return None
    ranked = sorted(importances.items(), key=lambda item: item[1])

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        places = range(len(ranked))
        axes.barh(places, [value for _, value in ranked], color="#8fbbdb", edgecolor=BLUE, height=0.6)
        for place, (_, value) in zip(places, ranked, strict=True):
            axes.text(value + 0.01, place, f"{value:.2f}", va="center", fontsize=7, color=BLACK)
        axes.set_yticks(places, [name.replace("_", " ") for name, _ in ranked])
        axes.set(
            xlabel="share of the variation of the score", xlim=(0, max(value for _, value in ranked) * 1.15 + 0.02)
        )

    few = " With fewer than 50 trials these shares are rough." if n_trials < 50 else ""
    caption = Words(
        name="importance",
        title="Importance of the hyperparameters",
        caption="Share of the variation of the score between trials that each hyperparameter accounts for, "
        f"n = {n_trials} complete trials.{few}" + (f" {PHANTOM}" if ran_on == "phantom" else ""),
    )
    return draw_figure(paint, caption, folder, height_mm=18 + 8 * len(ranked), width_mm=120)
