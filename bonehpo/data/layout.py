"""Which file of a slice store holds what: the arrays, their axes, and the files of one scan."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from bonehpo.data.manifest import Manifest

AXES = ("specimen", "state", "plane", "slice", "y", "x")
"""Of `slices` and `damage`; coordinates have the first of them."""

PREVIEW_AXES = ("specimen", "preview_state", "preview_z", "preview_y", "preview_x")
"""Of `preview`, whose voxels are not those of the slices, so that its axes have names of their own."""

GroupArray = Literal["slices", "damage"]


class Place(NamedTuple):
    """What a file of a store holds: of which scan, in which array, cut in which plane (None for a preview)."""

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
    """The file of one group of slices inside the store, by its indices (zarr v3 default chunk keys)."""
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
        if manifest.preview_side and scan.state in manifest.preview_states:
            key = preview_key(i, manifest.preview_states.index(scan.state))
            found[key] = Place(scan.specimen, scan.state, "preview", None)
    return found
