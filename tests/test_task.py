"""Tasks: every one is whole, and three classes are one entry more."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import call, refusal
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from tiny_study import LONG_ENOUGH, make_study
from tracked import new_project

from bonehpo.config import parse_config
from bonehpo.errors import ConfigError
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.fits import load_fit
from bonehpo.learning.learners import compile_network, predict
from bonehpo.learning.networks import build_network, load_network, standardise
from bonehpo.store.images import load_images
from bonehpo.task import DAMAGE, FAILED, PRISTINE, STRAIN, TASKS, Classification, LoadState, kept_outputs, task_named
from bonehpo.workflow.plan import make_plan


def stage(state):
    return 0 if state.is_first else 2 if state.is_last else 1


STAGES = Classification(
    name="stages", labels=("pristine", "damaged", "failed"), truth_of=stage, question="Pristine, damaged or failed?"
)
"""A third task, as a user would add it to `TASKS`."""

EVERY = pytest.mark.parametrize("task", [*TASKS.values(), STAGES], ids=lambda task: task.name)

PLANES = np.resize(["XY", "XZ"], 12)


def truths(task):
    """Something that may be true of twelve images, each class among it."""
    values = np.arange(12) % task.head.units if task is not STRAIN else np.linspace(0, 3, 12)
    return values.astype(np.float32)


def said(task, truth):
    """Outputs of a network that is always right, as its last layer says them."""
    raw = truth[:, None] if task is STRAIN else np.eye(task.head.units)[truth.astype(int)]
    return kept_outputs(raw)


def test_tasks_are_registered_under_their_names():
    assert {name: task.name for name, task in TASKS.items()} == {"damage": "damage", "strain": "strain"}
    assert task_named("damage") is DAMAGE


@EVERY
def test_a_task_says_what_is_true_of_the_first_and_the_last_state(task):
    ends = [LoadState(number, 1, 5, strain) for number, strain in ((1, 0.0), (5, 0.04))]
    first, last = (task.truth_of(state) for state in ends)
    assert first == 0
    assert last == (4 if task is STRAIN else task.head.units - 1)


@EVERY
def test_a_network_that_is_always_right_has_the_best_score_and_no_loss(task):
    truth = truths(task)
    found = task.evaluate(said(task, truth), truth, PLANES)
    assert found.score == task.measure.best
    assert dict(found.score_by_plane) == {"XY": task.measure.best, "XZ": task.measure.best}
    assert task.loss(said(task, truth), truth) == pytest.approx(0, abs=1e-6)
    assert set(found.details.values()) == {task.measure.best}
    assert len(task.prediction_columns) == 1 + said(task, truth).reshape(12, -1).shape[1]


@EVERY
def test_scores_without_an_image_are_not_a_number(task):
    none = np.zeros((0, task.head.units), np.float32)
    assert np.isnan(task.score(kept_outputs(none), none[:, 0]))


@EVERY
def test_what_keras_trains_by_is_what_is_scored(task):
    network = build_network(Hyperparameters(layers=1, kernel=3), side=8, task=task)
    compile_network(network, task)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    standardise(network, pixels, np.arange(12))
    truth = truths(task)
    outputs = predict(network, pixels)
    logs = network.test_on_batch(pixels[..., None], truth, return_dict=True)
    assert logs["loss"] == pytest.approx(task.loss(outputs, truth), rel=1e-4)
    assert logs["score"] == pytest.approx(task.measure.sign * task.score(outputs, truth), rel=1e-4)
    assert (network.layers[-1].name, network.layers[-1].units) == (task.head.layer, task.head.units)


@EVERY
def test_an_interval_is_cut_where_scores_end_and_read_upwards(task):
    measure = task.measure
    low, high = measure.span(measure.best - 0.5, measure.best + 0.5)
    assert high - low == pytest.approx(0.5)
    assert min(low, high) >= 0
    assert measure.shown({"gap_score": None, "n": 2}) == {f"gap_{measure.name}": None, "n": 2}


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20))
def test_of_two_classes_the_second_is_chosen_above_one_half(values):
    p_failed = np.array([0.5, *values], np.float32)
    assert np.array_equal(DAMAGE.chosen(p_failed), np.where(p_failed > 0.5, FAILED, PRISTINE))
    assert DAMAGE.chosen(p_failed)[0] == PRISTINE  # 1/2 says nothing of failure


def test_chance_is_one_over_the_number_of_classes():
    assert (DAMAGE.chance, STAGES.chance) == (0.5, 1 / 3)
    assert (DAMAGE.is_binary, STAGES.is_binary, STRAIN.is_binary) == (True, False, False)


def test_of_three_classes_each_has_its_own_accuracy():
    outputs = np.array([[0.8, 0.1, 0.1], [0.3, 0.3, 0.4], [0.2, 0.7, 0.1], [0.1, 0.6, 0.3]], np.float32)
    found = STAGES.evaluate(outputs, np.array([0, 0, 1, 2], np.float32), np.array(["XY"] * 4))
    assert found.score == 0.5
    details = dict(found.details)
    assert [details.pop(f"accuracy_{label}") for label in STAGES.labels] == [0.5, 1, 0]
    assert [details.pop(f"softmax_{label}") for label in STAGES.labels] == pytest.approx([0.55, 0.7, 0.3])
    assert details == {}


def test_a_task_that_is_none_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r'^here: there is no task "stage": take one of damage, strain$'):
        parse_config({"bone": "TB", "task": "stage"}, "here")


TOML = LONG_ENOUGH.replace('bone = "TB"', 'bone = "TB"\ntask = "stages"')


@pytest.fixture(scope="module")
def of_stages(tmp_path_factory):
    """A project in which one trial was searched on three classes, after nothing but an entry in `TASKS`."""
    root = new_project(tmp_path_factory.mktemp("stages"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, STAGES.name, STAGES)
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        folder = make_study(root, TOML, (0, 0.5, 1))
        answer = call("search", "--bone", "TB", "--trials", 1, "--workers", 0)
        yield root, make_plan(folder), answer.output


def test_three_classes_have_the_images_of_all_states(of_stages):
    _, plan, _ = of_stages
    images = load_images(plan.folder.store, plan.store_id, STAGES)
    assert {(int(s), int(t)) for s, t in zip(images.states, images.truth, strict=True)} == {(1, 0), (2, 1), (3, 2)}
    assert set(plan.n_images.values()) == {3 * 3 * 4}  # load states, planes, slices


def test_three_classes_are_fitted_and_kept_with_a_probability_for_each(of_stages):
    _, plan, _ = of_stages
    task = plan.task(plan.config.baseline, plan.pairs[0])
    fit = load_fit(plan.folder.fits, task.spec.key)
    told = fit.predictions[0]
    assert told.output.shape == (36, 3)
    assert told.output.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert fit.fold_scores()[0].test_score == np.mean(told.output.argmax(axis=1) == told.truth)
    kept = plan.task(plan.config.baseline, plan.pairs[0], repeat=1, keep=True)
    assert load_network(kept.network).layers[-1].units == 3
    assert np.load(kept.states)["output"].shape == (2 * 36, 3)
    other = replace(task.spec, task="damage")
    assert other.key != task.spec.key


def test_three_classes_are_shown_with_every_estimate(of_stages):
    said = of_stages[2]
    data = json.loads(call("show", "--bone", "TB", "--json").output)
    assert (data["task"], data["trials"][0]["state"]) == ("stages", "complete")
    assert data["estimates"]["nested_accuracy"] > 0.8 > STAGES.chance  # stripes are easily seen
    details = data["optimum"]["folds"][0]["details"]
    assert list(details) == [f"{what}_{label}" for what in ("accuracy", "softmax") for label in STAGES.labels]
    assert data["optimum"]["calibration"] is None
    for line in ("Apparent accuracy", "Nested accuracy", "Optimum            trial 0"):
        assert line in said
    assert "promote" not in said


def test_three_classes_are_recorded_in_mlflow(of_stages):
    root, _, _ = of_stages
    client = MlflowClient(f"sqlite:///{root / 'mlruns' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("bonehpo/TB")
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    of_level = {run.data.tags["bonehpo.level"]: run for run in runs}
    assert of_level["study"].data.params["task"] == "stages"
    assert {"accuracy_damaged", "softmax_damaged", "test_accuracy", "plane/XY"} <= set(of_level["fold"].data.metrics)
    file = Path(client.download_artifacts(of_level["fold"].info.run_id, "predictions.csv"))
    head, first, *_ = file.read_text("utf-8").splitlines()
    assert head == "specimen,state,plane,position,label,p_pristine,p_damaged,p_failed"
    assert sum(map(float, first.split(",")[-3:])) == pytest.approx(1, abs=1e-4)


def test_three_classes_have_a_report(of_stages):
    root, _, _ = of_stages
    call("report", "--bone", "TB")
    page = (root / "studies" / "TB" / "report.html").read_text("utf-8")
    assert "<h1>Pristine, damaged or failed? Study TB</h1>" in page
    assert "Nested accuracy" in page


@pytest.mark.parametrize("command", ["sweep", "explain", "compare --weights none", "promote"])
def test_what_is_about_two_classes_is_refused_for_three(of_stages, command):
    line = refusal(*command.split(), "--bone", "TB")
    assert "predicts stages" in line
    assert "damage" in line
