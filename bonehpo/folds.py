"""Sets, and their assignment into training, validation and test.

A set is what is assigned as a whole. Sets are split, never slices: neighbouring slices of one bone look alike, and a network
that has seen one recognises the other [1]_. Nor are specimens of one donor split, where donors are named: two cores of one
animal are not independent.

References:
    .. [1] Roberts et al., Ecography 40 (2017) 913, doi:10.1111/ecog.02881.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from bonehpo.config import Split
from bonehpo.domain import NO_DONORS, Fold, Group, HoldoutPair, independent
from bonehpo.errors import FoldError

Sets = Mapping[str, tuple[Group, ...]]
"""Set name to the groups in it."""

PUBLISHED_ASSIGNMENTS: Mapping[str, tuple[str, ...]] = {
    "CB": ("8 YZ 12 XZ 22 YZ", "5 XY 6 XZ 8 XZ", "6 YZ 8 XY 12 YZ", "5 XZ 5 YZ 22 XZ", "6 XY 12 XY 22 XY"),
    "TB": ("5 XZ 6 XY 9 XY", "5 XY 6 YZ 12 YZ", "6 XZ 11 XZ 12 XY", "9 XZ 11 XY 11 YZ", "5 YZ 9 YZ 12 XZ"),
}
"""Table 1 (c) and (d) of Shen et al. 2021: for each set its groups, as specimen number and plane."""


def assign_sets(
    split: Split, bone: str, specimens: Sequence[str], planes: Sequence[str], donors: Mapping[str, str] = NO_DONORS
) -> Sets:
    """The sets of a study.

    Args:
        split: What a set is.
        bone: For the published assignment.
        specimens: Specimen names of the store.
        planes: Plane names of the store.
        donors: Donor of each specimen, where donors are named.

    Raises:
        FoldError: Fewer than 3 sets, or the published assignment does not fit the store.
    """
    if split.kind == "specimen":
        sets = specimen_sets(specimens, planes, donors)
    elif split.assignment == "published":
        sets = published_sets(bone, specimens, planes, donors)
    else:
        sets = mixed_sets(specimens, planes, split.seed, donors)
    _check_names(list(sets), "specimens of other donors" if donors else "specimens")
    return sets


def specimen_sets(specimens: Sequence[str], planes: Sequence[str], donors: Mapping[str, str] = NO_DONORS) -> Sets:
    """One set a specimen, or a donor where donors are named, with all planes."""
    return {name: _groups(members, planes) for name, members in independent(specimens, donors).items()}


def _groups(specimens: Sequence[str], planes: Sequence[str]) -> tuple[Group, ...]:
    return tuple(Group(specimen, plane) for specimen in specimens for plane in planes)


def mixed_sets(
    specimens: Sequence[str], planes: Sequence[str], seed: int, donors: Mapping[str, str] = NO_DONORS
) -> Sets:
    """Deal (specimen, plane) groups at random into as many sets as there are specimens (§2.5 of the paper).

    Where donors are named, (donor, plane) groups into as many sets as there are donors.

    Slices of one specimen, cut in different planes, may then stand in training and in test: this split answers another
    question than the split by specimen, and an easier one.

    Args:
        specimens: Specimen names.
        planes: Plane names.
        seed: The same seed assigns the same sets.
        donors: Donor of each specimen, where donors are named.

    Returns:
        Sets named "mixed-1", "mixed-2", …, each of `len(planes)` groups, or as many for each specimen of a donor.
    """
    members = independent(specimens, donors)
    dealt = [_groups(of_one, [plane]) for of_one in members.values() for plane in planes]
    order = np.random.default_rng(seed).permutation(len(dealt))
    size = len(planes)
    return {
        f"mixed-{i + 1}": tuple(sorted(group for k in order[i * size : (i + 1) * size] for group in dealt[k]))
        for i in range(len(members))
    }


def published_sets(
    bone: str, specimens: Sequence[str], planes: Sequence[str], donors: Mapping[str, str] = NO_DONORS
) -> Sets:
    """The assignment of Table 1 of the paper, for the specimens of the paper.

    Args:
        bone: "CB" or "TB".
        specimens: Specimen names of the store, "TB5" or "5" alike.
        planes: Plane names of the store.
        donors: Donor of each specimen, where donors are named.

    Raises:
        FoldError: No assignment was published for `bone`, the store lacks one of its groups, or a donor gave several
            specimens, which it would part.
    """
    if bone not in PUBLISHED_ASSIGNMENTS:
        raise FoldError(f'no assignment was published for bone "{bone}", only for CB and TB: set assignment = "seeded"')
    if len(independent(specimens, donors)) < len(specimens):
        raise FoldError('the published assignment would part specimens of one donor: set assignment = "seeded"')
    by_number = {re.sub(r"\D", "", name): name for name in specimens}
    sets: dict[str, tuple[Group, ...]] = {}
    for i, text in enumerate(PUBLISHED_ASSIGNMENTS[bone]):
        words = text.split()
        pairs = list(zip(words[::2], words[1::2], strict=True))
        missing = [f"{number} {plane}" for number, plane in pairs if number not in by_number or plane not in planes]
        if missing:
            raise FoldError(
                f"the published assignment of {bone} needs specimen and plane {missing[0]}, but the store holds "
                f'{", ".join(specimens)} in {", ".join(planes)}: set assignment = "seeded"'
            )
        sets[f"mixed-{i + 1}"] = tuple(Group(by_number[number], plane) for number, plane in pairs)
    return sets


def nested_folds(sets: Sequence[str]) -> tuple[Fold, ...]:
    """Order every pair of sets into (test, validation) folds.

    Args:
        sets: Set names, each once, in any order. At least 3, so that one is left to train on.

    Returns:
        n (n - 1) folds for n sets, in Latin order: each block of n folds tests every set once and validates on every set
        once.

    Raises:
        FoldError: Fewer than 3 sets, or a name twice.

    Examples:
        >>> [f"{fold.test}{fold.validation}" for fold in nested_folds("abc")]
        ['ab', 'bc', 'ca', 'ac', 'ba', 'cb']
    """
    _check_names(sets)
    n = len(sets)
    ordered = ((sets[i], sets[(i + shift) % n]) for shift in range(1, n) for i in range(n))
    return tuple(
        Fold(test, validation, tuple(s for s in sets if s not in (test, validation))) for test, validation in ordered
    )


def holdout_pairs(sets: Sequence[str]) -> tuple[HoldoutPair, ...]:
    """The unordered holdout pairs, in the order in which `nested_folds` first meets them: n (n - 1) / 2 for n sets.

    Raises:
        FoldError: Fewer than 3 sets, or a name twice.
    """
    return tuple(dict.fromkeys(fold.pair for fold in nested_folds(sets)))


def _check_names(sets: Sequence[str], lacking: str = "specimens") -> None:
    if len(sets) < 3:
        raise FoldError(
            f"nested cross-validation needs at least 3 sets (test, validation, training), but got {len(sets)}: "
            f"{', '.join(sets)}: add {lacking}"
        )
    name, count = Counter(sets).most_common(1)[0]
    if count > 1:
        raise FoldError(f"each set is assigned once, but {name} stands {count} times in {', '.join(sets)}")
