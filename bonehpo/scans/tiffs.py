"""TIFF volumes: folders of single pages, and multipage files.

tifffile reads what it can of a damaged file and says the rest in its log: a multipage file cut in half is a shorter
file to it. Here every complaint is an error.
"""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from natsort import natsorted
from numpy.typing import NDArray

from bonehpo.errors import ScanError
from bonehpo.scans.sections import Box, Shape


@dataclass(frozen=True, kw_only=True)
class FolderStack:
    """A folder of single-page TIFFs.

    Attributes:
        files: One file for each z, in natural order.
        shape: Pages, rows and columns.
        dtype: Type of the first page.
    """

    files: tuple[Path, ...]
    shape: Shape
    dtype: np.dtype[Any]

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box of voxels; files outside its z-range are not opened.

        Raises:
            ScanError: A page differs from the first in shape or type, or cannot be read.
        """
        across_z, *across = box
        block = np.empty([part.stop - part.start for part in box], self.dtype)
        for plane, file in zip(block, self.files[across_z], strict=True):
            page = read_page(file)
            if page.shape != self.shape[1:] or page.dtype != self.dtype:
                first = f"{self.dtype} {self.shape[1:]}"
                raise ScanError(f"{file}: holds {page.dtype} {page.shape}, the first page {first}; replace the file")
            plane[...] = page[tuple(across)]
        return block


@dataclass(frozen=True, kw_only=True)
class PagedStack:
    """A multipage TIFF.

    Attributes:
        file: The file.
        shape: Pages, rows and columns.
        dtype: Type of all pages.
        offset: Byte at which the voxels lie in one uncompressed run; None when each page must be decoded.
    """

    file: Path
    shape: Shape
    dtype: np.dtype[Any]
    offset: int | None

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box of voxels; pages outside its z-range are not decoded."""
        if self.offset is not None:
            return np.array(np.memmap(self.file, self.dtype, "r", self.offset, self.shape)[box])
        across_z, *across = box
        block = np.empty([part.stop - part.start for part in box], self.dtype)
        with _opened(self.file) as tif:
            pages = tif.series[0].pages
            for plane, z in zip(block, range(across_z.start, across_z.stop), strict=True):
                plane[...] = pages[z].asarray()[tuple(across)]
        return block


def open_folder(path: Path) -> FolderStack:
    """Open a folder of single-page TIFFs by its first page.

    Raises:
        ScanError: There is no TIFF in the folder, or its first page cannot be used.
    """
    files = natsorted(
        (file for file in path.iterdir() if file.suffix.lower() in (".tif", ".tiff") and file.name[0] != "."),
        key=lambda file: file.name,
    )
    if not files:
        raise ScanError(f"{path}: the folder holds no .tif or .tiff; give the folder of the reconstructed sections")
    first = read_page(files[0])
    return FolderStack(files=tuple(files), shape=(len(files), *first.shape), dtype=first.dtype)


def open_multipage(path: Path) -> PagedStack:
    """Open a multipage TIFF by its page table.

    Raises:
        ScanError: The file is truncated, its pages differ, or they are not single-channel.
    """
    with _opened(path) as tif:
        if len(tif.series) != 1:
            raise ScanError(f"{path}: holds {len(tif.series)} series of pages that differ; save one volume a file")
        series = tif.series[0]
        if len(series.shape) != 3 or series.axes.endswith("S"):
            raise ScanError(
                f"{path}: its pages are {series.axes} {series.shape}; save one single-channel volume over (z, y, x)"
            )
        dtype = np.dtype(tif.byteorder + series.dtype.char)
        return PagedStack(file=path, shape=series.shape, dtype=dtype, offset=series.dataoffset)


def read_page(path: Path) -> NDArray[Any]:
    """Read a TIFF of one page.

    Returns:
        The page, (y, x), in the type of the file.

    Raises:
        ScanError: The file is damaged or holds several pages.
    """
    with _opened(path) as tif:
        if len(tif.pages) != 1:
            raise ScanError(
                f"{path}: holds {len(tif.pages)} pages; in a folder and in a slice table each file is one page"
            )
        return np.asarray(tif.pages[0].asarray())


class _Complaints(logging.Handler):
    """Collects what tifffile logs as errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(" ".join(record.getMessage().split()))

    def raise_for(self, path: Path) -> None:
        if self.messages:
            raise ScanError(f"{path}: truncated or damaged ({self.messages[0][:200]}); copy it again")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF; what is logged as an error while it is open, and data beyond its end, are raised as a ScanError."""
    complaints = _Complaints()
    logger = logging.getLogger("tifffile")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(complaints)
    try:
        with tifffile.TiffFile(path) as tif:
            if max(_last_byte(page) for page in tif.pages) > path.stat().st_size:
                complaints.messages.append("a page ends beyond the end of the file")
            complaints.raise_for(path)
            yield tif
        complaints.raise_for(path)
    except tifffile.TiffFileError as error:
        raise ScanError(f"{path}: not a readable TIFF ({error}); copy it again") from error
    finally:
        logger.removeHandler(complaints)
        logger.propagate = propagates


def _last_byte(page: tifffile.TiffPage | tifffile.TiffFrame) -> int:
    return int(
        max((start + size for start, size in zip(page.dataoffsets, page.databytecounts, strict=True)), default=0)
    )
