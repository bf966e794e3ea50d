"""Random flips and shears of grey slices, in batches, on the fly."""

import numpy as np
import numpy.typing as npt

from bonehpo.config import Training


def augment(images: npt.NDArray[np.uint8], training: Training, generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Mirror each image with probability 1/2 and shear it along x by a random angle, as §2.2 of the paper.

    Rows are shifted about the middle row, interpolated linearly, and continued with their border pixels.

    Args:
        images: (image, y, x). Left as it is.
        training: Whether to flip, and the largest angle of shear in degrees.
        generator: Source of the random numbers.

    Returns:
        (image, y, x).
    """
    n, height, width = images.shape
    if training.flip:
        mirrored = np.asarray(generator.random(n) < 0.5)
        images = np.where(mirrored.reshape(n, 1, 1), images[:, :, ::-1], images)
    if training.shear_deg == 0:
        return images
    angles = np.deg2rad(generator.uniform(-training.shear_deg, training.shear_deg, n))
    rows = np.arange(height) - (height - 1) / 2
    shifts = np.tan(angles)[:, None] * rows  # (image, y), in pixels
    whole = np.floor(shifts).astype(np.int32)
    part = (shifts - whole).astype(np.float32)[:, :, None]
    left = np.arange(width, dtype=np.int32) + whole[:, :, None]
    a = np.take_along_axis(images, left.clip(0, width - 1), axis=2)
    b = np.take_along_axis(images, (left + 1).clip(0, width - 1), axis=2)
    blended: npt.NDArray[np.uint8] = np.rint(a + part * (b.astype(np.float32) - a)).astype(np.uint8)
    return blended
