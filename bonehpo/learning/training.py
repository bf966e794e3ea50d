"""One fit: a network trained on the sets outside one holdout pair, and tested on both sets of the pair.

Fold (i, j) and fold (j, i) train on the same images, so that one fit yields both, exactly, as long as nothing in training
depends on which of the two is called validation. Here nothing does: the seed comes from the unordered pair, the learning
rate is constant, and with `checkpoint = "best"` the epoch that tests set i is the one that was best on set j.
"""

import logging
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bonehpo.data.images import LabelledImages, load_images
from bonehpo.errors import FitError
from bonehpo.learning.augmentation import augment
from bonehpo.learning.backend import compute_capability, keras
from bonehpo.learning.fits import Curves, FitResult, FitSpec, FitTask, Predictions
from bonehpo.learning.metrics import cross_entropy
from bonehpo.learning.networks import build_network, reset_weights, save_network, standardise

logger = logging.getLogger(__name__)

EVALUATION_BATCH = 128


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


@lru_cache(maxsize=1)
def compiled_network(layers: int, kernel: int, side: int, precision: str) -> Any:
    """One network for all fits of an architecture: building and tracing costs as much as a thousand images."""
    dtype = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    network = build_network(layers=layers, kernel=kernel, side=side, dtype=dtype)
    network.compile(
        optimizer=keras.optimizers.Adam(),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    return network


def _fresh_network(spec: FitSpec, side: int, precision: str) -> Any:
    choice = spec.hyperparameters
    network = compiled_network(choice.layers, choice.kernel, side, precision)
    reset_weights(network, spec.seed)
    for variable in network.optimizer.variables:
        variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
    network.optimizer.learning_rate = choice.learning_rate
    return network


def train(task: FitTask) -> FitResult:
    """Train the network of a task, and test it on both sets of its pair.

    Raises:
        FitError: The loss became NaN or infinite.
        StoreError: The store is not the one that is meant, or is damaged.
    """
    images = load_images(task.store, task.spec.store_id)
    spec, started_s, cpu_started = task.spec, time.time(), time.process_time()
    precision = choose_precision(spec.training.precision)
    network = _fresh_network(spec, images.pixels.shape[1], precision)
    held_out = tuple(images.indices(spec.sets[name]) for name in spec.pair)
    train = images.indices(tuple(g for name, groups in spec.sets.items() if name not in spec.pair for g in groups))
    generator = np.random.default_rng(spec.seed)
    standardise(network, images.pixels, train)
    curves = _empty_curves(spec.training.epochs)
    kept: dict[int, npt.NDArray[np.float32]] = {}
    weights: list[npt.NDArray[np.float32]] = []
    epochs = [0, 0]
    for epoch in range(spec.training.epochs):
        loss, accuracy = _train_epoch(network, images, generator.permutation(train), spec, generator)
        curves.train_loss[epoch], curves.train_accuracy[epoch] = loss, accuracy
        p_failed = [predict_failed(network, images.pixels, indices) for indices in held_out]
        if not all(np.isfinite(p).all() for p in p_failed):
            raise FitError(
                f"diverged: the network answers what is no number after epoch {epoch + 1} at {spec.hyperparameters}"
            )
        for i, indices in enumerate(held_out):
            labels = images.labels[indices]
            curves.held_out_loss[i, epoch] = cross_entropy(p_failed[i], labels)
            curves.held_out_accuracy[i, epoch] = np.mean((p_failed[i] > 0.5) == labels)
        for i in (0, 1):
            if _takes(spec.training.checkpoint, curves.held_out_accuracy[1 - i], epoch):
                epochs[i], kept[i] = epoch, p_failed[i]
        if task.network is not None and _takes(spec.training.checkpoint, curves.held_out_accuracy.mean(axis=0), epoch):
            weights = network.get_weights()
    if task.network is not None:
        network.set_weights(weights)
        save_network(network, task.network)
    return FitResult(
        key=spec.key,
        pair=spec.pair,
        seed=spec.seed,
        precision=precision,
        cpu_seconds=time.process_time() - cpu_started,
        started_s=started_s,
        finished_s=time.time(),
        epochs=(epochs[0], epochs[1]),
        curves=curves,
        predictions=(_columns(images, held_out[0], kept[0]), _columns(images, held_out[1], kept[1])),
    )


def _takes(checkpoint: str, accuracy: npt.NDArray[np.float32], epoch: int) -> bool:
    """Whether this epoch's network is the one to take, judged by `accuracy` (epoch,).

    A set is tested by the epoch that was best on the *other* set of the pair; a network that is kept for new specimens is
    that of the epoch best on both.
    """
    return checkpoint == "last" or epoch == 0 or bool(accuracy[epoch] > accuracy[:epoch].max())


def _train_epoch(
    network: Any,
    images: LabelledImages,
    order: npt.NDArray[np.int64],
    spec: FitSpec,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """One pass; the loss and accuracy that Keras averaged over it."""
    network.reset_metrics()
    logs: dict[str, float] = {}
    for start in range(0, len(order), spec.hyperparameters.batch):
        chosen = order[start : start + spec.hyperparameters.batch]
        pixels = augment(images.pixels[chosen], spec.training, generator)
        logs = network.train_on_batch(pixels[..., None], images.labels[chosen], return_dict=True)
        if not np.isfinite(logs["loss"]):
            raise FitError(f"diverged: the loss became {logs['loss']} at {spec.hyperparameters}")
    return float(logs["loss"]), float(logs["accuracy"])


def predict_failed(
    network: Any, pixels: npt.NDArray[np.uint8], indices: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.float32]:
    """The softmax output for *failed* (image,) of a network on pixels (image, y, x), or on those at `indices`."""
    chosen = np.arange(len(pixels)) if indices is None else indices
    batches = [chosen[i : i + EVALUATION_BATCH] for i in range(0, len(chosen), EVALUATION_BATCH)]
    outputs = [np.asarray(network.predict_on_batch(pixels[batch][..., None])) for batch in batches]
    return np.concatenate(outputs)[:, 1].astype(np.float32)


def _empty_curves(n_epochs: int) -> Curves:
    return Curves(*(np.full(shape, np.nan, np.float32) for shape in (n_epochs, n_epochs, (2, n_epochs), (2, n_epochs))))


def _columns(images: LabelledImages, indices: npt.NDArray[np.int64], p_failed: npt.NDArray[np.float32]) -> Predictions:
    return Predictions(
        specimen=images.specimens[indices],
        plane=images.planes[indices],
        position=images.positions[indices],
        label=images.labels[indices],
        p_failed=p_failed,
    )
