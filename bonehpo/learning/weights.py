"""Weights for ResNet-50: drawn at random, downloaded by Keras, or read from a file.

No pretrained weights are shipped. A file gives arrays only: weights files run no code, and `.keras` files are opened in
Keras's safe mode.
"""

import hashlib
import os
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bonehpo.errors import NetworkError
from bonehpo.learning.backend import keras
from bonehpo.learning.networks import load_network

IMAGENET_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/resnet/{IMAGENET_FILE}"
IMAGENET_MD5 = "4d473c1dd8becc155b73f8504c6f6626"
"""Name, source and MD5 of the weights without a head, as `keras.applications.resnet` of Keras 3.15 has them."""

DOWNLOAD_TIMEOUT_S = 30
SUFFIXES = (".h5", ".keras")  # .weights.h5 among the first

BaseWeights = Mapping[str, tuple[npt.NDArray[np.float32], ...]]
"""Layer name to the arrays of that layer, in Keras's order; 106 layers below the head of a ResNet-50."""


def draw_layer(layer: keras.layers.Layer, seed: int) -> None:
    """Draw the weights of one layer anew, as Keras does by default.

    Kernels are Glorot-uniform, biases 0; a batch normalisation scales by 1, shifts by 0, and has seen mean 0, variance 1.

    Args:
        layer: Any layer with weights; trainable or not.
        seed: The same seed gives the same weights, in every process.
    """
    for variable in layer.weights:
        if len(variable.shape) > 1:
            variable.assign(keras.initializers.GlorotUniform(seed=seed % 2**31)(variable.shape))
        elif variable.name in ("gamma", "moving_variance"):
            variable.assign(keras.ops.ones(variable.shape))
        else:
            variable.assign(keras.ops.zeros(variable.shape))


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


def weights_id(path: Path) -> str:
    """SHA-256 of a weights file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_base_weights(network: keras.Model, path: Path) -> None:
    """Give the layers below the head of a ResNet-50 the weights of a file; the head stays as it is.

    Args:
        network: From `build_resnet`.
        path: From `resolve_weights`. The file that was read last is kept in memory (94 MB) for the next fit.

    Raises:
        NetworkError: The file holds no ResNet-50, or cannot be read.
    """
    facts = path.stat()
    for name, arrays in _read_base(path, facts.st_mtime_ns, facts.st_size).items():
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
