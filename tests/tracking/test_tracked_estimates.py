"""MLflow keeps every estimate, where its variance comes from, and what a strict study fixed."""

import dataclasses
from typing import Any

import pytest
from tracked import STUDY, new_project, optimum, record_study, refit, trial

from bonehpo.analysis.calibration import Calibration
from bonehpo.analysis.variance import Components, Variance
from bonehpo.tracking.database import Tracking, open_tracking
from bonehpo.tracking.runs import MlflowRecorder


@pytest.fixture
def tracking(tmp_path, monkeypatch) -> Tracking:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return open_tracking(new_project(tmp_path / "project"))


def runs(tracking: Tracking) -> dict[str, Any]:
    experiment = tracking.client.get_experiment_by_name("bonehpo/TB")
    found = tracking.client.search_runs([experiment.experiment_id], max_results=1000)
    return {run.data.tags["bonehpo.key"]: run for run in found}


def test_further_seeds_of_the_optimum_are_runs_of_their_own_and_its_variance_is_metrics(tracking):
    recorder = MlflowRecorder(tracking)
    record_study(recorder)
    components = Components(
        specimen_sd=0.05,
        configuration_sd=0.1,
        interaction_sd=0.02,
        training_sd=0.01,
        within_sd=0.04,
        shared=0.5,
        seed_sd=None,
    )
    variance = Variance(
        components=components,
        n_sets=3,
        n_trials=2,
        standard_error=0.04,
        with_twice_the_sets=0.03,
        with_twice_the_seeds=0.035,
        last_doubling=None,
        detectable=0.2,
    )
    calibration = Calibration(
        brier=0.12, brier_calibrated=0.11, overconfidence=0.05, overconfidence_calibrated=0.01, temperature=1.6
    )
    record = dataclasses.replace(optimum(1), repeats=(refit(1), refit(1)), variance=variance, calibration=calibration)
    for _ in range(2):
        recorder.optimum(record, refit(1))
    by_key = runs(tracking)
    run = by_key["5e0c/optimum/1/best/2/3 seeds"]
    folds = [r for r in by_key.values() if r.data.tags.get("mlflow.parentRunId") == run.info.run_id]
    assert sorted(fold.data.tags["bonehpo.repeat"] for fold in folds) == ["1"] * 6 + ["2"] * 6 + ["3"] * 6
    assert run.data.metrics["variance/specimen_sd"] == 0.05
    assert run.data.metrics["variance/detectable"] == 0.2
    assert (run.data.metrics["brier"], run.data.metrics["temperature"]) == (0.12, 1.6)
    assert "variance/seed_sd" not in run.data.metrics
    history = tracking.client.get_metric_history(run.info.run_id, "so_far/nested_accuracy")
    assert [(at.step, at.value) for at in history] == [(1, 0.8), (2, 0.85)]
    assert run.data.metrics["bootstrap_accuracy"] == 0.86
    assert run.data.metrics["nested_accuracy_worse_end"] == 0.65
    assert run.data.tags["bonehpo.optimum"] == "true"
    assert "bonehpo.optimum" not in by_key["5e0c/optimum/1/best/2"].data.tags


def test_runs_of_a_strict_study_carry_the_hash_of_its_candidates(tracking):
    recorder = MlflowRecorder(tracking)
    recorder.study(dataclasses.replace(STUDY, protocol="strict", candidates="c0" * 32))
    recorder.trial_started(trial(0))
    assert {run.data.tags["bonehpo.candidates"] for run in runs(tracking).values()} == {"c0" * 32}
