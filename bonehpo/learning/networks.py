"""The paper's family of networks, and how one of them is built, described, saved and loaded.

A network takes 8-bit slices as they lie in the store, uint8 (batch, side, side, 1), and answers softmax probabilities,
float32 (batch, class), of (pristine, failed) for damage; or a number, float32 (batch, 1). Standardising the intensities and
the three equal channels of the published networks are layers of the graph, so that nothing has to be done to an image
before any network of bonehpo sees it.

References:
    Shen, Peña Fernández, Tozzi, Buehler, J. Mech. Behav. Biomed. Mater. 123 (2021) 104761, §2.2 and §3.5.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bonehpo.errors import NetworkError
from bonehpo.files import write_whole
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.architecture import CHANNELS, MOMENTUM, check_architecture, dense_units_of, filters_of, groups_of
from bonehpo.learning.backend import keras
from bonehpo.scans.intensity import intensity_moments
from bonehpo.task import DAMAGE, Task

STANDARDISE = "standardise"

RELU = "relu_"
"""Begins the names of the layers that follow a normalisation."""

SEEDS = "seed_generator_state"
"""Keras's name of the variable that holds the seed of a random layer, and how often it was asked."""

PRIME = 7919
"""Distance of the seeds of two variables of one network."""


class LayerRow(NamedTuple):
    """One line of the layer table: name, kind, output shape without the batch, number of trainable parameters."""

    name: str
    kind: str
    shape: tuple[int, ...]
    n_parameters: int


def build_network(choice: Hyperparameters, *, side: int, dtype: str = "float32", task: Task = DAMAGE) -> keras.Model:
    """Build one network of the family, with weights drawn at random.

    Each block is a `same` convolution with ReLU and a 2 × 2 max-pool; block i has 32·2^i filters; the kernel size applies
    to the first convolution, the others are 3 × 3. The first dense layer has twice the last number of filters. At
    200 × 200 pixels, (layers=4, kernel=5) and (layers=5, kernel=3) have the published 19,265,858 and 20,446,018 parameters.

    Beyond the paper, a normalisation stands between each convolution and its ReLU, over the images of the batch [1]_ or over
    groups of channels of each image [2]_, and a dropout [3]_ before each of the two dense layers.

    Args:
        choice: Of the network.
        side: Side of the images in pixels.
        dtype: Keras dtype policy, "float32" or "mixed_bfloat16". Weights and outputs are float32 in both.
        task: Says what the last layer is.

    Raises:
        NetworkError: It cannot be built for such images.

    References:
        .. [1] Ioffe and Szegedy, Batch normalization, ICML 2015, arXiv:1502.03167.
        .. [2] Wu and He, Group normalization, ECCV 2018, doi:10.1007/978-3-030-01261-8_1.
        .. [3] Srivastava et al., Dropout, J. Mach. Learn. Res. 15 (2014) 1929.
    """
    check_architecture(choice, side)
    policy = keras.DTypePolicy(dtype)
    slices = keras.Input((side, side, 1), dtype="uint8", name="slices")
    # In inference mode this layer is (intensity - mean) / sd with both in variables, which `standardise` sets.
    x = keras.layers.BatchNormalization(center=False, scale=False, trainable=False, dtype="float32", name=STANDARDISE)(
        keras.ops.cast(slices, "float32")
    )
    x = keras.layers.Concatenate(dtype=policy, name="channels")([x] * CHANNELS)
    for i in range(choice.layers):
        x = _convolution(choice, i, policy)(x)
        x = keras.layers.MaxPooling2D(2, dtype=policy, name=f"pool_{i + 1}")(x)
    x = keras.layers.Flatten(dtype=policy, name="flatten")(x)
    x = _dropout(choice, "dropout_1", policy)(x)
    x = keras.layers.Dense(dense_units_of(choice), activation="relu", dtype=policy, name="dense")(x)
    x = _dropout(choice, "dropout_2", policy)(x)
    return keras.Model(slices, output_layer(task)(x), name=f"cnn_{choice.layers}x{choice.kernel}")


def _convolution(choice: Hyperparameters, block: int, policy: keras.DTypePolicy) -> Callable[[Any], Any]:
    """Convolution, normalisation if any, and ReLU of a block, counted from 0."""
    filters, number = filters_of(block, choice.filters), block + 1
    plain = choice.normalisation == "none"
    convolution = keras.layers.Conv2D(
        filters,
        choice.kernel if block == 0 else 3,
        padding="same",
        activation="relu" if plain else None,
        dtype=policy,
        name=f"convolution_{number}",
    )
    if plain:
        return convolution
    name = f"normalisation_{number}"
    normalisation = (
        keras.layers.BatchNormalization(momentum=MOMENTUM, dtype=policy, name=name)
        if choice.normalisation == "batch"
        else keras.layers.GroupNormalization(groups_of(filters), dtype=policy, name=name)
    )
    relu = keras.layers.Activation("relu", dtype=policy, name=f"{RELU}{number}")
    return lambda x: relu(normalisation(convolution(x)))


def _dropout(choice: Hyperparameters, name: str, policy: keras.DTypePolicy) -> Callable[[Any], Any]:
    return keras.layers.Dropout(choice.dropout, dtype=policy, name=name) if choice.dropout else lambda x: x


def output_layer(task: Task) -> keras.layers.Layer:
    """The last layer of every network of a task, in float32."""
    head = task.head
    return keras.layers.Dense(head.units, activation=head.activation, dtype="float32", name=head.layer)


def standardise(network: keras.Model, images: npt.NDArray[np.uint8], train: npt.NDArray[np.int64]) -> None:
    """Let a network subtract the mean of its training images from every pixel, and divide by their standard deviation.

    Both are fixed before training and stay with the network. Intensities from 0 to 1 instead leave small data sets at
    chance: with 252 training images and 20 epochs the phantoms gave 0.50 (CB) and 0.54 (TB), standardised 0.89 and 0.84.

    Args:
        network: A network of the family.
        images: (image, y, x).
        train: Indices of those that it trains on.
    """
    moments = intensity_moments(images, train)
    layer = network.get_layer(STANDARDISE)
    layer.moving_mean.assign([moments.mean])
    layer.moving_variance.assign([moments.variance])


def layers_of(choice: Hyperparameters, side: int) -> tuple[LayerRow, ...]:
    """The layers of a network of the family, from input to output.

    Args:
        choice: Of the network.
        side: Side of the images in pixels.

    Raises:
        NetworkError: It cannot be built.
    """
    check_architecture(choice, side)
    return layer_table(build_network(choice, side=side))


def layer_table(network: keras.Model) -> tuple[LayerRow, ...]:
    """The layers of a network from input to output."""
    return tuple(
        LayerRow(
            name=layer.name,
            kind=type(layer).__name__,
            shape=tuple(int(n) for n in layer.output.shape[1:]),
            n_parameters=sum(math.prod(variable.shape) for variable in layer.trainable_weights),
        )
        for layer in network.layers
    )


def reset_weights(network: keras.Model, seed: int) -> None:
    """Draw all weights anew, and forget all else that training leaves in a network but the state of its optimiser.

    Args:
        network: A network of the family.
        seed: The same seed gives the same weights, and the same dropouts in the same order, in every process.
    """
    for i, variable in enumerate(network.trainable_variables):
        draw(variable, seed + PRIME * i)
    for variable in network.non_trainable_weights:  # moving statistics
        draw(variable, seed)
    reseed(network, seed)


def draw(variable: keras.Variable, seed: int) -> None:
    """Give a variable the value that Keras gives it in a new layer.

    Kernels are Glorot-uniform, biases 0; a normalisation scales by 1, shifts by 0, and has seen mean 0, variance 1.

    Args:
        variable: Of a layer.
        seed: Of a kernel.
    """
    if len(variable.shape) > 1:
        variable.assign(keras.initializers.GlorotUniform(seed=seed % 2**31)(variable.shape))
    elif variable.name in ("gamma", "moving_variance"):
        variable.assign(keras.ops.ones(variable.shape))
    else:
        variable.assign(keras.ops.zeros(variable.shape))


def reseed(network: keras.Model, seed: int) -> None:
    """Begin all random sequences of a network anew: of its dropouts, whose seeds would go on from one fit to the next.

    Args:
        network: Any network.
        seed: The same seed gives the same sequences, in every process.
    """
    for i, variable in enumerate(v for v in network.variables if v.name == SEEDS):
        variable.assign([(seed + PRIME * (i + 1)) % 2**31, 0])


def save_network(network: keras.Model, path: Path) -> None:
    """Write architecture and weights to a `.keras` file, without optimiser state, whole or not at all.

    Raises:
        StudyError: The file cannot be written.
    """
    bare = keras.Model.from_config(network.get_config())
    bare.set_weights(network.get_weights())
    write_whole(path, bare.save)


def save_calibrated(network: keras.Model, temperature: float, path: Path) -> None:
    """Write a network whose softmax outputs are those of logits divided by a temperature; see `save_network`.

    Args:
        network: With a softmax layer at its end; left as it is.
        temperature: See `analysis.calibration`.
        path: Where to write it.

    Raises:
        StudyError: The file cannot be written.
    """
    mended = keras.Model.from_config(network.get_config())
    mended.set_weights(network.get_weights())
    mended.layers[-1].set_weights([weights / temperature for weights in mended.layers[-1].get_weights()])
    save_network(mended, path)


def load_network(path: Path) -> keras.Model:
    """Read a network that `save_network` wrote.

    Raises:
        NetworkError: There is none, or it cannot be read.
    """
    if not path.exists():
        raise NetworkError(f"no network at {path}: run `bonehpo search` to fit the optimum again")
    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, OSError) as error:
        raise NetworkError(f"{path} is not a network that Keras can read: {error}") from error
