"""Intensity of pores and bone by load state: whether preparation has written the label into the pixels.

Pixels are looked at that are pore in every load state of a specimen, and others that are bone in every state: damage is in
neither. Whatever their level tells of the load state comes from the scanner or from preparation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from bonehpo.domain import NO_DONORS, Progress, ProgressCallback, ignore_progress
from bonehpo.preparation.morphometry import otsu
from bonehpo.scans.intensity import LEVELS
from bonehpo.scans.phases import Matching
from bonehpo.store.recipe import Recipe
from bonehpo.store.store import SliceStore

Phase = Literal["pore", "bone"]
PHASES: tuple[Phase, ...] = ("pore", "bone")

N_STATES = 5
"""Load states that are looked at, evenly chosen, the first and the last among them."""

MIN_PIXELS = 30
"""Pixels of a phase in a specimen, from which on their mean counts."""

TOLERANCE = 5.0
"""Levels by which a phase may differ between the first and the last state: 2 % of all levels."""

LOOSE = 10.0
"""Root mean square of the differences of specimens, in levels, above which intensities were not made alike."""

ALPHA = 0.05
"""Of the paired t-test over specimens: a difference that is not the same way in nearly all of them is the scanner's."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Difference of the level of a phase between the last and the first load state.

    Attributes:
        phase: Pore or bone.
        mean: Over specimens, in levels; where donors are named over donors, each the mean of its specimens.
        sd: Standard deviation of it.
        n: Specimens, or donors, that hold the phase.
        p: Of the paired t-test; NaN with fewer than two.
    """

    phase: Phase
    mean: float
    sd: float
    n: int
    p: float

    @property
    def is_label(self) -> bool:
        """True where the phase tells pristine from failed: by more than `TOLERANCE` and, by the test, no accident."""
        return abs(self.mean) > TOLERANCE and self.p < ALPHA

    @property
    def is_loose(self) -> bool:
        """True where single specimens differ much, the one way or the other."""
        spread = 0.0 if self.n < 2 else self.sd**2 * (self.n - 1) / self.n
        return bool(np.sqrt(self.mean**2 + spread) > LOOSE)


def phase_levels(store: SliceStore, progress: ProgressCallback = ignore_progress) -> pd.DataFrame:
    """Measure the mean level of pores and of bone in the scans of a store.

    Args:
        store: Of volumes; of 2-D slices, which need not show the same place in every state, nothing is measured.
        progress: Told of each specimen.

    Returns:
        A row for each specimen and state: specimen, state, pore, bone (levels; NaN where a specimen has too little of the
        phase), n_pore, n_bone (pixels).

    Raises:
        StoreError: A group is damaged.
    """
    rows: list[tuple[str, int, float, float, int, int]] = []
    if store.recipe.kind == "volumes":
        for i, specimen in enumerate(store.specimens):
            held = [state for state in store.states if store.has(specimen, state)]
            places = np.unique(np.linspace(0, len(held) - 1, N_STATES).round().astype(int))
            rows += _levels_of(store, specimen, [held[place] for place in places])
            progress(Progress(i + 1, len(store.specimens), f"intensity of {specimen}"))
    return pd.DataFrame(rows, columns=["specimen", "state", "pore", "bone", "n_pore", "n_bone"])


def _levels_of(
    store: SliceStore, specimen: str, states: Sequence[int]
) -> list[tuple[str, int, float, float, int, int]]:
    sums, counts = np.zeros((len(states), len(PHASES))), np.zeros(len(PHASES), np.int64)
    limits = _limits_of(store.recipe)
    for plane in store.planes:
        stacks = np.stack([store.group(specimen, state, plane) for state in states])
        for i, mask in enumerate(_phase_masks(stacks, limits)):
            counts[i] += np.count_nonzero(mask)
            sums[:, i] += stacks[:, mask].sum(axis=1, dtype=np.float64)
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts >= MIN_PIXELS)
    return [
        (specimen, state, float(pore), float(bone), int(counts[0]), int(counts[1]))
        for state, (pore, bone) in zip(states, means, strict=True)
    ]


class _Limits(NamedTuple):
    """Levels between phases: up to the first lies what is outside a specimen, above the second bone.

    Of scans that were matched by phases the latter is midway between the two, and a quarter of their distance below the
    darkest pores nothing of the specimen is left. Otherwise each state has an Otsu's threshold of its own (None).
    """

    outside: float
    bone: float | None


def _limits_of(recipe: Recipe) -> _Limits:
    if recipe.phases is None or recipe.standardise:
        return _Limits(0, None)
    pore, distance, window = recipe.phases.pore, recipe.phases.bone - recipe.phases.pore, recipe.window
    outside, bone = (
        (intensity - window.low) / (window.high - window.low) * (LEVELS - 1)
        for intensity in (pore - distance / 4, pore + distance / 2)
    )
    return _Limits(max(outside, 0), bone)


def _phase_masks(stacks: NDArray[np.uint8], limits: _Limits) -> list[NDArray[np.bool_]]:
    """Inside of what is pore, and of what is bone, in all states, (slice, y, x) each: a pixel from its border on.

    Args:
        stacks: Slices of all states, (state, slice, y, x).
        limits: Of the phases.
    """
    shown = (stacks > limits.outside).any(axis=0)
    own = [
        otsu(np.bincount(stack[shown], minlength=LEVELS)) if limits.bone is None else limits.bone for stack in stacks
    ]
    is_bone = [stack > (LEVELS if t is None else t) for stack, t in zip(stacks, own, strict=True)]
    cross = np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]], bool)
    masks = []
    for mask in (shown & ~np.logical_or.reduce(is_bone), np.logical_and.reduce(is_bone)):
        inner = binary_erosion(mask, cross, border_value=1)
        masks.append(inner if np.count_nonzero(inner) >= MIN_PIXELS else mask)
    return masks


def drifts(levels: pd.DataFrame, donors: Mapping[str, str] = NO_DONORS) -> tuple[Drift, ...]:
    """Differences between the last and the first state, of each phase that at least one specimen holds.

    Args:
        levels: As `phase_levels` gives them.
        donors: Donor of each specimen, where donors are named: they are what is independent.
    """
    from scipy import stats

    found = []
    for phase in PHASES:
        ends = levels.dropna(subset=[phase]).groupby("specimen", sort=False)[phase].agg(["first", "last"])
        owners = [donors.get(specimen, specimen) for specimen in ends.index]
        differences = (ends["last"] - ends["first"]).groupby(owners, sort=False).mean().to_numpy()
        if len(differences):
            sd, p = float("nan"), float("nan")
            if len(differences) > 1:
                sd = float(differences.std(ddof=1))
                p = float(stats.ttest_1samp(differences, 0).pvalue) if sd > 0 else float(differences[0] == 0)
            found.append(Drift(phase=phase, mean=float(differences.mean()), sd=sd, n=len(differences), p=p))
    return tuple(found)


def drift_sentence(levels: pd.DataFrame, matching: Matching, donors: Mapping[str, str] = NO_DONORS) -> tuple[bool, str]:
    """True where intensities are free of the label, and the finding as a sentence; empty where nothing was measured.

    Args:
        levels: As `phase_levels` gives them.
        matching: How the scans were matched.
        donors: Donor of each specimen, where donors are named.
    """
    found = drifts(levels, donors)
    if not found:
        return True, ""
    told = ", ".join(
        f"{drift.phase} {drift.mean:+.1f} ± {drift.sd:.1f}" if drift.n > 1 else f"{drift.phase} {drift.mean:+.1f}"
        for drift in found
    )
    n, of = max(drift.n for drift in found), "donors" if donors else "specimens"
    words = f"from the first to the last state (levels of 255, mean ± sd of {n} {of}: {told})"
    remedy = "See docs/explanation/matching.md." if matching == "phases" else "Prepare with --match phases."
    labels = [drift.phase for drift in found if drift.is_label]
    loose = [drift.phase for drift in found if drift.is_loose]
    if labels or loose:
        why = "tell the states without any damage" if labels else "were not made alike, and may tell the states"
        return False, (
            f"Voxels that are {' or '.join(labels or loose)} in every load state change their intensity {words}: "
            f"grey levels {why}. {remedy}"
        )
    return True, f"Voxels that are pore, or bone, in every load state keep their intensity {words}."
