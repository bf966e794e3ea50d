"""Configurations compared: the mixed split, backbones (Fig 8, 9), the ablation of Appendix A, the shortcut audit."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from bonehpo.analysis.detection import HIGH, mean_by_state
from bonehpo.analysis.shortcuts import NEAR, NETWORK
from bonehpo.learning.backbones import RESNET50, Mode, find_backbone
from bonehpo.report.figures.charts import (
    LOOK,
    Picture,
    accuracy_axis,
    bars_of,
    outline_text,
    paint_bars,
    paint_curves,
    pictures_of,
    reasons_text,
    show_overlay,
    show_slice,
)
from bonehpo.report.figures.style import (
    BLACK,
    GREY,
    PALE,
    SERIES,
    bare,
    draw_figure,
    letter,
    pale,
    pt,
    rows_of,
    span_text,
    words,
)
from bonehpo.results.compare import COMPARE
from bonehpo.results.result import Drawn, Result
from bonehpo.task import DAMAGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


def _labels(result: Result) -> dict[str, str]:
    """Configurations of a comparison as they are called in figures, by their names in tables."""
    return {"cnn": "CNN", **{mode: f"{_backbone(result)},\n{mode}" for mode in get_args(Mode)}}


def _backbone(result: Result) -> str:
    """Label of the backbone that is compared; results of version 0.1 do not name it."""
    return find_backbone(result.parameters.get("backbone", RESNET50.name)).label


def mixed_figure(result: Result, folder: Path) -> Drawn:
    """The optimum in the specimen split and in mixed splits."""
    configurations, folds = result.tables["configurations"], result.tables["folds"]
    bars = bars_of(configurations, folds)

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        paint_bars(axes, bars, np.arange(len(bars), dtype=float), LOOK, width=0.6)
        axes.set_xticks(range(len(bars)), [bar.label.replace(", ", ",\n") for bar in bars])
        axes.set_xlim(-0.6, len(bars) - 0.4)
        accuracy_axis(axes, DAMAGE.chance)

    caption = words(
        result,
        "mixed",
        "Specimen split and mixed split",
        _bars_text(configurations),
        "In a mixed split a specimen under test was trained on, in its other planes: the difference is what a network knows "
        "of a specimen, not of damage.",
        reasons_text(configurations),
        paper="§3.4",
    )
    return draw_figure(paint, caption, folder, height_mm=72, width_mm=110)


def by_plane_figure(result: Result, folder: Path) -> Drawn:
    """Accuracy of the optimum on pristine and on failed slices of each plane."""
    from matplotlib.patches import Patch

    found, sets = result.tables["planes"], result.tables["sets"]
    planes, labels = list(dict.fromkeys(found["plane"])), list(dict.fromkeys(found["label"]))
    width = 0.84 / len(labels)

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        handles = []
        for k, (label, look) in enumerate(zip(labels, SERIES, strict=False)):
            rows = found[found["label"] == label].rename(columns={"plane": "configuration", "accuracy": "mean"})
            by_set = sets[sets["label"] == label].rename(columns={"plane": "configuration"})
            bars = bars_of(rows.assign(reason=""), by_set)
            places = np.array([planes.index(bar.label) for bar in bars]) + (k - (len(labels) - 1) / 2) * width
            paint_bars(axes, bars, places, look, width=width * 0.9)
            handles.append(Patch(facecolor=pale(look.color), edgecolor=look.color, hatch=look.hatch, label=label))
        axes.set_xlim(-0.6, len(planes) - 0.4)
        axes.set_xticks(range(len(planes)), planes)
        axes.set_xlabel("plane")
        accuracy_axis(axes, DAMAGE.chance)
        figure.legend(handles=handles, loc="outside upper center", ncols=len(labels))

    caption = words(
        result,
        "by-plane",
        "Accuracy by plane and class",
        f"Bars: accuracy on the slices of one plane and class, mean over the folds of a test set and over n = "
        f"{sets['test'].nunique()} sets; error bars: one standard deviation over test sets; points: single test sets.",
        "Dotted: chance.",
    )
    return draw_figure(paint, caption, folder, height_mm=80)


def compare_figure(result: Result, folder: Path) -> Drawn:
    """The optimum beside a backbone from scratch, frozen and fine-tuned, in both splits."""
    from matplotlib.patches import Patch

    configurations, folds, labels = result.tables["configurations"], result.tables["folds"], _labels(result)
    names = list(dict.fromkeys(configurations["configuration"].astype(str)))
    splits = list(dict.fromkeys(configurations["split"].astype(str)))
    width = 0.8 / len(splits)

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        handles = []
        for k, (split, look) in enumerate(zip(splits, SERIES, strict=False)):
            rows = configurations[configurations["split"] == split]
            bars = bars_of(rows, folds[folds["split"] == split])
            places = np.array([names.index(bar.label) for bar in bars]) + (k - (len(splits) - 1) / 2) * width
            paint_bars(axes, bars, places, look, width=width * 0.9)
            handles.append(
                Patch(facecolor=pale(look.color), edgecolor=look.color, hatch=look.hatch, label=f"{split} split")
            )
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_xticks(range(len(names)), [labels.get(name, name) for name in names])
        accuracy_axis(axes, DAMAGE.chance)
        figure.legend(handles=handles, loc="outside upper center", ncols=len(splits))

    caption = words(
        result,
        result.name,
        f"The optimum and {_backbone(result)}",
        _bars_text(configurations),
        "Dotted: chance.",
        reasons_text(configurations),
        paper="Fig 8" if result.name == COMPARE else "",
    )
    return draw_figure(paint, caption, folder, height_mm=85)


def _bars_text(configurations: pd.DataFrame) -> str:
    n_folds = {int(n) for n in configurations.loc[configurations["mean"].notna(), "n_folds"]} or {0}
    return (
        f"Bars: mean test accuracy over folds ({span_text(n_folds, 'folds')}); error bars: one standard deviation over the "
        "same folds; points: means of single test sets."
    )


def compare_detection_figure(result: Result, folder: Path) -> Drawn | None:
    """Accuracy of the optimum and of a backbone against load state, over test sets. None where no state was looked at."""
    states = result.tables.get("states", pd.DataFrame())
    if states.empty:
        return None
    configurations = list(dict.fromkeys(states["configuration"].astype(str)))
    labels = _labels(result)
    means = {
        configuration: mean_by_state(states[states["configuration"] == configuration])
        for configuration in configurations
    }

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        paint_curves(
            axes,
            {
                labels.get(configuration, configuration).replace("\n", " "): mean
                for configuration, mean in means.items()
            },
        )
        figure.legend(loc="outside upper center", ncols=len(configurations))

    n_sets = {int(n) for mean in means.values() for n in mean["n_sets"]}
    caption = words(
        result,
        f"{result.name}-detection",
        f"Detection by the optimum and by {_backbone(result)}",
        f"Overall accuracy at each load state, mean over {span_text(n_sets, 'test sets')}; bands are 95 % intervals of "
        "the mean over test sets.",
        "In the pristine state it is 0.5 by construction.",
        paper="Fig 9" if result.name == COMPARE else "",
    )
    return draw_figure(paint, caption, folder, height_mm=75, width_mm=130)


LABELS = ("pristine", "loaded", "failed")

SHOWN = ("raw", "prepared")
"""Variants whose heat maps are shown."""


def ablation_figure(result: Result, folder: Path) -> Drawn:
    """Accuracy per state of each variant; below it Grad-CAM on pristine, loaded and failed slices."""
    states = result.tables["states"]
    variants = list(dict.fromkeys(states["variant"].astype(str)))
    means = {variant: mean_by_state(states[states["variant"] == variant]) for variant in variants}
    pictures = _pictures(result)

    def paint(figure: "Figure") -> None:
        upper: Figure | SubFigure = figure
        if not pictures.empty:
            upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=(72, 68)), dtype=object)
            _paint_pictures(lower, result, pictures)
        axes = upper.subplots()
        paint_curves(axes, means)
        upper.legend(loc="outside right upper", title="slices")
        letter(axes, 0)

    n_sets = {int(n) for mean in means.values() for n in mean["n_sets"]}
    caption = words(
        result,
        "ablation",
        "What the preparation of scans is for",
        f"(a) Overall accuracy against load state, mean over {span_text(n_sets, 'test sets')}, for slices prepared as "
        "always and for slices without one or all of the steps; bands are 95 % intervals of the mean over test sets.",
        "A network that tells even states before there is damage from pristine bone has learnt the scan and not the damage.",
        ""
        if pictures.empty
        else f"(b) n = {len(pictures)} middle slices of raw and of prepared scans ({_where(pictures)}), without and with "
        "Grad-CAM.",
        "" if pictures.empty else outline_text(result),
        paper="Appendix A",
    )
    return draw_figure(paint, caption, folder, height_mm=75 if pictures.empty else 140)


def _pictures(result: Result) -> pd.DataFrame:
    """One slice of each label and variant that is shown."""
    rows = result.tables.get("slices", pd.DataFrame())
    if rows.empty:
        return rows
    rows = rows[rows["variant"].isin(SHOWN) & rows["label"].isin(LABELS)]
    return rows.groupby(["variant", "label"], sort=False).head(1)


def _where(pictures: pd.DataFrame) -> str:
    """Whose slices are shown: specimens and planes."""
    return ", ".join(dict.fromkeys(f"{row.specimen} {row.plane}" for row in rows_of(pictures)))


def _paint_pictures(part: "SubFigure", result: Result, rows: pd.DataFrame) -> None:
    panels = part.subplots(len(SHOWN), 2 * len(LABELS), squeeze=False)
    for axes in panels.ravel():
        bare(axes)
    for k, (variant, label) in enumerate(product(SHOWN, LABELS)):
        line, column = divmod(2 * k, 2 * len(LABELS))
        left, right = panels[line, column], panels[line, column + 1]
        if column == 0:
            left.set_ylabel(variant, fontweight="bold")
        for row, picture in zip(*_found(result, rows, variant, label), strict=True):
            show_slice(left, picture)
            show_overlay(right, picture)
            left.set_title(f"{'(b) ' if k == 0 else ''}{label}, state {row.state}", loc="left", fontsize=pt(7))
            right.set_xlabel(f"p(failed) = {row.p_failed:.2f}", fontsize=pt(6.5), labelpad=2)


def _found(result: Result, rows: pd.DataFrame, variant: str, label: str) -> tuple[list[Any], tuple[Picture, ...]]:
    found = rows[(rows["variant"] == variant) & (rows["label"] == label)]
    return rows_of(found), pictures_of(result, found)


def audit_figure(result: Result, folder: Path) -> Drawn:
    """Accuracy of the network and of each trivial model; and of the latter at load states before damage, if known."""
    models, folds = result.tables["models"], result.tables["folds"]
    asked = models[models["reason"] == ""]
    before = _before_damage(result)

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(1, 2 if before else 1, squeeze=False, width_ratios=(1.5, 1) if before else None)[0]
        _paint_models(panels[0], asked, folds)
        if before:
            letter(panels[0], 0)
            letter(panels[1], 1)
            _paint_before(panels[1], before)
            figure.legend(*panels[1].get_legend_handles_labels(), loc="outside upper right", ncols=4)

    n_sets, n_folds = folds["test"].nunique(), {int(n) for n in asked["n_folds"]}
    caption = words(
        result,
        "audit",
        "Models that cannot see a crack, beside the network",
        f"{'(a) ' if before else ''}Bars: mean accuracy, pristine against failed, over {span_text(n_folds, 'folds')}; error "
        f"bars: one standard deviation over the same; points: means of n = {n_sets} test sets. Dashed: {NEAR:.0%} of the "
        "network's margin over chance; short lines: what damage does not let a model reach; hatched: flagged models.",
        f"(b) Mean accuracy of those that come highest, pristine against loaded, before damage: dashed from where ({HIGH}) "
        "they see something that is no damage."
        if before
        else "",
        _left_out(models),
    )
    return draw_figure(paint, caption, folder, height_mm=85 if before else 75, width_mm=180 if before else 130)


def _paint_models(axes: "Axes", asked: pd.DataFrame, folds: pd.DataFrame) -> None:
    names = list(asked["model"].astype(str))
    bars = bars_of(asked.rename(columns={"model": "configuration"}), folds.rename(columns={"model": "configuration"}))
    for k, bar in enumerate(bars):
        flagged = bool(asked["flagged"].iloc[k])
        look = SERIES[0] if bar.label == NETWORK else SERIES[1] if flagged else SERIES[1]._replace(color=GREY, hatch="")
        paint_bars(axes, (bar,), np.array([float(k)]), look, width=0.7)
    near = DAMAGE.chance + NEAR * (float(asked["mean"].iloc[0]) - DAMAGE.chance)
    axes.axhline(near, color=BLACK, linestyle="--", linewidth=0.8, zorder=0)
    if "ceiling" in asked:  # audits of before have none
        places = np.arange(len(names))
        axes.hlines(asked["ceiling"], places - 0.4, places + 0.4, colors=BLACK, linewidth=1.5)
    axes.set_xticks(range(len(names)), names, fontsize=pt(7), rotation=40, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(names) - 0.4)
    accuracy_axis(axes, DAMAGE.chance)


def _before_damage(result: Result) -> dict[str, pd.DataFrame]:
    """Mean accuracies at loaded states before damage of the models that come highest; nothing where none is known."""
    states, visible = result.tables["states"], result.parameters["visible_from"]
    if not visible.isdigit():
        return {}
    loaded = (states["state"] > states["state"].min()) & (states["state"] < int(visible))
    curves = {
        str(model): mean_by_state(states[(states["model"] == model) & loaded])
        for model in dict.fromkeys(states["model"])
        if loaded.any()
    }
    highest = sorted(curves, key=lambda model: float(curves[model]["accuracy"].max()), reverse=True)[: len(SERIES)]
    return {model: curve for model, curve in curves.items() if model in highest}


def _paint_before(axes: "Axes", curves: dict[str, pd.DataFrame]) -> None:
    from matplotlib.ticker import MaxNLocator

    for look, (model, curve) in zip((*SERIES[1:], SERIES[0]), curves.items(), strict=False):
        axes.plot(
            curve["state"], curve["accuracy"], color=look.color, linestyle=look.dash, marker=look.marker, label=model
        )
    axes.axhline(DAMAGE.chance, color=PALE, linestyle=":", linewidth=1, zorder=0)
    axes.axhline(HIGH, color=BLACK, linestyle="--", linewidth=0.8, zorder=1)
    axes.set(xlabel="load state", ylabel="accuracy before damage", ylim=(0, 1.15), yticks=np.linspace(0, 1, 6))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _left_out(models: pd.DataFrame) -> str:
    missing = models[models["reason"] != ""]
    named = [f"{model} ({reason})" for model, reason in zip(missing["model"], missing["reason"], strict=True)]
    return f"Not asked: {'; '.join(named)}." if named else ""
