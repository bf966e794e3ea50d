"""Style of all figures: sizes, colours that colour-blind readers and grey prints can tell apart, and how they are written.

Colours are those of Okabe and Ito; no two series differ in colour alone, but in marker, dash or hatch as well. Heat maps are
viridis, whose brightness rises steadily.

References:
    Okabe and Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from bonehpo.files import write_whole
from bonehpo.results.result import Drawn, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE_MM = 180
"""Width of two columns of a journal."""

PNG_DPI = 200

BLACK, GREY, PALE = "#000000", "#6b6b6b", "#c8c8c8"
BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY = "#CC79A7", "#56B4E9"
HEAT = "viridis"

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "hatch.linewidth": 0.5,
    "figure.facecolor": "white",
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "text.parse_math": False,  # names of specimens may hold a $
    "svg.hashsalt": "bonehpo",
    "svg.fonttype": "path",
    "image.interpolation": "auto",
}


class Series(NamedTuple):
    """Look of one series: as a line by colour, dash and marker, as a bar by colour and hatch."""

    color: str
    dash: str
    marker: str
    hatch: str


SERIES = (
    Series(BLUE, "-", "o", ""),
    Series(VERMILLION, "--", "s", "////"),
    Series(GREEN, "-.", "^", "||||"),
    Series(ORANGE, ":", "D", "xxxx"),
    Series(PURPLE, "-", "v", "----"),
    Series(SKY, "--", "P", "\\\\\\\\"),
    Series(BLACK, "-.", "X", "++++"),
)
"""Repeat them beyond the seventh; a legend with more names than that is no legend."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """Title and caption of a figure, and its place in the paper; see `Drawn`."""

    name: str
    title: str
    caption: str
    paper: str = ""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Figures as a journal wants them.

    Attributes:
        folder: Where they go.
        width_mm: Width of a figure that fills a page here; narrower ones are narrower in proportion.
        suffix: "pdf", "svg", "png" or "tiff".
        dpi: Pixels an inch, of the figure or of pictures in it.
    """

    folder: Path
    width_mm: float
    suffix: str
    dpi: int


SMALLEST = 5 / 7
"""Lettering of a narrow figure over that of a page's width: 5 points, which journals print."""

_EXPORT: ContextVar[Export | None] = ContextVar("export", default=None)


@contextmanager
def exported(export: Export) -> Iterator[None]:
    """Let figures that are drawn inside go to a folder of their own, in another size and format."""
    token = _EXPORT.set(export)
    try:
        yield
    finally:
        _EXPORT.reset(token)


def draw_figure(
    paint: Callable[["Figure"], None], words: Words, folder: Path, height_mm: float, width_mm: float = PAGE_MM
) -> Drawn:
    """Draw a figure in the common style and write it. The same figure gives the same bytes.

    Args:
        paint: Draws into an empty figure.
        words: Name, title, caption and place in the paper.
        folder: Where to write `<name>.png` and `<name>.svg`; made if it is not there.
        height_mm: Height on paper.
        width_mm: Width on paper.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    export = _EXPORT.get()
    if export is not None:
        return _draw_export(paint, words, export, height_mm, width_mm)
    folder.mkdir(parents=True, exist_ok=True)
    png, svg = (folder / f"{words.name}.{suffix}" for suffix in ("png", "svg"))
    with rc_context(RC):
        figure = Figure(figsize=(width_mm / 25.4, height_mm / 25.4), layout="constrained")
        paint(figure)
        figure.savefig(png, dpi=PNG_DPI, metadata={"Software": None})
        figure.savefig(svg, dpi=PNG_DPI, metadata={"Date": None})
    return Drawn(name=words.name, title=words.title, caption=words.caption, paper=words.paper, png=png, svg=svg)


SIZES = (
    *("font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize"),
    *("lines.linewidth", "lines.markersize"),
)
"""Settings in points that are scaled with a figure."""


def _scale() -> float:
    export = _EXPORT.get()
    return 1.0 if export is None else min(max(export.width_mm / PAGE_MM, SMALLEST), 1.0)


def pt(size: float) -> float:
    """Size of lettering in points, smaller where a figure is drawn for a narrow column."""
    return size * _scale()


def _fit_legends(figure: "Figure") -> None:
    """Put legends that are wider than the figure anew, in fewer columns."""
    for legend in list(figure.legends):
        handles = [handle for handle in legend.legend_handles if handle is not None]
        labels = [text.get_text() for text in legend.get_texts()]
        place: Any = f"outside {getattr(legend, '_outside_loc', None) or 'upper'} center"
        for n in range(len(labels), 0, -1):
            figure.draw_without_rendering()
            if legend.get_window_extent().width <= 0.96 * figure.bbox.width:
                break
            legend.remove()
            legend = figure.legend(handles, labels, loc=place, ncols=n)  # noqa: PLW2901


def _draw_export(
    paint: Callable[["Figure"], None], words: Words, export: Export, height_mm: float, width_mm: float
) -> Drawn:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    scale, ratio = _scale(), export.width_mm / PAGE_MM
    size = (width_mm * ratio / 25.4, height_mm * min(max(ratio, scale), 1.5) / 25.4)
    file = export.folder / f"{words.name}.{export.suffix}"
    sizes = {name: value * scale for name, value in RC.items() if isinstance(value, float | int) and name in SIZES}
    with rc_context({**RC, **sizes, "pdf.fonttype": 42}):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        _fit_legends(figure)
        metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(export.suffix)
        write_whole(file, lambda path: figure.savefig(path, format=export.suffix, dpi=export.dpi, metadata=metadata))
    return Drawn(name=words.name, title=words.title, caption=words.caption, paper=words.paper, png=file, svg=file)


def words(result: Result, name: str, title: str, *sentences: str, paper: str = "") -> Words:
    """Title and caption of a figure of a result; on phantoms both say so.

    Args:
        result: That is drawn.
        name: Of the files, without suffix.
        title: Without bone and phantom.
        sentences: Of the caption; empty ones are left out.
        paper: Where Shen et al. 2021 have this figure; empty where they do not.
    """
    phantom = result.ran_on == "phantom"
    return Words(
        name=name,
        title=f"{title} ({result.bone}, phantom)" if phantom else f"{title} ({result.bone})",
        caption=" ".join(s for s in (*sentences, PHANTOM if phantom else "") if s),
        paper=paper,
    )


PHANTOM = "Phantom: the bone is synthetic and its damage simulated."


def letter(axes: "Axes", i: int, title: str = "") -> None:
    """Write (a), (b), … and a title over the left end of a panel.

    Args:
        axes: The panel.
        i: Its place in the figure, from 0.
        title: Behind the letter.
    """
    axes.set_title(f"({'abcdefghijklmnopqrstuvwxyz'[i]}) {title}".rstrip(), loc="left", fontweight="bold")


def bare(axes: "Axes") -> None:
    """Take ticks and frame off a panel that holds a picture."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def span_text(ns: set[int], unit: str) -> str:
    """Number of something as text: "n = 20 folds", or "n = 12 to 20 folds".

    Examples:
        >>> span_text({12, 20}, "folds")
        'n = 12 to 20 folds'
    """
    low, high = min(ns), max(ns)
    return f"n = {low} {unit}" if low == high else f"n = {low} to {high} {unit}"


def rows_of(table: pd.DataFrame) -> list[Any]:
    """The rows of a table, their columns as attributes."""
    return list(table.itertuples())


def pale(color: str) -> tuple[float, float, float]:
    """A colour (#rrggbb) half-way to white, for areas with an edge in the colour itself."""
    red, green, blue = (int(color[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return 0.5 + red / 2, 0.5 + green / 2, 0.5 + blue / 2


def short(name: str, longest: int = 22) -> str:
    """A name that fits a legend: its beginning and its end.

    Examples:
        >>> short("left femur, mid-shaft, third cut")
        'left femur…, third cut'
    """
    half = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[half - longest + 1 :]}"


def count_text(n: int, what: str) -> str:
    """So many of something, in the right number.

    Examples:
        >>> count_text(1, "layer"), count_text(5, "layer")
        ('1 layer', '5 layers')
    """
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
