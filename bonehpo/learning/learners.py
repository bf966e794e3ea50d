"""What a fit trains: a compiled network, drawn anew from the seed of the fit, and the images as that network takes them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bonehpo.config import Training
from bonehpo.domain import Task
from bonehpo.learning.augmentation import augment
from bonehpo.learning.backend import compute_capability, keras
from bonehpo.learning.networks import build_network, reset_weights, save_network, standardise
from bonehpo.learning.specs import FitSpec, FitTask
from bonehpo.store.images import LabelledImages

EVALUATION_BATCH = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class Learner:
    """A network about to be trained.

    Attributes:
        network: Compiled; its metric is called "score".
        batch: Inputs of the images at some indices, augmented where inputs are slices.
        inputs: Inputs of the images at some indices, as they are.
        read: Inputs of slices (image, y, x) from elsewhere.
        targets: What is trained towards, (image,): standardised where it is a strain.
        offset: Output × scale + offset is in the units of the truth.
        scale: See `offset`.
        keep: Writes the network to a file, so that it answers slices in the units of the truth.
    """

    network: Any
    batch: Callable[[npt.NDArray[np.int64], np.random.Generator], npt.NDArray[np.generic]]
    inputs: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.generic]]
    read: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.generic]]
    targets: npt.NDArray[np.float32]
    offset: float = 0.0
    scale: float = 1.0
    keep: Callable[[Path], None]

    def outputs(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """What the network says of some images, in the units of the truth, (image,)."""
        parts = [indices[i : i + EVALUATION_BATCH] for i in range(0, len(indices), EVALUATION_BATCH)]
        return np.concatenate([self._answers(self.inputs(part)) for part in parts])

    def answers(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """What the network says of slices (image, y, x) from elsewhere, in the units of the truth, (image,)."""
        parts = [pixels[i : i + EVALUATION_BATCH] for i in range(0, len(pixels), EVALUATION_BATCH)]
        return np.concatenate([self._answers(self.read(part)) for part in parts])

    def _answers(self, inputs: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        last: npt.NDArray[np.float32] = np.asarray(self.network.predict_on_batch(inputs))[:, -1].astype(np.float32)
        return last * self.scale + self.offset


def make_cnn_learner(task: FitTask, images: LabelledImages, train: npt.NDArray[np.int64], precision: str) -> Learner:
    """The learner of a fit of the paper's family.

    Args:
        task: The fit.
        images: Of its store and task.
        train: Indices of the images that it trains on.
        precision: "float32" or "bfloat16".
    """
    spec = task.spec
    choice = spec.hyperparameters
    network = compiled_network(choice.layers, choice.kernel, images.pixels.shape[1], precision, spec.task)
    reset_weights(network, spec.seed)
    start_optimiser(network, choice.learning_rate)
    standardise(network, images.pixels, train)
    offset, scale = _scale(spec, images.truth[train])

    def keep(path: Path) -> None:
        kernel, bias = network.layers[-1].get_weights()
        network.layers[-1].set_weights([kernel * scale, bias * scale + offset])
        save_network(network, path)

    return Learner(
        network=network,
        batch=augmented(images.pixels, spec.training),
        inputs=lambda indices: images.pixels[indices][..., None],
        read=lambda pixels: pixels[..., None],
        targets=((images.truth - offset) / scale).astype(np.float32),
        offset=offset,
        scale=scale,
        keep=keep,
    )


def _scale(spec: FitSpec, truth: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Mean and standard deviation of the training strains; 0 and 1 where classes are learnt."""
    if spec.task == "damage":
        return 0.0, 1.0
    return float(truth.mean()), float(truth.std()) or 1.0


def augmented(
    pixels: npt.NDArray[np.uint8], training: Training
) -> Callable[[npt.NDArray[np.int64], np.random.Generator], npt.NDArray[np.uint8]]:
    """Takes indices and a generator, gives augmented slices (image, y, x, 1)."""
    return lambda indices, generator: augment(pixels[indices], training, generator)[..., None]


@lru_cache(maxsize=1)
def compiled_network(layers: int, kernel: int, side: int, precision: str, task: Task = "damage") -> Any:
    """One network for all fits of an architecture: building and tracing costs as much as a thousand images."""
    network = build_network(layers=layers, kernel=kernel, side=side, dtype=policy_of(precision), task=task)
    compile_network(network, task)
    return network


def policy_of(precision: str) -> str:
    """Keras's name of a precision."""
    return "mixed_bfloat16" if precision == "bfloat16" else "float32"


def compile_network(network: Any, task: Task) -> None:
    """Give a network Adam, its loss, and its score as a metric (mean absolute error for strain)."""
    damage = task == "damage"
    network.compile(
        optimizer=keras.optimizers.Adam(),
        loss="sparse_categorical_crossentropy" if damage else "mean_squared_error",
        metrics=[
            (keras.metrics.SparseCategoricalAccuracy if damage else keras.metrics.MeanAbsoluteError)(name="score")
        ],
        jit_compile=False,
    )


def start_optimiser(network: Any, learning_rate: float) -> None:
    """Forget all steps taken so far."""
    for variable in network.optimizer.variables:
        variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
    network.optimizer.learning_rate = learning_rate


def predict(network: Any, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What a whole network says of a few slices (image, y, x), untraced.

    Returns:
        The softmax output for *failed*, or the strain in %, (image,).
    """
    parts = [pixels[i : i + EVALUATION_BATCH] for i in range(0, len(pixels), EVALUATION_BATCH)]
    outputs = [np.asarray(network(part[..., None], training=False)) for part in parts]
    return np.concatenate(outputs)[:, -1].astype(np.float32)


def choose_precision(asked: str) -> str:
    """The precision to train in: bfloat16 where the hardware is faster with it, else float32.

    That is on processors with AVX512-BF16 or AMX (measured at 64 px: 1.7 against 3.0 ms of CPU an image) and on NVIDIA
    cards from Ampere on (compute capability 8.0).

    Args:
        asked: `training.precision` of study.toml.
    """
    if asked != "auto":
        return asked
    return "bfloat16" if _hardware_likes_bfloat16() else "float32"


@lru_cache(maxsize=1)
def _hardware_likes_bfloat16() -> bool:
    capability = compute_capability()
    if capability is not None:
        return capability >= (8, 0)
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags
