"""Comparisons and explanations of a tiny finished study: four load states, damage visible in the last two."""

import numpy as np
import pytest
from tiny_study import SPECIMENS, TOML, finish, plan_of

from bonehpo.domain import ignore_progress
from bonehpo.engine import open_engine
from bonehpo.errors import ConfigError
from bonehpo.results.best_fold import run_best_fold
from bonehpo.results.detection import run_detection
from bonehpo.results.heat_maps import run_heat_maps
from bonehpo.results.mixed import run_mixed
from bonehpo.results.strain import run_strain
from bonehpo.results.sweep import run_sweep

DAMAGES = (0, 0, 0.6, 1)
LEARNING = TOML.replace("epochs = 3", "epochs = 8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finish(plan_of(tmp_path_factory.mktemp("finished"), LEARNING, DAMAGES))


def run(function, finished, *more):
    with open_engine(0) as engine:
        return function(finished, engine, ignore_progress, *more)


def test_the_sweep_varies_one_parameter_at_a_time_and_chooses_one_combination(finished):
    found = run(run_sweep, finished)
    points = found.tables["points"]
    assert points.groupby("parameter").size().to_dict() == {"batch": 1, "kernel": 2, "layers": 2, "learning_rate": 2}
    assert set(points["n_folds"]) == {6}
    assert found.tables["combinations"]["chosen"].sum() == 1
    assert list(found.tables["optima"]["by"]) == ["sweep", "search"]
    assert len(found.arms) >= 4


def test_the_best_fold_stands_first_with_its_layers(finished):
    found = run(run_best_fold, finished)
    folds = found.tables["folds"]
    assert len(folds) == 6
    assert folds["accuracy"].iloc[0] == folds["accuracy"].max() == found.metrics["best_accuracy"]
    layers = found.tables["layers"]
    assert layers["parameters"].sum() > 0
    assert layers["kind"].iloc[-1] == "Dense"


def test_detection_is_at_chance_without_damage_and_sees_it_afterwards(finished):
    found = run(run_detection, finished)
    states, mean = found.tables["states"], found.tables["mean"].set_index("state")
    assert len(states) == 6 * len(DAMAGES)
    assert states["best"].sum() == len(DAMAGES)
    assert (states.loc[states["state"] == 1, "accuracy"] == 0.5).all()
    assert mean.loc[4, "accuracy"] > 0.9
    assert mean.loc[2, "accuracy"] < 0.7
    limits = found.tables["limits"].set_index(["of", "axis"])["limit"]
    assert 2 < limits["all", "state"] <= 4
    assert limits["all", "strain"] == pytest.approx((limits["all", "state"] - 1) / 100)
    assert found.arrays["slices"].shape == (len(found.tables["slices"]), 16, 16)


def test_damage_cannot_be_visible_where_there_is_no_load(finished):
    for state in (1, 5):
        with pytest.raises(ConfigError, match=f"--visible-from {state} is no loaded state: give one from 2 to 4"):
            run(run_detection, finished, state)


def test_heat_maps_are_drawn_for_each_plane_and_every_state_and_checked(finished):
    found = run(run_heat_maps, finished)
    slices = found.tables["slices"]
    assert (slices["panel"] == "classes").sum() == 2 * 3
    assert list(slices.loc[slices["panel"] == "states", "state"]) == [1, 2, 3, 4]
    assert found.arrays["maps"].shape == found.arrays["slices"].shape == (10, 16, 16)
    assert 0 <= found.arrays["maps"].min() <= found.arrays["maps"].max() <= 1
    assert set(found.tables["agreement"]["specimen"]) == set(SPECIMENS)
    assert set(found.tables["agreement"]["n_networks"]) <= {0, 1, 2}
    assert list(found.tables["sanity"]["randomised"]) == list(range(finished.choice.layers + 3))
    assert "energy" not in found.tables  # not a phantom: nobody knows the truth


def test_the_mixed_split_says_why_the_published_dealing_is_left_out(finished):
    found = run(run_mixed, finished)
    assert list(found.tables["arms"]["arm"]) == ["specimen", "mixed, seeded"]
    assert set(found.tables["arms"]["n_folds"]) == {6}
    assert "mixed, published is left out" in found.sentences[0]


def test_strain_is_predicted_from_stripes_better_than_by_the_mean(finished):
    found = run(run_strain, finished)
    assert list(found.tables["states"]["state"]) == [1, 2, 3, 4]
    assert list(found.tables["states"]["strain_percent"]) == pytest.approx([0, 1, 2, 3])
    assert found.metrics["error_percent"] < found.metrics["constant_error_percent"]
    assert len(found.tables["slices"]) == 6 * 4 * 12
    assert np.isfinite(found.arrays["maps"]).all()
