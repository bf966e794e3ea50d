"""DICOM, by SimpleITK: folders of images, ordered by their positions, and single files of several frames.

A file is known by its ending or by its mark, as scanners write names without an ending. It is looked over before its library
sets up memory.
"""

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
from bonehpo.scans.images import KINDS
from bonehpo.scans.limits import refuse_large
from bonehpo.scans.medical import ItkVolume
from bonehpo.scans.order import in_order
from bonehpo.scans.photometry import INVERTED, LOSSY
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


ENDINGS = (".dcm", ".ima", ".dicom")

_INDEX = "DICOMDIR"
"""Name of a file that lists the others, and is itself DICOM."""

_PREAMBLE, _MARK, _UNDEFINED = 128, b"DICM", 0xFFFFFFFF


def is_dicom(path: Path) -> bool:
    """True if a file is DICOM by its ending or, where that is of no other image, by its mark."""
    if not path.is_file() or path.name.startswith(".") or path.suffix.lower() in KINDS or path.name.upper() == _INDEX:
        return False
    if path.suffix.lower() in ENDINGS:
        return True
    with path.open("rb") as file:
        return file.read(_PREAMBLE + len(_MARK))[_PREAMBLE:] == _MARK


def is_folder_of_dicom(path: Path) -> bool:
    """True if a folder holds DICOM, and not more images of other formats."""
    files = list(path.iterdir())
    n_images = sum(file.suffix.lower() in KINDS for file in files)
    return sum(map(is_dicom, files)) > n_images


@dataclass(frozen=True, kw_only=True)
class DicomVolume:
    """A volume of DICOM: the images of one series in a folder, or the frames of one file.

    Attributes:
        files: One file for each z, by position; or one file of several frames.
        shape: Sections, rows and columns.
        dtype: Type of the intensities.
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
        if len(self.files) == 1:
            return _opened(self.files[0]).read(box).astype(self.dtype)
        across_z, *across = box
        block = np.empty([part.stop - part.start for part in box], self.dtype)
        for plane, file in zip(block, self.files[across_z], strict=True):
            image = _opened(file)
            size = [extent for extent in image.shape if extent > 1]
            if size != list(self.shape[1:]) or _narrowed(image.dtype) != self.dtype:
                first = f"{self.dtype} {self.shape[1:]}"
                raise ScanError(f"{file}: holds {image.dtype} {tuple(size)}, the first image {first}; replace the file")
            one = [slice(0, 1)] * (len(image.shape) - 2)
            plane[...] = image.read((*one, *across)).reshape(plane.shape)
        return block


@_with_own_locale
def open_dicom(path: Path, series: str = "") -> DicomVolume:
    """Open a folder of DICOM images.

    Args:
        path: The folder.
        series: UID of the series that is meant, where there are several; empty where there is one.

    Raises:
        ImportError: SimpleITK is an extra, and not there.
        ScanError: It holds several series or volumes, or an image of one is missing or stands twice.
    """
    files, alone = _of_one_series(path, series)
    images = [_opened(file) for file in files]
    volumes = [file for file, image in zip(files, images, strict=True) if _n_axes(image) > 2]
    if len(files) == 1 and volumes:
        return open_frames(files[0])
    if volumes:
        told = ", ".join(str(file) for file in volumes[:3])
        raise ScanError(f"{path}: holds {len(volumes)} DICOM files of several frames; give one of them: {told}")
    _refuse_turned(path, files, images)
    size = tuple(extent for extent in images[0].shape if extent > 1)
    if len(size) != 2:
        raise ScanError(f"{files[0]}: holds an array of shape {images[0].shape}, not one image; give one image a file")
    files, told_z, remarks = _ordered(path, files, images)
    if alone:
        remarks = ("Each image is a series of its own: they are taken for one volume.", *remarks)
    spacing = images[0].spacing_um
    return DicomVolume(
        files=tuple(files),
        shape=(len(files), *size),
        dtype=_narrowed(images[0].dtype),
        spacing_um=(told_z, *spacing[-2:]) if spacing and told_z else None,
        remarks=(*remarks, *_remarks(images)),
    )


@_with_own_locale
def open_frames(path: Path) -> DicomVolume:
    """Open one DICOM file whose frames are the sections of a volume, in their order in the file.

    Raises:
        ImportError: SimpleITK is an extra, and not there.
        ScanError: It holds one image, or is damaged.
    """
    image = _opened(path)
    if _n_axes(image) < 3:
        raise ScanError(f"{path}: is one DICOM image; give the folder of all of them")
    return DicomVolume(
        files=(path,),
        shape=image.shape,
        dtype=_narrowed(image.dtype),
        spacing_um=image.spacing_um,
        remarks=_remarks([image]),
    )


def _of_one_series(path: Path, series: str) -> tuple[list[Path], bool]:
    """The files of the series that is asked for, or of the only one; and whether each file is a series of its own."""
    import SimpleITK as sitk  # noqa: N813

    for file in path.iterdir():
        if file.is_file():
            _refuse_overlong_elements(file)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # what it would print is refused here
    by_series = {
        uid: [Path(name) for name in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), uid)]
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path))
    }
    if series in by_series or (not series and len(by_series) == 1):
        return by_series[series or next(iter(by_series))], False
    if not series and len(by_series) > 1 and all(len(files) == 1 for files in by_series.values()):
        return [file for (file,) in by_series.values()], True
    told = ", ".join(f"{path}::{uid} ({len(files)} images)" for uid, files in list(by_series.items())[:3]) or "none"
    raise ScanError(f"{path}: holds {len(by_series)} series of DICOM images; give one of them: {told}")


def _opened(file: Path) -> ItkVolume:
    _refuse_overlong_elements(file)
    image = ItkVolume(file, "GDCMImageIO")
    refuse_large(str(file), image.shape, image.dtype)  # its library reads all of a file
    return image


def _n_axes(image: ItkVolume) -> int:
    return sum(extent > 1 for extent in image.shape)


def _narrowed(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of intensities: at most 16 bits are stored, and a ratio of them, as Scanco's, fits into 32."""
    return np.dtype(np.float32) if dtype == np.float64 else dtype


def _remarks(images: Sequence[ItkVolume]) -> tuple[str, ...]:
    told = {
        INVERTED: ("0028|0004", "MONOCHROME1"),  # its library turns them round
        LOSSY: ("0028|2110", "01"),
    }
    return tuple(remark for remark, (key, sign) in told.items() if any(image.text(key) == sign for image in images))


def _refuse_turned(path: Path, files: Sequence[Path], images: Sequence[ItkVolume]) -> None:
    """Refuse images that do not lie in parallel planes, as those of a survey along three axes."""
    axes = [image.text("0020|0037") for image in images]
    first = _numbers(axes[0])
    for file, told in zip(files, axes, strict=True):
        if told != axes[0] and not np.allclose(_numbers(told), first, atol=0.001):
            raise ScanError(
                f"{path}: {file.name} lies in another plane than {files[0].name}; move what is no section of the scan "
                "elsewhere"
            )


def _numbers(told: str | None) -> list[float]:
    return [float(part) for part in (told or "1\\0\\0\\0\\1\\0").split("\\")]


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
    place = image.text("0020|0032")
    if not place:
        return None
    along = _numbers(image.text("0020|0037"))
    return float(np.dot(np.cross(along[:3], along[3:]), _numbers(place)))


def _ordered(
    path: Path, files: Sequence[Path], images: Sequence[ItkVolume]
) -> tuple[list[Path], float | None, tuple[str, ...]]:
    """Files by their positions, or where they have none by their numbers or names; their distance in µm; and remarks."""
    places = [_position(image) for image in images]
    positions = {file: place for file, place in zip(files, places, strict=True) if place is not None}
    if len(positions) == len(files) and len(set(places)) > 1:
        by_place = sorted(files, key=positions.__getitem__)
        return by_place, _even_distance(path, by_place, positions) * 1000, ()
    told = [image.text("0020|0013") or "" for image in images]
    if len(set(told)) == len(files) > 1 and all(re.fullmatch(r"-?\d{1,9}", number) for number in told):
        numbers = {file: float(number) for file, number in zip(files, told, strict=True)}
        by_number = sorted(files, key=numbers.__getitem__)
        _even_distance(path, by_number, numbers)
        return by_number, None, ("The images tell no position: their numbers (Instance Number) order them.",)
    ordered = in_order(path, [f"{file.name}.dcm" for file in files])  # an ending, as not all have one
    names = [path / name.removesuffix(".dcm") for name in ordered.names]
    return names, None, (*ordered.remarks, "The images tell no position: their names order them.")


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
