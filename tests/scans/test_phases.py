"""Pores and bone are found in a histogram, and stay where they are when a crack opens."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bonehpo.preparation.scan import filter_median
from bonehpo.preparation.scan import phases_of as of_prepared
from bonehpo.scans.intensity import Window, histogram, levels
from bonehpo.scans.phases import BoneRule, Phases, find_phases, matched_by_phases

PORE, BONE = 60.0, 180.0


def porous(seed: int, porosity: float, side: int = 48, crack: bool = False) -> np.ndarray:
    """Pores at 60 in bone at 180, blurred, with noise of 4; float64 (z, y, x)."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.standard_normal((side,) * 3), 2.5)
    solid = field < np.quantile(field, 1 - porosity)
    if crack:
        solid[:, :, side // 2 : side // 2 + 2] = False
    return gaussian_filter(np.where(solid, BONE, PORE), 0.7) + rng.normal(0, 4, (side,) * 3)


def phases_of(volume: np.ndarray, rule: BoneRule = "inside") -> Phases:
    filtered = volume.copy()
    filter_median(filtered)
    return find_phases(filtered, rule)


@pytest.mark.parametrize(("rule", "near", "far"), [("inside", 3, 10), ("mode", 2, 8)])
@pytest.mark.parametrize("porosity", [0.04, 0.1, 0.5, 0.85, 0.92])
def test_phases_are_where_they_were_put_however_much_there_is_of_either(porosity, rule, near, far):
    """Struts of 92 % porosity are three voxels thick: half of the voxels within them are not full."""
    found = phases_of(porous(0, porosity), rule)
    assert found.bone == pytest.approx(BONE, abs=far if porosity > 0.8 else near)
    assert found.pore == pytest.approx(PORE, abs=8)
    assert found.rule == rule


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "float32"])
def test_phases_follow_gain_and_offset_in_every_type(dtype):
    gain, offset = (1, 0) if dtype == "uint8" else (0.5, -100) if dtype == "int8" else (90, -5000)
    if dtype == "uint16":
        offset = 5000
    whole = porous(1, 0.1)
    scaled = whole * gain + offset
    volume = scaled.astype("f4") if dtype == "float32" else np.rint(scaled).astype(dtype)
    found, plain = phases_of(volume), phases_of(whole)
    assert (found.bone - offset) / gain == pytest.approx(plain.bone, abs=1.5)
    assert (found.pore - offset) / gain == pytest.approx(plain.pore, abs=1.5)


@pytest.mark.parametrize("porosity", [0.03, 0.1, 0.6])
def test_a_crack_moves_neither_pores_nor_bone(porosity):
    whole, cracked = phases_of(porous(2, porosity)), phases_of(porous(2, porosity, crack=True))
    assert cracked.bone == pytest.approx(whole.bone, abs=1)
    assert cracked.pore == pytest.approx(whole.pore, abs=4)


def test_matching_lays_the_phases_of_a_scan_on_those_of_the_reference():
    scan = porous(3, 0.2) * 2 + 31
    own, reference = phases_of(scan), Phases(pore=50, bone=200, rule="inside")
    line = matched_by_phases(histogram(scan), own, reference, Window(low=-1000, high=1000))
    np.testing.assert_allclose(line(np.array([own.pore, own.bone])), [50, 200])
    ends = line(np.array([scan.min(), scan.max()]))
    np.testing.assert_allclose(ends, 50 + (np.array([scan.min(), scan.max()]) - own.pore) * 150 / (own.bone - own.pore))


@pytest.mark.parametrize("brightest", [0, 400, 20000])
def test_the_line_is_as_steep_however_bright_the_brightest_voxel_is(brightest):
    scan = porous(3, 0.2) * 2 + 31
    own, reference, window = phases_of(scan), Phases(pore=50, bone=150, rule="inside"), Window(low=0, high=180)
    scan[0, 0, 0] = max(scan.max(), brightest)
    line = levels(window, matched_by_phases(histogram(scan), own, reference, window))
    asked = np.array([own.pore, (own.pore + own.bone) / 2, own.bone, own.bone + (own.bone - own.pore) * 0.05])
    np.testing.assert_allclose(line(asked), np.array([50, 100, 150, 155]) / 180 * 255, atol=1e-6)


@pytest.mark.parametrize("values", [[0, 1], [7, 300], [-5, 5000]])
def test_two_intensities_are_two_phases(values):
    volume = np.random.default_rng(0).choice(np.array(values, "i4"), (8, 8, 8))
    found = find_phases(volume)
    assert (found.pore, found.bone) == pytest.approx(tuple(values), abs=(values[1] - values[0]) / 100)
    assert found.pore < found.bone


def test_thin_struts_without_a_mode_keep_their_bone_when_it_breaks():
    """The histogram of struts of one to four voxels has a slope and no peak; a tenth of the volume loses its bone."""
    rng = np.random.default_rng(7)
    field, lost = (gaussian_filter(rng.standard_normal((64,) * 3), sigma) for sigma in (3, 2.5))
    solid = np.abs(field) < np.quantile(np.abs(field), 0.22)
    noise = rng.normal(0, 6, solid.shape)
    whole, failed = (
        PORE + (BONE - PORE) * gaussian_filter(bone.astype(float), 1.0) + noise
        for bone in (solid, solid & (np.abs(lost) > np.quantile(np.abs(lost), 0.1)))
    )
    assert phases_of(failed).bone == pytest.approx(phases_of(whole).bone, abs=8)
    assert abs(phases_of(failed, "mode").bone - phases_of(whole, "mode").bone) > 30


@pytest.mark.parametrize("air", [0, 12])
@pytest.mark.parametrize("porosity", [0.3, 0.75])
def test_air_and_padding_around_a_specimen_are_no_phase_of_it(porosity, air):
    """A cylinder cut out of a porous block, in noisy air or in zeros, has the pores and the bone of the block."""
    block = np.rint(porous(4, porosity, side=64))
    y, x = np.mgrid[:64, :64] - 31.5
    outside = np.random.default_rng(0).normal(air, 3, block.shape) if air else np.zeros(block.shape)
    cut = np.where(np.hypot(y, x) < 28, block, outside)
    found, whole = (prepared_phases(np.clip(volume, 0, 255).astype(np.uint8)) for volume in (cut, block))
    assert found.bone == pytest.approx(whole.bone, abs=3)
    assert found.pore == pytest.approx(whole.pore, abs=6)


def test_a_solid_cylinder_in_air_has_the_air_for_its_pores():
    y, x = np.mgrid[:48, :48] - 23.5
    rng = np.random.default_rng(0)
    volume = np.where(np.hypot(y, x) < 20, 180, 20) + rng.normal(0, 4, (48, 48, 48))
    found = prepared_phases(volume.astype(np.uint8))
    assert (found.pore, found.bone) == pytest.approx((20, 180), abs=8)


def prepared_phases(volume: np.ndarray) -> Phases:
    """As `prepare` finds them."""
    raw = histogram(volume)
    filter_median(volume)
    return of_prepared(volume, raw)
