"""Pristine bone as a grey volume: synthetic trabecular and cortical structures, or sub-volumes of a real scan.

Grey values run from 0 (air) to 1 (the densest bone).
"""

import itertools
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.filters import threshold_otsu

from bonehpo.data.phantom.canals import cortical_pores
from bonehpo.data.phantom.fields import Field, Wavelength, gaussian_field
from bonehpo.data.phantom.spec import PhantomSpec
from bonehpo.data.readers import open_volume
from bonehpo.errors import PhantomError

BONE_GREY, MARROW_GREY = 0.70, 0.24
CORTEX_GREY, CANAL_GREY = 0.74, 0.14


class Structure(NamedTuple):
    """Pristine material on the reference grid, margins included.

    Attributes:
        grey: float32, (n, n, n) with n = side + 2 margins.
        bone: Fraction of bone in each voxel, 0 to 1, of the same shape.
        void_grey: What fills an open crack: the grey of marrow.
        bone_grey: Grey of a fragment of bone.
    """

    grey: Field
    bone: Field
    void_grey: float
    bone_grey: float


def pristine_structure(spec: PhantomSpec, index: int, rng: np.random.Generator) -> Structure:
    """Make the pristine specimen at `index` as the spec asks."""
    if spec.structure is not None:
        return scanned_structure(spec, spec.structure, index)
    return trabecular_structure(spec, index, rng) if spec.bone == "TB" else cortical_structure(spec, index, rng)


def trabecular_structure(spec: PhantomSpec, index: int, rng: np.random.Generator) -> Structure:
    """Draw a network of rods or plates with the specimen's bone volume fraction.

    Bone lies where f² + (b g)² is smallest, f and g being two spinodal fields: for b = 1 along the lines where both
    vanish, which are rods; for b near 0 on the sheets where f vanishes, which are plates. Both are stretched along z,
    the direction of load.
    """
    fraction = spec.volume_fraction(index)
    side = spec.side + 2 * spec.margin
    rodness = float(np.interp(fraction, (0.13, 0.31), (1.0, 0.25)))
    spacing = (0.38 + 0.12 * rodness) * spec.side
    wavelength = Wavelength(1.35 * spacing, spacing, spacing)
    score = gaussian_field(side, wavelength, rng, bandwidth=0.25) ** 2
    score += rodness**2 * gaussian_field(side, wavelength, rng, bandwidth=0.25) ** 2
    bone = soften(score < np.quantile(inner(score, spec.margin), fraction))
    tissue = BONE_GREY + 0.025 * gaussian_field(side, Wavelength(*(0.12 * spec.side,) * 3), rng)
    marrow = MARROW_GREY + 0.012 * gaussian_field(side, Wavelength(*(0.2 * spec.side,) * 3), rng)
    return Structure(np.asarray(marrow + bone * (tissue - marrow), np.float32), bone, MARROW_GREY, BONE_GREY)


def cortical_structure(spec: PhantomSpec, index: int, rng: np.random.Generator) -> Structure:
    """Draw a dense matrix with osteons round Haversian canals along z, Volkmann canals across, and lacunae."""
    pores = cortical_pores(spec, 1 - spec.volume_fraction(index), rng)
    side = spec.side + 2 * spec.margin
    tissue = CORTEX_GREY + pores.tissue + 0.018 * gaussian_field(side, Wavelength(*(0.25 * spec.side,) * 3), rng)
    bone = soften(~pores.open)
    return Structure(np.asarray(CANAL_GREY + bone * (tissue - CANAL_GREY), np.float32), bone, CANAL_GREY, CORTEX_GREY)


def soften(solid: np.ndarray) -> Field:
    """Turn a binary structure into voxel fractions, as if its border were known to a part of a voxel."""
    fractions: Field = gaussian_filter(solid.astype(np.float32), 0.6)
    return fractions


def inner(field: Field, margin: int) -> Field:
    """The part of a reference field that the undeformed volume shows."""
    return field[margin:-margin, margin:-margin, margin:-margin]


def scanned_structure(spec: PhantomSpec, source: Path, index: int) -> Structure:
    """Take a sub-volume of a real scan, its own texture included, as one pristine specimen.

    Sub-volumes lie on a grid that spans the scan, so that they overlap as little as their number allows.

    Raises:
        ScanError: The scan cannot be read.
        PhantomError: It is too small, or all of one grey value.
    """
    volume = open_volume(str(source))
    side = spec.side + 2 * spec.margin
    per_axis = math.ceil(len(spec.specimens) ** (1 / 3))
    corners = sorted(itertools.product(range(per_axis), repeat=3), key=lambda corner: (sum(corner) % 2, corner))
    stride = min((extent - side) // max(per_axis - 1, 1) for extent in volume.shape)
    if stride < (side // 4 if per_axis > 1 else 0):
        needed = side + (per_axis - 1) * (side // 4)
        shape = " × ".join(map(str, volume.shape))
        raise PhantomError(
            f"{source} has {shape} voxels, but {len(spec.specimens)} specimens of side {spec.side} need {needed} along "
            "each axis: choose a smaller side"
        )
    z, y, x = (
        place * (extent - side) // max(per_axis - 1, 1)
        for place, extent in zip(corners[index], volume.shape, strict=True)
    )
    box = (slice(z, z + side), slice(y, y + side), slice(x, x + side))
    scan = volume.read(box).astype(np.float32)
    if scan.min() == scan.max():
        raise PhantomError(f"{source} has a single grey value in {box}: choose a scan of bone")
    solid = scan > threshold_otsu(scan)
    marrow, tissue = float(np.median(scan[~solid])), float(np.median(scan[solid]))
    bone = (scan - np.float32(marrow)) / np.float32(tissue - marrow)
    return Structure(MARROW_GREY + bone * (BONE_GREY - MARROW_GREY), np.clip(bone, 0, 1), MARROW_GREY, BONE_GREY)
