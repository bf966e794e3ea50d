"""Folders of DICOM images, by SimpleITK: ordered by their positions, and looked over before its library sets up memory."""

import functools
import locale
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from bonehpo.errors import ScanError
from bonehpo.scans.medical import ItkVolume
from bonehpo.scans.order import in_order
from bonehpo.scans.sections import Box

Function = TypeVar("Function", bound=Callable[..., Any])


def _with_own_locale(function: Function) -> Function:
    """Keep the locale of this process: GDCM, which reads DICOM, sets it to "C", and text is ASCII from there on."""

    @functools.wraps(function)
    def called(*args: Any, **named: Any) -> Any:
        own = locale.setlocale(locale.LC_ALL)
        try:
            return function(*args, **named)
        finally:
            locale.setlocale(locale.LC_ALL, own)

    return cast(Function, called)


@dataclass(frozen=True, kw_only=True)
class DicomStack:
    """A folder of DICOM images of one series.

    Attributes:
        files: One file for each z, by position.
        shape: Sections, rows and columns.
        dtype: Type of the first section.
        spacing_um: Sides of a voxel along (z, y, x) in µm, if the images tell them.
        remarks: What the user should know, one sentence each.
    """

    files: tuple[Path, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    spacing_um: tuple[float, ...] | None
    remarks: tuple[str, ...]

    @_with_own_locale
    def read(self, box: Box) -> NDArray[Any]:
        """Read a box of voxels; images outside its z-range are not opened.

        Raises:
            ScanError: An image differs from the first in size or type.
        """
        across_z, *across = box
        block = np.empty([part.stop - part.start for part in box], self.dtype)
        for plane, file in zip(block, self.files[across_z], strict=True):
            image = ItkVolume(file, "GDCMImageIO")
            size = [extent for extent in image.shape if extent > 1]
            if size != list(self.shape[1:]) or image.dtype != self.dtype:
                first = f"{self.dtype} {self.shape[1:]}"
                raise ScanError(f"{file}: holds {image.dtype} {tuple(size)}, the first image {first}; replace the file")
            one = [slice(0, 1)] * (len(image.shape) - 2)
            plane[...] = image.read((*one, *across)).reshape(plane.shape)
        return block


@_with_own_locale
def open_dicom(path: Path, series: str = "") -> DicomStack:
    """Open a folder of DICOM images.

    Args:
        path: The folder.
        series: UID of the series that is meant, where there are several; empty where there is one.

    Raises:
        ImportError: SimpleITK is an extra, and not there.
        ScanError: It holds several series, or an image of one is missing or stands twice.
    """
    import SimpleITK as sitk  # noqa: N813

    for file in path.iterdir():
        if file.is_file():
            _refuse_overlong_elements(file)
    by_series = {
        uid: [Path(name) for name in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), uid)]
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path))
    }
    alone = not series and len(by_series) > 1 and all(len(files) == 1 for files in by_series.values())
    if alone:
        files = [file for (file,) in by_series.values()]
    elif series in by_series or (not series and len(by_series) == 1):
        files = by_series[series or next(iter(by_series))]
    else:
        told = ", ".join(f"{path}::{uid} ({len(files)} images)" for uid, files in list(by_series.items())[:3]) or "none"
        raise ScanError(f"{path}: holds {len(by_series)} series of DICOM images; give one of them: {told}")
    images = [ItkVolume(file, "GDCMImageIO") for file in files]
    size = tuple(extent for extent in images[0].shape if extent > 1)
    if len(size) != 2:
        raise ScanError(f"{files[0]}: holds an array of shape {images[0].shape}, not one image; give one image a file")
    places = [_position(image) for image in images]
    remarks: tuple[str, ...] = ("Each image is a series of its own: they are taken for one volume.",) if alone else ()
    if any(place is None for place in places) or len(set(places)) == 1:
        ordered = in_order(path, [file.name for file in files])
        told_z, remarks = None, (*remarks, *ordered.remarks, "The images tell no position: their names order them.")
        files = [path / name for name in ordered.names]
    else:
        positions = dict(zip(files, (place for place in places if place is not None), strict=True))
        files = sorted(files, key=positions.__getitem__)
        told_z = _even_distance(path, files, positions) * 1000
    spacing = images[0].spacing_um
    if spacing is not None and told_z is not None:
        spacing = (told_z, *spacing[-2:])
    return DicomStack(
        files=tuple(files), shape=(len(files), *size), dtype=images[0].dtype, spacing_um=spacing, remarks=remarks
    )


_PREAMBLE, _MARK, _UNDEFINED = 128, b"DICM", 0xFFFFFFFF
_LONG = re.compile("O[BDFLVW]|S[QV]|U[CNRTV]")
"""Value representations whose length has 4 bytes, behind 2 that are reserved."""

_SHORT = re.compile("A[EST]|CS|D[AST]|F[DL]|IS|L[OT]|PN|S[HLST]|TM|U[ILS]")
"""Those whose length has 2 bytes. Without one of either, it has 4."""

_IMPLICIT, _DEFLATED, _BIG_ENDIAN = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.2"
"""Transfer syntaxes: without value representations, packed as a whole, and with the highest byte first."""

_ITEM = 0xFFFE
"""Group of items and their ends, which have no value representation in any syntax."""


def _refuse_overlong_elements(file: Path) -> None:
    """Refuse a DICOM of which an element claims more bytes than follow it: its library would set up memory for them.

    Raises:
        ScanError: It is damaged.
    """
    n_bytes, syntax = file.stat().st_size, b""
    order: Literal["little", "big"] = "little"
    with file.open("rb") as image:
        if image.read(_PREAMBLE + 4)[_PREAMBLE:] != _MARK:
            return
        while len(head := image.read(8)) == 8:
            group, element = (int.from_bytes(head[at : at + 2], order) for at in (0, 2))
            if group != 2 and syntax == _DEFLATED:
                return
            if group > 2 and order == "little" and syntax == _BIG_ENDIAN:
                order = "big"
            is_plain = group == _ITEM or (group != 2 and syntax == _IMPLICIT)
            kind = "" if is_plain else head[4:6].decode("latin-1")
            if _SHORT.fullmatch(kind):
                length = int.from_bytes(head[6:], order)
            else:
                length = int.from_bytes(image.read(4) if _LONG.fullmatch(kind) else head[4:], order)
            if length == _UNDEFINED:
                continue  # what follows are its items, or the elements of one
            at = image.tell()
            if at + length > n_bytes:
                raise ScanError(
                    f"{file}: damaged, element ({group:04x},{element:04x}) claims {length} bytes, {n_bytes - at} are left; "
                    "copy it again"
                )
            if (group, element) == (2, 0x10):
                syntax = image.read(length).rstrip(b"\0 ")
            image.seek(at + length)


def _position(image: ItkVolume) -> float | None:
    """Place of an image along the normal of its plane in mm."""
    place, axes = image.text("0020|0032"), image.text("0020|0037")
    if not place:
        return None
    x, y, z = (float(part) for part in place.split("\\"))
    along = [float(part) for part in (axes or "1\\0\\0\\0\\1\\0").split("\\")]
    return float(np.dot(np.cross(along[:3], along[3:]), (x, y, z)))


def _even_distance(path: Path, files: Sequence[Path], positions: Mapping[Path, float]) -> float:
    places = np.array([positions[file] for file in files])
    steps = np.diff(places)
    step = float(np.median(steps))
    for before, after, found in zip(files[:-1], files[1:], steps, strict=True):
        if found < 0.5 * step or step == 0:
            raise ScanError(f"{path}: {before.name} and {after.name} lie at the same place; keep one")
        if found > 1.5 * step:
            n = round(found / step) - 1
            raise ScanError(f"{path}: {n} images are missing between {before.name} and {after.name}; copy them")
    return step
