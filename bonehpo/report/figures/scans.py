"""Figures of scans: the slices of a store, and what a network said of a new scan."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from bonehpo.analysis.prediction import ScanVerdict
from bonehpo.report.figures.style import PAGE_MM, PHANTOM, Drawn, Words, bare, draw_figure, short
from bonehpo.store.store import SliceStore

INCH_PER_SLICE = 1.3


def montage(store: SliceStore, path: Path) -> None:
    """Draw the middle slice of every specimen in its first and last load state, in every plane.

    Args:
        store: The slices; only the groups that are drawn are read, and each is checked.
        path: PNG to write; its folder must exist.

    Raises:
        StoreDamaged: A group that is drawn is not what was written.
    """
    size = (INCH_PER_SLICE * 2 * len(store.planes) + 0.8, INCH_PER_SLICE * len(store.specimens) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    _paint_middle_slices(figure, store)
    figure.suptitle(f"{store.bone}: middle slices, pristine and failed", fontsize=10)
    figure.savefig(path, dpi=150)


def middle_slices_figure(store: SliceStore, folder: Path) -> Drawn:
    """The montage as a figure of the report (Shen et al. 2021, Fig 2).

    Args:
        store: The slices.
        folder: Where to write `middle-slices.png` and `middle-slices.svg`.

    Raises:
        StoreDamaged: A group that is drawn is not what was written.
    """
    bone = f"{store.bone}, phantom" if store.is_phantom else store.bone
    caption = f"The middle slice of each of n = {len(store.specimens)} specimens, in every plane, as networks see it."
    words = Words(
        name="middle-slices",
        title=f"Slices, pristine and failed ({bone})",
        caption=f"{caption} {PHANTOM}" if store.is_phantom else caption,
    )
    side_mm = (PAGE_MM - 8) / (2 * len(store.planes))
    height_mm = (side_mm + 1) * len(store.specimens) + 6
    return draw_figure(lambda figure: _paint_middle_slices(figure, store), words, folder, height_mm)


def _paint_middle_slices(figure: Figure, store: SliceStore) -> None:
    columns = [(state, plane) for state in (store.states[0], store.states[-1]) for plane in store.planes]
    panels = figure.subplots(len(store.specimens), len(columns), squeeze=False)
    for k, (row, specimen) in enumerate(zip(panels, store.specimens, strict=True)):
        for panel, (state, plane) in zip(row, columns, strict=True):
            middle = store.group(specimen, state, plane)[store.n_slices // 2]
            panel.imshow(middle, cmap="gray", vmin=0, vmax=255)
            bare(panel)
            if k == 0:
                panel.set_title(f"state {state}, {plane}", fontsize=8)
        row[0].set_ylabel(short(specimen), fontsize=8)


def prediction_figure(found: ScanVerdict, slices: Mapping[str, npt.NDArray[np.uint8]], path: Path) -> None:
    """Draw what a network said of a scan: for each plane p(failed) along the scan, and its most suspicious slice.

    Args:
        found: What it said.
        slices: For each plane, the slices that it looked at, (slice, y, x).
        path: PNG to write; its folder must exist.
    """
    figure = Figure(figsize=(9, 2.3 * len(found.planes) + 0.6), layout="constrained")
    rows = figure.subplots(len(found.planes), 2, squeeze=False, width_ratios=(3, 1))
    for (curve, picture), plane in zip(rows, found.planes, strict=True):
        table = found.slices[found.slices["plane"] == plane.plane]
        p_failed = table["p_failed"].to_numpy()
        curve.plot(table["position"], p_failed, color="black", marker="o", markersize=3, linewidth=1)
        curve.axhline(0.5, color="0.6", linewidth=1, linestyle="--")
        curve.set(xlabel="position of the slice", ylabel="p(failed)", ylim=(-0.03, 1.03))
        curve.set_title(f"{plane.plane}: {plane.verdict}, mean {plane.mean:.2f} of {plane.n_slices} slices", fontsize=9)
        worst = int(p_failed.argmax())
        picture.imshow(slices[plane.plane][worst], cmap="gray", vmin=0, vmax=255, interpolation="none")
        picture.set(xticks=[], yticks=[])
        picture.set_title(f"highest p(failed): {p_failed[worst]:.2f}", fontsize=9)
    figure.suptitle(f"Scan: {found.verdict} (mean p(failed) {found.mean:.2f})", fontsize=10)
    figure.savefig(path, dpi=150)
