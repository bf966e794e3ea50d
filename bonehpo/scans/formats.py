"""File formats of volumes: by what each is recognised, how it is opened by its header, and how it proves that it is whole.

A file that was cut short, or that its writer never finished, must not be read as a volume with some black in it. Where the
library that reads a format fills in zeros without a word, the format checks sizes or counts here. `FORMATS` lists all.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import zarr
from numpy.typing import NDArray

from bonehpo.errors import ScanError
from bonehpo.scans import medical, tiffs
from bonehpo.scans.sections import Box

RAW_MARKERS = frozenset({"image_key", "rotation_angle", "theta", "data_white", "data_dark"})
"""Datasets that lie beside raw projections in NeXus (NXtomo) and Data Exchange files, and never beside a volume."""


class Header(NamedTuple):
    """A volume as its header describes it.

    Attributes:
        shape: Voxels along (z, y, x), if these are its axes.
        dtype: Type of the intensities.
        read: Reads one box of voxels, (z, y, x), in the type of the file.
        caution: What the user should know, in one sentence; empty where there is nothing.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[Box], NDArray[Any]]
    caution: str = ""


@dataclass(frozen=True, kw_only=True)
class ScanFormat:
    """One format of volumes.

    Attributes:
        name: As in messages and docs.
        path: What stands in the table of scans, for docs.
        suffixes: Endings of the name of a file or, for a folder, of the folder; in small letters.
        holds: For a folder: patterns of which one of its files matches one, where its own name does not tell.
        is_folder: Whether it is a folder.
        open: Opens (path, what stands behind `::`) by the header. It may raise what its library raises.
        whole: How a file that lacks voxels is told from a whole one, for docs: a sentence without its stop.
        extra: The extra of bonehpo that brings its library; None where that is always there.
    """

    name: str
    path: str
    suffixes: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    is_folder: bool = False
    open: Callable[[Path, str], Header]
    whole: str
    extra: str | None = None

    def recognises(self, path: Path) -> bool:
        """True if a file or folder is, by its name or by what it holds, of this format."""
        if path.is_dir() != self.is_folder:
            return False
        if path.name.lower().endswith(self.suffixes):
            return True
        return self.is_folder and any(
            fnmatch(file.name.lower(), sign) for file in path.iterdir() for sign in self.holds
        )


def format_of(path: Path) -> ScanFormat:
    """The format of a file or folder that exists.

    Raises:
        ScanError: No format recognises it.
    """
    for each in FORMATS:
        if each.recognises(path):
            return each
    ways = " ".join(f"*{suffix}" for each in FORMATS for suffix in each.suffixes)
    if path.is_dir():
        signs = " or ".join(sign.lstrip("*") for each in FORMATS for sign in each.holds if sign.startswith("*"))
        raise ScanError(
            f"{path}: the folder holds no {signs}; give that of the reconstructed sections, or one of {ways}"
        )
    folders = " or ".join(f"a {each.name}" for each in FORMATS if each.is_folder and not each.suffixes)
    raise ScanError(f"{path}: format not known; give {folders}, or one of {ways}")


def formats_table() -> str:
    """All formats as a table in Markdown, for docs/reference/store.md."""
    rows = [
        (each.path, each.name, each.whole, f"`pip install 'bonehpo[{each.extra}]'`" if each.extra else "")
        for each in FORMATS
    ]
    lines = [("a path is", "format", "that nothing is missing is known by", "needs"), ("---",) * 4, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _open_tiff_folder(path: Path, _: str) -> Header:
    stack = tiffs.open_folder(path)
    return Header(stack.shape, stack.dtype, stack.read)


def _open_tiff(path: Path, _: str) -> Header:
    stack = tiffs.open_multipage(path)
    return Header(stack.shape, stack.dtype, stack.read)


def _open_npy(path: Path, _: str) -> Header:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return Header(array.shape, array.dtype, lambda box: np.array(np.load(path, mmap_mode="r")[box]))


def _open_zarr(path: Path, inner: str) -> Header:
    node = zarr.open(path, mode="r", path=inner.strip("/"))
    if isinstance(node, zarr.Group):
        arrays = ", ".join(f"{path}::{name}" for name, array in node.arrays() if array.ndim == 3)
        raise ScanError(f"{path}: is a group, not an array; give one of its volumes: {arrays or 'it holds none'}")
    void = [file for file in (path / inner.strip("/")).rglob("*") if file.is_file() and file.stat().st_size == 0]
    if void:
        raise ScanError(f"{void[0]}: is empty, and would be read as zeros; copy the volume again")
    n_stored = node.nchunks_initialized
    caution = (
        f"{path}: {n_stored} of {node.nchunks} chunks are stored, the others are read as {node.fill_value}. Writers leave "
        "out what is of one intensity: see that nothing was lost."
    )
    is_whole = n_stored == node.nchunks
    return Header(node.shape, node.dtype, lambda box: np.asarray(node[box]), "" if is_whole else caution)


def _open_hdf5(path: Path, inner: str) -> Header:
    with h5py.File(path, "r") as file:
        node = file.get(inner) if inner else None
        if not isinstance(node, h5py.Dataset):
            found = ", ".join(f"{path}::{name}" for name in _hdf5_volumes(file))
            raise ScanError(f"{path}: name the dataset of the volume; those with 3 axes: {found or 'none'}")
        _refuse_projections(path, node)
        _refuse_unwritten(path, node)
        shape, dtype = node.shape, node.dtype

    def read(box: Box) -> NDArray[Any]:
        with h5py.File(path, "r") as file:
            block = np.empty([part.stop - part.start for part in box], dtype)
            file[inner].read_direct(block, source_sel=box)
            return block

    return Header(shape, dtype, read)


def _hdf5_volumes(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(
        lambda name, node: names.append(f"/{name}") if isinstance(node, h5py.Dataset) and node.ndim == 3 else None
    )
    return names


def _refuse_projections(path: Path, dataset: h5py.Dataset) -> None:
    name = dataset.name.strip("/")
    markers = sorted(RAW_MARKERS & set(dataset.parent))
    if name == "exchange/data" or markers:
        sign = f"{', '.join(markers)} lies beside it" if markers else "exchange/data is where Data Exchange keeps them"
        raise ScanError(f"{path}::/{name}: raw projections, not a volume ({sign}); reconstruct the scan first")


def _refuse_unwritten(path: Path, dataset: h5py.Dataset) -> None:
    """Refuse a dataset of which voxels were never written, or lie in files that are not there: HDF5 reads a fill value."""
    where = f"{path}::{dataset.name}"
    named = [source.file_name for source in dataset.virtual_sources()] if dataset.is_virtual else []
    named += [name for name, _, _ in dataset.external or ()]
    missing = sorted({n for n in named if "%" not in n and not (path.parent / n).exists()})
    if missing:
        raise ScanError(f"{where}: its voxels lie in {missing[0]}, which is not there; copy that file beside it")
    if dataset.is_virtual or not dataset.size:
        return
    if dataset.chunks:
        n_stored = dataset.id.get_num_chunks()
        n = math.prod(-(-extent // chunk) for extent, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    else:
        n_stored, n = int(dataset.id.get_storage_size() > 0), 1
    if n_stored < n:
        raise ScanError(f"{where}: {n_stored} of {n} parts were written, the rest is void; write it to its end again")


def _open_meta_image(path: Path, _: str) -> Header:
    volume = medical.open_meta_image(path)
    return Header(volume.shape, volume.dtype, volume.read)


def _open_nifti(path: Path, _: str) -> Header:
    volume = medical.open_nifti(path)
    return Header(volume.itk.shape, volume.itk.dtype, volume.read)


FORMATS: tuple[ScanFormat, ...] = (
    ScanFormat(
        name="zarr array",
        path="`NAME.zarr`, `NAME.zarr::array`",
        suffixes=(".zarr",),
        holds=("zarr.json", ".zarray", ".zgroup"),
        is_folder=True,
        open=_open_zarr,
        whole="no chunk is an empty file; that some are not stored is said, as writers leave out constant ones",
    ),
    ScanFormat(
        name="folder of single-page TIFFs",
        path="a folder; natural order, `slice_2` before `slice_10`",
        holds=("*.tif", "*.tiff"),
        is_folder=True,
        open=_open_tiff_folder,
        whole="each page, of one shape and type, as it is read",
    ),
    ScanFormat(
        name="multipage TIFF",
        path="`FILE.tif`",
        suffixes=(".tif", ".tiff"),
        open=_open_tiff,
        whole="pages that are all alike and end within the file",
    ),
    ScanFormat(
        name="NumPy array",
        path="`FILE.npy`, an array (z, y, x)",
        suffixes=(".npy",),
        open=_open_npy,
        whole="the size of the file",
    ),
    ScanFormat(
        name="HDF5, NeXus",
        path="`FILE.h5::/dataset/path`, also `.nxs`",
        suffixes=(".h5", ".hdf5", ".hdf", ".nxs", ".nx5"),
        open=_open_hdf5,
        whole="all chunks are written, and files that hold parts of it are there",
    ),
    ScanFormat(
        name="MetaImage",
        path="`FILE.mha`, `FILE.mhd`",
        suffixes=(".mha", ".mhd"),
        open=_open_meta_image,
        whole="its library, as it is read",
        extra="formats",
    ),
    ScanFormat(
        name="NIfTI",
        path="`FILE.nii`, `FILE.nii.gz`",
        suffixes=(".nii", ".nii.gz"),
        open=_open_nifti,
        whole="the size of the file; of gzip the size and checksum of all that is unpacked, before the first voxel is read",
        extra="formats",
    ),
)
"""All formats. The first that recognises a path opens it."""
