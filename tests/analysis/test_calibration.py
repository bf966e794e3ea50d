"""Probabilities: temperature, Brier score, reliability."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import PROJECT

from bonehpo.analysis.calibration import (
    COOLEST,
    HOTTEST,
    Answers,
    brier_score,
    calibrate,
    calibrated_folds,
    calibration_in_words,
    fit_temperature,
    fold_scores,
    overconfidence,
    reliability,
    study_temperature,
    summarise_scan,
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
    assert fit_temperature(truth.astype(np.uint8), p) == fit_temperature(truth, p)


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


def test_outputs_hold_no_more_than_single_precision_and_temperatures_reach_as_far_to_both_sides():
    assert with_temperature(np.array([0.0, 0.5, 1.0]), 1) == pytest.approx([1e-7, 0.5, 1 - 1e-7], rel=1e-9)
    assert with_temperature(np.array([0.2]), 2) == pytest.approx([1 / 3])  # odds 1 : 4 become 1 : 2
    assert pytest.approx(1) == COOLEST * HOTTEST


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


def test_the_temperature_of_a_set_comes_from_the_other_sets_alone():
    answers = folds_of({"A": 4.0, "B": 1.0})
    found = fold_scores(calibrated_folds(answers)).set_index("test")["temperature"]
    assert found["A"] == pytest.approx(1, rel=0.15), "tested on A, fitted on B"
    assert found["B"] == pytest.approx(4, rel=0.15)
    other = [answers[0]._replace(truth=1 - answers[0].truth), answers[1]]
    assert fold_scores(calibrated_folds(other)).set_index("test")["temperature"]["A"] == found["A"]


def test_whoever_is_surer_than_right_is_over_confident():
    truth = np.array([0, 0, 1, 1])
    assert overconfidence(truth, np.array([0.1, 0.1, 0.9, 0.1])) == pytest.approx(0.9 - 0.75)
    assert overconfidence(truth, np.array([0.4, 0.4, 0.6, 0.6])) == pytest.approx(-0.4)


def test_the_temperature_of_all_pairs_is_right_for_the_next_specimen_and_that_of_the_best_is_too_low():
    spec = importlib.util.spec_from_file_location("simulated", PROJECT / "benchmarks" / "calibration.py")
    simulated = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(simulated)
    found = simulated.simulate("specimens differ much", 120)
    assert abs(found.pooled[0]) < 0.02 < found.own[0] < found.trained[0]
    assert found.pooled[1] < found.own[1] + 0.002


def test_calibration_brings_the_reliability_curve_to_the_diagonal_and_the_brier_score_down():
    answers = folds_of({"A": 4.0, "B": 4.0}, n=4000)
    calibrated = calibrated_folds(answers)
    folds, bins = fold_scores(calibrated), reliability(calibrated)
    assert (folds["brier_calibrated"] < folds["brier"] - 0.01).all()
    off = (bins["failed"] - bins["mean_p"]).abs()
    assert off[bins["p"] == "calibrated"].max() < 0.07
    assert off[bins["p"] == "as trained"].max() > 0.2
    assert bins.groupby("p")["n_slices"].sum().tolist() == [8000, 8000]
    assert calibrate(answers).brier == pytest.approx(folds["brier"].mean())


def test_one_test_set_alone_cannot_be_calibrated():
    there, back = folds_of({"A": 3.0, "B": 1.0}, n=200)
    assert calibrate([there]) is None
    found = calibrated_folds([there, back])
    assert found.columns.tolist() == ["test", "validation", "truth", "p_failed", "temperature", "p_calibrated"]
    assert found.index.tolist() == list(range(400))
    assert found["p_calibrated"].tolist() == [
        *with_temperature(there.p_failed, fit_temperature(back.truth, back.p_failed)),
        *with_temperature(back.p_failed, fit_temperature(there.truth, there.p_failed)),
    ]


def test_a_study_is_calibrated_by_the_means_of_its_folds_and_the_temperature_of_all():
    answers = [*folds_of({"A": 4.0, "B": 1.0}, n=200), *folds_of({"A": 2.0, "C": 1.5}, n=200)]
    folds, found = fold_scores(calibrated_folds(answers)), calibrate(answers)
    assert list(zip(folds["test"], folds["validation"], strict=True)) == [fold[:2] for fold in answers]
    assert found.brier == pytest.approx(np.mean([brier_score(fold.truth, fold.p_failed) for fold in answers]))
    assert found.brier_calibrated == pytest.approx(folds["brier_calibrated"].mean())
    assert found.overconfidence == pytest.approx(np.mean([overconfidence(f.truth, f.p_failed) for f in answers]))
    assert found.overconfidence_calibrated == pytest.approx(folds["overconfidence_calibrated"].mean())
    truth, said_of = (np.concatenate([getattr(fold, name) for fold in answers]) for name in ("truth", "p_failed"))
    assert found.temperature == study_temperature(answers) == fit_temperature(truth, said_of)
    said = calibration_in_words(found)
    for number in (f"{found.brier:.3f}", f"{found.brier_calibrated:.3f}", f"{found.temperature:.2f}", "0.25"):
        assert number in said


def test_the_bins_of_the_reliability_curve_hold_what_falls_into_them():
    rows = [("B", 1, 1.0, 0.35), ("A", 0, 0.0, 0.35), ("A", 1, 0.15, 0.35), ("A", 0, 0.15, 0.35), ("B", 1, 0.1, 0.35)]
    found = reliability(pd.DataFrame(rows, columns=["test", "truth", "p_failed", "p_calibrated"]))
    columns = ["p", "lower", "upper", "mean_p", "failed", "sd", "n_slices", "n_sets"]
    assert found.columns.tolist() == columns
    nan = float("nan")
    expected = [
        ("as trained", 0.0, 0.1, 0.0, 0.0, nan, 1, 1),
        ("as trained", 0.1, 0.2, 0.4 / 3, 2 / 3, np.std([0.5, 1], ddof=1), 3, 2),  # what is on the edge is above it
        ("as trained", 0.9, 1.0, 1.0, 1.0, nan, 1, 1),
        ("calibrated", 0.3, 0.4, 0.35, 0.6, np.std([1 / 3, 1], ddof=1), 5, 2),
    ]
    pd.testing.assert_frame_equal(found, pd.DataFrame(expected, columns=columns))


def test_one_half_is_pristine_for_slices_planes_and_scans():
    half = np.full(2, 0.5, np.float32)
    found = summarise_scan({"XY": half, "XZ": half}, {"XY": np.array([3.0, 9.0]), "XZ": np.array([1.0, 2.0])})
    assert found.slices["verdict"].tolist() == ["pristine"] * 4
    assert found.slices["plane"].tolist() == ["XY", "XY", "XZ", "XZ"]
    assert found.slices["position"].tolist() == [3, 9, 1, 2]
    assert found.slices.index.tolist() == [0, 1, 2, 3]
    assert [(p.plane, p.n_slices, p.share_failed, p.mean, p.verdict) for p in found.planes] == [
        ("XY", 2, 0, 0.5, "pristine"),
        ("XZ", 2, 0, 0.5, "pristine"),
    ]
    assert (found.mean, found.verdict) == (0.5, "pristine")
    sure = summarise_scan({"XY": np.array([0.25, 1.0], np.float32)}, {"XY": np.array([3.0, 9.0])})
    assert sure.slices[["p_pristine", "p_failed", "verdict"]].to_numpy().tolist() == [
        [0.75, 0.25, "pristine"],
        [0, 1, "failed"],
    ]
    assert sure.verdict == "failed"


@given(st.randoms(use_true_random=False))
def test_the_order_of_slices_and_folds_changes_nothing(random):
    answers = folds_of({"A": 2.0, "B": 1.0}, n=60)
    order = list(range(60))
    random.shuffle(order)
    shuffled = [fold._replace(truth=fold.truth[order], p_failed=fold.p_failed[order]) for fold in answers[::-1]]
    expected = fold_scores(calibrated_folds(answers)).sort_values("test", ignore_index=True)
    found = fold_scores(calibrated_folds(shuffled)).sort_values("test", ignore_index=True)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6)
