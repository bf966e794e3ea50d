"""Leaks between sets: slices that a network has seen although they are held out, proven from the bytes of a store.

Sets are assigned by name, so that nothing by that name is in two of them. What a name holds is another matter: a scan may
have been copied under two names, one bone scanned twice, two samples cut from one core. And a held-out scan may have been
prepared by what is known of it. Each of these is looked for here.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bonehpo.domain import Group, ProgressCallback, ignore_progress
from bonehpo.folds import Sets, holdout_pairs
from bonehpo.leakage.near_duplicates import Duplicate, Seen, equal_slices, near_duplicates, read_hashes
from bonehpo.leakage.phase_levels import drift_sentence, phase_levels
from bonehpo.scans.intensity import LEVELS, STANDARD_MEAN, STANDARD_SD, intensity_moments
from bonehpo.store.store import SliceStore

MATCHED_LEVELS = 5.0
"""Mean difference between the intensity-level quantiles of a scan and of the reference, up to which the scan can have been
matched to it: at most 2.8 in five stores of phantoms, whose slices are a part of the volume and filtered after matching; 1.7
to 22 in two that were not matched."""

STANDARD_LEVELS = 1.0
"""Largest error of mean and standard deviation of a standardised slice, clipping aside."""


class LeakCheck(NamedTuple):
    """One question to a store, whether the answer is good, and the answer as a sentence."""

    name: str
    passed: bool
    sentence: str


@dataclass(frozen=True, kw_only=True)
class LeakReport:
    """Findings of the prover.

    Attributes:
        duplicates: Slices that leak.
        checks: What was asked, in order.
        n_slices: How many slices were looked at.
        n_blank: How many of them show nothing, and were left out.
        n_compared: Pairs of slices of different specimens (of different donors, where they are named) that were compared.
        levels: Levels of pores and bone by specimen and state, see `phase_levels`.
    """

    duplicates: tuple[Duplicate, ...]
    checks: tuple[LeakCheck, ...]
    n_slices: int
    n_blank: int
    n_compared: int
    levels: pd.DataFrame


def find_leaks(store: SliceStore, sets: Sets, progress: ProgressCallback = ignore_progress) -> LeakReport:
    """Look for leaks between the sets of a study, in the pristine and the failed scans.

    Args:
        store: The slices.
        sets: How they are assigned.
        progress: Told of each group of slices that is read.

    Raises:
        StoreError: A group is damaged, or is not there.
    """
    groups = {group: name for name, members in sets.items() for group in members}
    seen = read_hashes(store, list(groups), progress)
    equal = equal_slices(seen, groups)
    near, n_compared = near_duplicates(seen, groups, equal, store.donors)
    levels = phase_levels(store)
    prints = [group.prints for group in seen]
    return LeakReport(
        duplicates=(*equal, *near),
        checks=(
            _names_check(sets),
            _duplicates_check(equal, "content", _EQUAL),
            _duplicates_check(near, "specimens", _NEAR_OF_DONORS if store.donors else _NEAR),
            *_preparation_checks(store, seen),
            *_phases_checks(levels, store),
            _constants_check(seen, sets),
        ),
        levels=levels,
        n_slices=sum(len(found.blank) for found in prints),
        n_blank=sum(int(found.blank.sum()) for found in prints),
        n_compared=n_compared,
    )


_EQUAL = "No slice of one set equals, byte for byte, one of another.", "equal, byte for byte, one of another set"
_NEAR = (
    "No slice of one specimen is a near-duplicate of one of another.",
    "show the same bone as one of another specimen",
)
_NEAR_OF_DONORS = (
    "No slice of one donor is a near-duplicate of one of another.",
    "show the same bone as one of another donor",
)


def _duplicates_check(duplicates: list[Duplicate], name: str, words: tuple[str, str]) -> LeakCheck:
    if not duplicates:
        return LeakCheck(name, True, words[0])
    worst = max(duplicates, key=lambda duplicate: duplicate.correlation)
    number = "1 slice" if len(duplicates) == 1 else f"{len(duplicates)} slices"
    return LeakCheck(name, False, f"{number} {words[1]}, such as {worst.first.name} and {worst.second.name}.")


def _names_check(sets: Sets) -> LeakCheck:
    owners: dict[Group, list[str]] = {}
    for name, members in sets.items():
        for group in members:
            owners.setdefault(group, []).append(name)
    shared = [
        f"{group.specimen} {group.plane} in {' and '.join(names)}" for group, names in owners.items() if len(names) > 1
    ]
    if shared:
        return LeakCheck("names", False, f"Groups of slices are in more than one set: {', '.join(shared)}.")
    return LeakCheck("names", True, f"Each of {len(owners)} groups of slices is in one of {len(sets)} sets.")


def _preparation_checks(store: SliceStore, seen: list[Seen]) -> list[LeakCheck]:
    """Checks that intensities were prepared without labels: the manifest, held against the slices."""
    recipe = store.recipe
    if recipe.standardise:
        return [_standardised_check(seen)]
    if recipe.matching == "histogram":
        return [_matched_check(store, seen)]
    if recipe.matching == "phases":
        return [LeakCheck("intensities", True, _BY_PHASES.format(recipe.reference.replace(":", " state ")))]
    sentence = "Histograms were not matched; one window of intensities, that of the reference, holds for all scans."
    return [LeakCheck("intensities", True, sentence)]


_BY_PHASES = (
    "One straight line a scan laid its pores and its bone where those of {0} are, the same way for every scan: no label was "
    "used, but two intensities of {0} are in all other sets, also where it is held out."
)


def _phases_checks(levels: pd.DataFrame, store: SliceStore) -> list[LeakCheck]:
    passed, sentence = drift_sentence(levels, store.recipe.matching, store.donors)
    return [LeakCheck("phases", passed, sentence)] if sentence else []


def _standardised_check(seen: list[Seen]) -> LeakCheck:
    means = np.concatenate([part.means[~part.prints.blank] for part in seen])
    spreads = np.concatenate([part.spreads[~part.prints.blank] for part in seen])
    # Clipping takes from the spread and moves the mean, where few pixels are far brighter than all others.
    clipped = float(
        np.mean((np.abs(means - STANDARD_MEAN) > STANDARD_LEVELS) | (spreads < STANDARD_SD - STANDARD_LEVELS))
    )
    passed = bool((spreads <= STANDARD_SD + STANDARD_LEVELS).all())
    if not passed:
        sentence = (
            f"A slice has a spread of {spreads.max():.0f} intensity levels, although the manifest says 40 for each."
        )
        return LeakCheck("intensities", False, sentence)
    note = f", but for clipping in {clipped:.0%} of them" if clipped else ""
    sentence = (
        f"Each slice has mean 128 and standard deviation 40 by itself{note}: no label, and no other slice, made them."
    )
    return LeakCheck("intensities", True, sentence)


def _matched_check(store: SliceStore, seen: list[Seen]) -> LeakCheck:
    specimen, _, state = store.recipe.reference.rpartition(":")
    reference = sum(
        np.bincount(store.group(specimen, int(state), plane).ravel(), minlength=LEVELS) for plane in store.planes
    )
    counts: dict[tuple[str, int], NDArray[np.int64]] = {}
    for part in seen:
        key = part.group.specimen, part.state
        counts[key] = counts.get(key, np.zeros(LEVELS, np.int64)) + part.counts
    apart = {key: _quantile_difference(found, np.asarray(reference)) for key, found in counts.items()}
    (worst_specimen, worst_state), largest = max(apart.items(), key=lambda item: item[1])
    to = f"the histogram of {specimen} state {state}"
    if largest > MATCHED_LEVELS:
        return LeakCheck(
            "intensities",
            False,
            f"{worst_specimen} state {worst_state} is {largest:.1f} intensity levels from {to}, to "
            "which the manifest says it was matched: it was matched to another, or its slices show too little of it.",
        )
    return LeakCheck(
        "intensities",
        True,
        f"All scans, pristine and failed, have {to} (quantiles at most {largest:.1f} intensity levels apart): no label "
        f"was used, but the intensities of {specimen} are in all other sets, also where it is held out.",
    )


def _quantile_difference(counts: NDArray[np.int64], reference: NDArray[np.int64]) -> float:
    """Mean difference between the quantiles of two histograms of levels (256,): Wasserstein's distance, in levels."""
    return float(np.abs(np.cumsum(counts) / counts.sum() - np.cumsum(reference) / reference.sum()).sum())


def _constants_check(seen: list[Seen], sets: Sets) -> LeakCheck:
    """Check that what standardises a network does not change with held-out pixels; one slice of each group is changed."""
    pixels = np.stack([part.example for part in seen])
    groups = [part.group for part in seen]
    for pair in holdout_pairs(list(sets)):
        out = {group for name in pair for group in sets[name]}
        held_out = np.array([group in out for group in groups])
        train = np.flatnonzero(~held_out)
        replaced = np.where(held_out[:, None, None], np.uint8(255) - pixels, pixels)
        if intensity_moments(pixels, train) != intensity_moments(replaced, train):
            sentence = f"The network's standardisation changes with the pixels of the held-out sets {pair.label}."
            return LeakCheck("constants", False, sentence)
    sentence = (
        "A network's own standardisation stays the same, bit for bit, when pixels of its held-out sets are replaced."
    )
    return LeakCheck("constants", True, sentence)
