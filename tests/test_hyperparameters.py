"""The table of hyperparameters: every entry is everywhere, and does something."""

import dataclasses
import json
import math
import tomllib

import made_up_results as made_up
import made_up_study
import numpy as np
import optuna
import pandas as pd
import pytest
import tomlkit
from commands import call
from places import DOCS
from tiny_study import TOML, make_study, plan_of
from tracked import STUDY, new_project, trial

from bonehpo.config import StudyConfig, parse_config
from bonehpo.errors import ConfigError
from bonehpo.hyperparameters import (
    HYPERPARAMETERS,
    IN_TURN,
    Hyperparameters,
    Range,
    Space,
    from_params,
    in_words,
    replace_values,
    row_of,
    searched,
    told,
)
from bonehpo.learning.architecture import count_operations, count_parameters
from bonehpo.learning.learners import make_cnn_learner
from bonehpo.learning.training import train
from bonehpo.report.figures.studies import sweep_figure
from bonehpo.report.sections import trials_view
from bonehpo.search.space import candidates, networks, suggest, sweep_points
from bonehpo.store.images import load_images
from bonehpo.tracking.database import open_tracking
from bonehpo.tracking.runs import MlflowRecorder

THE_FOUR = ["layers", "learning_rate", "kernel", "batch"]
WIDE = Space(**{entry.name: entry.examples for entry in HYPERPARAMETERS})
"""Everything varies."""

EACH = pytest.mark.parametrize("entry", HYPERPARAMETERS, ids=lambda entry: entry.name)


def other(entry):
    """A value that is not the default."""
    return next(value for value in entry.examples if value != entry.default)


OTHERS = Hyperparameters(**{entry.name: other(entry) for entry in HYPERPARAMETERS})


def test_choices_and_spaces_have_what_the_table_has_in_its_order():
    names = [entry.name for entry in HYPERPARAMETERS]
    assert [field.name for field in dataclasses.fields(Hyperparameters)] == names
    assert [field.name for field in dataclasses.fields(Space)] == names
    assert [getattr(Hyperparameters(), name) for name in names] == [entry.default for entry in HYPERPARAMETERS]
    assert [Space().of(name) for name in names] == [entry.space for entry in HYPERPARAMETERS]
    assert sorted(IN_TURN, key=HYPERPARAMETERS.index) == list(HYPERPARAMETERS)
    assert [entry.name for entry in IN_TURN[:4]] == ["layers", "learning_rate", "batch", "kernel"], (
        "the panels of Fig 3"
    )


@EACH
def test_an_entry_holds_together(entry):
    assert entry.default in entry.space
    assert entry.default in entry.examples
    assert len(set(entry.examples)) == len(entry.examples) > 1
    assert {*entry.space} <= {*entry.examples}
    for value in entry.examples:
        assert entry.complaint(value) == ""
        assert entry.cast(json.loads(json.dumps(value))) == value
        assert type(entry.cast(value)) is type(value)
    assert entry.complaint("neither" if entry.kind == "choice" else math.inf)
    assert entry.complaint("neither" if entry.kind == "choice" else -1)
    assert len({entry.text(value) for value in entry.examples}) == len(entry.examples)
    assert sorted(map(entry.number, entry.examples)) == [entry.number(value) for value in entry.examples]
    assert entry.description.endswith(".")


def made_of(plan, choice):
    """Network and optimiser of a fit of this choice, as Keras describes them, before anything is trained."""
    task = plan.task(choice, plan.pairs[0])
    images = load_images(task.store, plan.store_id)
    learner = make_cnn_learner(task, images, images.indices(plan.sets["TB9"]), "float32")
    network = [
        (layer.name, layer.get_config() | {"seed": None}, [w.shape for w in layer.weights])
        for layer in learner.network.layers
    ]
    return repr(network), repr(learner.network.optimizer.get_config() | {"name": ""})


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return plan_of(tmp_path_factory.mktemp("table"), TOML.replace("epochs = 3", "epochs = 1"))


@pytest.fixture(scope="module")
def baseline(plan):
    """What the fit of the baseline is made of, and what it yields."""
    choice = Hyperparameters(layers=2)
    return choice, made_of(plan, choice), train(plan.task(choice, plan.pairs[0]))


@EACH
def test_every_entry_changes_the_network_or_the_way_it_is_trained(plan, baseline, entry):
    """A hyperparameter that reaches nothing would be searched, and identical networks recorded as different ones."""
    choice, made, fitted = baseline
    changed = replace_values(choice, {entry.name: other(entry)})
    assert plan.task(changed, plan.pairs[0]).spec.key != fitted.key
    network, optimiser = made_of(plan, changed)
    assert (network != made[0]) == (entry.changes == "network")
    if entry.changes != "network":
        if entry.changes == "order":
            assert optimiser == made[1]
        again = train(plan.task(changed, plan.pairs[0]))
        assert not np.array_equal(again.predictions[0].output, fitted.predictions[0].output)


def test_the_default_family_has_the_published_sizes_whatever_the_table_holds():
    assert count_parameters(Hyperparameters(layers=4, kernel=5), 200) == 19_265_858
    assert count_parameters(Hyperparameters(layers=5, kernel=3), 200) == 20_446_018
    assert [entry.name for entry in searched(Space())] == THE_FOUR
    assert [entry.name for entry in told([Hyperparameters()])] == THE_FOUR
    assert len(networks(Space())) == 6 * 5


def test_what_is_fixed_at_its_default_is_not_asked_of_the_sampler_and_all_else_is_recorded():
    plain, fixed, wide = (optuna.create_study().ask() for _ in range(3))
    assert suggest(plain, Space(batch=(10,))).batch == 10
    assert sorted(plain.params) == sorted(THE_FOUR)
    assert suggest(fixed, Space(dropout=(0.2,), normalisation=("group",))).normalisation == "group"
    assert sorted(fixed.params) == sorted([*THE_FOUR, "dropout", "normalisation"])
    assert (fixed.params["dropout"], fixed.params["normalisation"]) == (0.2, "group")
    chosen = suggest(wide, WIDE)
    assert sorted(wide.params) == sorted(entry.name for entry in HYPERPARAMETERS)
    assert from_params(wide.params) == chosen


def test_the_parameters_of_an_old_trial_are_read_with_what_came_later_at_its_default():
    old = {"layers": 4, "learning_rate": 1e-3, "kernel": 7, "batch": 10}
    assert from_params(old) == Hyperparameters(**old)
    assert row_of(from_params(old), Space()) == old


@pytest.mark.parametrize("sampler", ["quasi-random", "grid", "sweep", "random"])
@EACH
def test_every_entry_is_varied_by_every_list_of_candidates(entry, sampler):
    search = {"sampler": sampler, "protocol": "strict"}
    table = {"bone": "TB", "space": {entry.name: list(entry.examples)}, "search": search}
    found = candidates(parse_config(table, "study.toml"), 64)
    assert {getattr(choice, entry.name) for choice in found} == {*entry.examples}


@EACH
def test_every_entry_is_swept(entry):
    points = sweep_points(StudyConfig(bone="TB", space=WIDE))
    series = [point.choice for point in points if point.parameter == entry.name]
    assert [getattr(choice, entry.name) for choice in series] == list(entry.examples)
    assert {replace_values(choice, {entry.name: entry.default}) for choice in series} == {Hyperparameters()}


@EACH
def test_a_range_of_numbers_is_searched_and_refused_where_a_list_is_needed(entry):
    if entry.kind != "float":
        with pytest.raises(ConfigError, match=rf"at \$\.space\.{entry.name}"):
            parse_config({"bone": "TB", "space": {entry.name: {"low": 1, "high": 2}}}, "study.toml")
        return
    low, high = entry.examples[1], entry.examples[-1]
    table = {"bone": "TB", "space": {entry.name: {"low": low, "high": high}}, "baseline": {entry.name: high}}
    config = parse_config(table | {"search": {"sampler": "quasi-random"}}, "study.toml")
    assert config.space.of(entry.name) == Range(low=low, high=high)
    values = [getattr(choice, entry.name) for choice in candidates(config, 65)[1:]]
    middle = math.sqrt(low * high) if entry.logarithmic else (low + high) / 2
    assert all(low <= value <= high for value in values)
    assert 0.4 < sum(value < middle for value in values) / len(values) < 0.6
    with pytest.raises(
        ConfigError, match=rf"sampler sweep needs a list of values, not a range: write {entry.name} = \["
    ):
        parse_config(table | {"search": {"sampler": "sweep"}}, "study.toml")


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"space": {"dropout": [0.0, 1.0]}}, "space.dropout must be from 0 to below 1, but got 1.0"),
        ({"space": {"dropout": {"low": 0.0, "high": 1.5}}}, "space.dropout must be from 0 to below 1, but got Range"),
        ({"space": {"dropout": {"low": 0.5, "high": 0.1}}}, "space.dropout needs low < high"),
        ({"space": {"filters": [0, 32]}}, "space.filters must be positive, but got 0"),
        ({"space": {"dense_units": [-1, 0]}}, "space.dense_units must be 0 or more, but got -1"),
        ({"space": {"weight_decay": {"low": 0.0, "high": 0.1}}}, "space.weight_decay needs 0 < low < high"),
        ({"space": {"normalisation": ["layer"]}}, "Invalid enum value 'layer'"),
        ({"baseline": {"schedule": "cosine"}}, "baseline.schedule is cosine, which space.schedule does not hold"),
        ({"space": {"schedule": ["cosine"]}}, "baseline.schedule is constant, which space.schedule does not hold"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(table, complaint):
    with pytest.raises(ConfigError) as caught:
        parse_config({"bone": "TB", **table}, "study.toml")
    assert complaint in str(caught.value)


@EACH
def test_every_entry_is_documented(entry):
    page = (DOCS / "reference" / "study.md").read_text("utf-8")
    shown = tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])
    assert tuple(shown["space"][entry.name]) == entry.space
    assert shown["baseline"][entry.name] == entry.default
    assert entry.name in THE_FOUR or f"`{entry.name}`" in page.partition("```toml\n")[2].partition("```")[2]


@EACH
def test_what_is_off_its_default_is_told(entry):
    changed = replace_values(Hyperparameters(), {entry.name: other(entry)})
    assert f"{entry.short or entry.label} {entry.text(other(entry))}" in in_words(changed)
    assert f"{entry.label} {entry.text(other(entry))}" in in_words(changed, short=False)
    assert entry in told([Hyperparameters(), changed])
    assert eval(repr(changed)) == changed
    assert repr(Hyperparameters()) == "Hyperparameters(layers=3, learning_rate=0.0001, kernel=5, batch=20)"


def test_every_entry_is_a_parameter_of_trials_and_folds_in_mlflow(tmp_path):
    wide = dataclasses.replace(STUDY, space={entry.name: "several" for entry in HYPERPARAMETERS})
    tracking = open_tracking(new_project(tmp_path))
    recorder = MlflowRecorder(tracking)
    recorder.study(wide)
    recorder.trial_started(dataclasses.replace(trial(0), hyperparameters=OTHERS))
    recorder.close()
    (experiment,) = (e for e in tracking.client.search_experiments() if e.name != "Default")
    found = tracking.client.search_runs([experiment.experiment_id], "tags.`bonehpo.level` = 'trial'")
    params = found[0].data.params
    assert {entry.name: params[entry.name] for entry in HYPERPARAMETERS} == {
        entry.name: str(other(entry)) for entry in HYPERPARAMETERS
    }


@EACH
def test_every_entry_that_varies_is_a_column_of_the_page(entry):
    study = made_up_study.study()
    assert trials_view(study).columns[:6] == ("trial", "layers", "learning rate", "kernel", "batch", "parameters")
    row = study.trials[0]
    changed = dataclasses.replace(row, hyperparameters=replace_values(row.hyperparameters, {entry.name: other(entry)}))
    table = trials_view(dataclasses.replace(study, trials=(changed, *study.trials[1:])))
    assert entry.label in table.columns
    assert all(len(cells) == len(table.columns) == len(table.numeric) for cells in table.rows)


def test_every_entry_that_is_searched_stands_in_the_table_of_show(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = {entry.name: other(entry) for entry in HYPERPARAMETERS[4:]}
    toml = tomllib.loads(TOML.replace("epochs = 3", "epochs = 1"))
    toml["space"] |= {name: [value] for name, value in values.items()}
    toml["baseline"] |= values
    make_study(tmp_path, tomlkit.dumps(toml))
    dry = json.loads(call("search", "--bone", "TB", "--trials", 1, "--dry-run", "--json").output)
    assert dry["n_fits"] == 6
    said = call("search", "--bone", "TB", "--trials", 1, "--workers", 0).output
    text = call("show", "--bone", "TB").output
    assert said.endswith(text)
    head, row = text.splitlines()[:2]
    for entry in HYPERPARAMETERS:
        assert f" {entry.short or entry.label} " in head
        assert f" {entry.text(toml['baseline'][entry.name])} " in row
    found = json.loads(call("show", "--bone", "TB", "--json").output)["trials"][0]["hyperparameters"]
    assert {name: found[name] for name in values} == values


def wide_sweep():
    """A made-up sweep of everything, its optimum off every default."""
    result = made_up.sweep()
    points = pd.DataFrame(
        {
            "parameter": point.parameter,
            "value": entry.number(getattr(point.choice, entry.name)),
            **row_of(point.choice, WIDE),
            "mean": 0.7 + 0.01 * i,
            "sd": 0.02,
            "n_folds": 20,
            "reason": "",
        }
        for i, point in enumerate(sweep_points(StudyConfig(bone="TB", space=WIDE)))
        for entry in [next(entry for entry in HYPERPARAMETERS if entry.name == point.parameter)]
    )
    scored = {"n_parameters": 1, "mean": 0.9, "sd": 0.01, "n_folds": 20, "rule": ""}
    optima = pd.DataFrame([{"by": by, **row_of(OTHERS, WIDE), **scored} for by in ("sweep", "search")])
    return dataclasses.replace(result, tables={"points": points, "combinations": points.iloc[:0], "optima": optima})


@pytest.mark.parametrize(("n", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (4, 2, 2), (5, 2, 3), (10, 3, 4)])
def test_the_figure_of_a_sweep_has_a_panel_for_each_that_varies(tmp_path, n, rows, columns):
    result = wide_sweep()
    names = [entry.name for entry in HYPERPARAMETERS[-n:]]
    points = result.tables["points"]
    some = dataclasses.replace(
        result, tables={**result.tables, "points": points[points["parameter"].isin(names)].reset_index(drop=True)}
    )
    drawn = sweep_figure(some, tmp_path)
    assert drawn.svg.stat().st_size > 0
    picture = drawn.svg.read_text("utf-8")
    assert [f"axes_{i}" in picture for i in (1, n, n + 1)] == [True, True, False]
    assert in_words(OTHERS, short=False) in drawn.caption
    width, height = (float(picture.split(f'{side}="')[1].split("pt")[0]) for side in ("width", "height"))
    assert height / width == pytest.approx(57.5 * rows / 180, rel=1e-3)
    assert columns * rows >= n


def test_operations_and_parameters_grow_with_filters_and_units():
    small, large = Hyperparameters(), Hyperparameters(filters=64)
    assert count_operations(large, 64) > 2 * count_operations(small, 64)
    assert count_parameters(Hyperparameters(dense_units=256), 64) == count_parameters(small, 64)
    assert count_parameters(Hyperparameters(dense_units=257), 64) - count_parameters(small, 64) == 8 * 8 * 128 + 1 + 2


@EACH
def test_what_changes_the_network_is_an_option_of_the_command_that_prints_one(entry):
    words = ["network", "--side", 32, f"--{entry.name.replace('_', '-')}", other(entry), "--json"]
    if entry.changes != "network":
        assert "No such option" in call(*words, code=2).stderr
        return
    changed = replace_values(Hyperparameters(layers=4, kernel=5), {entry.name: other(entry)})
    assert json.loads(call(*words).output)["n_parameters"] == count_parameters(changed, 32)
