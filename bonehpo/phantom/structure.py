"""Pristine bone as a volume of intensities: synthetic trabecular and cortical structures, or sub-volumes of a real scan.

Intensities run from 0 (air) to 1 (the densest bone).
"""

import itertools
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.filters import threshold_otsu

from bonehpo.errors import PhantomError
from bonehpo.phantom.grid import Field, centred_axis
from bonehpo.phantom.spec import PhantomSpec
from bonehpo.scans.readers import open_volume


class Wavelength(NamedTuple):
    """Length of one period along each axis, in voxels."""

    z: float
    y: float
    x: float


def gaussian_field(
    side: int, wavelength: Wavelength, rng: np.random.Generator, *, bandwidth: float | None = None
) -> Field:
    """Draw a periodic Gaussian random field of mean 0 and standard deviation 1.

    Args:
        side: Voxels along each axis.
        wavelength: With a bandwidth, the dominant period; without, the shortest period that is still strong.
        rng: Source of the noise.
        bandwidth: Relative width of the shell of wave vectors kept, as in a spinodal pattern [1]_; None keeps the long.

    Returns:
        float32, (side, side, side).

    References:
        .. [1] Kumar et al., npj Comput. Mater. 6 (2020) 73, doi:10.1038/s41524-020-0341-6.
    """
    noise = rng.standard_normal((side, side, side), dtype=np.float32)
    spectrum = scipy.fft.rfftn(noise, overwrite_x=True)
    frequencies = scipy.fft.fftfreq(side).astype(np.float32)
    half = scipy.fft.rfftfreq(side).astype(np.float32)
    periods = (
        ((frequencies * wavelength.z) ** 2)[:, None, None]
        + ((frequencies * wavelength.y) ** 2)[:, None]
        + (half * wavelength.x) ** 2
    )
    if bandwidth is None:
        spectrum *= np.exp(-periods / (2 * 0.35**2))
    else:
        spectrum *= np.exp(-((np.sqrt(periods) - 1) ** 2) / np.float32(2 * bandwidth**2))
    spectrum[0, 0, 0] = 0
    field: Field = scipy.fft.irfftn(spectrum, s=noise.shape, overwrite_x=True)
    field /= field.std()
    return field


HAVERSIAN_PER_MM2 = (5.0, 11.0)
HAVERSIAN_DIAMETER_UM = 62.0
OSTEON_RADIUS_UM = 115.0
N_VOLKMANN = 6
LACUNAE_PER_MM3 = 18_000.0
LACUNA_UM3 = 420.0


class CorticalPores(NamedTuple):
    """Pores of cortical bone, and the relative intensity of the tissue between them.

    Attributes:
        open: Voxels of canals and of lacunae that fill their voxel, (n, n, n).
        tissue: Intensity of the tissue relative to its mean: osteons, cement lines, lamellae, unresolved lacunae.
    """

    open: NDArray[np.bool_]
    tissue: Field


class Canals(NamedTuple):
    """Haversian canals: centre of each at each z, radius and age of each.

    Attributes:
        y: (n_canals, n) positions in voxels.
        x: (n_canals, n).
        radius: (n_canals,) voxels.
        intensity: (n_canals,) intensity of the osteon relative to the old matrix.
    """

    y: Field
    x: Field
    radius: Field
    intensity: Field


def cortical_pores(spec: PhantomSpec, porosity: float, rng: np.random.Generator) -> CorticalPores:
    """Draw canals and lacunae that together take up `porosity` of the volume that is shown.

    Args:
        spec: Of the phantom.
        porosity: Fraction of the volume.
        rng: Source of random numbers.
    """
    side, margin = spec.side + 2 * spec.margin, spec.margin
    canals = draw_canals(spec, rng)
    score, tissue = osteons(spec, canals)
    np.minimum(score, volkmann_score(spec, canals, rng), out=score)
    score *= np.exp(0.3 * gaussian_field(side, Wavelength(0.4 * spec.side, 0.15 * spec.side, 0.15 * spec.side), rng))
    lacunae = rng.random((side, side, side), dtype=np.float32) < LACUNAE_PER_MM3 * (spec.voxel_um / 1000) ** 3
    filled = min(1.0, LACUNA_UM3 / spec.voxel_um**3)
    tissue -= 0.45 * filled * lacunae
    shown = (slice(margin, -margin),) * 3
    of_lacunae = float(lacunae[shown].mean()) if filled > 0.5 else 0.0
    pores = score < np.quantile(score[shown], max(porosity - of_lacunae, 0.0))
    return CorticalPores(pores | lacunae if filled > 0.5 else pores, tissue)


def draw_canals(spec: PhantomSpec, rng: np.random.Generator) -> Canals:
    """Scatter canals that keep their distance and wander a little along z."""
    side = spec.side + 2 * spec.margin
    edge_mm = side * spec.voxel_um / 1000
    n_canals = round(rng.uniform(*HAVERSIAN_PER_MM2) * edge_mm**2)
    starts = scatter(n_canals, side, rng)
    z = centred_axis(side) / spec.side
    tilt = rng.normal(0, 0.06, (2, n_canals, 1))
    phase = rng.uniform(0, 2 * np.pi, (2, n_canals, 1))
    wander = spec.side * (tilt * z + 0.012 * np.sin(2 * np.pi * 1.3 * z + phase))
    y, x = (starts[:, :, None] + wander).astype(np.float32)
    radius = HAVERSIAN_DIAMETER_UM / 2 / spec.voxel_um * rng.lognormal(0, rng.uniform(0.25, 0.5), n_canals)
    young = rng.random(n_canals) < rng.uniform(0.1, 0.6)
    intensity = -np.where(young, rng.uniform(0.06, 0.17, n_canals), rng.uniform(0.0, 0.05, n_canals))
    return Canals(y, x, radius.astype(np.float32), intensity.astype(np.float32))


def scatter(n: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Place `n` points in a square, each the farthest from the others among ten candidates (Mitchell's best candidate).

    Args:
        n: Number of points.
        side: Side of the square in voxels.
        rng: Source of random numbers.

    Returns:
        (2, n): y and x in voxels.
    """
    points = rng.uniform(0, side, (1, 2))
    for _ in range(n - 1):
        candidates = rng.uniform(0, side, (10, 2))
        nearest = np.linalg.norm(candidates[:, None] - points[None], axis=2).min(axis=1)
        points = np.vstack([points, candidates[nearest.argmax()]])
    return np.ascontiguousarray(points.T)


class Osteons(NamedTuple):
    """Distance to the nearest canal in units of its radius, and the relative intensity of the tissue."""

    score: Field
    tissue: Field


def osteons(spec: PhantomSpec, canals: Canals) -> Osteons:
    """Lay an osteon round each canal: lamellae, and a bright cement line at its border."""
    side = spec.side + 2 * spec.margin
    score, tissue = np.empty((2, side, side, side), np.float32)
    y, x = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32), indexing="ij")
    border = OSTEON_RADIUS_UM / spec.voxel_um
    lamella = 42.0 / spec.voxel_um
    line = max(6.0 / spec.voxel_um, 0.7)
    for level in range(side):
        nearest = np.full((side, side), np.inf, np.float32)
        owner = np.zeros((side, side), np.intp)
        for canal in range(len(canals.radius)):
            distance = (y - canals.y[canal, level]) ** 2 + (x - canals.x[canal, level]) ** 2
            closer = distance < nearest
            nearest[closer] = distance[closer]
            owner[closer] = canal
        np.sqrt(nearest, out=nearest)
        score[level] = nearest / canals.radius[owner]
        rim = border * (0.75 + 0.5 * ((owner * 0.618) % 1).astype(np.float32))
        inside = nearest < rim
        rings = 0.008 * np.sin(2 * np.pi * nearest / lamella)
        tissue[level] = np.where(inside, canals.intensity[owner] + rings, 0.0)
        tissue[level] += 0.03 * np.exp(-(((nearest - rim) / line) ** 2))
    return Osteons(score, tissue)


def volkmann_score(spec: PhantomSpec, canals: Canals, rng: np.random.Generator) -> Field:
    """Distance to the nearest transverse canal in units of its radius; each joins two Haversian canals.

    Args:
        spec: Of the phantom.
        canals: The Haversian canals.
        rng: Source of random numbers.
    """
    side = spec.side + 2 * spec.margin
    score = np.full((side, side, side), np.inf, np.float32)
    z, y, x = np.meshgrid(*(np.arange(side, dtype=np.float32),) * 3, indexing="ij", sparse=True)
    radius = 0.3 * HAVERSIAN_DIAMETER_UM / spec.voxel_um
    for _ in range(N_VOLKMANN):
        level = int(rng.integers(spec.margin, side - spec.margin))
        first = int(rng.integers(len(canals.radius)))
        gaps = np.hypot(canals.y[:, level] - canals.y[first, level], canals.x[:, level] - canals.x[first, level])
        second = int(np.argsort(gaps)[min(3, len(gaps) - 1)])
        start = np.array([level, canals.y[first, level], canals.x[first, level]], np.float32)
        along = np.array([rng.normal(0, 0.08 * side), *(0, 0)], np.float32)
        along[1:] = canals.y[second, level] - start[1], canals.x[second, level] - start[2]
        share = (z - start[0]) * along[0] + (y - start[1]) * along[1] + (x - start[2]) * along[2]
        share = np.clip(share / np.float32(along @ along), 0, 1)
        distance = (z - start[0] - share * along[0]) ** 2 + (y - start[1] - share * along[1]) ** 2
        distance += (x - start[2] - share * along[2]) ** 2
        np.minimum(score, np.sqrt(distance) / radius, out=score)
    return score


BONE_INTENSITY, MARROW_INTENSITY = 0.70, 0.24
CORTEX_INTENSITY, CANAL_INTENSITY = 0.74, 0.14


class Structure(NamedTuple):
    """Pristine material on the reference grid, margins included.

    Attributes:
        intensity: float32, (n, n, n) with n = side + 2 margins.
        bone: Fraction of bone in each voxel, 0 to 1, of the same shape.
        void_intensity: What fills an open crack: the intensity of marrow.
        bone_intensity: Intensity of a fragment of bone.
    """

    intensity: Field
    bone: Field
    void_intensity: float
    bone_intensity: float


def pristine_structure(spec: PhantomSpec, index: int, rng: np.random.Generator) -> Structure:
    """Make the pristine specimen at `index` as the spec asks.

    Args:
        spec: Of the phantom.
        index: Of the specimen, from 0.
        rng: Source of random numbers.
    """
    if spec.structure is not None:
        return scanned_structure(spec, spec.structure, index)
    return trabecular_structure(spec, index, rng) if spec.bone == "TB" else cortical_structure(spec, index, rng)


def trabecular_structure(spec: PhantomSpec, index: int, rng: np.random.Generator) -> Structure:
    """Draw a network of rods or plates with the specimen's bone volume fraction.

    Bone lies where f² + (b g)² is smallest, f and g being two spinodal fields: for b = 1 along the lines where both
    vanish, which are rods; for b near 0 on the sheets where f vanishes, which are plates. Both are stretched along z,
    the direction of load.

    Args:
        spec: Of the phantom.
        index: Of the specimen, from 0.
        rng: Source of random numbers.
    """
    fraction = spec.volume_fraction(index)
    side = spec.side + 2 * spec.margin
    rodness = float(np.interp(fraction, (0.13, 0.31), (1.0, 0.25)))
    spacing = (0.38 + 0.12 * rodness) * spec.side
    wavelength = Wavelength(1.35 * spacing, spacing, spacing)
    score = gaussian_field(side, wavelength, rng, bandwidth=0.25) ** 2
    score += rodness**2 * gaussian_field(side, wavelength, rng, bandwidth=0.25) ** 2
    bone = soften(score < np.quantile(inner(score, spec.margin), fraction))
    tissue = BONE_INTENSITY + 0.025 * gaussian_field(side, Wavelength(*(0.12 * spec.side,) * 3), rng)
    marrow = MARROW_INTENSITY + 0.012 * gaussian_field(side, Wavelength(*(0.2 * spec.side,) * 3), rng)
    return Structure(np.asarray(marrow + bone * (tissue - marrow), np.float32), bone, MARROW_INTENSITY, BONE_INTENSITY)


def cortical_structure(spec: PhantomSpec, index: int, rng: np.random.Generator) -> Structure:
    """Draw a dense matrix with osteons round Haversian canals along z, Volkmann canals across, and lacunae.

    Args:
        spec: Of the phantom.
        index: Of the specimen, from 0.
        rng: Source of random numbers.
    """
    pores = cortical_pores(spec, 1 - spec.volume_fraction(index), rng)
    side = spec.side + 2 * spec.margin
    tissue = CORTEX_INTENSITY + pores.tissue + 0.018 * gaussian_field(side, Wavelength(*(0.25 * spec.side,) * 3), rng)
    bone = soften(~pores.open)
    return Structure(
        np.asarray(CANAL_INTENSITY + bone * (tissue - CANAL_INTENSITY), np.float32),
        bone,
        CANAL_INTENSITY,
        CORTEX_INTENSITY,
    )


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

    Args:
        spec: Of the phantom.
        source: File or folder of the scan.
        index: Of the specimen, from 0.

    Raises:
        ScanError: The scan cannot be read.
        PhantomError: It is too small, or all of one intensity.
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
        raise PhantomError(f"{source} has a single intensity in {box}: choose a scan of bone")
    solid = scan > threshold_otsu(scan)
    marrow, tissue = float(np.median(scan[~solid])), float(np.median(scan[solid]))
    bone = (scan - np.float32(marrow)) / np.float32(tissue - marrow)
    return Structure(
        MARROW_INTENSITY + bone * (BONE_INTENSITY - MARROW_INTENSITY),
        np.clip(bone, 0, 1),
        MARROW_INTENSITY,
        BONE_INTENSITY,
    )
