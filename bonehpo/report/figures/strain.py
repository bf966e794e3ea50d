"""Strain read from slices: predicted against true, its error along the load, and what the network looked at."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bonehpo.report.figures.charts import outline_text
from bonehpo.report.figures.heat_maps import draw_states
from bonehpo.report.figures.style import (
    BLACK,
    BLUE,
    GREY,
    PALE,
    SERIES,
    VERMILLION,
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

REFERENCE = "mean of the training strains"


def strain_figure(result: Result, folder: Path) -> Drawn:
    """Predicted against true strain, and the mean absolute error at each state beside that of a constant."""
    slices, states, configurations = (result.tables[name] for name in ("slices", "states", "configurations"))
    network = configurations[configurations["configuration"] == "network"].iloc[0]

    def paint(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
        _paint_agreement(left, slices)
        _paint_errors(right, states, configurations)
        letter(left, 0)
        letter(right, 1)

    caption = words(
        result,
        "strain",
        "Strain predicted from slices",
        "(a) Predicted against true apparent strain: mean of each specimen at each load state over slices and networks; "
        "error bars are one standard deviation over the same "
        f"(n = {slices['specimen'].nunique()} specimens, {len(slices):,} predictions); on the line both are equal.",
        "(b) Mean absolute error at each state; error bars are one standard deviation over "
        f"{span_text({int(network['n_folds'])}, 'folds')}. Lines: mean error of the network over all states, and of a guess "
        "that always names the mean of the training strains.",
        paper="§4",
    )
    return draw_figure(paint, caption, folder, height_mm=85)


def _paint_agreement(axes: "Axes", slices: pd.DataFrame) -> None:
    found = slices.groupby(["specimen", "state"], sort=False).agg(
        true=("strain_percent", "mean"), mean=("predicted_percent", "mean"), sd=("predicted_percent", "std")
    )
    low = min(found["true"].min(), found["mean"].min(), 0)
    high = max(found["true"].max(), (found["mean"] + found["sd"].fillna(0)).max()) * 1.03
    axes.plot([low, high], [low, high], color=BLACK, linewidth=0.8, linestyle="-")
    for k, (look, (specimen, rows)) in enumerate(zip(SERIES * 5, found.groupby("specimen", sort=False), strict=False)):
        axes.errorbar(
            rows["true"] + 0.006 * (high - low) * (k - 2), rows["mean"], yerr=rows["sd"].fillna(0), color=look.color,
            marker=look.marker, linestyle="", elinewidth=0.5, label=short(str(specimen)),
        )  # fmt: skip
    low = min(low, float((found["mean"] - found["sd"].fillna(0)).min()))
    ends = (low - 0.03 * (high - low), high)
    axes.set(xlabel="true strain (%)", ylabel="predicted strain (%)", xlim=ends, ylim=ends, aspect="equal")
    axes.legend(fontsize=pt(6.5), handlelength=1, borderpad=0.2, labelspacing=0.3)


def _paint_errors(axes: "Axes", states: pd.DataFrame, configurations: pd.DataFrame) -> None:
    axes.errorbar(
        states["state"],
        states["error_percent"],
        yerr=states["sd"].fillna(0),
        color=BLUE,
        marker="o",
        capsize=2,
        elinewidth=0.7,
    )
    looks = {"network": (BLUE, "--"), REFERENCE: (VERMILLION, ":")}
    for row in rows_of(configurations):
        color, dash = looks.get(str(row.configuration), (GREY, "-."))
        axes.axhline(
            row.error_percent, color=color, linestyle=dash, label=f"{row.configuration}: {row.error_percent:.2f}"
        )
    axes.set(xlabel="load state", ylabel="mean absolute error (% strain)", ylim=(0, None))
    axes.set_xticks([int(state) for state in np.unique(states["state"])])
    axes.grid(axis="y", color=PALE, linewidth=0.3)
    axes.legend()


def strain_maps_figure(result: Result, folder: Path) -> Drawn | None:
    """One slice through all load states with the heat map of the predicted strain. None where there is no picture."""
    rows = result.tables.get("maps", pd.DataFrame())
    if rows.empty or "maps" not in result.arrays:
        return None
    rows = rows[rows["panel"] == "states"] if (rows["panel"] == "states").any() else rows
    rows = rows.sort_values("state")
    first = rows.iloc[0]
    caption = words(
        result,
        "strain-maps",
        "Grad-CAM of the predicted strain",
        f"One slice ({first['specimen']}, {first['plane']}, position {first['position']}) at n = {len(rows)} load states, "
        "without and with its Grad-CAM map. Below each pair: the predicted strain.",
        "ε is the true apparent strain." if rows["strain"].notna().any() else "",
        outline_text(result),
    )
    return draw_states(result, rows, folder, caption, lambda row: f"{row.predicted_percent:.2f} %")
