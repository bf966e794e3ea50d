"""Volumes in medical formats, MetaImage, NRRD and NIfTI, by SimpleITK.

ITK looks into a file for any format that it knows, whatever its name says: here it is held to one. What it leaves out, or
mends without a word, in a NIfTI is checked here: it fills what was cut off or cannot be unpacked with what was in memory,
reads NaN as 0, and takes `a.nii` for the voxels of `a.nii.gz` where both lie side by side.
"""

import gzip
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bonehpo.errors import ScanError

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


_KINDS = {"MetaImageIO": "MetaImage", "NrrdImageIO": "NRRD", "NiftiImageIO": "NIfTI", "GDCMImageIO": "DICOM"}
"""Formats by ITK's name of what reads them."""


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
            ScanError: It is no such file, damaged, or holds several numbers for each voxel.
        """
        import SimpleITK as sitk  # noqa: N813  # an extra, and slow to import

        self._sitk = sitk
        self._reader = sitk.ImageFileReader()
        self._reader.SetImageIO(image_io)
        self._reader.SetFileName(str(path))
        self._where, self._kind = path, _KINDS[image_io]
        self._asked(self._reader.ReadImageInformation)
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
        return np.asarray(self._sitk.GetArrayFromImage(self._asked(self._reader.Execute)))

    def _asked(self, read: Callable[[], Any]) -> Any:
        """Let ITK read; what it says of a file that it cannot read are places in its own code."""
        try:
            return read()
        except RuntimeError as error:
            raise ScanError(f"{self._where}: damaged, or no {self._kind}; copy it again") from error


def open_meta_image(path: Path) -> ItkVolume:
    """Open a MetaImage by its header.

    Raises:
        ScanError: A file of its voxels is shorter or longer than it says, or not there; or it holds them as text.
    """
    header, end = _header_lines(path, lambda line: line.startswith("ElementDataFile"), "=")
    _refuse_odd_header(path, header, "ndims", "dimsize")
    if header.get("binarydata", "true").lower() == "false":
        raise ScanError(f"{path}: {_AS_TEXT.format('BinaryData = False')}")
    name, offset = header.get("elementdatafile", "LOCAL"), int(header.get("headersize", 0))
    is_packed = header.get("compresseddata", "false").lower() == "true"
    sections = _section_files(path, name, end, header["dimsize"])
    file, start = (path, end) if name.upper() == "LOCAL" else (path.parent / name, 0)
    if not sections:
        _refuse_missing(path, file, name)
    volume = ItkVolume(path, "MetaImageIO")
    _expect_whole(volume, path, dict.fromkeys(sections or (file,), start), 0 if is_packed else offset, is_packed)
    return volume


def open_nrrd(path: Path) -> ItkVolume:
    """Open an NRRD by its header.

    Raises:
        ScanError: A file of its voxels is shorter or longer than it says, or not there; or they are encoded in a way that is
            not read.
    """
    header, end = _header_lines(path, lambda line: not line.strip() or bool(_LIST_OF_NRRD.match(line)), ":")
    _refuse_odd_header(path, header, "dimension", "sizes")
    encoding = header.get("encoding", "").lower()
    if encoding not in _ENCODINGS:
        known = {"ascii", "text", "txt", "hex"}
        reason = _AS_TEXT if encoding in known else "has the {}, which is not read; save it raw, or with gzip"
        raise ScanError(f"{path}: {reason.format(f'encoding {encoding or None}')}")
    name = header.get("data file", header.get("datafile"))
    lines, skipped = (int(header.get(f"{what} skip", header.get(f"{what}skip", 0))) for what in ("line", "byte"))
    sections = _section_files(path, name or "", end, header["sizes"])
    file, start = (path, end) if name is None else (path.parent / name, 0)
    if not sections:
        _refuse_missing(path, file, name or "")
    volume = ItkVolume(path, "NrrdImageIO")
    files = {one: _behind_lines(one, start, lines) for one in sections or (file,)}
    _expect_whole(volume, path, files, skipped, encoding != "raw")
    return volume


_ENCODINGS = ("raw", "gzip", "gz")
_AS_TEXT = "holds its voxels as text ({}), where a cut end cannot be told from a small number; save it in binary"


def _expect_whole(volume: ItkVolume, header: Path, files: Mapping[Path, int], skipped: int, is_packed: bool) -> None:
    """Refuse files of another size than their header says; packed ones before the first voxel is read.

    Args:
        volume: What reads them.
        header: The file that describes them.
        files: The byte of each file at which its voxels, or what they are packed in, begin; each holds as many voxels.
        skipped: Bytes before the voxels, unpacked; below 0 where the voxels are the last bytes of the file.
        is_packed: Whether they are compressed.
    """
    n_bytes = math.prod(volume.shape) * volume.dtype.itemsize // len(files)

    def unpack() -> None:
        for file, start in files.items():
            _refuse_other_unpacked_size(header, file, start, max(skipped, 0) + n_bytes)

    if is_packed:
        volume.before_reading(unpack)
        return
    for file, start in files.items():
        if skipped >= 0 or file.stat().st_size < start + n_bytes:
            _refuse_other_size(header, file, start + max(skipped, 0) + n_bytes)


def _behind_lines(file: Path, start: int, n: int) -> int:
    """The byte behind some lines of a file, which lie before its voxels."""
    with file.open("rb") as opened:
        opened.seek(start)
        for _ in range(n):
            if not opened.readline(_LONGEST_LINE):
                break
        return opened.tell()


_LIST_OF_NRRD = re.compile(r"data ?file:\s*LIST", re.IGNORECASE)
_SECTIONS = re.compile(r"(?P<name>[^%]*%0?\d?d[^%]*?)(?P<numbers>(\s+\d+)*)")
"""Pattern of the names of files, in the way of C; its first and last number and the step may follow."""


def _section_files(path: Path, told: str, end: int, sizes: str) -> tuple[Path, ...]:
    """Files of which each holds one section, where a header tells several; none where it tells one file.

    A section without a file would be read as what was in memory, and at numbers without a step MetaIO crashes.

    Args:
        path: The header.
        told: Its entry: LIST, with the names in the lines below, or a pattern of names.
        end: Byte behind the entries, where a list begins.
        sizes: Lengths along the axes, the sections' last.

    Raises:
        ScanError: The files are not one for each section, or one is not there.
    """
    n, first_word = int(sizes.rsplit(maxsplit=1)[-1]), told.split()[:1]
    if first_word and first_word[0].upper() == "LIST":
        of_list = path.read_bytes()[end:].decode("utf-8", errors="surrogateescape").splitlines()
        names, numbers = [line.strip() for line in of_list if line.strip()], told.split()[1:]
        is_plain = not numbers or numbers[0].upper().removesuffix("D") == str(len(sizes.split()) - 1)
    elif found := _SECTIONS.fullmatch(told):
        first, last, step = _numbered([int(number) for number in found["numbers"].split()], n)
        names, is_plain = [found["name"] % i for i in range(first, last + 1, step)] if step else [], bool(step)
    else:
        return ()
    if not is_plain or len(names) != n:
        raise ScanError(
            f"{path}: its voxels lie in {told!r}, {len(names)} files for {n} sections; name one for each, by LIST or a "
            "pattern with first number, last number and step"
        )
    files = tuple(path.parent / name for name in names)
    if missing := [file for file in files if not file.is_file()]:
        raise ScanError(
            f"{path}: its voxels lie in {missing[0].name}, too, which is not there; copy that file beside it"
        )
    return files


def _numbered(numbers: Sequence[int], n: int) -> tuple[int, int, int]:
    """First and last number and step of a pattern; MetaImage may leave out all, or all but the first. Step 0 is none."""
    match numbers:
        case ():
            return 1, n, 1
        case (first,):
            return first, first + n - 1, 1
        case (first, last, step, *_):
            return first, last, step
    return 0, 0, 0


def _header_lines(path: Path, is_last: Callable[[str], bool], mark: str) -> tuple[dict[str, str], int]:
    """Entries of a header of text by their names in small letters, and the byte behind its last line.

    Comments of an NRRD, and what users write into it as `key:=value`, are no entries.
    """
    entries: dict[str, str] = {}
    with path.open("rb") as file:
        while line := file.readline(_LONGEST_LINE):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                text = line.decode("latin-1")
            name, _, value = text.partition(mark)
            if not name.startswith("#") and not value.startswith("="):
                entries[name.strip().lower()] = value.strip(" \r\n")
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


def _refuse_missing(header: Path, file: Path, told: str) -> None:
    """Refuse a header whose voxels lie in a file that is not there.

    Args:
        header: The file that names it.
        file: Its place.
        told: Its name as the header has it, perhaps with folders of another computer.
    """
    if file.is_file():
        return
    bare = re.split(r"[/\\]", told)[-1]
    raise ScanError(
        f"{header}: its voxels lie in {told}, which is not there; "
        + (
            "copy that file beside it"
            if bare == told
            else f"folders are told with /, from the header on: copy {bare} beside it, and let it name that"
        )
    )


def _refuse_other_size(header: Path, file: Path, expected: int) -> None:
    found = file.stat().st_size
    if found != expected:
        raise ScanError(
            f"{file}: {found} bytes are there, the header of {header.name} speaks of {expected}; copy it again"
        )


def _refuse_other_unpacked_size(header: Path, file: Path, start: int, expected: int) -> None:
    found = 0
    where = f"{file}: " if file == header else f"{header}: its voxels lie in {file.name}: "
    try:
        with file.open("rb") as packed:
            packed.seek(start)
            unpacker = zlib.decompressobj(_ZLIB_OR_GZIP)
            while not unpacker.eof and (part := unpacker.unconsumed_tail or packed.read(_BLOCK)):
                found += len(unpacker.decompress(part, _BLOCK))
                if found > expected:
                    raise ScanError(f"{where}holds more than the {expected} bytes of its voxels; copy it again")
            if not unpacker.eof:
                raise EOFError("its end is missing")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ScanError(f"{where}truncated or damaged ({error}); copy it again") from error
    if found < expected:
        raise ScanError(f"{where}truncated, {found} of {expected} bytes are there; copy it again")


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
