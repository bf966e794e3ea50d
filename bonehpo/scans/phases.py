"""Pores and bone of a scan: the intensity of either, and the matching of scans by it.

A crack adds dark voxels. Matching of whole histograms then makes the pores that were there before brighter, so that they
tell the load state by themselves. Matching by phases is one straight line a scan, which lays the darkest pores and the
inside of bone where they are in the reference, however many dark voxels there are. How it was found:
docs/explanation/matching.md.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter1d
from skimage.filters import threshold_otsu

from bonehpo.scans.intensity import LEVELS, Histogram, IntensityMap, Window, histogram
from bonehpo.scans.window import common_range

Matching = Literal["phases", "histogram", "none"]
"""Ways to make the intensities of scans alike."""

PORE_QUANTILE = 0.0003
"""Fraction of the voxels of a median-filtered scan that are as dark as the inside of its pores, wherever it has some."""

BoneRule = Literal["inside", "mode"]
"""What is taken for the intensity of bone: the median of the voxels of bone whose six neighbours are bone, or the highest
peak above Otsu's threshold, as it was in stores of before."""

LEAST = 30
"""Voxels inside bone of which a median is taken; with fewer it is that of all bone."""

MODE_SMOOTHING = 3 / LEVELS
"""Standard deviation of the blur of a histogram of which the mode is taken, in parts of its range."""


@dataclass(frozen=True, kw_only=True)
class Phases:
    """Intensities of the two phases of a scan.

    Attributes:
        pore: Of the darkest pores.
        bone: Of bone, by the rule.
        rule: Which; recipes of before do not say, and mean the mode.
    """

    pore: float
    bone: float
    rule: BoneRule = "mode"


def find_phases(volume: NDArray[Any], rule: BoneRule = "inside", within: NDArray[np.bool_] | None = None) -> Phases:
    """Find pores and bone in a median-filtered scan.

    Bone is what is above Otsu's threshold. Thin struts are half marrow at their rims and have no mode, so that voxels at the
    rims do not count. Pores have no mode of their own where they are few, but a darkest intensity: the quantile of 0.03 %.
    Of neither are metal and padding, see `window.common_range`.

    Args:
        volume: Intensities, (z, y, x), at least two.
        rule: Which intensity is bone's.
        within: The specimen, where air lies around it, which would be a third phase.
    """
    scan = histogram(volume if within is None else volume[within][None])
    if rule == "inside":
        scan = scan.within(common_range(scan))
    values, counts = _binned(scan)
    threshold = float(threshold_otsu(hist=(counts, values)))
    brightest = scan.values[-1]
    bone = _mode(values, counts, threshold) if rule == "mode" else _inside(volume, threshold, brightest, within)
    return Phases(pore=min(scan.quantile(PORE_QUANTILE), threshold), bone=bone, rule=rule)


def _inside(volume: NDArray[Any], threshold: float, brightest: float, within: NDArray[np.bool_] | None) -> float:
    """Median intensity of bone, voxels at its rims left out; what is brighter than bone belongs to its inside, uncounted."""
    found = []
    for z, section in enumerate(volume):
        inner = binary_erosion(section > threshold, border_value=1) & (section <= brightest)
        for neighbour in volume[max(z - 1, 0) : z + 2]:
            inner &= neighbour > threshold
        found.append(section[inner if within is None else inner & within[z]])
    inside = np.concatenate(found)
    if len(inside) < LEAST:
        is_bone = (volume > threshold) & (volume <= brightest)
        inside = volume[is_bone if within is None else within & is_bone]
    return float(np.median(inside))


def _mode(values: NDArray[np.float64], counts: NDArray[np.float64], threshold: float) -> float:
    """Highest peak of bone; where it is sparse, the tail of the pores is higher than its mode: only a peak counts."""
    blurred = gaussian_filter1d(counts, max(1.0, MODE_SMOOTHING * len(values)), mode="constant")
    is_peak = (blurred > np.append(0, blurred[:-1])) & (blurred >= np.append(blurred[1:], 0)) & (values > threshold)
    at = int(np.argmax(np.where(is_peak | (np.arange(len(values)) == len(values) - 1), blurred, -1)))
    return _peak(values, blurred, at)


def matched_by_phases(scan: Histogram, own: Phases, reference: Phases, window: Window) -> IntensityMap:
    """The straight line that takes pores and bone of a scan to those of the reference, as far as it stays in a window.

    Args:
        scan: Before any filter; the map is constant beyond its ends.
        own: Its phases.
        reference: Where they shall lie. Of the rule "mode" the line reaches from end to end of the scan, so that `levels`
            bends it where it leaves the window, as it was in stores of before.
        window: Intensities of which levels are made.
    """
    ends = np.array([scan.values[0], scan.values[-1]])
    gain = (reference.bone - reference.pore) / (own.bone - own.pore)
    if reference.rule == "inside":
        ends = np.clip(own.pore + (np.array([window.low, window.high]) - reference.pore) / gain, *ends)
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
