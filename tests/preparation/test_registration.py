"""The rigid offset of a scan is measured whatever its intensity, beside damage too, and told where it matters."""

import csv

import numpy as np
import pytest
import tifffile
from data_makers import write_table
from scipy.ndimage import affine_transform, gaussian_filter
from scipy.spatial.transform import Rotation

from bonehpo.analysis.calibration import summarise_scan
from bonehpo.domain import ignore_progress
from bonehpo.engine import open_engine
from bonehpo.errors import PreparationError
from bonehpo.phantom import PhantomSpec, write_phantom
from bonehpo.preparation.prepare import offset_from, prepare, prepare_scan
from bonehpo.preparation.registration import OFFSETS, Offset, measure_offset, offsets_caution, reduced, show_one_place
from bonehpo.store.recipe import Steps
from bonehpo.workflow.prediction import Prediction

SIDE, MARGIN = 64, 16


def structure(seed: int, side: int = SIDE + 2 * MARGIN) -> np.ndarray:
    """Struts about 8 voxels apart, 0 or 1, blurred; (z, y, x)."""
    field = gaussian_filter(np.random.default_rng(seed).standard_normal((side,) * 3), 2.5)
    return gaussian_filter((field > 0.3 * field.std()).astype(np.float64), 0.7)


def scan(bone: np.ndarray, seed: int, shift=(0, 0, 0), turn_deg=(0, 0, 0), gain: float = 1.0) -> np.ndarray:
    """The middle of a bone after a rigid motion about it, uint8 (z, y, x), with noise of its own."""
    turn = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    centre = (np.array(bone.shape) - 1) / 2
    moved = affine_transform(bone, turn, centre + np.array(shift) - turn @ centre, order=3)[
        (slice(MARGIN, -MARGIN),) * 3
    ]
    noise = np.random.default_rng(seed).normal(0, 5, moved.shape)
    return np.clip(np.rint(gain * (50 + 120 * moved) + noise), 0, 255).astype(np.uint8)


def offset_of(first: np.ndarray, other: np.ndarray) -> Offset:
    return measure_offset(reduced(first), reduced(other))


@pytest.mark.parametrize(
    ("shift", "turn_deg"),
    [((0, 0, 0), (0, 0, 0)), ((7, -5, 3), (0, 0, 0)), ((-1.5, 0.4, 2.6), (2, -1, 1.5)), ((4, 9, -8), (-3, 2, 1))],
)
@pytest.mark.parametrize("gain", [1.0, 0.8])
def test_shift_and_turn_are_found(shift, turn_deg, gain):
    bone = structure(1)
    found = offset_of(scan(bone, 2), scan(bone, 3, shift, turn_deg, gain))
    turn = Rotation.from_euler("xyz", turn_deg, degrees=True)
    there = turn.inv().apply(-np.array(shift))
    np.testing.assert_allclose(found.shift, there, atol=0.2)
    assert found.turn_deg == pytest.approx(np.degrees(turn.magnitude()), abs=0.15)
    assert found.similarity > 0.9
    assert found.is_certain
    assert found.is_cautioned == (max(map(abs, shift)) > 0)


def test_bone_far_from_damage_decides():
    bone = structure(4)
    crushed = bone.copy()
    crushed[: 2 * MARGIN] = structure(5)[: 2 * MARGIN]
    crushed[2 * MARGIN : 2 * MARGIN + 4] = 1
    found = offset_of(scan(bone, 6), scan(crushed, 7, (0, 6, -4)))
    np.testing.assert_allclose(found.shift, (0, -6, 4), atol=0.5)


def test_other_bone_is_told_by_its_similarity():
    found = offset_of(scan(structure(8), 1), scan(structure(9), 2))
    assert found.similarity < 0.35
    assert not found.is_certain
    assert found.is_cautioned


def test_what_is_too_small_or_of_one_intensity_is_not_measured():
    assert reduced(np.zeros((31, 64, 64), np.uint8)) is None
    assert offset_of(scan(structure(1), 1), np.full((SIDE,) * 3, 7, np.uint8)) is None


def test_a_large_volume_is_reduced_and_its_offset_told_in_its_own_voxels():
    bone = np.repeat(np.repeat(np.repeat(structure(3, 60), 2, 0), 2, 1), 2, 2)
    moved = np.roll(bone, (6, 0, -4), (0, 1, 2))
    cut = (slice(10, -10),) * 3
    found = offset_of(255 * bone[cut], 255 * moved[cut])
    assert reduced(bone[cut]).factor == 2
    np.testing.assert_allclose(found.shift, (6, 0, -4), atol=0.3)


def table_of(folder, scans) -> object:
    rows = []
    for (specimen, state), volume in scans.items():
        np.save(folder / f"{specimen}_{state}.npy", volume)
        rows.append({"specimen": specimen, "state": state, "path": f"{specimen}_{state}.npy"})
    return write_table(folder, rows)


def prepared(table, folder, **steps):
    with open_engine(0) as engine:
        return prepare(
            table, folder / "TB" / "slices.zarr", Steps(n_slices=6, side=32, **steps), engine, overwrite=True
        )


def test_a_shifted_state_is_cautioned_of_and_written_beside_the_store(tmp_path):
    a, b = structure(10), structure(11)
    scans = {("A", 1): scan(a, 1), ("A", 2): scan(a, 2, (0, 8, 0)), ("B", 1): scan(b, 3), ("B", 2): scan(b, 4)}
    table = table_of(tmp_path, scans)
    store = prepared(table, tmp_path)
    file = store.path.parent / OFFSETS
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["specimen"], row["state"], row["certain"]) for row in rows] == [("A", "2", "true"), ("B", "2", "true")]
    assert [float(row["shift_y"]) for row in rows] == pytest.approx([-8, 0], abs=0.2)
    said = offsets_caution(file, store.id)
    assert said.startswith("1 of 2 scans lie 2 voxels or 0.5° or more from the first of their specimen")
    assert "the farthest A state 2 (8." in said
    assert "unlike" not in said
    assert offsets_caution(file, "another store") == ""
    assert not show_one_place(file, store.id)
    assert store.verify() == ()
    assert not list(store.path.rglob(".*"))
    assert prepared(table, tmp_path, registration=False).id == store.id
    assert not file.exists()
    assert offsets_caution(file, store.id) == ""


def test_a_scan_of_other_bone_is_named(tmp_path):
    a, b = structure(10), structure(11)
    scans = {("A", 1): scan(a, 1), ("A", 2): scan(b, 9), ("B", 1): scan(b, 3), ("B", 2): scan(b, 4)}
    store = prepared(table_of(tmp_path, scans), tmp_path)
    assert "The first scan of the specimen is unlike A state 2: see" in offsets_caution(
        store.path.parent / OFFSETS, store.id
    )


def test_scans_in_their_places_are_not_cautioned_of(tmp_path):
    bones = {name: structure(seed) for seed, name in enumerate("AB")}
    scans = {(name, state): scan(bone, 10 * state) for name, bone in bones.items() for state in (1, 2)}
    store = prepared(table_of(tmp_path, scans), tmp_path)
    file = store.path.parent / OFFSETS
    assert offsets_caution(file, store.id) == ""
    assert show_one_place(file, store.id)
    assert not show_one_place(file, "another store"), "of which nothing was measured"


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """Scans of two specimens, the second and third of each moved; their store as they are, and registered."""
    folder = tmp_path_factory.mktemp("moved")
    a, b = structure(10), structure(11)
    scans = {
        ("A", 1): scan(a, 1),
        ("A", 2): scan(a, 2, (0, 5, -3.3), (1, 0, 2)),
        ("A", 3): scan(a, 9),
        ("B", 1): scan(b, 3),
        ("B", 2): scan(b, 4, (0.4, 0.5, 0.5)),
        ("B", 3): scan(b, 8, (2, 2, 2)),
    }
    table = table_of(folder, scans)
    (folder / "as they are").mkdir()
    return table, prepared(table, folder / "as they are", crop=48), prepared(table, folder, register=True)


def rows_of(store):
    with (store.path.parent / OFFSETS).open(newline="") as lines:
        return {(row["specimen"], row["state"]): row for row in csv.DictReader(lines)}


def test_registered_scans_show_one_place_and_the_others_do_not(moved):
    _, apart, together = moved
    assert together.recipe.registered
    assert not apart.recipe.registered
    for specimen in "AB":
        for state in (2, 3):
            likeness = [
                float(np.corrcoef(*(store.group(specimen, s, "XZ").ravel().astype(float) for s in (1, state)))[0, 1])
                for store in (apart, together)
            ]
            assert likeness[1] > 0.995
            assert (likeness[0] < 0.9) == ((specimen, state) in {("A", 2), ("B", 3)})


def test_what_registration_has_moved_stands_beside_what_is_left(moved):
    _, apart, together = moved
    before, after = rows_of(apart), rows_of(together)
    for key, row in after.items():
        assert max(abs(float(row[f"shift_{axis}"])) for axis in "zyx") < 0.1
        found = [float(before[key][f"shift_{axis}"]) for axis in "zyx"]
        assert float(row["moved_voxels"]) == pytest.approx(np.linalg.norm(found), abs=0.15)
        assert float(before[key]["moved_voxels"]) == 0
    assert float(after["A", "2"]["moved_deg"]) == pytest.approx(np.sqrt(5), abs=0.1)
    assert "Give --register" in offsets_caution(apart.path.parent / OFFSETS, apart.id)
    assert offsets_caution(together.path.parent / OFFSETS, together.id) == ""


def test_a_table_of_offsets_that_somebody_changed_is_said_to_be_unreadable(moved, tmp_path):
    _, apart, _ = moved
    lines = (apart.path.parent / OFFSETS).read_text()
    for changed in (lines.replace("turn_z", "turn_deg"), lines.replace(",true,", ",,,").replace("0.", "x.")):
        (tmp_path / OFFSETS).write_text(changed)
        assert "cannot be read: whether scans lie apart is not known" in offsets_caution(tmp_path / OFFSETS, apart.id)


def test_no_load_state_is_smoother_for_having_been_moved(moved):
    """Noise of one strength was added to every scan: what is left of it in bone and pores must not tell the states."""
    _, _, together = moved
    for specimen in "AB":
        fine = []
        for state in (1, 2, 3):
            slices = together.group(specimen, state, "XY").astype(float)
            fine.append(np.std([image - gaussian_filter(image, 1.5) for image in slices]))
        assert max(fine) / min(fine) < 1.01


def test_the_default_crop_is_what_every_scan_shows_and_a_larger_one_is_refused(moved, tmp_path):
    table, _, together = moved
    assert 48 < together.recipe.crop < 60
    with pytest.raises(
        PreparationError, match=r"A_2\.npy: shifted by 6\.0 voxels and turned by 2\.\d° it does not show all"
    ):
        prepared(table, tmp_path, register=True, crop=62)
    with pytest.raises(PreparationError, match="--register and --no-crop exclude each other"):
        prepared(table, tmp_path, register=True, cropped=False)


def test_a_further_scan_is_laid_on_the_first_as_those_of_the_store_were(moved):
    table, _, together = moved
    first, second = (str(table.parent / f"A_{state}.npy") for state in (1, 2))
    found = prepare_scan(second, together.recipe, offset_from(first, second))
    for plane in together.planes:
        np.testing.assert_array_equal(found.slices[plane], together.group("A", 2, plane))
    alone = prepare_scan(first, together.recipe)
    np.testing.assert_array_equal(alone.slices["XY"], together.group("A", 1, "XY"))


def test_a_scan_of_other_bone_is_not_moved(tmp_path):
    a, b = structure(10), structure(11)
    scans = {("A", 1): scan(a, 1), ("A", 2): scan(b, 9), ("B", 1): scan(b, 3), ("B", 2): scan(b, 4)}
    store = prepared(table_of(tmp_path, scans), tmp_path, register=True)
    assert float(rows_of(store)["A", "2"]["moved_voxels"]) == 0
    assert "unlike A state 2" in offsets_caution(store.path.parent / OFFSETS, store.id)


def test_what_is_too_small_to_register_is_refused(tmp_path):
    scans = {(name, state): scan(structure(5), 9 * state + ord(name))[:20] for name in "AB" for state in (1, 2)}
    with pytest.raises(PreparationError, match=r"A_1\.npy: 20×64×64 voxels are too few to register"):
        prepared(table_of(tmp_path, scans), tmp_path, register=True)


def test_the_truth_of_a_phantom_moves_with_its_scan(tmp_path):
    """A failed scan is moved, with its truth; registered, the truth lies where that of the scan as it was lies."""
    spec = PhantomSpec(bone="TB", side=48, n_states=3, specimens=("A", "B", "C"))
    steps = Steps(n_slices=8, register=True, crop=32, side=32)
    with open_engine(0) as engine:
        table = write_phantom(spec, tmp_path / "phantom", engine, ignore_progress)
        as_it_was = prepare(table, tmp_path / "was" / "slices.zarr", steps, engine)
        for name in ("A/state_03.tif", "truth/A/state_03.tif"):
            file = table.parent / name
            tifffile.imwrite(file, np.roll(tifffile.imread(file), 4, 1), photometric="minisblack")
        moved = prepare(table, tmp_path / "moved" / "slices.zarr", steps, engine)
    shift = [float(rows_of(store)["A", "3"]["moved_voxels"]) for store in (as_it_was, moved)]
    assert shift[1] - shift[0] > 2
    for plane in moved.planes:
        one, other = (store.damage("A", 3, plane).astype(float).ravel() for store in (as_it_was, moved))
        assert np.corrcoef(one, other)[0, 1] > 0.9


@pytest.mark.parametrize(
    ("shift", "similarity", "registered", "told"),
    [
        (None, 1, False, ""),
        (None, 1, True, "Training scans were laid on the first of their specimen: give that of this one"),
        ((0, 3, 4), 0.9, True, "The scan lay 5.0 voxels and 0.2° from the first scan, and was laid on it"),
        ((0, 3, 4), 0.9, False, "Caution: the scan lies 5.0 voxels and 0.2° from the first scan, and is left there"),
        ((0, 0, 1), 0.9, False, "The scan lies 1.0 voxels and 0.2° from the first scan, and is left there"),
        ((0, 0, 1), 0.3, True, "Caution: the scan is unlike the first (0.30): see that both show the same bone."),
    ],
)
def test_a_prediction_tells_how_far_its_scan_lies_from_the_first(shift, similarity, registered, told):
    offset = shift and Offset(shift=shift, rotation_deg=(0, 0.2, 0), similarity=similarity, deformation=0.1)
    verdict = summarise_scan({"XY": np.array([0.2, 0.9])}, {"XY": np.array([0.0, 1.0])})
    more = {"scan": "a.npy", "images": {}, "model": "bonehpo-TB", "version": 1, "ran_on": "scans"}
    found = Prediction(**vars(verdict), **more, offset=offset, registered=registered)
    assert found.registration.startswith(told)
    assert bool(found.registration) == bool(told)


def test_slices_cannot_be_registered(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", scan(structure(1), 1)[0])
    rows = [{"specimen": s, "state": t, "plane": "XY", "position": 0, "path": "a.tif"} for s in "AB" for t in (1, 2)]
    with pytest.raises(PreparationError, match=r"scans\.csv: lists 2-D slices, which cannot be registered"):
        prepared(write_table(tmp_path, rows), tmp_path, register=True)
