"""Building blocks of figures: bars of networks side by side, curves along the load, slices under heat maps."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from bonehpo.report.figures.style import (
    BLACK,
    GREY,
    HEAT,
    PALE,
    SERIES,
    VERMILLION,
    Series,
    bare,
    pale,
    pt,
)
from bonehpo.results.result import Result
from bonehpo.task import DAMAGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Bar(NamedTuple):
    """One bar. `mean` is NaN where there is none, and `reason` says why; `by_set` are means of its test sets, (set,)."""

    label: str
    mean: float
    sd: float
    by_set: np.ndarray
    reason: str


def bars_of(configurations: pd.DataFrame, folds: pd.DataFrame) -> tuple[Bar, ...]:
    """Bars from the rows of a table of configurations and their folds.

    Args:
        configurations: Columns configuration, mean, sd, reason.
        folds: Columns configuration, test, accuracy.
    """
    by_set = folds.groupby(["configuration", "test"], sort=False)["accuracy"].mean()
    return tuple(
        Bar(
            label=str(row.configuration),
            mean=float(row.mean),
            sd=float(row.sd),
            by_set=by_set[row.configuration].to_numpy()
            if row.configuration in by_set.index.get_level_values("configuration")
            else np.empty(0),
            reason=str(row.reason),
        )
        for row in (
            ConfigurationRow(*values)
            for values in configurations[["configuration", "mean", "sd", "reason"]].itertuples(index=False)
        )
    )


class ConfigurationRow(NamedTuple):
    """A row of a table of configurations; `itertuples` alone would hide `mean`."""

    configuration: str
    mean: float
    sd: float
    reason: str


def paint_bars(axes: "Axes", bars: tuple[Bar, ...], places: np.ndarray, look: Series, width: float = 0.75) -> None:
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
            axes.text(place, 0.02, "not run", rotation=90, ha="center", va="bottom", fontsize=pt(6.5), color=GREY)
            continue
        spread = np.linspace(-0.3, 0.3, len(bar.by_set)) * width if len(bar.by_set) > 1 else np.zeros(len(bar.by_set))
        axes.plot(
            place + spread, bar.by_set, "o", mfc="white", mec=BLACK, mew=0.6, markersize=3, linestyle="", zorder=5
        )
        top = max(bar.mean + np.nan_to_num(bar.sd), *bar.by_set) if len(bar.by_set) else bar.mean
        axes.text(place, top + 0.02, f"{bar.mean:.3f}", ha="center", va="bottom", fontsize=pt(6.5))


def accuracy_axis(axes: "Axes", chance: float) -> None:
    """Accuracy from 0 up, with chance as a dotted line."""
    axes.axhline(chance, color=PALE, linestyle=":", linewidth=1, zorder=0)
    axes.set(ylim=(0, 1.15), ylabel="test accuracy", yticks=np.linspace(0, 1, 6))


def reasons_text(configurations: pd.DataFrame) -> str:
    """Text that names the configurations without a mean, and the reasons."""
    missing = configurations[configurations["mean"].isna()]
    if missing.empty:
        return ""
    names = [
        f"{row['configuration']}{_split_text(row)} ({row['reason'] or 'not run'})" for _, row in missing.iterrows()
    ]
    return f"Not run: {'; '.join(names)}."


def _split_text(row: "pd.Series[str]") -> str:
    return f", {row['split']} split" if "split" in row else ""


LOOK = SERIES[0]
"""Of bars that stand alone."""


ACCURACY_RANGE = (-0.03, 1.03)


def paint_curves(axes: "Axes", means: Mapping[str, pd.DataFrame]) -> None:
    """Mean accuracy over test sets at each load state, with its 95 % interval as a band; chance is dotted.

    Args:
        axes: To paint on; its legend is left to the caller.
        means: For each label a table of `analysis.detection.mean_by_state`.
    """
    for look, (label, mean) in zip(SERIES, means.items(), strict=False):
        axes.fill_between(mean["state"], mean["lower"], mean["upper"], color=look.color, alpha=0.12, linewidth=0)
        axes.plot(
            mean["state"], mean["accuracy"], color=look.color, linestyle=look.dash, marker=look.marker, label=label
        )
    axes.axhline(DAMAGE.chance, color=PALE, linestyle=":", linewidth=1)
    axes.set(xlabel="load state", ylabel="overall accuracy", ylim=ACCURACY_RANGE)
    axes.set_xticks(sorted({int(state) for mean in means.values() for state in mean["state"]}))


SMALLEST_OUTLINE = 0.5
"""Share of a pixel that must be truly damaged to lie inside the outline."""

MOST_OPAQUE = 0.75
"""Of the warmest pixel of a heat map that is laid over a slice."""


class Picture(NamedTuple):
    """A slice, the heat map of what mattered in it, and where it is truly damaged (None where that is not known).

    Shapes: (y, x) each; `slice_` uint8, `heat` and `damage` from 0 to 1.
    """

    slice_: npt.NDArray[np.uint8]
    heat: npt.NDArray[np.float32]
    damage: npt.NDArray[np.float32] | None


def pictures_of(result: Result, rows: pd.DataFrame) -> tuple[Picture, ...]:
    """The pictures of some rows of a result's table, whose index counts along its arrays."""
    arrays = result.arrays
    damage = arrays.get("damage")
    return tuple(
        Picture(
            slice_=arrays["slices"][i].astype(np.uint8),
            heat=arrays["maps"][i].astype(np.float32),
            damage=None if damage is None else damage[i].astype(np.float32),
        )
        for i in rows.index
    )


def show_slice(axes: "Axes", picture: Picture) -> None:
    """The slice in grey, true damage outlined."""
    bare(axes)
    axes.imshow(picture.slice_, cmap="gray", vmin=0, vmax=255)
    show_outline(axes, picture)


def show_heat(axes: "Axes", picture: Picture) -> None:
    """The heat map alone."""
    bare(axes)
    axes.imshow(picture.heat, cmap=HEAT, vmin=0, vmax=1)


def show_overlay(axes: "Axes", picture: Picture) -> None:
    """The heat map over the slice, the more opaque the warmer; blended here, as SVG knows no opacity of single pixels."""
    from matplotlib import colormaps

    bare(axes)
    opacity = (MOST_OPAQUE * picture.heat.clip(0, 1))[..., None]
    grey = picture.slice_[..., None] / 255
    warm = np.asarray(colormaps[HEAT](picture.heat))[..., :3]
    axes.imshow(grey * (1 - opacity) + warm * opacity)
    show_outline(axes, picture)


def show_outline(axes: "Axes", picture: Picture) -> None:
    """A line round what is truly damaged, where there is any."""
    damage = picture.damage
    if damage is not None and damage.max() >= SMALLEST_OUTLINE > damage.min():
        axes.contour(damage, levels=[SMALLEST_OUTLINE], colors="white", linewidths=1.5)
        axes.contour(damage, levels=[SMALLEST_OUTLINE], colors=VERMILLION, linewidths=0.9)


LOW_IN = 2.5
"""Inches below which a figure has no room for the label of the scale in one line."""


def heat_scale(figure: "Figure", panels: npt.NDArray[np.object_] | list["Axes"]) -> None:
    """The colour scale of heat maps, at the right of the panels."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(0, 1), cmap=HEAT)
    bar = figure.colorbar(scale, ax=panels, shrink=0.6, aspect=25, pad=0.01)
    low = figure.get_size_inches()[1] < LOW_IN
    bar.set_label("Grad-CAM,\neach scaled to 1" if low else "Grad-CAM, each map scaled to 1")
    bar.outline.set_linewidth(0.5)


def outline_text(result: Result) -> str:
    """Text of captions on the outlines."""
    if "damage" not in result.arrays:
        return ""
    return "Lines enclose pixels that are truly damaged, by at least half."
