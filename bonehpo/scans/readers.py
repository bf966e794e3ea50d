"""Volumes in the file formats of a micro-CT lab, opened by their headers and read by the box.

A `Volume` knows its shape and its intensity type before a voxel is read, and reads any box of them in the type of the
file, so that the centre of a huge scan costs no more memory than the centre.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bonehpo.errors import ScanError
from bonehpo.scans import tiffs
from bonehpo.scans.formats import Header, format_of
from bonehpo.scans.sections import Box, Shape

FOREIGN_ERRORS = (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError)
"""Errors that libraries raise at a file that they cannot read."""

INTENSITY_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One volume on disk.

    Attributes:
        source: The path that it was opened by.
        shape: Voxels along (z, y, x).
        dtype: Type of the intensities, one of `INTENSITY_TYPES`, in the byte order of this machine.
        read: Reads one box of voxels, (z, y, x), into memory.
        caution: What the user should know of the file, in one sentence; empty where there is nothing.
    """

    source: str
    shape: Shape
    dtype: np.dtype[Any]
    read: Callable[[Box], NDArray[Any]]
    caution: str = ""


def open_volume(source: str) -> Volume:
    """Open a volume by its header.

    Args:
        source: A file or folder of one of `formats.FORMATS`; behind `::` what is to be read of it, as in
            `FILE.h5::/dataset`.

    Returns:
        The volume; no intensity has been read yet.

    Raises:
        ScanError: The file is missing, of another format, damaged, or holds no volume.
    """
    name, _, inner = source.partition("::")
    path = Path(name)
    if not path.exists():
        raise ScanError(f"{name}: no such file or folder; correct the path of the scan")
    try:
        header = _open_by_header(path, inner)
    except FOREIGN_ERRORS as error:
        raise ScanError(f"{source}: cannot be read as a volume ({one_line(error)}); replace the file") from error
    return Volume(
        source=source,
        shape=_checked_shape(source, header),
        dtype=header.dtype.newbyteorder("="),
        read=_guarded(source, header.read),
        caution=header.caution,
    )


def read_image(path: str) -> NDArray[Any]:
    """Read one 2-D image, (y, x), in the type of its file.

    Args:
        path: A single-page TIFF or a 2-D `.npy`.

    Raises:
        ScanError: The file is missing, damaged, or holds no single-channel 2-D image.
    """
    if not Path(path).is_file():
        raise ScanError(f"{path}: no such image; correct the path of the slice")
    try:
        image = np.load(path) if path.lower().endswith(".npy") else tiffs.read_page(Path(path))
    except FOREIGN_ERRORS as error:
        raise ScanError(f"{path}: cannot be read as an image ({one_line(error)}); replace the file") from error
    if image.ndim != 2 or str(image.dtype.newbyteorder("=")) not in INTENSITY_TYPES:
        raise ScanError(
            f"{path}: holds {image.dtype} {image.shape}, not one single-channel image; give a file for each slice"
        )
    return np.ascontiguousarray(image, image.dtype.newbyteorder("="))


def one_line(error: BaseException) -> str:
    """The message of an error of another library, cut to one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _guarded(source: str, read: Callable[[Box], NDArray[Any]]) -> Callable[[Box], NDArray[Any]]:
    def read_box(box: Box) -> NDArray[Any]:
        try:
            block = read(box)
        except FOREIGN_ERRORS as error:
            raise ScanError(f"{source}: damaged, cannot be read ({one_line(error)}); replace the file") from error
        return np.ascontiguousarray(block, block.dtype.newbyteorder("="))

    return read_box


def _open_by_header(path: Path, inner: str) -> Header:
    known = format_of(path)
    try:
        return known.open(path, inner)
    except ImportError as error:
        raise ScanError(f"{path}: {known.name} needs {error.name}; pip install 'bonehpo[{known.extra}]'") from error


def _checked_shape(source: str, header: Header) -> Shape:
    shape, dtype = header.shape, header.dtype
    if len(shape) != 3 or min(shape) < 2:
        raise ScanError(
            f"{source}: holds an array of shape {tuple(shape)}, not a volume; give intensities over (z, y, x)"
        )
    if str(dtype.newbyteorder("=")) not in INTENSITY_TYPES:
        raise ScanError(f"{source}: holds {dtype}; save it with 8, 16 or 32 bit ({', '.join(INTENSITY_TYPES)})")
    z, y, x = shape
    return z, y, x
