"""Numbers of faults of scans that no crack has: sharpness of noise, shading, rings, the place of bone; and random filters.

Sharpness and rings are the same in all slices of a scan, so that each scan and plane gets one row of numbers: the mean over
slices leaves a fifth of the noise of one slice.

References:
    Rahimi and Recht, Weighted sums of random kitchen sinks, NIPS 21 (2008) 1313: a linear model on random features.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate, gaussian_filter

Slices = NDArray[np.float32]
Mask = NDArray[np.bool_]
Values = NDArray[np.float64]

FLAT, SMALL = 8, 4
"""Sides of flat parts in pixels: of those whose noise is measured, and of those whose intensity is."""

FLATTEST, LEAST_FLAT, SAME_PHASE = 0.3, 4, 15.0
"""Share of the parts that sharpness is measured of, the fewest, and levels within which they are of one phase. Medians over
more parts than texture needs: what a crack passes through is outvoted."""

N_STEPS = 4
"""Of fitting, each to the parts that the one before fitted."""

LEAST_ON_RING = 16
"""Pixels that a ring needs, of all slices of a plane."""


def sharpness(intensities: Slices, smooth: Slices) -> Values:
    """Correlation of noise 1, 1 diagonally, 2 and 3 pixels apart, and the logarithm of its size, in flat parts, (1, 5).

    Args:
        intensities: Slices of one scan and plane (slice, y, x).
        smooth: The same without noise.
    """
    rows = [_noise(*pair) for pair in zip(intensities, smooth, strict=True)]
    known = [row for row in rows if row is not None]
    return np.mean(known, axis=0, keepdims=True) if known else np.full((1, 5), np.nan)


def _noise(intensity: Slices, smooth: Slices) -> list[float] | None:
    pixels, levels = parts(intensity, FLAT), parts(smooth, FLAT)
    order = flattest(pixels, levels, FLATTEST, SAME_PHASE)
    if len(order) < LEAST_FLAT:
        return None
    noise = (pixels - levels)[order]
    noise -= noise.mean((1, 2), keepdims=True)
    variances = np.square(noise).mean((1, 2))

    def correlation(y: int, x: int) -> float:
        return float(np.median((noise[:, : FLAT - y, : FLAT - x] * noise[:, y:, x:]).mean((1, 2)) / variances))

    apart = [(correlation(0, n) + correlation(n, 0)) / 2 for n in (1, 2, 3)]
    return [apart[0], correlation(1, 1), *apart[1:], float(0.5 * np.log(np.median(variances)))]


def flattest(pixels: Slices, levels: Slices, share: float, same_phase: float) -> NDArray[np.int64]:
    """Positions of the flattest parts of a slice, all of the phase that most of them are of, the flattest first.

    Args:
        pixels: Parts (part, y, x).
        levels: The same without noise.
        share: Of the parts that is taken, `LEAST_FLAT` at least.
        same_phase: Levels within which a part is of that phase.
    """
    order = np.argsort(levels.std((1, 2)), kind="stable")
    order = order[pixels.std((1, 2))[order] > 0]  # a part without noise is no image: a frame, or what was masked
    few = max(LEAST_FLAT, round(share * len(pixels)))
    if not len(order):
        return order
    means = levels.mean((1, 2))
    typical = np.median(means[order[: 2 * few]])
    return order[np.abs(means[order] - typical) < same_phase][:few]


def shading(smooth: Slices, threshold: int) -> Values:
    """Coefficients of a polynomial of second order by which intensity changes over each slice, (slice, 5), as a gain.

    Bone and what is not bone have a level each and share the gain. Parts with structure, or that do not fit, do not count.

    Args:
        smooth: Slices without noise (slice, y, x).
        threshold: Levels above are bone.
    """
    places = [(np.arange(extent // SMALL) + 0.5) / (extent // SMALL) - 0.5 for extent in smooth.shape[1:]]
    y, x = (grid.ravel() for grid in np.meshgrid(*places, indexing="ij"))
    terms = np.column_stack([y, x, y**2 - 1 / 12, x**2 - 1 / 12, x * y])
    if len(terms) < 2 * (terms.shape[1] + 2):
        return np.full((len(smooth), terms.shape[1]), np.nan)
    return np.array([_gain(parts(image, SMALL), terms, threshold) for image in smooth])


def _gain(pixels: Slices, terms: Values, threshold: int) -> Values:
    levels, rough = pixels.mean((1, 2)).astype(np.float64), pixels.std((1, 2))
    bone = levels > threshold
    phases = np.column_stack([bone, ~bone]).astype(np.float64)
    usual = phases @ [levels[mask].mean() if mask.any() else 0.0 for mask in (bone, ~bone)]
    model = np.column_stack([phases, terms * usual[:, None]])
    flat = rough <= np.median(rough)
    used, coefficients = flat, np.zeros(model.shape[1])
    for _ in range(N_STEPS):
        coefficients = np.linalg.lstsq(model[used], levels[used], rcond=None)[0]
        misfit = np.abs(levels - model @ coefficients)
        used = flat & (misfit < 3 * np.median(misfit[flat]) + 1)
    return np.asarray(coefficients[2:])


def ring_contrast(intensities: Slices, even: Mask) -> float:
    """Contrast of rings about the middle of all slices of a plane, in standard deviations of noise, less what noise makes.

    Only where rings have their centre in the middle of a slice, across the axis of rotation, is there much to see.

    Args:
        intensities: Slices of one scan and plane (slice, y, x).
        even: Pixels away from edges of bone.
    """
    weights = even.astype(np.float32)
    level = gaussian_filter(intensities * weights, (0, 2, 2)) / np.maximum(gaussian_filter(weights, (0, 2, 2)), 1e-3)
    fine = np.where(even, intensities - level, 0)
    noise = 1.4826 * float(np.median(np.abs(fine[even]))) if even.any() else 0.0
    if not noise:
        return float("nan")
    fine = np.clip(fine / noise, -2.5, 2.5)
    y, x = (np.arange(extent) - (extent - 1) / 2 for extent in intensities.shape[1:])
    radius = np.rint(np.hypot(y[:, None], x)).astype(np.int64).ravel()
    counts, sums = (np.bincount(radius, image.sum(axis=0).ravel())[: len(y) // 2] for image in (weights, fine))
    found = counts >= LEAST_ON_RING
    if not found.any():
        return float("nan")
    excess = float((sums[found] ** 2 - counts[found]).sum() / (counts[found] ** 2).sum())
    return float(np.sign(excess) * np.sqrt(abs(excess)))


def bone_place(bone: Mask) -> Values:
    """Centre and spread of bone in a slice, as shares of its sides, and how much more is at each border, (slice, 8)."""
    y, x = ((np.arange(extent) - (extent - 1) / 2) / extent for extent in bone.shape[1:])
    rows = []
    for mask in bone:
        share = mask.mean()
        if not 0 < share < 1:
            rows.append([np.nan] * 8)
            continue
        down, across = mask.mean(axis=1) / share / len(y), mask.mean(axis=0) / share / len(x)
        centre = float(down @ y), float(across @ x)
        width = max(2, len(y) // 16)
        borders = (mask[:width], mask[-width:], mask[:, :width], mask[:, -width:])
        spread = float(down @ (y - centre[0]) ** 2), float(across @ (x - centre[1]) ** 2)
        rows.append([*centre, *spread, *(float(border.mean() - share) for border in borders)])
    return np.array(rows)


def _kernels() -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    drawn = [rng.standard_normal((side, side)) for side in (3, 3, 3, 3, 5, 5, 5, 5)]
    return [((k - k.mean()) / np.abs(k - k.mean()).sum()).astype(np.float32) for k in drawn]


def random_filters(intensities: Slices) -> Values:
    """Mean, maximum and share above 0 of slices after eight random filters that answer 0 to an even slice, (slice, 24).

    Args:
        intensities: Slices (slice, y, x).
    """
    found: list[Values] = []
    for kernel in _kernels():
        answers = correlate(intensities, kernel[None])
        positive = np.maximum(answers, 0)
        found += [positive.mean((1, 2)), positive.max((1, 2)), (answers > 0).mean((1, 2))]
    return np.column_stack(found).astype(np.float64)


def parts(image: Slices, side: int) -> Slices:
    """Squares of `side` pixels of an image, (part, y, x); what is left over at its ends is left out.

    Args:
        image: One slice (y, x).
        side: Of a square.
    """
    rows, columns = (extent // side for extent in image.shape)
    cut = image[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return cut.transpose(0, 2, 1, 3).reshape(-1, side, side)
