"""The paper's family of networks as arithmetic: what can be built, its parameters and its operations. No framework here.

References:
    Shen, Peña Fernández, Tozzi, Buehler, J. Mech. Behav. Biomed. Mater. 123 (2021) 104761, §2.2 and §3.5.
"""

from bonehpo.errors import NetworkError

CHANNELS = 3
"""Equal channels that an 8-bit slice becomes."""


def filters_of(block: int) -> int:
    """Filters of a convolution block, counted from 0: 32, 64, 128 and so on."""
    return int(32 * 2**block)


def check_architecture(layers: int, kernel: int, side: int) -> None:
    """Refuse what cannot be built, before anything is trained.

    Args:
        layers: Convolution blocks, each of which halves the image.
        kernel: Side of the first kernel in pixels.
        side: Side of the images in pixels.

    Raises:
        NetworkError: No layer, no kernel, or so many layers that nothing is left of the image.
    """
    if layers < 1:
        raise NetworkError(f"layers must be at least 1, but got {layers}")
    if kernel < 1:
        raise NetworkError(f"kernel must be at least 1 pixel, but got {kernel}")
    if side >> layers < 1:
        most = max(side.bit_length() - 1, 0)
        raise NetworkError(
            f"layers={layers} pools images of {side} × {side} pixels to nothing: use at most {most} layers, or larger slices"
        )


def count_parameters(layers: int, kernel: int, side: int) -> int:
    """Trainable parameters of a network of the family, by arithmetic alone.

    Raises:
        NetworkError: See `check_architecture`.
    """
    check_architecture(layers, kernel, side)
    total, channels, size = 0, CHANNELS, kernel
    for i in range(layers):
        total += (size * size * channels + 1) * filters_of(i)
        channels, size = filters_of(i), 3
    dense = 2 * channels
    return total + ((side >> layers) ** 2 * channels + 1) * dense + (dense + 1) * 2


def count_operations(layers: int, kernel: int, side: int) -> int:
    """Multiply-accumulate operations of one image's forward pass; training costs about three times as many.

    Raises:
        NetworkError: See `check_architecture`.
    """
    check_architecture(layers, kernel, side)
    total, channels, size = 0, CHANNELS, kernel
    for i in range(layers):
        total += (side >> i) ** 2 * size * size * channels * filters_of(i)
        channels, size = filters_of(i), 3
    return total + (side >> layers) ** 2 * channels * 2 * channels
