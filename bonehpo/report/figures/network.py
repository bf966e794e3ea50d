"""The chosen network as boxes in perspective (Shen et al. 2021, Fig 4a, 4b)."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from bonehpo.report.figures.style import BLACK, Drawn, Series, count_text, draw_figure, rows_of, words
from bonehpo.results.record import Result

WIDTH = 180.0
"""Of the drawing, in its own units: one is about a millimetre on paper."""

HIGHEST, WIDEST_GAP = 38.0, 14.0
"""Largest side of a box, and largest gap between two, in the same units."""

LABEL = 9.5
"""Width that the writing below a box needs."""

SLANT = (0.42, 0.34)
"""How far the far edge of a box lies to the right and up, as parts of its side."""

LOOKS = {
    "input": Series("#ffffff", "-", "", ""),
    "convolution": Series("#9ecae1", "-", "", ""),
    "max-pool": Series("#fdd0a2", "-", "", "////"),
    "dense": Series("#a1d99b", "-", "", "||||"),
    "softmax": Series("#dadaeb", "-", "", "xxxx"),
}


class Box(NamedTuple):
    """One box of the drawing: height and width of a feature map in pixels, its channels, and its kernel."""

    kind: str
    height: int
    width: int
    channels: int
    text: str


def architecture_figure(result: Result, folder: Path) -> Drawn:
    """Draw the layers of `best-fold`: sizes below each box, channels above."""
    layers = result.tables["layers"]
    boxes = tuple(network_boxes(layers))
    n_parameters = int(layers["parameters"].sum())

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        top = _paint_boxes(axes, boxes)
        axes.set(xlim=(-1, WIDTH + 1), ylim=(-9, top + 5), aspect="equal")
        axes.set_axis_off()
        handles = [
            Polygon([(0, 0)], closed=True, facecolor=look.color, edgecolor=BLACK, hatch=look.hatch, label=kind, lw=0.6)
            for kind, look in LOOKS.items()
            if any(box.kind == kind for box in boxes)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))

    n_convolutions = sum(box.kind == "convolution" for box in boxes)
    caption = words(
        result,
        "architecture",
        "Architecture of the optimum",
        f"{count_text(n_convolutions, 'convolution layer')} with ReLU, each followed by max-pooling, then two dense layers; "
        f"{n_parameters:,} trainable parameters.",
        "Above each box: channels. Below: pixels of the feature map and, in brackets, of the kernel. Sides are drawn as the "
        "square root of the pixels, depths as the logarithm of the channels.",
    )
    return draw_figure(paint, caption, folder, height_mm=72)


def network_boxes(layers: pd.DataFrame) -> Iterator[Box]:
    """The boxes worth drawing: what the first convolution sees, convolutions, pools and dense layers, in order.

    Args:
        layers: Columns name, kind (Keras's class), height, width, channels, parameters.
    """
    rows = rows_of(layers)
    for i, row in enumerate(rows):
        before = rows[max(i - 1, 0)]
        if row.kind == "Conv2D":
            kernel = round(math.sqrt(max(row.parameters / row.channels - 1, 1) / before.channels))
            if not any(earlier.kind == "Conv2D" for earlier in rows[:i]):
                yield Box("input", int(before.height), int(before.width), int(before.channels), "")
            yield Box("convolution", int(row.height), int(row.width), int(row.channels), f"{kernel}×{kernel}")
        elif row.kind == "MaxPooling2D":
            yield Box("max-pool", int(row.height), int(row.width), int(row.channels), "")
        elif row.kind == "Dense":
            yield Box("softmax" if i == len(rows) - 1 else "dense", 0, 0, int(row.channels), "")


def _paint_boxes(axes: Axes, boxes: tuple[Box, ...]) -> float:
    """Paint from left to right over the whole width; returns the highest point reached."""
    largest = max(box.height for box in boxes)
    sizes = [_size(box, largest) for box in boxes]
    taken = [max(side * SLANT[0] + depth, LABEL) for side, depth in sizes]
    gap = min((WIDTH - sum(taken)) / max(len(boxes) - 1, 1), WIDEST_GAP)
    middle = max(side for side, _ in sizes) / 2
    x, top = (WIDTH - sum(taken) - gap * (len(boxes) - 1)) / 2, 0.0
    for box, (side, depth), width in zip(boxes, sizes, taken, strict=True):
        right, rise = side * SLANT[0], side * SLANT[1]
        low, centre = middle - side / 2, x + width / 2
        _paint_box(axes, box, (centre - (depth + right) / 2, low), (depth, side), (right, rise))
        high = low + side + rise
        axes.text(centre, high + 1, f"{box.channels}", ha="center", va="bottom", fontsize=6.5)
        axes.text(centre, low - 1, _below(box), ha="center", va="top", fontsize=6, linespacing=1.4)
        top = max(top, high)
        x += width + gap
    return top


def _below(box: Box) -> str:
    if not box.height:
        return "classes" if box.kind == "softmax" else "units"
    return f"{box.height}×{box.width}" + (f"\n({box.text})" if box.text else "")


def _size(box: Box, largest: int) -> tuple[float, float]:
    """Side and depth of a box in units of the drawing; the map of most pixels has the side `HIGHEST`."""
    if box.height:
        return HIGHEST * math.sqrt(box.height / largest), 0.4 * math.log2(box.channels + 1)
    return 1.3 * math.log2(box.channels + 1) + 2, 1.5


def _paint_box(
    axes: Axes, box: Box, corner: tuple[float, float], front: tuple[float, float], slant: tuple[float, float]
) -> None:
    """Three visible faces: the broad one that the slices lie in, the front edge, and the top."""
    look = LOOKS[box.kind]
    (x, y), (depth, side), (right, rise) = corner, front, slant
    faces = (
        ([(x, y), (x + depth, y), (x + depth, y + side), (x, y + side)], 0.88, ""),
        (
            [(x, y + side), (x + depth, y + side), (x + depth + right, y + side + rise), (x + right, y + side + rise)],
            0.95,
            "",
        ),
        (
            [
                (x + depth, y),
                (x + depth + right, y + rise),
                (x + depth + right, y + side + rise),
                (x + depth, y + side),
            ],
            1.0,
            look.hatch,
        ),
    )
    for points, shade, hatch in faces:
        red, green, blue = (int(look.color[k : k + 2], 16) / 255 * shade for k in (1, 3, 5))
        axes.add_patch(
            Polygon(points, closed=True, facecolor=(red, green, blue), edgecolor="#444444", lw=0.5, hatch=hatch)
        )
