"""Learners: a compiled network, drawn anew from the seed of the fit, and the images as that network takes them.

A frozen base makes the same features of an image in every fit, so they are computed once for a store and kept among the
fits; a head alone is then trained on them. Augmented images would each need features of their own: there are none, which
is the one difference to the other ways.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bonehpo.config import Training
from bonehpo.errors import FitError
from bonehpo.files import content_address, file_sha256, write_durably
from bonehpo.hyperparameters import HYPERPARAMETERS, Hyperparameters, replace_values
from bonehpo.learning.backbones import RESNET50, Mode, find_backbone
from bonehpo.learning.backend import compute_capability, keras
from bonehpo.learning.fits import CODE_VERSION, FitTask, Transfer
from bonehpo.learning.networks import build_network, reset_weights, save_network, standardise
from bonehpo.learning.transfer import (
    base_features,
    build_backbone,
    freeze,
    load_base_weights,
    put_head,
    reset_backbone,
    take_head,
)
from bonehpo.store.images import LabelledImages, load_images
from bonehpo.task import DAMAGE, Task, kept_outputs, task_named


def augment(images: npt.NDArray[np.uint8], training: Training, generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Mirror each image with probability 1/2 and shear it along x by a random angle, as §2.2 of the paper.

    Rows are shifted about the middle row, interpolated linearly, and continued with their border pixels.

    Args:
        images: (image, y, x). Left as it is.
        training: Whether to flip, and the largest angle of shear in degrees.
        generator: Source of the random numbers.

    Returns:
        (image, y, x).
    """
    n, height, width = images.shape
    if training.flip:
        mirrored = np.asarray(generator.random(n) < 0.5)
        images = np.where(mirrored.reshape(n, 1, 1), images[:, :, ::-1], images)
    if training.shear_deg == 0:
        return images
    angles = np.deg2rad(generator.uniform(-training.shear_deg, training.shear_deg, n))
    rows = np.arange(height) - (height - 1) / 2
    shifts = np.tan(angles)[:, None] * rows  # (image, y), in pixels
    whole = np.floor(shifts).astype(np.int32)
    part = (shifts - whole).astype(np.float32)[:, :, None]
    left = np.arange(width, dtype=np.int32) + whole[:, :, None]
    a = np.take_along_axis(images, left.clip(0, width - 1), axis=2)
    b = np.take_along_axis(images, (left + 1).clip(0, width - 1), axis=2)
    blended: npt.NDArray[np.uint8] = np.rint(a + part * (b.astype(np.float32) - a)).astype(np.uint8)
    return blended


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
        """Outputs of the network on some images, in the units of the truth, (image,)."""
        parts = [indices[i : i + EVALUATION_BATCH] for i in range(0, len(indices), EVALUATION_BATCH)]
        return np.concatenate([self._answers(self.inputs(part)) for part in parts])

    def answers(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Outputs of the network on slices (image, y, x) from elsewhere, in the units of the truth, (image,)."""
        parts = [pixels[i : i + EVALUATION_BATCH] for i in range(0, len(pixels), EVALUATION_BATCH)]
        return np.concatenate([self._answers(self.read(part)) for part in parts])

    def _answers(self, inputs: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        return kept_outputs(np.asarray(self.network.predict_on_batch(inputs))) * self.scale + self.offset


def make_cnn_learner(task: FitTask, images: LabelledImages, train: npt.NDArray[np.int64], precision: str) -> Learner:
    """The learner of a fit of the paper's family.

    Args:
        task: The fit.
        images: Of its store and task.
        train: Indices of the images that it trains on.
        precision: "float32" or "bfloat16".
    """
    spec = task.spec
    choice, answer = spec.hyperparameters, task_named(spec.task)
    network = compiled_network(choice, images.pixels.shape[1], precision, answer)
    reset_weights(network, spec.seed)
    start_optimiser(network, choice.learning_rate)
    standardise(network, images.pixels, train)
    offset, scale = answer.scaling(images.truth[train])

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


def augmented(
    pixels: npt.NDArray[np.uint8], training: Training
) -> Callable[[npt.NDArray[np.int64], np.random.Generator], npt.NDArray[np.uint8]]:
    """Takes indices and a generator, gives augmented slices (image, y, x, 1)."""
    return lambda indices, generator: augment(pixels[indices], training, generator)[..., None]


def compiled_network(choice: Hyperparameters, side: int, precision: str, task: Task = DAMAGE) -> Any:
    """One network for all fits of an architecture: building and tracing costs as much as a thousand images.

    Args:
        choice: Of the network and its optimiser. Choices that differ in nothing that is rebuilt have the same one.
        side: Side of the slices in pixels.
        precision: "float32" or "bfloat16".
        task: Question that it answers.

    Returns:
        The network as its last fit left it: begin with `reset_weights` and `start_optimiser`.
    """
    shared = {entry.name: entry.default for entry in HYPERPARAMETERS if not entry.is_rebuilt}
    return _compiled_cnn(replace_values(choice, shared), side, precision, task)


@lru_cache(maxsize=1)
def _compiled_cnn(choice: Hyperparameters, side: int, precision: str, task: Task) -> Any:
    network = build_network(choice, side=side, dtype=policy_of(precision), task=task)
    compile_network(network, task, choice.weight_decay)
    return network


def policy_of(precision: str) -> str:
    """Keras's name of a precision."""
    return "mixed_bfloat16" if precision == "bfloat16" else "float32"


def compile_network(network: Any, task: Task, weight_decay: float = 0.0) -> None:
    """Give a network Adam, the loss of its task, and what people read for a score as the metric "score".

    Args:
        network: The network.
        task: Question that it answers.
        weight_decay: Each step first takes this times the learning rate off the kernels (AdamW [1]_); biases, and scales and
            shifts of normalisations, do not decay.

    References:
        .. [1] Loshchilov and Hutter, Decoupled weight decay regularization, ICLR 2019, arXiv:1711.05101.
    """
    optimiser = keras.optimizers.Adam(weight_decay=weight_decay or None)
    optimiser.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    network.compile(
        optimizer=optimiser,
        loss=task.head.loss,
        metrics=[getattr(keras.metrics, task.head.metric)(name="score")],
        jit_compile=False,
    )


def start_optimiser(network: Any, learning_rate: float) -> None:
    """Forget all steps taken so far."""
    for variable in network.optimizer.variables:
        variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
    network.optimizer.learning_rate = learning_rate


def rate_at(choice: Hyperparameters, step: int, n_steps: int) -> float:
    """Learning rate of one step of a fit, which depends on nothing but the number of the step.

    Args:
        choice: Its learning rate and schedule: "cosine" falls to 0 without restarts [1]_.
        step: From 0.
        n_steps: Steps of the whole fit.

    References:
        .. [1] Loshchilov and Hutter, SGDR, ICLR 2017, arXiv:1608.03983, equation 5.
    """
    if choice.schedule == "constant":
        return choice.learning_rate
    return choice.learning_rate * (1 + math.cos(math.pi * step / n_steps)) / 2


def predict(network: Any, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Outputs of a whole network on a few slices (image, y, x), untraced.

    Returns:
        As `task.kept_outputs`: the softmax output for *failed*, or the strain in %, (image,).
    """
    parts = [pixels[i : i + EVALUATION_BATCH] for i in range(0, len(pixels), EVALUATION_BATCH)]
    outputs = [np.asarray(network(part[..., None], training=False)) for part in parts]
    return kept_outputs(np.concatenate(outputs))


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


def make_transfer_learner(task: FitTask, images: LabelledImages, precision: str) -> Learner:
    """The learner of a fit whose specification names a backbone.

    Args:
        task: The fit.
        images: Of its store and task.
        precision: "float32" or "bfloat16"; a frozen backbone is float32 in both.

    Raises:
        FitError: It shall predict strain, or the file of its weights is not the one that was meant.
    """
    spec, transfer = task.spec, _transfer(task)
    label, mode = find_backbone(transfer.backbone).label, transfer.mode
    if task_named(spec.task) is not DAMAGE:
        raise FitError(f"{label} tells failed from pristine slices only: leave strain to the paper's family")
    if mode != "scratch" and not transfer.weights:
        raise FitError(f"{label} {mode} needs weights to start from: give --weights imagenet, study:NAME or a file")
    if mode == "frozen":
        return _frozen_learner(task, images)
    network = _compiled(transfer.backbone, images.pixels.shape[1], precision, mode)
    _draw(network, task)
    start_optimiser(network, spec.hyperparameters.learning_rate)
    return Learner(
        network=network,
        batch=augmented(images.pixels, spec.training),
        inputs=lambda indices: images.pixels[indices][..., None],
        read=lambda pixels: pixels[..., None],
        targets=images.truth,
        keep=lambda path: save_network(network, path),
    )


def _transfer(task: FitTask) -> Transfer:
    if task.spec.transfer is None:
        raise ValueError("the fit names no backbone")
    return task.spec.transfer


def _frozen_learner(task: FitTask, images: LabelledImages) -> Learner:
    network = _whole(_transfer(task).backbone, images.pixels.shape[1])
    _draw(network, task)
    head = take_head(network)
    compile_network(head, DAMAGE)
    head.optimizer.learning_rate = task.spec.hyperparameters.learning_rate
    features = _features(task, images, network)

    def keep(path: Path) -> None:
        put_head(network, head)
        save_network(network, path)

    return Learner(
        network=head,
        batch=lambda indices, _: features[indices],
        inputs=lambda indices: features[indices],
        read=lambda pixels: base_features(network, pixels),
        targets=images.truth,
        keep=keep,
    )


def compute_features(task: FitTask) -> str:
    """Compute the features of a frozen base once, for all fits of a store with the same weights.

    Returns:
        The name of the file that holds them.

    Raises:
        StudyError: It cannot be written.
    """
    file = features_file(task)
    if not file.exists():
        images = load_images(task.store, task.spec.store_id)
        network = _whole(_transfer(task).backbone, images.pixels.shape[1])
        _draw(network, task)
        _features(task, images, network)
    return file.name


def features_file(task: FitTask) -> Path:
    """Path of the features that a fit of a frozen base needs."""
    transfer = _transfer(task)
    parts = {"code": CODE_VERSION, "store": task.spec.store_id, "weights": transfer.weights}
    if transfer.backbone != RESNET50.name:
        parts["backbone"] = transfer.backbone
    address = content_address(parts)
    return task.fits / f"features-{address}.npy"


def _features(task: FitTask, images: LabelledImages, network: Any) -> npt.NDArray[np.float32]:
    """Features of all images (image, feature), read or computed."""
    file = features_file(task)
    if file.exists():
        found: npt.NDArray[np.float32] = np.load(file, allow_pickle=False)
        return found
    features = base_features(network, images.pixels)
    buffer = io.BytesIO()
    np.save(buffer, features, allow_pickle=False)
    write_durably(file, buffer.getvalue())
    return features


def _draw(network: Any, task: FitTask) -> None:
    """Weights of the seed, and below the head those of the file where there is one."""
    reset_backbone(network, task.spec.seed)
    wanted = _transfer(task).weights
    if not wanted:
        return
    if task.weights is None or not task.weights.is_file():
        raise FitError(f"the weights {task.weights} are gone: put them back and run the same command again")
    if _weights_id(task.weights, task.weights.stat().st_mtime_ns) != wanted:
        raise FitError(f"the weights {task.weights} were changed meanwhile: run the same command again")
    load_base_weights(network, task.weights)


@lru_cache(maxsize=4)
def _weights_id(path: Path, _mtime_ns: int) -> str:
    return file_sha256(path)


@lru_cache(maxsize=1)
def _whole(name: str, side: int) -> Any:
    """A backbone that is not trained, for all fits of its head."""
    return build_backbone(find_backbone(name), side=side)


@lru_cache(maxsize=1)
def _compiled(name: str, side: int, precision: str, mode: Mode) -> Any:
    """One backbone for all fits of a mode: building and tracing takes long."""
    network = build_backbone(find_backbone(name), side=side, dtype=policy_of(precision))
    freeze(network, mode)
    compile_network(network, DAMAGE)
    return network
