"""HDF5 and NeXus: the dataset that is named, and the proof that all of its voxels were written and are there.

HDF5 reads a fill value for whatever is missing: chunks that were never written, parts of a virtual dataset whose file lacks
them, raw files that are cut short.
"""

import contextlib
import importlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bonehpo.errors import ScanError
from bonehpo.scans.limits import refuse_large
from bonehpo.scans.sections import Box, is_volume

RAW_MARKERS = frozenset({"image_key", "rotation_angle", "theta", "data_white", "data_dark"})
"""Datasets that lie beside raw projections in NeXus (NXtomo) and Data Exchange files, and never beside a volume."""

DEEPEST = 4
"""Virtual datasets of virtual datasets that are followed."""


@dataclass(frozen=True, kw_only=True)
class Hdf5Volume:
    """A dataset of an HDF5 file.

    Attributes:
        path: The file.
        inner: Name of the dataset.
        shape: Its lengths along all axes.
        dtype: Type of the intensities.
    """

    path: Path
    inner: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box of voxels, a range for each axis; chunks outside it are not decoded.

        Raises:
            ScanError: The file is truncated or damaged.
        """
        with _opened(self.path) as file:
            block = np.empty([part.stop - part.start for part in box], self.dtype)
            settings = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
            settings.set_efile_prefix(b"${ORIGIN}")  # else raw files are looked for in the folder of this process
            dataset = h5py.Dataset(h5py.h5d.open(file.id, self.inner.encode(), settings))
            try:
                dataset.read_direct(block, source_sel=box)
            except OSError as error:
                raise ScanError(
                    f"{self.path}::{self.inner}: damaged, some of its voxels cannot be unpacked; copy it again"
                ) from error
            return block


def open_dataset(path: Path, inner: str) -> Hdf5Volume:
    """Open a dataset by its header.

    Args:
        path: The file.
        inner: Name of the dataset.

    Raises:
        ScanError: The file is damaged, there is no such dataset, it holds projections, or voxels of it are missing.
    """
    with _opened(path) as file:
        node = file.get(inner) if inner else None
        if not isinstance(node, h5py.Dataset):
            raise ScanError(
                f"{path}: {_not_there(file, path, inner)}; volumes in the file: {_told_volumes(file, path)}"
            )
        _refuse_projections(path, node)
        _refuse_incomplete(node)
        if node.chunks:
            refuse_large(str(path), node.chunks, node.dtype, "voxels of a chunk")
        return Hdf5Volume(path=path, inner=inner, shape=node.shape or (), dtype=node.dtype)


_CUT = re.compile(r"truncated file: eof = (\d+), sblock->base_addr = \d+, stored_eof = (\d+)")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open a file; what its library says of one that it cannot open is put into words."""
    _refuse_endless_heap(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if cut := _CUT.search(str(error)):
            raise ScanError(f"{path}: truncated, {cut[1]} of {cut[2]} bytes are there; copy it again") from error
        if "signature not found" in str(error):
            raise ScanError(f"{path}: is no HDF5, or its first bytes are damaged; copy it again") from error
        raise
    with file:
        yield file


_HEAP, _SEARCHED = b"GCOL\1\0\0\0", 1 << 26
"""First bytes of a heap, in which HDF5 keeps what a virtual dataset is made of; bytes of a file that are searched for it."""


def _refuse_endless_heap(path: Path) -> None:
    """Refuse a file with a heap of which an object takes no bytes: its library would look for the next one for ever."""
    with path.open("rb") as file:
        head = file.read(min(path.stat().st_size, _SEARCHED))
    heap = -1
    while (heap := head.find(_HEAP, heap + 1)) >= 0:
        end, at = heap + int.from_bytes(head[heap + 8 : heap + 16], "little"), heap + 16
        while at + 16 <= min(end, len(head)):
            number, size = int.from_bytes(head[at : at + 2], "little"), int.from_bytes(head[at + 8 : at + 16], "little")
            taken = (size + (16 + -size % 8 if number else 0)) % 2**64
            if taken == 0 or taken >= 2**63:  # no way on, or one back
                raise ScanError(f"{path}: damaged, a heap of it has no end; copy it again, or mend it with h5repack")
            at += taken


def _not_there(file: h5py.File, path: Path, inner: str) -> str:
    """The reason why there is no dataset of a name, for the refusal."""
    if not inner:
        return "name the dataset of the volume behind ::"
    if isinstance(file.get(inner), h5py.Group):
        return f"{inner} is a group; name a dataset"
    parts = inner.strip("/").split("/")
    for n in range(1, len(parts) + 1):
        name = "/".join(parts[:n])
        if file.get(name) is not None:
            continue
        link = file.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            if _source_file(path.parent, link.filename) is None:
                return f"{name} is a link into {link.filename}, which is not there: copy that file beside it"
            return f"{name} is a link to {link.path} in {link.filename}, which holds no such dataset"
        if isinstance(link, h5py.SoftLink):
            return f"{name} is a link to {link.path}, which is not there"
        break
    return f"holds no dataset {inner}"


def _told_volumes(file: h5py.File, path: Path) -> str:
    names: list[str] = []
    file.visititems(
        lambda name, node: (
            names.append(f"/{name}") if isinstance(node, h5py.Dataset) and is_volume(node.shape or ()) else None
        )
    )
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(f"{path}::{name}" for name in names[:5]) + more or "none"


HDF5_PLUGINS = {
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32026: "Blosc2",
}
"""Compressions of HDF5 that come as plugins, by the number of the filter."""


def _refuse_missing_filter(where: str, dataset: h5py.Dataset) -> None:
    settings = dataset.id.get_create_plist()
    for i in range(settings.get_nfilters()):
        number = settings.get_filter(i)[0]
        if not h5py.h5z.filter_avail(number):
            with contextlib.suppress(ImportError):
                importlib.import_module("hdf5plugin")  # brings filters as it is imported, and not before
        if not h5py.h5z.filter_avail(number):
            name = HDF5_PLUGINS.get(number, "an unknown filter")
            raise ScanError(
                f"{where}: compressed with {name} (filter {number}), for which HDF5 needs a plugin; "
                "pip install hdf5plugin, or save it with gzip"
            )


def _refuse_projections(path: Path, dataset: h5py.Dataset) -> None:
    name = dataset.name.strip("/")
    markers = sorted(RAW_MARKERS & set(dataset.parent))
    if name == "exchange/data" or markers:
        sign = f"{', '.join(markers)} lies beside it" if markers else "exchange/data is where Data Exchange keeps them"
        raise ScanError(f"{path}::/{name}: raw projections, not a volume ({sign}); reconstruct the scan first")


def _refuse_incomplete(dataset: h5py.Dataset, depth: int = 0) -> None:
    """Refuse a dataset of which voxels were never written, or lie in files that are not there or lack them."""
    where = f"{dataset.file.filename}::{dataset.name}"
    _refuse_missing_filter(where, dataset)
    if dataset.is_virtual:
        _refuse_missing_parts(where, dataset, depth)
    elif dataset.external:
        _refuse_short_raw_files(where, dataset)
    elif dataset.size:
        _refuse_unwritten(where, dataset)


def _refuse_missing_parts(where: str, dataset: h5py.Dataset, depth: int) -> None:
    """Refuse a virtual dataset of which parts lie nowhere, or not where it says."""
    if depth == DEEPEST:
        raise ScanError(f"{where}: its voxels lie {depth} virtual datasets away; save it with its voxels in it")
    sources = dataset.virtual_sources()
    numbered = [source.file_name for source in sources if "%" in source.file_name or "%" in source.dset_name]
    for name in numbered:
        _refuse_gap(where, Path(dataset.file.filename).parent / name)
    n = sum(source.vspace.get_select_npoints() for source in sources if not numbered)
    if not numbered and n < dataset.size:
        raise ScanError(f"{where}: {n} of its {dataset.size} voxels lie in files, the rest is void; link all of them")
    of_file: dict[str, dict[str, tuple[int, ...]]] = {}
    for source in () if numbered else sources:
        of_file.setdefault(source.file_name, {})[source.dset_name] = source.src_space.shape
    folder = Path(dataset.file.filename).parent
    for name, parts in of_file.items():
        part_file = Path(dataset.file.filename) if name == "." else _source_file(folder, name)
        if part_file is None:
            raise ScanError(f"{where}: its voxels lie in {name}, which is not there; copy that file beside it")
        try:
            _refuse_missing_datasets(part_file, parts, depth)
        except ScanError as error:
            raise ScanError(
                str(error) if depth else f"{where}: its voxels lie in other files, of which {error}"
            ) from error


def _refuse_missing_datasets(file: Path, shapes: Mapping[str, tuple[int, ...]], depth: int) -> None:
    with _opened(file) as opened:
        for inner, shape in shapes.items():
            part = opened.get(inner)
            if not isinstance(part, h5py.Dataset):
                raise ScanError(f"{file}: holds no dataset {inner}; copy it again")
            if any(found < told for found, told in zip(part.shape, shape, strict=False)):
                raise ScanError(f"{file}::{inner}: has shape {part.shape} and not {shape}; write it to its end again")
            _refuse_incomplete(part, depth + 1)


def _refuse_gap(where: str, pattern: Path) -> None:
    """Refuse numbered files of which one is missing before the last: HDF5 would end the volume there."""
    expected = re.compile(r"(\d+)".join(map(re.escape, pattern.name.split("%b", 1))))
    numbers = {
        int(found[1])
        for file in pattern.parent.glob("*")
        if (found := expected.fullmatch(file.name)) and found.lastindex
    }
    missing = [number for number in range(max(numbers, default=0)) if number not in numbers]
    if missing or ("%b" in pattern.name and not numbers):
        name = pattern.name.replace("%b", str(next(iter(missing), 0)))
        raise ScanError(f"{where}: its voxels lie in {name}, too, which is not there; copy that file beside it")


def _source_file(folder: Path, name: str) -> Path | None:
    """The file that a link or a virtual dataset names, as HDF5 finds it: where it says, or beside the one that says so."""
    return next((way for way in (folder / name, folder / Path(name).name) if way.is_file()), None)


def _refuse_short_raw_files(where: str, dataset: h5py.Dataset) -> None:
    left = dataset.size * dataset.dtype.itemsize
    for name, offset, size in dataset.external:
        file = Path(dataset.file.filename).parent / name
        if not file.is_file():
            raise ScanError(f"{where}: its voxels lie in {name}, which is not there; copy that file to {file.parent}")
        expected = offset + min(size, left)
        if (found := file.stat().st_size) < expected:
            raise ScanError(
                f"{where}: its voxels lie in {name}, of which {found} of {expected} bytes are there; copy it again"
            )
        left -= min(size, left)


def _refuse_unwritten(where: str, dataset: h5py.Dataset) -> None:
    if dataset.chunks:
        n_stored = dataset.id.get_num_chunks()
        n = math.prod(-(-extent // chunk) for extent, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    else:
        n_stored, n = int(dataset.id.get_storage_size() > 0), 1
    if n_stored < n:
        raise ScanError(f"{where}: {n_stored} of {n} parts were written, the rest is void; write it to its end again")
