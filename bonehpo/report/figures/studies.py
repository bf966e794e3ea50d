"""Figures of a whole study: how its optimum learnt, and which hyperparameters mattered."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bonehpo.domain import Task, shown
from bonehpo.report.figures.style import (
    BLACK,
    BLUE,
    PHANTOM,
    SERIES,
    VERMILLION,
    Drawn,
    Words,
    draw_figure,
    letter,
    pale,
)
from bonehpo.search.recorder import FoldFacts
from bonehpo.search.summary import StudySummary

Curve = npt.NDArray[np.floating]

PARTS = ("train", "validation", "test")
MEASURES: Mapping[Task, Mapping[str, str]] = {
    "damage": {"loss": "loss (nats)", "accuracy": "accuracy"},
    "strain": {"loss": "loss (% strain)²", "error_percent": "mean absolute error (% strain)"},
}
"""What is shown of each task, and what its axis is called."""


def learning_curves_figure(folds: Sequence[FoldFacts], ran_on: str, folder: Path) -> Drawn | None:
    """Loss and accuracy (or error) of the optimum after each epoch, mean and spread over folds.

    Args:
        folds: Of the optimum, as they are recorded.
        ran_on: "phantom" or "scans".
        folder: Where to draw.

    Returns:
        The figure; None where there is no fold.
    """
    if not folds:
        return None
    measures = MEASURES[folds[0].task]
    curves = [shown(fold.curves, fold.task) for fold in folds]

    def paint(figure: Figure) -> None:
        grid = figure.subplots(1, len(measures), squeeze=False)[0]
        for i, (axes, (measure, label)) in enumerate(zip(grid, measures.items(), strict=True)):
            _paint_curves(axes, curves, measure)
            axes.set_ylabel(label)
            letter(axes, i)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(PARTS))

    caption = Words(
        name="learning-curves",
        title="Learning curves of the optimum",
        caption=f"After each epoch, mean over n = {len(folds)} folds; bands are one standard deviation over folds. "
        "Training curves are running means over an epoch's augmented images. Validation and test coincide: one network "
        "serves the folds (i, j) and (j, i), and each set is as often the one as the other."
        + (f" {PHANTOM}" if ran_on == "phantom" else ""),
    )
    return draw_figure(paint, caption, folder, height_mm=70)


def _paint_curves(axes: Axes, curves: Sequence[Mapping[str, Curve]], measure: str) -> None:
    for part, look in zip(PARTS, SERIES, strict=False):
        name = f"{part}_{measure}"
        values = np.stack([fold[name] for fold in curves])
        epochs = np.arange(1, values.shape[1] + 1)
        mean = values.mean(axis=0)
        sd = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros_like(mean)
        axes.fill_between(epochs, mean - sd, mean + sd, color=look.color, alpha=0.15, linewidth=0)
        axes.plot(epochs, mean, color=look.color, linestyle=look.dash, marker=look.marker, markersize=3, label=part)
    axes.set(xlabel="epoch")
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
        axes.barh(places, [value for _, value in ranked], color=pale(BLUE), edgecolor=BLUE, height=0.6)
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


def trials_figure(study: StudySummary, folder: Path) -> Drawn | None:
    """The score of every complete trial beside what the nested estimate leaves of the best one.

    Args:
        study: Whose trials.
        folder: Where to draw.

    Returns:
        The figure; None before a trial is complete.
    """
    rows = [row for row in study.trials if row.mean_score is not None]
    if not rows or study.estimates is None:
        return None
    found = study.estimates
    ((measure, means),) = shown({"score": np.array([row.mean_score for row in rows])}, study.task).items()
    nested = next(iter(shown({"score": found.nested_score}, study.task).values()))
    numbers, sds = [row.trial for row in rows], [row.sd or 0 for row in rows]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.errorbar(numbers, means, yerr=sds, color=BLUE, marker="o", linestyle="", elinewidth=0.6, label="mean ± sd")
        best = numbers.index(found.trial)
        axes.plot(
            numbers[best],
            means[best],
            "*",
            color=VERMILLION,
            mec=BLACK,
            mew=0.5,
            markersize=10,
            label="best trial",
            zorder=5,
        )
        axes.axhline(nested, color=BLACK, linestyle="--", linewidth=0.9, label="nested estimate")
        axes.set(xlabel="trial", ylabel="test accuracy" if measure == "accuracy" else "mean absolute error (% strain)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[-1:] + handles[:-1], labels[-1:] + labels[:-1], loc="outside upper center", ncols=3)

    caption = Words(
        name="trials",
        title="All trials",
        caption=f"Mean over the folds of each of n = {len(rows)} complete trials; error bars are one standard deviation "
        f"over n = {found.n_folds} folds. The best trial's mean was maximised, the nested estimate was not."
        + (f" {PHANTOM}" if study.ran_on == "phantom" else ""),
    )
    return draw_figure(paint, caption, folder, height_mm=62)
