import json
import logging
import multiprocessing
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess as Process
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tracked import SETS, STUDY, fold, folds, new_project, optimum, record_study, refit, summary, trial

from bonehpo.errors import TrackingError
from bonehpo.search.recorder import ConfigurationRecord, NullRecorder, Recorder, ResultRecord, StepImage
from bonehpo.task import DAMAGE
from bonehpo.tracking.database import Tracking, open_tracking, relocate
from bonehpo.tracking.ledger import NewRun, RunLedger, is_alive, is_dead, this_driver
from bonehpo.tracking.runs import MlflowRecorder, recorder_for

AT_ONCE_S = 30
"""MLflow itself tries again for minutes."""


@pytest.fixture
def tracking(tmp_path) -> Tracking:
    return open_tracking(new_project(tmp_path / "project"))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Tracking:
    """A recorded study, to look at only."""
    tracking = open_tracking(new_project(tmp_path_factory.mktemp("recorded") / "project"))
    record_study(MlflowRecorder(tracking))
    return tracking


def runs(tracking: Tracking) -> dict[str, Any]:
    experiment = tracking.client.get_experiment_by_name("bonehpo/TB")
    found = tracking.client.search_runs([experiment.experiment_id], max_results=1000)
    by_key = {run.data.tags["bonehpo.key"]: run for run in found}
    assert len(by_key) == len(found)
    return by_key


def content(tracking: Tracking) -> dict[str, object]:
    """All that a reader sees of every run, without the ids and the process that differ between two records."""
    by_key = runs(tracking)
    keys = {run.info.run_id: key for key, run in by_key.items()}
    seen: dict[str, object] = {}
    for key, run in by_key.items():
        tags = {name: value for name, value in run.data.tags.items() if name != "bonehpo.driver"}
        tags["mlflow.parentRunId"] = keys.get(tags.get("mlflow.parentRunId", ""), "")
        history = [
            (metric.key, metric.step, metric.timestamp, metric.value)
            for name in sorted(run.data.metrics)
            for metric in tracking.client.get_metric_history(run.info.run_id, name)
        ]
        files = {p.name: p.read_text() for p in Path(run.info.artifact_uri).rglob("*") if p.is_file()}
        times = (run.info.start_time, run.info.end_time if run.data.tags["bonehpo.level"] != "study" else None)
        seen[key] = (run.info.run_name, run.info.status, times, tags, run.data.params, history, files)
    return seen


def fork(record: Callable[[Recorder], None], root: Path) -> tuple[Process, Connection]:
    """Start a process that records on `root`, which this one has not opened yet, and then says so."""

    def body() -> None:
        recorder = recorder_for(root)
        record(recorder)
        ready.send(type(recorder).__name__)
        time.sleep(30)

    context = multiprocessing.get_context("fork")
    here, ready = context.Pipe()
    process = context.Process(target=body)
    process.start()
    ready.close()
    return process, here


def test_folds_nest_in_trials_which_are_at_the_top_and_each_run_says_its_level(recorded):
    by_key = runs(recorded)
    names = {run.info.run_id: run.data.tags["bonehpo.level"] for run in by_key.values()}
    parents = {"study": None, "trial": None, "fold": "trial", "optimum": None, "refit": "optimum"}
    assert {level: list(names.values()).count(level) for level in parents} == {
        "study": 1,
        "trial": 2,
        "fold": 12,
        "optimum": 1,
        "refit": 6,
    }
    for run in by_key.values():
        assert names.get(run.data.tags.get("mlflow.parentRunId")) == parents[run.data.tags["bonehpo.level"]]
        assert run.data.tags["bonehpo.store_id"] == STUDY.store_id
        assert run.data.tags["bonehpo.ran_on"] == "phantom"
        assert run.info.status == "FINISHED"


def test_specimens_whose_names_mlflow_does_not_allow_keep_values_of_their_own(tracking):
    scores = {"F+": 0.9, "F#": 0.8, "O'Brien (L)": 0.7}
    recorder = MlflowRecorder(tracking)
    recorder.study(replace(STUDY, n_images=dict.fromkeys(scores, 36)))
    recorder.trial_started(trial(0))
    recorder.trial_finished(0, replace(summary(0), score_by_set=scores))
    by_level = {run.data.tags["bonehpo.level"]: run.data for run in runs(tracking).values()}
    assert sorted(v for k, v in by_level["trial"].metrics.items() if k.startswith("set/")) == [0.7, 0.8, 0.9]
    assert sum(name.startswith("n_images/") for name in by_level["study"].params) == 3


def test_a_trial_run_holds_the_mean_of_its_learning_curves_and_their_standard_deviation(recorded):
    run = runs(recorded)["5e0c/trial/1"]
    curves = np.array([fold.curves["validation_score"] for fold in folds(1)], float)
    mean, sd = curves.mean(axis=0), curves.std(axis=0, ddof=1)
    for suffix, wanted in {"": mean, "_less_sd": mean - sd, "_plus_sd": mean + sd}.items():
        history = recorded.client.get_metric_history(run.info.run_id, f"epoch/validation_accuracy{suffix}")
        points = sorted((point.step, point.value) for point in history)
        assert [step for step, _ in points] == [1, 2, 3, 4]
        assert [value for _, value in points] == pytest.approx(wanted)


@pytest.mark.parametrize("state", ["stopped", "failed", "complete"])
def test_a_trial_that_is_not_complete_or_lost_a_fold_has_no_mean_curves(tracking, state):
    recorder = MlflowRecorder(tracking)
    recorder.study(STUDY)
    recorder.trial_started(trial(0))
    for record in folds(0)[:-1]:
        recorder.fold(0, record)
    recorder.trial_finished(0, summary(0, state))
    recorder.close()
    assert not [name for name in runs(tracking)["5e0c/trial/0"].data.metrics if name.startswith("epoch/")]


def test_trials_and_optima_name_the_slice_store_as_their_data_set(recorded):
    for level, key in {"trial": "5e0c/trial/0", "optimum": "5e0c/optimum/1/best/2", "study": "5e0c"}.items():
        (used,) = runs(recorded)[key].inputs.dataset_inputs
        assert (used.dataset.name, used.dataset.digest) == ("TB slices", STUDY.store_id[:8]), level
        assert json.loads(used.dataset.source)["store_id"] == STUDY.store_id
        assert json.loads(used.dataset.profile)["n_images"] == STUDY.n_images
    assert not runs(recorded)["5e0c/trial/0/TB5/TB6"].inputs.dataset_inputs


def test_a_study_that_was_recorded_in_one_tree_is_moved_to_the_top_and_given_what_it_lacks(recorded, tmp_path):
    """As every study was before the views: trials and optima nested in the run of the study, no curves, no kind."""
    tracking = open_tracking(new_project(tmp_path / "old"))
    record_study(MlflowRecorder(tracking))
    with closing(sqlite3.connect(tracking.uri.removeprefix("sqlite:///"))) as database, database:
        (study,) = database.execute("SELECT run_uuid FROM tags WHERE key = 'bonehpo.key' AND value = '5e0c'").fetchone()
        top = [run.info.run_id for key, run in runs(tracking).items() if key.count("/") in (2, 4) and "TB" not in key]
        assert len(top) == 3
        database.executemany(
            "INSERT INTO tags (key, value, run_uuid) VALUES ('mlflow.parentRunId', ?, ?)", [(study, r) for r in top]
        )
        for table in ("metrics", "latest_metrics"):
            database.executemany(
                f"DELETE FROM {table} WHERE key LIKE 'epoch/%' AND run_uuid = ?", [(run,) for run in top]
            )
        database.execute("DELETE FROM experiment_tags")
    assert content(tracking) != content(recorded)
    record_study(MlflowRecorder(tracking))
    assert content(tracking) == content(recorded)
    tags = tracking.client.get_experiment_by_name("bonehpo/TB").tags
    assert tags == recorded.client.get_experiment_by_name("bonehpo/TB").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_fold_run_holds_scores_curves_and_predictions(recorded):
    run = runs(recorded)["5e0c/trial/1/TB9/TB5"]
    record = fold(1, "TB9", "TB5")
    assert run.data.tags["bonehpo.test"] == "TB9"
    assert run.data.tags["bonehpo.validation"] == "TB5"
    assert run.data.params["layers"] == "2"
    assert run.data.params["seed"] == "11"
    for name in ("test_accuracy", "validation_accuracy", "accuracy_failed", "softmax_pristine", "plane/XZ"):
        assert name in run.data.metrics
    for name, curve in DAMAGE.measure.shown(record.curves).items():
        history = recorded.client.get_metric_history(run.info.run_id, f"epoch/{name}")
        points = sorted((point.step, point.value) for point in history)
        assert points == list(enumerate(curve.astype(float).tolist(), start=1))
    lines = (Path(run.info.artifact_uri) / "predictions.csv").read_text().splitlines()
    assert lines[0] == "specimen,state,plane,position,label,p_failed"
    assert [float(line.split(",")[5]) for line in lines[1:]] == pytest.approx(record.predictions.output.tolist())


def test_runs_tell_which_fits_are_stuck_and_how_many_where_there_are_any(tracking, recorded):
    recorder = MlflowRecorder(tracking)
    recorder.study(STUDY)
    recorder.trial_started(trial(0))
    dead = {"is_stuck": True, "restarts": 1, "key": "dead"}  # one fit, two folds
    pairs = [{"TB5", "TB9"}, {"TB6", "TB9"}]
    for record in folds(0):
        at = {record.scores.test, record.scores.validation}
        recorder.fold(
            0, replace(record, **dead) if at == pairs[0] else replace(record, is_stuck=at == pairs[1], key="other")
        )
    recorder.trial_finished(0, summary(0))
    recorder.optimum(optimum(0), [replace(record, **dead) for record in refit(0)])
    by_key = runs(tracking)
    assert by_key["5e0c/trial/0"].data.metrics["n_stuck"] == 2
    told = [run.data for key, run in by_key.items() if run.data.tags.get("bonehpo.stuck") == "true"]
    assert [data.tags["bonehpo.level"] for data in told].count("fold") == 4
    assert by_key["5e0c/trial/0/TB5/TB9"].data.params["restarts"] == "1"
    assert "restarts" not in by_key["5e0c/trial/0/TB6/TB9"].data.params
    [chosen] = [run for run in by_key.values() if run.data.tags["bonehpo.level"] == "optimum"]
    assert chosen.data.metrics["n_stuck"] == 1
    for run in runs(recorded).values():
        assert not {"n_stuck"} & set(run.data.metrics) | {"bonehpo.stuck"} & set(run.data.tags)


def test_a_trial_run_holds_what_trials_are_compared_by(recorded):
    run = runs(recorded)["5e0c/trial/0"]
    curves = {f"epoch/{part}_{what}" for part in ("train", "validation") for what in ("loss", "accuracy")}
    spread = {f"{curve}_{side}_sd" for curve in curves for side in ("less", "plus")}
    sets = {f"set/{name}" for name in SETS}
    assert set(run.data.metrics) == {"mean_accuracy", "sd_accuracy"} | sets | curves | spread
    assert run.data.params == {
        "layers": "1",
        "learning_rate": "0.001",
        "kernel": "3",
        "batch": "20",
        "n_parameters": "1000",
    }


def test_recording_twice_changes_nothing(tracking):
    record_study(MlflowRecorder(tracking))
    before = content(tracking), runs(tracking)["5e0c"].info.end_time
    record_study(MlflowRecorder(tracking))
    assert (content(tracking), runs(tracking)["5e0c"].info.end_time) == before


def test_a_deleted_database_is_rebuilt_the_same(recorded, tmp_path):
    rebuilt = open_tracking(new_project(tmp_path / "project"))
    record_study(MlflowRecorder(rebuilt))
    assert content(rebuilt) == content(recorded)


def test_runs_deleted_by_hand_come_back(tracking):
    record_study(MlflowRecorder(tracking))
    before = content(tracking)
    for key in ("5e0c/trial/0/TB5/TB6", "5e0c/trial/1/TB9/TB6"):
        tracking.client.delete_run(runs(tracking)[key].info.run_id)
    record_study(MlflowRecorder(tracking))
    assert content(tracking) == before


def test_a_study_begun_anew_under_its_old_name_is_another(tracking):
    record_study(MlflowRecorder(tracking))
    recorder = MlflowRecorder(tracking)
    recorder.study(replace(STUDY, study_id="other"))
    recorder.trial_started(trial(0))
    recorder.trial_finished(0, summary(0, "failed"))
    recorder.close()
    assert not recorder.is_off
    assert runs(tracking)["5e0c/trial/0"].info.status == "FINISHED"
    failed = runs(tracking)["other/trial/0"]
    assert (failed.info.status, failed.data.tags["bonehpo.reason"]) == ("FAILED", "diverged")


def test_the_optimum_tag_moves(tracking):
    record_study(MlflowRecorder(tracking))
    recorder = MlflowRecorder(tracking)
    recorder.study(STUDY)
    recorder.optimum(optimum(0, n_trials=3), refit(0))  # its trial was recorded by an earlier process
    recorder.close()
    tagged = {key for key, run in runs(tracking).items() if "bonehpo.optimum" in run.data.tags}
    assert tagged == {"5e0c/trial/0", "5e0c/optimum/0/best/3"}
    assert {run.info.status for run in runs(tracking).values()} == {"FINISHED"}


def result(**changes: Any) -> ResultRecord:
    """A comparison of two configurations, of which one failed."""
    scores = [f.scores.test_score for f in folds(0)]
    cnn = ConfigurationRecord(
        name="cnn, specimen",
        parameters={"layers": "1"},
        mean_score=float(np.mean(scores)),
        sd=0.0,
        folds=folds(0),
        reason="",
    )
    failed = replace(cnn, name="scratch, specimen", mean_score=np.nan, sd=np.nan, folds=(), reason="diverged")
    return replace(
        ResultRecord(
            level="comparison",
            name="compare",
            inputs="ab",
            parameters={"weights": "none"},
            metrics={"accuracy/specimen cnn": 0.9, "accuracy/specimen scratch": np.nan},
            sentences=("Caution: it is small.", "It was compared."),
            configurations=(cnn, failed),
            finished=STUDY.started,
        ),
        **changes,
    )


def record(tracking: Tracking, *results: ResultRecord) -> MlflowRecorder:
    recorder = MlflowRecorder(tracking)
    recorder.study(STUDY)
    for record in results:
        recorder.result(record)
    recorder.close()
    return recorder


def test_a_result_keeps_its_files_pictures_numbers_and_words(tracking, tmp_path):
    figure = tmp_path / "limits.svg"
    figure.write_text("<svg/>")
    picture = StepImage(series="TB5 XY", step=3, pixels=np.zeros((4, 8), np.uint8))
    record(tracking, result(level="explanation", name="detection", files=[figure], images=[picture], configurations=()))
    run = runs(tracking)["5e0c/explanation/detection/ab"]
    assert (Path(run.info.artifact_uri) / "limits.svg").read_text() == "<svg/>"
    images = Path(run.info.artifact_uri) / "images"
    assert [len(list(images.glob(f"TB5 XY+step+{step}+*.png"))) for step in (0, 3)] == [1, 1]
    assert run.data.metrics["accuracy/specimen cnn"] == 0.9
    assert run.data.params == {"weights": "none"}
    assert run.data.tags["mlflow.note.content"] == "Caution: it is small.\n\nIt was compared."
    assert (run.data.tags["bonehpo.level"], run.data.tags["bonehpo.result"]) == ("explanation", "detection")


def test_a_comparison_nests_its_configurations_and_their_folds(tracking):
    record(tracking, result())
    by_key = runs(tracking)
    parents = {key: run.data.tags.get("mlflow.parentRunId") for key, run in by_key.items()}
    ids = {key: run.info.run_id for key, run in by_key.items()}
    top, configuration = "5e0c/comparison/compare/ab", "5e0c/comparison/compare/ab/cnn, specimen"
    assert parents[top] is None
    assert parents[configuration] == ids[top]
    under = [key for key, parent in parents.items() if parent == ids[configuration]]
    assert sorted(under) == sorted(f"{configuration}/{f.scores.test}/{f.scores.validation}" for f in folds(0))
    fold_run = by_key[under[0]]
    assert fold_run.data.tags["bonehpo.level"] == "fold"
    assert fold_run.data.tags["bonehpo.configuration"] == "cnn, specimen"
    assert fold_run.data.params["layers"] == "1"
    assert by_key[configuration].data.metrics == {"mean_accuracy": pytest.approx(0.9), "sd_accuracy": 0}
    assert {run.info.status for key, run in by_key.items() if "scratch" not in key} == {"FINISHED"}


def test_a_configuration_that_failed_says_why(tracking):
    record(tracking, result())
    failed = runs(tracking)["5e0c/comparison/compare/ab/scratch, specimen"]
    assert (failed.info.status, failed.data.tags["bonehpo.reason"]) == ("FAILED", "diverged")
    assert np.isnan(failed.data.metrics["mean_accuracy"])


def test_a_result_is_recorded_once_and_one_from_other_inputs_beside_it(tracking):
    record(tracking, result())
    before = content(tracking)
    record(tracking, result())
    assert repr(content(tracking)) == repr(before)  # a NaN is not equal to itself
    record(tracking, result(inputs="cd"))
    assert len(runs(tracking)) == 2 * len(before) - 1  # all but the study


def test_a_result_that_could_not_be_recorded_whole_is_completed_in_the_same_runs(tracking, tmp_path):
    file = tmp_path / "tests.csv"
    assert record(tracking, result(files=[file])).is_off, "there is no such file"
    before = {key: run.info.run_id for key, run in runs(tracking).items()}
    assert {run.info.status for run in runs(tracking).values()} >= {"RUNNING"}
    file.write_text("a,b\n")
    assert not record(tracking, result(files=[file])).is_off
    after = runs(tracking)
    assert {key: run.info.run_id for key, run in after.items()} == before
    assert {run.info.status for run in after.values()} == {"FINISHED", "FAILED"}
    top = after["5e0c/comparison/compare/ab"]
    assert (Path(top.info.artifact_uri) / "tests.csv").read_text() == "a,b\n"


def test_a_configuration_that_predicts_strain_has_errors_in_a_study_of_damage_too(tracking):
    configuration = replace(
        result().configurations[0],
        name="strain",
        mean_score=-0.5,
        sd=0.1,
        folds=[replace(f, task="strain", scores=replace(f.scores, test_score=-0.5)) for f in folds(0)],
    )
    record(tracking, result(name="strain", configurations=(configuration,)))
    found = runs(tracking)["5e0c/comparison/strain/ab/strain"].data.metrics
    assert found == {"mean_error_percent": 0.5, "sd_error_percent": 0.1}


def test_more_epochs_than_one_request_holds_are_all_recorded(tracking):
    recorder = MlflowRecorder(tracking)
    recorder.study(STUDY)
    recorder.trial_started(trial(0))
    recorder.fold(0, fold(0, "TB5", "TB6", n_epochs=300))
    recorder.close()
    run = runs(tracking)["5e0c/trial/0/TB5/TB6"]
    assert len(tracking.client.get_metric_history(run.info.run_id, "epoch/test_loss")) == 300


def test_a_diverged_loss_is_recorded_as_not_a_number(tracking):
    record = fold(0, "TB5", "TB6")
    curves = {**record.curves, "train_loss": np.array([np.inf, np.nan], np.float32)}
    recorder = MlflowRecorder(tracking)
    recorder.study(STUDY)
    recorder.trial_started(trial(0))
    recorder.fold(0, replace(record, curves=curves))
    recorder.close()
    run = runs(tracking)["5e0c/trial/0/TB5/TB6"]
    history = tracking.client.get_metric_history(run.info.run_id, "epoch/train_loss")
    assert np.isnan([point.value for point in history]).all()


def test_an_interrupted_search_leaves_no_run_running_and_goes_on_in_the_same_runs(tracking):
    recorder = MlflowRecorder(tracking)
    recorder.study(STUDY)
    recorder.trial_started(trial(0))
    recorder.fold(0, fold(0, "TB5", "TB6"))
    recorder.interrupted()
    recorder.close()
    before = {key: run.info.run_id for key, run in runs(tracking).items()}
    states = {key: run.info.status for key, run in runs(tracking).items()}
    assert states == {"5e0c": "KILLED", "5e0c/trial/0": "KILLED", "5e0c/trial/0/TB5/TB6": "FINISHED"}
    record_study(MlflowRecorder(tracking))
    after = runs(tracking)
    assert {key: after[key].info.run_id for key in before} == before
    assert {run.info.status for run in after.values()} == {"FINISHED"}


def test_what_kill_9_left_running_is_swept_at_the_next_opening(tmp_path):
    def record(recorder: Recorder) -> None:
        recorder.study(STUDY)
        recorder.trial_started(trial(0))

    root = new_project(tmp_path / "project")
    process, ready = fork(record, root)
    assert ready.recv() == "MlflowRecorder"
    tracking = open_tracking(root)
    other = MlflowRecorder(tracking)
    other.study(STUDY)
    other.trial_started(trial(0))
    other.trial_finished(0, summary(0))
    other.close()
    assert {run.info.status for run in runs(tracking).values()} == {"RUNNING"}, "their driver is alive"
    process.kill()
    process.join()
    recorder = MlflowRecorder(tracking)
    recorder.study(STUDY)
    assert runs(tracking)["5e0c/trial/0"].info.status == "KILLED"
    recorder.close()
    assert not [key for key, run in runs(tracking).items() if run.info.status == "RUNNING"]


def test_a_driver_is_alive_only_as_the_process_that_it_was():
    host, pid, start = this_driver().split(":")
    assert is_alive(this_driver())
    assert not is_dead(this_driver())
    assert is_dead(f"{host}:{pid}:{float(start) - 100:.2f}"), "a number used again"
    assert not is_dead(f"elsewhere:{pid}:{start}"), "nothing is known of other machines"


def test_two_processes_that_open_a_new_database_at_once_both_record(tmp_path):
    def record(recorder: Recorder, number: int) -> None:
        recorder.study(STUDY)
        recorder.trial_started(trial(number))
        recorder.trial_finished(number, summary(number))

    started = [fork(lambda recorder, number=number: record(recorder, number), tmp_path) for number in range(2)]
    for process, ready in started:
        assert ready.recv() == "MlflowRecorder"
        process.kill()
        process.join()
    recorded = runs(open_tracking(tmp_path))
    assert set(recorded) == {"5e0c", "5e0c/trial/0", "5e0c/trial/1"}
    assert not list((tmp_path / "mlruns").glob("*.partial"))


def in_its_place(kind: str, root: Path) -> None:
    path = root / "mlruns" / "mlflow.db"
    if kind == "a folder":
        path.mkdir(parents=True)
    elif kind == "no database":
        path.parent.mkdir()
        path.write_text("not a database, but long enough to be taken for one" * 20)
    elif kind == "another database":
        path.parent.mkdir()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE bones (id)")
    elif kind == "a file for mlruns":
        path.parent.write_text("")


@pytest.mark.parametrize("kind", ["a folder", "no database", "another database", "a file for mlruns"])
def test_a_database_that_does_not_open_is_one_line_at_once_and_stops_no_search(kind, tmp_path, caplog):
    in_its_place(kind, tmp_path)
    start = time.monotonic()
    with pytest.raises(TrackingError, match=r"mlflow\.db") as refusal:
        open_tracking(tmp_path)
    assert time.monotonic() - start < AT_ONCE_S
    assert len(str(refusal.value).splitlines()) == 1
    recorder = recorder_for(tmp_path)
    record_study(recorder)
    assert isinstance(recorder, NullRecorder)
    assert len(caplog.records) == 1
    assert "bonehpo sync" in caplog.text


def test_a_server_that_does_not_answer_is_one_line_at_once(tmp_path, monkeypatch):
    with socket.socket() as silent:  # accepts nothing: what a dead machine behind a firewall looks like
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(TrackingError, match="does not answer"):
            open_tracking(tmp_path)
        assert time.monotonic() - start < AT_ONCE_S
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match="unset MLFLOW_TRACKING_URI"):
        open_tracking(tmp_path)
    assert not (tmp_path / "mlruns").exists()


def test_mlflow_failing_within_a_search_is_told_once(tracking, caplog):
    recorder = MlflowRecorder(tracking)
    recorder.study(STUDY)
    recorder.trial_started(trial(0))
    with closing(sqlite3.connect(tracking.artifacts.parent / "mlflow.db")) as connection:
        connection.execute("DROP TABLE metrics")
    start = time.monotonic()
    for record in folds(0):
        recorder.fold(0, record)
    recorder.trial_finished(0, summary(0))
    recorder.close()
    assert time.monotonic() - start < AT_ONCE_S
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING and r.name.startswith("bonehpo")]
    assert "bonehpo sync" in record.getMessage()
    assert len(record.getMessage().splitlines()) == 1


def set_revision(root: Path, revision: str) -> None:
    with closing(sqlite3.connect(root / "mlruns" / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def test_the_database_of_a_newer_mlflow_is_told_from_that_of_an_older_one(tmp_path):
    root = new_project(tmp_path / "project")
    set_revision(root, "f00dfeedbeef")
    with pytest.raises(TrackingError, match="newer than 3"):
        open_tracking(root)
    set_revision(root, "451aebb31d03")
    with pytest.raises(TrackingError, match=r"older than 3.*mlflow db upgrade"):
        open_tracking(root)


def test_a_moved_project_is_refused_until_it_is_relocated(tmp_path):
    former, present = tmp_path / "former place", tmp_path / "present"
    record_study(MlflowRecorder(open_tracking(new_project(former))))
    former.rename(present)
    with pytest.raises(TrackingError, match=r"was moved.*former place.*--relocate"):
        open_tracking(present)
    assert relocate(present) == 1 + 22, "an experiment and its runs"
    tracking = open_tracking(present)
    for run in runs(tracking).values():
        assert Path(run.info.artifact_uri).is_relative_to(present)
    assert tracking.client.list_artifacts(runs(tracking)["5e0c"].info.run_id)[0].path == "study.toml"
    assert relocate(present) == 0


@pytest.mark.parametrize("name", ["100%", "what?", "no#1"])
def test_a_path_that_mlflow_would_misread_is_refused(name, tmp_path):
    with pytest.raises(TrackingError, match="rename that folder"):
        open_tracking(tmp_path / name)


def test_a_path_with_spaces_and_umlauts_records(tmp_path):
    root = new_project(tmp_path / "Schöne Knochen & Co")
    recorder = recorder_for(root)
    record_study(recorder)
    assert not recorder.is_off
    assert list((root / "mlruns" / "artifacts" / "TB").rglob("predictions.csv"))


def test_more_runs_than_one_page_holds_are_all_found_again(recorded, monkeypatch):
    monkeypatch.setattr("bonehpo.tracking.ledger._MAX_RUNS", 5)
    ledger = RunLedger(recorded)
    study = NewRun(key="5e0c", name="TB", parent=None, tags={}, started=STUDY.started)
    assert not ledger.open_study("TB", "5e0c", study, {}), "it is finished"
    assert all(key in ledger for key in runs(recorded))


def test_kill_9_at_any_moment_costs_nothing_that_sync_does_not_bring_back(recorded, tmp_path):
    root = new_project(tmp_path / "killed")
    process, ready = fork(record_study, root)
    ready.poll(0.25)
    process.kill()
    process.join()
    tracking = open_tracking(root)
    record_study(MlflowRecorder(tracking))
    assert content(tracking) == content(recorded)
