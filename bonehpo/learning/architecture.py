"""The paper's family of networks as arithmetic: what can be built, its parameters and its operations. No framework here.

References:
    Shen, Peña Fernández, Tozzi, Buehler, J. Mech. Behav. Biomed. Mater. 123 (2021) 104761, §2.2 and §3.5.
"""

import math

from bonehpo.errors import NetworkError
from bonehpo.hyperparameters import HYPERPARAMETERS, Hyperparameters

CHANNELS = 3
"""Equal channels that an 8-bit slice becomes."""

MOMENTUM = 0.9
"""Of the moving statistics of batch normalisation. Keras's 0.99 still remembers the start after hundreds of steps.

A ResNet-50 was trained from scratch on the trabecular phantom (216 slices of 64 pixels, batch 20, loss while training 0.09
after 176 steps). The training slices themselves were then told apart with accuracy 0.50 at 0.99, 0.98 at 0.95, 0.99 at 0.9
and 0.97 at 0.8; after 44 steps 0.53, 0.50, 0.88 and 0.92.
"""


GROUPS = 8
"""Groups of channels of a group normalisation, or the most that divide the filters: with 32 filters four channels each."""


def filters_of(block: int, first: int = 32) -> int:
    """Number of filters of a convolution block, counted from 0: by default 32, 64, 128 and so on."""
    return int(first * 2**block)


def dense_units_of(choice: Hyperparameters) -> int:
    """Number of units of the first dense layer: unless it is chosen, twice the filters of the last convolution."""
    return choice.dense_units or 2 * filters_of(choice.layers - 1, choice.filters)


def groups_of(filters: int) -> int:
    """Number of groups of channels that a group normalisation of so many filters has."""
    return math.gcd(filters, GROUPS)


def n_weighted_layers(choice: Hyperparameters) -> int:
    """Number of layers that have weights: convolutions, their normalisations, and two dense layers."""
    return choice.layers * (1 if choice.normalisation == "none" else 2) + 2


def check_architecture(choice: Hyperparameters, side: int) -> None:
    """Refuse what cannot be built, before anything is trained.

    Args:
        choice: Of a network of the family.
        side: Side of the images in pixels.

    Raises:
        NetworkError: A value cannot be meant, or there are so many layers that nothing is left of the image.
    """
    for entry in HYPERPARAMETERS:
        value = getattr(choice, entry.name)
        if entry.changes == "network" and entry.complaint(value):
            raise NetworkError(f"{entry.label} {entry.complaint(value)}, but got {value}")
    if side >> choice.layers < 1:
        most = max(side.bit_length() - 1, 0)
        raise NetworkError(
            f"layers={choice.layers} pools images of {side} × {side} pixels to nothing: use at most {most} layers, "
            "or larger slices"
        )


def count_parameters(choice: Hyperparameters, side: int) -> int:
    """Number of trainable parameters of a network of the family, by arithmetic alone.

    Args:
        choice: Of the network.
        side: Side of the images in pixels.

    Raises:
        NetworkError: See `check_architecture`.
    """
    check_architecture(choice, side)
    total, channels, size = 0, CHANNELS, choice.kernel
    for i in range(choice.layers):
        filters = filters_of(i, choice.filters)
        total += (size * size * channels + 1) * filters + (0 if choice.normalisation == "none" else 2 * filters)
        channels, size = filters, 3
    dense = dense_units_of(choice)
    return total + ((side >> choice.layers) ** 2 * channels + 1) * dense + (dense + 1) * 2


def count_operations(choice: Hyperparameters, side: int) -> int:
    """Number of multiply-accumulate operations of one image's forward pass; training costs about three times as many.

    Args:
        choice: Of the network. Normalisations are not counted.
        side: Side of the images in pixels.

    Raises:
        NetworkError: See `check_architecture`.
    """
    check_architecture(choice, side)
    total, channels, size = 0, CHANNELS, choice.kernel
    for i in range(choice.layers):
        filters = filters_of(i, choice.filters)
        total += (side >> i) ** 2 * size * size * channels * filters
        channels, size = filters, 3
    return total + (side >> choice.layers) ** 2 * channels * dense_units_of(choice)
