"""Numbers, tables and figures as the page shows them: text, and pictures inside the page. Nothing here is marked up."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from bonehpo.hyperparameters import HYPERPARAMETERS, Hyperparameter, Hyperparameters
from bonehpo.results.result import Drawn
from bonehpo.task import Measure

LARGEST_SVG = 400_000
"""Bytes; drawings are shown as SVG, what holds many pictures and is larger as PNG."""

NONE = "–"

UNITS = {"_um": "µm", "_mpa": "MPa", "_percent": "%"}

WHOLE = {"height", "width", "position", "state"}
"""Columns of whole numbers that are kept as floats where one is missing."""

BRIEF = {"value", "threshold", *(entry.name for entry in HYPERPARAMETERS if entry.kind == "float")}
"""Columns of numbers of any size, which are written as in study.toml."""


@dataclass(frozen=True, kw_only=True)
class TableView:
    """A table as text. `numeric` says which columns are numbers, `marked` which row stands out, if any."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    marked: int | None = None


class FigureView(NamedTuple):
    """A figure inside the page: its number, its picture as a data URI, its size in pixels, where the paper has it."""

    number: int
    name: str
    title: str
    caption: str
    uri: str
    width: int
    height: int
    paper: str


class Sentence(NamedTuple):
    """A sentence of a result, and a mark for a warning."""

    text: str
    is_caution: bool


def table_view(table: pd.DataFrame, caption: str) -> TableView:
    """A table of a result: numbers rounded to what they are worth; empty columns are left out."""
    table = table.loc[:, [not ((table[name] == "") | table[name].isna()).all() for name in table.columns]]
    names = [str(name) for name in table.columns]
    return TableView(
        caption=caption,
        columns=tuple(heading(name) for name in names),
        rows=tuple(
            tuple(cell(value, name) for name, value in zip(names, row, strict=True))
            for row in table.itertuples(index=False)
        ),
        numeric=tuple(table[name].dtype.kind in "iuf" for name in table.columns),
    )


def heading(name: str) -> str:
    """Heading of a column for people.

    Examples:
        >>> heading("n_folds"), heading("trabecular_thickness_um"), heading("error_percent")
        ('folds', 'trabecular thickness (µm)', 'error (%)')
    """
    for suffix, unit in UNITS.items():
        if name.endswith(suffix):
            name = f"{name.removesuffix(suffix)} ({unit})"
    return name.removeprefix("n_").replace("_", " ")


def cell(value: object, name: str) -> str:
    """One value as text.

    Examples:
        >>> cell(0.89312, "mean"), cell(1e-4, "learning_rate"), cell(20446018, "n_parameters"), cell(float("inf"), "limit")
        ('0.893', '0.0001', '20,446,018', 'none')
        >>> cell(True, "chosen"), cell(float("nan"), "sd"), cell(0.0625, "p"), cell(-0.02, "difference")
        ('yes', '–', '0.0625', '−0.020')
    """
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{int(value):,}"
    return _number(float(value), name) if isinstance(value, (float, np.floating)) else str(value)


def _number(value: float, name: str) -> str:
    if not math.isfinite(value):
        return NONE if math.isnan(value) else "none"
    if name in WHOLE and value.is_integer():
        return f"{int(value):,}"
    if name in BRIEF:
        return brief(value)
    return f"{value:.{4 if name in ('p', 'smallest_p', 'p_corrected_t') else 3}f}".replace("-", "−")


def brief(number: float) -> str:
    """A number as it is written in study.toml.

    Examples:
        >>> brief(1e-5), brief(0.001)
        ('1e-5', '0.001')
    """
    return f"{number:g}".replace("e-0", "e-")


def value_text(entry: Hyperparameter, choice: Hyperparameters) -> str:
    """One hyperparameter of a choice as it is written in study.toml."""
    value = getattr(choice, entry.name)
    return brief(value) if entry.kind == "float" else entry.text(value)


def score_text(score: float | None, measure: Measure) -> str:
    """A score as people read it: an accuracy, or an error in % strain.

    Examples:
        >>> from bonehpo.task import ACCURACY, STRAIN
        >>> score_text(0.8934, ACCURACY), score_text(-0.5312, STRAIN.measure), score_text(None, ACCURACY)
        ('0.893', '0.53 %', '–')
    """
    if score is None or math.isnan(score):
        return NONE
    return spread_text(measure.sign * score, measure)


def spread_text(sd: float | None, measure: Measure) -> str:
    """A standard deviation of scores, in their unit.

    Examples:
        >>> from bonehpo.task import ACCURACY, STRAIN
        >>> spread_text(0.0412, ACCURACY), spread_text(0.31, STRAIN.measure)
        ('0.041', '0.31 %')
    """
    if sd is None or math.isnan(sd):
        return NONE
    return f"{sd:.{measure.decimals}f}{measure.unit}"


def span_text(worse_end: float, better_end: float, measure: Measure) -> str:
    """An interval of scores as people read it.

    Examples:
        >>> from bonehpo.task import ACCURACY
        >>> span_text(0.75, 1.125, ACCURACY)
        '0.750 to 1.000'
    """
    low, high = measure.span(worse_end, better_end)
    return f"{spread_text(low, measure)} to {spread_text(high, measure)}"


def signed_text(gap: float, measure: Measure) -> str:
    """A difference of scores, with its sign.

    Examples:
        >>> from bonehpo.task import ACCURACY
        >>> signed_text(-0.0125, ACCURACY)
        '−0.013'
    """
    return f"{gap:+.{measure.decimals}f}{measure.unit}".replace("-", "−")


def figure_views(drawn: Sequence[Drawn], first_number: int) -> tuple[FigureView, ...]:
    """Figures with their pictures read from disk, numbered from `first_number` on."""
    return tuple(
        FigureView(
            number=first_number + i,
            name=figure.name,
            title=figure.title,
            caption=figure.caption.replace("n = ", "n\u00a0=\u00a0"),
            uri=_data_uri(figure),
            width=size[0],
            height=size[1],
            paper=figure.paper,
        )
        for i, figure in enumerate(drawn)
        for size in [_png_size(figure)]
    )


def _data_uri(figure: Drawn) -> str:
    is_svg = figure.svg.stat().st_size <= LARGEST_SVG
    kind, path = ("svg+xml", figure.svg) if is_svg else ("png", figure.png)
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _png_size(figure: Drawn) -> tuple[int, int]:
    """Width and height in pixels, as the head of a PNG file has them."""
    head = figure.png.read_bytes()[16:24]
    return int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")


def sentences(texts: Sequence[str]) -> tuple[Sentence, ...]:
    """Sentences of a result, warnings first."""
    found = [Sentence(text, text.startswith("Caution")) for text in texts]
    return tuple(sorted(found, key=lambda sentence: not sentence.is_caution))
