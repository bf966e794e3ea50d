"""The rigid offset of a scan is measured whatever its intensity, beside damage too, and told where it matters."""

import csv

import numpy as np
import pytest
from data_makers import write_table
from scipy.ndimage import affine_transform, gaussian_filter
from scipy.spatial.transform import Rotation

from bonehpo.engine import open_engine
from bonehpo.preparation.prepare import prepare
from bonehpo.preparation.registration import OFFSETS, Offset, measure_offset, offsets_caution, reduced
from bonehpo.store.recipe import Steps

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
    assert offsets_caution(store.path.parent / OFFSETS, store.id) == ""
