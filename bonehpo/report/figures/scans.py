"""Scans in figures: slices of a store, specimens and how they took load, a prediction, a plate of phantom slices."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates

from bonehpo.analysis.calibration import ScanVerdict
from bonehpo.errors import PhantomError
from bonehpo.report.figures.style import BLACK, PAGE_MM, PHANTOM, SERIES, Words, bare, draw_figure, pale, pt, short
from bonehpo.results.result import Drawn
from bonehpo.scans.readers import open_volume
from bonehpo.scans.sections import NORMALS, centred_box, cut
from bonehpo.store.manifest import ScanRecord
from bonehpo.store.store import SliceStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCH_PER_SLICE = 1.3


def montage(store: SliceStore, path: Path) -> None:
    """Draw the middle slice of every specimen in its first and last load state, in every plane.

    The contrast is stretched, by the same for all slices: see `_stretch`.

    Args:
        store: The slices; only the groups that are drawn are read, and each is checked.
        path: PNG to write; its folder must exist.

    Raises:
        StoreDamaged: A group that is drawn is not what was written.
    """
    from matplotlib.figure import Figure

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
    n = len(store.specimens)
    caption = f"The middle slice of each of n = {n} specimens, in every plane. The contrast is stretched, alike in all."
    words = Words(
        name="middle-slices",
        title=f"Slices, pristine and failed ({bone})",
        caption=f"{caption} {PHANTOM}" if store.is_phantom else caption,
        paper="Fig 2",
    )
    side_mm = (PAGE_MM - 8) / (2 * len(store.planes))
    height_mm = (side_mm + 1) * len(store.specimens) + 6
    return draw_figure(lambda figure: _paint_middle_slices(figure, store), words, folder, height_mm)


def _paint_middle_slices(figure: "Figure", store: SliceStore) -> None:
    columns = [(end, plane) for end in ("pristine", "failed") for plane in store.planes]
    panels = figure.subplots(len(store.specimens), len(columns), squeeze=False)
    middle = {
        (specimen, end, plane): store.group(specimen, state, plane)[store.n_slices // 2]
        for specimen in store.specimens
        for end, state in zip(("pristine", "failed"), store.ends(specimen), strict=True)
        for plane in store.planes
    }
    low, high = _stretch(list(middle.values()))
    for k, (row, specimen) in enumerate(zip(panels, store.specimens, strict=True)):
        for panel, (end, plane) in zip(row, columns, strict=True):
            panel.imshow(middle[specimen, end, plane], cmap="gray", vmin=low, vmax=high)
            bare(panel)
            if k == 0:
                panel.set_title(f"{end}, {plane}", fontsize=pt(8))
        row[0].set_ylabel(short(specimen), fontsize=pt(8))


def _stretch(slices: Sequence[npt.NDArray[np.uint8]]) -> tuple[float, float]:
    """Levels that are drawn black and white: between them lie all pixels but the darkest and the brightest 0.5 %.

    Pixels of level 0 are left out, as those around sections that are no squares.
    """
    pixels = np.concatenate([image[image > 0] for image in slices])
    low, high = np.percentile(pixels, (0.5, 99.5)) if pixels.size else (0.0, 0.0)
    return (float(low), float(high)) if low < high else (0.0, 255.0)


def prediction_figure(found: ScanVerdict, slices: Mapping[str, npt.NDArray[np.uint8]], path: Path) -> None:
    """Draw what a network said of a scan: for each plane p(failed) along the scan, and its most suspicious slice.

    Args:
        found: What it said.
        slices: For each plane, the slices that it looked at, (slice, y, x).
        path: PNG to write; its folder must exist.
    """
    from matplotlib.figure import Figure

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


AZIMUTH_DEG, ELEVATION_DEG = 30.0, 26.0
"""By how much the volume is turned about its z axis, and from how far above it is seen."""

LIGHT = np.array([-0.62, -0.60, -0.50])
"""Towards the light in the axes of the picture, (depth, down, right): over the left shoulder."""

STEP = 0.7
"""Length of a step along a ray, in voxels; between two steps the surface is found by linear interpolation."""

SMOOTHING = 0.6
"""Standard deviation of the blur, in voxels, that takes the steps of voxels out of the surface."""

HALO = 3.0
"""Standard deviation, in voxels, of the blur that says how much bone is around a place: crevices are darker."""

EDGE_PX = 0.6
"""Standard deviation of the blur, in pixels, that takes the steps of pixels off the outlines."""

BACKGROUND = 1.0


class View(NamedTuple):
    """A picture in space.

    Attributes:
        axes: Directions of depth, down and right, each (z, y, x).
        corner: Where the first ray starts, (z, y, x) in voxels.
        steps: Length of one step along each axis, in voxels.
        shape: Steps along a ray, rows, columns.
    """

    axes: NDArray[np.float64]
    corner: NDArray[np.float64]
    steps: NDArray[np.float64]
    shape: tuple[int, int, int]

    def place(self, indices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places in the volume, (3, point), of points of the picture, (3, point)."""
        return self.corner[:, None] + self.axes.T @ (self.steps[:, None] * indices)


def render(
    volume: NDArray[np.uint8],
    threshold: float,
    side_px: int = 300,
    *,
    azimuth_deg: float = AZIMUTH_DEG,
    elevation_deg: float = ELEVATION_DEG,
) -> NDArray[np.float32]:
    """Render the bone of a volume; where the volume ends, the cut is seen as a surface.

    Args:
        volume: Intensity levels, (z, y, x); z points up.
        threshold: Bone is above it.
        side_px: Side of the picture; the whole volume is within it, whichever way it is turned.
        azimuth_deg: By how much the volume is turned about z.
        elevation_deg: From how far above it is seen.

    Returns:
        Brightness, (y, x), 0 to 1; `BACKGROUND` where a ray meets no bone.
    """
    smooth = gaussian_filter(np.pad(volume.astype(np.float32), 2), SMOOTHING)
    view = oblique_view(smooth.shape, side_px, azimuth_deg, elevation_deg)
    rays = affine_transform(
        smooth, view.axes.T * view.steps, view.corner, output_shape=view.shape, order=1, prefilter=False
    )
    bone = rays > threshold
    rows, columns = np.nonzero(bone.any(axis=0))
    image = np.full(view.shape[1:], BACKGROUND, np.float32)
    if rows.size:
        at = bone.argmax(axis=0)[rows, columns]
        before, after = (rays[np.maximum(at - back, 0), rows, columns] for back in (1, 0))
        depths = at - np.where(after > before, (after - threshold) / np.maximum(after - before, 1e-6), 0)
        image[rows, columns] = _brightness(smooth, threshold, view, np.stack([depths, rows, columns]))
    return np.asarray(gaussian_filter(image, EDGE_PX), np.float32)


def oblique_view(shape: tuple[int, ...], side_px: int, azimuth_deg: float, elevation_deg: float) -> View:
    """The picture that looks at the middle of a volume from far away and holds the ball around it.

    Args:
        shape: Of the volume, (z, y, x).
        side_px: Side of the picture.
        azimuth_deg: By how much the volume is turned about z.
        elevation_deg: From how far above it is seen.
    """
    turn, rise = np.radians((azimuth_deg, elevation_deg))
    right = np.array([0.0, np.sin(turn), np.cos(turn)])
    level = np.array([0.0, np.cos(turn), -np.sin(turn)])
    up = np.array([1.0, 0.0, 0.0])
    depth = np.cos(rise) * level - np.sin(rise) * up
    down = -np.cos(rise) * up - np.sin(rise) * level
    axes = np.stack([depth, down, right])
    extent = np.abs(axes) @ np.array(shape, float)  # of the box that holds the turned volume
    across = max(extent[1:])
    steps = np.array([STEP, across / side_px, across / side_px])
    n_steps = int(np.ceil(extent[0] / STEP))
    spans = steps * (np.array([n_steps, side_px, side_px]) - 1)
    corner = (np.array(shape) - 1) / 2 - axes.T @ (spans / 2)
    return View(axes, corner, steps, (n_steps, side_px, side_px))


def _brightness(
    smooth: NDArray[np.float32], threshold: float, view: View, hits: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Lambert's law under one light, less in crevices, at grazing surfaces and far away; hits are (3, point)."""
    places = view.place(hits)
    slopes = np.stack([map_coordinates(part, places, order=1) for part in np.gradient(smooth)])
    normals = -slopes / np.maximum(np.linalg.norm(slopes, axis=0), 1e-6)
    towards = view.axes @ normals
    lit = np.clip(LIGHT / np.linalg.norm(LIGHT) @ towards, 0, 1)
    surroundings = gaussian_filter((smooth > threshold).astype(np.float32), HALO)
    open_sky = 1 - map_coordinates(surroundings, places + HALO * normals, order=1)
    grazing = np.clip(-towards[0], 0, 1)
    far = (hits[0] - hits[0].min()) / max(float(np.ptp(hits[0])), 1.0)
    shade = 1.4 * (0.22 + 0.78 * lit) * open_sky**1.5 * (0.7 + 0.3 * grazing) * (1 - 0.45 * far)
    return np.asarray(np.clip(0.05 + 0.95 * shade, 0, 0.95))


def phantom_plate(phantom: Path, specimen: str, file: Path) -> None:
    """Draw the middle slice of each plane at three load states.

    Args:
        phantom: Folder that `write_phantom` made.
        specimen: Name of one of its specimens.
        file: PNG to write.

    Raises:
        PhantomError: The folder holds no phantom, or no such specimen.
    """
    from matplotlib.figure import Figure

    states = plate_states(phantom, specimen)
    figure = Figure(figsize=(2 * len(states), 2 * len(NORMALS)), dpi=130, layout="constrained")
    grid = figure.subplots(len(NORMALS), len(states))
    for column, (title, state) in enumerate(states.items()):
        volume = open_volume(str(phantom / specimen / f"state_{state:02d}.tif"))
        pixels = volume.read(centred_box(volume.shape, None))
        for row, plane in enumerate(NORMALS):
            axes = grid[row, column]
            axes.imshow(cut(pixels, plane, len(pixels) // 2), cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title(f"{specimen}, {title}", fontsize=9)
            if column == 0:
                axes.set_ylabel(plane, fontsize=9)
    figure.savefig(file)


def plate_states(phantom: Path, specimen: str) -> dict[str, int]:
    """The states worth showing, by title: pristine, half way from the first damage to failure, failed.

    Raises:
        PhantomError: The folder holds no phantom, or no such specimen.
    """
    from bonehpo.phantom import SPEC_JSON

    marker = phantom / SPEC_JSON
    if not marker.exists():
        raise PhantomError(f"{phantom} holds no {SPEC_JSON}: make a phantom there with `bonehpo phantom`")
    document = json.loads(marker.read_text(encoding="utf-8"))
    onsets: dict[str, int] = document["first_damaged_state"]
    if specimen not in onsets:
        raise PhantomError(f"{phantom} has no specimen {specimen}: choose one of {', '.join(onsets)}")
    last = int(document["phantom"]["n_states"])
    between = (onsets[specimen] + last) // 2
    return {"pristine": 1, f"state {between}": between, "failed": last}


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

    def paint(figure: "Figure") -> None:
        grid = figure.subplots(2 * len(blocks), len(blocks[0]), squeeze=False)
        for axes in grid.flat:
            bare(axes)
        for b, block in enumerate(blocks):
            for end, name in enumerate(("pristine", "failed")):
                row = grid[2 * b + end]
                row[0].set_ylabel(f"{name} ({_states_of(store, end)})")
                for axes, specimen in zip(row, block, strict=False):
                    _paint_specimen(axes, store, store.scan(specimen, store.ends(specimen)[end]))

    caption = (
        "Bone above Otsu's threshold in the cropped and filtered volumes, before histogram matching. BV/TV: bone volume "
        "fraction; Tb.Th: mean trabecular thickness; DA: degree of anisotropy (0 none, 1 aligned)."
    )
    words = _words(store, "specimens", "Specimens, pristine and failed", caption)
    return draw_figure(paint, words, folder, HIGH_MM * 2 * len(blocks))


def _states_of(store: SliceStore, end: int) -> str:
    """The states in which specimens are pristine (end 0) or failed (1)."""
    first, *others = sorted({store.ends(specimen)[end] for specimen in store.specimens})
    return f"states {first} to {others[-1]}" if others else f"state {first}"


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

    def paint(figure: "Figure") -> None:
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


def _paint_specimen(axes: "Axes", store: SliceStore, scan: ScanRecord) -> None:
    if scan.threshold is not None:
        picture = render(store.preview(scan.specimen, scan.state), scan.threshold)
        levels = np.asarray(np.rint(255 * picture), np.uint8)
        axes.imshow(levels, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    if scan.state == store.states[0]:
        axes.set_title(scan.specimen, fontweight="bold")
    axes.set_xlabel("\n".join(measure_lines(scan)))


def measure_lines(scan: ScanRecord) -> list[str]:
    """Lines below a specimen: bone volume fraction, and thickness and anisotropy where they were measured."""
    fraction = scan.bone_volume_fraction
    lines = ["BV/TV -" if fraction is None else f"BV/TV {100 * fraction:.1f} %"]
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


def _paint_curve(axes: "Axes", specimen: str, scans: Sequence[ScanRecord], i: int) -> None:
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


def _number_ends(axes: "Axes", scans: Sequence[ScanRecord], i: int) -> None:
    """Larger markers that hold the numbers of the first and the last state of one curve."""
    color, above = SERIES[i % len(SERIES)].color, 4 + i
    for scan in (scans[0], scans[-1]):
        x, y = _point(scan)
        axes.plot(x, y, "o", color=color, markersize=9, markerfacecolor="white", clip_on=False, zorder=above)
        axes.text(x, y, str(scan.state), fontsize=pt(5), color=BLACK, ha="center", va="center_baseline", zorder=above)


def _words(store: SliceStore, name: str, title: str, caption: str) -> Words:
    bone = f"{store.bone}, phantom" if store.is_phantom else store.bone
    caption = f"{caption} {PHANTOM}" if store.is_phantom else caption
    return Words(name=name, title=f"{title} ({bone})", caption=caption, paper="Fig 1")
