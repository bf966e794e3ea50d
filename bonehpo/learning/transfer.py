"""Transfer learning: a backbone of `keras.applications` below a head, given weights, and trained in one of three ways.

No pretrained weights are shipped. A file gives arrays only: weights files run no code, and `.keras` files are opened in
Keras's safe mode.

References:
    Shen, Peña Fernández, Tozzi, Buehler, J. Mech. Behav. Biomed. Mater. 123 (2021) 104761, §2.6 and §3.5.
"""

import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from bonehpo.errors import NetworkError
from bonehpo.learning.architecture import CHANNELS
from bonehpo.learning.backbones import PREPROCESSING, RESNET50, Backbone, Mode, find_backbone
from bonehpo.learning.backend import keras
from bonehpo.learning.networks import PRIME, draw, load_network, output_layer, reseed
from bonehpo.task import DAMAGE, Task

DOWNLOAD_TIMEOUT_S = 30
SUFFIXES = (".h5", ".keras")  # .weights.h5 among the first
PREPROCESS = "preprocess"

BaseWeights = tuple[list[npt.NDArray[np.float32]], ...]
"""The arrays of each layer with weights, from the slice on. Names would not do: Keras counts some of them through."""


def draw_layer(layer: keras.layers.Layer, seed: int) -> None:
    """Draw the weights of one layer anew, each by `networks.draw`.

    Args:
        layer: Any layer with weights; trainable or not.
        seed: The same seed gives the same weights, in every process.
    """
    for variable in layer.weights:
        draw(variable, seed)


def resolve_weights(text: str, backbone: Backbone = RESNET50) -> Path | None:
    """The file that a choice of weights stands for; `imagenet` is downloaded once and kept where Keras keeps it.

    Args:
        text: `none` (random weights), `imagenet`, or a file: `.h5` as Keras distributes it, `.weights.h5`, or a `.keras`
            network that bonehpo saved.
        backbone: Whose ImageNet weights are meant.

    Returns:
        The file, or None for `none`.

    Raises:
        NetworkError: The file is not there or is of another kind, or the download failed.
    """
    if text == "none":
        return None
    if text == "imagenet":
        return _imagenet(backbone)
    path = Path(text).expanduser()
    if path.suffix not in SUFFIXES:
        raise NetworkError(f"weights {text!r}: give imagenet, none, study:NAME, or a .h5, .weights.h5 or .keras file")
    if not path.is_file():
        raise NetworkError(f"no weights at {path}: give a file that is there, or imagenet or none")
    return path


def load_base_weights(network: keras.Model, path: Path) -> None:
    """Give the layers below the head the weights of a file; the head stays as it is.

    Args:
        network: From `build_backbone`.
        path: From `resolve_weights`. The file that was read last is kept in memory (94 MB) for the next fit.

    Raises:
        NetworkError: The file holds another network, or cannot be read.
    """
    status = path.stat()
    arrays = _read_base(network.name, path, status.st_mtime_ns, status.st_size)
    for layer, found in zip(_weighted(network), arrays, strict=False):  # one layer more: the head
        layer.set_weights(found)


@lru_cache(maxsize=1)
def _read_base(name: str, path: Path, _mtime_ns: int, _size: int) -> BaseWeights:
    backbone = find_backbone(name)
    base = _keras_base(backbone, side=backbone.smallest_side)
    try:
        _fill(base, path)
    except (ValueError, OSError, KeyError, TypeError) as error:  # what Keras and HDF5 raise on files of another kind
        raise NetworkError(
            f"{path} holds no {backbone.label} without its head ({_one_line(error)}): give {backbone.weights_file}, "
            f"or a {backbone.label} that bonehpo saved"
        ) from error
    return tuple(layer.get_weights() for layer in _weighted(base))


def _weighted(network: keras.Model) -> list[keras.layers.Layer]:
    """The layers that have weights in Keras's network and in ours, from the slice on."""
    return [layer for layer in network.layers if layer.weights and not isinstance(layer, OWN_PREPROCESSING)]


def _fill(base: keras.Model, path: Path) -> None:
    if path.suffix == ".keras":
        layers, theirs = _weighted(base), _weighted(load_network(path))
        if len(theirs) - len(layers) not in (0, 1):
            raise ValueError(f"{len(theirs)} layers with weights in place of {len(layers)}")
        for layer, source in zip(layers, theirs, strict=False):
            layer.set_weights(source.get_weights())
    else:
        with warnings.catch_warnings(action="ignore"):  # files of older Keras versions lack groups that nothing needs
            base.load_weights(path)
    for layer in base.layers:
        if not all(np.isfinite(array).all() for array in layer.get_weights()):
            raise ValueError(f"NaN or infinite weights in {layer.name}")


def _one_line(error: BaseException, n_characters: int = 160) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= n_characters else f"{text[:n_characters]}…"


def _imagenet(backbone: Backbone) -> Path:
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    folder = home / "models"
    try:
        folder.mkdir(parents=True, exist_ok=True)  # into another folder Keras would fall back silently
        with _quiet_download():
            found: Any = keras.utils.get_file(
                backbone.weights_file,
                backbone.weights_url,
                cache_subdir="models",
                file_hash=backbone.weights_md5 or None,
                cache_dir=home,
            )
    except Exception as error:  # Keras raises bare `Exception` when a download fails
        raise NetworkError(
            f"ImageNet weights of {backbone.label} could not be downloaded ({_one_line(error)}): put "
            f"{backbone.weights_url} into {folder}, or name that file with --weights FILE"
        ) from error
    return Path(found)


@contextmanager
def _quiet_download() -> Iterator[None]:
    """Keep Keras's progress bar off the console, and give up on a server that does not answer."""
    spoke, waited = keras.config.is_interactive_logging_enabled(), socket.getdefaulttimeout()
    keras.config.disable_interactive_logging()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(waited)
        if spoke:
            keras.config.enable_interactive_logging()


FEATURES = "features"
FEATURE_BATCH = 128

OWN_PREPROCESSING = (keras.layers.Rescaling, keras.layers.Normalization)
"""Layers by which Keras scales the inputs of some networks within their graph."""


def build_backbone(backbone: Backbone, *, side: int, dtype: str = "float32", task: Task = DAMAGE) -> keras.Model:
    """Build a backbone below the head of a task, with weights drawn at random.

    It takes 8-bit slices as they lie in the store, uint8 (batch, side, side, 1), and answers softmax probabilities, float32
    (batch, class), of (pristine, failed). Three equal channels and the preprocessing of Keras's ImageNet weights are layers
    of the graph. The layers of the base keep Keras's names and lie flat in the network, which bears the name of the
    backbone.

    Args:
        backbone: One of `BACKBONES`.
        side: Side of the images in pixels.
        dtype: Keras dtype policy, "float32" or "mixed_bfloat16". Weights, pooling and softmax are float32 in both.
        task: Says what the last layer is.

    Raises:
        NetworkError: The images are too small, or the installed Keras builds another network than this one.
    """
    if side < backbone.smallest_side:
        raise NetworkError(
            f"{backbone.label} needs slices of {backbone.smallest_side} pixels a side or more, but got {side}: "
            "cut larger ones"
        )
    slices = keras.Input((side, side, 1), dtype="uint8", name="slices")
    intensity = keras.ops.cast(slices, "float32")
    channels = keras.layers.Concatenate(dtype="float32", name="channels")([intensity] * CHANNELS)
    scale, offset = (list(v) if isinstance(v, tuple) else v for v in PREPROCESSING[backbone.preprocessing])
    x = keras.layers.Rescaling(scale, offset, dtype="float32", name=PREPROCESS)(channels)
    with _policy(dtype):
        base = _without_own_preprocessing(_keras_base(backbone, side=side, input_tensor=x))
    if base.count_params() != backbone.n_parameters:
        raise NetworkError(
            f"Keras {keras.__version__} builds a {backbone.label} of {base.count_params():,} parameters in place of "
            f"{backbone.n_parameters:,}, whose fits could not be compared with earlier ones: install another Keras"
        )
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = backbone.momentum
    features = keras.layers.GlobalAveragePooling2D(dtype="float32", name=FEATURES)(base.output)
    return keras.Model(base.inputs[0], output_layer(task)(features), name=backbone.name)


def _keras_base(backbone: Backbone, *, side: int, input_tensor: Any = None) -> keras.Model:
    """The network as Keras builds it, without a head."""
    builder = getattr(keras.applications, backbone.builder)
    return builder(include_top=False, weights=None, input_tensor=input_tensor, input_shape=(side, side, CHANNELS))


def _without_own_preprocessing(base: keras.Model) -> keras.Model:
    """The same graph with nothing in place of the layers by which Keras scales inputs; itself where it has none.

    Without ImageNet's weights such a normalisation does nothing, and with them it is followed by one layer more.
    """
    own = [layer.name for layer in base.layers if isinstance(layer, OWN_PREPROCESSING) and layer.name != PREPROCESS]
    if not own:
        return base

    def cloned(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name in own:
            name = f"no_{type(layer).__name__.lower()}"
            return keras.layers.Activation("linear", dtype=layer.dtype_policy, name=name)
        return type(layer).from_config(layer.get_config())

    return keras.models.clone_model(base, clone_function=cloned)


@contextmanager
def _policy(dtype: str) -> Iterator[None]:
    """Let layers be made with this policy: `keras.applications` takes none."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def freeze(network: keras.Model, mode: Mode) -> None:
    """Choose what is trained. Compile afterwards: Keras looks at this when it compiles.

    - `frozen`: the head alone; 4,098 parameters of a ResNet-50.
    - `fine-tuned`: also all below it but batch normalisations, which keep their pretrained statistics, scales and shifts
      and run in inference mode; otherwise the first steps would destroy what was learnt [1]_. 23,485,570 of a ResNet-50.
    - `scratch`: everything; 23,538,690 of a ResNet-50.

    Args:
        network: From `build_backbone`.
        mode: One of the three.

    Raises:
        NetworkError: There is no such mode.

    References:
        .. [1] Keras, "Transfer learning & fine-tuning", https://keras.io/guides/transfer_learning.
    """
    if mode not in get_args(Mode):
        raise NetworkError(
            f"{find_backbone(network.name).label} is trained {', '.join(get_args(Mode))}, but got {mode!r}: "
            "choose one of these"
        )
    for layer in network.layers:
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = layer is network.layers[-1] or mode == "scratch" or (mode == "fine-tuned" and not normalises)


def reset_backbone(network: keras.Model, seed: int) -> None:
    """Draw all weights anew. For pretrained ones call `load_base_weights` afterwards, which leaves the head as drawn.

    Args:
        network: From `build_backbone`.
        seed: The same seed gives the same weights in every process, and the same dropout in the steps that follow.
    """
    for i, layer in enumerate(layer for layer in network.layers if layer.weights):
        draw_layer(layer, seed + PRIME * i)
    reseed(network, seed)


def base_features(network: keras.Model, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Features of slices, averaged over the image: all that a head on a frozen base ever sees.

    Args:
        network: From `build_backbone`. The network that was asked last is kept ready for the next call.
        pixels: (image, y, x).

    Returns:
        (image, feature); 2048 features of a ResNet-50.
    """
    base = _base(network)
    batches = [pixels[i : i + FEATURE_BATCH] for i in range(0, len(pixels), FEATURE_BATCH)]
    features = [np.asarray(base.predict_on_batch(batch[..., None])) for batch in batches]
    return np.concatenate([np.empty((0, base.output.shape[1]), np.float32), *features])


@lru_cache(maxsize=1)
def _base(network: keras.Model) -> keras.Model:
    return keras.Model(network.input, network.get_layer(FEATURES).output)


def take_head(network: keras.Model) -> keras.Model:
    """Copy the head as a network of its own: float32 (batch, feature) to answers.

    Trained on `base_features` and put back by `put_head`, it is what training the whole network `frozen` would give, had
    that no dropout below its head: a frozen base has none.
    """
    features = keras.Input((int(network.get_layer(FEATURES).output.shape[1]),), name=FEATURES)
    last = network.layers[-1]
    head = keras.Model(features, type(last).from_config(last.get_config())(features))
    head.set_weights(last.get_weights())
    return head


def put_head(network: keras.Model, head: keras.Model) -> None:
    """Give the head of a network the weights of one that `take_head` made."""
    network.layers[-1].set_weights(head.get_weights())
