"""TIFF: pages of grey intensities, and multipage files.

tifffile reads what it can of a damaged file and says the rest in its log: a multipage file cut in half is a shorter
file to it. Here every complaint is an error.
"""

import contextlib
import html
import logging
import math
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from bonehpo.domain import some_of
from bonehpo.errors import ScanError
from bonehpo.scans.limits import refuse_large
from bonehpo.scans.photometry import INVERTED, LOSSY, Grey, from_palette, grey, inverted
from bonehpo.scans.sections import Box, Shape

Calibration = Callable[[NDArray[Any]], NDArray[Any]]
"""From the intensities that are stored to those that are meant."""

_JPEGS = (tifffile.COMPRESSION.OJPEG, tifffile.COMPRESSION.JPEG)

_GREY = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
_ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
_GREY_OR_COLOURS = (*_GREY, tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.PALETTE, tifffile.PHOTOMETRIC.YCBCR)
"""Colours may be equal, and then are grey; inks of a printer are high where it is dark."""

_CALIBRATED = "Calibrated in ImageJ: intensities are the calibrated ones."


@dataclass(frozen=True, kw_only=True)
class PagedStack:
    """A multipage TIFF.

    Attributes:
        file: The file.
        series: Which of its series of pages.
        shape: Pages, rows and columns.
        dtype: Type of the intensities.
        remarks: How they are got where the file holds something else, one sentence each.
    """

    file: Path
    series: int
    shape: Shape
    dtype: np.dtype[Any]
    remarks: tuple[str, ...]

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box of voxels; pages outside its z-range are not decoded.

        Raises:
            ScanError: A page is in colours, or of another shape or type than the first.
        """
        across_z, *across = box
        block = np.empty([part.stop - part.start for part in box], self.dtype)
        with _opened(self.file) as tif:
            calibrated = _calibration(tif, self.file)
            for plane, z in zip(block, range(across_z.start, across_z.stop), strict=True):
                page = _page_of(tif.series[self.series], z, self.file).pixels
                page = calibrated(page) if calibrated else page
                if page.shape != self.shape[1:] or page.dtype.newbyteorder("=") != self.dtype:
                    raise ScanError(
                        f"{self.file}: page {z + 1} holds {page.dtype} {page.shape}, the first "
                        f"{self.dtype} {self.shape[1:]}; save all alike"
                    )
                plane[...] = page[tuple(across)]
        return block


def open_multipage(path: Path, series: str = "") -> PagedStack:
    """Open a multipage TIFF by its page table and its first page.

    Args:
        path: The file.
        series: Number, from 0, or name of the series of pages that is meant; empty where there is one.

    Raises:
        ScanError: The file is truncated, or holds no grey volume over (z, y, x).
    """
    with _opened(path) as tif:
        number = _series_number(tif, series, path)
        pages = tif.series[number]
        _refuse_short_run(tif, pages, path)
        axes = [(axis, n) for axis, n in zip(pages.axes, pages.shape, strict=True) if n > 1 and axis != "S"]
        if len(axes) != 3 or [axis for axis, _ in axes[1:]] != ["Y", "X"]:
            raise ScanError(f"{path}: its pages are {_told(pages)}; save one single-channel volume over (z, y, x)")
        (_, depth), (_, height), (_, width) = axes
        _refuse_missing_files(tif, pages, path)
        if pages.dataoffset is None and len(pages.pages) != depth:
            raise ScanError(f"{path}: {len(pages.pages)} of {depth} pages are there; copy it again")
        first, calibrated = _page_of(pages, 0, path), _calibration(tif, path)
        sample = calibrated(first.pixels[:1]) if calibrated else first.pixels
        return PagedStack(
            file=path,
            series=number,
            shape=(depth, height, width),
            dtype=sample.dtype.newbyteorder("="),
            remarks=(*first.remarks, *((_CALIBRATED,) if calibrated else ())),
        )


def read_page(path: Path) -> Grey:
    """Read a TIFF of one page; beside it, the file may hold reduced copies of that page.

    Returns:
        The page, (y, x), in the type of the file or, where ImageJ calibrated it, of its calibration.

    Raises:
        ScanError: The file is damaged, in colours, or holds several pages.
    """
    with _opened(path) as tif:
        pages = [page for page in tif.pages if not page.keyframe.is_reduced]
        if len(pages) > 1 and len(tif.series) == 1 and len(tif.series[0].levels) == len(pages):
            pages = pages[:1]  # the others are the same image in smaller sizes, though they do not say so
        if len(pages) != 1:
            raise ScanError(
                f"{path}: holds {len(tif.pages)} pages; in a folder and in a slice table each file is one page. If it is "
                "the volume, give the file and not its folder"
            )
        found, calibrated = _decoded(pages[0], path), _calibration(tif, path)
        return Grey(calibrated(found.pixels), (*found.remarks, _CALIBRATED)) if calibrated else found


def _told(series: tifffile.TiffPageSeries) -> str:
    return " × ".join(f"{axis} {n}" for axis, n in zip(series.axes, series.shape, strict=True))


def _series_number(tif: tifffile.TiffFile, asked: str, path: Path) -> int:
    names = {series.name: i for i, series in reversed(list(enumerate(tif.series))) if series.name}
    numbers = names | {str(i): i for i in range(len(tif.series))}
    if not asked and len(tif.series) == 1:
        return 0
    if asked not in numbers:
        told = ", ".join(f"{path}::{i} ({_told(series)})" for i, series in enumerate(tif.series[:5]))
        raise ScanError(f"{path}: holds {len(tif.series)} series of pages that differ; give one of them: {told}")
    return numbers[asked]


def _page_of(series: tifffile.TiffPageSeries, z: int, path: Path) -> Grey:
    """One page; of voxels in one uncompressed run ImageJ tells the first page alone."""
    page = series.keyframe
    if series.dataoffset is None or page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
        return _decoded(series.pages[z], path)
    if page.ndim not in (2, 3):
        raise ScanError(
            f"{path}: a page holds an array of shape {page.shape}, not one image; save one grey image a page"
        )
    refuse_large(str(path), page.shape, page.dtype, "pixels of a page")
    stored = np.dtype(page.parent.byteorder + page.dtype.char)
    offset = series.dataoffset + z * page.size * stored.itemsize
    return _as_grey(np.array(np.memmap(path, stored, "r", offset, page.shape)), page, path)


def _decoded(page: tifffile.TiffPage | tifffile.TiffFrame, path: Path) -> Grey:
    keyframe = page.keyframe
    refuse_large(str(path), keyframe.shape, keyframe.dtype or np.dtype(np.uint8), "pixels of a page")
    with _open_file(page):
        samples = np.asarray(page.asarray())
    if keyframe.planarconfig == tifffile.PLANARCONFIG.SEPARATE and samples.ndim == 3:
        samples = np.moveaxis(samples, 0, -1)
    found = _as_grey(samples, keyframe, path)
    return Grey(found.pixels, (*found.remarks, LOSSY)) if keyframe.compression in _JPEGS else found


@contextlib.contextmanager
def _open_file(page: tifffile.TiffPage | tifffile.TiffFrame) -> Iterator[None]:
    """Open the file of a page for a while, where that is another one than the volume was opened by, as of an OME-TIFF."""
    file = page.parent.filehandle
    was_closed = file.closed
    if was_closed:
        file.open()
    try:
        yield
    finally:
        if was_closed:
            file.close()


def _as_grey(samples: NDArray[Any], page: tifffile.TiffPage, path: Path) -> Grey:
    if page.photometric not in _GREY_OR_COLOURS:
        kind = "CMYK" if page.photometric == tifffile.PHOTOMETRIC.SEPARATED else page.photometric.name
        raise ScanError(f"{path}: is in {kind}, which is no grey; save it in grey, as it was reconstructed")
    if page.photometric in _GREY and page.samplesperpixel > 1 and not set(_ALPHA) & set(page.extrasamples):
        raise ScanError(f"{path}: holds {page.samplesperpixel} channels; save the one of the scan alone")
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
        return from_palette(samples, page.colormap.T, str(path))
    found = grey(samples, str(path))
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        return Grey(inverted(found.pixels, page.bitspersample), (*found.remarks, INVERTED))
    return found


def _calibration(tif: tifffile.TiffFile, path: Path) -> Calibration | None:
    """ImageJ's calibration of intensities, where that is a straight line; 16 bits with a sign are one."""
    told = tif.imagej_metadata or {}
    kind = told.get("cf")
    if kind is None or (kind == 0 and (told.get("c0"), told.get("c1")) == (0, 1)):
        return None
    if kind != 0 or not all(isinstance(told.get(name), int | float) for name in ("c0", "c1")):
        raise ScanError(f"{path}: calibrated in ImageJ by a curve; apply the calibration there, and save it again")
    offset, factor = float(told["c0"]), float(told["c1"])
    if (offset, factor) == (-32768, 1):
        return lambda stored: (stored.astype(np.int32) - 32768).astype(np.int16)
    return lambda stored: (stored * factor + offset).astype(np.float32)


def _refuse_short_run(tif: tifffile.TiffFile, pages: tifffile.TiffPageSeries, path: Path) -> None:
    """Refuse a file of ImageJ that ends within the one run of its sections, of which it tells the first page alone."""
    told = (tif.imagej_metadata or {}).get("images", 1)
    page = pages.keyframe
    expected = page.dataoffsets[0] + told * page.nbytes
    if len(tif.pages) == 1 and math.prod(pages.shape) < told * page.size and path.stat().st_size < expected:
        raise ScanError(f"{path}: truncated, {path.stat().st_size} of {expected} bytes are there; copy it again")


def _refuse_missing_files(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: Path) -> None:
    """Refuse an OME-TIFF in several files, of which one is not there or cut short."""
    for page in series.pages if tif.is_ome else ():
        if page is None:
            named = [html.unescape(name) for name in re.findall(r'FileName="([^"]+)"', tif.ome_metadata or "")]
            missing = some_of([name for name in dict.fromkeys(named) if not (path.parent / name).is_file()])
            where = (
                f"{missing}, too, which is not there" if missing else "other files, too, of which one cannot be read"
            )
            raise ScanError(f"{path}: its sections lie in {where}; copy all files of the scan beside it")
        other = Path(page.parent.filehandle.path)
        if page.parent is not tif and _last_byte(page) > other.stat().st_size:
            raise ScanError(f"{path}: its sections lie in {other.name}, too, which is truncated; copy that file again")


class _Complaints(logging.Handler):
    """Collects what tifffile logs as errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(" ".join(record.getMessage().split()))

    def raise_for(self, path: Path) -> None:
        if self.messages:
            raise ScanError(f"{path}: truncated or damaged; copy it again")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF; what is logged as an error while it is open, and data beyond its end, are raised as a ScanError."""
    complaints = _Complaints()
    logger = logging.getLogger("tifffile")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(complaints)
    try:
        with _tiff_file(path) as tif:
            _refuse_broken_pages(tif, path)
            complaints.raise_for(path)
            yield tif
        complaints.raise_for(path)
    except tifffile.TiffFileError as error:
        raise ScanError(f"{path}: not a readable TIFF; copy it again") from error
    finally:
        logger.removeHandler(complaints)
        logger.propagate = propagates


def _tiff_file(path: Path) -> tifffile.TiffFile:
    try:
        return tifffile.TiffFile(path)
    except struct.error as error:  # cut within its first bytes
        raise tifffile.TiffFileError from error


def _refuse_broken_pages(tif: tifffile.TiffFile, path: Path) -> None:
    """Refuse a file of which a page ends beyond its end, or whose last page is followed by one that was there already."""
    seen: set[int] = set()
    for page in tif.pages:
        if page.offset in seen:
            raise ScanError(f"{path}: damaged, page {len(seen) + 1} is followed by an earlier one; save it again")
        seen.add(page.offset)
        if 0 in page.databytecounts:
            raise ScanError(
                f"{path}: parts of page {len(seen)} were never written and would be read as zeros; write it to its end again"
            )
        if _last_byte(page) > path.stat().st_size:
            raise ScanError(f"{path}: truncated or damaged (a page ends beyond the end of the file); copy it again")


def _last_byte(page: tifffile.TiffPage | tifffile.TiffFrame) -> int:
    return int(
        max((start + size for start, size in zip(page.dataoffsets, page.databytecounts, strict=True)), default=0)
    )
