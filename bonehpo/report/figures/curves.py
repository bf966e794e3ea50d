"""Accuracy along the load, one curve for each of several networks or preparations."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes

from bonehpo.analysis.estimates import CHANCE
from bonehpo.report.figures.style import PALE, SERIES

ACCURACY_RANGE = (-0.03, 1.03)


def paint_curves(axes: Axes, means: Mapping[str, pd.DataFrame]) -> None:
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
    axes.axhline(CHANCE, color=PALE, linestyle=":", linewidth=1)
    axes.set(xlabel="load state", ylabel="overall accuracy", ylim=ACCURACY_RANGE)
    axes.set_xticks(sorted({int(state) for mean in means.values() for state in mean["state"]}))
