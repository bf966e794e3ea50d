"""The specimens of a store: how they look pristine and failed, and how they took load."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bonehpo.report.figures.scans import render
from bonehpo.report.figures.style import BLACK, PHANTOM, SERIES, Words, bare, draw_figure, pale
from bonehpo.results.result import Drawn
from bonehpo.store.manifest import ScanRecord
from bonehpo.store.store import SliceStore

PER_ROW = 5
"""Specimens side by side."""

HIGH_MM = 52
"""Height of one rendering with the lines below it."""


def specimens_figure(store: SliceStore, folder: Path) -> Drawn | None:
    """Draw each specimen in its first and its last state, with what was measured of it below.

    Args:
        store: Whose previews are shown.
        folder: Where to write `specimens.png` and `specimens.svg`.

    Returns:
        The figure; None where the store holds no previews, as it was made from 2-D slices.

    Raises:
        StoreDamaged: A preview is not what was written.
    """
    if not store.has_preview:
        return None
    blocks = [store.specimens[i : i + PER_ROW] for i in range(0, len(store.specimens), PER_ROW)]
    ends = {store.states[0]: "pristine", store.states[-1]: "failed"}

    def paint(figure: Figure) -> None:
        grid = figure.subplots(2 * len(blocks), len(blocks[0]), squeeze=False)
        for axes in grid.flat:
            bare(axes)
        for b, block in enumerate(blocks):
            for row, (state, name) in zip(grid[2 * b : 2 * b + 2], ends.items(), strict=True):
                row[0].set_ylabel(f"{name} (state {state})")
                for axes, specimen in zip(row, block, strict=False):
                    _paint_specimen(axes, store, store.scan(specimen, state))

    caption = (
        "Bone above Otsu's threshold in the cropped and filtered volumes, before histogram matching. BV/TV: bone volume "
        "fraction; Tb.Th: mean trabecular thickness; DA: degree of anisotropy (0 none, 1 aligned)."
    )
    words = _words(store, "specimens", "Specimens, pristine and failed", caption)
    return draw_figure(paint, words, folder, HIGH_MM * 2 * len(blocks))


def stress_strain_figure(store: SliceStore, folder: Path) -> Drawn | None:
    """Draw the stress–strain curve of each specimen; each marker is a state that was scanned.

    Args:
        store: Whose strains and stresses are shown.
        folder: Where to write `stress-strain.png` and `stress-strain.svg`.

    Returns:
        The figure; None where no specimen has strain and stress in at least two states.
    """
    curves = _curves(store)
    if not curves:
        return None

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for i, (specimen, scans) in enumerate(curves.items()):
            _paint_curve(axes, specimen, scans, i)
            _number_ends(axes, scans, i)
        axes.set(xlabel="apparent strain (%)", ylabel="apparent stress (MPa)")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))

    number = f"{len(curves)} specimen{'s' if len(curves) > 1 else ''}"
    caption = f"Each marker is a scanned load state; the first and the last are numbered. n = {number}."
    return draw_figure(paint, _words(store, "stress-strain", "Stress and strain", caption), folder, 75, 130)


def _paint_specimen(axes: Axes, store: SliceStore, scan: ScanRecord) -> None:
    if scan.threshold is not None:
        picture = render(store.preview(scan.specimen, scan.state), scan.threshold)
        levels = np.asarray(np.rint(255 * picture), np.uint8)
        axes.imshow(levels, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    if scan.state == store.states[0]:
        axes.set_title(scan.specimen, fontweight="bold")
    axes.set_xlabel("\n".join(measure_lines(scan)))


def measure_lines(scan: ScanRecord) -> list[str]:
    """Lines below a specimen: bone volume fraction, and thickness and anisotropy where they were measured."""
    lines = [f"BV/TV {100 * scan.bone_volume_fraction:.1f} %"]
    if scan.trabecular_thickness_um is not None:
        lines.append(f"Tb.Th {scan.trabecular_thickness_um:.0f} µm")
    if scan.degree_of_anisotropy is not None:
        lines.append(f"DA {scan.degree_of_anisotropy:.2f}")
    return lines


def _curves(store: SliceStore) -> Mapping[str, Sequence[ScanRecord]]:
    known = [scan for scan in store.manifest.scans if scan.strain is not None and scan.stress_mpa is not None]
    curves = {name: [scan for scan in known if scan.specimen == name] for name in store.specimens}
    return {name: scans for name, scans in curves.items() if len(scans) > 1}


def _point(scan: ScanRecord) -> tuple[float, float]:
    return 100 * (scan.strain or 0.0), scan.stress_mpa or 0.0


def _paint_curve(axes: Axes, specimen: str, scans: Sequence[ScanRecord], i: int) -> None:
    look = SERIES[i % len(SERIES)]
    strains, stresses = zip(*(_point(scan) for scan in scans), strict=True)
    axes.plot(
        strains,
        stresses,
        look.dash,
        color=look.color,
        marker=look.marker,
        markerfacecolor=pale(look.color),
        clip_on=False,
        label=specimen,
    )


def _number_ends(axes: Axes, scans: Sequence[ScanRecord], i: int) -> None:
    """Larger markers that hold the numbers of the first and the last state of one curve."""
    color, above = SERIES[i % len(SERIES)].color, 4 + i
    for scan in (scans[0], scans[-1]):
        x, y = _point(scan)
        axes.plot(x, y, "o", color=color, markersize=9, markerfacecolor="white", clip_on=False, zorder=above)
        axes.text(x, y, str(scan.state), fontsize=5, color=BLACK, ha="center", va="center_baseline", zorder=above)


def _words(store: SliceStore, name: str, title: str, caption: str) -> Words:
    bone = f"{store.bone}, phantom" if store.is_phantom else store.bone
    caption = f"{caption} {PHANTOM}" if store.is_phantom else caption
    return Words(name=name, title=f"{title} ({bone})", caption=caption, paper="Fig 1")
