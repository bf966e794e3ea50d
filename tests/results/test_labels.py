"""A study of specimens that failed in different states, as the column label of their table says."""

import csv

import pytest
from data_makers import write_table
from tiny_study import LONG_ENOUGH, finish, make_result, write_striped

from bonehpo.config import StudyFolder
from bonehpo.engine import open_engine
from bonehpo.preparation.prepare import prepare
from bonehpo.store.recipe import Steps
from bonehpo.workflow.plan import make_plan

FAILED_IN = {"TB5": 3, "TB6": 2, "TB9": 4}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Each specimen is whole until its last state; the failed scan of all is striped most."""
    root = tmp_path_factory.mktemp("labels")
    folder = StudyFolder(root / "studies" / "TB")
    rows = csv.DictReader(write_striped(root / "scans", (0, 0, 0, 1)).read_text().splitlines())
    kept = []
    for row in rows:
        state, failed = int(row["state"]), FAILED_IN[row["specimen"]]
        if state < failed:
            kept.append({**row, "label": "pristine" if state == 1 else ""})
        elif state == 4:
            kept.append({**row, "state": failed, "label": "failed"})
    with open_engine(0) as engine:
        table = write_table(root / "scans", kept, "labelled.csv")
        prepare(table, folder.store, Steps(match="none", median=False, n_slices=4), engine)
    folder.config.write_text(LONG_ENOUGH, encoding="utf-8")
    return finish(make_plan(folder))


def test_detection_puts_failed_scans_into_the_last_state_of_all(finished):
    states = make_result("detection", finished).tables["states"]
    counted = states.groupby(["test", "state"])["accuracy_loaded"].mean()
    assert set(counted.loc["TB6"].index) == {1, 4}
    assert set(counted.loc["TB5"].index) == {1, 2, 4}
    assert set(counted.loc["TB9"].index) == {1, 2, 3, 4}
    assert counted.xs(4, level="state").mean() > 0.9
    assert counted.drop(4, level="state").mean() < 0.2
    assert set(states.loc[states["state"] == 4, "strain"]) == {0.03}


def test_maps_are_made_of_the_scan_that_failed(finished):
    found = make_result("grad-cam", finished).tables
    slices = found["slices"]
    failed = slices[slices["label"] == "failed"]
    assert len(failed)
    assert set(failed["state"]) == {FAILED_IN[specimen] for specimen in failed["specimen"]}
    assert set(found["agreement"].loc[:, ["specimen", "state"]].itertuples(index=False, name=None)) >= set(
        FAILED_IN.items()
    )


def test_the_audit_tells_pristine_from_failed_of_every_specimen(finished):
    found = make_result("audit", finished).tables
    levels = found["models"].set_index("model").loc["intensity levels"]
    assert levels["mean"] == 1
    assert levels["n_folds"] == 6
