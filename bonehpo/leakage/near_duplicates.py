"""Slices of different sets that show the same: equal byte for byte, or the same bone, turned, shifted or re-scaled.

A perceptual hash [1]_ finds candidates among millions of pairs: the signs of the lowest frequencies, which stay when
intensity values are stretched or noise is added. Low frequencies alone say too little: slices of different vertebrae, or
of cortical bone with one canal each, agree in them. So each candidate is verified on fine structure, in every quarter of
the slice.

References:
    .. [1] Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions (2010), §3.2.1: DCT-based hash.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter, minimum_filter
from skimage.morphology import convex_hull_image

from bonehpo.domain import NO_DONORS, Group, Progress, ProgressCallback
from bonehpo.preparation.morphometry import otsu
from bonehpo.scans.intensity import LEVELS
from bonehpo.scans.sections import resized
from bonehpo.store.store import SliceStore

SIDE = 64
"""Pixels along the edge at which slices are compared."""

BLANK_SD = 2.0
"""Intensity levels; a slice whose values spread less shows nothing, and equals others that show nothing."""

NEAR_BITS = 12
"""Of 63 bits, how many may differ in a candidate. Measured on phantoms: slices of different specimens differ in 10 bits or
fewer in 7 of a million pairs, in 12 or fewer in 27; the same section scanned again differs in 0 to 8 (trabecular) or 18
(cortical)."""

SHIFT = 6
"""Largest shift in pixels of `SIDE`: a tenth of the slice."""

SAME = 0.7
"""Correlation of fine structure in the worst quarter of a slice from which on two slices show the same bone. The largest
that was measured among candidates of different bone: 0.13 (trabecular phantoms), 0.22 (cortical ones), 0.49 (porcine
vertebrae), 0.66 (drawn struts inside one and the same round outline); the same section scanned again, one load state later:
median 0.89, at least 0.77 in 95 % (trabecular), median 0.76 (cortical)."""

EDGE = 4.0
"""Intensity levels from which on a difference counts little more than one of this size: or else the outline, which
all of its slices share, would say more than what is inside."""

RIM = 2
"""Pixels inside the outline of a specimen that air outside still darkens."""

NARROW = 20
"""Pixels of `SIDE` across; of a specimen that is cut near its side fewer are seen, and a few parallel canals look alike."""

N_CHUNK = 512
"""Rows of a table of distances that are in memory at once."""

ORIENTATIONS = tuple((transposed, y, x) for transposed in (False, True) for y in (1, -1) for x in (1, -1))
"""The eight ways in which a square lies on another: transposed first, then turned over along y and x."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PerceptualHashes:
    """Perceptual hashes of slices (image, y, x), with thumbnails to confirm a match.

    Attributes:
        digests: Hash of the pixels of each, bytes (image,); equal where they are equal, byte for byte.
        blank: Whether they show nothing, bool (image,).
        thumbnails: In small, uint8 (image, `SIDE`, `SIDE`).
        spectra: The lowest 8 × 8 frequencies, float32 (image, y, x).
    """

    digests: NDArray[np.bytes_]
    blank: NDArray[np.bool_]
    thumbnails: NDArray[np.uint8]
    spectra: NDArray[np.float32]


class Match(NamedTuple):
    """Two slices that show the same bone: their indices, and the correlation in the worst quarter."""

    first: int
    second: int
    correlation: float


class Matches(NamedTuple):
    """Pairs of slices that show the same bone, and the number of pairs that were compared."""

    found: tuple[Match, ...]
    n_compared: int


def perceptual_hashes(slices: NDArray[np.uint8], digests: Sequence[bytes]) -> PerceptualHashes:
    """PerceptualHashes of slices (image, y, x), given the hash of the pixels of each."""
    small = np.stack([resized(image.astype(np.float64), SIDE) for image in _reduced(slices)])
    halved = small.reshape(len(small), SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4))
    return PerceptualHashes(
        digests=np.array(digests),
        blank=slices.std(axis=(1, 2), dtype=np.float32) < BLANK_SD,
        thumbnails=np.rint(small).astype(np.uint8),
        spectra=dctn(halved, axes=(1, 2), norm="ortho")[:, :8, :8].astype(np.float32),
    )


def _reduced(slices: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Means of blocks while the side stays at least `SIDE`: much faster than interpolation, which does the rest."""
    factor = max(slices.shape[1] // SIDE, 1)
    kept = slices.shape[1] // factor
    cut = slices[:, : kept * factor, : kept * factor].astype(np.float32)
    return cut.reshape(len(cut), kept, factor, kept, factor).mean(axis=(2, 4))


def joined(parts: Sequence[PerceptualHashes]) -> PerceptualHashes:
    """PerceptualHashes one after the other."""
    return PerceptualHashes(
        digests=np.concatenate([part.digests for part in parts]),
        blank=np.concatenate([part.blank for part in parts]),
        thumbnails=np.concatenate([part.thumbnails for part in parts]),
        spectra=np.concatenate([part.spectra for part in parts]),
    )


def same_bone(first: PerceptualHashes, second: PerceptualHashes) -> Matches:
    """Slices of the one that show the same bone as slices of the other, whichever way they lie.

    Blank slices are left out. Shifts of up to a tenth of the slice are looked for, but the hash finds few beyond a
    fiftieth; rotations by other than right angles, and changes of scale, are not found.

    Args:
        first: Of one specimen.
        second: Of another.

    Returns:
        For each slice of the first the best match, in its order.
    """
    mine, others = np.flatnonzero(~first.blank), np.flatnonzero(~second.blank)
    best: dict[int, Match] = {}
    fine = _fine_structure(first.thumbnails)
    for orientation in ORIENTATIONS:
        pairs = list(
            _candidates(_bits(first.spectra[mine]), _bits(_turned_spectra(second.spectra[others], orientation)))
        )
        turned = {j: _turned(second.thumbnails[others[j]], orientation) for j in {j for _, j in pairs}}
        structures = {j: _fine_structure(image[None])[0] for j, image in turned.items()}
        for i, j in pairs:
            match = Match(int(mine[i]), int(others[j]), _agreement(fine[mine[i]], structures[j]))
            if match.correlation >= max(SAME, best[match.first].correlation if match.first in best else 0):
                best[match.first] = match
    return Matches(tuple(best[i] for i in sorted(best)), len(mine) * len(others))


def _bits(spectra: NDArray[np.float32]) -> NDArray[np.uint64]:
    """The perceptual hash (image,): which of the 63 lowest frequencies lie above their median."""
    flat = spectra.reshape(len(spectra), 64)[:, 1:]
    high = flat > np.median(flat, axis=1, keepdims=True)
    return (high * (np.uint64(1) << np.arange(63, dtype=np.uint64))).sum(axis=1, dtype=np.uint64)


def _candidates(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    for start in range(0, len(first), N_CHUNK):
        different = np.bitwise_count(first[start : start + N_CHUNK, None] ^ second[None])
        for i, j in np.argwhere(different <= NEAR_BITS):
            yield int(start + i), int(j)


def _turned(image: NDArray[np.uint8], orientation: tuple[bool, int, int]) -> NDArray[np.uint8]:
    transposed, y, x = orientation
    return (image.T if transposed else image)[::y, ::x]


def _turned_spectra(spectra: NDArray[np.float32], orientation: tuple[bool, int, int]) -> NDArray[np.float32]:
    """`_turned` for frequencies: turning over along an axis changes the sign of the odd ones."""
    transposed, y, x = orientation
    signs = np.array([1, -1] * 4, np.float32)
    turned = spectra.transpose(0, 2, 1) if transposed else spectra
    turned = turned * signs[:, None] if y < 0 else turned
    return turned * signs if x < 0 else turned


def _fine_structure(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Slices (image, y, x) between a Gaussian of 1 pixel and one of 4: struts and pores, neither noise nor shading.

    Both are means over the inside of the specimen alone, and beyond it there is nothing: an outline that is in view, as of
    machined cylinders, is that of every specimen.
    """
    intensities, inside = thumbnails.astype(np.float32), _inside(thumbnails)
    differences = _mean_inside(intensities, inside, 1) - _mean_inside(intensities, inside, 4)
    fine: NDArray[np.float32] = np.tanh(differences / EDGE)
    share = inside.sum(axis=(1, 2), keepdims=True)
    mean = np.divide((fine * inside).sum(axis=(1, 2), keepdims=True), share, out=np.zeros_like(share), where=share > 0)
    return np.asarray((fine - mean) * inside, np.float32)


def _inside(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """1 in the convex hull of the bone of a slice, `RIM` pixels from its edge on; 0 elsewhere, and where it is narrow."""
    smooth = gaussian_filter(thumbnails.astype(np.float32), (0, 1, 1))
    thresholds = [otsu(np.bincount(image.ravel(), minlength=LEVELS)) or 0 for image in thumbnails]
    hulls = np.stack([convex_hull_image(image > level) for image, level in zip(smooth, thresholds, strict=True)])
    inner = minimum_filter(hulls.astype(np.float32), (1, 2 * RIM + 1, 2 * RIM + 1), mode="nearest")
    height, width = (inner.any(axis=axis).sum(axis=1) for axis in (2, 1))
    return np.where((np.minimum(height, width) < NARROW)[:, None, None], np.float32(0), inner)


def _mean_inside(intensities: NDArray[np.float32], inside: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    size = (0, sigma, sigma)
    weights = gaussian_filter(inside, size)
    blurred: NDArray[np.float32] = gaussian_filter(intensities * inside, size)
    return np.divide(blurred, weights, out=np.zeros_like(blurred), where=weights > 1e-3)


def _agreement(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Correlation of two fine structures (y, x) in the worst quarter of where they overlap, at the best shift."""
    products = np.fft.irfft2(np.fft.rfft2(first) * np.conj(np.fft.rfft2(second)), first.shape)
    near = np.roll(products, (SHIFT, SHIFT), (0, 1))[: 2 * SHIFT + 1, : 2 * SHIFT + 1]
    y, x = (int(at) - SHIFT for at in np.unravel_index(int(near.argmax()), near.shape))
    mine = first[max(0, y) : SIDE + min(0, y), max(0, x) : SIDE + min(0, x)]
    other = second[max(0, -y) : SIDE + min(0, -y), max(0, -x) : SIDE + min(0, -x)]
    return min(_correlation(a, b) for a, b in zip(_quarters(mine), _quarters(other), strict=True))


def _quarters(image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    y, x = image.shape[0] // 2, image.shape[1] // 2
    return [image[rows, columns] for rows in (slice(y), slice(y, None)) for columns in (slice(x), slice(x, None))]


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 0 else 0.0


class SlicePlace(NamedTuple):
    """Place of one slice in a store; `position` counts the slices of its scan and plane."""

    specimen: str
    state: int
    plane: str
    position: int

    @property
    def name(self) -> str:
        """As it stands in messages."""
        return f"{self.specimen} state {self.state} {self.plane} slice {self.position}"


class Duplicate(NamedTuple):
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
    """Hashes and counts of the slices of one group in one state.

    Attributes:
        group: Which.
        state: Which.
        prints: PerceptualHashes of its slices.
        counts: Pixels of each intensity level, (256,).
        means: Mean intensity level of each slice, (slice,).
        spreads: Standard deviation of the same, (slice,).
        example: Its middle slice, uint8 (y, x).
    """

    group: Group
    state: int
    prints: PerceptualHashes
    counts: NDArray[np.int64]
    means: NDArray[np.float64]
    spreads: NDArray[np.float64]
    example: NDArray[np.uint8]

    def place(self, position: int) -> SlicePlace:
        """Place of one of its slices."""
        return SlicePlace(self.group.specimen, self.state, self.group.plane, position)


def read_hashes(store: SliceStore, groups: Sequence[Group], progress: ProgressCallback) -> list[Seen]:
    """Read all pristine and failed slices of some groups, one group in memory at a time.

    Args:
        store: The slices.
        groups: (specimen, plane) groups to read.
        progress: Told after every group.

    Raises:
        StoreError: A group is damaged, or is not there.
    """
    keys = [(group, state) for group in groups for state in store.ends(group.specimen)]
    seen = []
    for group, state in keys:
        slices = store.group(group.specimen, state, group.plane)
        digests = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in slices]
        seen.append(
            Seen(
                group=group,
                state=state,
                prints=perceptual_hashes(slices, digests),
                counts=np.bincount(slices.ravel(), minlength=LEVELS),
                means=slices.mean(axis=(1, 2)),
                spreads=slices.std(axis=(1, 2)),
                example=slices[len(slices) // 2],
            )
        )
        progress(Progress(len(seen), len(keys), f"{group.specimen} state {state} {group.plane}"))
    return seen


def equal_slices(seen: Sequence[Seen], owners: Mapping[Group, str]) -> list[Duplicate]:
    """Slices that equal one of another set; blank ones do not count.

    Args:
        seen: All groups.
        owners: The set of each group.
    """
    first_of: dict[bytes, tuple[str, SlicePlace]] = {}
    duplicates = []
    for part in seen:
        name = owners[part.group]
        for position in np.flatnonzero(~part.prints.blank):
            place, digest = part.place(int(position)), bytes(part.prints.digests[position])
            owner, other = first_of.setdefault(digest, (name, place))
            if owner != name:
                duplicates.append(Duplicate("equal", other, place, 1.0))
    return duplicates


class NearDuplicates(NamedTuple):
    """Near-duplicates, and the number of pairs of slices that were compared."""

    found: list[Duplicate]
    n_compared: int


def near_duplicates(
    seen: Sequence[Seen],
    owners: Mapping[Group, str],
    known: Sequence[Duplicate] = (),
    donors: Mapping[str, str] = NO_DONORS,
) -> NearDuplicates:
    """Slices of different specimens, in different sets, that show the same bone.

    Args:
        seen: All groups.
        owners: The set of each group.
        known: Equal slices, which are not named again.
        donors: Donor of each specimen, where donors are named; specimens of one are not compared.
    """
    named = {(duplicate.first, duplicate.second) for duplicate in known}
    specimens = list(dict.fromkeys(part.group.specimen for part in seen))
    parts = {name: [part for part in seen if part.group.specimen == name] for name in specimens}
    places = {
        name: [part.place(k) for part in parts[name] for k in range(len(part.prints.blank))] for name in specimens
    }
    prints = {name: joined([part.prints for part in parts[name]]) for name in specimens}
    duplicates, n_compared = [], 0
    for one, other in combinations(specimens, 2):
        if donors.get(one, one) == donors.get(other, other):
            continue
        matches = same_bone(prints[one], prints[other])
        n_compared += matches.n_compared
        for match in matches.found:
            first, second = places[one][match.first], places[other][match.second]
            apart = owners[Group(one, first.plane)] != owners[Group(other, second.plane)]
            if apart and (first, second) not in named:
                duplicates.append(Duplicate("near", first, second, match.correlation))
    return NearDuplicates(duplicates, n_compared)
