"""Grad-CAM: what the network looked at (Shen et al. 2021, Fig 5a, 6a, 7)."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bonehpo.report.figures.pictures import (
    Picture,
    heat_scale,
    outline_text,
    pictures_of,
    show_heat,
    show_overlay,
    show_slice,
)
from bonehpo.report.figures.style import PAGE_MM, Drawn, Words, bare, draw_figure, rows_of, words
from bonehpo.results.record import Result

COLUMNS: tuple[tuple[str, Callable[[Axes, Picture], None]], ...] = (
    ("slice", show_slice),
    ("Grad-CAM", show_heat),
    ("both", show_overlay),
)


def classes_figure(result: Result, folder: Path) -> Drawn | None:
    """A pristine and a failed test slice of each plane: slice, heat map, both. None where there is no such picture."""
    rows = result.tables["slices"]
    rows = rows[(rows["panel"] == "classes") & rows["label"].isin(["pristine", "failed"])]
    if rows.empty:
        return None
    planes = list(dict.fromkeys(rows["plane"].astype(str)))
    first = rows.iloc[0]

    def paint(figure: Figure) -> None:
        panels = figure.subplots(len(planes), 2 * len(COLUMNS), squeeze=False)
        for k, (line, plane) in enumerate(zip(panels, planes, strict=True)):
            for half, label in enumerate(("pristine", "failed")):
                trio = list(line[half * len(COLUMNS) : (half + 1) * len(COLUMNS)])
                _paint_trio(trio, result, rows[(rows["plane"] == plane) & (rows["label"] == label)].head(1))
                if k == 0:
                    for axes, (title, _) in zip(trio, COLUMNS, strict=True):
                        axes.set_title(f"{label}: {title}")
            line[0].set_ylabel(plane, fontsize=8, fontweight="bold")
        heat_scale(figure, panels)

    caption = words(
        result,
        "grad-cam-classes",
        "Grad-CAM on pristine and failed test slices",
        f"n = 1 slice of each plane and class, of {', '.join(dict.fromkeys(rows['specimen'].astype(str)))}; the network was "
        f"tested on {first['test']} and validated on {first['validation']}.",
        "Shown is the failed slice that the network is surest of, and the same place in pristine bone: what it sees, not "
        "how often it is right. Each slice is explained by its own class; below it stands its p(failed).",
        outline_text(result),
    )
    return draw_figure(paint, caption, folder, height_mm=30.5 * len(planes) + 6)


def _paint_trio(trio: list[Axes], result: Result, rows: pd.DataFrame) -> None:
    if rows.empty:
        for axes in trio:
            bare(axes)
        return
    (picture,) = pictures_of(result, rows)
    for axes, (_, show) in zip(trio, COLUMNS, strict=True):
        show(axes, picture)
    trio[0].set_xlabel(f"p(failed) = {rows.iloc[0]['p_failed']:.2f}", fontsize=6.5, labelpad=2)


def states_figure(result: Result, folder: Path) -> Drawn | None:
    """One slice through all load states, with its heat map. None where there is no such picture."""
    rows = result.tables["slices"]
    rows = rows[rows["panel"] == "states"].sort_values("state")
    if rows.empty:
        return None
    first = rows.iloc[0]
    caption = words(
        result,
        "grad-cam-states",
        "Grad-CAM through all load states",
        f"One slice ({first['specimen']}, {first['plane']}, position {first['position']}) at n = {len(rows)} load states, "
        f"without and with its Grad-CAM map; the network was tested on {first['test']} and validated on "
        f"{first['validation']}.",
        "The place is that where the network is surest of failure. Every map shows what speaks for failed bone. Below each "
        "pair: p(failed).",
        "ε is the apparent strain." if rows["strain"].notna().any() else "",
        outline_text(result),
    )
    return draw_states(result, rows, folder, caption, lambda row: f"p = {row.p_failed:.2f}")


def draw_states(result: Result, rows: pd.DataFrame, folder: Path, caption: Words, below: Callable[[Any], str]) -> Drawn:
    """Pairs of slice and overlay in the order of the rows.

    Args:
        result: Whose pictures.
        rows: Rows of its table of pictures, with `state` and `strain`.
        folder: Where to draw.
        caption: Of the figure.
        below: What to write under a pair, from its row.
    """
    n_across = max(math.ceil(len(rows) / math.ceil(len(rows) / 10)), 4)
    n_blocks = math.ceil(len(rows) / n_across)
    side_mm = (PAGE_MM - 20) / n_across
    lines = 2 if rows["strain"].notna().any() else 1

    def paint(figure: Figure) -> None:
        panels = figure.subplots(2 * n_blocks, n_across, squeeze=False)
        for axes in panels.ravel():
            bare(axes)
        for i, (row, picture) in enumerate(zip(rows_of(rows), pictures_of(result, rows), strict=True)):
            block, column = divmod(i, n_across)
            upper, lower = panels[2 * block, column], panels[2 * block + 1, column]
            show_slice(upper, picture)
            show_overlay(lower, picture)
            upper.set_title(state_text(row.state, row.strain).replace(", ", "\n"), fontsize=6.5, pad=2)
            lower.set_xlabel(below(row), fontsize=6.5, labelpad=2)
        heat_scale(figure, panels)

    return draw_figure(paint, caption, folder, height_mm=n_blocks * (2 * side_mm + 3 * lines + 5.5) + 2)


def state_text(state: float, strain: float) -> str:
    """A load state as titles name it: its number and, where known, its strain.

    Examples:
        >>> state_text(3, 0.0125), state_text(3, float("nan"))
        ('state 3, ε 1.2 %', 'state 3')
    """
    return f"state {int(state)}" if math.isnan(strain) else f"state {int(state)}, ε {100 * strain:.1f} %"
