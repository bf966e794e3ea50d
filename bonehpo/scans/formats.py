"""File formats of volumes: by what each is recognised, how it is opened by its header, and how it proves that it is whole.

A file that was cut short, or that its writer never finished, must not be read as a volume with some black in it. Where the
library that reads a format fills in zeros without a word, the format checks sizes or counts here. `FORMATS` lists all.
"""

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from bonehpo.domain import some_of
from bonehpo.errors import ScanError
from bonehpo.scans import dicom, folders, hdf5, medical, tiffs
from bonehpo.scans.images import KINDS
from bonehpo.scans.limits import refuse_chunks
from bonehpo.scans.sections import is_volume


class Header(NamedTuple):
    """A volume as its header describes it.

    Attributes:
        shape: Voxels along (z, y, x), if these are its axes.
        dtype: Type of the intensities.
        read: Reads one box of voxels, a range for each axis of `shape`, in the type of the file.
        remarks: What the user should know, one sentence each.
        spacing_um: Sides of a voxel along (z, y, x) in µm, if the file tells them.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[Any], NDArray[Any]]
    remarks: tuple[str, ...] = ()
    spacing_um: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class ScanFormat:
    """One format of volumes.

    Attributes:
        name: As in messages and docs.
        path: What stands in the table of scans, for docs.
        suffixes: Endings of the name of a file or, for a folder, of the folder; in small letters.
        holds: For a folder: patterns of which one of its files matches one, where its own name does not tell.
        known_by: Tells by its content that a file or folder is of the format, where its name does not.
        is_folder: Whether it is a folder.
        open: Opens (path, what stands behind `::`) by the header. It may raise what its library raises.
        whole: How a file that lacks voxels is told from a whole one, for docs: a sentence without its stop.
        extra: The extra of bonehpo that brings its library; None where that is always there.
    """

    name: str
    path: str
    suffixes: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    known_by: Callable[[Path], bool] = lambda _: False
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
        if self.is_folder and any(fnmatch(file.name.lower(), sign) for file in path.iterdir() for sign in self.holds):
            return True
        return self.known_by(path)


def format_of(path: Path) -> ScanFormat:
    """The format of a file or folder that exists.

    Raises:
        ScanError: No format recognises it.
    """
    for each in FORMATS:
        if each.recognises(path):
            return each
    ways = " ".join(f"*{suffix}" for each in FORMATS for suffix in each.suffixes)
    if path.is_dir() and path.suffix.lower() not in UNREAD:
        raise ScanError(
            f"{path}: the folder holds no {', '.join(KINDS)} or DICOM{_found_instead(path)}; give that of the "
            f"reconstructed sections, or one of {ways}"
        )
    if (suffix := path.suffix.lower()) in KINDS:
        raise ScanError(f"{path}: is one {KINDS[suffix]}, not a volume; give the folder of all sections")
    if suffix in UNREAD:
        raise ScanError(f"{path}: {UNREAD[suffix]}")
    if ending := _told_by_mark(path):
        raise ScanError(
            f"{path}: its ending is not known, its content is that of {ending}; give it the ending {ending}"
        )
    named = " or ".join(f"a {each.name}" for each in FORMATS if each.is_folder and not each.suffixes)
    raise ScanError(f"{path}: format not known; give {named}, or one of {ways}")


_SCANCO = "a volume of a Scanco scanner; export it there as DICOM, or convert it with ITK (pip install itk-ioscanco)"

UNREAD = {
    ".isq": _SCANCO,
    ".aim": _SCANCO,
    ".rsq": "raw sinograms of a Scanco scanner, not a volume; give the reconstructed ISQ",
    ".rad": "a radiograph of a Scanco scanner, not a volume; give the reconstructed ISQ",
    ".txm": "Zeiss TXM cannot be read here; export the volume from its viewer as TIFF sections",
    ".txrm": "raw projections of a Zeiss scanner, not a volume; export the reconstruction as TIFF sections",
    ".vgl": "a VGStudio project, not a volume; export the volume from it as TIFF sections",
    ".vgi": "describes raw voxels of VGStudio; export the volume as TIFF sections, or write a .mhd of its size and type",
    ".raw": "raw voxels say neither their size nor their type; write a MetaImage header (.mhd) beside them",
    ".vol": "raw voxels say neither their size nor their type; write a MetaImage header (.mhd) beside them",
    ".am": "AmiraMesh cannot be read here; save the volume from Amira or Avizo as TIFF sections or NRRD",
    ".mat": "MATLAB's arrays lie in another order; save the volume there as TIFF sections or with h5create",
    ".npz": "holds several arrays; save the volume alone with numpy.save, as .npy",
    **dict.fromkeys(
        (".zip", ".gz", ".tgz", ".7z", ".tar", ".bz2", ".xz", ".rar"), "is packed; unpack it, give what it holds"
    ),
    **dict.fromkeys((".hdr", ".img"), "Analyze or NIfTI in two files; save it as NIfTI in one, .nii"),
    **dict.fromkeys((".vti", ".vtk"), "VTK cannot be read here; save the volume as MetaImage (.mha)"),
    ".n5": "N5 cannot be read here; save the volume as zarr",
}
"""Formats that are known and not read: what they are, and what to do."""


_BEGINNINGS = {
    b"\x89HDF": ".h5",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"II+\0": ".tif",
    b"MM\0+": ".tif",
    b"\x93NUMPY": ".npy",
    b"NRRD": ".nrrd",
}
"""First bytes of formats, with the ending by which each is known."""


def _told_by_mark(path: Path) -> str:
    """The ending that a file of unknown name should have by its first bytes; nothing where they do not tell."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        head = file.read(8)
    return next((ending for mark, ending in _BEGINNINGS.items() if head.startswith(mark)), "")


MOST_LOOKED_AT = 1000
"""Files and folders below a folder without sections that are looked at for a hint."""


def _found_instead(path: Path) -> str:
    """Contents of a folder without sections, for the refusal."""
    below = sorted(itertools.islice(path.rglob("*"), MOST_LOOKED_AT))
    known = [child for child in below if any(each.recognises(child) for each in FORMATS)]
    n_images = {child: len(list(filter(_is_image, child.iterdir()))) for child in known if child.is_dir()}
    if n_images and (most := max(n_images, key=lambda child: n_images[child])):
        held = f"holds {n_images[most]} images" if n_images[most] else "is a volume"
        return f", but its folder {most.relative_to(path)} {held}"
    if known:
        return f", but {some_of([str(child.relative_to(path)) for child in known])}"
    suffixes = sorted({child.suffix for child in below if child.is_file()})
    return f", but {', '.join(suffix or 'files without an ending' for suffix in suffixes[:5])}" if suffixes else ""


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in KINDS or dicom.is_dicom(path)


def formats_table() -> str:
    """All formats as a table in Markdown, for docs/reference/store.md."""
    rows = [
        (each.path, each.name, each.whole, f"`pip install 'bonehpo[{each.extra}]'`" if each.extra else "")
        for each in FORMATS
    ]
    lines = [("a path is", "format", "that nothing is missing is known by", "needs"), ("---",) * 4, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _open_sections(path: Path, _: str) -> Header:
    stack = folders.open_folder(path)
    spacing = (stack.voxel_um,) * 3 if stack.voxel_um else None
    return Header(stack.shape, stack.dtype, stack.read, stack.remarks, spacing)


def _open_tiff(path: Path, series: str) -> Header:
    stack = tiffs.open_multipage(path, series)
    return Header(stack.shape, stack.dtype, stack.read, stack.remarks)


def _open_npy(path: Path, _: str) -> Header:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    expected, found = array.offset + array.nbytes, path.stat().st_size
    if found != expected:
        raise ScanError(f"{path}: {found} bytes are there, its header speaks of {expected}; save it again")
    return Header(array.shape, array.dtype, lambda box: np.array(np.load(path, mmap_mode="r")[box]))


LEAST_STORED = 0.01
"""Share of the chunks of a zarr volume, of fewer of which it is refused: the rest would be of one intensity."""


def _open_zarr(path: Path, inner: str) -> Header:
    try:
        node = zarr.open(path, mode="r", path=inner.strip("/"))
    except FileNotFoundError as error:
        raise ScanError(f"{path}: holds no array {inner.strip('/') or 'at all'}{_told_arrays(path)}") from error
    remarks: list[str] = []
    if isinstance(node, zarr.Group):
        node, inner = _zarr_volume(path, inner.strip("/"), node)
        remarks.append(f"{inner} of the group is read, its full resolution.")
    refuse_chunks(str(path), node.shape, node.chunks, node.dtype)  # of a shard single chunks are read
    void = [file for file in (path / inner.strip("/")).rglob("*") if file.is_file() and file.stat().st_size == 0]
    if void:
        raise ScanError(f"{void[0]}: is empty, and would be read as zeros; copy the volume again")
    if node.shards is None and "blosc" in repr(node.compressors[-1:]).lower():
        _refuse_damaged_blosc(path / inner.strip("/"), math.prod(node.chunks) * node.dtype.itemsize)
    n_stored = node.nchunks_initialized
    if n_stored < LEAST_STORED * node.nchunks and is_volume(node.shape):
        raise ScanError(
            f"{path}: {n_stored} of its {node.nchunks} chunks are stored, which is no scan; copy the volume again"
        )
    if n_stored < node.nchunks:
        remarks.append(
            f"{n_stored} of {node.nchunks} chunks are stored, the others are read as {node.fill_value}. Writers leave out "
            "what is of one intensity: see that nothing was lost."
        )
    return Header(node.shape, node.dtype, lambda box: np.asarray(node[box]), tuple(remarks))


_BLOSC_HEADER = 16


def _refuse_damaged_blosc(folder: Path, n_bytes: int) -> None:
    """Refuse chunks whose header claims another size than they have: Blosc would read beyond their end, and crash.

    Args:
        folder: Of the array.
        n_bytes: Of an unpacked chunk; filters may have made it up to 8 times as large.
    """
    for file in folder.rglob("*"):
        if not re.fullmatch(r"[\d.]+", file.name) or not file.is_file():
            continue
        with file.open("rb") as chunk:
            header = chunk.read(_BLOSC_HEADER)
        unpacked, packed = (int.from_bytes(header[at : at + 4], "little") for at in (4, 12))
        if len(header) < _BLOSC_HEADER or unpacked > 8 * n_bytes or packed != file.stat().st_size:
            raise ScanError(f"{file}: is damaged, its header claims another size than it has; copy the volume again")


def _zarr_volume(path: Path, inner: str, group: zarr.Group) -> tuple[zarr.Array[Any], str]:
    """The full resolution of a group that is one OME-Zarr image; of any other group the user chooses."""
    attributes: dict[str, Any] = dict(group.attrs)
    images = attributes.get("multiscales") or attributes.get("ome", {}).get("multiscales") or []
    if len(images) == 1:
        name = str(images[0]["datasets"][0]["path"])
        array = group[name]
        if isinstance(array, zarr.Array):
            return array, f"{inner}/{name}".strip("/")
    told = _zarr_volumes(path, inner, group)
    raise ScanError(f"{path}: is a group, not an array; give one of its volumes: {told or 'it holds none'}")


def _zarr_volumes(path: Path, inner: str, group: zarr.Group) -> str:
    arrays = [
        name for name, node in group.members(max_depth=4) if isinstance(node, zarr.Array) and is_volume(node.shape)
    ]
    return ", ".join(f"{path}::{f'{inner}/{name}'.strip('/')}" for name in sorted(arrays)[:8])


def _told_arrays(path: Path) -> str:
    """Contents of a zarr without the array that was asked for, for the refusal."""
    try:
        node = zarr.open(path, mode="r")
    except FileNotFoundError:
        return ", nor metadata of one; copy it again"
    if isinstance(node, zarr.Array):
        return f", it is one itself; give {path}"
    return f"; its volumes: {_zarr_volumes(path, '', node) or 'none'}"


def _open_hdf5(path: Path, inner: str) -> Header:
    dataset = hdf5.open_dataset(path, inner)
    return Header(dataset.shape, dataset.dtype, dataset.read)


def _open_meta_image(path: Path, _: str) -> Header:
    return _of_itk(medical.open_meta_image(path))


def _open_nrrd(path: Path, _: str) -> Header:
    return _of_itk(medical.open_nrrd(path))


def _open_nifti(path: Path, _: str) -> Header:
    return _of_itk(medical.open_nifti(path))


def _open_dicom(path: Path, series: str) -> Header:
    return _of_dicom(dicom.open_dicom(path, series))


def _open_frames(path: Path, _: str) -> Header:
    return _of_dicom(dicom.open_frames(path))


def _of_dicom(volume: dicom.DicomVolume) -> Header:
    return Header(volume.shape, volume.dtype, volume.read, volume.remarks, volume.spacing_um)


def _of_itk(volume: medical.ItkVolume) -> Header:
    return Header(volume.shape, volume.dtype, volume.read, spacing_um=volume.spacing_um)


FORMATS: tuple[ScanFormat, ...] = (
    ScanFormat(
        name="zarr array",
        path="`NAME.zarr`, `NAME.zarr::array`; of an OME-Zarr the full resolution",
        suffixes=(".zarr",),
        holds=("zarr.json", ".zarray", ".zgroup"),
        is_folder=True,
        open=_open_zarr,
        whole="no chunk is an empty file; that some are not stored is said, as writers leave out constant ones",
    ),
    ScanFormat(
        name="folder of DICOM images",
        path="a folder, whatever its files are called; by position, `FOLDER::series` where it holds several",
        known_by=dicom.is_folder_of_dicom,
        is_folder=True,
        open=_open_dicom,
        whole="one series, its positions evenly spaced, each image of one size as it is read",
        extra="formats",
    ),
    ScanFormat(
        name="folder of sections",
        path="a folder of TIFF, PNG, BMP or JPEG, one image a file, by the number in their names",
        holds=tuple(f"*{suffix}" for suffix in KINDS),
        is_folder=True,
        open=_open_sections,
        whole="one series of names whose numbers go in even steps, each section of one size and type as it is read",
    ),
    ScanFormat(
        name="multipage TIFF",
        path="`FILE.tif`, `FILE.tif::series` where it holds several",
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
        whole="all chunks are written, and files that hold parts of it are there and hold them",
    ),
    ScanFormat(
        name="MetaImage",
        path="`FILE.mha`, `FILE.mhd`",
        suffixes=(".mha", ".mhd"),
        open=_open_meta_image,
        whole="the size of raw voxels; of compressed ones all that is unpacked, before the first voxel is read",
        extra="formats",
    ),
    ScanFormat(
        name="NRRD",
        path="`FILE.nrrd`, `FILE.nhdr`",
        suffixes=(".nrrd", ".nhdr"),
        open=_open_nrrd,
        whole="the size of raw voxels; of compressed ones all that is unpacked, before the first voxel is read",
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
    ScanFormat(
        name="DICOM of several frames",
        path="`FILE.dcm`, or a DICOM file of any other name; alone in a folder, the folder too",
        suffixes=dicom.ENDINGS,
        known_by=dicom.is_dicom,
        open=_open_frames,
        whole="the size of the file, and of each element in it",
        extra="formats",
    ),
)
"""All formats. The first that recognises a path opens it."""
