"""Volumes in the file formats of a micro-CT lab, opened by their headers and read by the box.

A `Volume` knows its shape and its intensity type before a voxel is read, and reads any box of them in the type of the
file, so that the centre of a huge scan costs no more memory than the centre.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bonehpo.errors import BonehpoError, ScanError
from bonehpo.scans.formats import Header, format_of
from bonehpo.scans.images import KINDS, load_image
from bonehpo.scans.limits import refuse_large
from bonehpo.scans.photometry import BoneIs, as_bright
from bonehpo.scans.sections import Box, Shape
from bonehpo.scans.table import LARGEST_UM, SMALLEST_UM

Read = TypeVar("Read")

INTENSITY_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One volume on disk.

    Attributes:
        source: The path that it was opened by.
        shape: Voxels along (z, y, x).
        dtype: Type of the intensities, one of `INTENSITY_TYPES`, in the byte order of this machine.
        read: Reads one box of voxels, (z, y, x), into memory.
        remarks: What the user should know of the file, one sentence each.
        voxel_um: Side of a voxel in µm, if the file tells it.
    """

    source: str
    shape: Shape
    dtype: np.dtype[Any]
    read: Callable[[Box], NDArray[Any]]
    remarks: tuple[str, ...] = ()
    voxel_um: float | None = None


def open_volume(source: str, bone_is: BoneIs = "bright") -> Volume:
    """Open a volume by its header.

    Args:
        source: A file or folder of one of `formats.FORMATS`; behind `::` what is to be read of it, as in
            `FILE.h5::/dataset`.
        bone_is: "dark" turns intensities round as they are read.

    Returns:
        The volume; no intensity has been read yet.

    Raises:
        ScanError: The file is missing, of another format, damaged, or holds no volume.
    """
    name, _, inner = source.partition("::")
    path = Path(name)
    if not path.exists():
        raise ScanError(f"{name}: no such file or folder; correct the path of the scan")
    if not (path.is_file() or path.is_dir()):
        raise ScanError(f"{name}: neither a file nor a folder; correct the path of the scan")
    header = _named(source, lambda: _open_by_header(path, inner), "cannot be read as a volume")
    shape, dtype = _checked_shape(source, header), header.dtype.newbyteorder("=")
    voxel_um, remarks = _voxel(header)
    return Volume(
        source=source,
        shape=shape,
        dtype=dtype,
        read=_guarded(source, header, dtype, bone_is),
        remarks=(*header.remarks, *remarks),
        voxel_um=voxel_um,
    )


def read_image(path: str, bone_is: BoneIs = "bright") -> NDArray[Any]:
    """Read one 2-D image, (y, x), in the type of its file.

    Args:
        path: A TIFF of one page, a PNG, BMP or JPEG, or a 2-D `.npy`.
        bone_is: "dark" turns intensities round.

    Raises:
        ScanError: The file is missing, damaged, or holds no single-channel 2-D image.
    """
    if not Path(path).is_file():
        raise ScanError(f"{path}: no such image; correct the path of the slice")
    if Path(path).suffix.lower() not in (*KINDS, ".npy"):
        raise ScanError(f"{path}: format not known; give images of {' '.join((*KINDS, '.npy'))}")
    image = _named(path, lambda: load_image(Path(path)).pixels, "cannot be read as an image")
    if image.ndim != 2 or str(image.dtype.newbyteorder("=")) not in INTENSITY_TYPES:
        raise ScanError(
            f"{path}: holds {image.dtype} {image.shape}, not one single-channel image; give a file for each slice"
        )
    return as_bright(np.ascontiguousarray(image, image.dtype.newbyteorder("=")), bone_is)


def one_line(error: BaseException) -> str:
    """The message of an error of another library, cut to one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _named(source: str, read: Callable[[], Read], what: str) -> Read:
    """Let a library read; whatever it raises at a file that it cannot read becomes one line."""
    try:
        return read()
    except BonehpoError:
        raise
    except Exception as error:
        raise ScanError(f"{source}: {what} ({one_line(error)}); replace the file") from error


def _guarded(source: str, header: Header, dtype: np.dtype[Any], bone_is: BoneIs) -> Callable[[Box], NDArray[Any]]:
    """Reads a box along the three axes that a volume has; others are of length 1."""

    def read_box(box: Box) -> NDArray[Any]:
        extents = [part.stop - part.start for part in box]
        refuse_large(source, extents, dtype)
        ranges = iter(box)
        whole = tuple(slice(0, 1) if extent == 1 else next(ranges) for extent in header.shape)
        block = _named(source, lambda: header.read(whole), "damaged, cannot be read")
        if block.size != np.prod(extents):
            raise ScanError(f"{source}: {block.shape} voxels were read in place of {tuple(extents)}; replace the file")
        return as_bright(np.ascontiguousarray(block.reshape(extents), dtype), bone_is)

    return read_box


def _open_by_header(path: Path, inner: str) -> Header:
    known = format_of(path)
    if path.is_file() and path.stat().st_size == 0:
        raise ScanError(f"{path}: is empty; copy it again")
    if inner and "::" not in known.path:
        raise ScanError(f"{path}::{inner}: a {known.name} holds one volume; leave out ::{inner}")
    try:
        return known.open(path, inner)
    except ImportError as error:
        raise ScanError(f"{path}: {known.name} needs {error.name}; pip install 'bonehpo[{known.extra}]'") from error


def _checked_shape(source: str, header: Header) -> Shape:
    shape, dtype = [extent for extent in header.shape if extent != 1], header.dtype
    if len(shape) != 3 or min(shape) < 2:
        raise ScanError(
            f"{source}: holds an array of shape {tuple(header.shape)}, not a volume; give intensities over (z, y, x)"
        )
    if str(dtype.newbyteorder("=")) not in INTENSITY_TYPES:
        raise ScanError(f"{source}: holds {dtype}; save it with 8, 16 or 32 bit ({', '.join(INTENSITY_TYPES)})")
    z, y, x = shape
    return z, y, x


def _voxel(header: Header) -> tuple[float | None, list[str]]:
    """Side of a voxel in µm, if the file tells one that can be meant, and what the user should know of it."""
    sides = header.spacing_um
    if sides is None or min(sides) <= 0:
        return None, []
    told = " × ".join(f"{side:g}" for side in sides)
    if not all(SMALLEST_UM <= side <= LARGEST_UM for side in sides):
        return None, [f"The file tells voxels of {told} µm, which no micro-CT has: its unit is not taken for mm."]
    if max(sides) > 1.005 * min(sides):
        return None, [
            f"The file tells voxels of {told} µm, along z, y, x: no cubes. Sections across them are out of scale; resample "
            "the scan to cubes."
        ]
    return float(np.mean(sides)), []
