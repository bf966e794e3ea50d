"""Comparisons and explanations of a tiny finished study: four load states, damage visible in the last two."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_study import SPECIMENS, TOML, finish, make_result, plan_of, write_striped

from bonehpo.config import Strain, StudyFolder
from bonehpo.domain import ignore_progress
from bonehpo.engine import open_engine
from bonehpo.errors import ConfigError
from bonehpo.phantom import PhantomSpec, write_phantom
from bonehpo.preparation.prepare import prepare
from bonehpo.results.finished import Configuration, fit_configurations
from bonehpo.store.recipe import Steps
from bonehpo.workflow.plan import make_plan

DAMAGES = (0, 0, 0.6, 1)
LEARNING = TOML.replace("epochs = 3", "epochs = 8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finish(plan_of(tmp_path_factory.mktemp("finished"), LEARNING, DAMAGES))


@pytest.fixture(scope="module")
def of_phantoms(tmp_path_factory):
    """A finished study of phantoms, whose damage is known voxel by voxel and begins at the third of four states."""
    root = tmp_path_factory.mktemp("phantoms")
    spec = PhantomSpec(bone="TB", side=32, n_states=4, specimens=("A", "B", "C"))
    folder = StudyFolder(root / "studies" / "TB")
    with open_engine(0) as engine:
        scans = write_phantom(spec, root / "phantom", engine, ignore_progress)
        prepare(scans, folder.store, Steps(n_slices=3, registration=False), engine)
    folder.config.write_text(TOML, encoding="utf-8")
    return finish(make_plan(folder))


def test_the_sweep_varies_one_parameter_at_a_time_and_chooses_one_combination(finished):
    found = make_result("sweep", finished)
    points = found.tables["points"]
    assert points.groupby("parameter").size().to_dict() == {"batch": 1, "kernel": 2, "layers": 2, "learning_rate": 2}
    assert set(points["n_folds"]) == {6}
    assert found.tables["combinations"]["chosen"].sum() == 1
    assert list(found.tables["optima"]["by"]) == ["sweep", "search"]
    assert len(found.configurations) >= 4


def test_accuracy_by_plane_and_class_is_that_of_the_folds(finished):
    found = make_result("by-plane", finished)
    planes = found.tables["planes"].set_index(["plane", "label"])
    assert list(planes.index) == [(p, c) for p in ("XY", "XZ", "YZ") for c in ("pristine", "failed", "both")]
    assert set(planes["n_sets"]) == {len(SPECIMENS)}
    folds = make_result("best-fold", finished).tables["folds"]
    assert planes.xs("both", level="label")["accuracy"].mean() == pytest.approx(folds["accuracy"].mean())
    for label in ("pristine", "failed"):
        assert planes.xs(label, level="label")["accuracy"].mean() == pytest.approx(folds[f"accuracy_{label}"].mean())
    assert found.metrics["XZ/failed"] == planes.loc[("XZ", "failed"), "accuracy"]
    assert found.sentences[0].startswith("Accuracy by plane: XY ")


def test_the_best_fold_stands_first_with_its_layers(finished):
    found = make_result("best-fold", finished)
    folds = found.tables["folds"]
    assert len(folds) == 6
    assert folds["accuracy"].iloc[0] == folds["accuracy"].max() == found.metrics["best_accuracy"]
    layers = found.tables["layers"]
    assert layers["parameters"].sum() > 0
    assert layers["kind"].iloc[-1] == "Dense"


def test_detection_is_at_chance_without_damage_and_sees_it_afterwards(finished):
    found = make_result("detection", finished)
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
            make_result("detection", finished, visible_from=state)


def test_heat_maps_are_drawn_for_each_plane_and_every_state_and_checked(finished):
    found = make_result("grad-cam", finished)
    slices = found.tables["slices"]
    assert (slices["panel"] == "classes").sum() == 2 * 3
    assert list(slices.loc[slices["panel"] == "states", "state"]) == [1, 2, 3, 4]
    assert found.arrays["maps"].shape == found.arrays["slices"].shape == (10, 16, 16)
    assert 0 <= found.arrays["maps"].min() <= found.arrays["maps"].max() <= 1
    assert set(found.tables["agreement"]["specimen"]) == set(SPECIMENS)
    assert set(found.tables["agreement"]["n_networks"]) == {2}
    assert list(found.tables["sanity"]["randomised"]) == list(range(finished.choice.layers + 3))
    assert "energy" not in found.tables  # not a phantom: nobody knows the truth


def test_the_mixed_split_says_why_the_published_assignment_is_left_out(finished):
    found = make_result("mixed", finished)
    assert list(found.tables["configurations"]["configuration"]) == ["specimen", "mixed, seeded"]
    assert set(found.tables["configurations"]["n_folds"]) == {6}
    assert "mixed, published is left out" in found.sentences[0]


def test_strain_is_predicted_from_stripes_better_than_by_the_mean(finished):
    found = make_result("strain", finished)
    assert list(found.tables["states"]["state"]) == [1, 2, 3, 4]
    assert list(found.tables["states"]["strain_percent"]) == pytest.approx([0, 1, 2, 3])
    assert found.metrics["error_percent"] < found.metrics["constant_error_percent"]
    by_specimen = found.tables["specimens"]
    assert (by_specimen["error_percent"] < by_specimen["constant_error_percent"]).all()
    assert found.metrics["p"] == 0.25, "three specimens of three are better: the smallest p that they allow"
    assert len(found.tables["slices"]) == 6 * 4 * 12
    assert np.isfinite(found.arrays["maps"]).all()


def test_strain_is_learnt_for_as_many_epochs_as_study_toml_says(finished):
    config = replace(finished.plan.config, strain=Strain(epochs=1))
    short = make_result("strain", replace(finished, plan=replace(finished.plan, config=config)))
    assert (short.parameters["epochs"], make_result("strain", finished).parameters["epochs"]) == ("1", "8")
    assert short.configurations[0].keys != make_result("strain", finished).configurations[0].keys


def test_on_phantoms_the_truth_says_what_heat_maps_and_detection_are_worth(of_phantoms):
    store = of_phantoms.store
    maps = make_result("grad-cam", of_phantoms)
    energy, slices = maps.tables["energy"], maps.tables["slices"]
    assert len(energy) == 6 * 3
    assert energy["share"].dropna().between(0, 1).all()
    agreement = maps.tables["agreement"]
    assert set(agreement["n_networks"]) == {2}
    assert agreement["n_maps"].sum() == 6 * 3 * 3
    n_blank = agreement["n_blank"].sum()
    assert energy["share"].isna().sum() <= n_blank
    assert maps.metrics["blank"] == n_blank / (6 * 3 * 3)
    said = [line for line in maps.sentences if line.startswith(f"Caution: {n_blank} of 54 maps")]
    assert len(said) == (n_blank > 0)
    assert energy["gain"].to_numpy() == pytest.approx((energy["share"] / energy["chance"]).to_numpy(), nan_ok=True)
    one = energy.iloc[0]
    assert one["chance"] == pytest.approx(store.damage(one["specimen"], one["state"], one["plane"]).mean() / 255)
    for row, damage in zip(slices.to_dict("records"), maps.arrays["damage"], strict=True):
        truth = store.damage(row["specimen"], row["state"], row["plane"])[row["position"]] / 255
        assert damage == pytest.approx(truth, abs=1e-6)
    assert maps.ran_on == "phantom"
    assert make_result("detection", of_phantoms).parameters["visible_from"] == "3"
    assert make_result("detection", of_phantoms, visible_from=2).parameters["visible_from"] == "2"


def test_a_point_that_diverges_has_a_reason_and_the_others_a_mean(tmp_path, caplog):
    found = make_result("sweep", finish(plan_of(tmp_path, TOML.replace("1e-4", "1e30"))))
    points = found.tables["points"].set_index(["parameter", "value"])
    assert "diverged: the loss became" in points.loc[("learning_rate", 1e30), "reason"]
    assert np.isnan(points.loc[("learning_rate", 1e30), "mean"])
    others = points.drop(("learning_rate", 1e30))
    assert set(others["reason"]) == {""}
    assert others["mean"].notna().all()
    failed = next(configuration for configuration in found.configurations if configuration.reason)
    assert failed.keys == ()
    assert 1e30 not in set(found.tables["combinations"]["learning_rate"])
    assert "diverged" in caplog.text


def test_networks_of_the_optimum_that_are_gone_are_fitted_again_and_look_at_the_same(finished):
    before = make_result("grad-cam", finished)
    for network in finished.plan.folder.optimum.iterdir():
        network.unlink()
    after = make_result("grad-cam", finished)
    assert after.inputs == before.inputs
    assert after.arrays["maps"] == pytest.approx(before.arrays["maps"], abs=1e-3)


def test_worker_processes_make_the_same_heat_maps(finished):
    here = make_result("grad-cam", finished)
    there = make_result("grad-cam", finished, n_workers=1)
    assert there.arrays["maps"] == pytest.approx(here.arrays["maps"], abs=1e-3)
    assert there.tables["sanity"]["layer"].equals(here.tables["sanity"]["layer"])


def test_a_fit_that_two_configurations_share_is_done_once(finished):
    choice = finished.plan.config.baseline
    told = []
    with open_engine(0) as engine:
        configurations = [
            Configuration(
                name=name,
                parameters={},
                tasks=tuple(finished.plan.task(choice, pair, repeat=7) for pair in finished.plan.pairs),
            )
            for name in ("first", "second")
        ]
        found = fit_configurations(configurations, engine, told.append)
        again = fit_configurations(configurations, engine, told.append)
    assert [(at.done, at.total) for at in told] == [(1, 3), (2, 3), (3, 3)]
    assert found["first"].folds == found["second"].folds == again["second"].folds


def test_results_are_made_of_sets_that_hold_planes_of_several_specimens(tmp_path):
    finished = finish(plan_of(tmp_path, f'{TOML}[split]\nkind = "mixed"\n', DAMAGES))
    sets = finished.plan.sets
    assert all(len({group.specimen for group in groups}) > 1 for groups in sets.values())
    folds = make_result("best-fold", finished).tables["folds"]
    assert set(folds["test"]) == set(sets)
    states = make_result("detection", finished).tables["states"]
    assert set(states["n_slices"]) == {3 * 4}
    assert states["strain"].tolist() == pytest.approx(0.01 * (states["state"] - 1))
    slices = make_result("grad-cam", finished).tables["slices"]
    shown = {(row.specimen, row.plane) for row in slices.itertuples()}
    assert shown == set(sets[slices["test"].iloc[0]])
    assert list(make_result("mixed", finished).tables["configurations"]["configuration"]) == [
        "specimen",
        "mixed, seeded",
    ]
    strain = make_result("strain", finished).tables["slices"]
    assert (strain["specimen"] != strain["validation"]).all()
    assert set(strain["validation"]) == set(SPECIMENS), "by specimen, whatever the split of the study"


def test_specimens_may_lack_loaded_states(tmp_path):
    csv = write_striped(tmp_path / "scans", DAMAGES)
    lines = csv.read_text().splitlines(keepends=True)
    csv.write_text("".join(line for line in lines if not line.startswith(("TB6,2", "TB9,3"))))
    folder = StudyFolder(tmp_path / "studies" / "TB")
    with open_engine(0) as engine:
        prepare(csv, folder.store, Steps(match="none", median=False, n_slices=2), engine)
    folder.config.write_text(TOML, encoding="utf-8")
    finished = finish(make_plan(folder))
    mean = make_result("detection", finished).tables["mean"].set_index("state")
    assert mean["n_sets"].to_dict() == {1: 3, 2: 2, 3: 2, 4: 3}
    make_result("grad-cam", finished)
    strain = make_result("strain", finished)
    assert strain.tables["slices"].groupby("specimen")["state"].unique().map(list).to_dict() == {
        "TB5": [1, 2, 3, 4],
        "TB6": [1, 3, 4],
        "TB9": [1, 2, 4],
    }
