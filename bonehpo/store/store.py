"""The slice store: a zarr group that is complete and verified, or absent.

zarr reads a missing chunk as zeros and says nothing, so every file is listed with its hash in MANIFEST.json, and a
group of slices is hashed before it is decoded. `xarray.open_zarr(path, consolidated=False)` opens the store by its
names as it is; where a specimen lacks a state, `bone_volume_fraction` is NaN and the slices read as zeros.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from bonehpo.domain import Progress, ProgressCallback, ignore_progress
from bonehpo.errors import StoreDamaged, StoreError, StoreMissing
from bonehpo.files import file_sha256
from bonehpo.store.manifest import (
    MANIFEST,
    SEAL,
    Fault,
    FileRecord,
    GroupArray,
    Manifest,
    Place,
    ScanRecord,
    group_key,
    list_files,
    places,
    preview_key,
    read_manifest,
)
from bonehpo.store.recipe import Recipe

REMEDY = "prepare the store again, or restore it from a copy"


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
            fault = store._fault(record, hashed=record.path.endswith("zarr.json"))
            if fault:
                raise StoreDamaged(f"{path}: {fault.message}; {REMEDY}")
        return store

    @property
    def bone(self) -> str:
        """Name of the bone type."""
        return self.manifest.bone

    @property
    def is_phantom(self) -> bool:
        """True if it was made from synthetic scans."""
        return self.manifest.phantom

    @property
    def recipe(self) -> Recipe:
        """Recipe by which the scans were prepared."""
        return self.manifest.recipe

    @property
    def specimens(self) -> tuple[str, ...]:
        """Specimen names in natural order."""
        return self.manifest.specimens

    @cached_property
    def donors(self) -> Mapping[str, str]:
        """Donor of each specimen; empty where nobody has named them."""
        return dict(zip(self.specimens, self.manifest.donors, strict=False))

    @property
    def states(self) -> tuple[int, ...]:
        """Load states, rising; the first is pristine."""
        return self.manifest.states

    def ends(self, specimen: str) -> tuple[int, int]:
        """The first and the last load state of a specimen: pristine and failed.

        Raises:
            StoreError: The store does not hold the specimen.
        """
        self.scan(specimen, self.states[0])
        return self.manifest.ends[specimen]

    def common_state(self, specimen: str, state: int) -> int:
        """Number of a load state where specimens are put side by side: failed scans stand in the last state of all.

        Args:
            specimen: Name of the specimen.
            state: Number of one of its load states.

        Raises:
            StoreError: The store does not hold the specimen.
        """
        return self.states[-1] if state == self.ends(specimen)[1] else state

    def label(self, specimen: str, state: int) -> str:
        """The label of a scan: `pristine`, `loaded` or `failed`.

        Args:
            specimen: Name of the specimen.
            state: Number of one of its load states.

        Raises:
            StoreError: The store does not hold the specimen.
        """
        first, last = self.ends(specimen)
        return "pristine" if state == first else "failed" if state == last else "loaded"

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
        """Notes that the reader of this store should know, one sentence each."""
        return self.manifest.notes

    @cached_property
    def _scans(self) -> dict[tuple[str, int], ScanRecord]:
        return {(scan.specimen, scan.state): scan for scan in self.manifest.scans}

    @cached_property
    def _files(self) -> dict[str, FileRecord]:
        return {record.path: record for record in self.manifest.files}

    @cached_property
    def _places(self) -> Mapping[str, Place]:
        return places(self.manifest)

    def has(self, specimen: str, state: int) -> bool:
        """True if the store holds this scan.

        Args:
            specimen: Name of the specimen.
            state: Number of the load state.
        """
        return (specimen, state) in self._scans

    def scan(self, specimen: str, state: int) -> ScanRecord:
        """Record of one scan: morphometry, damage, strain, stress, source.

        Args:
            specimen: Name of the specimen.
            state: Number of the load state.

        Raises:
            StoreError: The store does not hold this scan.
        """
        if not self.has(specimen, state):
            raise StoreError(f"{self.path}: holds no scan of {specimen} state {state}; see `bonehpo inspect`")
        return self._scans[specimen, state]

    def group(self, specimen: str, state: int, plane: str) -> NDArray[np.uint8]:
        """Read all slices of one specimen, state and plane, after a check of their bytes.

        Args:
            specimen: Name of the specimen.
            state: Number of the load state.
            plane: Name of the plane.

        Returns:
            Intensity levels, (slice, y, x).

        Raises:
            StoreError: The store does not hold this scan or plane.
            StoreDamaged: The bytes are not those that were written.
        """
        return self._group("slices", specimen, state, plane)

    @property
    def has_damage(self) -> bool:
        """True if the store knows where its scans are truly damaged, as those of phantoms do."""
        return self.manifest.damage

    def damage(self, specimen: str, state: int, plane: str) -> NDArray[np.uint8]:
        """Read where all slices of one specimen, state and plane are truly damaged, after a check of the bytes.

        Args:
            specimen: Name of the specimen.
            state: Number of the load state.
            plane: Name of the plane.

        Returns:
            The damaged share of each pixel × 255, (slice, y, x), in place with `group`.

        Raises:
            StoreError: The store does not hold this scan or plane, or knows no truth.
            StoreDamaged: The bytes are not those that were written.
        """
        self._check_truth()
        return self._group("damage", specimen, state, plane)

    def first_damaged_state(self, specimen: str) -> int | None:
        """The first load state in which any slice of a specimen is truly damaged; None when it stays whole.

        Raises:
            StoreError: The store does not hold the specimen, or knows no truth.
        """
        self._check_truth()
        self.scan(specimen, self.states[0])
        damaged = (scan.state for scan in self.manifest.scans if scan.specimen == specimen and scan.damage_fraction)
        return min(damaged, default=None)

    @property
    def has_preview(self) -> bool:
        """True if the first and the last state of each specimen are there as small volumes."""
        return self.manifest.preview_side is not None

    def preview(self, specimen: str, state: int) -> NDArray[np.uint8]:
        """Read the cropped and filtered volume of one scan in small, not matched, after a check of its bytes.

        Args:
            specimen: Name of the specimen.
            state: The first or the last.

        Returns:
            Intensity levels, (z, y, x), a cube; bone is above the `threshold` of the scan.

        Raises:
            StoreError: The store holds no preview of this scan.
            StoreDamaged: The bytes are not those that were written.
        """
        self.scan(specimen, state)
        ends = self.ends(specimen)
        if not self.has_preview or state not in ends:
            held = f"only of states {ends[0]} and {ends[1]}" if self.has_preview else "none, as it holds 2-D slices"
            raise StoreError(f"{self.path}: no preview of {specimen} state {state}; there are {held}")
        index = self.specimens.index(specimen), ends.index(state)
        return self._read("preview", preview_key(*index), index)

    def _check_truth(self) -> None:
        if not self.has_damage:
            raise StoreError(
                f"{self.path}: does not know where its scans are damaged; prepare a phantom with its folder truth"
            )

    def _group(self, array: GroupArray, specimen: str, state: int, plane: str) -> NDArray[np.uint8]:
        self.scan(specimen, state)
        if plane not in self.planes:
            raise StoreError(f"{self.path}: holds no plane {plane}; its planes are {', '.join(self.planes)}")
        index = self.specimens.index(specimen), self.states.index(state), self.planes.index(plane)
        return self._read(array, group_key(array, *index), index)

    def _read(self, array: str, key: str, index: tuple[int, ...]) -> NDArray[np.uint8]:
        fault = self._fault(self._files[key], hashed=True)
        if fault:
            raise StoreDamaged(f"{self.path}: {fault.message}; {REMEDY}")
        return np.asarray(zarr.open_array(self.path / array, mode="r")[index], np.uint8)

    def verify(self, progress: ProgressCallback = ignore_progress) -> tuple[Fault, ...]:
        """Compare every byte of the store with the manifest.

        Args:
            progress: Told of each file.

        Returns:
            Every file that is missing, differs, or is not listed; empty when the store is whole.
        """
        found = []
        for done, record in enumerate(self.manifest.files, start=1):
            fault = self._fault(record, hashed=True)
            if fault:
                found.append(fault)
            progress(Progress(done, len(self.manifest.files), record.path))
        surplus = set(list_files(self.path)) - set(self._files) - {MANIFEST, SEAL}
        return (*found, *(Fault(path=path, what="not in the manifest") for path in sorted(surplus)))

    def _fault(self, record: FileRecord, *, hashed: bool) -> Fault | None:
        file = self.path / record.path
        if not file.is_file():
            return self._located(record, "missing")
        size = file.stat().st_size
        if size != record.size:
            return self._located(record, f"{size} bytes instead of {record.size}")
        if hashed:
            found = file_sha256(file)
            if found != record.sha256:
                duplicate = next((other for other in self.manifest.files if other.sha256 == found), None)
                swapped = f"holds what belongs in {duplicate.path}" if duplicate else "bytes have changed"
                return self._located(record, swapped)
        return None

    def _located(self, record: FileRecord, what: str) -> Fault:
        place = self._places.get(record.path)
        return (
            Fault(path=record.path, what=what)
            if place is None
            else Fault(path=record.path, what=what, **place._asdict())
        )
