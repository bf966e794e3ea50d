"""A zoo of shortcuts: differences between scans that tell their load states and are no damage, to be planted into phantoms.

Each is something that scanners, or those who run them, have done to some scans of a study and not to others. What a network
learns of them looks like an accuracy on damage; the shortcut audit has to tell.
"""

import io
import math
from collections.abc import Callable
from typing import Literal, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import affine_transform, convolve1d, gaussian_filter, rotate

from bonehpo.errors import PhantomError
from bonehpo.phantom.grid import Field, centred_axis, ring_image

Where = Literal["pristine", "failed", "loaded"]
"""Scans of the first state, of the last, or of all but the first."""

Plant = Callable[[Field, float, np.random.Generator], Field]
"""Changes a scan, about 0 to 1, (z, y, x); of a strength."""


class Kind(NamedTuple):
    """One kind of shortcut.

    Attributes:
        plant: What it does to a scan.
        strength: How much of it, unless asked otherwise.
        means: What strength is, in words.
        largest: Strengths lie above 0 and up to this.
        moves: Whether bone moves, and what is known of its damage with it.
    """

    plant: Plant
    strength: float
    means: str
    largest: float
    moves: bool = False


class Shortcut(NamedTuple):
    """A kind of shortcut, its strength, and the scans that have it.

    Attributes:
        kind: A key of `KINDS`.
        strength: In the unit of the kind.
        where: The scans.
    """

    kind: str
    strength: float
    where: Where = "pristine"

    def is_in(self, state: int, n_states: int) -> bool:
        """True if the scan of a load state has it.

        Args:
            state: Number of the state, from 1.
            n_states: Number of states.
        """
        return {"pristine": state == 1, "failed": state == n_states, "loaded": state > 1}[self.where]

    def planted(self, scan: Field, rng: np.random.Generator) -> Field:
        """The scan with the shortcut.

        Args:
            scan: About 0 to 1, (z, y, x); may be overwritten.
            rng: Source of what is random about it.
        """
        return np.asarray(KINDS[self.kind].plant(scan, self.strength, rng), np.float32)

    def moved(self, damaged: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """True where bone is damaged once the shortcut is planted, (z, y, x), of where it was before."""
        if not KINDS[self.kind].moves:
            return damaged
        return self.planted(damaged.astype(np.float32), np.random.default_rng(0)) > np.float32(0.5)

    def __str__(self) -> str:
        return f"{self.kind}:{self.strength:g}@{self.where}"


def parse_shortcut(text: str) -> Shortcut:
    """Read a shortcut as people write it, `KIND[:STRENGTH][@pristine|@failed|@loaded]`.

    Raises:
        PhantomError: There is no such kind or place, or the strength is out of range.
    """
    what, _, where = text.partition("@")
    kind, _, strength = what.partition(":")
    if kind not in KINDS:
        raise PhantomError(f"Shortcut {text!r} is of no known kind: choose one of {', '.join(KINDS)}")
    if where not in ("", *get_args(Where)):
        raise PhantomError(
            f"Shortcut {text!r} names no scans: end it with @{', @'.join(get_args(Where))}, or leave that out"
        )
    of = KINDS[kind]
    try:
        value = float(strength) if strength else of.strength
    except ValueError:
        value = math.nan
    if not 0 < value <= of.largest:
        raise PhantomError(f"Shortcut {text!r} has no such strength: give {of.means}, above 0 and up to {of.largest:g}")
    return Shortcut(kind, value, cast(Where, where or "pristine"))


def _hot_pixels(scan: Field, fraction: float, rng: np.random.Generator) -> Field:
    """Scatter bright and dark single voxels, as direct hits of the detector leave them.

    A network tells them at once; a 3 × 3 × 3 median filter takes them away: the trap of the paper's Appendix A, where
    scan noise gave the pristine scans away.
    """
    hit = rng.random(scan.shape, dtype=np.float32) < fraction
    scan[hit] += np.where(rng.random(int(hit.sum())) < 0.5, HOT_INTENSITY, -HOT_INTENSITY)
    return scan


HOT_INTENSITY, MARK_INTENSITY = 0.80, 1.0


def _smear(scan: Field, voxels: float, _: np.random.Generator) -> Field:
    """Mean over a way along z, as of a specimen that is compressed while it is scanned."""
    reach = int(np.ceil((voxels - 1) / 2))
    places = np.abs(np.arange(-reach, reach + 1))
    kernel = np.clip(voxels / 2 + 0.5 - places, 0, 1)
    return np.asarray(convolve1d(scan, kernel / kernel.sum(), axis=0, mode="nearest"))


def _blur(scan: Field, sigma: float, _: np.random.Generator) -> Field:
    return np.asarray(gaussian_filter(scan, sigma))


def _sharpen(scan: Field, amount: float, _: np.random.Generator) -> Field:
    return np.asarray(scan + np.float32(amount) * (scan - gaussian_filter(scan, 1.0)))


def _noise(scan: Field, deviation: float, rng: np.random.Generator) -> Field:
    return np.asarray(scan + np.float32(deviation) * rng.standard_normal(scan.shape, dtype=np.float32))


def _rings(scan: Field, amplitude: float, rng: np.random.Generator) -> Field:
    side = scan.shape[-1]
    return np.asarray(scan + ring_image(side, amplitude * rng.standard_normal((side,))), np.float32)


def _bits(scan: Field, bits: float, _: np.random.Generator) -> Field:
    steps = 2**bits - 1
    return np.asarray(np.rint(np.clip(scan, 0, 1) * steps) / steps)


def _jpeg(scan: Field, quality: float, _: np.random.Generator) -> Field:
    sections = []
    for section in np.rint(np.clip(scan, 0, 1) * 255).astype(np.uint8):
        packed = io.BytesIO()
        Image.fromarray(section).save(packed, "JPEG", quality=round(quality))
        with Image.open(packed) as image:
            sections.append(np.asarray(image, np.float32) / 255)
    return np.stack(sections)


def _gain(scan: Field, factor: float, _: np.random.Generator) -> Field:
    return np.asarray(scan * factor)


def _gamma(scan: Field, exponent: float, _: np.random.Generator) -> Field:
    return np.asarray(np.clip(scan, 0, None) ** exponent)


def _edge_to_edge(side: int) -> Field:
    """Places along an axis, from -1/2 at the one edge to 1/2 at the other."""
    return centred_axis(side) / np.float32(side - 1)


def _shading(scan: Field, change: float, _: np.random.Generator) -> Field:
    return np.asarray(scan * (1 + change * _edge_to_edge(scan.shape[-1])))


def _drift(scan: Field, change: float, _: np.random.Generator) -> Field:
    return np.asarray(scan * (1 + change * _edge_to_edge(len(scan)))[:, None, None])


def _frame(scan: Field, voxels: float, _: np.random.Generator) -> Field:
    near = [(np.arange(side) < voxels) | (np.arange(side) >= side - voxels) for side in scan.shape]
    return np.where(near[0][:, None, None] | near[1][:, None] | near[2], np.float32(0), scan)


def _mark(scan: Field, voxels: float, _: np.random.Generator) -> Field:
    """A bright square in the first corner of every slice of every plane."""
    near = [np.arange(side) < voxels for side in scan.shape]
    z, y, x = near[0][:, None, None], near[1][:, None], near[2]
    return np.where((z & y) | (z & x) | (y & x), MARK_INTENSITY, scan)


def _shift(scan: Field, voxels: float, _: np.random.Generator) -> Field:
    return np.asarray(affine_transform(scan, np.ones(3), (0, 0, voxels), order=1, mode="nearest"))


def _rotation(scan: Field, degrees: float, _: np.random.Generator) -> Field:
    return np.asarray(rotate(scan, degrees, axes=(1, 2), reshape=False, order=1, mode="nearest"))


def _voxel_size(scan: Field, factor: float, _: np.random.Generator) -> Field:
    centre = (np.array(scan.shape) - 1) / 2
    return np.asarray(affine_transform(scan, np.full(3, factor), centre * (1 - factor), order=1, mode="nearest"))


KINDS: dict[str, Kind] = {
    "hot-pixels": Kind(_hot_pixels, 0.02, "the share of voxels", 1),
    "smear": Kind(_smear, 3.0, "the way in voxels along z during the scan", 50),
    "blur": Kind(_blur, 0.6, "the standard deviation of a Gaussian in voxels", 20),
    "sharpening": Kind(_sharpen, 0.5, "the weight of an unsharp mask of 1 voxel", 10),
    "noise": Kind(_noise, 0.02, "the standard deviation, of an intensity of 1", 1),
    "rings": Kind(_rings, 0.02, "the standard deviation of rings, of an intensity of 1", 1),
    "bit-depth": Kind(_bits, 4.0, "the number of bits", 16),
    "jpeg": Kind(_jpeg, 40.0, "the quality", 100),
    "gain": Kind(_gain, 1.15, "the factor", 10),
    "gamma": Kind(_gamma, 1.3, "the exponent", 10),
    "shading": Kind(_shading, 0.08, "the change of gain along x, from edge to edge", 2),
    "drift": Kind(_drift, 0.08, "the change of gain along z, from edge to edge", 2),
    "frame": Kind(_frame, 2.0, "the width in voxels of a black border", 100),
    "mark": Kind(_mark, 5.0, "the side in voxels of a bright square in a corner", 100),
    "shift": Kind(_shift, 4.0, "the voxels along x", 100, moves=True),
    "rotation": Kind(_rotation, 3.0, "the degrees about z", 180, moves=True),
    "voxel-size": Kind(_voxel_size, 1.05, "the factor by which voxels are too large", 4, moves=True),
}
"""All kinds."""
