"""Two cores of one animal are not independent: the donor is what is held out, and the n of every statistic."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import call, refusal
from data_makers import write_table
from tiny_study import LONG_ENOUGH, finish, make_result, striped

from bonehpo.config import Split, StudyFolder
from bonehpo.domain import Group
from bonehpo.engine import open_engine
from bonehpo.errors import FoldError
from bonehpo.folds import assign_sets, nested_folds
from bonehpo.leakage.phase_levels import drift_sentence, drifts
from bonehpo.phantom import PhantomSpec
from bonehpo.preparation.prepare import prepare
from bonehpo.results.strain import constant_predictions
from bonehpo.results.validity import swapped_specimens
from bonehpo.search.recorder import NullRecorder
from bonehpo.search.summary import summarise
from bonehpo.store.recipe import Steps
from bonehpo.store.store import SliceStore
from bonehpo.workflow.plan import make_plan
from bonehpo.workflow.report import make_report
from bonehpo.workflow.stores import make_phantom

DONORS = {"L1": "cow A", "R1": "cow A", "L2": "cow B", "R2": "cow B", "L3": "cow C"}
SETS = {"cow A": ("L1", "R1"), "cow B": ("L2", "R2"), "cow C": ("L3",)}
PLANES = ("XY", "XZ")


def write_cores(folder: Path, donors: dict[str, str | None] = DONORS) -> Path:
    """Striped scans of cores, pristine and failed, with their donors; no column of donors where they are None."""
    folder.mkdir(parents=True)
    rows = []
    for i, (specimen, donor) in enumerate(donors.items()):
        for state in (1, 2):
            np.save(folder / f"{specimen}-{state}.npy", striped(10 * i + state, state - 1))
            row = {"specimen": specimen, "state": state, "path": f"{specimen}-{state}.npy", "strain": 0.01 * state}
            rows.append(row if donor is None else {**row, "donor": donor})
    return write_table(folder, rows)


def store_of(csv: Path, place: Path) -> SliceStore:
    with open_engine(0) as engine:
        return prepare(csv, place, Steps(match="none", median=False, n_slices=4, registration=False), engine)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> StudyFolder:
    root = tmp_path_factory.mktemp("donors")
    folder = StudyFolder(root / "studies" / "TB")
    store_of(write_cores(root / "scans"), folder.store)
    folder.config.write_text(LONG_ENOUGH, "utf-8")
    return folder


@pytest.fixture(scope="module")
def finished(folder):
    return finish(make_plan(folder))


@pytest.mark.parametrize("split", [Split(), Split(kind="mixed", seed=3)], ids=["specimen", "mixed"])
def test_there_are_as_many_sets_as_donors_and_every_group_is_in_one(split):
    sets = assign_sets(split, "TB", tuple(DONORS), PLANES, DONORS)
    assert len(sets) == 3
    assert sorted(group for groups in sets.values() for group in groups) == sorted(
        Group(specimen, plane) for specimen in DONORS for plane in PLANES
    )


def test_no_fold_parts_the_specimens_of_a_donor():
    sets = assign_sets(Split(), "TB", tuple(DONORS), PLANES, DONORS)
    folds = nested_folds(list(sets))
    assert len(folds) == 6
    for fold in folds:
        trained = {DONORS[group.specimen] for name in fold.train for group in sets[name]}
        held_out = {DONORS[group.specimen] for name in (fold.test, fold.validation) for group in sets[name]}
        assert not trained & held_out


def test_a_mixed_set_holds_all_that_a_donor_gave_of_a_plane():
    sets = assign_sets(Split(kind="mixed"), "TB", tuple(DONORS), PLANES, DONORS)
    for donor, specimens in SETS.items():
        for plane in PLANES:
            held = {
                name for name, groups in sets.items() for group in groups if group in {(s, plane) for s in specimens}
            }
            assert len(held) == 1, f"{donor} {plane}"


def test_too_few_donors_are_refused_as_too_few_specimens_are():
    with pytest.raises(FoldError, match=r"at least 3 sets .* but got 2: A, B: add specimens of other donors"):
        assign_sets(Split(), "TB", ("1", "2", "3", "4"), PLANES, {"1": "A", "2": "A", "3": "B", "4": "B"})
    published = Split(kind="mixed", assignment="published")
    with pytest.raises(FoldError, match="published assignment would part specimens of one donor"):
        assign_sets(published, "TB", tuple(DONORS), PLANES, DONORS)


def test_the_store_keeps_donors_and_without_them_its_manifest_is_what_it_was(folder, tmp_path):
    assert SliceStore.open(folder.store).donors == DONORS
    bare = store_of(write_cores(tmp_path / "scans", dict.fromkeys(DONORS)), tmp_path / "TB" / "slices.zarr")
    assert bare.donors == {}
    manifest = json.loads((bare.path / "MANIFEST.json").read_bytes())
    assert "donors" not in manifest
    assert not any("donor" in note for note in manifest["notes"])


def test_every_number_of_a_study_counts_donors(finished):
    plan, summary = finished.plan, summarise(finished.plan)
    assert {name: {group.specimen for group in groups} for name, groups in plan.sets.items()} == {
        donor: set(specimens) for donor, specimens in SETS.items()
    }
    assert plan.n_images == {"cow A": 48, "cow B": 48, "cow C": 24}
    assert len(summary.optimum.folds) == 6
    assert set(summary.estimates.nested_score_by_set) == set(SETS)
    assert (summary.split, finished.record.split, finished.record.n_sets) == ("donor", "donor", 3)


def test_strain_is_tested_by_donor(finished):
    found = make_result("strain", finished)
    assert list(found.tables["specimens"]["specimen"]) == list(SETS)
    assert "3 donors allow none below 0.25" in " ".join(found.sentences)
    assert set(found.tables["slices"].loc[found.tables["slices"]["test"] == "cow A", "specimen"]) == {"L1", "R1"}


def test_the_constant_is_the_mean_of_the_donors_that_were_trained_on():
    strains = {"L1": 0.0, "R1": 2.0, "L2": 3.0, "R2": 5.0, "L3": 9.0}
    rows = [(DONORS[s], v, s, 1, strains[s], 0.0) for s in DONORS for v in SETS if v != DONORS[s]]
    columns = ["test", "validation", "specimen", "state", "strain_percent", "predicted_percent"]
    table = constant_predictions(pd.DataFrame(rows, columns=columns)).set_index(["test", "validation", "specimen"])
    assert table.loc[("cow C", "cow A", "L3"), "predicted_percent"] == 4
    assert table.loc[("cow A", "cow B", "R1"), "predicted_percent"] == 9


@pytest.mark.torture
def test_other_results_of_the_study_are_made_of_donors(finished):
    assert set(make_result("permutation", finished).tables["sets"]["test"]) == set(SETS)
    audit = make_result("audit", finished)
    assert set(audit.tables["folds"]["test"]) == set(SETS)
    mixed = make_result("mixed", finished)
    assert set(mixed.tables["configurations"]["n_folds"]) == {6}
    assert "published assignment would part specimens of one donor" in mixed.sentences[0]


def test_the_report_speaks_of_donors(finished):
    page = make_report(finished.plan, NullRecorder()).read_text("utf-8")
    assert "by donor: no network is tested" in page
    assert "donors that neither training nor the choice" in page
    methods = (finished.plan.folder.path / "methods.md").read_text("utf-8")
    assert "from 3 donors at 2 load states" in methods
    assert "each set is a donor" in methods


def test_the_labels_of_a_donor_are_permuted_as_one():
    for seed in range(20):
        swapped = set(swapped_specimens(tuple(DONORS), seed, DONORS))
        assert 0 < len(swapped) < len(DONORS)
        assert all(set(specimens) <= swapped or not set(specimens) & swapped for specimens in SETS.values())


def test_the_test_of_intensities_has_one_difference_a_donor():
    rows = [(s, state, 50.0 + state, 200.0, 99, 99) for s in DONORS for state in (0, 1)]
    levels = pd.DataFrame(rows, columns=["specimen", "state", "pore", "bone", "n_pore", "n_bone"])
    assert [drift.n for drift in drifts(levels, DONORS)] == [3, 3]
    assert [drift.n for drift in drifts(levels)] == [5, 5]
    assert "sd of 3 donors" in drift_sentence(levels, "none", DONORS)[1]


def test_commands_count_donors_and_note_where_they_are_not_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    note = "Note: The table has no column donor: specimens are taken to be of different donors"
    steps = ("--no-match", "--no-median", "--slices", 4, "--no-registration", "--workers", 0)
    named, bare = write_cores(tmp_path / "named"), write_cores(tmp_path / "bare", dict.fromkeys(DONORS))
    assert note in call("new", "bare", bare).stdout
    assert note in call("prepare", bare, "--bone", "bare", *steps).stdout
    assert note not in call("inspect", "--bone", "bare").stdout
    for said in (call("new", "named", named).stdout, call("prepare", named, "--bone", "named", *steps).stdout):
        assert note not in said
        assert "10 scans of 5 specimens of 3 donors" in said
    assert "3 donors say little of the next one" in call("new", "named", named, "--dry-run").stdout
    assert "5 specimens of 3 donors, 2 states" in call("status").stdout
    phantom = make_phantom(PhantomSpec(bone="TB", side=32, n_states=2, specimens=("A", "B")), "phantom", workers=0)
    assert note not in call("new", "phantom", phantom).stdout
    assert note not in call("prepare", phantom, "--bone", "phantom", "--slices", 4, "--workers", 0).stdout


def test_two_donors_cannot_be_searched_and_it_is_said_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    csv = write_cores(tmp_path / "scans", {"L1": "A", "R1": "A", "L2": "B", "R2": "B"})
    assert "2 donors are too few to search" in call("new", "few", csv).stdout
    call("prepare", csv, "--bone", "few", "--no-match", "--slices", 4, "--no-registration", "--workers", 0)
    assert "but got 2: A, B: add specimens of other donors" in refusal("search", "--bone", "few", "--trials", 1)
