"""The shortcut audit: models that cannot see a crack beside the network, on the same folds and before any damage."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bonehpo.analysis.detection import HIGH, mean_by_state
from bonehpo.analysis.estimates import CHANCE
from bonehpo.analysis.shortcuts import NEAR, NETWORK
from bonehpo.report.figures.bars import accuracy_axis, bars_of, paint_bars
from bonehpo.report.figures.style import BLACK, GREY, PALE, SERIES, Drawn, draw_figure, letter, span_text, words
from bonehpo.results.record import Result


def audit_figure(result: Result, folder: Path) -> Drawn:
    """Accuracy of the network and of each trivial model; and of the latter at load states before damage, if known."""
    models, folds = result.tables["models"], result.tables["folds"]
    asked = models[models["reason"] == ""]
    before = _before_damage(result)

    def paint(figure: Figure) -> None:
        panels = figure.subplots(1, 2 if before else 1, squeeze=False, width_ratios=(1.2, 1) if before else None)[0]
        _paint_models(panels[0], asked, folds)
        if before:
            letter(panels[0], 0)
            letter(panels[1], 1)
            _paint_before(panels[1], before)
            figure.legend(*panels[1].get_legend_handles_labels(), loc="outside upper right", ncols=len(before))

    n_sets, n_folds = folds["test"].nunique(), {int(n) for n in asked["n_folds"]}
    caption = words(
        result,
        "audit",
        "Models that cannot see a crack, beside the network",
        f"{'(a) ' if before else ''}Bars: mean accuracy, pristine against failed, over {span_text(n_folds, 'folds')}; error "
        f"bars: one standard deviation over the same; points: means of n = {n_sets} test sets. Dashed: {NEAR:.0%} of the "
        "network's margin over chance; hatched: models that are flagged.",
        f"(b) Mean accuracy of the same models, pristine against loaded, before damage: dashed from where ({HIGH}) "
        "they see something that is no damage."
        if before
        else "",
        _left_out(models),
    )
    return draw_figure(paint, caption, folder, height_mm=80 if before else 75, width_mm=180 if before else 110)


def _paint_models(axes: Axes, asked: pd.DataFrame, folds: pd.DataFrame) -> None:
    names = list(asked["model"].astype(str))
    bars = bars_of(asked.rename(columns={"model": "arm"}), folds.rename(columns={"model": "arm"}))
    for k, bar in enumerate(bars):
        flagged = bool(asked["flagged"].iloc[k])
        look = SERIES[0] if bar.label == NETWORK else SERIES[1] if flagged else SERIES[1]._replace(color=GREY, hatch="")
        paint_bars(axes, (bar,), np.array([float(k)]), look, width=0.7)
    near = CHANCE + NEAR * (float(asked["mean"].iloc[0]) - CHANCE)
    axes.axhline(near, color=BLACK, linestyle="--", linewidth=0.8, zorder=0)
    axes.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names])
    axes.set_xlim(-0.6, len(names) - 0.4)
    accuracy_axis(axes, CHANCE)


def _before_damage(result: Result) -> dict[str, pd.DataFrame]:
    """For each trivial model its mean accuracies at loaded states before damage; nothing where none is known."""
    states, visible = result.tables["states"], result.parameters["visible_from"]
    if not visible.isdigit():
        return {}
    loaded = (states["state"] > states["state"].min()) & (states["state"] < int(visible))
    return {
        str(model): mean_by_state(states[(states["model"] == model) & loaded])
        for model in dict.fromkeys(states["model"])
        if loaded.any()
    }


def _paint_before(axes: Axes, curves: dict[str, pd.DataFrame]) -> None:
    for look, (model, curve) in zip(SERIES[1:], curves.items(), strict=False):
        axes.plot(
            curve["state"], curve["accuracy"], color=look.color, linestyle=look.dash, marker=look.marker, label=model
        )
    axes.axhline(CHANCE, color=PALE, linestyle=":", linewidth=1, zorder=0)
    axes.axhline(HIGH, color=BLACK, linestyle="--", linewidth=0.8, zorder=1)
    axes.set(xlabel="load state", ylabel="accuracy before damage", ylim=(0, 1.15), yticks=np.linspace(0, 1, 6))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _left_out(models: pd.DataFrame) -> str:
    missing = models[models["reason"] != ""]
    named = [f"{model} ({reason})" for model, reason in zip(missing["model"], missing["reason"], strict=True)]
    return f"Not asked: {'; '.join(named)}." if named else ""
