"""Slices with what a network looked at: the pictures from which figures are put together."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from bonehpo.report.figures.style import HEAT, VERMILLION, bare
from bonehpo.results.record import Result

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


def show_slice(axes: Axes, picture: Picture) -> None:
    """The slice in grey, true damage outlined."""
    bare(axes)
    axes.imshow(picture.slice_, cmap="gray", vmin=0, vmax=255)
    show_outline(axes, picture)


def show_heat(axes: Axes, picture: Picture) -> None:
    """The heat map alone."""
    bare(axes)
    axes.imshow(picture.heat, cmap=HEAT, vmin=0, vmax=1)


def show_overlay(axes: Axes, picture: Picture) -> None:
    """The heat map over the slice, the more opaque the warmer; blended here, as SVG knows no opacity of single pixels."""
    bare(axes)
    opacity = (MOST_OPAQUE * picture.heat.clip(0, 1))[..., None]
    grey = picture.slice_[..., None] / 255
    warm = np.asarray(colormaps[HEAT](picture.heat))[..., :3]
    axes.imshow(grey * (1 - opacity) + warm * opacity)
    show_outline(axes, picture)


def show_outline(axes: Axes, picture: Picture) -> None:
    """A line round what is truly damaged, where there is any."""
    damage = picture.damage
    if damage is not None and damage.max() >= SMALLEST_OUTLINE > damage.min():
        axes.contour(damage, levels=[SMALLEST_OUTLINE], colors="white", linewidths=1.5)
        axes.contour(damage, levels=[SMALLEST_OUTLINE], colors=VERMILLION, linewidths=0.9)


LOW_IN = 2.5
"""Inches below which a figure has no room for the label of the scale in one line."""


def heat_scale(figure: Figure, panels: npt.NDArray[np.object_] | list[Axes]) -> None:
    """The colour scale of heat maps, at the right of the panels."""
    scale = ScalarMappable(Normalize(0, 1), cmap=HEAT)
    bar = figure.colorbar(scale, ax=panels, shrink=0.6, aspect=25, pad=0.01)
    low = figure.get_size_inches()[1] < LOW_IN
    bar.set_label("Grad-CAM,\neach scaled to 1" if low else "Grad-CAM, each map scaled to 1")
    bar.outline.set_linewidth(0.5)


def outline_text(result: Result) -> str:
    """What captions say of the outlines."""
    if "damage" not in result.arrays:
        return ""
    return "Lines enclose pixels that are truly damaged, by at least half."
