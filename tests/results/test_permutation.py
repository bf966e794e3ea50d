"""The permutation test: labels that mean nothing."""

from dataclasses import replace

import numpy as np
import pytest
from data_makers import write_table
from documented import undocumented
from hypothesis import given
from hypothesis import strategies as st
from tiny_study import SIDE, SPECIMENS, TOML, finish, plan_of

from bonehpo.config import StudyFolder, Training
from bonehpo.domain import Group, HoldoutPair, ignore_progress
from bonehpo.engine import open_engine
from bonehpo.errors import StudyError
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.fits import FitSpec
from bonehpo.learning.fitting import run_fit
from bonehpo.preparation.prepare import prepare
from bonehpo.results.validity import run_permutation, swapped_specimens
from bonehpo.store.recipe import Steps
from bonehpo.workflow.plan import make_plan

N_TRIALS = 3


@given(st.integers(2, 9), st.integers(0, 50))
def test_some_specimens_are_swapped_and_some_are_not(n, seed):
    names = [f"S{i}" for i in range(n)]
    swapped = swapped_specimens(names, seed)
    assert 0 < len(swapped) < n
    assert set(swapped) < set(names)
    assert swapped == swapped_specimens(names, seed)


def test_one_specimen_cannot_be_permuted():
    with pytest.raises(StudyError, match="two specimens or more"):
        swapped_specimens(["only"], 0)


def test_an_address_is_what_it_was_before_labels_could_be_swapped():
    spec = FitSpec(
        store_id="ab" * 32,
        sets={"A": (Group("A", "XY"),), "B": (Group("B", "XY"),)},
        pair=HoldoutPair("A", "B"),
        hyperparameters=Hyperparameters(layers=3, learning_rate=1e-4, kernel=5, batch=20),
        training=Training(),
        seed=7,
    )
    assert spec.key == "205de85ca22182053a3963533bf811c0"
    assert replace(spec, swapped=("A",)).key != spec.key


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finish(plan_of(tmp_path_factory.mktemp("null"), TOML.replace("epochs = 3", "epochs = 6")))


def test_a_swapped_specimen_is_taught_and_judged_the_other_way_round(finished):
    plan = finished.plan
    task = plan.task(finished.choice, plan.pairs[0])
    right = run_fit(task).fold_scores()[0]
    held_out = run_fit(replace(task, spec=replace(task.spec, swapped=(right.test,)))).fold_scores()[0]
    assert held_out.test_score == pytest.approx(1 - right.test_score), "the same network, another truth"
    trained = next(name for name in SPECIMENS if name not in plan.pairs[0])
    taught = run_fit(replace(task, spec=replace(task.spec, swapped=(trained,)))).fold_scores()[0]
    assert right.test_score > 0.9
    assert taught.test_score < 0.1


def test_nested_accuracy_covers_chance_on_permuted_labels_and_nothing_is_fitted_twice(finished):
    with open_engine(0) as engine:
        found = run_permutation(finished, engine, ignore_progress, N_TRIALS)
        assert undocumented(finished.result("permutation", "explanation", "", found)) == []
        files = {path: path.stat().st_mtime_ns for path in finished.plan.folder.fits.iterdir()}
        again = run_permutation(finished, engine, ignore_progress, N_TRIALS)
    assert "It covers chance (0.5), as it must." in found.sentences
    assert found.metrics["nested_accuracy"] <= found.metrics["apparent_accuracy"]
    assert len(found.tables["trials"]) == N_TRIALS
    assert list(found.tables["sets"]["test"]) == list(SPECIMENS)
    assert {path: path.stat().st_mtime_ns for path in finished.plan.folder.fits.iterdir()} == files
    assert again.metrics == found.metrics


def test_a_split_that_leaks_learns_labels_that_mean_nothing(tmp_path):
    rows = []
    rng = np.random.default_rng(0)
    for i, specimen in enumerate(SPECIMENS):
        for state in (1, 2):
            volume = rng.integers(60, 120, (SIDE,) * 3) + 25 * (state == 2)
            for axis in range(3):
                np.moveaxis(volume, axis, 0)[::4] += 40 * i  # every specimen is known by its stripes, in every plane
            np.save(tmp_path / f"{specimen}-{state}.npy", volume.clip(0, 255).astype(np.uint8))
            rows.append({"specimen": specimen, "state": state, "path": f"{specimen}-{state}.npy"})
    folder = StudyFolder(tmp_path / "studies" / "TB")
    scans = write_table(tmp_path, rows)
    with open_engine(0) as engine:
        prepare(scans, folder.store, Steps(match="none", median=False, n_slices=4), engine)
    folder.config.write_text(TOML.replace("epochs = 3", "epochs = 12") + '[split]\nkind = "mixed"\n', encoding="utf-8")
    mixed = finish(make_plan(folder))
    with open_engine(0) as engine:
        found = run_permutation(mixed, engine, ignore_progress, N_TRIALS)
    assert found.metrics["nested_accuracy"] > 0.55
    assert found.metrics["apparent_accuracy"] > 0.6
