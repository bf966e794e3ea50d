"""What determines a fit: everything that its content address is made of, and where it comes from and goes."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bonehpo.config import Training
from bonehpo.domain import HoldoutPair, Hyperparameters, Task
from bonehpo.folds import Sets

CODE_VERSION = 3
"""Part of every address. Raise it with each change of network or training that changes results."""


ResNetMode = Literal["frozen", "fine-tuned", "scratch"]


@dataclass(frozen=True, kw_only=True)
class ResNet:
    """That a fit trains a ResNet-50 in place of a network of the paper's family, and from where on.

    Attributes:
        mode: "frozen" trains the head alone, "fine-tuned" everything from given weights, "scratch" everything from none.
        weights: Hash of the file of the given weights; empty for "scratch".
    """

    mode: ResNetMode
    weights: str = ""


RESNET = Hyperparameters(layers=50, learning_rate=1e-4, kernel=7, batch=20)
"""Of every ResNet-50: its depth and first kernel, and the learning rate and batch of the paper (§3.5)."""


@dataclass(frozen=True, kw_only=True)
class FitSpec:
    """All that determines the outcome of one fit, but for rounding: with precision "auto" the hardware chooses that.

    Attributes:
        store_id: Of the slice store.
        sets: Set name to groups; what is in neither set of `pair` is trained on.
        pair: The two sets held out.
        hyperparameters: Of the network and its optimiser.
        training: Epochs, augmentation, checkpoint rule, precision asked for.
        seed: Of weights, order and augmentation.
        task: What the network shall answer.
        resnet: For a ResNet-50; None for the paper's family.
        swapped: Specimens whose pristine slices are called failed and the other way round, for the null check; part of the
            address only where there are any.
    """

    store_id: str
    sets: Sets
    pair: HoldoutPair
    hyperparameters: Hyperparameters
    training: Training
    seed: int
    task: Task = "damage"
    resnet: ResNet | None = None
    swapped: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The content address, 32 hexadecimal digits."""
        parts = {"code": CODE_VERSION, **dataclasses.asdict(self)}
        if not self.swapped:
            del parts["swapped"]
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class FitTask:
    """One fit, and where its images come from and its results go.

    Attributes:
        spec: What is to be fitted.
        store: Folder of the slice store.
        fits: Folder of the results.
        network: File for the trained network; None to keep none.
        states: File for what it says of its held-out sets at every load state; None for none.
        weights: File of the weights that a ResNet-50 starts from; None for none.
    """

    spec: FitSpec
    store: Path
    fits: Path
    network: Path | None = None
    states: Path | None = None
    weights: Path | None = None


def pair_seed(study_seed: int, pair: HoldoutPair, repeat: int = 0) -> int:
    """The seed of a fit: from the *unordered* pair, so that both of its folds come from the same network.

    Args:
        study_seed: `search.seed` of study.toml.
        pair: The sets held out.
        repeat: 0 in the search; 1 and up for fresh seeds.
    """
    text = f"{study_seed}/{pair.label}/{repeat}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
