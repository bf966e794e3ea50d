"""Networks compared: the mixed split (Shen et al. 2021, §3.4), ResNet-50 (Fig 8), and both along the load (Fig 9)."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bonehpo.analysis.detection import mean_by_state
from bonehpo.analysis.estimates import CHANCE
from bonehpo.report.figures.bars import LOOK, accuracy_axis, bars_of, paint_bars, reasons_text
from bonehpo.report.figures.curves import paint_curves
from bonehpo.report.figures.style import SERIES, Drawn, draw_figure, pale, span_text, words
from bonehpo.results.record import Result

ARMS = {
    "cnn": "CNN",
    "scratch": "ResNet-50,\nscratch",
    "frozen": "ResNet-50,\nfrozen",
    "fine-tuned": "ResNet-50,\nfine-tuned",
}


def mixed_figure(result: Result, folder: Path) -> Drawn:
    """The optimum in the specimen split and in mixed splits."""
    arms, folds = result.tables["arms"], result.tables["folds"]
    bars = bars_of(arms, folds)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        paint_bars(axes, bars, np.arange(len(bars), dtype=float), LOOK, width=0.6)
        axes.set_xticks(range(len(bars)), [bar.label.replace(", ", ",\n") for bar in bars])
        axes.set_xlim(-0.6, len(bars) - 0.4)
        accuracy_axis(axes, CHANCE)

    caption = words(
        result,
        "mixed",
        "Specimen split and mixed split",
        _bars_text(arms),
        "In a mixed split a specimen under test was trained on, in its other planes: the difference is what a network knows "
        "of a specimen, not of damage.",
        reasons_text(arms),
    )
    return draw_figure(paint, caption, folder, height_mm=72, width_mm=110)


def compare_figure(result: Result, folder: Path) -> Drawn:
    """The optimum beside ResNet-50 from scratch, frozen and fine-tuned, in both splits."""
    arms, folds = result.tables["arms"], result.tables["folds"]
    names = list(dict.fromkeys(arms["arm"].astype(str)))
    splits = list(dict.fromkeys(arms["split"].astype(str)))
    width = 0.8 / len(splits)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        handles = []
        for k, (split, look) in enumerate(zip(splits, SERIES, strict=False)):
            rows = arms[arms["split"] == split]
            bars = bars_of(rows, folds[folds["split"] == split])
            places = np.array([names.index(bar.label) for bar in bars]) + (k - (len(splits) - 1) / 2) * width
            paint_bars(axes, bars, places, look, width=width * 0.9)
            handles.append(
                Patch(facecolor=pale(look.color), edgecolor=look.color, hatch=look.hatch, label=f"{split} split")
            )
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_xticks(range(len(names)), [ARMS.get(name, name) for name in names])
        accuracy_axis(axes, CHANCE)
        figure.legend(handles=handles, loc="outside upper center", ncols=len(splits))

    caption = words(
        result, "compare", "The optimum and ResNet-50", _bars_text(arms), "Dotted: chance.", reasons_text(arms)
    )
    return draw_figure(paint, caption, folder, height_mm=85)


def _bars_text(arms: pd.DataFrame) -> str:
    n_folds = {int(n) for n in arms.loc[arms["mean"].notna(), "n_folds"]} or {0}
    return (
        f"Bars: mean test accuracy over folds ({span_text(n_folds, 'folds')}); error bars: one standard deviation over the "
        "same folds; points: means of single test sets."
    )


def compare_detection_figure(result: Result, folder: Path) -> Drawn | None:
    """Accuracy of the optimum and of ResNet-50 against load state, over test sets. None where no state was looked at."""
    states = result.tables.get("states", pd.DataFrame())
    if states.empty:
        return None
    arms = list(dict.fromkeys(states["arm"].astype(str)))
    means = {arm: mean_by_state(states[states["arm"] == arm]) for arm in arms}

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        paint_curves(axes, {ARMS.get(arm, arm).replace("\n", " "): mean for arm, mean in means.items()})
        figure.legend(loc="outside upper center", ncols=len(arms))

    n_sets = {int(n) for mean in means.values() for n in mean["n_sets"]}
    caption = words(
        result,
        "compare-detection",
        "Detection by the optimum and by ResNet-50",
        f"Overall accuracy at each load state, mean over {span_text(n_sets, 'test sets')}; bands are 95 % intervals of "
        "the mean over test sets.",
        "In the pristine state it is 0.5 by construction.",
    )
    return draw_figure(paint, caption, folder, height_mm=75, width_mm=130)
