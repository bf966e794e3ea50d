"""Grey intensities from what image files hold: grey that runs from white to black, palettes, three equal colours.

Every image of a stack is asked, not the first alone: one coloured section among grey ones would be read as bone.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bonehpo.errors import ScanError

BoneIs = Literal["bright", "dark"]
"""Whether bone is brighter or darker than what is around it."""

INVERTED = "Saved with white as 0: intensities are inverted, so that bright is high."
EQUAL_COLOURS = "Saved in colours, of which all are equal: read as grey."
NO_TRANSPARENCY = "Saved with transparency, which is left out."
LOSSY = "JPEG leaves detail out: scans that were not all compressed alike can be told apart by that, and not by damage."
PALETTE = "Saved with a palette of greys, which is applied."


class Grey(NamedTuple):
    """One image of grey intensities.

    Attributes:
        pixels: Intensities, (y, x).
        remarks: How they were got where the file holds something else, one sentence each.
    """

    pixels: NDArray[Any]
    remarks: tuple[str, ...] = ()


def grey(samples: NDArray[Any], where: str) -> Grey:
    """Grey intensities of an image of one to four samples a pixel.

    Args:
        samples: (y, x) or (y, x, sample): grey, grey and transparency, colours, or colours and transparency.
        where: The file, for the refusal.

    Raises:
        ScanError: Its colours differ, or it is no image.
    """
    if samples.ndim == 2:
        return Grey(samples)
    if samples.ndim != 3 or samples.shape[2] not in (1, 2, 3, 4):
        raise ScanError(
            f"{where}: holds an array of shape {samples.shape}, not one single-channel image; save one a file"
        )
    first, n = samples[..., 0], samples.shape[2]
    remarks = [NO_TRANSPARENCY] if n in (2, 4) else []
    if n >= 3:
        refuse_colours(samples[..., :3], where)
        remarks.insert(0, EQUAL_COLOURS)
    return Grey(first, tuple(remarks))


def refuse_colours(samples: NDArray[Any], where: str) -> None:
    """Refuse colours that are no grey.

    Args:
        samples: Red, green and blue along the last axis.
        where: The file, for the refusal.

    Raises:
        ScanError: They differ somewhere.
    """
    if not (samples == samples[..., :1]).all():
        raise ScanError(f"{where}: is in colours, which are no intensities; save it in grey, as it was reconstructed")


def from_palette(indices: NDArray[Any], palette: NDArray[Any], where: str) -> Grey:
    """Intensities that a palette gives to indices.

    Args:
        indices: (y, x).
        palette: Red, green and blue of each index, (index, 3); 16-bit tables that hold 8 bits are read as 8.
        where: The file, for the refusal.

    Raises:
        ScanError: The palette is of colours, or shorter than the indices.
    """
    refuse_colours(palette, where)
    table = palette[:, 0]
    if table.dtype == np.uint16 and not (table % 257).any():
        table = (table // 257).astype(np.uint8)
    if indices.size and int(indices.max()) >= len(table):
        raise ScanError(f"{where}: its palette is shorter than its indices; save it in grey, without a palette")
    is_plain = len(table) <= 256 and np.array_equal(table, np.arange(len(table)))
    return Grey(table[indices], () if is_plain else (PALETTE,))


def inverted(values: NDArray[Any], n_bits: int) -> NDArray[Any]:
    """White-is-0 intensities turned round, within the bits that are used of each.

    >>> inverted(np.array([0, 4095], np.uint16), 12).tolist()
    [4095, 0]
    """
    if values.dtype.kind == "f":
        return -values
    if values.dtype.kind == "u":
        return (np.iinfo(values.dtype).max >> (8 * values.itemsize - n_bits)) - values
    return ~values


def as_bright(values: NDArray[Any], bone_is: BoneIs) -> NDArray[Any]:
    """Intensities of which bone has the high ones: as they are, or turned round within their type.

    >>> as_bright(np.array([0, 200], np.uint8), "dark").tolist()
    [255, 55]
    """
    return values if bone_is == "bright" else inverted(values, 8 * values.itemsize)
