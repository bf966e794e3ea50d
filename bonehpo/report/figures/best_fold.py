"""The chosen network (Shen et al. 2021, Fig 4): its architecture, the best of its fold models, its calibration."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from natsort import natsorted

from bonehpo.report.figures.style import (
    BLACK,
    BLUE,
    GREY,
    PALE,
    SERIES,
    VERMILLION,
    Series,
    count_text,
    draw_figure,
    letter,
    pale,
    pt,
    rows_of,
    short,
    words,
)
from bonehpo.results.result import Drawn, Result
from bonehpo.task import DAMAGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 180.0
"""Of the drawing, in its own units: one is about a millimetre on paper."""

HIGHEST, WIDEST_GAP = 38.0, 14.0
"""Largest side of a box, and largest gap between two, in the same units."""

LABEL = 9.5
"""Width that the writing below a box needs."""

SLANT = (0.42, 0.34)
"""Offset of the far edge of a box to the right and up, as parts of its side."""

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
    from matplotlib.patches import Polygon

    layers = result.tables["layers"]
    boxes = tuple(network_boxes(layers))
    n_parameters = int(layers["parameters"].sum())

    def paint(figure: "Figure") -> None:
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
        f"{count_text(n_convolutions, 'convolution layer')} with {_between(layers)}ReLU, each followed by max-pooling, then "
        f"two dense layers{_before(layers)}; {n_parameters:,} trainable parameters.",
        "Above each box: channels. Below: pixels of the feature map and, in brackets, of the kernel. Sides are drawn as the "
        "square root of the pixels, depths as the logarithm of the channels.",
        paper="Fig 4a, 4b",
    )
    return draw_figure(paint, caption, folder, height_mm=72)


def _between(layers: pd.DataFrame) -> str:
    """Words for what stands between each convolution and its ReLU."""
    names = layers.loc[layers["name"].str.startswith("normalisation"), "kind"]
    kinds = {"BatchNormalization": "batch normalisation and ", "GroupNormalization": "group normalisation and "}
    return "" if names.empty else kinds.get(str(names.iloc[0]), "normalisation and ")


def _before(layers: pd.DataFrame) -> str:
    return " with dropout before each" if (layers["kind"] == "Dropout").any() else ""


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


def _paint_boxes(axes: "Axes", boxes: tuple[Box, ...]) -> float:
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
        axes.text(centre, high + 1, f"{box.channels}", ha="center", va="bottom", fontsize=pt(6.5))
        axes.text(centre, low - 1, _below(box), ha="center", va="top", fontsize=pt(6), linespacing=1.4)
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
    axes: "Axes", box: Box, corner: tuple[float, float], front: tuple[float, float], slant: tuple[float, float]
) -> None:
    """Three visible faces: the broad one that the slices lie in, the front edge, and the top."""
    from matplotlib.patches import Polygon

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


BARS = {
    "accuracy_failed": "failed",
    "accuracy_pristine": "pristine",
    "accuracy": "overall",
    "softmax_failed": "failed",
    "softmax_pristine": "pristine",
}


def best_fold_figure(result: Result, folder: Path) -> Drawn:
    """Accuracy and mean softmax output of the best fold model, and the test accuracy of every fold."""
    folds = result.tables["folds"]
    best = folds.iloc[0]
    tests = natsorted(set(folds["test"].astype(str)))

    def paint(figure: "Figure") -> None:
        bars, dots = figure.subplots(1, 2, width_ratios=(1, 1.15))
        _paint_bars(bars, best)
        _paint_dots(dots, folds, tests)
        letter(bars, 0, "best fold")
        letter(dots, 1, "all folds")

    caption = words(
        result,
        "best-fold",
        "The best fold and all folds of the optimum",
        f"(a) Test set {best['test']}, validated on {best['validation']}, trained on {best['train']}: accuracy on its "
        "failed and pristine slices and on both, and the mean softmax output for the right class.",
        f"(b) Test accuracy of each of the n = {len(folds)} folds; the circled one is the best, upright lines are means of "
        "test sets. Being the best of many, (a) is not what to expect on another bone.",
        paper="Fig 4c",
    )
    return draw_figure(paint, caption, folder, height_mm=45 + 4.5 * len(tests))


def _paint_bars(axes: "Axes", best: "pd.Series[float]") -> None:
    values = [float(best[name]) for name in BARS]
    places = (0, 1, 2, 3.6, 4.6)
    looks = (SERIES[1], SERIES[0], Series(GREY, "-", "", ""), SERIES[1], SERIES[0])
    for place, value, look in zip(places, values, looks, strict=True):
        axes.bar(place, value, width=0.75, color=pale(look.color), edgecolor=look.color, hatch=look.hatch, linewidth=1)
        axes.text(place, value + 0.015, f"{value:.3f}", ha="center", va="bottom", fontsize=pt(7))
    axes.set_xticks(places, BARS.values())
    axes.set(ylim=(0, 1.12), ylabel="fraction", yticks=np.linspace(0, 1, 6))
    axes.plot([-0.5, 2.5], [DAMAGE.chance, DAMAGE.chance], color=BLACK, linestyle=":", linewidth=0.8)
    for middle, text in ((1, "accuracy"), (4.1, "mean softmax output")):
        axes.annotate(
            text,
            (middle, 0),
            xytext=(0, -22),
            textcoords="offset points",
            xycoords=("data", "axes fraction"),
            ha="center",
            va="top",
            annotation_clip=False,
        )


def _paint_dots(axes: "Axes", folds: pd.DataFrame, tests: list[str]) -> None:
    for place, test in enumerate(tests):
        accuracies = folds.loc[folds["test"].astype(str) == test, "accuracy"].to_numpy()
        spread = np.linspace(-0.18, 0.18, len(accuracies)) if len(accuracies) > 1 else np.zeros(1)
        axes.plot(accuracies, place + spread, "o", color=BLUE, markersize=4, alpha=0.85, linestyle="")
        axes.plot([accuracies.mean()] * 2, [place - 0.33, place + 0.33], color=BLACK, linewidth=1.5)
        if test == str(folds["test"].iloc[0]):
            axes.plot(accuracies[0], place + spread[0], "o", mfc="none", mec=VERMILLION, mew=1.5, markersize=9)
    axes.axvline(DAMAGE.chance, color=PALE, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(tests)), [short(test) for test in tests])
    axes.set(xlabel="test accuracy", ylabel="test set", ylim=(len(tests) - 0.5, -0.5))
    axes.grid(axis="y", color=PALE, linewidth=0.3)
    axes.tick_params(axis="y", colors=GREY, labelcolor=BLACK)


def calibration_figure(result: Result, folder: Path) -> Drawn:
    """Share of slices that failed against what was said of them, and how often what was said."""
    bins, folds = result.tables["bins"], result.tables["folds"]
    series = list(zip(SERIES, dict.fromkeys(bins["p"]), strict=False))

    def paint(figure: "Figure") -> None:
        curve, counts = figure.subplots(1, 2, width_ratios=(1, 1.2))
        _paint_curve(curve)
        for i, (look, name) in enumerate(series):
            rows = bins[bins["p"] == name]
            curve.errorbar(
                rows["mean_p"], rows["failed"], yerr=rows["sd"].fillna(0), color=look.color, marker=look.marker,
                linestyle=look.dash, capsize=2, elinewidth=0.6, label=name,
            )  # fmt: skip
            counts.bar(
                (rows["lower"] + rows["upper"]) / 2 + (i - 0.5) * 0.04, rows["n_slices"] / rows["n_slices"].sum(),
                width=0.038, color=pale(look.color), edgecolor=look.color, hatch=look.hatch, label=name,
            )  # fmt: skip
        counts.set(xlabel="p(failed)", ylabel="share of slices", xlim=(0, 1), xticks=np.linspace(0, 1, 6))
        counts.legend()
        curve.legend(loc="upper left")
        letter(curve, 0)
        letter(counts, 1)

    caption = words(
        result,
        "calibration",
        "Whether p(failed) is a probability",
        f"(a) Share of test slices that were failed against the mean p(failed) of a bin, over n = {len(folds)} folds of "
        f"{folds['test'].nunique()} test sets, as trained and with the temperature of the other test "
        "sets; error bars are one standard deviation over test sets, on the line p(failed) is a probability.",
        "(b) How often each p(failed) was said.",
    )
    return draw_figure(paint, caption, folder, height_mm=75)


def _paint_curve(axes: "Axes") -> None:
    axes.plot([0, 1], [0, 1], color=BLACK, linewidth=0.8)
    ends, ticks = (-0.03, 1.03), np.linspace(0, 1, 6)
    axes.set(xlabel="mean p(failed)", ylabel="share failed", xlim=ends, ylim=ends, xticks=ticks, yticks=ticks)
    axes.set_aspect("equal")
    axes.grid(color=PALE, linewidth=0.3)
