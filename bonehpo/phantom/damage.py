"""Deformation and failure of specimens: a band of trabecular bone that buckles, a longitudinal crack in cortical bone."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from bonehpo.phantom.grid import Field, centred_axis
from bonehpo.phantom.spec import PhantomSpec, PhantomState
from bonehpo.phantom.structure import Structure, Wavelength, gaussian_field

NEVER = np.float32(9.0)
"""A damage onset that no load reaches."""


class Damage(NamedTuple):
    """Course of the damage of one specimen, from 0 to 1.

    Attributes:
        distance: Distance of each voxel of the reference grid to the nearest crack surface, in voxels.
        onset: Damage at which the crack opens there; at damage d its opening is (d - onset) / (1 - onset) of `aperture`.
        aperture: Widest opening of a crack in voxels.
        fragments: Share of each voxel that crushed bone fills once damage has passed the onset there; None for no crushing.
        shortening: Apparent strain that the damage takes over at 1, while the bone around it unloads.
        shift: (3, side, side, side) voxels at damage 1, from each voxel of the volume to where its material lay.
    """

    distance: Field
    onset: Field
    aperture: float
    fragments: Field | None
    shortening: float
    shift: Field


def specimen_damage(spec: PhantomSpec, strain_at_failure: float, rng: np.random.Generator) -> Damage:
    """Draw the damage of one specimen, as its bone fails.

    Args:
        spec: Of the phantom.
        strain_at_failure: Apparent strain of the last state, a fraction.
        rng: Source of random numbers.
    """
    return trabecular_damage(spec, strain_at_failure, rng) if spec.bone == "TB" else cortical_damage(spec, rng)


def trabecular_damage(spec: PhantomSpec, strain_at_failure: float, rng: np.random.Generator) -> Damage:
    """Draw an oblique band in which struts bow sideways, are crushed, and break across.

    The band takes over strain while the bone outside unloads: failure localises in trabecular bone [1]_.

    Args:
        spec: Of the phantom.
        strain_at_failure: Apparent strain of the last state, a fraction.
        rng: Source of random numbers.

    References:
        .. [1] Nazarian and Müller, J. Biomech. 37 (2004) 55, doi:10.1016/S0021-9290(03)00254-9.
    """
    side = spec.side + 2 * spec.margin
    azimuth, inclination = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(38, 52))
    normal = np.array(
        [np.cos(inclination), np.sin(inclination) * np.sin(azimuth), np.sin(inclination) * np.cos(azimuth)]
    )
    wobble = 0.04 * spec.side * gaussian_field(side, Wavelength(*(0.5 * spec.side,) * 3), rng)
    height = plane_distance(side, normal, 0.05 * spec.side * rng.standard_normal()) + wobble
    half_width = 0.34 * spec.side
    patch = gaussian_field(side, Wavelength(*(0.22 * spec.side,) * 3), rng)
    onset = (np.abs(height) / half_width) ** 2 * 0.9 + 0.22 * (patch + 0.6)
    sheets = gaussian_field(side, Wavelength(*(0.26 * spec.side,) * 3), rng, bandwidth=0.4)
    shown = slice(spec.margin, -spec.margin)
    aperture = 0.042 * spec.side
    clumps = gaussian_field(side, Wavelength(*(0.11 * spec.side,) * 3), rng, bandwidth=0.3)
    fragments = np.clip((clumps - np.float32(1.9)) / np.float32(0.5), 0, 1)
    shortening = 0.75 * strain_at_failure
    shift = band_shift(spec, height[shown, shown, shown], normal, shortening, rng)
    return Damage(level_distance(sheets), np.clip(onset, 0, NEVER), aperture, fragments, shortening, shift)


def band_shift(
    spec: PhantomSpec, height: Field, normal: np.ndarray, shortening: float, rng: np.random.Generator
) -> Field:
    """Close, shear and bow the material of a band.

    Args:
        spec: The phantom.
        height: Signed distance to the middle of the band, in voxels, on the grid of the volume.
        normal: Unit normal (z, y, x) of the band, z positive.
        shortening: Strain of the volume that the band takes up.
        rng: Source of the bowing directions.

    Returns:
        (3, side, side, side) voxels.
    """
    width = 0.10 * spec.side
    slip = np.array([0.0, normal[1], normal[2]]) / np.hypot(normal[1], normal[2])
    across = 0.5 * np.tanh(height / width)
    bump = np.exp(-((height / (1.3 * width)) ** 2))
    shift = np.empty((3, *height.shape), np.float32)
    for axis in range(3):
        bow = gaussian_field(spec.side, Wavelength(*(0.45 * spec.side,) * 3), rng)
        bow *= (0.008 if axis == 0 else 0.022) * spec.side
        shift[axis] = bump * bow - 0.03 * spec.side * slip[axis] * across
    shift[0] += shortening * spec.side * across
    return shift


def cortical_damage(spec: PhantomSpec, rng: np.random.Generator) -> Damage:
    """Draw one rough crack along z that grows upwards until it pierces the volume, and a few thinner branches."""
    side = spec.side + 2 * spec.margin
    azimuth = np.radians(rng.uniform(28, 62)) + np.pi / 2 * rng.integers(4)
    offset = 0.08 * spec.side * rng.standard_normal()
    distance, onset = crack(spec, azimuth, offset, rng)
    for branch in range(2):
        turn = azimuth + np.radians(rng.uniform(25, 60)) * (-1) ** branch
        branch_distance, branch_onset = crack(spec, turn, 0.25 * spec.side * rng.standard_normal(), rng)
        reach = gaussian_field(side, Wavelength(*(0.5 * spec.side,) * 3), rng)
        branch_onset += np.float32(0.35) + np.clip(0.4 - reach, 0, None)
        branch_distance *= 1.8
        closer = (branch_distance < distance) & (branch_onset < 1)
        distance = np.where(closer, branch_distance, distance)
        onset = np.where(closer, branch_onset, onset)
    shift = np.zeros((3, spec.side, spec.side, spec.side), np.float32)
    return Damage(distance, onset, 0.020 * spec.side, None, 0.0, shift)


class Crack(NamedTuple):
    """Distance to a crack surface in voxels, and the damage at which it opens."""

    distance: Field
    onset: Field


def crack(spec: PhantomSpec, azimuth: float, offset: float, rng: np.random.Generator) -> Crack:
    """Draw one rough surface that contains the z direction.

    Args:
        spec: The phantom.
        azimuth: Direction of its normal in the xy plane, in radians.
        offset: Its distance from the middle of the volume, in voxels.
        rng: Source of the roughness.
    """
    side = spec.side + 2 * spec.margin
    normal = np.array([rng.normal(0, 0.06), np.sin(azimuth), np.cos(azimuth)])
    height = plane_distance(side, normal, offset)
    height += 0.035 * spec.side * gaussian_field(side, Wavelength(*(0.6 * spec.side,) * 3), rng)
    height += 0.009 * spec.side * gaussian_field(side, Wavelength(*(0.14 * spec.side,) * 3), rng)
    front = (centred_axis(side) / spec.side + 0.5)[:, None, None] * np.float32(0.55)
    tip = 0.05 * gaussian_field(side, Wavelength(*(0.3 * spec.side,) * 3), rng)
    return Crack(np.abs(height), np.clip(front + tip, 0, None))


def plane_distance(side: int, normal: np.ndarray, offset: float) -> Field:
    """Signed distance to a plane, in voxels, on a grid of `side` voxels.

    Args:
        side: Voxels an edge of the grid.
        normal: Unit normal of the plane, (3,).
        offset: Distance of the plane from the middle of the grid, in voxels.
    """
    axis = centred_axis(side)
    z, y, x = normal.astype(np.float32)
    distance: Field = (axis * z)[:, None, None] + (axis * y)[:, None] + axis * x - np.float32(offset)
    return distance


def level_distance(field: Field) -> Field:
    """Distance to the zero level of a smooth field, in voxels, to first order: its value over its slope."""
    slope = np.zeros_like(field)
    for axis in range(3):
        slope += np.gradient(field, axis=axis) ** 2
    np.sqrt(slope, out=slope)
    return np.asarray(np.abs(field) / np.maximum(slope, 1e-4), np.float32)


POISSON_RATIO = 0.3
N_LEVELS_AT_ONCE = 16
CRUSHING_DAMAGE = np.float32(0.3)
"""Damage beyond the onset at a place after which its bone is crushed."""

POSE_VOXELS, POSE_DEGREES = 0.5, 0.5
"""Residual of rigid registration. Every scan has it, so that interpolation softens all of them alike."""


class Loaded(NamedTuple):
    """A specimen under load, before it is scanned.

    Attributes:
        intensity: float32, (side, side, side).
        truth: Whether a voxel is an open crack or crushed bone, of the same shape.
    """

    intensity: Field
    truth: NDArray[np.bool_]


def load(
    spec: PhantomSpec, structure: Structure, damage: Damage, state: PhantomState, rng: np.random.Generator
) -> Loaded:
    """Deform and break a pristine structure.

    Each voxel of the volume shows the material whose displacement ends there: uniform compression along z with Poisson
    expansion across, less what the damage has taken over, plus the damage's own displacements and a small rigid rest.

    Args:
        spec: Of the phantom.
        structure: The pristine specimen.
        damage: Course of its damage.
        state: Strain, and how far damage has come.
        rng: Draws what registration leaves over.
    """
    material = broken(structure, damage, state.damage)
    elastic = state.strain - state.damage * damage.shortening
    stretch = np.array([1 / (1 - elastic), *(1 / (1 + POISSON_RATIO * elastic),) * 2])
    pose = small_rotation(np.radians(rng.uniform(-POSE_DEGREES, POSE_DEGREES, 3))) * stretch
    offset = rng.uniform(-POSE_VOXELS, POSE_VOXELS, 3) + (len(structure.intensity) - 1) / 2
    intensity, damaged = np.empty((2, spec.side, spec.side, spec.side), np.float32)
    for first in range(0, spec.side, N_LEVELS_AT_ONCE):
        levels = slice(first, min(first + N_LEVELS_AT_ONCE, spec.side))
        places = material_places(spec.side, levels, pose, offset)
        places += np.float32(state.damage) * damage.shift[:, levels]
        map_coordinates(material.intensity, places, output=intensity[levels], order=1, mode="nearest")
        map_coordinates(material.damaged, places, output=damaged[levels], order=1, mode="nearest")
    return Loaded(intensity, damaged > 0.5)


class Broken(NamedTuple):
    """Reference material at some damage: its intensity, and the share of each voxel that is open crack or crushed bone."""

    intensity: Field
    damaged: Field


def broken(structure: Structure, damage: Damage, progress: float) -> Broken:
    """Open the cracks in bone, and lay fragments of crushed bone into the marrow beside them, at damage `progress`.

    Args:
        structure: The pristine specimen.
        damage: Course of its damage.
        progress: Of the damage, 0 to 1.
    """
    passed = progress - damage.onset
    opening = np.clip(passed / np.maximum(1 - damage.onset, np.float32(0.05)), 0, 1)
    gap: Field = np.clip(opening * (damage.aperture / 2) - damage.distance + np.float32(0.5), 0, 1)
    gap *= (opening > 0) * structure.bone
    intensity = structure.intensity + gap * (structure.void_intensity - structure.intensity)
    if damage.fragments is None:
        return Broken(intensity, gap)
    crushed = damage.fragments * np.clip(passed / CRUSHING_DAMAGE, 0, 1) * (1 - structure.bone)
    intensity += crushed * (structure.bone_intensity - intensity)
    gap += crushed
    return Broken(intensity, gap)


def material_places(side: int, levels: slice, pose: np.ndarray, offset: np.ndarray) -> Field:
    """Places on the reference grid, before damage, of the material seen at some levels of the volume.

    Args:
        side: Voxels an edge of the volume.
        levels: Sections of the volume, along z.
        pose: Affine map from the volume to the reference grid, (3, 3).
        offset: Of that map, (3,) voxels.

    Returns:
        (3, number of levels, side, side) voxels.
    """
    axis = centred_axis(side)
    z, y, x = axis[levels][:, None, None], axis[:, None], axis
    rows = [row[0] * z + row[1] * y + row[2] * x + centre for row, centre in zip(pose, offset, strict=True)]
    return np.stack(rows).astype(np.float32)


def small_rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix for small angles about z, y and x in radians, to first order."""
    about_z, about_y, about_x = angles
    return np.array([[1, -about_x, about_y], [about_x, 1, -about_z], [-about_y, about_z, 1]])
