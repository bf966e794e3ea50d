"""The images of a study, in memory as uint8: slices, and what a network shall answer to each."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bonehpo.domain import Group
from bonehpo.errors import StoreError
from bonehpo.folds import Sets
from bonehpo.store.store import SliceStore
from bonehpo.task import DAMAGE, LoadState, Task


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledImages:
    """Slices and what is known of each.

    Attributes:
        pixels: uint8 (image, y, x).
        truth: float32 (image,): the index of the class, 0 pristine or 1 failed; or the apparent strain in %.
        specimens: str (image,).
        states: int (image,).
        planes: str (image,).
        positions: int (image,), number of the slice within its scan and plane.
    """

    pixels: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.float32]
    specimens: npt.NDArray[np.str_]
    states: npt.NDArray[np.int64]
    planes: npt.NDArray[np.str_]
    positions: npt.NDArray[np.int64]

    def indices(self, groups: tuple[Group, ...]) -> npt.NDArray[np.int64]:
        """Indices (image,) of all images of some (specimen, plane) groups, in the order in which they are stored."""
        chosen = np.zeros(len(self.truth), bool)
        for group in groups:
            chosen |= (self.specimens == group.specimen) & (self.planes == group.plane)
        return np.flatnonzero(chosen)

    def by_set(self, sets: Sets, slice_seed: int | None = None) -> dict[str, npt.NDArray[np.int64]]:
        """Indices (image,) of the images of each set, in the order in which they are stored.

        Args:
            sets: Set name to groups, in any order.
            slice_seed: Seed by which the slices of all sets are pooled and dealt at random, to each set as many of each
                class as its groups hold; None for the groups themselves.
        """
        found = {name: self.indices(sets[name]) for name in sorted(sets)}
        if slice_seed is None:
            return found
        pooled = np.concatenate(list(found.values()))
        dealt, generator = pooled.copy(), np.random.default_rng(slice_seed)
        for truth in np.unique(self.truth[pooled]):
            alike = self.truth[pooled] == truth
            dealt[alike] = generator.permutation(pooled[alike])
        ends = np.cumsum([len(indices) for indices in found.values()])[:-1]
        return {name: np.sort(part) for name, part in zip(found, np.split(dealt, ends), strict=True)}

    def swapped(self, specimens: tuple[str, ...]) -> "LabelledImages":
        """The same images with the labels of some specimens exchanged; of a task with two classes."""
        if not specimens:
            return self
        truth = np.where(np.isin(self.specimens, specimens), 1 - self.truth, self.truth)
        return replace(self, truth=truth.astype(np.float32))


@lru_cache(maxsize=2)
def load_images(path: Path, store_id: str, task: Task = DAMAGE) -> LabelledImages:
    """Read the images that a task is trained and tested on, each byte checked against the manifest.

    A worker process keeps what it read: the fits of a study differ only in which images they use. At the paper's size (5
    specimens, 3 planes, 300 slices of 200 × 200) that is 0.4 GB for damage, and for strain 3.6 GB with 20 load states.

    Args:
        path: Folder of the slice store.
        store_id: The store that is meant.
        task: Says which load states belong to it, and what is true of them.

    Raises:
        StoreError: The folder holds another store, or a damaged one, or a scan has no strain.
    """
    store = open_expected(path, store_id)
    truth = _truth(store, task)
    keys = [
        (s, state, p) for s in store.specimens for p in store.planes for state in store.states if (s, state) in truth
    ]
    n = store.n_slices
    pixels = np.empty((len(keys) * n, store.side, store.side), np.uint8)
    for i, key in enumerate(keys):  # into its place: joining groups at the end would take the memory twice
        pixels[i * n : (i + 1) * n] = store.group(*key)
    return LabelledImages(
        pixels=pixels,
        truth=np.repeat(np.array([truth[s, state] for s, state, _ in keys], np.float32), n),
        specimens=np.repeat([s for s, _, _ in keys], n),
        states=np.repeat([state for _, state, _ in keys], n),
        planes=np.repeat([plane for _, _, plane in keys], n),
        positions=np.tile(np.arange(n), len(keys)),
    )


def open_expected(path: Path, store_id: str) -> SliceStore:
    """Open the store that is meant.

    Raises:
        StoreError: The folder holds another store, or none that can be used.
    """
    store = SliceStore.open(path)
    if store.id != store_id:
        raise StoreError(
            f"{path} holds store {store.id[:12]}, but {store_id[:12]} is asked for: it was made anew meanwhile"
        )
    return store


def count_images(store: SliceStore, task: Task, groups: tuple[Group, ...]) -> int:
    """Number of images of some groups that a task is trained and tested on.

    Args:
        store: The slices.
        task: Of the networks.
        groups: (specimen, plane) groups to count in.
    """
    truth = _truth(store, task)
    return store.n_slices * sum(specimen == group.specimen for group in groups for specimen, _ in truth)


def _truth(store: SliceStore, task: Task) -> dict[tuple[str, int], float]:
    """Truth of every scan, by specimen and state, of which the task says anything."""
    found = {}
    for scan in store.manifest.scans:
        if scan.strain is None and task.needs_strain:
            raise StoreError(
                f'{store.path}: {scan.specimen} state {scan.state} has no strain, which task = "{task.name}" needs: '
                "fill the column strain of the scan table and prepare it again"
            )
        truth = task.truth_of(LoadState(scan.state, *store.ends(scan.specimen), scan.strain))
        if truth is not None:
            found[scan.specimen, scan.state] = truth
    return found
