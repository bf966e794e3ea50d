"""Accuracy against one hyperparameter at a time (Shen et al. 2021, Fig 3)."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from bonehpo.analysis.estimates import CHANCE
from bonehpo.report.figures.style import (
    BLACK,
    BLUE,
    GREY,
    PALE,
    VERMILLION,
    Drawn,
    count_text,
    draw_figure,
    letter,
    rows_of,
    span_text,
    words,
)
from bonehpo.results.record import Result

AXES = {
    "layers": "convolution layers",
    "learning_rate": "learning rate",
    "kernel": "side of the first kernel (pixels)",
    "batch": "batch (images)",
}
"""Hyperparameters in the order of the paper's panels, and what their axes are called."""


LABELS = ("mean ± sd", "baseline", "optimum's value", "failed")


def sweep_figure(result: Result, folder: Path) -> Drawn:
    """One panel for each hyperparameter: mean ± sd over folds, the optimum's value, the baseline, and points that failed."""
    points = result.tables["points"]
    optima = result.tables["optima"]
    swept = optima[optima["by"] == "sweep"]
    optimum = None if swept.empty else swept.iloc[0]

    def paint(figure: Figure) -> None:
        panels = figure.subplots(2, 2, sharey=True).ravel()
        for i, (axes, (parameter, label)) in enumerate(zip(panels, AXES.items(), strict=True)):
            _panel(axes, points, parameter, None if optimum is None else float(optimum[parameter]))
            axes.set_xlabel(label)
            letter(axes, i)
        for axes in panels[::2]:
            axes.set_ylabel("test accuracy")
        handles = {h.get_label(): h for axes in panels for h in axes.get_legend_handles_labels()[0]}
        shown = [label for label in LABELS if label in handles]
        figure.legend([handles[label] for label in shown], shown, loc="outside upper center", ncols=len(shown))

    n_folds = {int(n) for n in points.loc[points["mean"].notna(), "n_folds"]} or {0}
    failed = points[points["mean"].isna()]
    title = "Accuracy against one hyperparameter at a time"
    caption = words(
        result,
        "sweep",
        title,
        f"Mean test accuracy; error bars are one standard deviation over folds ({span_text(n_folds, 'folds')}).",
        "All other hyperparameters are those of the baseline (open circle).",
        _optimum_text(optimum),
        _failed_text(failed),
        "Dotted: chance.",
    )
    return draw_figure(paint, caption, folder, height_mm=115)


def _panel(axes: Axes, points: pd.DataFrame, parameter: str, chosen: float | None) -> None:
    series = points[points["parameter"] == parameter].sort_values("value")
    good, bad = series[series["mean"].notna()], series[series["mean"].isna()]
    axes.axhline(CHANCE, color=PALE, linestyle=":", linewidth=1)
    sd = good["sd"].fillna(0)
    axes.errorbar(
        good["value"], good["mean"], yerr=sd, color=BLUE, marker="o", capsize=2, elinewidth=0.7, label=LABELS[0]
    )
    baseline = good[_is_baseline(points, good)]
    star = good[np.isclose(good["value"], chosen)] if chosen is not None else good.iloc[:0]
    circle: dict[str, Any] = {"marker": "o", "mfc": "white", "mec": BLUE, "mew": 1.2, "markersize": 6}
    axes.plot(baseline["value"], baseline["mean"], linestyle="", label=LABELS[1], zorder=5, **circle)
    pentagram: dict[str, Any] = {"marker": "*", "color": VERMILLION, "mec": BLACK, "mew": 0.5, "markersize": 10}
    axes.plot(star["value"], star["mean"], linestyle="", label=LABELS[2], zorder=6, **pentagram)
    if not bad.empty:
        cross: dict[str, Any] = {"marker": "x", "color": GREY, "mew": 1.5, "markersize": 6}
        foot = axes.get_xaxis_transform()
        axes.plot(bad["value"], [0.04] * len(bad), linestyle="", label=LABELS[3], transform=foot, **cross)
    _scale(axes, parameter, series)


def _scale(axes: Axes, parameter: str, series: pd.DataFrame) -> None:
    if parameter == "learning_rate":
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: decade_text(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xticks(sorted({int(value) for value in series["value"]}))


def decade_text(value: float) -> str:
    """A power of ten as axes name it.

    Examples:
        >>> decade_text(1e-4)
        '10⁻⁴'
    """
    digits = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return f"10{str(round(math.log10(value))).translate(digits)}"


def _is_baseline(points: pd.DataFrame, rows: pd.DataFrame) -> "pd.Series[bool]":
    """Which of these points all series share."""
    names = list(AXES)
    n_series = points.groupby(names)["parameter"].nunique()
    shared = n_series[n_series == points["parameter"].nunique()].index
    return pd.Series([tuple(row) in shared for row in rows[names].to_numpy()], index=rows.index, dtype=bool)


def _optimum_text(optimum: "pd.Series[float] | None") -> str:
    if optimum is None:
        return "No optimum was chosen."
    return (
        f"Stars mark the values of the optimum: {count_text(int(optimum['layers']), 'layer')}, learning rate "
        f"{optimum['learning_rate']:g}, kernel {int(optimum['kernel'])}, batch {int(optimum['batch'])}, together "
        f"{optimum['mean']:.3f} ± {optimum['sd']:.3f}."
    )


def _failed_text(failed: pd.DataFrame) -> str:
    if failed.empty:
        return ""
    points = "; ".join(
        f"{row.parameter.replace('_', ' ')} {row.value:g} ({row.reason or 'not fitted'})" for row in rows_of(failed)
    )
    return f"Crosses have no mean: {points}."
