"""Every sampler proposes what its name says, and nothing outside the space."""

import dataclasses

import optuna
import pytest

from bonehpo.config import Range, Search, Space, StudyConfig
from bonehpo.errors import NetworkError
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.search.space import candidates, check_space, make_sampler, n_possible, space_in_words, suggest

SPACE = Space(layers=(2, 3, 4), learning_rate=(1e-4, 1e-3), kernel=(3, 5), batch=(10, 20))


def config(sampler="tpe", space=SPACE, **search):
    return StudyConfig(bone="TB", space=space, search=Search(sampler=sampler, **search))


def holds(space, choice):
    return (
        choice.layers in space.layers
        and choice.learning_rate in space.learning_rate
        and choice.kernel in space.kernel
        and choice.batch in space.batch
    )


@pytest.mark.parametrize("sampler", ["tpe", "random", "quasi-random", "grid", "sweep"])
def test_the_baseline_comes_first_and_every_candidate_lies_in_the_space(sampler):
    found = candidates(config(sampler), 12)
    assert found[0] == StudyConfig(bone="TB").baseline
    assert all(holds(SPACE, choice) for choice in found)
    assert len(set(found)) == len(found)


def test_the_grid_is_the_whole_space():
    assert len(candidates(config("grid"), 1)) == 3 * 2 * 2 * 2


def test_the_sweep_changes_one_parameter_at_a_time():
    baseline, *rest = candidates(config("sweep"), 1)
    assert len(rest) == 2 + 1 + 1 + 1
    for choice in rest:
        changed = [f.name for f in dataclasses.fields(choice) if getattr(choice, f.name) != getattr(baseline, f.name)]
        assert len(changed) == 1


def test_the_papers_sweep_has_its_points():
    assert len(candidates(StudyConfig(bone="TB", search=Search(sampler="sweep")), 1)) == 1 + 5 + 3 + 4 + 5


def test_quasi_random_candidates_do_not_depend_on_how_many_are_asked_for():
    few, many = candidates(config("quasi-random"), 5), candidates(config("quasi-random"), 11)
    assert many[: len(few)] == few
    assert candidates(config("quasi-random", seed=1), 5) != few


def test_quasi_random_learning_rates_fill_a_range_evenly_in_their_logarithm():
    space = dataclasses.replace(SPACE, learning_rate=Range(low=1e-5, high=1e-1))
    rates = [choice.learning_rate for choice in candidates(config("quasi-random", space), 65)[1:]]
    assert all(1e-5 <= rate <= 1e-1 for rate in rates)
    assert 0.4 < sum(rate < 1e-3 for rate in rates) / len(rates) < 0.6


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_sampler_stays_in_the_space_and_a_resumed_trial_keeps_its_choice(sampler):
    study = optuna.create_study(sampler=make_sampler(config(sampler), 0), direction="maximize")
    for _ in range(12):
        trial = study.ask()
        choice = suggest(trial, SPACE)
        assert holds(SPACE, choice)
        assert suggest(optuna.trial.Trial(study, trial._trial_id), SPACE) == choice
        study.tell(trial, choice.layers)


def test_a_fixed_list_holds_no_more_than_it_does_and_a_sampler_has_no_end():
    assert [n_possible(config(sampler), 100) for sampler in ("tpe", "random", "grid", "sweep")] == [100, 100, 24, 6]
    assert n_possible(config("grid"), 5) == 5
    assert n_possible(config("grid", protocol="strict"), 100) == 24
    assert n_possible(config("random", protocol="strict"), 5) == 5
    assert n_possible(config("random", protocol="strict"), 100) <= 24


def test_a_space_is_told_with_the_values_of_each_list_and_the_ends_of_a_range():
    space = dataclasses.replace(SPACE, learning_rate=Range(low=1e-5, high=1e-1))
    assert space_in_words(space) == {
        "layers": "2, 3, 4", "learning_rate": "1e-05 to 0.1", "kernel": "3, 5", "batch": "10, 20",
    }  # fmt: skip


def test_two_samplers_are_told_apart():
    assert isinstance(make_sampler(config("tpe"), 0), optuna.samplers.TPESampler)
    assert isinstance(make_sampler(config("random"), 0), optuna.samplers.RandomSampler)


def test_a_range_is_searched_evenly_in_the_logarithm():
    space = dataclasses.replace(SPACE, learning_rate=Range(low=1e-5, high=1e-1))
    study = optuna.create_study(sampler=make_sampler(config("random"), 0))
    rates = [suggest(study.ask(), space).learning_rate for _ in range(64)]
    assert all(1e-5 <= rate <= 1e-1 for rate in rates)
    assert 0.3 < sum(rate < 1e-3 for rate in rates) / len(rates) < 0.7


def test_an_uneven_list_is_a_choice_and_an_even_one_keeps_its_order():
    study = optuna.create_study()
    trial = study.ask()
    suggest(trial, dataclasses.replace(SPACE, batch=(5, 10, 40)))
    assert isinstance(trial.distributions["layers"], optuna.distributions.IntDistribution)
    assert isinstance(trial.distributions["batch"], optuna.distributions.CategoricalDistribution)


def test_a_search_that_goes_on_does_not_propose_its_first_trials_again():
    def first(n_before):
        study = optuna.create_study(sampler=make_sampler(config("random"), n_before))
        return [suggest(study.ask(), SPACE) for _ in range(6)]

    assert first(0) == first(0) != first(6)


def test_a_space_that_pools_the_image_to_nothing_is_refused_before_training():
    with pytest.raises(NetworkError, match="layers=4 pools images of 8 × 8 pixels to nothing"):
        check_space(config(), 8)
    with pytest.raises(NetworkError, match="layers=7"):
        wrong = dataclasses.replace(config(), baseline=Hyperparameters(layers=7, learning_rate=1e-4, kernel=3, batch=1))
        check_space(wrong, 64)
