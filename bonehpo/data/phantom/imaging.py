"""The faults of a scanner: blur, noise, ring artefacts, and brightness that drifts from scan to scan."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from bonehpo.data.phantom.fields import Field, centred_axis
from bonehpo.data.phantom.spec import Bone

BLUR_VOXELS = (0.7, 0.82)
NOISE, NOISE_OF_SIGNAL = 0.028, 0.032
NOISE_FACTOR = (0.9, 1.15)
RING_GREY = (0.004, 0.014)
SHADING_GAIN: dict[Bone, float] = {"CB": 0.012, "TB": 0.006}
DRIFT_GAIN, DRIFT_OFFSET = 0.05, 0.02
ZINGER_FRACTION, ZINGER_GREY = 0.02, 0.80


def photograph(grey: Field, bone: Bone, rng: np.random.Generator) -> Field:
    """Scan a specimen.

    Args:
        grey: Material, 0 to 1, (side, side, side); is overwritten.
        bone: Dense bone hardens the beam more.
        rng: Source of the faults.

    Returns:
        What the scanner reconstructs, about 0 to 1, of the same shape.
    """
    gaussian_filter(grey, rng.uniform(*BLUR_VOXELS), output=grey)
    deviation = np.sqrt(np.float32(NOISE**2) + np.float32(NOISE_OF_SIGNAL**2) * grey)
    deviation *= np.float32(rng.uniform(*NOISE_FACTOR))
    grey += deviation * rng.standard_normal(grey.shape, dtype=np.float32)
    grey += rings(len(grey), rng)
    grey *= shading(len(grey), SHADING_GAIN[bone], rng)
    grey *= np.float32(1 + DRIFT_GAIN * rng.uniform(-1, 1))
    grey += np.float32(DRIFT_OFFSET * rng.uniform(-1, 1))
    return grey


def rings(side: int, rng: np.random.Generator) -> Field:
    """Draw rings about the axis of rotation: each detector pixel that is off leaves one.

    Returns:
        (1, side, side) grey, the same at every level.
    """
    axis = centred_axis(side)
    radius = np.hypot(axis[:, None], axis)
    faults = rng.standard_normal(side) * (1 + 3 * (rng.random(side) < 0.04))
    return np.asarray(rng.uniform(*RING_GREY) * np.interp(radius, np.arange(side), faults)[None], dtype=np.float32)


def shading(side: int, strength: float, rng: np.random.Generator) -> Field:
    """Draw a slow change of gain over the volume: a beam that drifts during the scan, and its hardening in the specimen.

    Returns:
        (side, side, side), about 1.
    """
    axis = centred_axis(side) / np.float32(side / 2)
    z, y, x, cup = (strength * rng.uniform(-1, 1, 4)).astype(np.float32)
    plane = (y * axis)[:, None] + x * axis + cup * (axis[:, None] ** 2 + axis**2)
    gain: Field = 1 + (z * axis)[:, None, None] + plane
    return gain


def add_zingers(grey: Field, rng: np.random.Generator) -> None:
    """Scatter bright and dark single voxels, in place, as direct hits of the detector leave them.

    A network tells them at once; a 3 × 3 × 3 median filter takes them away: the trap of the paper's Appendix A, where
    scan noise gave the pristine scans away.
    """
    hit = rng.random(grey.shape, dtype=np.float32) < ZINGER_FRACTION
    grey[hit] += np.where(rng.random(int(hit.sum())) < 0.5, ZINGER_GREY, -ZINGER_GREY)


def quantise(grey: Field) -> NDArray[np.uint8]:
    """Round grey 0 to 1 to 8 bit."""
    return np.clip(grey * 235 + 10, 0, 255).round().astype(np.uint8)
