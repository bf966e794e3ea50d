"""The labelled images of a study: every slice of the pristine and of the failed state, in memory as uint8."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bonehpo.data.store import SliceStore
from bonehpo.domain import FAILED, PRISTINE, Group
from bonehpo.errors import StoreError


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledImages:
    """Slices and what is known of each.

    Attributes:
        pixels: uint8 (image, y, x).
        labels: uint8 (image,), 0 pristine or 1 failed.
        specimens: str (image,).
        planes: str (image,).
        positions: int (image,), number of the slice within its scan and plane.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    specimens: npt.NDArray[np.str_]
    planes: npt.NDArray[np.str_]
    positions: npt.NDArray[np.int64]

    def indices(self, groups: tuple[Group, ...]) -> npt.NDArray[np.int64]:
        """Indices (image,) of all images of some (specimen, plane) groups, in the order in which they are stored."""
        chosen = np.zeros(len(self.labels), bool)
        for group in groups:
            chosen |= (self.specimens == group.specimen) & (self.planes == group.plane)
        return np.flatnonzero(chosen)


@lru_cache(maxsize=1)
def load_images(path: Path, store_id: str) -> LabelledImages:
    """Read the first and the last state of every specimen, each byte checked against the manifest.

    A worker process keeps what it read: the fits of a study differ only in which images they use.

    Args:
        path: Folder of the slice store.
        store_id: The store that is meant.

    Returns:
        2 × specimens × planes × slices images.

    Raises:
        StoreError: The folder holds another store, or a damaged one.
    """
    store = SliceStore.open(path)
    if store.id != store_id:
        raise StoreError(
            f"{path} holds store {store.id[:12]}, but {store_id[:12]} is asked for: it was made anew meanwhile"
        )
    ends = ((store.states[0], PRISTINE), (store.states[-1], FAILED))
    keys = [(s, state, label, plane) for s in store.specimens for plane in store.planes for state, label in ends]
    n = store.n_slices
    return LabelledImages(
        pixels=np.concatenate([store.group(s, state, plane) for s, state, _, plane in keys]),
        labels=np.repeat(np.array([label for _, _, label, _ in keys], np.uint8), n),
        specimens=np.repeat([s for s, _, _, _ in keys], n),
        planes=np.repeat([plane for _, _, _, plane in keys], n),
        positions=np.tile(np.arange(n), len(keys)),
    )
