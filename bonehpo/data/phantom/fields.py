"""Random fields from which the phantom's structures, cracks and displacements are drawn."""

from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Field = NDArray[np.float32]
"""A scalar on the voxel grid, axes (z, y, x)."""


class Wavelength(NamedTuple):
    """Length of one period along each axis, in voxels."""

    z: float
    y: float
    x: float


def gaussian_field(
    side: int, wavelength: Wavelength, rng: np.random.Generator, *, bandwidth: float | None = None
) -> Field:
    """Draw a periodic Gaussian random field of mean 0 and standard deviation 1.

    Args:
        side: Voxels along each axis.
        wavelength: With a bandwidth, the dominant period; without, the shortest period that is still strong.
        rng: Source of the noise.
        bandwidth: Relative width of the shell of wave vectors kept, as in a spinodal pattern [1]_; None keeps the long.

    Returns:
        float32, (side, side, side).

    References:
        .. [1] Kumar et al., npj Comput. Mater. 6 (2020) 73, doi:10.1038/s41524-020-0341-6.
    """
    noise = rng.standard_normal((side, side, side), dtype=np.float32)
    spectrum = scipy.fft.rfftn(noise, overwrite_x=True)
    frequencies = scipy.fft.fftfreq(side).astype(np.float32)
    half = scipy.fft.rfftfreq(side).astype(np.float32)
    periods = (
        ((frequencies * wavelength.z) ** 2)[:, None, None]
        + ((frequencies * wavelength.y) ** 2)[:, None]
        + (half * wavelength.x) ** 2
    )
    if bandwidth is None:
        spectrum *= np.exp(-periods / (2 * 0.35**2))
    else:
        spectrum *= np.exp(-((np.sqrt(periods) - 1) ** 2) / np.float32(2 * bandwidth**2))
    spectrum[0, 0, 0] = 0
    field: Field = scipy.fft.irfftn(spectrum, s=noise.shape, overwrite_x=True)
    field /= field.std()
    return field


def centred_axis(side: int) -> Field:
    """Voxel centres along one axis, in voxels from the middle of the volume."""
    return np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
