"""Whether softmax outputs are probabilities: the reliability curve, as trained and calibrated."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bonehpo.report.figures.style import BLACK, PALE, SERIES, Drawn, draw_figure, letter, pale, words
from bonehpo.results.record import Result


def calibration_figure(result: Result, folder: Path) -> Drawn:
    """Share of slices that failed against what was said of them, and how often what was said."""
    bins, folds = result.tables["bins"], result.tables["folds"]
    series = list(zip(SERIES, dict.fromkeys(bins["p"]), strict=False))

    def paint(figure: Figure) -> None:
        curve, counts = figure.subplots(1, 2, width_ratios=(1, 1.2))
        _paint_curve(curve)
        for i, (look, name) in enumerate(series):
            rows = bins[bins["p"] == name]
            curve.errorbar(
                rows["mean_p"], rows["failed"], yerr=rows["sd"].fillna(0), color=look.color, marker=look.marker,
                linestyle=look.dash, capsize=2, elinewidth=0.6, label=name,
            )  # fmt: skip
            counts.bar(
                (rows["lower"] + rows["upper"]) / 2 + (i - 0.5) * 0.04, rows["n_slices"] / rows["n_slices"].sum(),
                width=0.038, color=pale(look.color), edgecolor=look.color, hatch=look.hatch, label=name,
            )  # fmt: skip
        counts.set(xlabel="p(failed)", ylabel="share of slices", xlim=(0, 1), xticks=np.linspace(0, 1, 6))
        counts.legend()
        curve.legend(loc="upper left")
        letter(curve, 0)
        letter(counts, 1)

    caption = words(
        result,
        "calibration",
        "Whether p(failed) is a probability",
        f"(a) Share of test slices that were failed against the mean p(failed) of a bin, over n = {len(folds)} folds of "
        f"{folds['test'].nunique()} test sets, as trained and with the temperature fitted on the validation set of each "
        "fold; error bars are one standard deviation over test sets, on the line p(failed) is a probability.",
        "(b) How often each p(failed) was said.",
    )
    return draw_figure(paint, caption, folder, height_mm=75)


def _paint_curve(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=BLACK, linewidth=0.8)
    ends, ticks = (-0.03, 1.03), np.linspace(0, 1, 6)
    axes.set(xlabel="mean p(failed)", ylabel="share failed", xlim=ends, ylim=ends, xticks=ticks, yticks=ticks)
    axes.set_aspect("equal")
    axes.grid(color=PALE, linewidth=0.3)
