"""Volumes in medical formats, MetaImage, NRRD, NIfTI and DICOM, by SimpleITK.

ITK looks into a file for any format that it knows, whatever its name says: here it is held to one. What it leaves out, or
mends without a word, in a NIfTI is checked here: it fills what was cut off or cannot be unpacked with what was in memory,
reads NaN as 0, and takes `a.nii` for the voxels of `a.nii.gz` where both lie side by side.
"""

import functools
import gzip
import locale
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from bonehpo.errors import ScanError
from bonehpo.scans.order import in_order
from bonehpo.scans.sections import Box

_FLOATS = {16: "f4", 64: "f8"}
"""Types of floats by NIfTI's number of them."""

_HEADER_SIZES = (348, 540)
"""First bytes of a NIfTI-1 and a NIfTI-2, in their byte order."""

_BLOCK = 1 << 22

_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS
"""Of `zlib`: whichever of both the data begin with."""

_BEHIND = 1 << 24
"""Bytes behind the voxels of a NIfTI, of more of which it is refused."""

_LONGEST_LINE, _LONGEST_ENTRY = 1 << 16, 1 << 11
"""Characters of a line of a header, and of an entry in it: ITK crashes at longer ones."""


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


class ItkVolume:
    """A volume that ITK reads.

    Attributes:
        shape: Voxels along (z, y, x), if these are its axes.
        dtype: Type of the intensities.
        spacing_um: Sides of a voxel along (z, y, x) in µm, where the header tells them in mm; None where it tells 1, which
            stands for nothing.
    """

    def __init__(self, path: Path, image_io: str) -> None:
        """Read the header.

        Args:
            path: The file.
            image_io: ITK's name of what reads the format.

        Raises:
            ImportError: SimpleITK is an extra, and not there.
            RuntimeError: It is no such file.
            ScanError: It holds several numbers for each voxel.
        """
        import SimpleITK as sitk  # noqa: N813  # an extra, and slow to import

        self._sitk = sitk
        self._reader = sitk.ImageFileReader()
        self._reader.SetImageIO(image_io)
        self._reader.SetFileName(str(path))
        self._reader.ReadImageInformation()
        self.shape: tuple[int, ...] = tuple(reversed(self._reader.GetSize()))
        spacing = tuple(1000 * side for side in reversed(self._reader.GetSpacing()))[-3:]
        self.spacing_um: tuple[float, ...] | None = None if set(spacing) == {1000.0} else spacing
        if self._reader.GetNumberOfComponents() != 1:
            n = self._reader.GetNumberOfComponents()
            raise ScanError(f"{path}: holds {n} numbers for each voxel; save it in grey, one number for each")
        pixel = sitk.Image([1] * len(self.shape), self._reader.GetPixelID())
        self.dtype: np.dtype[Any] = sitk.GetArrayViewFromImage(pixel).dtype
        self._prove: Callable[[], None] | None = None

    def before_reading(self, prove: Callable[[], None]) -> None:
        """Let something be proved once, before the first voxel is read."""
        self._prove = prove

    def number(self, key: str) -> int:
        """A whole number of the header."""
        return int(float(self._reader.GetMetaData(key)))

    def text(self, key: str) -> str | None:
        """An entry of the header, if it has it."""
        return self._reader.GetMetaData(key).strip() if self._reader.HasMetaDataKey(key) else None

    def read(self, box: Sequence[slice]) -> NDArray[Any]:
        """Read a box of voxels, a range for each axis."""
        if self._prove:
            self._prove()
            self._prove = None
        self._reader.SetExtractIndex([part.start for part in reversed(box)])
        self._reader.SetExtractSize([part.stop - part.start for part in reversed(box)])
        return np.asarray(self._sitk.GetArrayFromImage(self._reader.Execute()))


def open_meta_image(path: Path) -> ItkVolume:
    """Open a MetaImage by its header.

    Raises:
        ScanError: The file of its voxels is shorter or longer than it says, or not there.
    """
    header, end = _header_lines(path, lambda line: line.startswith("ElementDataFile"), "=")
    _refuse_odd_header(path, header, "ndims", "dimsize")
    volume = ItkVolume(path, "MetaImageIO")
    name, offset = header.get("elementdatafile", "LOCAL"), int(header.get("headersize", 0))
    n_bytes = math.prod(volume.shape) * volume.dtype.itemsize
    if header.get("compresseddata", "false").lower() == "true":
        if name.upper() == "LOCAL":
            volume.before_reading(lambda: _refuse_other_unpacked_size(path, end, n_bytes))
        return volume
    if offset < 0:
        return volume
    if name.upper() == "LOCAL":
        _refuse_other_size(path, path, end + offset + n_bytes)
    elif not name.upper().startswith("LIST") and "%" not in name:
        _refuse_other_size(path, path.parent / name, offset + n_bytes)
    return volume


def open_nrrd(path: Path) -> ItkVolume:
    """Open an NRRD by its header.

    Raises:
        ScanError: The file of its voxels is shorter or longer than it says, or not there.
    """
    header, end = _header_lines(path, lambda line: not line.strip(), ":")
    _refuse_odd_header(path, header, "dimension", "sizes")
    volume = ItkVolume(path, "NrrdImageIO")
    name, skipped = (
        header.get("data file", header.get("datafile")),
        int(header.get("byte skip", header.get("byteskip", 0))),
    )
    n_bytes = math.prod(volume.shape) * volume.dtype.itemsize
    file, start = (path, end) if name is None else (path.parent / name, 0)
    if name is not None and ("%" in name or name.upper().startswith("LIST")):
        return volume
    match header.get("encoding", "").lower():
        case "raw" if skipped >= 0:
            _refuse_other_size(path, file, start + skipped + n_bytes)
        case "gzip" | "gz":
            volume.before_reading(lambda: _refuse_other_unpacked_size(file, start, n_bytes))
    return volume


def _header_lines(path: Path, is_last: Callable[[str], bool], mark: str) -> tuple[dict[str, str], int]:
    """Entries of a header of text by their names in small letters, and the byte behind its last line."""
    entries: dict[str, str] = {}
    with path.open("rb") as file:
        while line := file.readline(_LONGEST_LINE):
            text = line.decode("latin-1")
            name, _, value = text.partition(mark)
            entries[name.strip().lower()] = value.strip(" =\r\n")
            if is_last(text):
                break
        return entries, file.tell()


_NUMBER = r"\s*[-+.\deEnaNA]+\s*"
_VECTOR = rf"(none|\({_NUMBER}(,{_NUMBER})*\))"


def _refuse_odd_header(path: Path, header: Mapping[str, str], dimension: str, sizes: str) -> None:
    """Refuse a header at which ITK would crash.

    Args:
        path: The file.
        header: Its entries.
        dimension: Name of the number of axes.
        sizes: Name of their lengths.
    """
    for name, value in header.items():
        if len(name) + len(value) > _LONGEST_ENTRY or not (name + value).replace("\t", " ").isprintable():
            raise ScanError(f"{path}: the entry {name[:30]!r} of its header is damaged; copy it again")
    n, lengths = header.get(dimension, ""), header.get(sizes, "").split()
    if (
        not re.fullmatch("[1-9]", n)
        or len(lengths) != int(n)
        or not all(re.fullmatch(r"\d{1,9}", one) for one in lengths)
    ):
        raise ScanError(f"{path}: its header tells {dimension} {n!r} and {sizes} {' '.join(lengths)!r}; copy it again")
    for name, n_vectors in (("space directions", int(n)), ("space origin", 1)):
        told = header.get(name)
        if told and not re.fullmatch(rf"{_VECTOR}(\s+{_VECTOR}){{{n_vectors - 1}}}", told):
            raise ScanError(
                f"{path}: its header tells {name} {told[:60]!r}, which are not {n_vectors} vectors; copy it again"
            )


def _refuse_other_size(header: Path, file: Path, expected: int) -> None:
    if not file.is_file():
        raise ScanError(f"{header}: its voxels lie in {file.name}, which is not there; copy that file beside it")
    found = file.stat().st_size
    if found != expected:
        raise ScanError(
            f"{file}: {found} bytes are there, the header of {header.name} speaks of {expected}; copy it again"
        )


def _refuse_other_unpacked_size(file: Path, start: int, expected: int) -> None:
    found = 0
    try:
        with file.open("rb") as packed:
            packed.seek(start)
            unpacker = zlib.decompressobj(_ZLIB_OR_GZIP)
            while not unpacker.eof and (part := unpacker.unconsumed_tail or packed.read(_BLOCK)):
                found += len(unpacker.decompress(part, _BLOCK))
                if found > expected:
                    raise ScanError(f"{file}: holds more than the {expected} bytes of its voxels; copy it again")
            if not unpacker.eof:
                raise EOFError("its end is missing")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ScanError(f"{file}: truncated or damaged ({error}); copy it again") from error
    if found < expected:
        raise ScanError(f"{file}: truncated, {found} of {expected} bytes are there; copy it again")


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

_DEFLATED, _BIG_ENDIAN = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.2"


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
            kind = head[4:6].decode("latin-1")
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


@dataclass(frozen=True, kw_only=True)
class _Nifti:
    """A NIfTI that is gone through before its first voxel is read, where ITK would hide what is wrong with it.

    Attributes:
        path: The file.
        itk: What reads it.
        offset: Byte, of what is unpacked, at which its voxels begin.
        n_bytes: Bytes of its voxels.
    """

    path: Path
    itk: ItkVolume
    offset: int
    n_bytes: int

    @property
    def is_packed(self) -> bool:
        """True if it is compressed."""
        return self.path.name.lower().endswith(".gz")

    def refuse_short(self, found: int) -> None:
        """Refuse a file of fewer bytes than its header promises.

        Args:
            found: Bytes that are there, unpacked.

        Raises:
            ScanError: They are too few.
        """
        if found < self.offset + self.n_bytes:
            raise ScanError(
                f"{self.path}: truncated, {found} of {self.offset + self.n_bytes} bytes are there; copy it again"
            )

    def prove(self) -> None:
        """See that nothing is missing, and that every intensity is a number.

        Raises:
            ScanError: The file is truncated or damaged, or holds NaN.
        """
        kind = _FLOATS.get(self.itk.number("datatype"))
        if kind is None and not self.is_packed:  # its size says it all
            return
        try:
            with gzip.open(self.path) if self.is_packed else self.path.open("rb") as file:
                head = file.read(self.offset)
                order = "<" if int.from_bytes(head[:4], "little") in _HEADER_SIZES else ">"
                found = len(head)
                while block := file.read(_BLOCK):
                    if kind is not None:
                        self._refuse_not_finite(
                            block[: max(self.offset + self.n_bytes - found, 0)], np.dtype(order + kind)
                        )
                    found += len(block)
                    if found > self.offset + self.n_bytes + _BEHIND:
                        raise ScanError(
                            f"{self.path}: holds more than the {self.n_bytes} bytes of its voxels; copy it again"
                        )
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ScanError(f"{self.path}: truncated or damaged ({error}); copy it again") from error
        self.refuse_short(found)

    def _refuse_not_finite(self, block: bytes, dtype: np.dtype[Any]) -> None:
        values = np.frombuffer(block, dtype, len(block) // dtype.itemsize)
        if not np.isfinite(values).all():
            raise ScanError(
                f"{self.path}: holds NaN or infinite intensities, read as 0 by its library; save it without"
            )


def open_nifti(path: Path) -> ItkVolume:
    """Open a NIfTI by its header; before its first voxel is read, the file is gone through.

    Raises:
        ScanError: It is truncated, or lies beside a file that its library would read in its place.
    """
    unpacked = path.with_suffix("")
    if path.suffix.lower() == ".gz" and unpacked.exists():
        raise ScanError(
            f"{path}: its library would read {unpacked} in its place; move one of the two to another folder"
        )
    itk = ItkVolume(path, "NiftiImageIO")
    n_bytes = math.prod(itk.shape) * itk.number("bitpix") // 8
    file = _Nifti(path=path, itk=itk, offset=itk.number("vox_offset"), n_bytes=n_bytes)
    if not file.is_packed:
        file.refuse_short(path.stat().st_size)
    itk.before_reading(file.prove)
    return itk
