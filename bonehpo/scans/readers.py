"""Volumes in the file formats of a micro-CT lab, opened by their headers and read by the box.

A `Volume` knows its shape and its intensity type before a voxel is read, and reads any box of them in the type of the
file, so that the centre of a huge scan costs no more memory than the centre.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr
from numpy.typing import NDArray

from bonehpo.errors import ScanError
from bonehpo.scans import tiffs
from bonehpo.scans.sections import Box, Shape

RAW_MARKERS = frozenset({"image_key", "rotation_angle", "theta", "data_white", "data_dark"})
"""Datasets that lie beside raw projections in NeXus (NXtomo) and Data Exchange files, and never beside a volume."""

INTENSITY_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One volume on disk.

    Attributes:
        source: The path that it was opened by.
        shape: Voxels along (z, y, x).
        dtype: Type of the intensities, one of `INTENSITY_TYPES`, in the byte order of this machine.
        read: Reads one box of voxels, (z, y, x), into memory.
    """

    source: str
    shape: Shape
    dtype: np.dtype[Any]
    read: Callable[[Box], NDArray[Any]]


def open_volume(source: str) -> Volume:
    """Open a volume by its header.

    Args:
        source: A folder of single-page TIFFs (read in natural order), a multipage TIFF, `.npy`, `.zarr` or
            `.zarr::array`, `FILE.h5::/dataset` (also `.hdf5`, `.nxs`, `.nx5`), or `.mha`, `.mhd`, `.nii`, `.nii.gz`
            with the extra `formats`.

    Returns:
        The volume; no intensity has been read yet.

    Raises:
        ScanError: The file is missing, of another format, damaged, or holds no volume.
    """
    name, _, inner = source.partition("::")
    path = Path(name)
    if not path.exists():
        raise ScanError(f"{name}: no such file or folder; correct the path of the scan")
    opener = _opener(path)
    try:
        shape, dtype, read = opener(path, inner)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ScanError(f"{source}: cannot be read as a volume ({one_line(error)}); replace the file") from error
    _check_header(source, shape, dtype)
    return Volume(source=source, shape=shape, dtype=dtype.newbyteorder("="), read=_guarded(source, read))


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
        image = np.load(path) if path.lower().endswith(".npy") else tiffs.read_image(Path(path))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ScanError(f"{path}: cannot be read as an image ({one_line(error)}); replace the file") from error
    if image.ndim != 2 or str(image.dtype.newbyteorder("=")) not in INTENSITY_TYPES:
        raise ScanError(
            f"{path}: holds {image.dtype} {image.shape}, not one single-channel image; give a file for each slice"
        )
    return np.ascontiguousarray(image, image.dtype.newbyteorder("="))


def one_line(error: BaseException) -> str:
    """The message of an error of another library, cut to one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


_Header = tuple[Any, np.dtype[Any], Callable[[Box], NDArray[Any]]]


def _opener(path: Path) -> Callable[[Path, str], _Header]:
    if path.is_dir():
        is_zarr = any((path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup"))
        return _open_zarr if is_zarr or path.suffix == ".zarr" else _open_tiff_folder
    for endings, opener in _OPENERS.items():
        if path.name.lower().endswith(endings):
            return opener
    known = " ".join(ending for endings in _OPENERS for ending in endings)
    raise ScanError(f"{path}: format not known; give a folder of TIFFs, .zarr, or one of {known}")


def _guarded(source: str, read: Callable[[Box], NDArray[Any]]) -> Callable[[Box], NDArray[Any]]:
    def read_box(box: Box) -> NDArray[Any]:
        try:
            block = read(box)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ScanError(f"{source}: damaged, cannot be read ({one_line(error)}); replace the file") from error
        return np.ascontiguousarray(block, block.dtype.newbyteorder("="))

    return read_box


def _check_header(source: str, shape: Shape, dtype: np.dtype[Any]) -> None:
    if len(shape) != 3 or min(shape) < 2:
        raise ScanError(
            f"{source}: holds an array of shape {tuple(shape)}, not a volume; give intensities over (z, y, x)"
        )
    if str(dtype.newbyteorder("=")) not in INTENSITY_TYPES:
        raise ScanError(f"{source}: holds {dtype}; save it with 8, 16 or 32 bit ({', '.join(INTENSITY_TYPES)})")


def _open_tiff_folder(path: Path, _: str) -> _Header:
    stack = tiffs.open_folder(path)
    return stack.shape, stack.dtype, stack.read


def _open_tiff(path: Path, _: str) -> _Header:
    stack = tiffs.open_multipage(path)
    return stack.shape, stack.dtype, stack.read


def _open_npy(path: Path, _: str) -> _Header:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array.shape, array.dtype, lambda box: np.array(np.load(path, mmap_mode="r")[box])


def _open_zarr(path: Path, inner: str) -> _Header:
    node = zarr.open(path, mode="r", path=inner.strip("/"))
    if isinstance(node, zarr.Group):
        arrays = ", ".join(f"{path}::{name}" for name, array in node.arrays() if array.ndim == 3)
        raise ScanError(f"{path}: is a group, not an array; give one of its volumes: {arrays or 'it holds none'}")
    return node.shape, node.dtype, lambda box: np.asarray(node[box])


def _open_hdf5(path: Path, inner: str) -> _Header:
    with h5py.File(path, "r") as file:
        node = file.get(inner) if inner else None
        if not isinstance(node, h5py.Dataset):
            found = ", ".join(f"{path}::{name}" for name in _hdf5_volumes(file))
            raise ScanError(f"{path}: name the dataset of the volume; those with 3 axes: {found or 'none'}")
        _refuse_projections(path, node)
        shape, dtype = node.shape, node.dtype

    def read(box: Box) -> NDArray[Any]:
        with h5py.File(path, "r") as file:
            block = np.empty([part.stop - part.start for part in box], dtype)
            file[inner].read_direct(block, source_sel=box)
            return block

    return shape, dtype, read


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


def _open_medical(path: Path, _: str) -> _Header:
    try:
        import SimpleITK as sitk  # noqa: N813  # an extra, and slow to import
    except ImportError as error:
        raise ScanError(f"{path}: this format needs SimpleITK; pip install 'bonehpo[formats]'") from error
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size = tuple(reversed(reader.GetSize()))
    dtype = sitk.GetArrayViewFromImage(sitk.Image([1] * len(size), reader.GetPixelID())).dtype

    def read(box: Box) -> NDArray[Any]:
        reader.SetExtractIndex([part.start for part in reversed(box)])
        reader.SetExtractSize([part.stop - part.start for part in reversed(box)])
        return np.asarray(sitk.GetArrayFromImage(reader.Execute()))

    return size, dtype, read


_OPENERS: Mapping[tuple[str, ...], Callable[[Path, str], _Header]] = {
    (".tif", ".tiff"): _open_tiff,
    (".npy",): _open_npy,
    (".h5", ".hdf5", ".hdf", ".nxs", ".nx5"): _open_hdf5,
    (".mha", ".mhd", ".nii", ".nii.gz"): _open_medical,
}
