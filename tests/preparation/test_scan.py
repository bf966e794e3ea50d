"""Preparation against scikit-image and scipy, its steps, and what it refuses."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from data_makers import bone_like, write_folder, write_scans, write_table
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from places import SHARED_DATA
from scipy.ndimage import gaussian_filter, median_filter
from skimage.exposure import match_histograms
from skimage.filters import threshold_otsu
from skimage.transform import resize

from bonehpo.engine import open_engine
from bonehpo.errors import PreparationError, ScanError, StoreError
from bonehpo.preparation.prepare import prepare, prepare_scan
from bonehpo.preparation.scan import filter_median
from bonehpo.scans.intensity import MAX_VALUES, histogram, levels, matching
from bonehpo.scans.sections import cut, even_positions
from bonehpo.scans.window import intensity_window, scan_window
from bonehpo.store.recipe import Recipe, Steps


def prepared(csv, out, progress=lambda _: None, **steps):
    with open_engine(0) as engine:
        return prepare(csv, out / "TB" / "slices.zarr", Steps(**steps), engine, progress)


def refusal(csv, out, **steps) -> str:
    with pytest.raises((ScanError, PreparationError)) as caught:
        prepared(csv, out, **steps)
    assert "\n" not in str(caught.value)
    assert not (out / "TB" / "slices.zarr").exists()
    assert not list(out.glob("TB/.slices.zarr.m*"))
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32"])
def test_matching_then_filtering_equals_scikit_image_then_scipy_voxel_for_voxel(dtype):
    scan, reference = bone_like(33, 1, dtype), bone_like(30, 2, dtype)
    truth = median_filter(match_histograms(scan, reference), size=3)
    intensity_map = matching(histogram(scan), histogram(reference))
    filter_median(scan)
    assert_array_equal(intensity_map(scan).astype(truth.dtype), truth)


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    n_intensities=st.sampled_from([2, 5, 60000]),
    dtype=st.sampled_from(["uint8", "int16", "uint16", "float32"]),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_the_median_is_that_of_scipy_for_any_shape_type_and_number_of_intensities(shape, n_intensities, dtype, seed):
    volume = (np.random.default_rng(seed).integers(0, n_intensities, shape) - n_intensities // 2).astype(dtype)
    truth = median_filter(volume, size=3)
    filter_median(volume)
    assert_array_equal(volume, truth)


def test_more_intensities_than_a_histogram_keeps_move_no_slice_by_half_a_level():
    rng = np.random.default_rng(0)
    scan, reference = (rng.gamma(shape, 1, (64, 64, 64)).astype("f4") for shape in (3, 5))
    kept = histogram(reference)
    assert np.unique(reference).size > MAX_VALUES >= len(kept.values)
    assert sum(kept.counts) == reference.size
    window = intensity_window(kept, reference.dtype)
    ours = levels(window, matching(histogram(scan), kept))(scan)
    exact = match_histograms(scan.astype("f8"), reference.astype("f8"))
    theirs = levels(window)(exact)
    assert np.abs(ours - theirs).max() < 0.5


def test_a_volume_becomes_the_slices_that_the_libraries_make_of_it(tmp_path):
    csv = write_scans(tmp_path, side=30)
    store = prepared(csv, tmp_path, crop=24, n_slices=8, side=16, match="histogram")
    scan, reference = bone_like(30, 102)[3:27, 3:27, 3:27], bone_like(30, 1)[3:27, 3:27, 3:27]
    volume = median_filter(match_histograms(scan, reference), size=3)
    window = store.recipe.window
    levels = (np.clip(volume, window.low, window.high) - window.low) / (window.high - window.low) * 255
    for axis, plane in enumerate(("XY", "XZ", "YZ")):
        sections = [levels.take(z, axis) for z in range(1, 24, 3)]
        truth = [np.rint(resize(section, (16, 16), anti_aliasing=True, preserve_range=True)) for section in sections]
        assert_array_equal(store.group("TB12", 2, plane), np.array(truth, "u1"))
    raw = histogram(scan)
    intensities = median_filter(scan, size=3).astype(float)
    own = scan_window(raw, scan.dtype)
    rounded = np.rint((np.clip(intensities, own.low, own.high) - own.low) / (own.high - own.low) * 255).astype("u1")
    fraction = store.scan("TB12", 2).bone_volume_fraction
    assert fraction == pytest.approx((rounded > threshold_otsu(rounded)).mean(), abs=1e-12)
    assert 0.3 < fraction < 0.7


def test_without_any_step_eight_bit_voxels_stay_as_they_are(tmp_path):
    csv = write_scans(tmp_path, side=20, dtype="uint8")
    store = prepared(csv, tmp_path, cropped=False, match="none", median=False)
    volume = bone_like(20, 1, "uint8")
    assert_array_equal(store.group("TB5", 1, "XY"), volume)
    assert_array_equal(store.group("TB5", 1, "XZ"), volume.transpose(1, 0, 2))
    assert_array_equal(store.group("TB5", 1, "YZ"), volume.transpose(2, 0, 1))
    assert store.notes[0] == "Skipped as asked: crop, matching of intensities, median filter."


def test_without_matching_one_window_serves_all_scans(tmp_path):
    bright = bone_like(20, 1)
    np.save(tmp_path / "bright.npy", bright)
    np.save(tmp_path / "dark.npy", (bright // 2).astype("u2"))
    np.save(tmp_path / "b1.npy", bone_like(20, 2))
    np.save(tmp_path / "b2.npy", bone_like(20, 3))
    files = (("A", 1, "bright"), ("A", 2, "dark"), ("B", 1, "b1"), ("B", 2, "b2"))
    csv = write_table(tmp_path, [{"specimen": s, "state": t, "path": f"{f}.npy"} for s, t, f in files])
    store = prepared(csv, tmp_path, match="none")
    assert store.group("A", 2, "XY").mean() < 0.8 * store.group("A", 1, "XY").mean()


@pytest.mark.parametrize(
    ("match", "told"),
    [
        ("histogram", "each scan was given the whole histogram of TB5:1, as in the paper"),
        (
            "phases",
            "scans were matched to TB5:1 by their pores and bone; the paper gave them the whole histogram of one",
        ),
        ("none", "scans were not matched; the paper gave them the whole histogram of one"),
    ],
)
def test_a_store_says_how_its_scans_were_matched_and_how_those_of_the_paper(tmp_path, match, told):
    assert prepared(write_scans(tmp_path), tmp_path, match=match).recipe.matching_in_words == told


@pytest.mark.parametrize("median", [True, False])
def test_phases_take_gain_and_offset_of_a_scan_away(tmp_path, median):
    structure = bone_like(24, 1, "uint8") // 4
    for state, (gain, offset) in enumerate(((150, 900), (190, 4000), (120, -700)), start=1):
        np.save(tmp_path / f"{state}.npy", (structure * np.int32(gain) + offset).astype("i4"))
    for name, seed in (("other", 2), ("another", 3)):
        np.save(tmp_path / f"{name}.npy", (bone_like(24, seed, "uint8") // 4 * np.int32(150) + 900).astype("i4"))
    files = [("A", 1, "1"), ("A", 2, "2"), ("A", 3, "3"), ("B", 1, "other"), ("B", 3, "another")]
    csv = write_table(tmp_path, [{"specimen": s, "state": t, "path": f"{f}.npy"} for s, t, f in files])
    store = prepared(csv, tmp_path, median=median)
    assert store.recipe.matching == "phases"
    for plane in store.planes:
        first = store.group("A", 1, plane).astype(int)
        for state in (2, 3):
            assert np.abs(store.group("A", state, plane) - first).max() <= 1


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4"])
def test_one_bright_voxel_changes_nothing_but_itself(tmp_path, dtype):
    structure = bone_like(24, 1, "uint8") // 2 + 20
    for state in (1, 2):
        volume = (structure * (1 if dtype == "u1" else 100)).astype(dtype)
        volume[12, 12, 12] = volume.max() if state == 1 else 255 if dtype == "u1" else 60000
        np.save(tmp_path / f"{state}.npy", volume)
    for name, seed in (("other", 2), ("another", 3)):
        np.save(
            tmp_path / f"{name}.npy", (bone_like(24, seed, "uint8") // 2 * (1 if dtype == "u1" else 100)).astype(dtype)
        )
    files = [("A", 1, "1"), ("A", 2, "2"), ("B", 1, "other"), ("B", 2, "another")]
    csv = write_table(tmp_path, [{"specimen": s, "state": t, "path": f"{f}.npy"} for s, t, f in files])
    store = prepared(csv, tmp_path)
    for plane in store.planes:
        assert np.abs(store.group("A", 2, plane) - store.group("A", 1, plane).astype(int)).max() <= 1


BY_MODE = (
    '{"kind":"volumes","crop":null,"match":true,"median":true,"n_slices":6,"side":16,"planes":["XY","XZ","YZ"],'
    '"reference":"A:1","dtype":"uint16","histogram":null,"window":{"low":12000.0,"high":52000.0},"voxel_um":null,'
    '"phases":{"pore":10000.0,"bone":45000.0}}'
)
"""A recipe of before, that does not say by which rule bone was found: by the mode."""


def test_a_recipe_of_before_prepares_a_scan_as_it_did(tmp_path):
    """The mean was measured with the version that wrote such recipes."""
    np.save(tmp_path / "a.npy", bone_like(24, 5))
    by_mode = prepare_scan(str(tmp_path / "a.npy"), Recipe.from_json(BY_MODE)).slices["XY"]
    assert by_mode.mean() == pytest.approx(145.0924, abs=0.01)
    inside = BY_MODE.replace('"bone":45000.0', '"bone":45000.0,"rule":"inside"')
    assert prepare_scan(str(tmp_path / "a.npy"), Recipe.from_json(inside)).slices["XY"].mean() != pytest.approx(
        145, abs=1
    )


def test_cuts_are_the_centres_of_equal_parts():
    assert_array_equal(even_positions(300, 300), np.arange(300))
    for extent in (7, 100, 301):
        for n_slices in range(1, extent + 1, 5):
            positions = even_positions(extent, n_slices)
            assert len(set(positions.tolist())) == n_slices
            assert abs(positions[0] - (extent - 1 - positions[-1])) <= 1
    assert_array_equal(cut(bone_like(8), "YZ", 3), bone_like(8)[:, :, 3])


def test_positions_are_those_of_the_whole_source(tmp_path):
    store = prepared(write_scans(tmp_path, side=30), tmp_path, crop=20, n_slices=4)
    import xarray

    dataset = xarray.open_zarr(store.path)
    assert dataset.position.sel(specimen="TB5", state=2, plane="XZ").values.tolist() == [7, 12, 17, 22]


def test_a_further_scan_is_prepared_as_those_of_the_store_were(tmp_path):
    store = prepared(write_scans(tmp_path, side=24), tmp_path, crop=20, n_slices=5, side=16)
    recipe = Recipe.from_json(store.recipe.to_json())
    assert recipe == store.recipe
    again = prepare_scan(str(write_folder(tmp_path / "stack", bone_like(24, 102))), recipe)
    for plane in store.planes:
        assert_array_equal(again.slices[plane], store.group("TB12", 2, plane))
    record = store.scan("TB12", 2)
    assert (again.bone_volume_fraction, again.source_sha256) == (record.bone_volume_fraction, record.sha256)
    with pytest.raises(PreparationError, match="not a recipe"):
        Recipe.from_json("{}")


def test_progress_is_told_of_each_scan(tmp_path):
    told = []
    prepared(write_scans(tmp_path), tmp_path, told.append)
    assert [(step.done, step.total) for step in told if step.task != "headers"] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert told[-1].what == "TB12 state 2"


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        ({"crop": 0}, "--crop is 0"),
        ({"n_slices": 0}, "--slices is 0"),
        ({"side": -1}, "--size is -1"),
        ({"crop": 5, "cropped": False}, "--no-crop"),
        ({"crop": 21}, "fewer than the crop of 21; prepare with --crop 20 or less"),
        ({"n_slices": 21}, "--slices 21 is more than the 20"),
        ({"reference": "TB7:1"}, "reference 'TB7:1' is not in"),
    ],
)
def test_a_step_that_the_scans_do_not_allow_is_refused(tmp_path, steps, complaint):
    assert complaint in refusal(write_scans(tmp_path), tmp_path, **steps)


def test_a_crop_that_only_some_scans_hold_is_refused_before_any_scan_is_prepared(tmp_path):
    small = write_scans(tmp_path / "small", specimens=("TB9",), side=18).read_text().replace("TB9_", "small/TB9_")
    csv = write_scans(tmp_path)
    csv.write_text(csv.read_text() + "".join(small.splitlines(True)[1:]))
    told = []
    with pytest.raises(
        PreparationError, match=r"TB9_1\.tif: 18×18×18 voxels are fewer than the crop of 20; prepare with --crop 18"
    ):
        prepared(csv, tmp_path, told.append, crop=20)
    assert {step.task for step in told} == {"headers"}
    assert prepared(csv, tmp_path).recipe.crop == 18


EMPTY = np.zeros((20, 20, 20), "u1")


def with_truth(tmp_path, masks):
    """A table of phantoms with the masks of some scans, by specimen and state."""
    csv = write_scans(tmp_path)
    (tmp_path / "phantom.json").touch()
    for (specimen, state), mask in masks.items():
        file = tmp_path / "truth" / specimen / f"state_{state:02d}.tif"
        file.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(file, mask, photometric="minisblack")
    return csv


SCANS = (("TB5", 1), ("TB5", 2), ("TB12", 1), ("TB12", 2))


def test_the_truth_is_cut_where_the_scan_is_cut_and_resized_as_intensities(tmp_path):
    mask = np.where(bone_like(20, 8, "uint8") > 120, 255, 0).astype("u1")
    csv = with_truth(tmp_path, {**dict.fromkeys(SCANS, EMPTY), ("TB12", 2): mask})
    store = prepared(csv, tmp_path, crop=16, n_slices=4, side=12)
    inner = mask[2:18, 2:18, 2:18].astype(float)
    for axis, plane in enumerate(("XY", "XZ", "YZ")):
        sections = [inner.take(position, axis) for position in (2, 6, 10, 14)]
        truth = [np.rint(resize(section, (12, 12), anti_aliasing=True, preserve_range=True)) for section in sections]
        assert_array_equal(store.damage("TB12", 2, plane), np.array(truth, "u1"))
    assert store.first_damaged_state("TB5") is None
    assert store.first_damaged_state("TB12") == 2


def test_phantoms_that_lack_a_mask_make_a_store_without_damage_that_says_so(tmp_path):
    store = prepared(with_truth(tmp_path, dict.fromkeys(SCANS[::2], EMPTY)), tmp_path)
    assert not store.has_damage
    assert store.notes[-1].startswith("Only 2 of 4 scans have a mask in the folder truth")


def test_masks_beside_scans_that_are_no_phantoms_are_not_taken_for_truth(tmp_path):
    csv = with_truth(tmp_path, dict.fromkeys(SCANS, EMPTY))
    (tmp_path / "phantom.json").unlink()
    assert not prepared(csv, tmp_path).has_damage


def test_a_mask_of_another_shape_is_refused(tmp_path):
    csv = with_truth(tmp_path, dict.fromkeys(SCANS, EMPTY[:, :, :19]))
    assert "state_01.tif: holds uint8 (20, 20, 19), its scan is (20, 20, 20)" in refusal(csv, tmp_path)


def test_bone_is_measured_before_matching_which_would_give_all_scans_the_same_share_of_it(tmp_path):
    files = []
    for i, share in enumerate((0.2, 0.2, 0.5, 0.5)):
        rng = np.random.default_rng(i)
        phase = gaussian_filter(rng.standard_normal((32, 32, 32)), 2)
        intensities = np.where(phase > np.quantile(phase, 1 - share), 200, 60) + rng.normal(0, 12, phase.shape)
        np.save(tmp_path / f"{i}.npy", intensities.clip(0, 255).astype("u1"))
        files.append({"specimen": "AABB"[i], "state": 1 + i % 2, "path": f"{i}.npy", "voxel_um": 10})
    store = prepared(write_table(tmp_path, files), tmp_path, median=False)
    first, last = store.scan("A", 1), store.scan("B", 1)
    assert (first.bone_volume_fraction, last.bone_volume_fraction) == pytest.approx((0.2, 0.5), abs=0.001)
    assert first.porosity == pytest.approx(0.8, abs=0.001)
    assert 20 < first.trabecular_thickness_um < last.trabecular_thickness_um < 200
    assert first.trabecular_spacing_um > last.trabecular_spacing_um


def test_a_volume_that_is_measured_in_blocks_measures_what_its_own_voxels_would(tmp_path):
    rows = []
    for i in range(4):
        plates = np.where(np.indices((260, 16, 16))[0] % 90 // 30 == 1, 200, 40 + i).astype("u1")
        np.save(tmp_path / f"{i}.npy", plates)
        rows.append({"specimen": "AABB"[i], "state": 1 + i % 2, "path": f"{i}.npy", "voxel_um": 5})
    store = prepared(write_table(tmp_path, rows), tmp_path, cropped=False, n_slices=2)
    assert store.scan("B", 2).trabecular_thickness_um == pytest.approx(30 * 5, rel=0.05)
    assert store.preview("B", 2).shape == (16, 16, 16)


def test_without_a_voxel_size_lengths_are_not_measured_and_a_note_says_so(tmp_path):
    store = prepared(write_scans(tmp_path), tmp_path)
    assert store.scan("TB5", 1).trabecular_thickness_um is None
    assert store.scan("TB5", 1).degree_of_anisotropy is not None
    assert store.notes[0].startswith("20 voxels along an edge are too few to measure how far scans lie apart")
    assert store.notes[1:] == (
        "Neither table nor files give voxel_um: trabecular thickness and spacing are not measured.",
    )


def spoilt(tmp_path, volume):
    """A table whose last scan is `volume`."""
    csv = write_scans(tmp_path)
    np.save(tmp_path / "spoilt.npy", volume)
    csv.write_text(csv.read_text().replace("TB12_2.tif", "spoilt.npy"))
    return csv


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_scan_with_voxels_that_are_no_numbers_is_refused(tmp_path, value):
    volume = bone_like(20, dtype="float32")
    volume[10, 3, 4] = value
    message = refusal(spoilt(tmp_path, volume), tmp_path)
    assert "spoilt.npy" in message
    assert "NaN or infinite" in message


def test_a_scan_of_one_intensity_is_refused(tmp_path):
    assert "every intensity is 7" in refusal(spoilt(tmp_path, np.full((20, 20, 20), 7, "u2")), tmp_path)


def test_the_states_of_a_specimen_have_one_shape(tmp_path):
    message = refusal(spoilt(tmp_path, bone_like(20)[:19]), tmp_path)
    assert "TB12 state 2 has shape (19, 20, 20), state 1 has (20, 20, 20)" in message


def test_mixed_intensity_types_need_matching(tmp_path):
    csv = spoilt(tmp_path, bone_like(20, 9, "uint8"))
    assert "spoilt.npy: holds uint8, the reference TB5:1 uint16" in refusal(csv, tmp_path, match="none")
    assert prepared(csv, tmp_path).scan("TB12", 2).dtype == "uint8"


def test_the_same_scan_in_two_places_is_refused_whatever_its_format(tmp_path):
    message = refusal(spoilt(tmp_path, bone_like(20, 1)), tmp_path)
    assert "TB12 state 2 and TB5 state 1 hold the same voxels" in message


def slice_table(folder, counts):
    rows = []
    for i, ((specimen, state), count) in enumerate(counts.items()):
        for position in range(count):
            image = bone_like(30, 10 * i + position, "uint8")[5, : 20 + i, : 24 - i]
            tifffile.imwrite(folder / f"{specimen}{state}_{position}.tif", image)
            path = f"{specimen}{state}_{position}.tif"
            rows.append({"specimen": specimen, "state": state, "plane": "ML", "position": 50 * position, "path": path})
    return write_table(folder, rows)


def test_a_table_of_2d_slices_skips_what_needs_volumes_and_says_so(tmp_path):
    csv = slice_table(tmp_path, {("P1", 1): 5, ("P1", 2): 9, ("P2", 1): 3, ("P2", 2): 4})
    store = prepared(csv, tmp_path, side=16)
    assert (store.recipe.kind, store.planes, store.n_slices, store.side) == ("slices", ("ML",), 3, 16)
    assert "were skipped" in store.notes[0]
    assert "P2 state 1" in store.notes[1]
    record = store.scan("P1", 1)
    assert (record.threshold, record.trabecular_thickness_um, record.degree_of_anisotropy) == (None, None, None)
    assert record.porosity == 1 - record.bone_volume_fraction
    assert not store.has_preview
    with pytest.raises(StoreError, match="there are none, as it holds 2-D slices"):
        store.preview("P1", 1)
    image = tifffile.imread(tmp_path / "P12_4.tif")[:, 1:22].astype(float)
    truth = np.rint(resize(image, (16, 16), anti_aliasing=True, preserve_range=True))
    assert_array_equal(store.group("P1", 2, "ML")[1], truth)
    again = prepare_scan(str(tmp_path / "P12_4.tif"), store.recipe)
    assert_array_equal(again.slices["ML"], truth[None])
    (tmp_path / "new").mkdir()
    for position in range(9):
        (tmp_path / f"P12_{position}.tif").rename(tmp_path / "new" / f"{position}.tif")
    assert prepare_scan(str(tmp_path / "new"), store.recipe).slices["ML"].shape == (9, 16, 16)


def test_one_image_under_two_specimens_is_refused(tmp_path):
    csv = slice_table(tmp_path, {("P1", 1): 2, ("P1", 2): 2, ("P2", 1): 2, ("P2", 2): 2})
    csv.write_text(csv.read_text().replace("P22_1.tif", "P11_0.tif"))
    assert "P2 state 2 and P1 state 1 hold the same voxels" in refusal(csv, tmp_path)


def test_a_plane_that_a_scan_lacks_is_refused(tmp_path):
    csv = slice_table(tmp_path, {("P1", 1): 2, ("P1", 2): 2, ("P2", 1): 2, ("P2", 2): 2})
    csv.write_text(csv.read_text().replace("P1,1,ML,50", "P1,1,AP,50"))
    assert "has no slice in plane AP" in refusal(csv, tmp_path)


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real scans are not on this machine")
def test_a_real_volume_is_prepared(tmp_path):
    source = str(SHARED_DATA / "human_trabecular" / "cropped")
    volume_recipe = prepared(write_scans(tmp_path / "v", dtype="uint8"), tmp_path / "v", median=False).recipe
    scan = prepare_scan(source, volume_recipe)
    assert scan.shape == (200, 200, 200)
    assert scan.slices["XZ"].shape == (20, 20, 20)


MEMORY = """
import resource, sys
from pathlib import Path
from bonehpo.preparation.prepare import prepare
from bonehpo.store.recipe import Steps
from bonehpo.engine import open_engine
with open_engine(0) as engine:
    prepare(Path(sys.argv[1]), Path(sys.argv[2]), Steps(median=False, side=32, n_slices=32), engine)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_kib(csv, out):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEMORY, str(csv), str(out)]
    return int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def write_boxes(folder, shapes, states=(1, 2)):
    """Scans of the given shapes, dark, with a bright box of 8 × 8 × 8 voxels in the middle; and their table."""
    rows = []
    for specimen, shape in shapes.items():
        for state in states:
            volume = np.random.default_rng([state, ord(specimen)]).integers(20, 40, shape).astype(np.uint8)
            volume[tuple(slice(extent // 2 - 4, extent // 2 + 4) for extent in shape)] = 200
            np.save(folder / f"{specimen}{state}.npy", volume)
            rows.append({"specimen": specimen, "state": state, "path": f"{specimen}{state}.npy", "voxel_um": 5.0})
    return write_table(folder, rows)


def bright_box(image):
    """Rows and columns of an image that hold bright pixels."""
    return tuple(np.count_nonzero((image > 120).any(axis=axis)) for axis in (1, 0))


def test_sections_that_are_no_squares_are_laid_into_squares_and_not_squeezed(tmp_path):
    csv = write_boxes(tmp_path, {"A": (16, 40, 32), "B": (20, 40, 32)})
    store = prepared(csv, tmp_path, crop=(16, 40, 32), n_slices=16, match="none", median=False, registration=False)
    assert store.recipe.frames == {"XY": 40, "XZ": 32, "YZ": 40}
    assert store.side == 32
    assert store.recipe.pixel_um == {"XY": 5.0 * 40 / 32, "XZ": 5.0, "YZ": 5.0 * 40 / 32}
    xz = store.group("A", 1, "XZ")[8]
    assert bright_box(xz) == (8, 8)
    assert not xz[:8].any()
    assert not xz[24:].any()
    assert xz[8:24].all()
    for plane in ("XY", "YZ"):
        rows, columns = bright_box(store.group("B", 2, plane)[8])
        assert rows == columns
    again = prepare_scan(str(tmp_path / "A1.npy"), Recipe.from_json(store.recipe.to_json()))
    assert_array_equal(again.slices["XZ"], store.group("A", 1, "XZ"))


def test_whole_volumes_of_several_shapes_have_one_scale(tmp_path):
    csv = write_boxes(tmp_path, {"A": (16, 40, 32), "B": (20, 24, 24)})
    store = prepared(csv, tmp_path, cropped=False, n_slices=4, match="none", median=False, registration=False, side=40)
    assert store.recipe.frames == {"XY": 40, "XZ": 32, "YZ": 40}
    for specimen in "AB":
        assert bright_box(store.group(specimen, 1, "XY")[2]) == (8, 8)
    assert "none is squeezed" in " ".join(store.notes)


def test_scans_that_are_larger_than_those_of_the_store_are_cut_to_its_squares(tmp_path):
    csv = write_boxes(tmp_path, {"A": (16, 24, 24), "B": (16, 24, 24)})
    store = prepared(csv, tmp_path, cropped=False, n_slices=4, match="none", median=False, registration=False)
    larger = np.load(tmp_path / "A1.npy")
    np.save(tmp_path / "larger.npy", np.pad(larger, 3, constant_values=90))
    found = prepare_scan(str(tmp_path / "larger.npy"), store.recipe)
    assert bright_box(found.slices["XY"][2]) == (8, 8)


@pytest.mark.parametrize(
    ("crop", "told"),
    [
        (16, "16 × 40 × 32 voxels → the centre cube of 16 voxels: 20% of each scan. --crop 16,40,32 would keep all"),
        ((16, 32, 32), "16 × 40 × 32 voxels → the centre 16 × 32 × 32 voxels: 80% of each scan."),
        ((16, 40, 32), ""),
    ],
    ids=["a cube", "most", "all"],
)
def test_it_is_said_what_a_crop_keeps(tmp_path, crop, told):
    csv = write_boxes(tmp_path, {"A": (16, 40, 32), "B": (16, 40, 32)})
    notes = prepared(csv, tmp_path, crop=crop, n_slices=4, registration=False).notes
    found = [note for note in notes if "→" in note]
    assert bool(found) == bool(told)
    assert all(told in note for note in found)
    assert all(note.startswith("Caution: ") == ("20%" in note) for note in found)


def test_a_crop_of_three_lengths_fits_or_is_refused(tmp_path):
    csv = write_boxes(tmp_path, {"A": (16, 40, 32), "B": (12, 40, 32)})
    told = refusal(csv, tmp_path, crop=(16, 40, 30))
    assert told.endswith("12×40×32 voxels are fewer than the crop of 16×40×30; prepare with --crop 12,40,30 or less")
    with pytest.raises(PreparationError, match="--crop is 0"):
        Steps(crop=(4, 0, 4))


@pytest.mark.torture
def test_memory_does_not_grow_with_the_number_of_scans(tmp_path):
    rows = []
    for i in range(10):
        np.save(tmp_path / f"{i}.npy", np.random.default_rng(i).integers(0, 60000, (128, 128, 128), np.uint16))
        rows.append({"specimen": "AB"[i % 2], "state": i // 2 + 1, "path": f"{i}.npy"})
    few, many = write_table(tmp_path, rows[:4], "few.csv"), write_table(tmp_path, rows, "many.csv")
    growth = peak_kib(many, tmp_path / "M" / "s.zarr") - peak_kib(few, tmp_path / "F" / "s.zarr")
    assert growth < 128**3 * 2 / 1024, "six scans more must cost less than one volume of 4 MiB"
