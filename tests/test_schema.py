"""A setting that is added later closes no study and orphans no fit; addresses are those of the first version."""

import dataclasses
import json
from pathlib import Path

import pytest
from tiny_study import TOML, plan_of

from bonehpo.config import Search, Split, StudyConfig, StudyFolder, Training
from bonehpo.errors import StudyError
from bonehpo.files import content_address
from bonehpo.folds import assign_sets
from bonehpo.hyperparameters import Hyperparameters, Space, replace_values
from bonehpo.learning.backbones import RESNET50
from bonehpo.learning.fits import FitSpec, Transfer
from bonehpo.results.finished import FinishedStudy, optimum_address
from bonehpo.schema import SCHEMA, SCHEMA_1, stable
from bonehpo.search.plan import SearchPlan
from bonehpo.search.records import Optimum
from bonehpo.search.space import candidates, enqueued, read_fixed_list, settle_candidates
from bonehpo.search.storage import attributes, load_study, open_storage, open_study, remember
from bonehpo.store.recipe import Steps

SPECIMENS, PLANES = ("TB5", "TB6", "TB7", "TB8", "TB9"), ("XY", "XZ", "YZ")

# What follows was computed with the version before schema 2 (commit 4cd7cb9).
IDENTITY = {
    "store": "ab" * 32,
    "code version": "3",
    "task": "damage",
    "split.kind": '"specimen"',
    "split.dealing": '"seeded"',
    "split.seed": "0",
    "space.layers": "[1, 2, 3, 4, 5, 6]",
    "space.learning_rate": "[1e-05, 0.0001, 0.001, 0.01]",
    "space.kernel": "[3, 5, 7, 9, 11]",
    "space.batch": "[5, 10, 20, 30, 40, 50]",
    "baseline.layers": "3",
    "baseline.learning_rate": "0.0001",
    "baseline.kernel": "5",
    "baseline.batch": "20",
    "training.epochs": "20",
    "training.flip": "true",
    "training.shear_deg": "10.0",
    "training.checkpoint": '"last"',
    "training.precision": '"auto"',
    "search.sampler": "tpe",
    "search.seed": "0",
}
FITS = {
    "cnn": "e7456a72c2a05ae7e7f202588662da13",
    "cnn, fresh seeds": "9ab40dc1329627979999d5c5f3332331",
    "strain": "b537f051a20b9ab06022ac2c79dcc7a8",
    "mixed": "c4e96d534997c51c6b58d76d5f6f0cff",
    "swapped": "446c35be3d51efa3441edb928ccfb4b5",
    "frozen": "f9e5bac6e33f3f8ef704ea69fbd5ecb6",
    "fine-tuned": "54f38603723dd51278e46847dce49d87",
    "scratch": "be092f1bb1d81b8a4b5259188d4b30da",
}
RESULTS = {
    "optimum": "65bf684e6353c9e4a679a27d75928863",
    "sweep": "d98fe2b20d731a6c1fbd11e23615d6fe",
    "mixed": "d017651d49ba45f64a3991eee2a91b20",
    "compare": "aece369518f8f4243ecaaabbdf2f62f9",
    "strain": "b81681e85aaefb433bb34cd34d335e41",
}
LISTS = {
    "grid": "2e541479c961ad0a73b62474d1cb35e4963f2b32a56ac2e7c93b68645f8635b8",
    "sweep": "f43c5d12fa23c1a424bf1524e9be3eb8debac88d60fd61f6fcebd79496637ad6",
    "quasi-random": "a454733de855fcadc17c1a4b6aa831182bbb6758474535f2100cc9143fe45554",
}


def plan_with(**settings):
    """The plan of a study of five specimens whose settings are given; nothing of it is on the disk."""
    config = StudyConfig(bone="TB", **settings)
    sets = assign_sets(config.split, config.bone, SPECIMENS, PLANES)
    return SearchPlan(
        folder=StudyFolder(Path("/nowhere/studies/TB")),
        config=config,
        store_id="ab" * 32,
        side=64,
        sets=sets,
        n_images=dict.fromkeys(sets, 10),
        ran_on="phantom",
        storage="sqlite:////nowhere/optuna.db",
    )


def spec_of(plan, choice=None, repeat=0, **changes):
    pair = plan.pairs[1 if repeat else 0]
    return dataclasses.replace(plan.task(choice or plan.config.baseline, pair, repeat=repeat).spec, **changes)


def test_the_identity_of_a_study_is_that_of_the_first_version():
    assert plan_with().identity == IDENTITY
    mixed = plan_with(split=Split(kind="mixed", seed=3)).identity
    assert mixed == IDENTITY | {"split.kind": '"mixed"', "split.seed": "3"}


def test_addresses_of_fits_are_those_of_the_first_version():
    plan, weights = plan_with(), "cd" * 32
    found = {
        "cnn": spec_of(plan),
        "cnn, fresh seeds": spec_of(plan, repeat=1),
        "strain": spec_of(plan_with(task="strain")),
        "mixed": spec_of(plan_with(split=Split(kind="mixed", seed=3))),
        "swapped": spec_of(plan, swapped=("TB5", "TB7")),
        "frozen": spec_of(plan, RESNET50.hyperparameters, transfer=Transfer(mode="frozen", weights=weights)),
        "fine-tuned": spec_of(plan, RESNET50.hyperparameters, transfer=Transfer(mode="fine-tuned", weights=weights)),
        "scratch": spec_of(plan, RESNET50.hyperparameters, transfer=Transfer(mode="scratch")),
    }
    assert {name: spec.key for name, spec in found.items()} == FITS


def test_restarts_are_in_identity_and_addresses_only_where_there_are_any():
    without, once = plan_with(training=Training(restarts=0)), plan_with(training=Training(restarts=1))
    assert (without.identity, spec_of(without).key) == (IDENTITY, FITS["cnn"])
    assert once.identity == IDENTITY | {"training.restarts": "1"}
    assert spec_of(once).key != FITS["cnn"]


def test_addresses_of_results_are_those_of_the_first_version():
    plan = plan_with()
    keys = {pair.label: f"{i:032x}" for i, pair in enumerate(plan.pairs)}
    optimum = Optimum(trial=3, rule="best", trials=(0, 1, 2, 3), keys=keys, chosen="2026-01-01T00:00:00+00:00")
    finished = FinishedStudy(plan=plan, record=None, store=None, optimum=optimum, choice=plan.config.baseline)
    assert {
        "optimum": optimum_address(plan, optimum),
        "sweep": finished.address("sweep", finished.choice),
        "mixed": finished.address("mixed"),
        "compare": finished.address("compare", "cd" * 32, {"scratch": 20, "frozen": 5, "fine-tuned": 5}),
        "strain": finished.address("strain", 20),
    } == RESULTS


@pytest.fixture
def tiny(tmp_path):
    return plan_of(tmp_path, TOML)


def begin(plan):
    return open_study(open_storage(plan.storage), plan.folder.name, plan.identity)


@pytest.mark.parametrize("sampler", LISTS)
def test_the_hash_of_a_strict_list_is_that_of_the_first_version(tiny, sampler):
    config = StudyConfig(bone="TB", search=Search(sampler=sampler, seed=2))
    n = len(candidates(config, 7))
    plan, study = dataclasses.replace(tiny, config=config), begin(tiny)
    settle_candidates(study, plan, n)
    assert read_fixed_list(study).sha256 == LISTS[sampler]


def later(kind, name="added", value=0):
    """The same settings with one more key, as the next version might have them."""
    return dataclasses.make_dataclass(
        f"Later{kind.__name__}", [(name, type(value), value)], bases=(kind,), frozen=True, kw_only=True
    )


PLACES = {"training": Training, "space": Space, "split": Split, "search": Search, "baseline": Hyperparameters}


@pytest.mark.parametrize("place", PLACES)
def test_a_key_that_is_added_stays_out_of_the_identity_at_its_default_alone(place):
    kind = later(PLACES[place])
    assert plan_with(**{place: kind()}).identity == IDENTITY
    assert plan_with(**{place: kind(added=7)}).identity == IDENTITY | {f"{place}.added": "7"}


@pytest.mark.parametrize("place", ["training", "baseline"])
def test_a_key_that_is_added_stays_out_of_the_address_of_a_fit_at_its_default_alone(place):
    kind = later(PLACES[place])
    assert spec_of(plan_with(**{place: kind()})).key == FITS["cnn"]
    assert spec_of(plan_with(**{place: kind(added=7)})).key != FITS["cnn"]


def test_a_key_that_is_added_to_specifications_and_backbones_orphans_nothing():
    plan = plan_with()
    held = {field.name: getattr(spec_of(plan), field.name) for field in dataclasses.fields(FitSpec)}
    assert later(FitSpec)(**held).key == FITS["cnn"]
    assert later(FitSpec)(**held, added=7).key != FITS["cnn"]
    backbone = later(Transfer)
    assert spec_of(plan, RESNET50.hyperparameters, transfer=backbone(mode="scratch")).key == FITS["scratch"]
    assert spec_of(plan, RESNET50.hyperparameters, transfer=backbone(mode="scratch", added=7)).key != FITS["scratch"]


def test_a_table_that_is_added_stays_out_of_the_identity_at_its_defaults_alone():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Warmth:
        steps: int = 0

    config = dataclasses.make_dataclass(
        "LaterConfig", [("warmth", Warmth, Warmth())], bases=(StudyConfig,), frozen=True, kw_only=True
    )
    plan = plan_with()
    assert dataclasses.replace(plan, config=config(bone="TB")).identity == IDENTITY
    warm = dataclasses.replace(plan, config=config(bone="TB", warmth=Warmth(steps=3)))
    assert warm.identity == IDENTITY | {"warmth.steps": "3"}


def test_what_may_change_while_a_study_lasts_is_in_no_identity():
    free = dataclasses.replace(plan_with().config, search=Search(protocol="adaptive", optimum="one-se"), bone="other")
    assert dataclasses.replace(plan_with(), config=free).identity == IDENTITY


@pytest.mark.parametrize("place", ["space", "baseline"])
def test_the_hyperparameters_of_schema_2_are_such_keys(place):
    changed = Space(dropout=(0.0, 0.5)) if place == "space" else Hyperparameters(dropout=0.5)
    text = "[0.0, 0.5]" if place == "space" else "0.5"
    assert plan_with(**{place: changed}).identity == IDENTITY | {f"{place}.dropout": text}


def test_default_values_of_other_types_are_the_same_value():
    assert stable(Hyperparameters(dropout=0)) == stable(Hyperparameters(dropout=0.0)) == stable(Hyperparameters())
    assert content_address(Hyperparameters(weight_decay=0)) == content_address(stable(Hyperparameters()))


def test_every_frozen_key_is_still_a_field():
    """A renamed field would silently leave the address."""
    kinds = (*PLACES.values(), FitSpec, Transfer, Steps, StudyConfig)
    for kind in kinds:
        assert {*SCHEMA_1[kind.__name__]} <= {field.name for field in dataclasses.fields(kind)}
    assert {*SCHEMA_1} == {kind.__name__ for kind in kinds} | {"Range"}


def test_a_study_keeps_the_schema_that_it_was_begun_with(tiny):
    study = begin(tiny)
    assert attributes(study)["schema"] == SCHEMA
    assert attributes(begin(tiny))["schema"] == SCHEMA


def old_study(plan, identity):
    """A study as the first version began it."""
    study = begin(plan)
    known = {**attributes(study), "identity": json.dumps(identity, sort_keys=True)}
    storage, number = study._storage, study._study_id
    del known["schema"]
    storage.delete_study(number)
    old = storage.create_new_study(study.directions, "TB")
    for key, value in known.items():
        storage.set_study_user_attr(old, key, value)


def test_a_study_of_the_first_version_is_opened_and_gets_no_schema(tiny):
    old_study(tiny, tiny.identity)
    assert "schema" not in attributes(begin(tiny))
    assert "schema" not in attributes(load_study(tiny.storage, "TB", tiny.identity))


def test_a_study_of_a_newer_schema_is_refused(tiny):
    remember(begin(tiny), "schema", SCHEMA + 1)
    with pytest.raises(
        StudyError, match=rf"begun with a newer bonehpo \(schema {SCHEMA + 1}, this one knows {SCHEMA}\)"
    ):
        begin(tiny)


def test_going_back_to_the_default_of_a_later_key_is_a_change_like_any_other(tiny):
    wide = dataclasses.replace(tiny.config, space=dataclasses.replace(tiny.config.space, dropout=(0.0, 0.5)))
    begin(dataclasses.replace(tiny, config=wide))
    with pytest.raises(StudyError, match=r"begun with space.dropout = \[0.0, 0.5\], now it is its default"):
        begin(tiny)


def test_a_later_key_off_its_default_is_refused_by_a_study_that_was_begun_without_it(tiny):
    begin(tiny)
    wide = dataclasses.replace(tiny.config, space=dataclasses.replace(tiny.config.space, dropout=(0.0, 0.5)))
    with pytest.raises(StudyError, match=r"begun with space.dropout = its default, now it is \[0.0, 0.5\]"):
        begin(dataclasses.replace(tiny, config=wide))


def test_candidates_that_the_first_version_put_in_line_are_not_put_there_again(tiny):
    plan = dataclasses.replace(
        tiny, config=dataclasses.replace(tiny.config, search=Search(sampler="grid", protocol="adaptive"))
    )
    study, listed = begin(plan), candidates(plan.config, 8)
    for choice in listed[:3]:
        study.enqueue_trial({name: getattr(choice, name) for name in SCHEMA_1["Hyperparameters"]})
    settle_candidates(study, plan, 8)
    assert [enqueued(trial) for trial in study.trials] == list(listed)
    assert all(
        sorted(trial.system_attrs["fixed_params"]) == ["batch", "kernel", "layers", "learning_rate"]
        for trial in study.trials
    )


def test_candidates_that_differ_in_a_later_key_alone_are_tried_both_with_that_key_fixed(tiny):
    space = dataclasses.replace(tiny.config.space, layers=(1,), learning_rate=(1e-2,), kernel=(3,), dropout=(0.0, 0.5))
    config = dataclasses.replace(tiny.config, space=space, search=Search(sampler="grid"))
    plan = dataclasses.replace(tiny, config=config)
    study = begin(plan)
    assert settle_candidates(study, plan, 2) == 2
    assert [trial.system_attrs["fixed_params"]["dropout"] for trial in study.trials] == [0.0, 0.5]
    assert read_fixed_list(study).choices == (config.baseline, replace_values(config.baseline, {"dropout": 0.5}))
    assert settle_candidates(study, plan, 2) == 2
    assert len(study.trials) == 2


def test_a_trial_that_a_sampler_proposed_was_not_put_in_line(tiny):
    study = begin(tiny)
    study.ask()
    study.enqueue_trial({"layers": 1})
    assert [enqueued(trial) for trial in study.trials] == [None, None]
