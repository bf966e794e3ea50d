"""Bars of networks side by side: mean, standard deviation over folds, and every test set as a point."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bonehpo.report.figures.style import BLACK, GREY, PALE, SERIES, Series, pale


class Bar(NamedTuple):
    """One bar. `mean` is NaN where there is none, and `reason` says why; `by_set` are means of its test sets, (set,)."""

    label: str
    mean: float
    sd: float
    by_set: np.ndarray
    reason: str


def bars_of(arms: pd.DataFrame, folds: pd.DataFrame) -> tuple[Bar, ...]:
    """Bars from the rows of a table of arms and their folds.

    Args:
        arms: Columns arm, mean, sd, reason.
        folds: Columns arm, test, accuracy.
    """
    by_set = folds.groupby(["arm", "test"], sort=False)["accuracy"].mean()
    return tuple(
        Bar(
            label=str(row.arm),
            mean=float(row.mean),
            sd=float(row.sd),
            by_set=by_set[row.arm].to_numpy() if row.arm in by_set.index.get_level_values("arm") else np.empty(0),
            reason=str(row.reason),
        )
        for row in (Row(*values) for values in arms[["arm", "mean", "sd", "reason"]].itertuples(index=False))
    )


class Row(NamedTuple):
    """A row of a table of arms; `itertuples` alone would hide `mean`."""

    arm: str
    mean: float
    sd: float
    reason: str


def paint_bars(axes: Axes, bars: tuple[Bar, ...], places: np.ndarray, look: Series, width: float = 0.75) -> None:
    """Bars at their places, in one look; what has no mean is named instead.

    Args:
        axes: To paint on.
        bars: What to paint.
        places: Centre of each bar, (bar,).
        look: Colour and hatch.
        width: Of each bar.
    """
    means = np.array([bar.mean for bar in bars])
    sds = np.nan_to_num(np.array([bar.sd for bar in bars]))
    known = ~np.isnan(means)
    axes.bar(
        places[known],
        means[known],
        width=width,
        color=pale(look.color),
        edgecolor=look.color,
        hatch=look.hatch,
        linewidth=1,
    )
    axes.errorbar(
        places[known], means[known], yerr=sds[known], color=BLACK, linestyle="", capsize=2.5, elinewidth=0.8, zorder=4
    )
    for bar, place in zip(bars, places, strict=True):
        if np.isnan(bar.mean):
            axes.text(place, 0.02, "not run", rotation=90, ha="center", va="bottom", fontsize=6.5, color=GREY)
            continue
        spread = np.linspace(-0.3, 0.3, len(bar.by_set)) * width if len(bar.by_set) > 1 else np.zeros(len(bar.by_set))
        axes.plot(
            place + spread, bar.by_set, "o", mfc="white", mec=BLACK, mew=0.6, markersize=3, linestyle="", zorder=5
        )
        top = max(bar.mean + np.nan_to_num(bar.sd), *bar.by_set) if len(bar.by_set) else bar.mean
        axes.text(place, top + 0.02, f"{bar.mean:.3f}", ha="center", va="bottom", fontsize=6.5)


def accuracy_axis(axes: Axes, chance: float) -> None:
    """Accuracy from 0 up, with chance as a dotted line."""
    axes.axhline(chance, color=PALE, linestyle=":", linewidth=1, zorder=0)
    axes.set(ylim=(0, 1.15), ylabel="test accuracy", yticks=np.linspace(0, 1, 6))


def reasons_text(arms: pd.DataFrame) -> str:
    """Which arms have no mean, and why."""
    missing = arms[arms["mean"].isna()]
    if missing.empty:
        return ""
    names = [
        f"{row['arm']}{', ' + row['split'] + ' split' if 'split' in arms else ''} ({row['reason'] or 'not run'})"
        for _, row in missing.iterrows()
    ]
    return f"Not run: {'; '.join(names)}."


LOOK = SERIES[0]
"""Of bars that stand alone."""
