"""Grad-CAM and its checks (Shen et al. 2021, Fig 5a, 6a, 7).

References:
    Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from natsort import natsorted

from bonehpo.report.figures.charts import (
    Picture,
    heat_scale,
    outline_text,
    pictures_of,
    show_heat,
    show_overlay,
    show_slice,
)
from bonehpo.report.figures.style import (
    BLACK,
    PAGE_MM,
    PALE,
    SERIES,
    Words,
    bare,
    draw_figure,
    letter,
    pt,
    rows_of,
    short,
    span_text,
    words,
)
from bonehpo.results.result import Drawn, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS: tuple[tuple[str, Callable[["Axes", Picture], None]], ...] = (
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

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(len(planes), 2 * len(COLUMNS), squeeze=False)
        for k, (line, plane) in enumerate(zip(panels, planes, strict=True)):
            for half, label in enumerate(("pristine", "failed")):
                trio = list(line[half * len(COLUMNS) : (half + 1) * len(COLUMNS)])
                _paint_trio(trio, result, rows[(rows["plane"] == plane) & (rows["label"] == label)].head(1))
                if k == 0:
                    for axes, (title, _) in zip(trio, COLUMNS, strict=True):
                        axes.set_title(f"{label}: {title}")
            line[0].set_ylabel(plane, fontsize=pt(8), fontweight="bold")
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
        paper="Fig 5a, 6a",
    )
    return draw_figure(paint, caption, folder, height_mm=30.5 * len(planes) + 6)


def _paint_trio(trio: list["Axes"], result: Result, rows: pd.DataFrame) -> None:
    if rows.empty:
        for axes in trio:
            bare(axes)
        return
    (picture,) = pictures_of(result, rows)
    for axes, (_, show) in zip(trio, COLUMNS, strict=True):
        show(axes, picture)
    trio[0].set_xlabel(f"p(failed) = {rows.iloc[0]['p_failed']:.2f}", fontsize=pt(6.5), labelpad=2)


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
        paper="Fig 7",
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

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(2 * n_blocks, n_across, squeeze=False)
        for axes in panels.ravel():
            bare(axes)
        for i, (row, picture) in enumerate(zip(rows_of(rows), pictures_of(result, rows), strict=True)):
            block, column = divmod(i, n_across)
            upper, lower = panels[2 * block, column], panels[2 * block + 1, column]
            show_slice(upper, picture)
            show_overlay(lower, picture)
            upper.set_title(state_text(row.state, row.strain).replace(", ", "\n"), fontsize=pt(6.5), pad=2)
            lower.set_xlabel(below(row), fontsize=pt(6.5), labelpad=2)
        heat_scale(figure, panels)

    return draw_figure(paint, caption, folder, height_mm=n_blocks * (2 * side_mm + 3 * lines + 5.5) + 2)


def state_text(state: float, strain: float) -> str:
    """A load state as titles name it: its number and, where known, its strain.

    Examples:
        >>> state_text(3, 0.0125), state_text(3, float("nan"))
        ('state 3, ε 1.2 %', 'state 3')
    """
    return f"state {int(state)}" if math.isnan(strain) else f"state {int(state)}, ε {100 * strain:.1f} %"


def checks_figure(result: Result, folder: Path) -> Drawn | None:
    """Agreement of networks, the randomisation check and, on phantoms, how much of a map lies on true damage."""
    found = {name: result.tables.get(name, pd.DataFrame()) for name in PANELS}
    panels = [name for name, table in found.items() if not table.empty]
    if not panels:
        return None

    def paint(figure: "Figure") -> None:
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for i, (axes, name) in enumerate(zip(grid, panels, strict=True)):
            PANELS[name][0](axes, found[name])
            letter(axes, i, PANELS[name][1])

    texts = [f"({'abc'[i]}) {PANELS[name][2](found[name])}" for i, name in enumerate(panels)]
    caption = words(result, "grad-cam-checks", "Can the Grad-CAM maps be believed?", *texts)
    return draw_figure(paint, caption, folder, height_mm=68, width_mm=60 * len(panels))


def _at_failure(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last load state of each specimen."""
    last: pd.DataFrame = table[table["state"] == table.groupby("specimen")["state"].transform("max")]
    return last


def _paint_agreement(axes: "Axes", table: pd.DataFrame) -> None:
    rows = _at_failure(table)
    planes = list(dict.fromkeys(rows["plane"].astype(str)))
    for place, (plane, look) in enumerate(zip(planes, SERIES * 3, strict=False)):
        values = rows.loc[rows["plane"] == plane, "correlation"].dropna().to_numpy()
        spread = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(len(values))
        axes.plot(place + spread, values, look.marker, color=look.color, linestyle="")
        if len(values):
            axes.plot([place - 0.32, place + 0.32], [values.mean()] * 2, color=BLACK, linewidth=1.5)
    axes.axhline(0, color=PALE, linewidth=0.8, linestyle=":")
    lowest = rows["correlation"].min()
    axes.set(xlabel="plane", ylabel="rank correlation between networks", xlim=(-0.6, len(planes) - 0.4))
    axes.set_ylim(-0.1 if math.isnan(lowest) else min(-0.1, lowest - 0.05), 1.02)
    axes.set_xticks(range(len(planes)), planes)


def _agreement_text(table: pd.DataFrame) -> str:
    rows = _at_failure(table)
    return (
        "Do networks agree? Mean rank correlation between the maps of all pairs of networks that were tested on a "
        f"specimen ({span_text(set(rows['n_networks']), 'networks')}), on slices of state {rows['state'].iloc[0]}; points "
        f"are n = {rows['specimen'].nunique()} specimens, lines their means."
    )


def _paint_sanity(axes: "Axes", table: pd.DataFrame) -> None:
    rows = table.sort_values("randomised")
    look = SERIES[0]
    axes.errorbar(
        rows["randomised"], rows["correlation"], yerr=rows["sd"].fillna(0), color=look.color, marker=look.marker,
        capsize=2, elinewidth=0.7,
    )  # fmt: skip
    axes.axhline(0, color=PALE, linewidth=0.8, linestyle=":")
    names = ["trained" if n == 0 else str(layer) for n, layer in zip(rows["randomised"], rows["layer"], strict=True)]
    axes.set_xticks(rows["randomised"], names, rotation=40, ha="right", rotation_mode="anchor", fontsize=pt(6))
    axes.set(xlabel="random weights down to", ylabel="rank correlation with the trained map")


def _sanity_text(table: pd.DataFrame) -> str:
    return (
        "Does the map depend on what was learnt? Its rank correlation with the trained network's map when weights are "
        "made random from the output on; error bars are one standard deviation over "
        f"{span_text(set(table['n_slices']), 'slices')}. "
        "A map that stays the same shows edges of the image and no reasons."
    )


def _paint_energy(axes: "Axes", table: pd.DataFrame) -> None:
    by_set = _energy_by_set(table)
    places = np.arange(len(by_set))
    axes.vlines(places, by_set["chance"], by_set["share"], color=PALE, linewidth=2.5, zorder=1)
    for look, name, label in zip(SERIES, ("share", "chance"), ("of the map", "of the area"), strict=False):
        axes.plot(places, by_set[name], look.marker, color=look.color, linestyle="", markersize=6, label=label)
    names = [short(str(name), 14) for name in by_set.index]
    axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set(xlabel="test set", ylabel="share on true damage", ylim=(0, None), xlim=(-0.6, len(by_set) - 0.4))
    axes.legend(loc="best", handlelength=1)


def _energy_by_set(table: pd.DataFrame) -> pd.DataFrame:
    by_set = _at_failure(table).dropna(subset=["share", "chance"]).groupby("test")[["share", "chance"]].mean()
    return by_set.reindex(natsorted(by_set.index))


def _energy_text(table: pd.DataFrame) -> str:
    rows = _at_failure(table)
    return (
        "Does the map lie on damage? Share of its sum that lies on true damage, beside the share of the area that is "
        "damaged, which a map that knows nothing would have; means over the networks of each of "
        f"n = {rows['test'].nunique()} test sets, slices of state {rows['state'].iloc[0]}."
    )


Panel = tuple[Callable[["Axes", pd.DataFrame], None], str, Callable[[pd.DataFrame], str]]

PANELS: dict[str, Panel] = {
    "agreement": (_paint_agreement, "agreement", _agreement_text),
    "sanity": (_paint_sanity, "randomised weights", _sanity_text),
    "energy": (_paint_energy, "energy on damage", _energy_text),
}
"""For each table its painter, title and caption."""
