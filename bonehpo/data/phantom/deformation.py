"""The material of a specimen where it lies under load, and the truth of its damage there."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from bonehpo.data.phantom.damage import Damage
from bonehpo.data.phantom.fields import Field, centred_axis
from bonehpo.data.phantom.schedule import LoadState
from bonehpo.data.phantom.spec import PhantomSpec
from bonehpo.data.phantom.structure import Structure

POISSON_RATIO = 0.3
N_LEVELS_AT_ONCE = 16
CRUSHING_DAMAGE = np.float32(0.3)
"""Damage beyond the onset at a place after which its bone is crushed."""

POSE_VOXELS, POSE_DEGREES = 0.5, 0.5
"""What rigid registration leaves over. Every scan has it, so that interpolation softens all of them alike."""


class Loaded(NamedTuple):
    """A specimen under load, before it is scanned.

    Attributes:
        grey: float32, (side, side, side).
        truth: Whether a voxel is an open crack or crushed bone, of the same shape.
    """

    grey: Field
    truth: NDArray[np.bool_]


def load(spec: PhantomSpec, structure: Structure, damage: Damage, state: LoadState, rng: np.random.Generator) -> Loaded:
    """Deform and break a pristine structure.

    Each voxel of the volume shows the material whose displacement ends there: uniform compression along z with Poisson
    expansion across, less what the damage has taken over, plus the damage's own displacements and a small rigid rest.
    """
    material = broken(structure, damage, state.damage)
    elastic = state.strain - state.damage * damage.shortening
    stretch = np.array([1 / (1 - elastic), *(1 / (1 + POISSON_RATIO * elastic),) * 2])
    pose = small_rotation(np.radians(rng.uniform(-POSE_DEGREES, POSE_DEGREES, 3))) * stretch
    offset = rng.uniform(-POSE_VOXELS, POSE_VOXELS, 3) + (len(structure.grey) - 1) / 2
    grey, damaged = np.empty((2, spec.side, spec.side, spec.side), np.float32)
    for first in range(0, spec.side, N_LEVELS_AT_ONCE):
        levels = slice(first, min(first + N_LEVELS_AT_ONCE, spec.side))
        places = material_places(spec.side, levels, pose, offset)
        places += np.float32(state.damage) * damage.shift[:, levels]
        map_coordinates(material.grey, places, output=grey[levels], order=1, mode="nearest")
        map_coordinates(material.damaged, places, output=damaged[levels], order=1, mode="nearest")
    return Loaded(grey, damaged > 0.5)


class Broken(NamedTuple):
    """Reference material at some damage: its grey, and the share of each voxel that is an open crack or crushed bone."""

    grey: Field
    damaged: Field


def broken(structure: Structure, damage: Damage, progress: float) -> Broken:
    """Open the cracks in bone, and lay fragments of crushed bone into the marrow beside them, at damage `progress`."""
    passed = progress - damage.onset
    opening = np.clip(passed / np.maximum(1 - damage.onset, np.float32(0.05)), 0, 1)
    gap: Field = np.clip(opening * (damage.aperture / 2) - damage.distance + np.float32(0.5), 0, 1)
    gap *= (opening > 0) * structure.bone
    grey = structure.grey + gap * (structure.void_grey - structure.grey)
    if damage.fragments is None:
        return Broken(grey, gap)
    crushed = damage.fragments * np.clip(passed / CRUSHING_DAMAGE, 0, 1) * (1 - structure.bone)
    grey += crushed * (structure.bone_grey - grey)
    gap += crushed
    return Broken(grey, gap)


def material_places(side: int, levels: slice, pose: np.ndarray, offset: np.ndarray) -> Field:
    """Where on the reference grid the material seen at some levels of the volume lies before damage.

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
