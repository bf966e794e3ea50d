"""Can the heat maps be believed? Do networks agree, does the map depend on the weights, does it lie on damage?

References:
    Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from natsort import natsorted

from bonehpo.report.figures.style import BLACK, PALE, SERIES, Drawn, draw_figure, letter, short, span_text, words
from bonehpo.results.record import Result


def checks_figure(result: Result, folder: Path) -> Drawn | None:
    """Agreement of networks, the randomisation check and, on phantoms, how much of a map lies on true damage."""
    found = {name: result.tables.get(name, pd.DataFrame()) for name in PANELS}
    panels = [name for name, table in found.items() if not table.empty]
    if not panels:
        return None

    def paint(figure: Figure) -> None:
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for i, (axes, name) in enumerate(zip(grid, panels, strict=True)):
            PANELS[name][0](axes, found[name])
            letter(axes, i, PANELS[name][1])

    texts = [f"({'abc'[i]}) {PANELS[name][2](found[name])}" for i, name in enumerate(panels)]
    caption = words(result, "grad-cam-checks", "Can the Grad-CAM maps be believed?", *texts)
    return draw_figure(paint, caption, folder, height_mm=68, width_mm=60 * len(panels))


def _at_failure(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last load state there is."""
    last: pd.DataFrame = table[table["state"] == table["state"].max()]
    return last


def _paint_agreement(axes: Axes, table: pd.DataFrame) -> None:
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


def _paint_sanity(axes: Axes, table: pd.DataFrame) -> None:
    rows = table.sort_values("randomised")
    look = SERIES[0]
    axes.errorbar(
        rows["randomised"], rows["correlation"], yerr=rows["sd"].fillna(0), color=look.color, marker=look.marker,
        capsize=2, elinewidth=0.7,
    )  # fmt: skip
    axes.axhline(0, color=PALE, linewidth=0.8, linestyle=":")
    names = ["trained" if n == 0 else str(layer) for n, layer in zip(rows["randomised"], rows["layer"], strict=True)]
    axes.set_xticks(rows["randomised"], names, rotation=40, ha="right", rotation_mode="anchor", fontsize=6)
    axes.set(xlabel="random weights down to", ylabel="rank correlation with the trained map")


def _sanity_text(table: pd.DataFrame) -> str:
    return (
        "Does the map depend on what was learnt? Its rank correlation with the trained network's map when weights are "
        "made random from the output on; error bars are one standard deviation over "
        f"{span_text(set(table['n_slices']), 'slices')}. "
        "A map that stays the same shows edges of the image and no reasons."
    )


def _paint_energy(axes: Axes, table: pd.DataFrame) -> None:
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


Panel = tuple[Callable[[Axes, pd.DataFrame], None], str, Callable[[pd.DataFrame], str]]

PANELS: dict[str, Panel] = {
    "agreement": (_paint_agreement, "agreement", _agreement_text),
    "sanity": (_paint_sanity, "randomised weights", _sanity_text),
    "energy": (_paint_energy, "energy on damage", _energy_text),
}
"""For each table its painter, title and caption."""
