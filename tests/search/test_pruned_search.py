"""A pruned search stops trials that fall behind, decides the same when it goes on, and believes no trial that it stopped.

Fits lie among the results beforehand, at their addresses, with the scores that a test wants: nothing is trained.
"""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import optuna
import pytest
from click.testing import CliRunner
from data_makers import write_table
from documented import undocumented
from mlflow import MlflowClient
from optuna.trial import TrialState
from planted_study import (
    BASELINE,
    N_TRIALS,
    SETS,
    Tape,
    mean_of,
    mean_validation,
    new_study,
    pairs_of,
    plan_of,
    plant,
    plant_all,
    run,
    study_of,
    verdicts,
)
from tiny_study import striped
from tracked import new_project

from bonehpo.cli import main
from bonehpo.config import StudyFolder
from bonehpo.engine import open_engine
from bonehpo.errors import StudyError
from bonehpo.folds import specimen_sets
from bonehpo.preparation.prepare import prepare
from bonehpo.results.finished import FinishedStudy
from bonehpo.results.validity import audit_pruning, pruning_address
from bonehpo.search.pruners import PRUNERS
from bonehpo.search.pruning import (
    INCUMBENT,
    Stop,
    begin_pruning,
    complete_trials,
    read_stop,
    record_stop,
    stopped_trials,
    why_not_pruned,
)
from bonehpo.search.recorder import NullRecorder
from bonehpo.search.records import folds_table, read_optimum, read_study, replay
from bonehpo.search.storage import PAIR_PREFIX, Driver, finished_pairs, open_storage, open_study
from bonehpo.search.study import SearchOptions, run_search
from bonehpo.search.summary import importances, summarise
from bonehpo.store.recipe import Steps
from bonehpo.tracking.entries import study_tags
from bonehpo.workflow.plan import make_plan

SIGNED_RANK = PRUNERS["signed-rank"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A folder of fits of the whole space, and of every choice with fresh seeds."""
    return plant_all(tmp_path_factory.mktemp("planted"))


@pytest.fixture
def plan(planted, tmp_path):
    """A study that has not begun, over the planted fits."""
    return new_study(planted, tmp_path)


@pytest.fixture(scope="module")
def pruned(planted, tmp_path_factory):
    """A pruned study, and what its recorder was told."""
    plan, tape = new_study(planted, tmp_path_factory.mktemp("pruned")), Tape()
    return plan, tape, run(plan, recorder=tape)


def test_trials_that_fall_behind_are_stopped_early_and_others_are_not(pruned):
    plan, _, outcome = pruned
    study = study_of(plan)
    stopped, complete = stopped_trials(study), complete_trials(study)
    assert (outcome.n_complete, outcome.n_stopped, outcome.has_optimum) == (len(complete), len(stopped), True)
    assert len(stopped) + len(complete) == N_TRIALS
    assert {mean_of(trial) for trial in stopped} == {0.6, 0.5}
    assert {mean_of(trial) for trial in complete} == {0.8, 0.9}
    assert [len(finished_pairs(trial)) for trial in complete] == [10] * len(complete)
    assert [len(finished_pairs(trial)) for trial in stopped] == [4] * len(stopped)


def test_a_stopped_trial_is_in_no_estimate_and_no_choice(pruned):
    plan, _, _ = pruned
    study = study_of(plan)
    numbers = tuple(trial.number for trial in complete_trials(study))
    assert tuple(folds_table(study, plan)["trial"].unique()) == numbers
    assert read_optimum(study).trials == numbers
    found = summarise(plan)
    assert found.pruned
    n_stopped = N_TRIALS - len(numbers)
    assert f"pruned: {n_stopped} of {N_TRIALS} trials were stopped early by signed-rank" in found.protocol_in_words
    assert set(found.estimates.chosen_by_set.values()) <= set(numbers)
    for row in found.trials:
        assert row.state == ("complete" if row.trial in numbers else "stopped")
        assert (row.mean_score is None) == (row.state == "stopped")


def test_the_importance_of_what_varies_is_shared_out_and_too_few_trials_have_none(pruned, plan):
    found = importances(pruned[0])
    assert set(found) == {"layers", "kernel", "learning_rate", "batch"}
    assert found["learning_rate"] == found["batch"] == 0  # of one value each
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert sum(found.values()) == pytest.approx(1)
    assert found["layers"] > 0
    run(plan, n_trials=1)
    assert importances(plan) == {}


def test_a_stopped_trial_says_why_and_is_told_without_a_score(pruned):
    plan, tape, _ = pruned
    for trial in stopped_trials(study_of(plan)):
        stop, told = read_stop(trial), tape.told[trial.number]
        assert f"behind trial {stop.incumbent} in the same {2 * stop.n_fits} folds" in told.reason
        assert told.state == "stopped"
        assert np.isnan(told.mean_score)
        assert told.score_by_set == {}
    assert study_tags(tape.record)["bonehpo.pruned"] == "true"


def test_the_sampler_is_told_what_a_stopped_trial_would_have_had_and_not_the_mean_of_its_folds(pruned):
    plan, _, _ = pruned
    study = study_of(plan)
    gains = []
    for trial in stopped_trials(study):
        incumbent, own = study.trials[read_stop(trial).incumbent], finished_pairs(trial)
        plain, same = (mean_validation(finished_pairs(t)[label] for label in own) for t in (trial, incumbent))
        assert trial.value == pytest.approx(incumbent.value + plain - same)
        assert trial.value == pytest.approx(mean_of(trial) - 0.1, abs=0.05)  # sets are harder by 0, 0.05, … 0.2
        assert trial.value < incumbent.value
        gains.append(trial.value - plain)
    assert max(np.abs(gains)) > 0.01


def test_what_is_told_again_is_the_same(pruned):
    plan, tape, _ = pruned
    again = Tape()
    replay(plan, study_of(plan), again)
    assert {n: (t.state, t.reason) for n, t in again.told.items()} == {
        n: (t.state, t.reason) for n, t in tape.told.items()
    }
    assert again.record.pruned


@pytest.mark.parametrize("cut_at", [3, 28, 41])
def test_a_pruned_search_that_is_killed_goes_on_and_decides_the_same(pruned, plan, cut_at):
    """The cut at 28 comes between the fourth fit of a trial that it stops and the verdict."""
    with pytest.raises(KeyboardInterrupt):
        run(plan, recorder=Tape(cut_at))
    run(plan)
    assert verdicts(plan) == verdicts(pruned[0])


def test_without_pruning_no_trial_is_stopped(plan):
    assert run(plan, prune=False).n_complete == N_TRIALS
    assert not summarise(plan).pruned
    assert "pruned" not in summarise(plan).protocol_in_words


@pytest.mark.parametrize(
    ("change", "why"), [({"sampler": "grid"}, "strict"), ({"optimum": "one-se"}, "one-se")], ids=["strict", "one-se"]
)
def test_a_study_in_which_a_trial_behind_matters_is_not_pruned(planted, tmp_path, change, why):
    plan = new_study(planted, tmp_path)
    plan = dataclasses.replace(
        plan, config=dataclasses.replace(plan.config, search=dataclasses.replace(plan.config.search, **change))
    )
    assert why in why_not_pruned(plan.config)
    outcome = run(plan)
    assert (outcome.n_complete, outcome.n_stopped) == (N_TRIALS, 0)
    assert not summarise(plan).pruned


def test_while_another_driver_fits_the_optimum_a_search_ends_without_waiting(plan):
    with Driver(plan.folder) as other, other.alone("optimum"):
        assert not run(plan, n_trials=1).has_optimum
    assert run(plan, n_trials=1).has_optimum


def test_a_trial_that_was_stopped_but_not_told_is_told_without_a_further_fit(plan):
    run(plan, 1)
    study = study_of(plan)
    study.enqueue_trial({"layers": 3, "learning_rate": 1e-3, "kernel": 5, "batch": 8})
    with pytest.raises(KeyboardInterrupt):
        run(plan, 2, recorder=Tape(cut_at=20 + 8))
    (orphan,) = study.get_trials(states=(TrialState.RUNNING,))
    pruning = begin_pruning(plan, study, optuna.trial.Trial(study, orphan._trial_id), SIGNED_RANK)
    record_stop(optuna.trial.Trial(study, orphan._trial_id), pruning.stop(finished_pairs(orphan)))
    run(plan, 2, prune=False)
    told = study_of(plan).trials[1]
    assert told.state == TrialState.COMPLETE
    assert len(finished_pairs(told)) == 4
    assert [trial.number for trial in complete_trials(study)] == [0]


def test_the_verdict_does_not_depend_on_the_order_in_which_fits_finish(pruned):
    plan, _, _ = pruned
    study = study_of(plan)
    stopped = stopped_trials(study)[0]
    pruning = begin_pruning(plan, study, optuna.trial.Trial(study, stopped._trial_id), SIGNED_RANK)
    done = pairs_of(plan, stopped.params["layers"], stopped.params["kernel"])
    first = [pair.label for pair in pruning.pairs]
    expected = read_stop(stopped)
    assert pruning.stop(done) == expected  # all are in: the first look that decides counts
    for missing in range(expected.n_fits):
        late = {label: pair for label, pair in done.items() if label != first[missing]}
        assert pruning.stop(late) is None
    assert pruning.stop({label: done[label] for label in reversed(first[: expected.n_fits])}) == expected


def test_a_trial_taken_up_again_is_held_against_the_same_trial_although_a_better_one_is_complete_now(plan):
    study = open_study(open_storage(plan.storage), "TB", plan.identity)

    def add(layers, kernel):
        params = {"layers": layers, "learning_rate": 1e-3, "kernel": kernel, "batch": 8}
        study.enqueue_trial(params)
        trial = study.ask()
        for label, pair in pairs_of(plan, layers, kernel).items():
            trial.set_user_attr(PAIR_PREFIX + label, pair.to_json())
        return trial

    nobody = begin_pruning(plan, study, runs := add(1, 3), SIGNED_RANK)
    assert (nobody.scores, nobody.stop(pairs_of(plan, 3, 5))) == (None, None)
    study.tell(add(2, 3), 0.7)
    assert begin_pruning(plan, study, runs, SIGNED_RANK).scores is None
    second = add(1, 5)
    assert begin_pruning(plan, study, second, SIGNED_RANK).incumbent == 1
    study.tell(add(3, 3), 0.8)
    assert begin_pruning(plan, study, second, SIGNED_RANK).incumbent == 1
    assert study.trials[second.number].system_attrs[INCUMBENT] == 1
    assert begin_pruning(plan, study, add(3, 5), SIGNED_RANK).incumbent == 3


def test_a_stopped_trial_never_leads(pruned):
    plan, _, _ = pruned
    study = study_of(plan)
    stopped = {trial.number for trial in stopped_trials(study)}
    assert not stopped & {trial.system_attrs[INCUMBENT] for trial in study.trials}


def test_an_even_number_of_sets_is_fitted_round_by_round(plan):
    four = dataclasses.replace(plan, sets=specimen_sets(SETS[:4], ("XY",)))
    study = open_study(open_storage(plan.storage), "TB", plan.identity)
    pruning = begin_pruning(four, study, study.ask(), SIGNED_RANK)
    assert [{*pruning.pairs[k], *pruning.pairs[k + 1]} for k in (0, 2, 4)] == [set(SETS[:4])] * 3


def test_why_a_trial_was_stopped_is_read_back():
    stop = Stop(incumbent=4, n_fits=3, p=0.015625, difference=-0.123456, score=0.5)
    assert stop.reason == "0.123 behind trial 4 in the same 6 folds, p = 0.016 (signed-rank)"


TRAINED = """
bone = "TB"
[space]
layers = [1]
learning_rate = [1e-7, 1e-2]
kernel = [3]
batch = [8]
[baseline]
layers = 1
learning_rate = 1e-2
kernel = 3
batch = 8
[training]
epochs = 3
precision = "float32"
"""


def train(root, n_workers):
    """Search four striped specimens, of six fits, for a good network and one that hardly learns."""
    scans, folder = root / "scans", StudyFolder(root / "studies" / "TB")
    scans.mkdir()
    rows = []
    for i, (name, state) in enumerate(itertools.product(SETS[:4], (1, 2))):
        np.save(scans / f"{name}-{state}.npy", striped(i, state - 1))
        rows.append({"specimen": name, "state": state, "path": f"{name}-{state}.npy"})
    with open_engine(0) as engine:
        prepare(write_table(scans, rows), folder.store, Steps(match="none", median=False, n_slices=4), engine)
    folder.config.write_text(TRAINED)
    plan = make_plan(folder)
    study = open_study(open_storage(plan.storage), "TB", plan.identity)
    for rate in (1e-2, 1e-7):
        study.enqueue_trial({"layers": 1, "learning_rate": rate, "kernel": 3, "batch": 8})
    with open_engine(n_workers) as engine:
        return plan, run_search(plan, engine, NullRecorder(), SearchOptions(n_trials=2, prune=True))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A study that was really trained and pruned, in a project with an MLflow database."""
    return train(new_project(tmp_path_factory.mktemp("trained")), 0)


def check_trained(plan, outcome, n_in_vain):
    assert (outcome.n_complete, outcome.n_stopped, outcome.has_optimum) == (1, 1, True)
    (stopped,) = stopped_trials(study_of(plan))
    assert read_stop(stopped).n_fits == 3
    n_trained = sum(not path.stem.endswith(".states") for path in plan.folder.fits.glob("*.npz"))
    assert 6 + 3 + 6 <= n_trained <= 6 + 3 + n_in_vain + 6


def test_a_network_that_hardly_learns_costs_three_of_six_fits(trained):
    check_trained(*trained, n_in_vain=0)


@pytest.mark.torture
def test_workers_may_have_begun_further_fits_and_the_verdict_is_the_same(tmp_path):
    check_trained(*train(tmp_path, 2), n_in_vain=3)


def test_show_says_what_was_stopped_and_audit_pruned_finishes_it(trained, monkeypatch):
    plan, _ = trained
    monkeypatch.chdir(plan.folder.path.parents[1])
    shown = CliRunner().invoke(main, ["show", "--bone", "TB"], catch_exceptions=False).output
    assert "stopped: " in shown
    assert "pruned: 1 of 2 trials were stopped early by signed-rank" in shown
    assert "(signed-rank)" in shown
    audited = CliRunner().invoke(main, ["audit", "--pruned", "--bone", "TB", "--workers", "0"], catch_exceptions=False)
    assert audited.exit_code == 0
    assert "Of 1 trials that were stopped 1 were finished: 0 would have beaten" in audited.output
    tags = MlflowClient(f"sqlite:///{Path('mlruns/mlflow.db').absolute()}")
    runs = tags.search_runs([e.experiment_id for e in tags.search_experiments()], "tags.`bonehpo.result` = 'pruning'")
    assert "explanation: pruning" in {run.info.run_name for run in runs}


def finished_of(plan):
    """What an audit begins with; the slices themselves it does not ask for."""
    found = read_study(plan)
    return FinishedStudy(plan=plan, record=found.record, store=None, optimum=found.optimum, choice=found.choice)


def audit(plan, n_trials):
    finished = finished_of(plan)
    with open_engine(0) as engine:
        findings = audit_pruning(finished, engine, lambda _: None, n_trials)
    return finished.result("pruning", "explanation", pruning_address(finished, n_trials), findings)


def test_an_audit_of_pruning_finishes_stopped_trials_and_finds_none_that_would_have_won(pruned):
    plan, _, _ = pruned
    stopped = stopped_trials(study_of(plan))
    result = audit(plan, 2)
    assert undocumented(result) == []
    table = result.tables["trials"]
    assert set(table["trial"]) <= {trial.number for trial in stopped}
    assert len(table) == 2
    assert not table["would_have_won"].any()
    for row in table.to_dict("records"):
        pairs = pairs_of(plan, row["layers"], row["kernel"]).values()
        assert row["accuracy"] == pytest.approx(mean_validation(pairs))
        assert row["accuracy"] < row["incumbent_accuracy"]
    assert "0 would have beaten" in result.sentences[0]
    assert "at most 78 %" in result.sentences[0]  # 1 - 0.05 ** (1 / 2)
    assert len(result.configurations[0].keys) == 10
    assert result.inputs == pruning_address(finished_of(plan), 2) != pruning_address(finished_of(plan), 3)
    assert "at most" not in audit(plan, 99).sentences[0]
    assert len(complete_trials(study_of(plan))) + len(stopped) == N_TRIALS  # an audit changes nothing of the study


def test_an_audit_of_pruning_says_by_how_much_a_stopped_trial_would_have_won(tmp_path):
    planted, unlucky = plan_of(tmp_path), dataclasses.replace(BASELINE, layers=1)
    for repeat in (0, 1):
        plant(planted, BASELINE, repeat)
        plant(planted, unlucky, repeat, luck=(0.0,) * 4 + (0.4,) * 6)
    plan, whole = (new_study(planted.folder, tmp_path / name) for name in ("pruned", "whole"))
    for each in (plan, whole):
        study = open_study(open_storage(each.storage), "TB", each.identity)
        for choice in (BASELINE, unlucky):
            study.enqueue_trial(dataclasses.asdict(choice))
    assert run(plan, 2).n_stopped == 1
    assert run(whole, 2, prune=False).n_complete == 2
    result = audit(plan, 3)
    (row,) = result.tables["trials"].to_dict("records")
    best, other = (mean_validation(pairs_of(plan, layers, 3).values()) for layers in (1, 2))
    assert row["would_have_won"]
    assert row["gain"] == row["gain_on_optimum"] == pytest.approx(best - other)
    assert result.sentences[1] == f"Caution: trial 1 would have been the optimum, better by {best - other:.3f}."
    with_it, without = (summarise(each).estimates.nested_score for each in (whole, plan))
    assert result.metrics["nested_accuracy_with_them"] == pytest.approx(with_it)
    assert result.metrics["nested_accuracy"] == pytest.approx(without)


def test_a_study_without_stopped_trials_has_no_pruning_to_be_audited(plan):
    run(plan, 1)
    with pytest.raises(StudyError, match="no stopped trials"):
        audit(plan, 3)
