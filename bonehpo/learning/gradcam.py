"""Grad-CAM: where in a slice a network saw what it answered; and networks made worse on purpose, to test such maps.

References:
    Selvaraju et al., Grad-CAM, ICCV 2017, doi:10.1109/ICCV.2017.74.
    Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018, arXiv:1810.03292.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bonehpo.errors import NetworkError
from bonehpo.learning.backbones import BACKBONES
from bonehpo.learning.backend import keras
from bonehpo.learning.networks import RELU, STANDARDISE
from bonehpo.learning.transfer import draw_layer

SMALLEST_MAP = 7
"""Pixels a side of the coarsest map worth a look: what the last convolution of a ResNet-50 has at 224 pixels."""

BATCH = 32


class _Parts(NamedTuple):
    """A network cut in three: slices to activations, activations to the features of the last layer, and that layer."""

    front: keras.Model
    middle: keras.Model
    last: keras.layers.Dense


def grad_cam(
    network: keras.Model, pixels: npt.NDArray[np.uint8], *, target: int | None = None, layer: str | None = None
) -> npt.NDArray[np.float32]:
    """Evidence of each place of each slice for a class, or for a larger strain.

    The score is that of the class before the softmax; the answer itself for a network with one linear output. Channels of
    a convolution are weighted with the mean gradient of the score, summed, and cut at 0 from below [1]_; the map is then
    enlarged to the slice, bilinearly. Computed in float32 whatever the network was trained in.

    Args:
        network: A network of the family or a backbone. It is left as it is.
        pixels: (image, y, x).
        target: The class (0 pristine, 1 failed); None for the class that the network chooses, image by image.
        layer: Whose output is looked at; None for `default_layer`.

    Returns:
        (image, y, x), not negative, in units of the score. A map may be 0 everywhere: then nothing spoke for the class.

    Raises:
        NetworkError: There is no such class or layer, or no gradient under this backend.

    References:
        .. [1] Selvaraju et al., ICCV 2017, equations 1 and 2.
    """
    parts = _cut(as_float32(network), layer or default_layer(network))
    _check_target(target, parts.last.units)
    maps = [_maps(parts, pixels[start : start + BATCH], target) for start in range(0, len(pixels), BATCH)]
    return np.concatenate([np.empty((0, *pixels.shape[1:]), np.float32), *maps])


def normalise_maps(maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale each map (image, y, x) so that its largest value is 1. A map that is 0 everywhere stays so."""
    largest = maps.max(axis=(1, 2), keepdims=True, initial=0)
    return np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)


def default_layer(network: keras.Model) -> str:
    """The deepest convolution, or `Backbone.maps`, whose output has 7 pixels a side or more; after its ReLU.

    That is the last one on the paper's slices of 200 pixels, but not on small ones: the last convolution of six makes
    2 × 2 pixels of 64 × 64, and such a map shows nothing. Where all maps are smaller, the largest.

    Args:
        network: A network of the family or a backbone, which is known by its name.

    Raises:
        NetworkError: It has no convolution.
    """
    outputs = _map_layers(network)
    if not outputs:
        raise NetworkError(f"{network.name} has no convolution that Grad-CAM could look at: give a network of bonehpo")
    fine = [layer for layer in outputs if min(layer.output.shape[1:3]) >= SMALLEST_MAP]
    return str(fine[-1].name if fine else outputs[0].name)


def _map_layers(network: keras.Model) -> list[keras.layers.Layer]:
    """The layers whose output can be looked at, from the slice on."""
    backbone = BACKBONES.get(network.name)
    if backbone is not None:
        return [layer for layer in network.layers if re.fullmatch(backbone.maps, layer.name)]
    return [layer for layer in network.layers if _ends_convolution(layer)]


def _ends_convolution(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, keras.layers.Conv2D):
        return layer.activation is keras.activations.relu
    return layer.name.startswith(RELU)  # after a normalisation


def as_float32(network: keras.Model) -> keras.Model:
    """A copy that computes in float32, with the same weights.

    Args:
        network: Of any dtype policy, "mixed_bfloat16" for one. It is left as it is.
    """

    def in_float32(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    copy = keras.models.clone_model(network, clone_function=in_float32)
    copy.set_weights(network.get_weights())
    return copy


def _cut(network: keras.Model, name: str) -> _Parts:
    last = network.layers[-1]
    if not isinstance(last, keras.layers.Dense):
        raise NetworkError(f"{network.name} ends in {last.name}, which is no dense layer: give a network of bonehpo")
    known = ", ".join(layer.name for layer in _map_layers(network))
    if name not in {layer.name for layer in network.layers}:
        raise NetworkError(f"{network.name} has no layer {name!r}: take one of {known}")
    activations = network.get_layer(name).output
    if len(activations.shape) != 4:
        raise NetworkError(f"the output of {name} is no map: take one of {known}")
    try:
        middle = keras.Model(activations, last.input)
    except ValueError as error:
        raise NetworkError(
            f"{network.name} cannot be cut after {name}, which a shortcut bypasses: take one of {known}"
        ) from error
    return _Parts(keras.Model(network.input, activations), middle, last)


def _check_target(target: int | None, n_outputs: int) -> None:
    if target is None:
        return
    if n_outputs == 1:
        raise NetworkError(f"the network answers one number and has no class {target}: leave the target out")
    if not 0 <= target < n_outputs:
        raise NetworkError(f"there is no class {target}: take one from 0 to {n_outputs - 1}")


def _maps(parts: _Parts, pixels: npt.NDArray[np.uint8], target: int | None) -> npt.NDArray[np.float32]:
    activations = parts.front(pixels[..., None], training=False)
    gradients = _gradient(lambda a: _scores(parts, a, target), activations)
    weights = keras.ops.mean(gradients, axis=(1, 2), keepdims=True)
    coarse = keras.ops.relu(keras.ops.sum(weights * activations, axis=3, keepdims=True))
    maps = keras.ops.image.resize(coarse, pixels.shape[1:], interpolation="bilinear")
    return np.asarray(keras.ops.convert_to_numpy(maps)[..., 0], np.float32)


def _scores(parts: _Parts, activations: Any, target: int | None) -> Any:
    """The score of each image (image,): what the last layer computes before its activation, for the class asked for."""
    features = parts.middle(activations, training=False)
    outputs = keras.ops.matmul(features, parts.last.kernel) + parts.last.bias
    chosen = keras.ops.argmax(outputs, axis=1) if target is None else np.full(len(outputs), target)
    return keras.ops.sum(outputs * keras.ops.one_hot(chosen, parts.last.units), axis=1)


def _gradient(scores: Callable[[Any], Any], activations: Any) -> Any:
    """The gradient of the scores (image,) by the activations, of the same shape: all that depends on Keras's backend."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        with tensorflow.GradientTape() as tape:
            tape.watch(activations)
            total = keras.ops.sum(scores(activations))
        return tape.gradient(total, activations)
    if keras.backend.backend() == "jax":
        import jax  # type: ignore[import-not-found,unused-ignore]

        return jax.grad(lambda a: keras.ops.sum(scores(a)))(activations)
    raise NetworkError(
        f"Grad-CAM has no gradient under KERAS_BACKEND={keras.backend.backend()}: set it to tensorflow; "
        "networks that were saved under another backend open there"
    )


def weighted_layers(network: keras.Model) -> tuple[str, ...]:
    """Names of the layers whose weights are learnt, from the output to the input: the order of `randomise_top`."""
    return tuple(layer.name for layer in reversed(network.layers) if layer.weights and layer.name != STANDARDISE)


def randomise_top(network: keras.Model, n_layers: int, seed: int) -> keras.Model:
    """A copy whose last layers have random weights: a map that stays the same does not show what was learnt [1]_.

    Args:
        network: A network of the family or a backbone. It is left as it is.
        n_layers: How many of `weighted_layers` are drawn anew, from the output on; 0 for a plain copy. More layers draw the
            same weights again where fewer did, so that copies of one seed differ by the added layers alone.
        seed: The same seed gives the same weights.

    Raises:
        NetworkError: The network has fewer layers.

    References:
        .. [1] Adebayo et al., NeurIPS 2018, §3.1, "cascading randomization".
    """
    names = weighted_layers(network)
    if not 0 <= n_layers <= len(names):
        raise NetworkError(f"{network.name} has {len(names)} layers with weights, but {n_layers} were to be randomised")
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    for i, name in enumerate(names[:n_layers]):
        draw_layer(copy.get_layer(name), seed + 7919 * i)
    return copy
