"""Volumes in medical formats, MetaImage and NIfTI, by SimpleITK.

ITK looks into a file for any format that it knows, whatever its name says: here it is held to one. What it leaves out, or
mends without a word, in a NIfTI is checked here: it fills what was cut off or cannot be unpacked with what was in memory,
reads NaN as 0, and takes `a.nii` for the voxels of `a.nii.gz` where both lie side by side.
"""

import gzip
import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bonehpo.errors import ScanError
from bonehpo.scans.sections import Box

_FLOATS = {16: "f4", 64: "f8"}
"""Types of floats by NIfTI's number of them."""

_HEADER_SIZES = (348, 540)
"""First bytes of a NIfTI-1 and a NIfTI-2, in their byte order."""

_BLOCK = 1 << 22


class ItkVolume:
    """A volume that ITK reads.

    Attributes:
        shape: Voxels along (z, y, x), if these are its axes.
        dtype: Type of the intensities.
    """

    def __init__(self, path: Path, image_io: str) -> None:
        """Read the header.

        Args:
            path: The file.
            image_io: ITK's name of what reads the format.

        Raises:
            ImportError: SimpleITK is an extra, and not there.
            RuntimeError: It is no such file.
        """
        import SimpleITK as sitk  # noqa: N813  # an extra, and slow to import

        self._sitk = sitk
        self._reader = sitk.ImageFileReader()
        self._reader.SetImageIO(image_io)
        self._reader.SetFileName(str(path))
        self._reader.ReadImageInformation()
        self.shape: tuple[int, ...] = tuple(reversed(self._reader.GetSize()))
        pixel = sitk.Image([1] * len(self.shape), self._reader.GetPixelID())
        self.dtype: np.dtype[Any] = sitk.GetArrayViewFromImage(pixel).dtype

    def number(self, key: str) -> int:
        """A whole number of the header."""
        return int(float(self._reader.GetMetaData(key)))

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box of voxels."""
        self._reader.SetExtractIndex([part.start for part in reversed(box)])
        self._reader.SetExtractSize([part.stop - part.start for part in reversed(box)])
        return np.asarray(self._sitk.GetArrayFromImage(self._reader.Execute()))


def open_meta_image(path: Path) -> ItkVolume:
    """Open a MetaImage by its header; ITK refuses one of which voxels are missing."""
    return ItkVolume(path, "MetaImageIO")


@dataclass(kw_only=True)
class NiftiVolume:
    """A NIfTI. Before its first voxel is read the file is gone through, where ITK would hide what is wrong with it.

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
    _is_proven: bool = field(default=False, init=False)

    @property
    def is_packed(self) -> bool:
        """True if it is compressed."""
        return self.path.name.lower().endswith(".gz")

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box of voxels.

        Raises:
            ScanError: The file is truncated or damaged, or holds NaN.
        """
        if not self._is_proven:
            self._prove()
            self._is_proven = True
        return self.itk.read(box)

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

    def _prove(self) -> None:
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
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ScanError(f"{self.path}: truncated or damaged ({error}); copy it again") from error
        self.refuse_short(found)

    def _refuse_not_finite(self, block: bytes, dtype: np.dtype[Any]) -> None:
        values = np.frombuffer(block, dtype, len(block) // dtype.itemsize)
        if not np.isfinite(values).all():
            raise ScanError(
                f"{self.path}: holds NaN or infinite intensities, read as 0 by its library; save it without"
            )


def open_nifti(path: Path) -> NiftiVolume:
    """Open a NIfTI by its header.

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
    volume = NiftiVolume(path=path, itk=itk, offset=itk.number("vox_offset"), n_bytes=n_bytes)
    if not volume.is_packed:
        volume.refuse_short(path.stat().st_size)
    return volume
