"""The window of intensities is that of bone and pores, whatever lies far off."""

import numpy as np
import pytest
from places import SHARED_DATA
from scipy.ndimage import gaussian_filter

from bonehpo.scans.intensity import Histogram, Window, histogram
from bonehpo.scans.phases import find_phases
from bonehpo.scans.readers import open_volume
from bonehpo.scans.window import common_range, far_above, intensity_window, scan_window

SIDE = 48
PORE, BONE = 8_000, 12_000


def scan(share: float, noise: float = 200, seed: int = 0) -> np.ndarray:
    """Struts of a share of the volume, blurred, with noise; float64 (z, y, x)."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.standard_normal((SIDE,) * 3), 2.5)
    solid = gaussian_filter((field > np.quantile(field, 1 - share)).astype(float), 0.7)
    return PORE + (BONE - PORE) * solid + rng.normal(0, noise, field.shape)


def screw(volume: np.ndarray, share: float, intensity: float, blur: float = 0.7) -> np.ndarray:
    """A ball of metal in the middle."""
    radius = (share * SIDE**3 * 3 / 4 / np.pi) ** (1 / 3)
    distance = np.sqrt(((np.indices(volume.shape) - (SIDE - 1) / 2 - 0.3) ** 2).sum(axis=0))
    metal = gaussian_filter((distance < radius).astype(float), blur) if blur else (distance < radius)
    return (1 - metal) * volume + metal * intensity


def padded(volume: np.ndarray, intensity: float) -> np.ndarray:
    y, x = np.indices(volume.shape[1:]) - (SIDE - 1) / 2
    return np.where(np.hypot(y, x) > SIDE / 2, intensity, volume)


@pytest.mark.parametrize("share", [0.06, 0.25, 0.6, 0.93])
@pytest.mark.parametrize(
    ("far", "dtype"),
    [
        (lambda v: screw(v, 0.007, 65_535, blur=0), "uint16"),
        (lambda v: screw(v, 0.01, 65_535, blur=0.4), "uint16"),
        (lambda v: screw(v, 0.05, 50_000, blur=0), "uint16"),
        (lambda v: screw(v, 0.002, 32_767, blur=0), "int16"),
        (lambda v: padded(v, -32_768), "int16"),
        (lambda v: screw(padded(v, -1e6), 0.01, 4e5, blur=0), "float32"),
    ],
    ids=["saturated", "blurred", "a screw of 5 %", "signed", "padded", "padded and metal"],
)
def test_metal_and_padding_leave_the_levels_to_bone_and_pores(share, far, dtype):
    plain, odd = (
        v.astype("f4") if dtype == "float32" else np.rint(v).astype(dtype) for v in (scan(share), far(scan(share)))
    )
    wide = BONE - PORE
    common, clean = common_range(histogram(odd)), find_phases(plain)
    assert PORE - 1.6 * wide < common.low
    assert common.high < BONE + 1.6 * wide
    for window in (intensity_window(histogram(odd), odd.dtype), scan_window(histogram(odd), odd.dtype)):
        assert window.low < PORE
        assert BONE - 0.05 * wide < window.high
        assert window.high - window.low < 2.6 * wide
    found = find_phases(odd)
    assert found.bone == pytest.approx(clean.bone, abs=0.03 * wide)
    assert found.pore == pytest.approx(clean.pore, abs=0.03 * wide)


def test_metal_in_8_bit_parts_no_bone_from_bone():
    """Otsu's threshold would lie between all bone and the metal."""
    volume = np.rint(screw(60 + (scan(0.25) - PORE) * 30 / (BONE - PORE), 0.01, 255, blur=0)).astype(np.uint8)
    assert intensity_window(histogram(volume), volume.dtype) == Window(low=0, high=255), (
        "the store keeps them as they are"
    )
    assert scan_window(histogram(volume), volume.dtype).high < 120
    assert find_phases(volume).bone == pytest.approx(90, abs=3)
    assert far_above(histogram(volume)) == pytest.approx(0.01, abs=0.002)


@pytest.mark.parametrize("noise", [0, 100, 400, 1200])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.98])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_of_a_scan_of_bone_and_pores_alone_nothing_is_left_out(noise, share, dtype):
    """Few struts, sharp and far brighter than marrow, are no metal."""
    volume = scan(share, noise)
    volume = np.rint(volume / 100).astype(np.uint8) if dtype == "uint8" else volume.astype(dtype)
    counted = histogram(volume)
    assert common_range(counted) == Window(low=counted.values[0], high=counted.values[-1])
    assert far_above(counted) == 0


def test_metal_short_of_saturation_is_left_out_and_a_chunk_of_bone_is_not():
    """Either is compact, 1 % of the voxels, with the noise of the rest."""
    noise = np.random.default_rng(3).normal(0, 60, (SIDE,) * 3)
    metal = histogram(screw(scan(0.25, 0), 0.01, 24_000, blur=0) + noise)
    assert common_range(metal).high < 16_500
    bone = histogram(screw(np.full((SIDE,) * 3, float(PORE)), 0.01, BONE, blur=0) + noise)
    assert common_range(bone) == Window(low=bone.values[0], high=bone.values[-1])


def test_of_a_scan_in_air_nothing_is_left_out():
    """Air of -1000, marrow of -50 and bone up to 1500, as in Hounsfield units."""
    volume = padded(np.rint((scan(0.3) - PORE) * 1550 / (BONE - PORE) - 50), 0)
    air = np.random.default_rng(1).normal(-1000, 40, volume.shape)
    volume = np.where(volume == 0, air, volume).astype(np.int16)
    counted = histogram(volume)
    assert common_range(counted) == Window(low=counted.values[0], high=counted.values[-1])


@pytest.mark.parametrize("values", [(7.0,), (0.0, 255.0), (3.0, 90.0, 160.0), (0.0, 1e-38), (-3e38, 3e38)])
def test_few_intensities_are_all_common(values):
    counted = Histogram(values=values, counts=(5,) * len(values))
    assert common_range(counted) == Window(low=values[0], high=values[-1])


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="needs the real images of ../shared/data")
def test_of_a_human_core_nothing_is_left_out():
    volume = open_volume(str(SHARED_DATA / "human_trabecular" / "cropped"))
    for start in (0, 100):
        counted = histogram(volume.read((slice(start, start + 64),) * 3))
        assert common_range(counted) == Window(low=counted.values[0], high=counted.values[-1])
