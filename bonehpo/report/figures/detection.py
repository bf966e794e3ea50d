"""From which load on damage is seen (Shen et al. 2021, Fig 5b, 5c, 6b, 6c)."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bonehpo.analysis.detection import THRESHOLD, Anomaly, anomalies
from bonehpo.report.figures.charts import ACCURACY_RANGE
from bonehpo.report.figures.heat_maps import state_text
from bonehpo.report.figures.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    SERIES,
    bare,
    draw_figure,
    letter,
    pt,
    rows_of,
    span_text,
    words,
)
from bonehpo.results.result import Drawn, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = (
    ("accuracy_pristine", "pristine", SERIES[2]),
    ("accuracy_loaded", "loaded, labelled failed", SERIES[1]),
    ("accuracy", "overall", SERIES[0]),
)


def best_fold_detection_figure(result: Result, folder: Path) -> Drawn | None:
    """Accuracy of the best fold model on pristine slices, on those of each load state, and on both. None without one."""
    states = result.tables["states"]
    best = states[states["best"]].sort_values("state")
    if best.empty:
        return None
    test = str(best["test"].iloc[0])
    limits = result.tables["limits"]
    own = limits[(limits["of"].astype(str) == test) & (limits["axis"] == "state")]

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        for name, label, look in LINES:
            axes.plot(best["state"], best[name], color=look.color, linestyle=look.dash, marker=look.marker, label=label)
        for limit in own["limit"][np.isfinite(own["limit"])]:
            _mark_limit(axes, limit, f"{limit:.1f}")
        _label_states(axes, best["state"])
        axes.set_ylabel("accuracy")
        figure.legend(loc="outside upper center", ncols=3)

    caption = words(
        result,
        "detection-best-fold",
        "Detection by the best fold model",
        f"Test set {test}, validated on {best['validation'].iloc[0]}, the best of all folds by its test accuracy and so "
        "not what to expect: accuracy on its pristine slices, on the slices of "
        f"each load state labelled failed, and the mean of both ({span_text(set(best['n_slices']), 'slices')} a state).",
        "In the pristine state loaded slices are the pristine ones, so that the overall accuracy is 0.5 by construction.",
        _limit_text(own, best["state"]),
        paper="Fig 5b, 6b",
    )
    return draw_figure(paint, caption, folder, height_mm=72, width_mm=120)


def detection_figure(result: Result, folder: Path) -> Drawn:
    """Mean accuracy over all folds against state and, where known, strain, with the detection limit and anomalies."""
    states, mean, limits = (result.tables[name] for name in ("states", "mean", "limits"))
    found = anomalies(mean, _visible_from(result))
    axes_shown = ["state", "strain"] if mean["strain"].notna().sum() > 1 else ["state"]

    def paint(figure: "Figure") -> None:
        for i, (axes, along) in enumerate(
            zip(figure.subplots(1, len(axes_shown), squeeze=False)[0], axes_shown, strict=True)
        ):
            _paint_mean(axes, result, along, found)
            letter(axes, i, "" if len(axes_shown) == 1 else f"against {along}")
            if i == 0:
                axes.set_ylabel("overall accuracy")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=5 if len(axes_shown) > 1 else 3)

    of_all = limits[limits["of"] == "all"]
    caption = words(
        result,
        "detection",
        "Detection over all folds",
        "Overall accuracy (mean of pristine slices and slices of a state labelled failed), mean over "
        f"{span_text(set(mean['n_sets']), 'test sets')} and their n = {len(states.groupby(['test', 'validation']))} folds; "
        "the band is the 95 % interval of the mean over test sets, thin lines are single test sets.",
        _limit_text(of_all, mean["state"]),
        _anomaly_text(found),
    )
    return draw_figure(paint, caption, folder, height_mm=75, width_mm=180 if len(axes_shown) > 1 else 120)


def _visible_from(result: Result) -> float | None:
    """The first state with visible damage, where it is known."""
    text = result.parameters.get("visible_from", "")
    return float(text) if text.isdigit() else None


def _paint_mean(axes: "Axes", result: Result, along: str, found: tuple[Anomaly, ...]) -> None:
    states, mean, limits = (result.tables[name] for name in ("states", "mean", "limits"))
    factor = 100 if along == "strain" else 1
    by_set = states.groupby(["test", "state"])[["strain", "accuracy"]].mean().reset_index()
    for k, (_, rows) in enumerate(by_set.groupby("test")):
        axes.plot(
            factor * rows[along],
            rows["accuracy"],
            color=GREY,
            linewidth=0.5,
            alpha=0.7,
            label="" if k else "one test set",
        )
    rows = mean.dropna(subset=[along]).sort_values(along)
    axes.fill_between(
        factor * rows[along], rows["lower"], rows["upper"], color=BLUE, alpha=0.2, linewidth=0, label="95 % interval"
    )
    axes.plot(factor * rows[along], rows["accuracy"], color=BLUE, marker="o", label="mean over test sets")
    threshold = float(limits["threshold"].iloc[0]) if len(limits) else THRESHOLD
    axes.axhline(threshold, color=BLACK, linestyle=":", linewidth=0.8)
    _shade(axes, rows, along, factor, found)
    for limit in rows_of(limits[(limits["of"] == "all") & (limits["axis"] == along)]):
        _mark_interval(axes, factor * limit.limit, factor * limit.lower, factor * limit.upper, threshold)
    if along == "state":
        _label_states(axes, mean["state"])
    else:
        axes.set(xlabel="apparent strain (%)", ylim=ACCURACY_RANGE)


def _shade(axes: "Axes", rows: pd.DataFrame, along: str, factor: int, found: tuple[Anomaly, ...]) -> None:
    """Shade each anomalous state half-way to its neighbours."""
    places = factor * rows[along].to_numpy(np.float64)
    edges = np.concatenate([places[:1], (places[1:] + places[:-1]) / 2, places[-1:]])
    states = rows["state"].to_numpy()
    for k, anomaly in enumerate(found):
        for i in np.flatnonzero(states == anomaly.state):
            axes.axvspan(
                edges[i], edges[i + 1], facecolor=ORANGE, alpha=0.25, hatch="////", edgecolor=GREY, linewidth=0,
                label="" if k else "anomaly", zorder=0,
            )  # fmt: skip


def _mark_interval(axes: "Axes", limit: float, lower: float, upper: float, height: float) -> None:
    if not math.isfinite(limit):
        return
    right = axes.get_xlim()[1]
    if math.isfinite(lower):
        end = upper if math.isfinite(upper) else right
        axes.plot([lower, end], [height, height], color=BLACK, linewidth=2.2, solid_capstyle="butt")
        if not math.isfinite(upper):
            axes.plot([end], [height], marker=">", color=BLACK, markersize=5, clip_on=False)
    axes.plot([limit], [height], marker="D", color="white", mec=BLACK, mew=1.2, linestyle="", label="detection limit")
    axes.annotate(
        f"{limit:.1f}", (limit, height), xytext=(-5, 5), textcoords="offset points", ha="right", fontsize=pt(7)
    )


def _mark_limit(axes: "Axes", limit: float, text: str) -> None:
    axes.axvline(limit, color=GREY, linestyle=(0, (2, 2)), linewidth=1)
    axes.annotate(
        f"limit {text}",
        (limit, 0.02),
        xytext=(3, 0),
        textcoords="offset points",
        fontsize=pt(7),
        color=GREY,
        va="bottom",
    )


def _label_states(axes: "Axes", states: "pd.Series[float]") -> None:
    axes.set(xlabel="load state", ylim=ACCURACY_RANGE)
    numbers = sorted({int(state) for state in states})
    axes.set_xticks(numbers if len(numbers) <= 20 else numbers[::2])


def _limit_text(limits: pd.DataFrame, states: "pd.Series[float]") -> str:
    """Text of the limit; a curve that is above the threshold at every loaded state of `states` shows none."""
    first_loaded = sorted(set(states))[1:2]
    if any(row.axis == "state" and [row.limit] == first_loaded for row in rows_of(limits)):
        return f"The accuracy is {limits['threshold'].iloc[0]:g} or more at every loaded state: no limit is to be seen."
    parts = []
    for row in rows_of(limits):
        factor, unit = (100, " % strain") if row.axis == "strain" else (1, "")
        where = "at" if row.axis == "strain" else "at state"
        if not math.isfinite(row.limit):
            parts.append(f"not reached ({row.axis})")
            continue
        span = ""
        if math.isfinite(row.lower):
            upper = f"{factor * row.upper:.1f}" if math.isfinite(row.upper) else "none"
            span = f" (95 % interval {factor * row.lower:.1f} to {upper})"
        parts.append(f"{where} {factor * row.limit:.1f}{unit}{span}")
    if not parts:
        return ""
    threshold = float(limits["threshold"].iloc[0])
    return f"Detection limit, where the accuracy falls below {threshold:g}: {'; '.join(parts)}."


def _anomaly_text(found: tuple[Anomaly, ...]) -> str:
    if not found:
        return ""
    states = ", ".join(str(anomaly.state) for anomaly in found)
    return f"Hatched (state {states}): accuracy well above chance before there is damage to be seen: something else is seen."


def limit_slices_figure(result: Result, folder: Path) -> Drawn | None:
    """One slice of the best fold's specimen at the states around the detection limit. None where there is no picture."""
    rows = result.tables.get("slices", pd.DataFrame())
    if rows.empty or "slices" not in result.arrays:
        return None

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(1, len(rows), squeeze=False)[0]
        for axes, (i, row) in zip(panels, rows.iterrows(), strict=True):
            bare(axes)
            axes.imshow(result.arrays["slices"][int(str(i))], cmap="gray", vmin=0, vmax=255)
            axes.set_title(state_text(row["state"], row["strain"]), fontsize=pt(7))

    first = rows.iloc[0]
    caption = words(
        result,
        "detection-slices",
        "Slices around the detection limit",
        f"{first['specimen']}, {first['plane']}, position {first['position']}, at n = {len(rows)} load states.",
        "ε is the apparent strain." if rows["strain"].notna().any() else "",
        paper="Fig 5c, 6c",
    )
    return draw_figure(paint, caption, folder, height_mm=180 / max(len(rows), 4) + 6)
