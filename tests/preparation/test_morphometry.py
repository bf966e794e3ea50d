"""Thickness, spacing and anisotropy of bodies whose answers are known."""

import numpy as np
import pytest
from data_makers import bone_like
from scipy.ndimage import gaussian_filter

from bonehpo.preparation.morphometry import (
    MEASURED_SIDE,
    condense,
    degree_of_anisotropy,
    hemisphere,
    mean_thickness,
    measure,
    preview_cube,
)
from bonehpo.scans.intensity import histogram, levels
from bonehpo.scans.window import scan_window

SIDE = 64
GRID = np.indices((SIDE,) * 3) + 0.5


def along(direction):
    """Distance of each voxel along a unit vector."""
    unit = np.asarray(direction, float) / np.linalg.norm(direction)
    return np.tensordot(unit, GRID, 1)


def plates(thickness, spacing, side=SIDE):
    """Plates across the first axis, the first and the last gap cut in the middle by the border."""
    place = (np.arange(side) + 0.5 + thickness + spacing / 2) % (thickness + spacing)
    return np.broadcast_to((place < thickness)[:, None, None], (side,) * 3)


def rods(radius, spacing, direction=(1, 0, 0)):
    """Round rods on a square lattice across the first axis, or a single one along another direction."""
    if direction == (1, 0, 0):
        y, x = (GRID[i] % spacing - spacing / 2 for i in (1, 2))
        return y**2 + x**2 < radius**2
    centred = GRID - SIDE / 2
    return (centred**2).sum(axis=0) - (along(direction) - along(direction).mean()) ** 2 < radius**2


@pytest.mark.parametrize(("thickness", "spacing"), [(4, 12), (8, 24), (16, 16)])
def test_plates_are_as_thick_and_as_far_apart_as_they_were_made(thickness, spacing):
    bone = plates(thickness, spacing)
    assert mean_thickness(bone) == pytest.approx(thickness, rel=0.02)
    assert mean_thickness(~bone) == pytest.approx(spacing, rel=0.02)


def test_the_thickness_of_a_plate_does_not_depend_on_its_direction():
    slab = np.abs(along((1, 2, 2)) - along((1, 2, 2)).mean()) < 5
    assert mean_thickness(slab) == pytest.approx(10, abs=1.5)


@pytest.mark.parametrize("radius", [4, 8, 16])
def test_a_ball_is_as_thick_as_its_diameter(radius):
    ball = ((GRID - SIDE / 2) ** 2).sum(axis=0) < radius**2
    assert mean_thickness(ball) == pytest.approx(2 * radius, abs=2.5)


@pytest.mark.parametrize("direction", [(1, 0, 0), (1, 1, 0), (1, 2, 3)])
def test_a_rod_is_as_thick_as_its_diameter_and_anisotropic_in_every_direction(direction):
    bone = rods(6, 32, direction)
    assert mean_thickness(bone) == pytest.approx(12, abs=1.5)
    assert degree_of_anisotropy(bone) > 0.97


def test_a_mixture_measures_the_mean_over_its_voxels():
    bone = np.zeros((64, 64, 64), bool)
    bone[4:8], bone[40:56] = True, True
    assert mean_thickness(bone) == pytest.approx((4 * 4 + 16 * 16) / 20, rel=0.1)


def test_large_balls_on_a_coarse_grid_measure_what_they_measure_on_the_fine_one(monkeypatch):
    bone = gaussian_filter(np.random.default_rng(3).standard_normal((64,) * 3), 4) > 0
    coarse = mean_thickness(bone)
    monkeypatch.setattr("bonehpo.preparation.morphometry.FINE_RADII", 1000)
    assert coarse == pytest.approx(mean_thickness(bone), rel=0.05)


def test_a_ball_has_no_direction_and_blobs_hardly_any():
    ball = ((GRID - SIDE / 2) ** 2).sum(axis=0) < 20**2
    assert degree_of_anisotropy(ball) < 0.01
    blobs = gaussian_filter(np.random.default_rng(0).standard_normal((SIDE,) * 3), 2, mode="wrap") > 0
    assert degree_of_anisotropy(blobs) < 0.1


def test_an_ellipsoid_is_between_and_the_longer_the_more():
    z, y, x = GRID - SIDE / 2
    found = [degree_of_anisotropy((z / factor) ** 2 + y**2 + x**2 < 12**2) for factor in (1, 1.5, 2.4)]
    assert found[0] < 0.01
    assert 0.3 < found[1] < found[2] < 0.97


def test_anisotropy_is_that_of_the_counted_intercepts():
    """Lines through the voxels, counted one crossing after another along each axis, give the same ratio."""
    bone = gaussian_filter(np.random.default_rng(5).standard_normal((96,) * 3), (6, 3, 3), mode="wrap") > 0
    counted = np.array([np.count_nonzero(np.diff(bone, axis=axis)) for axis in range(3)]) / bone.size
    by_axis = 1 - (counted.min() / counted.max()) ** 2
    assert degree_of_anisotropy(bone) == pytest.approx(by_axis, abs=0.05)


def test_directions_are_spread_evenly():
    units = hemisphere(100)
    np.testing.assert_allclose((units**2).sum(axis=1), 1)
    np.testing.assert_allclose(units.T @ units / 100, np.eye(3) / 3, atol=0.02)


def test_lengths_scale_with_the_voxel_and_anisotropy_does_not():
    intensities = np.where(plates(8, 24), 200, 20).astype(np.uint8)
    small, large = measure(intensities, 100, 6.5), measure(intensities, 100, 13.0)
    assert small.trabecular_thickness_um == pytest.approx(8 * 6.5, rel=0.05)
    assert large.trabecular_thickness_um == pytest.approx(2 * small.trabecular_thickness_um)
    assert large.trabecular_spacing_um == pytest.approx(2 * small.trabecular_spacing_um)
    assert large.degree_of_anisotropy == small.degree_of_anisotropy > 0.99


def test_without_a_voxel_size_there_is_no_length_but_an_anisotropy():
    found = measure(np.where(plates(8, 24), 200, 20).astype(np.uint8), 100, None)
    assert (found.trabecular_thickness_um, found.trabecular_spacing_um) == (None, None)
    assert found.degree_of_anisotropy > 0.99


@pytest.mark.parametrize("level", [0, 255])
def test_a_volume_without_a_surface_has_no_measures(level):
    found = measure(np.full((20, 20, 20), level, np.uint8), 100, 6.5)
    assert found.degree_of_anisotropy is found.trabecular_thickness_um is found.trabecular_spacing_um is None


def test_a_large_volume_is_measured_in_blocks_and_measures_the_same():
    fine = np.where(np.indices((300, 40, 40))[0] % 60 // 18 == 1, 60000, 9000).astype(np.uint16)
    seen = condense(fine, levels(scan_window(histogram(fine), fine.dtype)))
    assert (seen.factor, seen.levels.shape) == (3, (100, 13, 13))
    assert max(seen.levels.shape) <= MEASURED_SIDE
    assert seen.bone_volume_fraction == pytest.approx(0.3, abs=1e-12)
    found = measure(seen.levels, seen.threshold, 5.0 * seen.factor)
    assert found.trabecular_thickness_um == pytest.approx(18 * 5.0, rel=0.05)


def test_a_preview_is_a_cube_that_looks_like_its_volume():
    volume = bone_like(48, dtype="uint8")
    assert preview_cube(volume, 48) is volume
    small = preview_cube(volume, 24)
    blocks = volume.reshape(24, 2, 24, 2, 24, 2).mean(axis=(1, 3, 5))
    assert small.shape == (24, 24, 24)
    assert np.corrcoef(small.ravel(), blocks.ravel())[0, 1] > 0.97
    flat = preview_cube(np.maximum(volume[:30], 1), 16)
    assert flat.shape == (16, 16, 16)
    assert [bool(section.any()) for section in flat] == [False] * 3 + [True] * 10 + [False] * 3, "it is to scale"
