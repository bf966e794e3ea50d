"""Building of a slice store: in a hidden folder beside its place, hashed, flushed to disk, and renamed.

A store that was not finished is never at its place. What a killed run left is removed by the next one.
"""

import contextlib
import functools
import hashlib
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.errors import ZarrUserWarning

from bonehpo.errors import StoreError
from bonehpo.files import file_sha256, flush, writing
from bonehpo.store.manifest import (
    AXES,
    MANIFEST,
    PREVIEW_AXES,
    SEAL,
    FileRecord,
    GroupArray,
    Manifest,
    ScanRecord,
    list_files,
    places,
)

_writing = functools.partial(writing, error=StoreError, remedy="free space, or choose another disk")


CHUNK_SLICES = 10
"""About how many slices one chunk holds: one random slice is then read at the cost of ten, a whole group at full
speed."""

MEASURES = (
    "bone_volume_fraction",
    "porosity",
    "trabecular_thickness_um",
    "trabecular_spacing_um",
    "degree_of_anisotropy",
    "damage_fraction",
    "strain",
    "stress_mpa",
)
"""Coordinates that hold one number for each scan."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredScan:
    """A scan whose slices are in the store already.

    Attributes:
        record: What the manifest says of it.
        positions: For each plane, where its slices were cut, in the coordinates of the source.
    """

    record: ScanRecord
    positions: Mapping[str, NDArray[np.float64]]


@contextlib.contextmanager
def new_store(place: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give an empty hidden folder to build a store in, and put it in its place when the block ends well.

    Args:
        place: Where the store shall be.
        overwrite: Whether a store that is there already is replaced; it stays until the new one is whole.

    Raises:
        StoreError: The place is taken, another process builds there, or the disk refuses.
    """
    making, replaced = (place.with_name(f".{place.name}.{what}") for what in ("making", "replaced"))
    is_new = not place.parent.exists()
    with _writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    with _left_as_it_was(place.parent, is_new), _sole_builder(place):
        with _writing(place):
            if replaced.exists() and not place.exists():
                replaced.rename(place)  # a run was killed between the two renames below
            check_free(place, overwrite=overwrite)
            _remove(making, replaced)
            making.mkdir()
        try:
            yield making
            with _writing(place):
                if place.exists():
                    place.rename(replaced)
                making.rename(place)
                flush(place.parent)
        finally:
            _remove(making, *([replaced] if place.exists() else []))


def check_free(place: Path, *, overwrite: bool) -> None:
    """Refuse a place that is taken.

    Raises:
        StoreError: There is a store and it is not to be replaced, or there is something else.
    """
    if not place.exists():
        return
    if not overwrite:
        raise StoreError(f"{place}: there is a store already; give --overwrite to replace it, or another --bone")
    if not (place / MANIFEST).is_file():
        raise StoreError(f"{place}: is not a slice store and will not be replaced; move it away")


def create_arrays(folder: Path, manifest: Manifest) -> None:
    """Create the group and its empty arrays of voxels, into which several processes may then write."""
    recipe = manifest.recipe
    n_specimens, n, side = len(manifest.specimens), recipe.n_slices, manifest.preview_side
    group = zarr.create_group(
        folder, attributes={"bone": manifest.bone, "kind": recipe.kind, "format": manifest.format}
    )
    for name in ("slices", "damage") if manifest.damage else ("slices",):
        group.create_array(
            name,
            shape=(n_specimens, len(manifest.states), len(recipe.planes), n, recipe.side, recipe.side),
            shards=(1, 1, 1, n, recipe.side, recipe.side),
            chunks=(1, 1, 1, chunk_slices(n), recipe.side, recipe.side),
            dimension_names=AXES,
            attributes={"coordinates": " ".join(("position", *MEASURES))},
            **_ENCODING,
        )
    if side is not None:
        ends = 2  # pristine and failed
        shape = (n_specimens, ends, side, side, side)
        chunks = (1, 1, side, side, side)
        group.create_array("preview", shape=shape, chunks=chunks, dimension_names=PREVIEW_AXES, **_ENCODING)


_ENCODING: Mapping[str, Any] = {
    "dtype": "uint8",
    "compressors": [ZstdCodec(level=3), Crc32cCodec()],
    "fill_value": 0,
}


def chunk_slices(n_slices: int) -> int:
    """The divisor of `n_slices` that is nearest to `CHUNK_SLICES`, the smaller of two.

    >>> chunk_slices(300), chunk_slices(7), chunk_slices(64)
    (10, 7, 8)
    """
    divisors = [size for size in range(1, n_slices + 1) if n_slices % size == 0]
    return min(divisors, key=lambda size: abs(size - CHUNK_SLICES))


def write_slices(
    folder: Path, array: GroupArray, specimen: int, state: int, groups: Sequence[NDArray[np.uint8]]
) -> None:
    """Write all slices of one scan, a shard for each plane; no other process writes to these shards.

    Args:
        folder: Where `create_arrays` made the array.
        array: What the slices show.
        specimen: Index of the specimen.
        state: Index of the load state.
        groups: For each plane, (slice, y, x).

    Raises:
        StoreError: The disk refuses.
    """
    with _writing(folder):
        stored = _writable(folder, array)
        for plane, slices in enumerate(groups):
            stored[specimen, state, plane] = slices


def write_preview(folder: Path, specimen: int, preview_state: int, volume: NDArray[np.uint8]) -> None:
    """Write the preview of one scan, (z, y, x), into its own chunk.

    Args:
        folder: Of the store that is being built.
        specimen: Index of the specimen.
        preview_state: Index among the states that have a preview.
        volume: Intensity levels, (z, y, x).

    Raises:
        StoreError: The disk refuses.
    """
    with _writing(folder):
        _writable(folder, "preview")[specimen, preview_state] = volume


def _writable(folder: Path, name: str) -> zarr.Array[Any]:
    array = zarr.open_array(folder / name, mode="r+")
    return array.with_config({"write_empty_chunks": True})  # black slices too; open_array ignores its `config`


def seal(folder: Path, manifest: Manifest, scans: Sequence[StoredScan]) -> Manifest:
    """Write the coordinates, hash and flush every file, and write the manifest and its seal.

    Args:
        folder: Where the slices of all `scans` have been written.
        manifest: Without scans and files.
        scans: In any order.

    Returns:
        The manifest as written.

    Raises:
        StoreError: A group of slices is missing, or the disk refuses.
    """
    with _writing(folder):
        _write_coordinates(folder, manifest, scans)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Consolidated metadata", category=ZarrUserWarning)
            zarr.consolidate_metadata(folder)
        for leftover in folder.rglob("*.partial"):  # a worker that died and was replaced
            leftover.unlink()
        files = tuple(_flushed(folder, path) for path in list_files(folder))
        order = {(s, t): (i, j) for i, s in enumerate(manifest.specimens) for j, t in enumerate(manifest.states)}
        records = sorted((scan.record for scan in scans), key=lambda record: order[record.specimen, record.state])
        whole = replace(manifest, scans=tuple(records), files=files)
        _check_complete(whole, {record.path for record in files})
        content = whole.to_bytes()
        (folder / MANIFEST).write_bytes(content)
        (folder / SEAL).write_text(f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n", "ascii")
        for name in (MANIFEST, SEAL):
            flush(folder / name)
        for subfolder in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            flush(subfolder)
    return whole


def _write_coordinates(folder: Path, manifest: Manifest, scans: Sequence[StoredScan]) -> None:
    specimens, states, planes = manifest.specimens, manifest.states, manifest.recipe.planes
    by_scan = {name: np.full((len(specimens), len(states)), np.nan) for name in MEASURES}
    position = np.full((len(specimens), len(states), len(planes), manifest.recipe.n_slices), np.nan)
    for scan in scans:
        place = specimens.index(scan.record.specimen), states.index(scan.record.state)
        for name, values in by_scan.items():
            value = getattr(scan.record, name)
            values[place] = np.nan if value is None else value
        for plane, positions in scan.positions.items():
            position[(*place, planes.index(plane))] = positions
    _write(folder, "specimen", np.array(specimens, dtype=object), AXES[:1])
    _write(folder, "state", np.array(states, np.int64), AXES[1:2])
    _write(folder, "plane", np.array(planes, dtype=object), AXES[2:3])
    _write(folder, "slice", np.arange(manifest.recipe.n_slices), AXES[3:4])
    _write(folder, "position", position, AXES[:4])
    for name, values in by_scan.items():
        _write(folder, name, values, AXES[:2])
    if manifest.preview_side is not None:
        _write(folder, "preview_state", np.array([states[0], states[-1]], np.int64), PREVIEW_AXES[1:2])


def _write(folder: Path, name: str, values: NDArray[Any], dims: tuple[str, ...]) -> None:
    dtype = "string" if values.dtype == object else values.dtype
    group = zarr.open_group(folder, mode="r+")
    array = group.create_array(name, shape=values.shape, chunks=values.shape, dtype=dtype, dimension_names=dims)
    array[...] = values


def _check_complete(manifest: Manifest, files: set[str]) -> None:
    for key, place in places(manifest).items():
        if key not in files:
            raise StoreError(
                f"{place.name}: it did not arrive; let all workers write to one shared folder, and prepare again"
            )


def _flushed(folder: Path, path: str) -> FileRecord:
    flush(folder / path)
    return FileRecord(path=path, size=(folder / path).stat().st_size, sha256=file_sha256(folder / path))


@contextlib.contextmanager
def _left_as_it_was(folder: Path, is_new: bool) -> Iterator[None]:
    """Remove a folder that was made for what is not there at the end."""
    try:
        yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()


@contextlib.contextmanager
def _sole_builder(place: Path) -> Iterator[None]:
    try:
        with FileLock(place.with_name(f".{place.name}.lock"), timeout=0) as lock:
            try:
                yield
            finally:  # who has opened it meanwhile sees that it is gone, and makes its own
                Path(lock.lock_file).unlink(missing_ok=True)
    except Timeout as error:
        raise StoreError(f"{place}: another `bonehpo prepare` is building it; wait for it, or stop it") from error


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
