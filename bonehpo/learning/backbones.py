"""Pretrained networks below a head of two classes: built, given weights, and trained in one of three ways.

No pretrained weights are shipped. A file gives arrays only: weights files run no code, and `.keras` files are opened in
Keras's safe mode.

The base is that of `keras.applications`: ResNet-50 v1, 23,587,712 parameters. Its convolutions carry biases; the paper's
23,561,152 have none, and 26,560 biases are the whole difference (each is followed by a batch normalisation that undoes it).
The head has 4,098 parameters in both.

References:
    He, Zhang, Ren, Sun, Deep residual learning for image recognition, CVPR 2016, doi:10.1109/CVPR.2016.90.
    Shen, Peña Fernández, Tozzi, Buehler, J. Mech. Behav. Biomed. Mater. 123 (2021) 104761, §2.6 and §3.5.
"""

import os
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from bonehpo.errors import NetworkError
from bonehpo.learning.architecture import CHANNELS
from bonehpo.learning.backend import keras
from bonehpo.learning.networks import MOMENTUM, draw, load_network, reseed

IMAGENET_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/resnet/{IMAGENET_FILE}"
IMAGENET_MD5 = "4d473c1dd8becc155b73f8504c6f6626"
"""Name, source and MD5 of the weights without a head, as `keras.applications.resnet` of Keras 3.15 has them."""

DOWNLOAD_TIMEOUT_S = 30
SUFFIXES = (".h5", ".keras")  # .weights.h5 among the first

BaseWeights = Mapping[str, tuple[npt.NDArray[np.float32], ...]]
"""Layer name to the arrays of that layer, in Keras's order; 106 layers below the head of a ResNet-50."""


def draw_layer(layer: keras.layers.Layer, seed: int) -> None:
    """Draw the weights of one layer anew, each by `networks.draw`.

    Args:
        layer: Any layer with weights; trainable or not.
        seed: The same seed gives the same weights, in every process.
    """
    for variable in layer.weights:
        draw(variable, seed)


def resolve_weights(text: str) -> Path | None:
    """The file that a choice of weights stands for; `imagenet` is downloaded once and kept where Keras keeps it.

    Args:
        text: `none` (random weights), `imagenet`, or a file: `.h5` as Keras distributes it, `.weights.h5`, or a `.keras`
            network that bonehpo saved.

    Returns:
        The file, or None for `none`.

    Raises:
        NetworkError: The file is not there or is of another kind, or the download failed.
    """
    if text == "none":
        return None
    if text == "imagenet":
        return _imagenet()
    path = Path(text).expanduser()
    if path.suffix not in SUFFIXES:
        raise NetworkError(f"weights {text!r}: give imagenet, none, study:NAME, or a .h5, .weights.h5 or .keras file")
    if not path.is_file():
        raise NetworkError(f"no weights at {path}: give a file that is there, or imagenet or none")
    return path


def load_base_weights(network: keras.Model, path: Path) -> None:
    """Give the layers below the head of a ResNet-50 the weights of a file; the head stays as it is.

    Args:
        network: From `build_resnet`.
        path: From `resolve_weights`. The file that was read last is kept in memory (94 MB) for the next fit.

    Raises:
        NetworkError: The file holds no ResNet-50, or cannot be read.
    """
    status = path.stat()
    for name, arrays in _read_base(path, status.st_mtime_ns, status.st_size).items():
        network.get_layer(name).set_weights(arrays)


@lru_cache(maxsize=1)
def _read_base(path: Path, _mtime_ns: int, _size: int) -> BaseWeights:
    base = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(32, 32, 3))
    try:
        _fill(base, path)
    except (ValueError, OSError, KeyError, TypeError) as error:  # what Keras and HDF5 raise on files of another kind
        raise NetworkError(
            f"{path} holds no ResNet-50 without its head ({_one_line(error)}): give {IMAGENET_FILE}, "
            "or a ResNet-50 that bonehpo saved"
        ) from error
    return {layer.name: tuple(layer.get_weights()) for layer in base.layers if layer.weights}


def _fill(base: keras.Model, path: Path) -> None:
    if path.suffix == ".keras":
        source = load_network(path)
        for layer in base.layers:
            if layer.weights:
                layer.set_weights(source.get_layer(layer.name).get_weights())
    else:
        with warnings.catch_warnings(action="ignore"):  # files of older Keras versions lack groups that nothing needs
            base.load_weights(path)
    for layer in base.layers:
        if not all(np.isfinite(array).all() for array in layer.get_weights()):
            raise ValueError(f"NaN or infinite weights in {layer.name}")


def _one_line(error: BaseException, n_characters: int = 160) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= n_characters else f"{text[:n_characters]}…"


def _imagenet() -> Path:
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    folder = home / "models"
    try:
        folder.mkdir(parents=True, exist_ok=True)  # into another folder Keras would fall back silently
        with _quiet_download():
            found: Any = keras.utils.get_file(
                IMAGENET_FILE, IMAGENET_URL, cache_subdir="models", file_hash=IMAGENET_MD5, cache_dir=home
            )
    except Exception as error:  # Keras raises bare `Exception` when a download fails
        raise NetworkError(
            f"ImageNet weights are not to be had ({_one_line(error)}): put {IMAGENET_URL} into {folder}, "
            "or name that file with --weights FILE"
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


Mode = Literal["frozen", "fine-tuned", "scratch"]

HEAD = "softmax"
FEATURES = "features"
SMALLEST_SIDE = 32
"""Pixels a side: the base halves an image five times."""

BGR_MEANS = (103.939, 116.779, 123.68)
"""Mean intensities of ImageNet's blue, green and red channels, which Keras's "caffe" preprocessing subtracts."""

FEATURE_BATCH = 128


def build_resnet(*, side: int, dtype: str = "float32") -> keras.Model:
    """Build a ResNet-50 with two classes, with weights drawn at random.

    It takes 8-bit slices as they lie in the store, uint8 (batch, side, side, 1), and answers softmax probabilities, float32
    (batch, 2), of (pristine, failed). Three equal channels and the preprocessing of Keras's ImageNet weights are layers of
    the graph. The layers of the base keep Keras's names (`conv5_block3_out` is the last) and lie flat in the network.

    Args:
        side: Side of the images in pixels, at least 32.
        dtype: Keras dtype policy, "float32" or "mixed_bfloat16". Weights, pooling and softmax are float32 in both.

    Raises:
        NetworkError: The images are too small.
    """
    if side < SMALLEST_SIDE:
        raise NetworkError(
            f"ResNet-50 needs slices of {SMALLEST_SIDE} pixels a side or more, but got {side}: cut larger ones"
        )
    slices = keras.Input((side, side, 1), dtype="uint8", name="slices")
    intensity = keras.ops.cast(slices, "float32")
    channels = keras.layers.Concatenate(dtype="float32", name="channels")([intensity] * CHANNELS)
    # Swapping red and blue, the other half of this preprocessing, changes nothing in equal channels.
    x = keras.layers.Rescaling(1.0, [-mean for mean in BGR_MEANS], dtype="float32", name="preprocess")(channels)
    with _policy(dtype):
        base = keras.applications.ResNet50(
            include_top=False, weights=None, input_tensor=x, input_shape=(side, side, CHANNELS)
        )
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
    features = keras.layers.GlobalAveragePooling2D(dtype="float32", name=FEATURES)(base.output)
    softmax = keras.layers.Dense(2, activation="softmax", dtype="float32", name=HEAD)(features)
    return keras.Model(slices, softmax, name="resnet50")


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

    - `frozen`: the head alone, 4,098 parameters.
    - `fine-tuned`: also all convolutions. Batch normalisations keep their pretrained statistics, scales and shifts and run
      in inference mode; otherwise the first steps would destroy what was learnt [1]_. 23,485,570 parameters.
    - `scratch`: everything, 23,538,690 parameters.

    Args:
        network: From `build_resnet`.
        mode: One of the three.

    Raises:
        NetworkError: There is no such mode.

    References:
        .. [1] Keras, "Transfer learning & fine-tuning", https://keras.io/guides/transfer_learning.
    """
    if mode not in get_args(Mode):
        raise NetworkError(f"ResNet-50 is trained {', '.join(get_args(Mode))}, but got {mode!r}: choose one of these")
    for layer in network.layers:
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = layer.name == HEAD or mode == "scratch" or (mode == "fine-tuned" and not normalises)


def reset_resnet(network: keras.Model, seed: int) -> None:
    """Draw all weights anew. For pretrained ones call `load_base_weights` afterwards, which leaves the head as drawn.

    Args:
        network: From `build_resnet`.
        seed: The same seed gives the same weights, in every process.
    """
    for i, layer in enumerate(layer for layer in network.layers if layer.weights):
        draw_layer(layer, seed + 7919 * i)
    reseed(network, seed)


def base_features(network: keras.Model, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What the base makes of slices, averaged over the image: all that a head on a frozen base ever sees.

    Args:
        network: From `build_resnet`. The network that was asked last is kept ready for the next call.
        pixels: (image, y, x).

    Returns:
        (image, 2048).
    """
    base = _base(network)
    batches = [pixels[i : i + FEATURE_BATCH] for i in range(0, len(pixels), FEATURE_BATCH)]
    features = [np.asarray(base.predict_on_batch(batch[..., None])) for batch in batches]
    return np.concatenate([np.empty((0, base.output.shape[1]), np.float32), *features])


@lru_cache(maxsize=1)
def _base(network: keras.Model) -> keras.Model:
    return keras.Model(network.input, network.get_layer(FEATURES).output)


def take_head(network: keras.Model) -> keras.Model:
    """A copy of the head as a network of its own: float32 (batch, 2048) to probabilities (batch, 2).

    Trained on `base_features` and put back by `put_head`, it is what training the whole network `frozen` would give.
    """
    features = keras.Input((int(network.get_layer(FEATURES).output.shape[1]),), name=FEATURES)
    head = keras.Model(features, keras.layers.Dense(2, activation="softmax", dtype="float32", name=HEAD)(features))
    head.set_weights(network.get_layer(HEAD).get_weights())
    return head


def put_head(network: keras.Model, head: keras.Model) -> None:
    """Give the head of a network the weights of one that `take_head` made."""
    network.get_layer(HEAD).set_weights(head.get_weights())
