"""Pores and bone in a histogram: where either lies, and the matching of scans by it.

A crack adds dark voxels. Matching of whole histograms then makes the pores that were there before brighter, so that they
tell the load state by themselves. Matching by phases is one straight line a scan, which lays the darkest pores and the bulk
of the bone where they are in the reference, however many dark voxels there are. How it was found:
docs/explanation/matching.md.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from skimage.filters import threshold_otsu

from bonehpo.scans.intensity import LEVELS, Histogram, IntensityMap

Matching = Literal["phases", "histogram", "none"]
"""Ways to make the intensities of scans alike."""

PORE_QUANTILE = 0.0003
"""Fraction of the voxels of a median-filtered scan that are as dark as the inside of its pores, wherever it has some."""

MODE_SMOOTHING = 3 / LEVELS
"""Standard deviation of the blur of a histogram of which the mode is taken, in parts of its range."""


@dataclass(frozen=True, kw_only=True)
class Phases:
    """Intensities of the two phases of a scan.

    Attributes:
        pore: Of the darkest pores.
        bone: The most frequent of bone.
    """

    pore: float
    bone: float


def find_phases(scan: Histogram) -> Phases:
    """Find pores and bone in the histogram of a median-filtered scan.

    Bone is what is above Otsu's threshold; where it is sparse, the tail of the pores is higher there than its mode, so that
    only a peak counts. Pores have no mode of their own where they are few, but a darkest intensity: the quantile of 0.03 %.

    Args:
        scan: Of at least two intensities.
    """
    values, counts = _binned(scan)
    threshold = float(threshold_otsu(hist=(counts, values)))
    blurred = gaussian_filter1d(counts, max(1.0, MODE_SMOOTHING * len(values)), mode="constant")
    is_peak = (blurred > np.append(0, blurred[:-1])) & (blurred >= np.append(blurred[1:], 0)) & (values > threshold)
    at = int(np.argmax(np.where(is_peak | (np.arange(len(values)) == len(values) - 1), blurred, -1)))
    return Phases(pore=min(scan.quantile(PORE_QUANTILE), threshold), bone=_peak(values, blurred, at))


def matched_by_phases(scan: Histogram, own: Phases, reference: Phases) -> IntensityMap:
    """The straight line that takes pores and bone of a scan to those of the reference.

    Args:
        scan: The ends of its intensities are the ends of the line.
        own: Its phases.
        reference: Where they shall lie.
    """
    ends = np.array([scan.values[0], scan.values[-1]])
    gain = (reference.bone - reference.pore) / (own.bone - own.pore)
    return IntensityMap(knots=ends, intensities=reference.pore + gain * (ends - own.pore))


def _binned(scan: Histogram) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middles and counts of about `LEVELS` bins or fewer, whole intensities wide where all are whole."""
    values = np.asarray(scan.values)
    span = values[-1] - values[0]
    is_whole = bool((values == np.rint(values)).all())
    width = math.ceil((span + 1) / LEVELS) if is_whole else span / (LEVELS - 1)
    places = ((values - values[0]) // width).astype(np.intp)
    counts = np.bincount(places, weights=np.asarray(scan.counts)).astype(np.float64)
    first = values[0] + (width - 1) / 2 if is_whole else values[0] + width / 2
    return first + width * np.arange(len(counts)), counts


def _peak(values: NDArray[np.float64], counts: NDArray[np.float64], at: int) -> float:
    """Top of the parabola through a count and its neighbours."""
    if not 0 < at < len(counts) - 1:
        return float(values[at])
    before, here, after = counts[at - 1 : at + 2]
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(values[at] + float(np.clip(shift, -0.5, 0.5)) * (values[1] - values[0]))
