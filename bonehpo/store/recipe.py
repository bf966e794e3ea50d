"""The steps that a user asks of the preparation, and the recipe that follows from them."""

import typing
from dataclasses import dataclass

import msgspec

from bonehpo.errors import PreparationError
from bonehpo.scans.intensity import Histogram, Window
from bonehpo.scans.phases import Matching, Phases
from bonehpo.scans.photometry import BoneIs
from bonehpo.scans.sections import Crop, extents, longer_edges
from bonehpo.scans.table import TableKind

DEFAULT_SLICES = 300
DEFAULT_SIDE = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """Preparation as the user asks for it.

    Attributes:
        cropped: Whether to cut the centre out of each volume.
        crop: Side of the centre cube in voxels, or voxels along (z, y, x); None takes the largest cube that all hold.
        match: How to make intensities those of the reference scan: "phases" lays the darkest pores and the inside of bone
            where its are, "histogram" gives each scan its whole histogram, as the paper did, "none" leaves them as they are.
        median: Whether to filter with the 3×3×3 median.
        n_slices: Slices in each plane; None takes `DEFAULT_SLICES`, or as many as there are.
        side: Side of a slice in pixels; None takes `DEFAULT_SIDE`, or the side of the smallest section.
        reference: "SPECIMEN:STATE"; None takes the first specimen's pristine scan.
        standardise: Whether each slice gets the same mean and spread of intensity levels at the end.
        registration: Whether to measure how far each scan lies from the first of its specimen; no voxel changes by it.
        register: Whether to lay each scan on the first of its specimen.
        bone_is: Whether bone is brighter or darker than what is around it; "dark" turns intensities round as they are read.
    """

    cropped: bool = True
    crop: Crop = None
    match: Matching = "phases"
    median: bool = True
    n_slices: int | None = None
    side: int | None = None
    reference: str | None = None
    standardise: bool = False
    registration: bool = True
    register: bool = False
    bone_is: BoneIs = "bright"

    def __post_init__(self) -> None:
        crop = self.crop if isinstance(self.crop, tuple) else (self.crop,)
        given = (*(("crop", extent) for extent in crop), ("slices", self.n_slices), ("size", self.side))
        for name, value in given:
            if value is not None and value < 1:
                raise PreparationError(f"--{name} is {value}; give a number of at least 1")
        if self.match not in typing.get_args(Matching):
            raise PreparationError(f"--match is {self.match}; give one of {', '.join(typing.get_args(Matching))}")
        if self.bone_is not in typing.get_args(BoneIs):
            raise PreparationError(f"--bone-is is {self.bone_is}; give one of {', '.join(typing.get_args(BoneIs))}")
        if self.crop is not None and not self.cropped:
            raise PreparationError(f"--crop {self.crop} and --no-crop exclude each other; remove one")
        if self.register and not self.cropped:
            raise PreparationError(
                "--register and --no-crop exclude each other: scans that were moved do not all show the same; give --crop"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that is needed to prepare a further scan exactly as those of a store were, without the store.

    It is in the manifest of the store, and travels with a promoted model.

    Attributes:
        kind: Whether scans are volumes or 2-D slices.
        crop: Side of the centre cube in voxels, or voxels along (z, y, x); None where nothing is cropped.
        match: Whether intensities are matched: to `phases` where they are given, otherwise to `histogram`.
        median: Whether the 3×3×3 median filter runs.
        n_slices: Slices in each plane.
        side: Side of a slice in pixels.
        planes: Names of the planes.
        reference: "SPECIMEN:STATE" of the reference scan.
        dtype: Its intensity type.
        histogram: Its histogram after the crop; None where scans are not matched to it.
        window: Intensities that become levels 0 and 255.
        voxel_um: Side of a voxel of the scans in µm, if known.
        standardise: Whether each slice has mean 128 and standard deviation 40 intensity levels, see
        `intensities.standardised`. Older
            recipes do not say, and did not.
        phases: Pores and bone of the reference; None where scans are not matched to them. Older recipes do not say, and were
            not.
        frames: For each plane, voxels along the edge of the square into which its sections are laid before they are resized:
            their longer edge, zeros around them. None where sections are squares; older recipes do not say, and squeezed
            what is no square.
        registered: Whether each scan was laid on the first of its specimen. Older recipes do not say, and were not.
        bone_is: "dark" where intensities are turned round as they are read. Older recipes do not say, and were not.
    """

    kind: TableKind
    crop: Crop
    match: bool
    median: bool
    n_slices: int
    side: int
    planes: tuple[str, ...]
    reference: str
    dtype: str
    histogram: Histogram | None
    window: Window
    voxel_um: float | None
    standardise: bool = False
    phases: Phases | None = None
    frames: dict[str, int] | None = None
    registered: bool = False
    bone_is: BoneIs = "bright"

    @property
    def pixel_um(self) -> dict[str, float]:
        """For each plane, side of a pixel of its slices in µm; empty where that is unknown or differs between scans."""
        if self.voxel_um is None or self.kind == "slices":
            return {}
        if self.frames is not None:
            edges = self.frames
        elif self.crop is not None:
            edges = longer_edges(extents((0, 0, 0), self.crop))
        else:
            return {}
        return {plane: self.voxel_um * edges[plane] / self.side for plane in self.planes}

    @property
    def matching(self) -> Matching:
        """Matching of intensities."""
        if not self.match:
            return "none"
        return "histogram" if self.phases is None else "phases"

    @property
    def matching_in_words(self) -> str:
        """Matching of intensities beside that of the paper."""
        if self.matching == "histogram":
            return f"each scan was given the whole histogram of {self.reference}, as in the paper"
        how = f"matched to {self.reference} by their pores and bone" if self.match else "not matched"
        return f"scans were {how}; the paper gave them the whole histogram of one"

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Read what `to_json` wrote.

        Raises:
            PreparationError: The text is not a recipe.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise PreparationError(
                f"not a recipe ({error}); take it from the manifest of a store or from a model"
            ) from error
