"""What preparation is for: accuracy along the load, and Grad-CAM, without it (Shen et al. 2021, Appendix A)."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure, SubFigure

from bonehpo.analysis.detection import mean_by_state
from bonehpo.report.figures.curves import paint_curves
from bonehpo.report.figures.pictures import Picture, outline_text, pictures_of, show_overlay, show_slice
from bonehpo.report.figures.style import Drawn, bare, draw_figure, letter, rows_of, span_text, words
from bonehpo.results.record import Result

LABELS = ("pristine", "loaded", "failed")

SHOWN = ("raw", "prepared")
"""Variants whose heat maps are shown."""


def ablation_figure(result: Result, folder: Path) -> Drawn:
    """Accuracy per state of each variant; below it Grad-CAM on pristine, loaded and failed slices."""
    states = result.tables["states"]
    variants = list(dict.fromkeys(states["variant"].astype(str)))
    means = {variant: mean_by_state(states[states["variant"] == variant]) for variant in variants}
    pictures = _pictures(result)

    def paint(figure: Figure) -> None:
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


def _paint_pictures(part: SubFigure, result: Result, rows: pd.DataFrame) -> None:
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
            left.set_title(f"{'(b) ' if k == 0 else ''}{label}, state {row.state}", loc="left", fontsize=7)
            right.set_xlabel(f"p(failed) = {row.p_failed:.2f}", fontsize=6.5, labelpad=2)


def _found(result: Result, rows: pd.DataFrame, variant: str, label: str) -> tuple[list[Any], tuple[Picture, ...]]:
    found = rows[(rows["variant"] == variant) & (rows["label"] == label)]
    return rows_of(found), pictures_of(result, found)
