"""A whole study in figures: its trials, its learning curves, one hyperparameter at a time (Fig 3)."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bonehpo.hyperparameters import HYPERPARAMETERS, Hyperparameter, Value, from_params, hyperparameter, in_words
from bonehpo.report.figures.style import (
    BLACK,
    BLUE,
    GREY,
    PALE,
    PHANTOM,
    SERIES,
    VERMILLION,
    Words,
    draw_figure,
    letter,
    pale,
    pt,
    rows_of,
    span_text,
    words,
)
from bonehpo.results.result import Drawn, Result
from bonehpo.search.recorder import FoldRecord
from bonehpo.search.summary import StudySummary
from bonehpo.task import DAMAGE, task_named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = npt.NDArray[np.floating]

PARTS = ("train", "validation", "test")


def learning_curves_figure(folds: Sequence[FoldRecord], ran_on: str, folder: Path) -> Drawn | None:
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
    task = task_named(folds[0].task)
    labels = {"loss": task.loss_axis, task.measure.name: task.measure.axis}
    curves = [task.measure.shown(fold.curves) for fold in folds]

    def paint(figure: "Figure") -> None:
        grid = figure.subplots(1, len(labels), squeeze=False)[0]
        for i, (axes, (name, label)) in enumerate(zip(grid, labels.items(), strict=True)):
            _paint_curves(axes, curves, name)
            axes.set_ylabel(label)
            letter(axes, i)
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(PARTS))

    caption = Words(
        name="learning-curves",
        title="Learning curves of the optimum",
        caption=f"After each epoch, mean over n = {len(folds)} folds; bands are one standard deviation over folds. "
        "Training curves are running means over an epoch's augmented images. Validation, the wide line, lies under test: "
        "one network serves the folds (i, j) and (j, i), and each set is as often the one as the other."
        + (f" {PHANTOM}" if ran_on == "phantom" else ""),
    )
    return draw_figure(paint, caption, folder, height_mm=70)


def _paint_curves(axes: "Axes", curves: Sequence[Mapping[str, Curve]], measure: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for part, look in zip(PARTS, SERIES, strict=False):
        name = f"{part}_{measure}"
        values = np.stack([fold[name] for fold in curves])
        epochs = np.arange(1, values.shape[1] + 1)
        mean = values.mean(axis=0)
        sd = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros_like(mean)
        axes.fill_between(epochs, mean - sd, mean + sd, color=look.color, alpha=0.15, linewidth=0)
        wide = {"linewidth": 4, "alpha": 0.4} if part == "validation" else {"marker": look.marker, "markersize": 3}
        axes.plot(
            epochs, mean, color=look.color, linestyle="-" if part == "validation" else look.dash, label=part, **wide
        )
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def importance_figure(importances: Mapping[str, float], n_trials: int, ran_on: str, folder: Path) -> Drawn | None:
    """Share of the variation of the score that each hyperparameter accounts for.

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

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        places = range(len(ranked))
        axes.barh(places, [value for _, value in ranked], color=pale(BLUE), edgecolor=BLUE, height=0.6)
        for place, (_, value) in zip(places, ranked, strict=True):
            axes.text(value + 0.01, place, f"{value:.2f}", va="center", fontsize=pt(7), color=BLACK)
        axes.set_yticks(places, [hyperparameter(name).label for name, _ in ranked])
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
    from matplotlib.ticker import MaxNLocator

    rows = [row for row in study.trials if row.mean_score is not None]
    if not rows or study.estimates is None:
        return None
    found = study.estimates
    measure = task_named(study.task).measure
    means = measure.sign * np.array([row.mean_score for row in rows])
    numbers, sds = [row.trial for row in rows], [row.sd or 0 for row in rows]

    def paint(figure: "Figure") -> None:
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
        after = [numbers[row.n_trials - 1] for row in found.so_far]
        for name, line, values in (
            ("best so far", ":", [row.apparent_score for row in found.so_far]),
            ("nested estimate so far", "--", [row.nested_score for row in found.so_far]),
        ):
            shown = measure.sign * np.array(values)
            axes.step(after, shown, where="post", color=BLACK, linestyle=line, linewidth=0.9, label=name)
        axes.set(xlabel="trial", ylabel=f"test {measure.axis}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[-1:] + handles[:-1], labels[-1:] + labels[:-1], loc="outside upper center", ncols=4)

    caption = Words(
        name="trials",
        title="All trials",
        caption=f"Mean over the folds of each of n = {len(rows)} complete trials; error bars are one standard deviation "
        f"over n = {found.n_folds} folds. The best trial's mean was maximised, the nested estimate was not; lines "
        "are of the trials so far. Where the dashed one falls while the dotted one rises, more trials have overtuned."
        + (f" {PHANTOM}" if study.ran_on == "phantom" else ""),
    )
    return draw_figure(paint, caption, folder, height_mm=62)


LABELS = ("mean ± sd", "baseline", "optimum's value", "failed")


def sweep_figure(result: Result, folder: Path) -> Drawn:
    """One panel for each hyperparameter: mean ± sd over folds, the optimum's value, the baseline, and points that failed."""
    points = result.tables["points"]
    optima = result.tables["optima"]
    swept = optima[optima["by"] == "sweep"]
    optimum = None if swept.empty else swept.iloc[0]

    entries = swept_entries(points)
    n_columns = math.ceil(math.sqrt(len(entries)))
    n_rows = math.ceil(len(entries) / n_columns)

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False).ravel()
        for i, (axes, entry) in enumerate(zip(panels, entries, strict=False)):
            _panel(axes, points, entry, None if optimum is None else optimum[entry.name])
            axes.set_xlabel(entry.axis)
            letter(axes, i)
        for axes in panels[len(entries) :]:
            axes.remove()
        for axes in panels[::n_columns]:
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
        paper="Fig 3",
    )
    return draw_figure(paint, caption, folder, height_mm=57.5 * n_rows)


def swept_entries(points: pd.DataFrame) -> list[Hyperparameter]:
    """The hyperparameters of which a sweep has more than one value, a panel each; all of them where none has.

    Args:
        points: Table `points` of the sweep.
    """
    n_values = points.groupby("parameter")["value"].nunique()
    swept = [entry for entry in HYPERPARAMETERS if entry.name in n_values]
    return [entry for entry in swept if n_values[entry.name] > 1] or swept


def _panel(axes: "Axes", points: pd.DataFrame, entry: Hyperparameter, chosen: Value | None) -> None:
    series = points[points["parameter"] == entry.name].sort_values("value")
    series = series.assign(at=_scale(axes, entry, series))
    good, bad = series[series["mean"].notna()], series[series["mean"].isna()]
    axes.axhline(DAMAGE.chance, color=PALE, linestyle=":", linewidth=1)
    sd = good["sd"].fillna(0)
    axes.errorbar(good["at"], good["mean"], yerr=sd, color=BLUE, marker="o", capsize=2, elinewidth=0.7, label=LABELS[0])
    baseline = good[_is_baseline(points, good)]
    star = good.iloc[:0] if chosen is None else good[np.isclose(good["value"], entry.number(chosen))]
    circle: dict[str, Any] = {"marker": "o", "mfc": "white", "mec": BLUE, "mew": 1.2, "markersize": 6}
    axes.plot(baseline["at"], baseline["mean"], linestyle="", label=LABELS[1], zorder=5, **circle)
    pentagram: dict[str, Any] = {"marker": "*", "color": VERMILLION, "mec": BLACK, "mew": 0.5, "markersize": 10}
    axes.plot(star["at"], star["mean"], linestyle="", label=LABELS[2], zorder=6, **pentagram)
    if not bad.empty:
        cross: dict[str, Any] = {"marker": "x", "color": GREY, "mew": 1.5, "markersize": 6}
        foot = axes.get_xaxis_transform()
        axes.plot(bad["at"], [0.04] * len(bad), linestyle="", label=LABELS[3], transform=foot, **cross)


def _scale(axes: "Axes", entry: Hyperparameter, series: pd.DataFrame) -> "pd.Series[float]":
    """Places of the rows of a series on its axis, which gets scale and ticks; evenly spaced where values are no numbers."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    values = sorted(set(series["value"]))
    if entry.logarithmic and values[0] > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: decade_text(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif entry.logarithmic or entry.names or entry.kind == "choice":
        texts = series.sort_values("value")[entry.name].map(entry.text)
        axes.set_xticks(range(len(values)), list(dict.fromkeys(texts)))
        axes.set_xlim(-0.4, len(values) - 0.6)
        return series["value"].map(values.index).astype(float)
    else:
        axes.set_xticks(values, [f"{value:g}" for value in values])
    return series["value"]


def decade_text(value: float) -> str:
    """A power of ten as axes name it.

    Examples:
        >>> decade_text(1e-4)
        '10⁻⁴'
    """
    digits = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return f"10{str(round(math.log10(value))).translate(digits)}"


def _is_baseline(points: pd.DataFrame, rows: pd.DataFrame) -> "pd.Series[bool]":
    """Mask of the points that all series share."""
    names = [entry.name for entry in HYPERPARAMETERS if entry.name in points]
    n_series = points.groupby(names)["parameter"].nunique()
    shared = n_series[n_series == points["parameter"].nunique()].index
    return pd.Series([tuple(row) in shared for row in rows[names].to_numpy()], index=rows.index, dtype=bool)


def _optimum_text(optimum: "pd.Series[float] | None") -> str:
    if optimum is None:
        return "No optimum was chosen."
    choice = in_words(from_params({str(name): value for name, value in optimum.items()}), short=False)
    return f"Stars mark the values of the optimum: {choice}, together {optimum['mean']:.3f} ± {optimum['sd']:.3f}."


def _failed_text(failed: pd.DataFrame) -> str:
    if failed.empty:
        return ""
    points = "; ".join(
        f"{entry.label} {entry.text(getattr(row, entry.name))} ({row.reason or 'not fitted'})"
        for row in rows_of(failed)
        for entry in [hyperparameter(row.parameter)]
    )
    return f"Crosses have no mean: {points}."
