"""The slice store: a zarr group that is complete and verified, or absent.

zarr reads a missing chunk as zeros and says nothing, so every file is listed with its hash in MANIFEST.json, and a
group of slices is hashed before it is decoded. `xarray.open_zarr(path, consolidated=False)` opens the store by its
names as it is; where a specimen lacks a state, `bone_volume_fraction` is NaN and the slices read as zeros.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from bonehpo.data.manifest import MANIFEST, SEAL, FileRecord, Manifest, ScanRecord, read_manifest
from bonehpo.data.recipe import Recipe
from bonehpo.domain import Progress, ProgressCallback, ignore_progress
from bonehpo.errors import StoreDamaged, StoreError, StoreMissing

REMEDY = "prepare the store again, or restore it from a copy"


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """One file of a store that is not what was written.

    Attributes:
        path: Inside the store.
        what: What is wrong with it.
        specimen: Whose slices it holds; None for metadata and coordinates.
        state: Of which load state.
        plane: Cut in which plane.
    """

    path: str
    what: str
    specimen: str | None = None
    state: int | None = None
    plane: str | None = None

    @property
    def message(self) -> str:
        """One line: whose slices, in which file, what is wrong."""
        place = self.path if self.specimen is None else f"{self.specimen} state {self.state} plane {self.plane}"
        return f"{place}: {self.what}" if place == self.path else f"{place} ({self.path}): {self.what}"


@dataclass(frozen=True, kw_only=True)
class SliceStore:
    """A slice store, opened and found whole; make one with `SliceStore.open`.

    Attributes:
        path: Folder of the zarr group.
        id: SHA-256 of the manifest; a study is tied to it.
        manifest: What the store holds.
    """

    path: Path
    id: str
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> "SliceStore":
        """Open a store: its manifest, the presence and size of every file, and its metadata are checked.

        Args:
            path: Folder of the zarr group, `studies/X/slices.zarr`.

        Raises:
            StoreMissing: There is no store.
            StoreDamaged: A file is missing or cut, or metadata differ from the manifest.
        """
        if not (path / MANIFEST).is_file():
            study = path.parent.name
            phantom = study if study in ("CB", "TB") else "TB"
            raise StoreMissing(
                f"{path}: no slice store; make one with `bonehpo prepare SCANS.csv --bone {study}`, "
                f"after `bonehpo phantom --bone {phantom} --out DIR` if there are no scans"
            )
        manifest, store_id = read_manifest(path)
        store = cls(path=path, id=store_id, manifest=manifest)
        for record in manifest.files:
            damage = store._damage(record, hashed=record.path.endswith("zarr.json"))
            if damage:
                raise StoreDamaged(f"{path}: {damage.message}; {REMEDY}")
        return store

    @property
    def bone(self) -> str:
        """Name of the bone type."""
        return self.manifest.bone

    @property
    def is_phantom(self) -> bool:
        """Whether it was made from synthetic scans."""
        return self.manifest.phantom

    @property
    def recipe(self) -> Recipe:
        """How the scans were prepared."""
        return self.manifest.recipe

    @property
    def specimens(self) -> tuple[str, ...]:
        """Specimen names in natural order."""
        return self.manifest.specimens

    @property
    def states(self) -> tuple[int, ...]:
        """Load states, rising; the first is pristine and the last failed."""
        return self.manifest.states

    @property
    def planes(self) -> tuple[str, ...]:
        """Names of the planes."""
        return self.recipe.planes

    @property
    def n_slices(self) -> int:
        """Slices of each specimen, state and plane."""
        return self.recipe.n_slices

    @property
    def side(self) -> int:
        """Side of a slice in pixels."""
        return self.recipe.side

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of this store should know, one sentence each."""
        return self.manifest.notes

    @cached_property
    def _scans(self) -> dict[tuple[str, int], ScanRecord]:
        return {(scan.specimen, scan.state): scan for scan in self.manifest.scans}

    @cached_property
    def _files(self) -> dict[str, FileRecord]:
        return {record.path: record for record in self.manifest.files}

    def has(self, specimen: str, state: int) -> bool:
        """Whether the store holds this scan."""
        return (specimen, state) in self._scans

    def scan(self, specimen: str, state: int) -> ScanRecord:
        """What is known of one scan: bone volume fraction, strain, stress, source.

        Raises:
            StoreError: The store does not hold this scan.
        """
        if not self.has(specimen, state):
            raise StoreError(f"{self.path}: holds no scan of {specimen} state {state}; see `bonehpo inspect`")
        return self._scans[specimen, state]

    def group(self, specimen: str, state: int, plane: str) -> NDArray[np.uint8]:
        """Read all slices of one specimen, state and plane, after a check of their bytes.

        Returns:
            Grey levels, (slice, y, x).

        Raises:
            StoreError: The store does not hold this scan or plane.
            StoreDamaged: The bytes are not those that were written.
        """
        self.scan(specimen, state)
        if plane not in self.planes:
            raise StoreError(f"{self.path}: holds no plane {plane}; its planes are {', '.join(self.planes)}")
        index = self.specimens.index(specimen), self.states.index(state), self.planes.index(plane)
        damage = self._damage(self._files[shard_key(*index)], hashed=True)
        if damage:
            raise StoreDamaged(f"{self.path}: {damage.message}; {REMEDY}")
        return np.asarray(zarr.open_array(self.path / "slices", mode="r")[index], np.uint8)

    def verify(self, progress: ProgressCallback = ignore_progress) -> tuple[Damage, ...]:
        """Compare every byte of the store with the manifest.

        Args:
            progress: Told of each file.

        Returns:
            Every file that is missing, differs, or is not listed; empty when the store is whole.
        """
        found = []
        for done, record in enumerate(self.manifest.files, start=1):
            damage = self._damage(record, hashed=True)
            if damage:
                found.append(damage)
            progress(Progress(done, len(self.manifest.files), record.path))
        surplus = set(list_files(self.path)) - set(self._files) - {MANIFEST, SEAL}
        return (*found, *(Damage(path=path, what="not in the manifest") for path in sorted(surplus)))

    def _damage(self, record: FileRecord, *, hashed: bool) -> Damage | None:
        file = self.path / record.path
        if not file.is_file():
            return self._located(record, "missing")
        size = file.stat().st_size
        if size != record.size:
            return self._located(record, f"{size} bytes instead of {record.size}")
        if hashed:
            found = file_sha256(file)
            if found != record.sha256:
                twin = next((other for other in self.manifest.files if other.sha256 == found), None)
                swapped = f"holds what belongs in {twin.path}" if twin else "bytes have changed"
                return self._located(record, swapped)
        return None

    def _located(self, record: FileRecord, what: str) -> Damage:
        for i, specimen in enumerate(self.specimens):
            for j, state in enumerate(self.states):
                for k, plane in enumerate(self.planes):
                    if shard_key(i, j, k) == record.path:
                        return Damage(path=record.path, what=what, specimen=specimen, state=state, plane=plane)
        return Damage(path=record.path, what=what)


def shard_key(specimen: int, state: int, plane: int) -> str:
    """The file of one group of slices inside the store, by its indices (zarr v3 default chunk keys)."""
    return f"slices/c/{specimen}/{state}/{plane}/0/0/0"


def list_files(folder: Path) -> Iterator[str]:
    """All files under a folder, as paths relative to it, in a fixed order."""
    return (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
