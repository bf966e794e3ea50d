"""Probabilities: temperature, Brier score, reliability."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonehpo.analysis.calibration import (
    COOLEST,
    HOTTEST,
    Answers,
    brier_score,
    brier_scores,
    calibrate,
    calibrated_folds,
    fit_temperature,
    reliability,
    with_temperature,
)


def drawn(temperature: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and outputs of a network that is too sure of itself by a known temperature."""
    generator = np.random.default_rng(seed)
    p = generator.uniform(0.02, 0.98, n)
    return (generator.random(n) < p).astype(float), with_temperature(p, 1 / temperature)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_planted_is_found(temperature):
    truth, p = drawn(temperature, 4000, seed=1)
    assert fit_temperature(truth, p) == pytest.approx(temperature, rel=0.1)


def test_a_network_without_errors_asks_for_the_coolest_and_one_that_knows_nothing_for_the_hottest():
    truth = np.array([0.0, 1.0] * 50)
    assert fit_temperature(truth, np.where(truth == 1, 0.8, 0.2)) == pytest.approx(COOLEST, rel=0.01)
    assert fit_temperature(truth, np.where(np.arange(100) % 4 < 2, 0.8, 0.2)) == pytest.approx(HOTTEST, rel=0.01)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30), st.floats(0.1, 10))
def test_a_temperature_changes_no_verdict_and_is_undone_by_its_inverse(p, temperature):
    p = np.array(p, np.float32)
    changed = with_temperature(p, temperature)
    assert ((changed > 0.5) == (p > 0.5))[np.abs(p - 0.5) > 1e-6].all()
    assert with_temperature(with_temperature(p, 2.0), 0.5) == pytest.approx(p, abs=1e-6)


def test_brier_scores_of_a_perfect_a_doubting_and_an_inverted_network():
    truth = np.array([0.0, 1.0, 1.0])
    assert brier_score(truth, truth) == 0
    assert brier_score(truth, np.full(3, 0.5)) == 0.25
    assert brier_score(truth, 1 - truth) == 1


def folds_of(temperatures: dict[str, float], n: int = 2000) -> list[Answers]:
    """Answers of the two folds of a pair of sets whose networks are too sure by known temperatures."""
    names = list(temperatures)
    drawn_of = {name: drawn(temperatures[name], n, seed=i) for i, name in enumerate(names, start=1)}
    return [Answers(test, validation, *drawn_of[test]) for test, validation in (names, names[::-1])]


def test_the_temperature_comes_from_the_validation_set_alone():
    answers = folds_of({"A": 4.0, "B": 1.0})
    found = brier_scores(calibrated_folds(answers)).set_index("test")["temperature"]
    assert found["A"] == pytest.approx(1, rel=0.15), "tested on A, fitted on B"
    assert found["B"] == pytest.approx(4, rel=0.15)
    other = [answers[0]._replace(truth=1 - answers[0].truth), answers[1]]
    assert brier_scores(calibrated_folds(other)).set_index("test")["temperature"]["A"] == found["A"]


def test_calibration_brings_the_reliability_curve_to_the_diagonal_and_the_brier_score_down():
    answers = folds_of({"A": 4.0, "B": 4.0}, n=4000)
    calibrated = calibrated_folds(answers)
    folds, bins = brier_scores(calibrated), reliability(calibrated)
    assert (folds["brier_calibrated"] < folds["brier"] - 0.01).all()
    off = (bins["failed"] - bins["mean_p"]).abs()
    assert off[bins["p"] == "calibrated"].max() < 0.07
    assert off[bins["p"] == "as trained"].max() > 0.2
    assert bins.groupby("p")["n_slices"].sum().tolist() == [8000, 8000]
    assert calibrate(answers).brier == pytest.approx(folds["brier"].mean())


def test_a_fold_without_its_mirror_image_has_no_temperature():
    assert calibrate(folds_of({"A": 1.0, "B": 1.0}, n=10)[:1]) is None


@given(st.randoms(use_true_random=False))
def test_the_order_of_slices_and_folds_changes_nothing(random):
    answers = folds_of({"A": 2.0, "B": 1.0}, n=60)
    order = list(range(60))
    random.shuffle(order)
    shuffled = [fold._replace(truth=fold.truth[order], p_failed=fold.p_failed[order]) for fold in answers[::-1]]
    expected = brier_scores(calibrated_folds(answers)).sort_values("test", ignore_index=True)
    found = brier_scores(calibrated_folds(shuffled)).sort_values("test", ignore_index=True)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6)
