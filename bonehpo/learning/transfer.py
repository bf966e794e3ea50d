"""ResNet-50 as a learner: from scratch, fine-tuned from given weights, or frozen below its head.

A frozen base makes the same features of an image in every fit, so they are computed once for a store and kept among the
fits; a head alone is then trained on them. Augmented images would each need features of their own: there are none, which
is the one difference to the other ways.
"""

import hashlib
import io
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bonehpo.errors import FitError, StudyError
from bonehpo.learning.fits import write_durably
from bonehpo.learning.learners import Learner, augmented, compile_network, policy_of, start_optimiser
from bonehpo.learning.networks import save_network
from bonehpo.learning.resnet import base_features, build_resnet, freeze, put_head, reset_resnet, take_head
from bonehpo.learning.specs import CODE_VERSION, FitTask
from bonehpo.learning.weights import load_base_weights, weights_id
from bonehpo.store.images import LabelledImages, load_images


def make_resnet_learner(task: FitTask, images: LabelledImages, precision: str) -> Learner:
    """The learner of a fit whose specification names a ResNet-50.

    Raises:
        FitError: It shall predict strain, or the file of its weights is not the one that was meant.
    """
    spec = task.spec
    if spec.resnet is None or spec.task != "damage":
        raise FitError("ResNet-50 tells failed from pristine slices only: leave strain to the paper's family")
    side, mode = images.pixels.shape[1], spec.resnet.mode
    if mode != "scratch" and not spec.resnet.weights:
        raise FitError(f"ResNet-50 {mode} needs weights to start from: give --weights imagenet, study:NAME or a file")
    if mode == "frozen":
        return _frozen_learner(task, images)
    network = _compiled(side, precision, mode)
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


def _frozen_learner(task: FitTask, images: LabelledImages) -> Learner:
    network = _whole(images.pixels.shape[1])
    _draw(network, task)
    head = take_head(network)
    compile_network(head, "damage")
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
        network = _whole(images.pixels.shape[1])
        _draw(network, task)
        _features(task, images, network)
    return file.name


def features_file(task: FitTask) -> Path:
    """Where the features lie that a fit of a frozen base needs."""
    weights = task.spec.resnet.weights if task.spec.resnet else ""
    text = json.dumps({"code": CODE_VERSION, "store": task.spec.store_id, "weights": weights}, sort_keys=True)
    return task.fits / f"features-{hashlib.sha256(text.encode()).hexdigest()[:32]}.npy"


def _features(task: FitTask, images: LabelledImages, network: Any) -> npt.NDArray[np.float32]:
    """Features of all images (image, 2048), read or computed."""
    file = features_file(task)
    if file.exists():
        found: npt.NDArray[np.float32] = np.load(file, allow_pickle=False)
        return found
    features = base_features(network, images.pixels)
    buffer = io.BytesIO()
    np.save(buffer, features, allow_pickle=False)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(file, buffer.getvalue())
    except OSError as error:
        raise StudyError(f"{file} cannot be written: {error.strerror}: make room there and run it again") from error
    return features


def _draw(network: Any, task: FitTask) -> None:
    """Weights of the seed, and below the head those of the file where there is one."""
    reset_resnet(network, task.spec.seed)
    wanted = task.spec.resnet.weights if task.spec.resnet else ""
    if not wanted:
        return
    if task.weights is None or not task.weights.is_file():
        raise FitError(f"the weights {task.weights} are gone: put them back and run the same command again")
    if _weights_id(task.weights, task.weights.stat().st_mtime_ns) != wanted:
        raise FitError(f"the weights {task.weights} were changed meanwhile: run the same command again")
    load_base_weights(network, task.weights)


@lru_cache(maxsize=4)
def _weights_id(path: Path, _mtime_ns: int) -> str:
    return weights_id(path)


@lru_cache(maxsize=1)
def _whole(side: int) -> Any:
    """A ResNet-50 that is not trained, for all fits of its head."""
    return build_resnet(side=side)


@lru_cache(maxsize=1)
def _compiled(side: int, precision: str, mode: Any) -> Any:
    """One ResNet-50 for all fits of a mode: building and tracing takes long."""
    network = build_resnet(side=side, dtype=policy_of(precision))
    freeze(network, mode)
    compile_network(network, "damage")
    return network
