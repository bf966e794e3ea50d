"""Can the heat maps be believed? Do networks agree, does the map depend on the weights, does it lie on damage?

References:
    Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bonehpo.report.figures.style import PALE, SERIES, Drawn, draw_figure, letter, span_text, words
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


def _paint_agreement(axes: Axes, table: pd.DataFrame) -> None:
    for look, (plane, rows) in zip(SERIES * 3, table.groupby("plane", sort=False), strict=False):
        means = rows.groupby("state")["correlation"].mean()
        axes.plot(means.index, means, color=look.color, linestyle=look.dash, marker=look.marker, label=str(plane))
    axes.axhline(0, color=PALE, linewidth=0.8, linestyle=":")
    axes.set(
        xlabel="load state", ylabel="correlation between networks", ylim=(min(-0.1, table["correlation"].min()), 1.02)
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(title="plane")


def _agreement_text(table: pd.DataFrame) -> str:
    n_networks = {int(n) for n in table["n_networks"]}
    return (
        "Do networks agree? Mean correlation between the maps of all pairs of networks that were tested on a specimen "
        f"({span_text(n_networks, 'networks')}), mean over n = {table['specimen'].nunique()} specimens, for each plane."
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
    axes.set(xlabel="random weights down to", ylabel="correlation with the trained map")


def _sanity_text(table: pd.DataFrame) -> str:
    return (
        "Does the map depend on what was learnt? Its correlation with the trained network's map when weights are made "
        "random from the output on; error bars are one standard deviation over "
        f"{span_text(set(table['n_slices']), 'slices')}. "
        "A map that stays the same shows edges of the image and no reasons."
    )


def _paint_energy(axes: Axes, table: pd.DataFrame) -> None:
    by_set = table.dropna(subset=["share", "chance"]).groupby(["state", "test"])[["share", "chance"]].mean()
    mean, sd = by_set.groupby("state").mean(), by_set.groupby("state").std(ddof=1).fillna(0)
    for look, name, label in zip(SERIES, ("share", "chance"), ("of the map", "of the area"), strict=False):
        axes.errorbar(
            mean.index, mean[name], yerr=sd[name], color=look.color, linestyle=look.dash, marker=look.marker, capsize=2,
            elinewidth=0.7, label=label,
        )  # fmt: skip
    axes.set(xlabel="load state", ylabel="share on true damage", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left")


def _energy_text(table: pd.DataFrame) -> str:
    return (
        "Does the map lie on damage? Share of its sum that lies on true damage, beside the share of the area that is "
        "damaged, which a map that knows nothing would have; error bars are one standard deviation over "
        f"n = {table['test'].nunique()} test sets."
    )


Panel = tuple[Callable[[Axes, pd.DataFrame], None], str, Callable[[pd.DataFrame], str]]

PANELS: dict[str, Panel] = {
    "agreement": (_paint_agreement, "agreement", _agreement_text),
    "sanity": (_paint_sanity, "randomised weights", _sanity_text),
    "energy": (_paint_energy, "energy on damage", _energy_text),
}
"""For each table its painter, title and caption."""
