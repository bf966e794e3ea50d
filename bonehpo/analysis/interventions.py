"""Share of the evidence of a network that lies in damaged and in undamaged parts of failed slices.

The pristine and the failed slice of one place are cut along the damage and put together crosswise. A network that sees
damage follows the damaged part, one that has learnt a shortcut the rest, which is most of a slice. Of what it says more of
the failed slice than of the pristine one, each part gets its mean over both orders of putting the parts in: Shapley's value
of two players [1]_, so that both add up to the whole. Where either part would do, each gets half.

References:
    .. [1] Shapley, A value for n-person games, Ann. Math. Stud. 28 (1953) 307.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import gaussian_filter, maximum_filter

from bonehpo.analysis.intervals import mean_interval

Pixels = npt.NDArray[np.uint8]
Shares = npt.NDArray[np.float32]

MARGIN = 3
"""Pixels round damage that are cut out with it, as cracks are blurred."""

SEAM = 1.5
"""Standard deviation in pixels over which the parts fade into one another, so that the cut itself looks like no crack."""

VISIBLE = 0.1
"""Share of the pixels of a slice, those that differ most, that is taken for the damage where its truth is not known."""

SMALLEST_AREA, LARGEST_AREA = 0.01, 0.6
"""Share of a slice that is cut out; of slices with less or more nothing is asked, as one part of them is missing."""

LEAST_CONTRAST = 0.1
"""Difference of the outputs on failed and pristine slices of a set from which on there is something to be shared out."""

LIMIT = 0.5
"""Share of the evidence in undamaged parts from which on a network is said to follow them."""


class Crossed(NamedTuple):
    """Pairs of slices put together crosswise, each uint8 (slice, y, x), and how much of them was cut out, (slice,).

    Attributes:
        damaged_part: The damaged part of the failed slice in the pristine one.
        undamaged_part: The rest of the failed slice round the same part of the pristine one.
        area: Share of the slice that was cut out.
    """

    damaged_part: Pixels
    undamaged_part: Pixels
    area: npt.NDArray[np.float64]


def crossed(pristine: Pixels, failed: Pixels, damage: Shares) -> Crossed:
    """Cut slices along their damage and put them together crosswise.

    Args:
        pristine: Slices (slice, y, x).
        failed: The same places.
        damage: Damaged share of each pixel of the failed ones.
    """
    size = 2 * MARGIN + 1
    cut = maximum_filter(damage > 0, (1, size, size))
    weights = gaussian_filter(cut.astype(np.float32), (0, SEAM, SEAM))
    first, second = pristine.astype(np.float32), failed.astype(np.float32)
    into = np.rint(first + weights * (second - first)).astype(np.uint8)
    rest = np.rint(second + weights * (first - second)).astype(np.uint8)
    return Crossed(into, rest, cut.mean(axis=(1, 2)))


def visible_damage(pristine: Pixels, failed: Pixels) -> Shares:
    """Pixels in which failed slices differ most from the pristine ones, 1 there and 0 elsewhere, (slice, y, x).

    Slices are smoothed by 2 pixels, and the failed one is brought to the median and the quartiles of the other, so that
    contrast and noise do not count.

    Args:
        pristine: Slices (slice, y, x).
        failed: The same places, registered.
    """
    first, second = (gaussian_filter(slices.astype(np.float32), (0, 2, 2)) for slices in (pristine, failed))
    (low, middle, high), (low_2, middle_2, high_2) = (
        np.quantile(smooth, (0.25, 0.5, 0.75), axis=(1, 2), keepdims=True) for smooth in (first, second)
    )
    scaled = middle + (second - middle_2) * (high - low) / np.maximum(high_2 - low_2, 1e-6)
    difference = np.abs(scaled - first)
    least = np.quantile(difference, 1 - VISIBLE, axis=(1, 2), keepdims=True)
    return np.asarray(difference > least, np.float32)


class Evidence(NamedTuple):
    """Share of a network's evidence that lies in undamaged parts.

    Attributes:
        share: Mean over test sets; NaN where no set has any.
        lower: Lower end of its 95 % interval over test sets; NaN for fewer than two.
        upper: Upper end.
        n_sets: Test sets of which failed and pristine slices are told apart.
    """

    share: float
    lower: float
    upper: float
    n_sets: int

    @property
    def undamaged(self) -> bool:
        """True if the networks follow undamaged parts, and sets agree that these count."""
        return self.share >= LIMIT and self.lower > 0


def evidence(outputs: pd.DataFrame) -> Evidence:
    """Share of what networks say of failed bone that lies in undamaged parts.

    Args:
        outputs: A row for each fold, specimen and plane, with `test`, `n_slices`, and the mean outputs for *failed* on
            slices as they are, `pristine` and `failed`, and crosswise, `damaged_part` and `undamaged_part`.
    """
    shares = shares_by_set(outputs)["share"].dropna().to_numpy(np.float64)
    if not len(shares):
        return Evidence(float("nan"), float("nan"), float("nan"), 0)
    return Evidence(float(shares.mean()), *mean_interval(shares), len(shares))


def shares_by_set(outputs: pd.DataFrame) -> pd.DataFrame:
    """Share of undamaged parts for each test set, columns `test`, `contrast`, `share`; NaN where the contrast is too small.

    Args:
        outputs: As in `evidence`.
    """
    names = ["pristine", "failed", "damaged_part", "undamaged_part"]
    sums = outputs[names].mul(outputs["n_slices"], axis=0).groupby(outputs["test"], sort=False).sum()
    means = sums.div(outputs.groupby("test", sort=False)["n_slices"].sum(), axis=0)
    contrast = means["failed"] - means["pristine"]
    undamaged = (means["undamaged_part"] - means["pristine"] + means["failed"] - means["damaged_part"]) / 2
    share = (undamaged / contrast).where(contrast >= LEAST_CONTRAST)
    return pd.DataFrame({"contrast": contrast, "share": share}).reset_index()


def evidence_sentence(found: Evidence, *, is_truth: bool, one_place: bool) -> str:
    """Verdict on where the evidence lies, in one sentence.

    Args:
        found: From `evidence`.
        is_truth: Whether damage is known; else it was taken where slices differ most.
        one_place: Whether scans are known to show one place; else parts of other bone may have been put together, which says
            nothing against the networks.
    """
    if not found.n_sets:
        return (
            "Where the evidence lies is not known: networks are gone, or tell no slice with a damaged and a whole part."
        )
    damaged = "true damage" if is_truth else f"the {VISIBLE:.0%} of pixels that differ most"
    interval = f" (95 % {found.lower:.2f} to {found.upper:.2f})" if np.isfinite(found.lower) else ""
    what = (
        f"{found.share:.2f}{interval} of what the networks see in failed slices moves with the part outside {damaged} when "
        f"parts of pristine and failed slices are exchanged (n = {found.n_sets} test sets)"
    )
    if found.share >= LIMIT and not one_place:
        return f"Caution: {what}, which scans of other places would explain: see `bonehpo prepare --register`."
    if found.undamaged:
        return f"{what}: they follow what is not damaged, and the network's accuracy does not show that it sees damage."
    if found.share >= LIMIT:
        return f"Caution: {what}: too few or too different sets to say that they follow damage."
    return f"{what}: the rest moves with the damaged part."
