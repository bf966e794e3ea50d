"""The tables of docs/explanation/estimates.md, smaller: a broken estimator fails here."""

import importlib.util

import pytest
from places import PROJECT

FILE = PROJECT / "benchmarks" / "simulations.py"


@pytest.fixture(scope="module")
def simulations():
    spec = importlib.util.spec_from_file_location("simulations", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("world", ["equal, luck of each fold", "equal, half the luck of the fit"])
def test_with_equal_configurations_the_paper_is_too_high_and_the_nested_accuracy_is_not(simulations, world):
    rows = {row.estimate: row for row in simulations.simulate(world, 150)}
    assert rows["apparent"].bias > 0.3
    assert abs(rows["nested"].bias) < 0.1
    assert rows["apparent"].coverage < 0.75
    assert rows["nested"].coverage > 0.88
    assert rows["bootstrap"].coverage > 0.88
    assert rows["nested, by all validation folds"].bias == pytest.approx(0.57 if "fit" in world else 0, abs=0.1)


def test_an_adaptive_search_leaks_into_the_nested_accuracy_and_a_fixed_list_does_not(simulations):
    fixed, adaptive = (
        {row.estimate: row.bias for row in simulations.simulate(f"ten families × specimen, {kind}", 300)}
        for kind in ("fixed list", "adaptive")
    )
    assert abs(fixed["nested"]) < 0.1
    assert adaptive["nested"] > 0.15


def test_equal_networks_are_seldom_told_apart_and_a_detectable_difference_mostly_is(simulations):
    equal = simulations.simulate_tests(6, 0.0, 300)
    assert max(equal.sign_flip, equal.corrected_t, equal.paired_t) < 0.1
    assert simulations.simulate_tests(6, 1.0, 300).paired_t == pytest.approx(0.8, abs=0.07)
    assert simulations.simulate_tests(5, 1.0, 50).sign_flip == 0


def test_every_table_row_of_the_document_is_a_world_that_is_simulated(simulations):
    text = (FILE.parents[1] / "docs" / "explanation" / "estimates.md").read_text(encoding="utf-8")
    for world in simulations.WORLDS:
        assert text.count(f"| {world} | nested | ") == 1
        assert text.count(f"| {world} | ") >= 5


def test_the_next_specimen_lies_within_its_interval_and_not_within_that_of_the_mean(simulations):
    for n_sets in (3, 5, 10):
        row = simulations.simulate_next("differ, that and configuration × specimen", n_sets, 120)
        assert row.outside < 0.1 < row.outside_mean
        assert n_sets == 3 or row.width < 1.4


def test_the_gate_hardly_refuses_equal_configurations_for_the_baselines_sake(simulations):
    row = simulations.simulate_gate("equal, half the luck of the fit", 5, 0, 200)
    assert row.paired < 0.15
    assert row.former > 0.35, "as the rule was"
    assert simulations.simulate_gate("equal, half the luck of the fit", 5, 3, 200).paired > 0.85
