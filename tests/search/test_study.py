"""A search does each fit once, however often and however hard it is stopped."""

import dataclasses
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import dask
import numpy as np
import optuna
import pytest
from distributed.system import MEMORY_LIMIT
from optuna.trial import TrialState
from tiny_study import TOML, make_study, plan_of

from bonehpo.config import Search, StudyFolder
from bonehpo.engine import open_engine
from bonehpo.errors import FoldError, NetworkError, StoreError, StudyError
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.architecture import count_operations, count_parameters
from bonehpo.learning.fits import load_fit
from bonehpo.search.plan import FinishedPair, fold_records
from bonehpo.search.recorder import NullRecorder
from bonehpo.search.records import folds_table, read_optimum, replay
from bonehpo.search.space import make_sampler, suggest
from bonehpo.search.storage import (
    OPTIMUM,
    PAIR_PREFIX,
    REASON,
    Driver,
    attributes,
    finished_pairs,
    load_study,
    open_storage,
    open_study,
    remember,
)
from bonehpo.search.study import SearchOptions, run_search
from bonehpo.search.summary import forecast, importances, summarise, what_counts
from bonehpo.store.images import load_images
from bonehpo.workflow.plan import make_plan


class Tape(NullRecorder):
    """A recorder that remembers what it was told."""

    def __init__(self):
        self.told, self.heard = [], []

    def hear(self, progress):
        self.heard.append((time.time(), progress))

    def fold(self, trial_number, fold):
        self.told.append(("fold", trial_number, fold.scores.test, fold.scores.validation))

    def trial_finished(self, trial_number, summary):
        self.told.append(("trial", trial_number, summary.state))

    def optimum(self, record, refit):
        self.told.append(("optimum", record.estimates.trial, len(refit)))

    def interrupted(self):
        self.told.append(("interrupted",))


def run(plan, n_trials=2, recorder=None, progress=lambda _: None, **more):
    with open_engine(0) as engine:
        return run_search(plan, engine, recorder or NullRecorder(), SearchOptions(n_trials=n_trials, **more), progress)


def study_of(plan):
    return load_study(plan.storage, "TB", plan.identity)


def fit_times(plan):
    return {path.name: path.stat().st_mtime_ns for path in fits_in(plan.folder.fits)}


def fits_in(folder):
    """Results of fits; what kept networks say of every load state lies beside them as `*.states.npz`."""
    return [path for path in folder.glob("*.npz") if not path.stem.endswith(".states")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of two trials, run to its end, and what its recorder was told."""
    plan, tape = plan_of(tmp_path_factory.mktemp("finished")), Tape()
    return plan, tape, run(plan, recorder=tape, progress=tape.hear)


def test_progress_counts_the_fits_of_trials_and_of_the_optimum_and_says_how_long_they_will_take(finished):
    plan, tape, _ = finished
    times, told = zip(*tape.heard, strict=True)
    assert [(p.trial, p.fit) for p in told] == [(trial, fit) for trial in (0, 1, None) for fit in range(4)]
    assert [p.done for p in told] == [0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9]
    assert {(p.total, p.n_trials, p.n_fits, p.task) for p in told} == {(9, 2, 3, "search")}
    values = [trial.value for trial in study_of(plan).trials]
    assert all(np.isnan(p.best) for p in told[:4])
    assert [p.best for p in told[4:]] == [values[0]] * 4 + [max(values)] * 4
    assert np.isnan(told[0].seconds_left)
    assert told[-1].seconds_left == 0
    assert [p.what.partition(" (")[0] for p in told[:6]] == [
        "starting workers: trial 1/2, fit 0/3", *(f"trial 1/2, fit {n}/3" for n in (1, 2)),
        "trial 1/2, fit 3/3", f"trial 2/2, fit 0/3, best {values[0]:.3f}", f"trial 2/2, fit 1/3, best {values[0]:.3f}",
    ]  # fmt: skip
    keys = [path.stem for path in fits_in(plan.folder.fits)]
    began = min(load_fit(plan.folder.fits, key).started_s for key in keys)
    for moment, p in zip(times[4:], told[4:], strict=True):
        n_trained, left = p.done, 9 - p.done  # TensorFlow, which is imported before the first fit, does not count
        reckoned = (moment - began) / n_trained * left
        assert reckoned - left / n_trained <= p.seconds_left <= reckoned  # heard within a second


def test_a_search_prunes_only_where_it_is_asked_to(finished):
    assert not SearchOptions(n_trials=1).prune
    assert not summarise(finished[0]).pruned


def test_what_counts_is_said_of_a_study_that_goes_on(finished, tmp_path):
    plan, _, _ = finished
    assert what_counts(plan, 5) == "Study TB has 2 of 5 trials (2 complete); 3 fits each, and as many for the optimum."
    assert what_counts(plan, 1) == "Study TB has 2 trials (2 complete), and 1 were asked for: no new one."
    other = plan_of(tmp_path)
    assert what_counts(other, 3) == "Study TB begins: 3 trials of 3 fits each, and as many for the optimum."
    open_study(open_storage(other.storage), "TB", other.identity).ask()
    goes_on = "What is unfinished goes on, unless another process is at it."
    assert (
        what_counts(other, 3)
        == f"Study TB has 1 of 3 trials (1 unfinished); 3 fits each, and as many for the optimum. {goes_on}"
    )
    assert what_counts(other, 1).endswith(f"no new one. {goes_on}")


def test_a_search_ends_with_complete_trials_and_an_optimum_fitted_again(finished):
    plan, tape, outcome = finished
    assert outcome == (2, 0, 0, 2, True, 0)
    assert len(fit_times(plan)) == 3 * 3  # pairs of 3 sets; two trials and the optimum
    assert [t for t in tape.told if t[0] == "trial"] == [("trial", 0, "complete"), ("trial", 1, "complete")]
    assert len({t for t in tape.told if t[0] == "fold"}) == 2 * 6
    assert tape.told[-1] == ("optimum", read_optimum(study_of(plan)).trial, 6)
    assert len(list(plan.folder.optimum.glob("*.keras"))) == 3


def test_trial_0_is_the_baseline_and_its_value_the_mean_validation_accuracy(finished):
    plan, _, _ = finished
    study = study_of(plan)
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    folds = folds_table(study, plan)
    assert study.trials[0].params == {"layers": 1, "learning_rate": 1e-2, "kernel": 3, "batch": 8}
    for trial in study.trials:
        rows = folds[folds["trial"] == trial.number]
        assert trial.value == pytest.approx(rows["validation_score"].mean())
        assert trial.value == pytest.approx(rows["test_score"].mean())  # a fixed number of epochs


def test_what_is_the_test_set_of_one_fold_is_the_validation_set_of_the_other(finished):
    plan, _, _ = finished
    (pair, *_) = finished_pairs(study_of(plan).trials[0]).values()
    first, second = fold_records(load_fit(plan.folder.fits, pair.key))
    assert (first.scores, second.scores) == pair.folds
    assert (first.scores.test, first.scores.validation) == (second.scores.validation, second.scores.test)
    assert first.n_epochs == second.n_epochs == len(first.curves["train_score"]) == 3
    for what in ("loss", "score"):
        assert first.curves[f"train_{what}"] is second.curves[f"train_{what}"]
        assert first.curves[f"test_{what}"].tolist() == second.curves[f"validation_{what}"].tolist()
        assert first.curves[f"validation_{what}"].tolist() == second.curves[f"test_{what}"].tolist()
    assert first.curves["test_score"][-1] == pytest.approx(first.scores.test_score)
    assert set(first.predictions.specimen.tolist()) == {first.scores.test}
    assert first.finished > first.started


def test_the_same_search_again_trains_nothing_and_says_the_same(finished):
    plan, _, outcome = finished
    before = fit_times(plan)
    assert run(plan) == outcome
    assert fit_times(plan) == before


def test_a_repeated_configuration_costs_no_fit(tmp_path):
    plan = plan_of(
        tmp_path,
        re.sub(r"(layers|learning_rate|kernel|batch) = \[.*", "", TOML).replace(
            "[space]", "[space]\nlayers=[1]\nlearning_rate=[1e-2]\nkernel=[3]\nbatch=[8]\n"
        ),
    )
    run(plan, 3)
    assert len(fit_times(plan)) == 3 + 3  # one configuration, and the optimum's fresh seeds
    assert len({t.value for t in study_of(plan).trials}) == 1


def test_the_baseline_becomes_the_optimum_of_a_study_that_has_ended(tmp_path):
    """With a learning rate of 1e-9 it learns nothing."""
    toml = (
        TOML.replace("1e-4", "1e-9")
        .replace("learning_rate = 1e-2", "learning_rate = 1e-9")
        .replace("[1, 2]", "[1]")
        .replace("[3, 5]", "[3]")
    )
    plan = plan_of(tmp_path, f'{toml}[search]\nsampler = "grid"\n')
    run(plan)
    assert read_optimum(study_of(plan)).trial == 1
    assert summarise(plan).baseline.score_difference > 0
    place = plan.folder.path / "study.toml"
    place.write_text(f'{place.read_text(encoding="utf-8")}optimum = "baseline"\n', encoding="utf-8")
    plan = make_plan(plan.folder)
    run(plan)
    assert read_optimum(study_of(plan)).trial == summarise(plan).estimates.trial == 0
    assert summarise(plan).baseline is None, "there is nothing to compare it with"


def test_more_seeds_repeat_the_optimum_and_are_kept_by_later_calls(tmp_path):
    plan = plan_of(tmp_path)
    run(plan)
    networks = {path.name for path in plan.folder.optimum.glob("*.keras")}
    one, before = read_optimum(study_of(plan)), fit_times(plan)
    tape = Tape()
    assert run(plan, recorder=tape, n_seeds=3).has_optimum
    found = read_optimum(study_of(plan))
    assert (found.keys, len(found.repeats)) == (one.keys, 2)
    assert before.items() <= fit_times(plan).items()
    assert len(fit_times(plan)) == 3 * 3 + 2 * 3
    assert len({key for keys in (found.keys, *found.repeats) for key in keys.values()}) == 9
    assert {path.name for path in plan.folder.optimum.glob("*.keras")} == networks  # of the first seeds alone
    summary = summarise(plan)
    assert list(summary.optimum.refit_score_by_repeat) == ["1", "2", "3"]
    assert summary.optimum.refit_score_by_repeat["1"] == summary.optimum.refit_score
    assert [len(folds) for folds in (summary.optimum.folds, *summary.optimum.repeated_folds)] == [6, 6, 6]
    assert summary.variance.components.seed_sd is not None
    run(plan)
    assert read_optimum(study_of(plan)) == found
    again = Tape()
    assert replay(plan, study_of(plan), again) == 0
    assert sorted(map(str, again.told)) == sorted(map(str, tape.told))
    for key in found.repeats[-1].values():
        (plan.folder.fits / f"{key}.npz").unlink()
    less = summarise(plan).optimum
    assert (less.refit_score, less.folds) == (summary.optimum.refit_score, summary.optimum.folds)
    assert list(less.refit_score_by_repeat) == ["1", "2"]
    assert replay(plan, study_of(plan), Tape()) == 3


def test_an_optimum_that_was_written_before_there_were_repeats_is_read(finished):
    plan, _, _ = finished
    study = study_of(plan)
    old = json.loads(attributes(study)[OPTIMUM])
    del old["repeats"]
    remember(study, OPTIMUM, json.dumps(old))
    assert read_optimum(study_of(plan)).repeats == ()
    assert summarise(plan).optimum is not None


def test_a_strict_search_that_was_interrupted_has_an_optimum_only_when_its_list_is_done(tmp_path):
    text = TOML.replace("[training]", '[search]\nsampler = "random"\nprotocol = "strict"\n[training]')
    plan = plan_of(tmp_path, text)

    class Cut(NullRecorder):
        def trial_finished(self, trial_number, summary):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan, 3, recorder=Cut())
    assert summarise(plan).optimum is None
    with pytest.raises(
        StudyError, match="fixed 3 candidates before its first score, now --trials is 1: give --trials 3"
    ):
        run(plan, 1)
    outcome = run(plan, 3)
    assert (outcome.n_complete, outcome.has_optimum) == (3, True)
    assert "its 3 candidates were fixed before the first score" in summarise(plan).protocol_in_words


def test_a_summary_tells_paper_and_nested_accuracy(finished):
    plan, _, _ = finished
    found = summarise(plan)
    assert [row.state for row in found.trials] == ["complete", "complete"]
    assert found.estimates.gap == pytest.approx(found.estimates.apparent_score - found.estimates.nested_score)
    assert set(found.estimates.nested_score_by_set) == set(plan.sets)
    assert len(found.optimum.folds) == 6


def test_what_accounts_for_the_scores_needs_scores_that_differ(tmp_path):
    fixed = TOML.replace("[1, 2]", "[1, 2, 3]").replace("[1e-4, 1e-2]", "[1e-2]").replace("[3, 5]", "[3]")
    plan = plan_of(tmp_path, fixed)
    study = open_study(open_storage(plan.storage), "TB", plan.identity)

    def tell(value, layers):
        trial = optuna.trial.create_trial(
            params={"layers": layers, "learning_rate": 1e-2, "kernel": 3, "batch": 8},
            distributions=trial_distributions(plan),
            value=value,
        )
        study.add_trial(trial)

    tell(0.5, 1)
    assert importances(plan) == {}
    for layers in (1, 2, 3):
        tell(0.5, layers)
    assert importances(plan) == {}
    tell(0.9, 3)
    found = importances(plan)
    assert set(found) <= {"layers", "learning_rate", "kernel", "batch"}
    assert max(found, key=found.get) == "layers"


def trial_distributions(plan):
    trial = optuna.create_study().ask()
    suggest(trial, plan.config.space)
    return trial.distributions


def test_replay_tells_everything_again_from_storage_and_fits(finished):
    plan, tape, _ = finished
    again = Tape()
    assert replay(plan, study_of(plan), again) == 0
    assert sorted(map(str, again.told)) == sorted(map(str, tape.told))


def test_a_trial_goes_on_at_its_first_missing_pair(tmp_path):
    plan = plan_of(tmp_path)

    class PowerCut(Tape):
        def fold(self, trial_number, fold):
            super().fold(trial_number, fold)
            if len(self.told) == 2:
                raise KeyboardInterrupt

    cut = PowerCut()
    with pytest.raises(KeyboardInterrupt):
        run(plan, recorder=cut)
    assert cut.told[-1] == ("interrupted",)
    before = fit_times(plan)
    assert len(before) == 1
    (trial,) = study_of(plan).get_trials(states=(TrialState.RUNNING,))
    assert sum(key.startswith(PAIR_PREFIX) for key in attributes(trial)) == 1
    tape = Tape()
    assert run(plan, recorder=tape).n_complete == 2
    assert before.items() <= fit_times(plan).items()
    assert (
        len({t for t in tape.told if t[:2] == ("fold", trial.number)}) == 6
    )  # those of the finished pair are told again


def test_a_fit_that_diverges_fails_its_trial_with_the_reason_and_not_the_study(tmp_path):
    wild = TOML.replace("learning_rate = [1e-4, 1e-2]", "learning_rate = [1e-2, 1e30]")
    plan = plan_of(
        tmp_path, wild.replace("[training]", '[search]\nsampler = "grid"\n[training]').replace("[1, 2]", "[1]")
    )
    outcome = run(plan, 4)
    failed = study_of(plan).get_trials(states=(TrialState.FAIL,))
    assert (outcome.n_complete, outcome.n_failed, outcome.has_optimum) == (2, 2, True)
    assert all("diverged" in trial.user_attrs[REASON] for trial in failed)
    assert {trial.params["learning_rate"] for trial in failed} == {1e30}
    reasons = [row.reason for row in summarise(plan).trials if row.state == "failed"]
    assert all("diverged" in reason for reason in reasons)


def test_a_fit_that_runs_out_of_memory_fails_its_trial_with_the_reason_and_not_the_study(tmp_path):
    """Workers get less memory than TensorFlow needs; Dask's own watch kills them at each attempt."""
    plan = plan_of(tmp_path)
    share = 450e6 / MEMORY_LIMIT
    with dask.config.set({"distributed.worker.memory.terminate": share}), open_engine(1) as engine:
        outcome = run_search(plan, engine, NullRecorder(), SearchOptions(n_trials=1))
    assert (outcome.n_complete, outcome.n_failed, outcome.has_optimum) == (0, 1, False)
    (row,) = summarise(plan).trials
    assert "workers died at each of 3 attempts, most likely out of memory" in row.reason


def test_a_fixed_list_ends_a_search_that_asks_for_more(tmp_path):
    text = TOML.replace("[training]", '[search]\nsampler = "sweep"\n[training]').replace("[1, 2]", "[1]")
    outcome = run(plan_of(tmp_path, text), 50)
    assert (outcome.n_complete, outcome.n_trials) == (3, 3)  # baseline, another learning rate, another kernel


def test_time_that_is_over_stops_inside_a_trial_and_the_next_call_goes_on(tmp_path):
    plan = plan_of(tmp_path)
    outcome = run(plan, timeout_s=1e-9)
    assert (outcome.n_complete, outcome.has_optimum) == (0, False)
    assert run(plan).has_optimum


def test_a_trial_of_a_living_driver_is_left_to_it_and_that_of_another_is_taken_up(tmp_path):
    plan = plan_of(tmp_path)
    study = open_study(open_storage(plan.storage), "TB", plan.identity)

    def next_of(driver):
        trial = driver.next_trial(study, 2, lambda n: make_sampler(plan.config, n))
        return None if trial is None else trial.number

    with Driver(plan.folder) as one:
        assert next_of(one) == 0
        assert one.others_at_work(study) == 0
        with Driver(plan.folder) as other:
            assert next_of(other) == 1
            assert (one.others_at_work(study), other.others_at_work(study)) == (1, 1)
            with Driver(plan.folder) as third:
                assert next_of(third) is None
                assert third.others_at_work(study) == 2
        assert one.others_at_work(study) == 0
    with Driver(plan.folder) as heir:
        assert next_of(heir) == 0


def test_only_a_fit_that_is_kept_has_a_network_and_answers_at_every_load_state(tmp_path):
    plan = plan_of(tmp_path)
    choice = Hyperparameters(layers=1, learning_rate=1e-2, kernel=3, batch=8)
    kept, other = (plan.task(choice, plan.pairs[0], keep=keep) for keep in (True, False))
    assert (kept.network, kept.states) == (plan.network(kept.spec.key), plan.states(kept.spec.key))
    assert (other.network, other.states) == (None, None)
    assert kept.spec == other.spec != plan.task(choice, plan.pairs[0], repeat=1).spec


def test_two_drivers_share_a_study_without_sharing_a_trial(tmp_path):
    plan = plan_of(tmp_path)
    with Driver(plan.folder) as first, Driver(plan.folder) as second:
        study = optuna.create_study(storage=open_storage(plan.storage), study_name="TB", direction="maximize")

        def sampler(n_trials):
            return make_sampler(dataclasses.replace(plan.config, search=Search(sampler="random")), n_trials)

        mine, yours = first.next_trial(study, 2, sampler), second.next_trial(study, 2, sampler)
        assert (mine.number, yours.number) == (0, 1)
        assert suggest(mine, plan.config.space) != suggest(yours, plan.config.space)  # each trial has a seed of its own
        assert second.next_trial(study, 2, sampler).number == 1  # its own, unfinished
        study.tell(yours.number, 0.5)
        assert second.next_trial(study, 2, sampler) is None
        assert second.others_at_work(study) == 1
    with Driver(plan.folder) as third:
        assert third.others_at_work(study) == 0
        assert third.next_trial(study, 2, sampler).number == 0  # its driver is gone


def test_a_study_refuses_another_store_and_other_settings(finished, tmp_path):
    plan, _, _ = finished
    longer = make_plan(make_study(tmp_path, TOML.replace("epochs = 3", "epochs = 4"))).config
    for change, complaint in (
        ({"store_id": "0" * 64}, "was begun with store = .*, now it is 0000"),
        ({"config": longer}, r"training\.epochs = 3, now it is 4"),
    ):
        with pytest.raises(StudyError, match=complaint):
            run(dataclasses.replace(plan, **change))
        with pytest.raises(StudyError, match=complaint):
            summarise(dataclasses.replace(plan, **change))


def test_an_impossible_space_is_refused_before_any_trial(tmp_path):
    plan = plan_of(tmp_path, TOML.replace("layers = [1, 2]", "layers = [1, 5]"))
    with pytest.raises(NetworkError, match="layers=5 pools images of 16 × 16"):
        run(plan)
    assert not plan.folder.fits.exists()


def test_a_mixed_split_of_three_specimens_needs_no_published_assignment(tmp_path):
    plan = plan_of(tmp_path, TOML + '[split]\nkind = "mixed"\n')
    assert {len(groups) for groups in plan.sets.values()} == {3}
    with pytest.raises(FoldError, match="published assignment"):
        plan_of(tmp_path / "other", TOML + '[split]\nkind = "mixed"\nassignment = "published"\n')


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda path: path.mkdir(parents=True), "cannot be opened"),
        (lambda path: path.write_bytes(b"no database at all, but text " * 50), "cannot be opened"),
    ],
    ids=["folder", "text"],
)
def test_an_unopenable_storage_is_refused_in_two_seconds(tmp_path, spoil, complaint):
    spoil(tmp_path / "optuna.db")
    started = time.monotonic()
    with pytest.raises(StudyError, match=complaint) as caught:
        open_storage(f"sqlite:///{tmp_path / 'optuna.db'}")
    assert time.monotonic() - started < 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["optuna.db", "sqlite://", "postgresql://127.0.0.1:9/bonehpo"])
def test_a_storage_that_cannot_be_reached_is_refused_in_one_line(url):
    with pytest.raises(StudyError, match=r"is no database URL|cannot be opened") as caught:
        open_storage(url)
    assert "\n" not in str(caught.value)


def test_a_storage_that_fails_in_the_middle_ends_with_one_line_and_loses_nothing(tmp_path):
    plan = plan_of(tmp_path)
    database = tmp_path / "studies" / "optuna.db"

    class Spoiler(NullRecorder):
        def fold(self, trial_number, fold):
            database.write_bytes(b"no database any more " * 500)

    with pytest.raises(StudyError, match=r"Optuna's storage failed .*run the same command again"):
        run(plan, recorder=Spoiler())
    assert len(fit_times(plan)) == 1


def test_a_store_that_is_damaged_meanwhile_ends_the_search_and_not_a_trial(tmp_path):
    plan = plan_of(tmp_path)
    run(plan, 1)
    shutil.rmtree(plan.folder.optimum)
    for path in fits_in(plan.folder.fits):
        path.unlink()
    shard = next(path for path in (plan.folder.store / "slices" / "c").rglob("*") if path.is_file())
    shard.unlink()
    load_images.cache_clear()
    with pytest.raises(StoreError, match="missing"):
        run(plan, 1)


def test_a_full_disk_ends_the_search_with_the_remedy_and_loses_nothing(tmp_path, monkeypatch):
    plan = plan_of(tmp_path)
    real = os.fsync

    def full(descriptor):
        if len(fits_in(plan.folder.fits)) == 1:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StudyError, match="No space left on device: make room there"):
        run(plan)
    monkeypatch.undo()
    assert run(plan).has_optimum


def start(root: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "bonehpo", "search", "--bone", "TB", "--trials", "2", "--workers", "1", *more]
    return subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_fits(root: Path, n: int) -> None:
    for _ in range(600):
        if len(fits_in(root / "studies/TB/fits")) >= n:
            return
        time.sleep(0.1)
    raise AssertionError("no fit was finished within a minute")


def group_is_gone(group: int) -> bool:
    for _ in range(150):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def statuses(root: Path) -> list[str]:
    """Of every MLflow run of the project."""
    with closing(sqlite3.connect(root / "mlruns" / "mlflow.db")) as database:
        return [status for (status,) in database.execute("SELECT status FROM runs")]


@pytest.mark.parametrize(
    "how",
    [signal.SIGKILL, *(pytest.param(other, marks=pytest.mark.torture) for other in (signal.SIGTERM, signal.SIGINT))],
)
def test_a_search_that_is_stopped_by_a_signal_goes_on_where_it_was(tmp_path, how):
    make_study(tmp_path)
    process = start(tmp_path)
    wait_for_fits(tmp_path, 2)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does, to driver and workers
    else:
        os.kill(process.pid, how)
    _, told = process.communicate(timeout=60)
    assert group_is_gone(process.pid), "workers outlive their driver"
    if how != signal.SIGKILL:
        assert process.returncode == 130
        assert "the same command goes on" in told
        assert "Traceback" not in told
        assert "RUNNING" not in statuses(tmp_path), told
    before = {path: path.stat().st_mtime_ns for path in fits_in(tmp_path / "studies/TB/fits")}
    again = start(tmp_path)
    _, told = again.communicate(timeout=120)
    assert again.returncode == 0, told
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())
    assert len(fits_in(tmp_path / "studies/TB/fits")) == 9
    assert set(statuses(tmp_path)) == {"FINISHED"}
    n_runs = 1 + 2 * (1 + 6) + (1 + 6)  # study, trials with folds, optimum with folds
    assert len(statuses(tmp_path)) == n_runs + 2, "and what was found of leaks and shortcuts"


def test_two_searches_at_once_share_the_trials_and_the_last_fits_the_optimum(tmp_path):
    make_study(tmp_path)
    both = [start(tmp_path), start(tmp_path)]
    told = [process.communicate(timeout=150)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    plan = make_plan(StudyFolder(tmp_path / "studies" / "TB"))
    study = study_of(plan)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
    assert [sum(key.startswith(PAIR_PREFIX) for key in attributes(trial)) for trial in study.trials] == [3, 3]
    assert read_optimum(study).trials == (0, 1)
    assert len(fit_times(plan)) == 9
    assert set(statuses(tmp_path)) == {"FINISHED"}


def test_a_forecast_counts_fits_images_operations_and_bytes(tmp_path):
    """Two networks of each kernel and number of layers; learning rates and batches change neither size nor time."""
    plan = dataclasses.replace(plan_of(tmp_path), n_images={"TB5": 10, "TB6": 20, "TB9": 40})
    found = forecast(plan, n_trials=6, operations_per_s=1e6, n_workers=2, overhead=1.5, n_seeds=2)
    networks = [Hyperparameters(layers=n, learning_rate=1e-2, kernel=k, batch=8) for n in (1, 2) for k in (3, 5)]
    sizes = [count_parameters(network, plan.side) for network in networks]
    operations = np.mean([count_operations(network, plan.side) for network in networks])
    assert (found.n_folds, found.n_fits) == (6, (6 + 2) * 3)
    assert found.n_train == (10, 40)  # without TB6 and TB9, without TB5 and TB6
    assert found.n_held_out == (10, 40)
    assert found.parameters == (min(sizes), max(sizes))
    images = 3 * (10 + 20 + 40) / 3  # the mean fit, three epochs
    assert found.hours == pytest.approx(24 * images * operations / 1e6 * 1.5 / 2 / 3600)
    tables = 24 * (2 * 70 / 3 * 12 + 2 * 60_000)
    assert found.gigabytes == pytest.approx((tables + 3 * np.mean(sizes) * 4) / 1e9)
    alone = forecast(plan, n_trials=6, operations_per_s=1e6, n_workers=2, overhead=1.5)
    assert alone.n_fits == (6 + 1) * 3


def test_what_a_pair_stores_is_read_back():
    scores = {
        "test": "a",
        "validation": "b",
        "test_score": 0.5,
        "validation_score": 1.0,
        "score_by_plane": {"XY": 0.5},
        "details": {"accuracy_pristine": 0.25, "accuracy_failed": 0.75},
    }
    text = json.dumps({"key": "k", "folds": [scores, {**scores, "test": "b", "validation": "a"}]})
    pair = FinishedPair.from_json(text)
    assert json.loads(pair.to_json()) == json.loads(text)
    assert np.mean([fold.test_score for fold in pair.folds]) == 0.5
