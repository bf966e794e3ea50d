"""Slices of different sets that show the same: equal byte for byte, or the same bone under two names."""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bonehpo.data.fingerprints import Fingerprints, fingerprints, joined, same_bone
from bonehpo.data.histograms import LEVELS
from bonehpo.data.store import SliceStore
from bonehpo.domain import Group, Progress, ProgressCallback


class SlicePlace(NamedTuple):
    """Where one slice lies in a store; `position` counts the slices of its scan and plane."""

    specimen: str
    state: int
    plane: str
    position: int

    @property
    def name(self) -> str:
        """As it stands in messages."""
        return f"{self.specimen} state {self.state} {self.plane} slice {self.position}"


class Twin(NamedTuple):
    """Two slices of different sets that show the same.

    Attributes:
        kind: "equal", byte for byte, or "near", the same bone in two specimens.
        first: The one.
        second: The other.
        correlation: Of fine structure, in the worst quarter of the slice; 1 where they are equal.
    """

    kind: Literal["equal", "near"]
    first: SlicePlace
    second: SlicePlace
    correlation: float


class Seen(NamedTuple):
    """What is kept of the slices of one group in one state.

    Attributes:
        group: Which.
        state: Which.
        prints: Fingerprints of its slices.
        counts: Pixels of each grey level, (256,).
        means: Mean grey level of each slice, (slice,).
        spreads: Standard deviation of the same, (slice,).
        example: Its middle slice, uint8 (y, x).
    """

    group: Group
    state: int
    prints: Fingerprints
    counts: NDArray[np.int64]
    means: NDArray[np.float64]
    spreads: NDArray[np.float64]
    example: NDArray[np.uint8]

    def place(self, position: int) -> SlicePlace:
        """Where one of its slices lies."""
        return SlicePlace(self.group.specimen, self.state, self.group.plane, position)


def look_at(store: SliceStore, groups: Sequence[Group], progress: ProgressCallback) -> list[Seen]:
    """Read all pristine and failed slices of some groups, one group in memory at a time.

    Raises:
        StoreError: A group is damaged, or is not there.
    """
    keys = [(group, state) for group in groups for state in (store.states[0], store.states[-1])]
    seen = []
    for group, state in keys:
        slices = store.group(group.specimen, state, group.plane)
        digests = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in slices]
        seen.append(
            Seen(
                group=group,
                state=state,
                prints=fingerprints(slices, digests),
                counts=np.bincount(slices.ravel(), minlength=LEVELS),
                means=slices.mean(axis=(1, 2)),
                spreads=slices.std(axis=(1, 2)),
                example=slices[len(slices) // 2],
            )
        )
        progress(Progress(len(seen), len(keys), f"{group.specimen} state {state} {group.plane}"))
    return seen


def equal_twins(seen: Sequence[Seen], owners: Mapping[Group, str]) -> list[Twin]:
    """Slices that equal one of another set; blank ones do not count.

    Args:
        seen: All groups.
        owners: The set of each group.
    """
    first_of: dict[bytes, tuple[str, SlicePlace]] = {}
    twins = []
    for part in seen:
        name = owners[part.group]
        for position in np.flatnonzero(~part.prints.blank):
            place, digest = part.place(int(position)), bytes(part.prints.digests[position])
            owner, other = first_of.setdefault(digest, (name, place))
            if owner != name:
                twins.append(Twin("equal", other, place, 1.0))
    return twins


class NearTwins(NamedTuple):
    """What was found, and how many pairs of slices were compared for it."""

    found: list[Twin]
    n_compared: int


def near_twins(seen: Sequence[Seen], owners: Mapping[Group, str], known: Sequence[Twin] = ()) -> NearTwins:
    """Slices of different specimens, in different sets, that show the same bone.

    Args:
        seen: All groups.
        owners: The set of each group.
        known: Equal slices, which are not named again.
    """
    named = {(twin.first, twin.second) for twin in known}
    specimens = list(dict.fromkeys(part.group.specimen for part in seen))
    parts = {name: [part for part in seen if part.group.specimen == name] for name in specimens}
    places = {
        name: [part.place(k) for part in parts[name] for k in range(len(part.prints.blank))] for name in specimens
    }
    prints = {name: joined([part.prints for part in parts[name]]) for name in specimens}
    twins, n_compared = [], 0
    for one, other in combinations(specimens, 2):
        matches = same_bone(prints[one], prints[other])
        n_compared += matches.n_compared
        for match in matches.found:
            first, second = places[one][match.first], places[other][match.second]
            apart = owners[Group(one, first.plane)] != owners[Group(other, second.plane)]
            if apart and (first, second) not in named:
                twins.append(Twin("near", first, second, match.correlation))
    return NearTwins(twins, n_compared)
