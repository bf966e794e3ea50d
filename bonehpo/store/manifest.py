"""MANIFEST.json: what a slice store holds, how it was prepared, which file holds what, and the hash of every one."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from bonehpo.errors import StoreDamaged
from bonehpo.store.recipe import Recipe

FORMAT = 2
"""Version of the layout of a store; raised when a reader of the old layout would go wrong."""

PHANTOM_MARK = "phantom.json"
"""File beside scans.csv that says that the scans are synthetic, and from what they were made."""

MANIFEST = "MANIFEST.json"
SEAL = "MANIFEST.sha256"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanRecord:
    """One scan of a store.

    Attributes:
        specimen: Name of the specimen.
        state: Number of the load state.
        source: Path relative to the CSV.
        sha256: Hash of its voxels after the crop, or of its images, as they were read.
        shape: Voxels of the whole volume along (z, y, x); empty for a 2-D slice table.
        dtype: Intensity type of the file.
        threshold: Otsu's threshold on the levels of its preview, above which is bone; None for 2-D slices.
        bone_volume_fraction: Voxels above Otsu's threshold, as a fraction of the specimen, or of the volume where no air
            lies around it; None where there is but one phase. This and what follows is measured in the cropped and filtered
            volume before matching, which gives every scan the reference's share of bright voxels.
        trabecular_thickness_um: Mean local thickness of bone in µm; None where it was not measured.
        trabecular_spacing_um: Mean local thickness of what is not bone, in µm; None where it was not measured.
        degree_of_anisotropy: Of the mean intercept length, 0 to 1; None where it was not measured.
        damage_fraction: The share of its slices that is truly damaged, 0 to 1; None where no truth is known.
        strain: Apparent strain as a fraction, if known.
        stress_mpa: Apparent stress in MPa, if known.
        look: What is odd about it, see `preparation.appearance.Look`; empty in older stores.
    """

    specimen: str
    state: int
    source: str
    sha256: str
    shape: tuple[int, ...]
    dtype: str
    threshold: int | None
    bone_volume_fraction: float | None
    trabecular_thickness_um: float | None
    trabecular_spacing_um: float | None
    degree_of_anisotropy: float | None
    damage_fraction: float | None
    strain: float | None
    stress_mpa: float | None

    look: str = ""

    @property
    def porosity(self) -> float | None:
        """Share of what is not bone, as a fraction of the specimen, if known."""
        return None if self.bone_volume_fraction is None else 1 - self.bone_volume_fraction


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRecord:
    """One file of a store: its path inside the store, its bytes, and their SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Contents of a store. It carries no time and no absolute path: the same scans and recipe give the same store id.

    Attributes:
        format: Version of the layout.
        bone: Name of the bone type.
        phantom: Whether the scans are synthetic: `phantom.json` lay beside their table.
        specimens: Along the first axis of `slices`.
        states: Along the second.
        recipe: How the scans were prepared; its planes, slices and side are the other axes.
        damage: Whether there is an array `damage` beside `slices`: every scan of a phantom had its mask.
        preview_side: Voxels along each edge of a preview; None where there are none, as the scans are 2-D slices.
        notes: What the reader of the store should know, one sentence each.
        scans: One for each scan; a specimen may lack states after the first.
        files: Every file but the manifest and its seal.
        donors: The donor of each of `specimens`, in their order; empty where the table names none.
    """

    format: int
    bone: str
    phantom: bool
    specimens: tuple[str, ...]
    states: tuple[int, ...]
    recipe: Recipe
    damage: bool
    preview_side: int | None
    notes: tuple[str, ...]
    scans: tuple[ScanRecord, ...]
    files: tuple[FileRecord, ...]
    donors: tuple[str, ...] = ()

    @cached_property
    def ends(self) -> Mapping[str, tuple[int, int]]:
        """The first and the last load state of each specimen, pristine and failed: those that have previews."""
        states: dict[str, list[int]] = {specimen: [] for specimen in self.specimens}
        for scan in self.scans:
            states[scan.specimen].append(scan.state)
        return {specimen: (min(held), max(held)) for specimen, held in states.items() if held}

    def to_bytes(self) -> bytes:
        """JSON in UTF-8; the hash of these bytes is the store id."""
        plain = asdict(self)
        _drop_later(plain["recipe"], _LATER_OF_RECIPES)
        _drop_later(plain, {"donors": ()})
        for scan in plain["scans"]:
            _drop_later(scan, {"look": ""})
        return msgspec.json.encode(plain)


_LATER_OF_RECIPES: Mapping[str, object] = {
    "standardise": False,
    "phases": None,
    "frames": None,
    "registered": False,
    "bone_is": "bright",
}
"""Keys that were added later, with their defaults: left out at these, so that a store that needs none keeps its id."""


def _drop_later(plain: dict[str, object], defaults: Mapping[str, object]) -> None:
    for name, default in defaults.items():
        if plain[name] == default:
            del plain[name]


def is_phantom(csv: Path) -> bool:
    """True where the scans of a table are synthetic: `PHANTOM_MARK` lies beside it."""
    return (csv.resolve().parent / PHANTOM_MARK).exists()


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """Read the manifest of a store against its seal.

    Returns:
        The manifest and its hash, the store id.

    Raises:
        StoreDamaged: The manifest is not what was written, or is of another version.
    """
    file = folder / MANIFEST
    remedy = "prepare the store again, or restore it from a copy"
    content = file.read_bytes()
    store_id = hashlib.sha256(content).hexdigest()
    seal = folder / SEAL
    if not seal.is_file() or seal.read_text("ascii", "replace").split()[:1] != [store_id]:
        raise StoreDamaged(f"{file}: differs from its seal {SEAL}; {remedy}")
    try:
        version = msgspec.json.decode(content, type=_Version).format
        if version != FORMAT:
            raise StoreDamaged(f"{file}: format {version}, this bonehpo reads {FORMAT}; prepare the store again")
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreDamaged(f"{file}: not a manifest ({error}); {remedy}") from error
    for scan in manifest.scans:
        if scan.specimen not in manifest.specimens or scan.state not in manifest.states:
            raise StoreDamaged(f"{file}: lists no {scan.specimen} state {scan.state}, and yet a scan of it; {remedy}")
    return manifest, store_id


@dataclass(frozen=True, kw_only=True)
class _Version:
    format: int


AXES = ("specimen", "state", "plane", "slice", "y", "x")
"""Of `slices` and `damage`; coordinates have the first of them."""

PREVIEW_AXES = ("specimen", "preview_state", "preview_z", "preview_y", "preview_x")
"""Of `preview`, whose voxels are not those of the slices, so that its axes have names of their own."""

GroupArray = Literal["slices", "damage"]


class Place(NamedTuple):
    """Contents of one file of a store: of which scan, in which array, cut in which plane (None for a preview)."""

    specimen: str
    state: int
    array: str
    plane: str | None

    @property
    def name(self) -> str:
        """As it stands in messages."""
        plane = f" plane {self.plane}" if self.plane else ""
        array = "" if self.array == "slices" else f" {self.array}"
        return f"{self.specimen} state {self.state}{plane}{array}"


def group_key(array: GroupArray, specimen: int, state: int, plane: int) -> str:
    """The file of one group of slices inside the store, by its indices (zarr v3 default chunk keys).

    Args:
        array: Of which array: its name and shape.
        specimen: Index of the specimen.
        state: Index of the load state.
        plane: Index of the plane.
    """
    return f"{array}/c/{specimen}/{state}/{plane}/0/0/0"


def preview_key(specimen: int, preview_state: int) -> str:
    """The file of one preview inside the store, by its indices."""
    return f"preview/c/{specimen}/{preview_state}/0/0/0"


def places(manifest: Manifest) -> Mapping[str, Place]:
    """Every file of slices, damage and previews that the scans of a manifest must have, with what it holds."""
    arrays: tuple[GroupArray, ...] = ("slices", "damage") if manifest.damage else ("slices",)
    found = {}
    for scan in manifest.scans:
        i, j = manifest.specimens.index(scan.specimen), manifest.states.index(scan.state)
        for array in arrays:
            for k, plane in enumerate(manifest.recipe.planes):
                found[group_key(array, i, j, k)] = Place(scan.specimen, scan.state, array, plane)
        ends = manifest.ends[scan.specimen]
        if manifest.preview_side and scan.state in ends:
            key = preview_key(i, ends.index(scan.state))
            found[key] = Place(scan.specimen, scan.state, "preview", None)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One file of a store that is not what was written.

    Attributes:
        path: Inside the store.
        what: What is wrong with it.
        specimen: Whose voxels it holds; None for metadata and coordinates.
        state: Of which load state.
        array: In which array: `slices`, `damage` or `preview`.
        plane: Cut in which plane; None for a preview.
    """

    path: str
    what: str
    specimen: str | None = None
    state: int | None = None
    array: str | None = None
    plane: str | None = None

    @property
    def message(self) -> str:
        """One line: whose voxels, in which file, what is wrong."""
        if self.specimen is None or self.state is None or self.array is None:
            return f"{self.path}: {self.what}"
        return f"{Place(self.specimen, self.state, self.array, self.plane).name} ({self.path}): {self.what}"


def list_files(folder: Path) -> Iterator[str]:
    """All files under a folder, as paths relative to it, in a fixed order."""
    return (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
