"""Heat maps of kept networks, one task a network, for an engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bonehpo.store.images import open_store
from bonehpo.store.store import SliceStore


class SliceKey(NamedTuple):
    """One slice of a store."""

    specimen: str
    state: int
    plane: str
    position: int


class Asked(NamedTuple):
    """A slice, and the class that is explained: 0 pristine, 1 failed; -1 for a network that predicts strain."""

    key: SliceKey
    target: int


@dataclass(frozen=True, kw_only=True)
class MapTask:
    """Heat maps of one network.

    Attributes:
        network: Its file.
        store: Folder of the slice store.
        store_id: The store that is meant.
        asked: What to explain.
        n_randomised: Layers, from the output on, whose weights are drawn anew first; see `gradcam.randomise_top`.
        seed: Of those weights.
    """

    network: Path
    store: Path
    store_id: str
    asked: tuple[Asked, ...]
    n_randomised: int = 0
    seed: int = 0


class MapAnswer(NamedTuple):
    """What a network says of the slices of its task, and where it looked.

    Attributes:
        maps: Heat maps (slice, y, x), the largest value of each 1; one may be 0 everywhere.
        outputs: Softmax output for *failed*, or strain in %, (slice,).
        layer: Whose output was looked at.
        weighted: Layers with weights, from the output on.
    """

    maps: npt.NDArray[np.float32]
    outputs: npt.NDArray[np.float32]
    layer: str
    weighted: tuple[str, ...]

    def of(self, task: MapTask, asked: Asked) -> npt.NDArray[np.float32]:
        """The map (y, x) of one slice of the task."""
        found: npt.NDArray[np.float32] = self.maps[task.asked.index(asked)]
        return found


def explain_slices(task: MapTask) -> MapAnswer:
    """Compute the heat maps of a task.

    Raises:
        NetworkError: There is no such network.
        StoreError: The store is another one, or damaged.
    """
    from bonehpo.learning.gradcam import default_layer, grad_cam, normalise_maps, randomise_top, weighted_layers
    from bonehpo.learning.learners import predict
    from bonehpo.learning.networks import load_network

    network = load_network(task.network)
    layer, names = default_layer(network), weighted_layers(network)
    if task.n_randomised:
        network = randomise_top(network, task.n_randomised, task.seed)
    pixels = read_slices(open_store(task.store, task.store_id), [asked.key for asked in task.asked])
    targets = np.array([asked.target for asked in task.asked])
    maps = np.zeros(pixels.shape, np.float32)
    for target in np.unique(targets):
        chosen = targets == target
        maps[chosen] = grad_cam(network, pixels[chosen], target=None if target < 0 else int(target), layer=layer)
    return MapAnswer(normalise_maps(maps), predict(network, pixels), layer, names)


def read_slices(store: SliceStore, slices: Sequence[SliceKey]) -> npt.NDArray[np.uint8]:
    """Grey slices (slice, y, x); each group is read once."""
    groups = {key[:3]: store.group(*key[:3]) for key in slices}
    return np.stack([groups[key[:3]][key.position] for key in slices])


def read_damage(store: SliceStore, slices: Sequence[SliceKey]) -> npt.NDArray[np.float32]:
    """True damage (slice, y, x) of a phantom's slices, as the share of each pixel, 0 to 1."""
    groups = {key[:3]: store.damage(*key[:3]) for key in slices}
    damage = np.stack([groups[key[:3]][key.position] for key in slices])
    return damage.astype(np.float32) / np.float32(255)
