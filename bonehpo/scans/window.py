"""The window of intensities of a scan: those of bone and pores, without metal, markers or padding.

A screw of 0.7 % of the voxels, at the end of what the file can hold, would take most of the 256 levels for itself and leave
a handful to bone; and so would the padding of a reconstruction, far below air. Such voxels lie far off: between them and
what shows bone and pores is a range, wider than that of bone and pores together, that holds next to nothing.
"""

from bisect import bisect_right
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from skimage.filters import threshold_otsu

from bonehpo.errors import PreparationError
from bonehpo.scans.intensity import LEVELS, Histogram, Window

EMPTY = 3e-4
"""Share of the voxels in 1/256 of a range below which it holds next to nothing."""

FEW = 1e-3
"""Share of the voxels that a part of them must have to count as one."""

TIMES = 6
"""How many times the width of bone and pores together metal lies off them, of which more is blurred than is not. Of bone of
2 % or less without noise, most of which is blurred, it was 4.5 at most."""

COARSE = 3
"""How many of the steps in which intensities are counted make a range that can be empty: those of 8 bit are coarse."""

VALLEY = 0.6
"""Lowest point of a histogram between the means of what Otsu's threshold parts, over its highest peak, from which on there
is one phase. Of a normal distribution it is 0.73."""

_SMOOTHING = 3.0


def intensity_window(reference: Histogram, dtype: np.dtype[Any]) -> Window:
    """The intensities that become levels 0 and 255 in every scan of a store.

    Args:
        reference: Histogram of the reference scan.
        dtype: Its intensity type.

    Returns:
        0 to 255 for unsigned 8 bit, so that those intensities stay as they are; otherwise the 0.1 % and 99.9 %
        quantiles of what is in the `common_range` of the reference.

    Raises:
        PreparationError: Nearly all voxels of the reference are of one intensity.
    """
    if dtype == np.uint8:
        return Window(low=0, high=LEVELS - 1)
    common = reference.within(common_range(reference))
    low, high = common.quantile(0.001), common.quantile(0.999)
    if low == high:
        raise PreparationError(f"99.8 % of the reference scan is the intensity {low:g}; name another with --reference")
    return Window(low=low, high=high)


def scan_window(scan: Histogram, dtype: np.dtype[Any]) -> Window:
    """Window of one scan by itself, whatever others show.

    Args:
        scan: Its histogram.
        dtype: Its intensity type.

    Returns:
        As `intensity_window`; of unsigned 8 bit its `common_range`, where that is not all; and all its intensities where
        nearly all its voxels are of one.
    """
    common = common_range(scan)
    if dtype == np.uint8 and common != _whole(scan):
        return common
    try:
        return intensity_window(scan, dtype)
    except PreparationError:
        return _whole(scan)


def common_range(scan: Histogram) -> Window:
    """The range of intensities that bone and pores of a scan take.

    Intensities are parted where next to nothing lies between them. To the largest part the nearest is added, until what is
    left lies farther off than what there is so far is wide and is of one intensity, as padding and saturated metal are.
    What is brighter is metal also where there are two phases so far, and less lies between than beyond, or it is `TIMES` as
    far off.

    Args:
        scan: Its histogram.

    Returns:
        From its lowest intensity to its highest, where nothing lies far off.
    """
    found = _whole(scan)
    while (inner := _narrowed(scan.within(found))) != found:
        found = inner
    return found


def far_above(scan: Histogram) -> float:
    """Share of the voxels of a scan that are far brighter than its bone."""
    common = common_range(scan)
    return sum(scan.counts[bisect_right(scan.values, common.high) :]) / sum(scan.counts)


def _whole(scan: Histogram) -> Window:
    return Window(low=scan.values[0], high=scan.values[-1])


def _narrowed(scan: Histogram) -> Window:
    """As `common_range`, of a histogram in 256 even parts: as fine as that allows."""
    parts = _parts(scan)
    first = last = max(range(len(parts)), key=lambda i: scan.share(parts[i]))
    while first > 0 or last < len(parts) - 1:
        low, high = parts[first].low, parts[last].high
        below = low - parts[first - 1].high if first > 0 else np.inf
        above = parts[last + 1].low - high if last < len(parts) - 1 else np.inf
        next_part = parts[first - 1] if below < above else parts[last + 1]
        if min(below, above) > high - low and _is_foreign(scan, Window(low=low, high=high), next_part):
            return _whole(scan.within(Window(low=low - (high - low), high=high + (high - low))))
        first, last = (first - 1, last) if below < above else (first, last + 1)
    return _whole(scan)


def _is_foreign(scan: Histogram, found: Window, part: Window) -> bool:
    """True if a part that is far off what was found is no bone and no pore."""
    is_above = part.low > found.high
    end = part.high if is_above else part.low
    if scan.share(Window(low=end, high=end)) >= max(FEW, scan.share(part) / 2):
        return True
    between = scan.share(Window(low=found.high, high=part.low))
    beyond = scan.share(Window(low=part.low, high=np.inf))
    is_sharp = between <= beyond or part.low - found.high > TIMES * (found.high - found.low)
    return is_above and is_sharp and _shows_two_phases(scan.within(found))


def _parts(scan: Histogram) -> list[Window]:
    """Ranges of a histogram that hold more than a few voxels, rising; between them next to nothing lies."""
    values, counts = np.asarray(scan.values), np.asarray(scan.counts)
    if len(values) == 1:
        return [_whole(scan)]
    places = _places(values)
    filled = (np.bincount(places, weights=counts, minlength=LEVELS) >= EMPTY * counts.sum())[places]
    held, shares = values[filled], counts[filled] / counts.sum()
    is_gap = (np.diff(places[filled]) > 1) & (np.diff(held) > COARSE * np.median(np.diff(values)))
    ends = np.flatnonzero(is_gap)
    lows, highs = held[np.append(0, ends + 1)], held[np.append(ends, len(held) - 1)]
    share = np.add.reduceat(shares, np.append(0, ends + 1))
    return [Window(low=lows[i], high=highs[i]) for i in np.flatnonzero(share >= FEW)]


def _places(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """In which of `LEVELS` even parts of their range intensities lie."""
    return (np.interp(values, values[[0, -1]], (0, 1)) * (LEVELS - 1)).astype(np.intp)


def _shows_two_phases(scan: Histogram) -> bool:
    """True if there is a valley between two peaks: few thin struts are a slope, and have none."""
    if len(scan.values) < 2:
        return False
    counts = np.bincount(_places(np.asarray(scan.values)), weights=scan.counts, minlength=LEVELS).astype(np.int64)
    threshold = int(threshold_otsu(hist=(counts, np.arange(LEVELS))))
    blurred = _blurred(counts)
    dark, bright = _means(counts, threshold)
    lowest = dark + int(blurred[dark : bright + 1].argmin())
    return bool(blurred[lowest] < VALLEY * min(blurred[:lowest].max(initial=0), blurred[lowest:].max()))


def has_one_phase(counts: NDArray[np.int64], threshold: int) -> bool:
    """True if Otsu's threshold splits the noise about one intensity.

    Args:
        counts: Of the 256 levels of a filtered volume.
        threshold: Otsu's.
    """
    dark, bright = _means(counts, threshold)
    blurred = _blurred(counts)
    return bool(blurred[dark : bright + 1].min() >= VALLEY * blurred.max())


def _means(counts: NDArray[np.int64], threshold: int) -> tuple[int, int]:
    """Mean level of what a threshold parts, rounded."""
    levels = np.arange(len(counts))
    dark, bright = (
        np.average(levels[part], weights=counts[part]) for part in (levels <= threshold, levels > threshold)
    )
    return round(dark), round(bright)


def _blurred(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """A histogram without the gaps that few intensities leave in it."""
    sigma = max(_SMOOTHING, len(counts) / np.count_nonzero(counts))
    return np.asarray(gaussian_filter1d(counts.astype(np.float64), sigma))
