"""Pores and bone are found in a histogram, and stay where they are when a crack opens."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bonehpo.preparation.scan import filter_median
from bonehpo.scans.intensity import histogram
from bonehpo.scans.phases import Phases, find_phases, matched_by_phases

PORE, BONE = 60.0, 180.0


def porous(seed: int, porosity: float, side: int = 48, crack: bool = False) -> np.ndarray:
    """Pores at 60 in bone at 180, blurred, with noise of 4; float64 (z, y, x)."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.standard_normal((side,) * 3), 2.5)
    solid = field < np.quantile(field, 1 - porosity)
    if crack:
        solid[:, :, side // 2 : side // 2 + 2] = False
    return gaussian_filter(np.where(solid, BONE, PORE), 0.7) + rng.normal(0, 4, (side,) * 3)


def phases_of(volume: np.ndarray) -> Phases:
    filtered = volume.copy()
    filter_median(filtered)
    return find_phases(histogram(filtered))


@pytest.mark.parametrize("porosity", [0.04, 0.1, 0.5, 0.85, 0.92])
def test_phases_are_where_they_were_put_however_much_there_is_of_either(porosity):
    found = phases_of(porous(0, porosity))
    assert found.bone == pytest.approx(BONE, abs=8 if porosity > 0.8 else 2)
    assert found.pore == pytest.approx(PORE, abs=8)


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
    own, reference = phases_of(scan), Phases(pore=50, bone=200)
    line = matched_by_phases(histogram(scan), own, reference)
    np.testing.assert_allclose(line(np.array([own.pore, own.bone])), [50, 200])
    ends = line(np.array([scan.min(), scan.max()]))
    np.testing.assert_allclose(ends, 50 + (np.array([scan.min(), scan.max()]) - own.pore) * 150 / (own.bone - own.pore))


@pytest.mark.parametrize("values", [[0, 1], [7, 300], [-5, 5000]])
def test_two_intensities_are_two_phases(values):
    volume = np.random.default_rng(0).choice(np.array(values, "i4"), (8, 8, 8))
    found = find_phases(histogram(volume))
    assert (found.pore, found.bone) == pytest.approx(tuple(values), abs=(values[1] - values[0]) / 100)
    assert found.pore < found.bone
