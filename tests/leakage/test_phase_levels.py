"""Intensities of pores and of bone that tell the load state by themselves are cautioned of, others are not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_makers import write_table
from scipy.ndimage import gaussian_filter

from bonehpo.engine import open_engine
from bonehpo.folds import specimen_sets
from bonehpo.leakage.leaks import find_leaks
from bonehpo.leakage.phase_levels import TOLERANCE, drift_sentence, drifts, phase_levels
from bonehpo.preparation.prepare import prepare
from bonehpo.store.recipe import Steps
from bonehpo.store.store import SliceStore
from bonehpo.workflow.stores import phases_caution

SIDE = 40


def write_blocks(folder: Path, n_specimens: int = 5, brighter: float = 0.0) -> Path:
    """Porous blocks in two states, of which the second has a crack, is scanned anew, and may be brighter all over."""
    folder.mkdir(parents=True)
    rows = []
    for i in range(n_specimens):
        rng = np.random.default_rng(50 + i)
        field = gaussian_filter(rng.standard_normal((SIDE,) * 3), 2.2)
        pores = field > np.quantile(field, 0.98)
        z, y, x = np.mgrid[:SIDE, :SIDE, :SIDE] - SIDE / 2
        slope_y, slope_x = rng.uniform(-1, 1, 2)
        crack = np.abs(z - slope_y * y - slope_x * x - 3 * np.sin(x / 5 + i)) < 2
        for state in (1, 2):
            solid = ~pores & ~(crack if state == 2 else False)
            volume = 50 + 110 * gaussian_filter(solid.astype(float), 0.7) + rng.normal(0, 3, solid.shape)
            volume += brighter * (state == 2)
            np.save(folder / f"B{i}_{state}.npy", np.clip(np.rint(volume), 0, 255).astype(np.uint8))
            rows.append({"specimen": f"B{i}", "state": state, "path": f"B{i}_{state}.npy"})
    return write_table(folder, rows)


def store_of(folder: Path, csv: Path, match: str) -> SliceStore:
    with open_engine(0) as engine:
        return prepare(csv, folder / match / "slices.zarr", Steps(match=match, n_slices=12, registration=False), engine)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory) -> Path:
    return write_blocks(tmp_path_factory.mktemp("blocks") / "scans")


def test_matching_of_histograms_writes_the_crack_into_the_pores_and_is_cautioned_of(blocks, tmp_path):
    store = store_of(tmp_path, blocks, "histogram")
    pore, bone = drifts(phase_levels(store))
    assert pore.mean > 10
    assert pore.is_label
    assert not bone.is_label
    said = phases_caution(store)
    assert "Voxels that are pore in every load state" in said
    assert "--match phases" in said
    report = find_leaks(store, specimen_sets(store.specimens, store.planes))
    assert [check.name for check in report.checks if not check.passed] == ["phases"]
    assert len(report.levels) == 5 * 2


@pytest.mark.parametrize("match", ["phases", "none"])
def test_matching_by_phases_and_none_keep_the_phases(blocks, tmp_path, match):
    store = store_of(tmp_path, blocks, match)
    found = drifts(phase_levels(store))
    assert [drift.phase for drift in found] == ["pore", "bone"]
    assert all(abs(drift.mean) < TOLERANCE / 2 for drift in found)
    assert phases_caution(store) == ""


def test_a_scanner_that_was_brighter_for_the_failed_scans_is_cautioned_of_unless_they_are_matched(tmp_path):
    csv = write_blocks(tmp_path / "scans", brighter=20)
    pore, bone = drifts(phase_levels(store_of(tmp_path, csv, "none")))
    assert pore.is_label
    assert bone.is_label
    assert phases_caution(store_of(tmp_path, csv, "phases")) == ""


@pytest.mark.parametrize("air", [0, 12])
def test_padding_and_air_around_a_specimen_are_no_phase(tmp_path, air):
    """Nothing is outside a circle, and half of the bone is gone in the second state: Otsu's threshold lies above marrow
    in the one and, with what is outside, below it in the other."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    outside = np.hypot(y, x) > SIDE / 2 - 3
    rows = []
    for i in range(4):
        field = gaussian_filter(np.random.default_rng(i).standard_normal((SIDE,) * 3), 2.5)
        for state, share in ((1, 0.3), (2, 0.15)):
            rng = np.random.default_rng(100 * state + i)
            bone = gaussian_filter((field > np.quantile(field, 1 - share)).astype(float), 0.7)
            volume = 80 + 70 * bone + rng.normal(0, 3, field.shape)
            volume[:, outside] = rng.normal(air, 2, (SIDE, outside.sum())) if air else 0
            np.save(tmp_path / f"{i}-{state}.npy", np.rint(volume).clip(0, 255).astype(np.uint8))
            rows.append({"specimen": f"S{i}", "state": state, "path": f"{i}-{state}.npy"})
    store = store_of(tmp_path, write_table(tmp_path, rows), "phases")
    found = phase_levels(store)
    assert (found["bone"] - found["pore"]).min() > 40, "the phases are marrow and bone"
    assert found["pore"].min() > 70, "marrow has 80, and what is outside is not counted with it"
    assert max(abs(drift.mean) for drift in drifts(found)) < TOLERANCE
    assert phases_caution(store) == ""


def levels(differences: list[float]) -> pd.DataFrame:
    rows = [(f"S{i}", state, 50.0 + d * state, 200.0, 99, 99) for i, d in enumerate(differences) for state in (0, 1)]
    return pd.DataFrame(rows, columns=["specimen", "state", "pore", "bone", "n_pore", "n_bone"])


@pytest.mark.parametrize(
    ("differences", "is_label"),
    [([9, 10, 11], True), ([-9, -10, -11], True), ([7, -8, 9], False), ([2, 2.1, 2.2], False), ([9], False)],
)
def test_a_difference_is_a_label_where_it_is_large_and_the_same_in_all_specimens(differences, is_label):
    pore, bone = drifts(levels(differences))
    assert pore.is_label == is_label
    assert not bone.is_label
    passed, sentence = drift_sentence(levels(differences), "none")
    assert passed != is_label
    assert "pore" in sentence


@pytest.mark.parametrize("differences", [[40], [30, -35, 20], [1, 2, 30]])
def test_differences_that_are_large_in_single_specimens_are_cautioned_of(differences):
    assert not drifts(levels(differences))[0].is_label
    passed, sentence = drift_sentence(levels(differences), "phases")
    assert not passed
    assert "Voxels that are pore in every load state change" in sentence
    assert "grey levels were not made alike, and may tell the states." in sentence


def test_what_a_specimen_has_too_little_of_is_left_out(tmp_path):
    table = levels([10, 11, 12])
    table.loc[table["specimen"] == "S0", "pore"] = np.nan
    assert drifts(table)[0].n == 2
    assert drifts(table.assign(pore=np.nan))[0].phase == "bone"
    assert drift_sentence(table.iloc[:0], "none") == (True, "")
