"""The best of the fold models, and all the others (Shen et al. 2021, Fig 4c)."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from natsort import natsorted

from bonehpo.analysis.estimates import CHANCE
from bonehpo.report.figures.style import (
    BLACK,
    BLUE,
    GREY,
    PALE,
    SERIES,
    VERMILLION,
    Drawn,
    Series,
    draw_figure,
    letter,
    pale,
    short,
    words,
)
from bonehpo.results.record import Result

BARS = {
    "accuracy_failed": "failed",
    "accuracy_pristine": "pristine",
    "accuracy": "overall",
    "softmax_failed": "failed",
    "softmax_pristine": "pristine",
}


def best_fold_figure(result: Result, folder: Path) -> Drawn:
    """Accuracy and mean softmax output of the best fold model, and the test accuracy of every fold."""
    folds = result.tables["folds"]
    best = folds.iloc[0]
    tests = natsorted(set(folds["test"].astype(str)))

    def paint(figure: Figure) -> None:
        bars, dots = figure.subplots(1, 2, width_ratios=(1, 1.15))
        _paint_bars(bars, best)
        _paint_dots(dots, folds, tests)
        letter(bars, 0, "best fold")
        letter(dots, 1, "all folds")

    caption = words(
        result,
        "best-fold",
        "The best fold and all folds of the optimum",
        f"(a) Test set {best['test']}, validated on {best['validation']}, trained on {best['train']}: accuracy on its "
        "failed and pristine slices and on both, and the mean softmax output for the right class.",
        f"(b) Test accuracy of each of the n = {len(folds)} folds; the circled one is the best, upright lines are means of "
        "test sets. Being the best of many, (a) is not what to expect on another bone.",
    )
    return draw_figure(paint, caption, folder, height_mm=45 + 4.5 * len(tests))


def _paint_bars(axes: Axes, best: "pd.Series[float]") -> None:
    values = [float(best[name]) for name in BARS]
    places = (0, 1, 2, 3.6, 4.6)
    looks = (SERIES[1], SERIES[0], Series(GREY, "-", "", ""), SERIES[1], SERIES[0])
    for place, value, look in zip(places, values, looks, strict=True):
        axes.bar(place, value, width=0.75, color=pale(look.color), edgecolor=look.color, hatch=look.hatch, linewidth=1)
        axes.text(place, value + 0.015, f"{value:.3f}", ha="center", va="bottom", fontsize=7)
    axes.set_xticks(places, BARS.values())
    axes.set(ylim=(0, 1.12), ylabel="fraction", yticks=np.linspace(0, 1, 6))
    axes.plot([-0.5, 2.5], [CHANCE, CHANCE], color=BLACK, linestyle=":", linewidth=0.8)
    for middle, text in ((1, "accuracy"), (4.1, "mean softmax output")):
        axes.annotate(
            text,
            (middle, 0),
            xytext=(0, -22),
            textcoords="offset points",
            xycoords=("data", "axes fraction"),
            ha="center",
            va="top",
            annotation_clip=False,
        )


def _paint_dots(axes: Axes, folds: pd.DataFrame, tests: list[str]) -> None:
    for place, test in enumerate(tests):
        accuracies = folds.loc[folds["test"].astype(str) == test, "accuracy"].to_numpy()
        spread = np.linspace(-0.18, 0.18, len(accuracies)) if len(accuracies) > 1 else np.zeros(1)
        axes.plot(accuracies, place + spread, "o", color=BLUE, markersize=4, alpha=0.85, linestyle="")
        axes.plot([accuracies.mean()] * 2, [place - 0.33, place + 0.33], color=BLACK, linewidth=1.5)
        if test == str(folds["test"].iloc[0]):
            axes.plot(accuracies[0], place + spread[0], "o", mfc="none", mec=VERMILLION, mew=1.5, markersize=9)
    axes.axvline(CHANCE, color=PALE, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(tests)), [short(test) for test in tests])
    axes.set(xlabel="test accuracy", ylabel="test set", ylim=(len(tests) - 0.5, -0.5))
    axes.grid(axis="y", color=PALE, linewidth=0.3)
    axes.tick_params(axis="y", colors=GREY, labelcolor=BLACK)
