"""The strict protocol fixes its candidates before any score, and nothing moves them."""

import dataclasses
import json

import pytest
from tiny_study import TOML, plan_of

from bonehpo.config import Search, Space, StudyConfig, parse_config
from bonehpo.errors import ConfigError, StudyError
from bonehpo.search.space import CANDIDATES, candidates, is_done, n_possible, read_fixed_list, settle_candidates
from bonehpo.search.storage import attributes, load_study, open_storage, open_study, remember
from bonehpo.search.summary import StudySummary

SPACE = Space(layers=(2, 3, 4), learning_rate=(1e-4, 1e-3), kernel=(3, 5), batch=(10, 20))


def strict(plan, sampler="random", protocol="strict"):
    """The plan with another sampler and protocol."""
    search = dataclasses.replace(plan.config.search, sampler=sampler, protocol=protocol)
    return dataclasses.replace(plan, config=dataclasses.replace(plan.config, search=search))


def begin(plan):
    return open_study(open_storage(plan.storage), plan.folder.name, plan.identity)


@pytest.fixture
def plan(tmp_path):
    return strict(plan_of(tmp_path, TOML))


@pytest.mark.parametrize(
    ("sampler", "protocol", "found"),
    [
        ("tpe", "auto", "adaptive"),
        ("random", "auto", "adaptive"),
        ("random", "strict", "strict"),
        ("grid", "auto", "strict"),
        ("grid", "adaptive", "adaptive"),
    ],
)
def test_the_protocol_is_what_the_file_says_or_what_the_sampler_allows(sampler, protocol, found):
    config = parse_config({"bone": "TB", "search": {"sampler": sampler, "protocol": protocol}}, "study.toml")
    assert config.protocol == found


def test_strict_with_a_sampler_that_looks_at_scores_is_refused_with_what_to_write():
    with pytest.raises(ConfigError, match='write sampler = "quasi-random"'):
        parse_config({"bone": "TB", "search": {"sampler": "tpe", "protocol": "strict"}}, "study.toml")


@pytest.mark.parametrize("sampler", ["random", "quasi-random", "grid", "sweep"])
def test_a_strict_list_has_as_many_different_candidates_as_are_asked_for_and_begins_with_the_baseline(sampler):
    config = StudyConfig(bone="TB", space=SPACE, search=Search(sampler=sampler, protocol="strict"))
    config = dataclasses.replace(config, baseline=dataclasses.replace(config.baseline, batch=20, kernel=5))
    found = candidates(config, 5)
    assert len(set(found)) == len(found) >= n_possible(config, 5) == 5
    assert found[0] == config.baseline
    assert candidates(config, 4)[:4] == found[:4]
    assert len(candidates(config, 500)) == n_possible(config, 500) <= 24


def test_the_list_and_its_hash_are_written_before_any_score_and_read_back(plan):
    study = begin(plan)
    assert settle_candidates(study, plan, 4) == 4
    found = read_fixed_list(load_study(plan.storage, "TB", plan.identity))
    assert found.choices == candidates(plan.config, 4)[:4]
    assert len(found.sha256) == 64
    assert [t.state.name for t in study.trials] == ["WAITING"] * 4
    assert settle_candidates(study, plan, 4) == 4
    assert len(study.trials) == 4
    other = dataclasses.replace(plan.config.search, seed=1)
    changed = candidates(dataclasses.replace(plan.config, search=other), 4)[:4]
    assert changed != found.choices


@pytest.mark.parametrize("n_trials", [2, 6])
def test_another_number_of_trials_than_was_fixed_is_refused_in_one_line(plan, n_trials):
    study = begin(plan)
    settle_candidates(study, plan, 4)
    with pytest.raises(
        StudyError, match=rf"fixed 4 candidates .*, now --trials is {n_trials}: give --trials 4"
    ) as caught:
        settle_candidates(study, plan, n_trials)
    assert "\n" not in str(caught.value)
    assert len(study.trials) == 4


def test_a_study_whose_scores_were_seen_cannot_become_strict_nor_a_strict_one_adaptive(plan):
    study = begin(plan)
    settle_candidates(study, strict(plan, protocol="adaptive"), 2)
    with pytest.raises(StudyError, match="begun without a fixed list"):
        settle_candidates(study, plan, 2)
    plan = dataclasses.replace(plan, storage=plan.storage.replace("optuna.db", "other.db"))
    study = begin(plan)
    settle_candidates(study, plan, 2)
    with pytest.raises(StudyError, match="now it is adaptive"):
        settle_candidates(study, strict(plan, protocol="adaptive"), 2)


def test_a_study_from_before_lists_were_written_goes_on_without_one(plan):
    plan = strict(plan, "grid", "auto")
    study = begin(plan)
    for choice in candidates(plan.config, 8):
        study.enqueue_trial(dataclasses.asdict(choice))
    assert settle_candidates(study, plan, 3) == 3
    assert settle_candidates(study, plan, 8) == 8
    assert len(study.trials) == 8
    assert read_fixed_list(study) is None
    assert is_done(study, plan)


def test_a_list_that_was_changed_and_a_trial_that_is_not_of_it_are_refused(plan):
    study = begin(plan)
    settle_candidates(study, plan, 3)
    study.enqueue_trial({"layers": 1, "learning_rate": 1e-2, "kernel": 3, "batch": 9})
    with pytest.raises(StudyError, match=r"its trials \[3\] are not among the candidates"):
        settle_candidates(study, plan, 3)
    text = json.loads(attributes(study)[CANDIDATES])
    text["choices"][1]["layers"] += 1
    remember(study, CANDIDATES, json.dumps(text))
    with pytest.raises(StudyError, match="not those that were fixed before its first score"):
        read_fixed_list(study)


def test_an_optimum_may_be_chosen_only_when_the_list_is_done(plan):
    study = begin(plan)
    settle_candidates(study, plan, 2)
    assert not is_done(study, plan)
    study.tell(study.ask(), 0.5)
    assert not is_done(study, plan)
    assert is_done(study, strict(plan, protocol="adaptive"))
    study.tell(study.ask(), 0.6)
    assert is_done(study, plan)


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ("strict", "the list of its candidates was not written down"),
        ("adaptive", "may depend on scores that were seen"),
    ],
)
def test_the_protocol_is_told_in_words(protocol, words):
    names = dict.fromkeys(("name", "bone", "task", "ran_on", "store_id", "split"), "")
    study = StudySummary(**names, protocol=protocol, trials=(), estimates=None, optimum=None)
    assert words in study.protocol_in_words
