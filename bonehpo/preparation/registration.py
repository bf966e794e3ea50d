"""Rigid offset of a scan from the first scan of its specimen: how far it is shifted and turned, and the way back.

Intensities are compared on two levels of a pyramid, from three starts: no shift, and the best of two cross-correlations.
Each step solves for the six parameters of a small rigid motion by weighted least squares [1]_ [2]_. Weights take out single
voxels [3]_ and whole regions that do not fit, so that bone far from damage decides. Loading deforms bone, so that no rigid
motion fits all of it: how much the octants of a scan differ from the motion is told with it.

References:
    .. [1] Lucas & Kanade, Proc. IJCAI 1981, 674.
    .. [2] Benhimane & Malis, Proc. IROS 2004, 943, doi:10.1109/IROS.2004.1389474: the mean of both gradients.
    .. [3] Beaton & Tukey, Technometrics 16 (1974) 147, doi:10.1080/00401706.1974.10489171: the biweight.
"""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, binary_erosion, gaussian_filter, spline_filter
from scipy.spatial.transform import Rotation
from skimage.registration import phase_cross_correlation

from bonehpo.domain import some_of
from bonehpo.files import write_durably
from bonehpo.scans.sections import Box, Shape
from bonehpo.scans.table import Scan

OFFSETS = "registration.csv"
"""File of the offsets of a store, beside it in the folder of its study."""

Volume = NDArray[np.floating[Any]]

REGISTERED_SIDE = 80
"""Voxels along the longest edge of a volume that is registered; a larger one is reduced by a whole number first."""

SMALLEST_SIDE = 32
"""Voxels along the shortest edge, of fewer of which nothing is measured."""

CONVERGED = 0.005
"""Voxels of the grid by which the last step moves any place at most."""

BIWEIGHT = 4.685
"""Robust standard deviations from which on a voxel does not count."""

REGION, TOLERATED = 2.0, 8.0
"""Size of the regions that are weighed, as the sd of a Gaussian in voxels of the grid; and the ratio of their mean squared
residual to that of the better third of all, at which they count half."""

SIMILAR = 0.5
"""Correlation of intensities, once aligned, from which on two scans are taken to show the same place."""

FAR_VOXELS, FAR_DEG = 2.0, 0.5
"""Shift and turn from which on there is a caution."""

RIGID_VOXELS = 1.0
"""Voxels by which an octant may differ from the motion of the whole, where one motion is to stand for all of it."""


@dataclass(frozen=True, kw_only=True)
class Offset:
    """Rigid motion that lays a scan on the first scan of its specimen.

    A place r about the centre of the first scan is at R r + shift in the other.

    Attributes:
        shift: Of the centre of the scan along (z, y, x), in voxels.
        rotation_deg: Rotation R about the centre, as a vector: along its axis, as long as its angle in degrees.
        similarity: Correlation of intensities once aligned.
        deformation: Voxels by which an octant of the scan differs from the motion, at most.
    """

    shift: tuple[float, float, float]
    rotation_deg: tuple[float, float, float]
    similarity: float
    deformation: float

    @property
    def turn_deg(self) -> float:
        """Angle of the rotation, in degrees."""
        return float(np.linalg.norm(self.rotation_deg))

    @property
    def is_cautioned(self) -> bool:
        """True if it is more than a scan of a registered series may lie apart."""
        return self.distance >= FAR_VOXELS or self.turn_deg >= FAR_DEG or not self.is_same_place

    @property
    def distance(self) -> float:
        """Length of the shift in voxels."""
        return float(np.linalg.norm(self.shift))

    @property
    def is_same_place(self) -> bool:
        """True if both scans show the same place."""
        return self.similarity >= SIMILAR

    @property
    def is_certain(self) -> bool:
        """True if both scans show the same place, and one motion stands for all of it."""
        return self.is_same_place and self.deformation <= RIGID_VOXELS


STILL = Offset(shift=(0.0, 0.0, 0.0), rotation_deg=(0.0, 0.0, 0.0), similarity=1.0, deformation=0.0)
"""Of a scan that lies where the first one does."""

BETWEEN = 0.5
"""Voxels along each axis by which the grid of registered scans lies off that of the first, so that the first is interpolated
as the others are: what is interpolated is smoother, and were the first not, that alone would tell it from the others."""

BEYOND = 3
"""Voxels around what is cut out that its interpolation needs."""


def wide_box(shape: Shape, box: Box, offset: Offset) -> Box:
    """Part of a scan that must be read so that a box can be cut out of it as the first scan would show it.

    Args:
        shape: Of the scan.
        box: To be cut out, on the grid of the first.
        offset: Of the scan.
    """
    low, high = _reach(shape, box, offset)
    z, y, x = (
        slice(max(0, math.floor(a) - BEYOND), min(extent, math.ceil(b) + 1 + BEYOND))
        for a, b, extent in zip(low, high, shape, strict=True)
    )
    return z, y, x


def is_shown(shape: Shape, box: Box, offset: Offset) -> bool:
    """True if a scan shows all of a box on the grid of the first."""
    low, high = _reach(shape, box, offset)
    return bool((low >= 0).all() and (high <= np.array(shape) - 1).all())


def _reach(shape: Shape, box: Box, offset: Offset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first and the last place along each axis of a scan that lie in a box on the grid of the first."""
    turn, centre = _turn(offset), (np.array(shape) - 1) / 2
    corners = np.array(list(product(*((part.start, part.stop - 1) for part in box)))) + BETWEEN - centre
    places = corners @ turn.T + offset.shift + centre
    return places.min(axis=0), places.max(axis=0)


def laid_on_first(
    block: NDArray[Any], shape: Shape, read: Box, box: Box, offset: Offset, order: int = 3
) -> NDArray[Any]:
    """A box of a scan as the first scan of its specimen would show it, interpolated once by cubic splines.

    Args:
        block: What was read of the scan, (z, y, x).
        shape: Of the whole scan.
        read: Where the block lies in it, see `wide_box`.
        box: What to cut out, on the grid of the first scan, `BETWEEN` its voxels.
        offset: Of the scan from the first.
        order: Of the splines.

    Returns:
        The box, in the type of the block; no intensity is beyond those of the block.
    """
    turn, centre = _turn(offset), (np.array(shape) - 1) / 2
    start, begin = (np.array([part.start for part in where]) for where in (box, read))
    origin = turn @ (start + BETWEEN - centre) + offset.shift + centre - begin
    splines = spline_filter(block, order, output=np.float32) if order > 1 else block.astype(np.float32)
    size = tuple(part.stop - part.start for part in box)
    laid = affine_transform(splines, turn, origin, size, order=order, mode="nearest", prefilter=False)
    np.clip(laid, block.min(), block.max(), out=laid)
    return (laid if block.dtype.kind == "f" else np.rint(laid, out=laid)).astype(block.dtype)


def _turn(offset: Offset) -> NDArray[np.float64]:
    matrix: NDArray[np.float64] = Rotation.from_rotvec(offset.rotation_deg, degrees=True).as_matrix()
    return matrix


@dataclass(frozen=True, eq=False)
class _Motion:
    """A place r about the centre of the first scan is at `turn` r + `shift` in the other."""

    turn: NDArray[np.float64]
    shift: NDArray[np.float64]

    def then(self, rotation: NDArray[np.float64], shift: NDArray[np.float64]) -> "_Motion":
        small = Rotation.from_rotvec(rotation).as_matrix()
        return _Motion(self.turn @ small, self.turn @ shift + self.shift)

    def of(self, volume: Volume) -> Volume:
        """The volume as the first scan would show it; NaN where it shows nothing."""
        centre = (np.array(volume.shape) - 1) / 2
        offset = centre + self.shift - self.turn @ centre
        moved: Volume = affine_transform(volume, self.turn, offset, order=1, mode="constant", cval=np.nan)
        return moved


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduced:
    """A volume for registration: means of blocks of `factor` voxels a side, float32 (z, y, x)."""

    levels: NDArray[np.float32]
    factor: int


def reduced(volume: NDArray[Any]) -> Reduced | None:
    """A volume (z, y, x) of at most `REGISTERED_SIDE` blocks; None where a side is shorter than `SMALLEST_SIDE` voxels."""
    if min(volume.shape) < SMALLEST_SIDE:
        return None
    factor = -(-max(volume.shape) // REGISTERED_SIDE)
    return Reduced(levels=np.asarray(_blocks(volume, factor), np.float32), factor=factor)


def measure_offset(first: Reduced, scan: Reduced) -> Offset | None:
    """Measure the rigid offset of a scan from the first of its specimen.

    Args:
        first: The first scan.
        scan: The other, of the same shape.

    Returns:
        The offset, in voxels of the scans; None where one is of one intensity.
    """
    one, two, factor = first.levels, scan.levels, first.factor
    if np.ptp(one) == 0 or np.ptp(two) == 0:
        return None
    coarse = _blocks(one, 2), _blocks(two, 2)
    found = []
    for start in _starts(one, two):
        motion = _refined(*_smoothed(coarse, 1.0), _Motion(np.eye(3), start / 2), 20, region=None)
        motion = _refined(*_smoothed((one, two), 1.5), _Motion(motion.turn, 2 * motion.shift), 12)
        found.append((_similarity(*_smoothed((one, two), 1.0), motion), motion))
    smooth = _smoothed((one, two), 0.7)
    motion = _refined(*smooth, max(found, key=lambda pair: pair[0])[1], 30)
    z, y, x = (factor * motion.shift).tolist()
    rz, ry, rx = Rotation.from_matrix(motion.turn).as_rotvec(degrees=True).tolist()
    return Offset(
        shift=(z, y, x),
        rotation_deg=(rz, ry, rx),
        similarity=_similarity(*smooth, motion),
        deformation=factor * _deformation(*smooth, motion),
    )


def _blocks(volume: NDArray[Any], factor: int) -> Volume:
    """Means of blocks; what is over at an end is left out."""
    z, y, x = (extent // factor for extent in volume.shape)
    blocks = volume[: z * factor, : y * factor, : x * factor].reshape(z, factor, y, factor, x, factor)
    return np.asarray(blocks.mean(axis=(1, 3, 5)))


def _smoothed(volumes: tuple[Volume, Volume], sigma: float) -> tuple[Volume, Volume]:
    return gaussian_filter(volumes[0], sigma), gaussian_filter(volumes[1], sigma)


def _starts(first: Volume, scan: Volume) -> list[NDArray[np.float64]]:
    """No shift, and what cross-correlation and phase correlation say, if that is another and no more than a third."""
    window = np.ones((1, 1, 1))
    for axis, extent in enumerate(first.shape):
        window = window * np.hanning(extent).reshape([-1 if other == axis else 1 for other in range(3)])
    one, two = (gaussian_filter(volume - volume.mean(), 1.0) * window for volume in (first, scan))
    starts = [np.zeros(3)]
    for normalization in (None, "phase"):
        shift = -phase_cross_correlation(one, two, normalization=normalization)[0]
        if np.abs(shift).max() < min(first.shape) / 3 and all(np.abs(shift - other).max() >= 1.5 for other in starts):
            starts.append(shift)
    return starts


def _refined(first: Volume, scan: Volume, motion: _Motion, n_steps: int, region: float | None = REGION) -> _Motion:
    """A motion after steps of weighted least squares; `region` is the size of the regions that are weighed, if any."""
    gradient_of_first = np.gradient(first)
    places = np.meshgrid(*(np.arange(extent) - (extent - 1) / 2 for extent in first.shape), indexing="ij", sparse=True)
    for _ in range(n_steps):
        moved, inside = _on_one_scale(first, motion.of(scan))
        if not inside.any():
            return motion
        residual = first - moved
        weights = _weights(residual, inside, region)[inside]
        gz, gy, gx = ((a + b)[inside] / 2 for a, b in zip(gradient_of_first, np.gradient(moved), strict=True))
        z, y, x = (np.broadcast_to(place, first.shape)[inside] for place in places)
        lever = np.stack([gz, gy, gx, gx * y - gy * x, gz * x - gx * z, gy * z - gz * y])
        step = np.linalg.lstsq((lever * weights) @ lever.T, (lever * weights) @ residual[inside], rcond=1e-9)[0]
        motion = motion.then(step[3:], step[:3])
        if max(np.abs(step[:3]).max(), np.abs(step[3:]).max() * max(first.shape) / 2) < CONVERGED:
            break
    return motion


def _on_one_scale(first: Volume, moved: Volume) -> tuple[Volume, NDArray[np.bool_]]:
    """A moved scan with mean and spread of the first, and where it and its gradient are known."""
    inside = binary_erosion(~np.isnan(moved), iterations=2)
    if not inside.any():
        return np.zeros_like(first), inside
    one, two = first[inside], moved[inside]
    gain = one.std() / max(float(two.std()), 1e-6)
    return np.nan_to_num((moved - two.mean()) * gain + one.mean()), inside


def _weights(residual: Volume, inside: NDArray[np.bool_], region: float | None) -> Volume:
    """Weight of each voxel: of itself, by the biweight, and of its region."""
    seen = residual[inside]
    spread = 1.4826 * float(np.median(np.abs(seen - np.median(seen)))) + 1e-6
    own: Volume = np.clip(1 - (residual / (BIWEIGHT * spread)) ** 2, 0, None) ** 2
    if region is None:
        return own
    mean = _local_mean(residual**2, inside, region)
    return own / (1 + (mean / (TOLERATED * np.quantile(mean[inside], 0.3) + 1e-12)) ** 2)


def _local_mean(values: Volume, inside: NDArray[np.bool_], sigma: float) -> Volume:
    share = gaussian_filter(inside.astype(np.float32), sigma)
    return np.asarray(gaussian_filter(np.where(inside, values, 0), sigma) / np.maximum(share, 1e-3))


def _similarity(first: Volume, scan: Volume, motion: _Motion) -> float:
    moved = motion.of(scan)
    inside = ~np.isnan(moved)
    if np.count_nonzero(inside) < first.size / 8 or np.ptp(moved[inside]) == 0 or np.ptp(first[inside]) == 0:
        return 0.0
    return float(np.corrcoef(first[inside], moved[inside])[0, 1])


def _deformation(first: Volume, scan: Volume, motion: _Motion) -> float:
    """Largest shift, in voxels of the grid, that an octant still needs once the whole is aligned."""
    moved, inside = _on_one_scale(first, motion.of(scan))
    residual = first - moved
    weights = np.where(inside, _weights(residual, inside, None), 0)
    gradients = [(a + b) / 2 for a, b in zip(np.gradient(first), np.gradient(moved), strict=True)]
    halves = [(slice(extent // 2), slice(extent // 2, None)) for extent in first.shape]
    largest = 0.0
    for octant in product(*halves):
        lever = np.stack([gradient[octant].ravel() for gradient in gradients])
        weighted = lever * weights[octant].ravel()
        shift = np.linalg.lstsq(weighted @ lever.T, weighted @ residual[octant].ravel(), rcond=1e-9)[0]
        largest = max(largest, float(np.linalg.norm(shift)))
    return largest


_COLUMNS = (
    "store",
    "specimen",
    "state",
    "shift_z",
    "shift_y",
    "shift_x",
    "turn_z",
    "turn_y",
    "turn_x",
    "similarity",
    "deformation",
    "certain",
    "moved_voxels",
    "moved_deg",
)


def write_offsets(file: Path, store_id: str, offsets: Mapping[Scan, Offset], moved: Mapping[Scan, Offset]) -> None:
    """Write what was measured as CSV, a row for each scan; a file of another store is replaced, or removed.

    Args:
        file: `OFFSETS` in the folder of the study.
        store_id: Of the store.
        offsets: By scan, as the store holds it; none where nothing was measured.
        moved: By scan, what registration has moved it by.

    Raises:
        StudyError: It cannot be written.
    """
    if not offsets:
        file.unlink(missing_ok=True)
        return
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for scan, found in offsets.items():
        by = moved.get(scan, STILL)
        numbers = [*found.shift, *found.rotation_deg, found.similarity, found.deformation]
        table.writerow(
            [
                *(store_id, scan.specimen, scan.state),
                *(f"{number:.2f}" for number in numbers),
                str(found.is_certain).lower(),
                *(f"{number:.2f}" for number in (by.distance, by.turn_deg)),
            ]
        )
    write_durably(file, text.getvalue().encode())


def _rows_of(file: Path, store_id: str) -> list[dict[str, str]]:
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return [row for row in csv.DictReader(lines) if row["store"] == store_id]


def show_one_place(file: Path, store_id: str) -> bool:
    """True if the offsets of a store's scans were measured, and no scan lies apart from the first of its specimen.

    Args:
        file: As `write_offsets` wrote it.
        store_id: Of the store; what was measured of another says nothing.
    """
    return bool(_rows_of(file, store_id)) and not offsets_caution(file, store_id)


def offsets_caution(file: Path, store_id: str) -> str:
    """A caution where scans of a store lie apart from the first of their specimen; else nothing.

    Args:
        file: As `write_offsets` wrote it.
        store_id: Of the store; what was measured of another says nothing.
    """
    rows = _rows_of(file, store_id)
    try:
        found = {f"{row['specimen']} state {row['state']}": _offset_of(row) for row in rows}
        done = any(float(row["moved_voxels"]) > 0 or float(row["moved_deg"]) > 0 for row in rows)
    except (KeyError, TypeError, ValueError):
        return f"{file} cannot be read: whether scans lie apart is not known. Prepare the store again."
    apart = {name: offset for name, offset in found.items() if offset.is_cautioned}
    if not apart:
        return ""
    other = [name for name, offset in apart.items() if not offset.is_same_place]
    advice = "They are registered, and yet: see" if done else "Give --register, or see"
    worst = max(apart, key=lambda name: apart[name].distance)
    sentences = [
        f"{len(apart)} of {len(found)} scans lie {FAR_VOXELS:g} voxels or {FAR_DEG:g}° or more from the first of their "
        f"specimen, the farthest {worst} ({apart[worst].distance:.1f} voxels, {apart[worst].turn_deg:.1f}°): slices of one "
        f"number do not show the same place. {advice} {file.name}."
    ]
    if other:
        sentences.append(
            f"The first scan of the specimen is unlike {some_of(other)}: see that both show the same bone."
        )
    if not all(offset.is_certain for offset in apart.values()):
        sentences.append("Where bone is deformed, no shift holds for all of it: those marked as not certain are rough.")
    return " ".join(sentences)


def _offset_of(row: Mapping[str, str]) -> Offset:
    return Offset(
        shift=(float(row["shift_z"]), float(row["shift_y"]), float(row["shift_x"])),
        rotation_deg=(float(row["turn_z"]), float(row["turn_y"]), float(row["turn_x"])),
        similarity=float(row["similarity"]),
        deformation=float(row["deformation"]),
    )
