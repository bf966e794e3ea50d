"""The commands on results, as a person types them: what they leave, what they take as it is, how they go on."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import call, refusal
from documented import undocumented
from mlflow import MlflowClient
from tiny_study import SIDE, TOML, make_study, write_striped
from tracked import new_project

from bonehpo.config import StudyFolder
from bonehpo.results.result import HEAD, load_result
from bonehpo.workflow.kinds import RESULT_KINDS

DAMAGES = (0, 0.6, 1)
PLAIN = """
bone = "TB"
[space]
layers = [1]
learning_rate = [1e-3]
kernel = [3]
batch = [20]
[baseline]
layers = 1
learning_rate = 1e-3
kernel = 3
batch = 20
[training]
epochs = 1
precision = "float32"
"""
"""Nothing to choose: the sweep is one point."""

STRAIN = TOML.replace('bone = "TB"', 'bone = "TB"\ntask = "strain"').replace("epochs = 3", "epochs = 8")
HERE = ("--workers", 0)


def runs(root):
    """All MLflow runs of the study by their key."""
    client = MlflowClient(f"sqlite:///{root / 'mlruns' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("bonehpo/TB")
    found = client.search_runs([experiment.experiment_id], max_results=5000)
    by_key = {run.data.tags["bonehpo.key"]: run for run in found}
    assert len(by_key) == len(found)
    return by_key


def recorded(root, name):
    """The runs of a result itself, without its configurations and folds."""
    tags = [run.data.tags for run in runs(root).values()]
    return [t for t in tags if t.get("bonehpo.result") == name and "bonehpo.configuration" not in t]


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def copy(project, to):
    """A project of its own with the study as it is, and an empty MLflow database."""
    shutil.copytree(project / "studies", to / "studies")
    return new_project(to)


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """A project with slices too small for a ResNet-50, in which every experiment was run once, and what was said."""
    root = new_project(tmp_path_factory.mktemp("reproduced"))
    make_study(root, TOML, DAMAGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        said = call("reproduce", "--bone", "TB", "--trials", 1, "--weights", "none", *HERE, code=1)
    return root, said


@pytest.fixture
def project(reproduced, monkeypatch):
    monkeypatch.chdir(reproduced[0])
    return reproduced[0]


def test_a_step_that_cannot_be_done_is_named_and_the_others_are_done(reproduced):
    root, said = reproduced
    folder = StudyFolder(root / "studies" / "TB")
    made = [
        "audit",
        "best-fold",
        "by-plane",
        "calibration",
        "detection",
        "grad-cam",
        "leakage",
        "mixed",
        "specimens",
        "strain",
    ]
    made += ["study", "sweep"]
    assert sorted(path.name for path in folder.results.iterdir()) == made
    assert (folder.path / "report.html").exists()
    assert [line for name in made if name != "study" for line in undocumented(load_result(folder, name))] == []
    errors = [line for line in said.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 2
    assert re.match(r"Error: compare: ResNet-50 needs slices of 32 pixels a side or more, but got 16", errors[0])
    assert errors[1] == "Error: not done: compare; the same command tries them again"
    matching = "scans were not matched; the paper gave them the whole histogram of one"
    assert said.stdout.startswith(f"Matching: {matching}.\n")
    assert matching in (folder.path / "report.html").read_text("utf-8")
    assert "intensity levels. Intensities were not matched. Slices" in (folder.path / "methods.md").read_text("utf-8")
    assert "The ablation is left out: it prepares the scans again, so name them with --scans" in said.stderr


def test_a_result_is_made_and_recorded_once(project):
    folder = StudyFolder(project / "studies" / "TB")
    for name, words in {"sweep": ["sweep"], "detection": ["explain"], "strain": ["strain"]}.items():
        before, made = times(folder.fits), load_result(folder, name)
        call(*words, "--bone", "TB", *HERE)
        assert times(folder.fits) == before
        assert load_result(folder, name).finished == made.finished
        assert len(recorded(project, name)) == 1
        assert list((folder.results / name).glob("*.svg"))


def test_results_are_told_in_words_and_as_json(project):
    text = call("explain", "--bone", "TB", *HERE).output
    assert [line.split(":")[0] for line in text.splitlines() if not line.startswith(" ")] == [
        "best-fold", "grad-cam", "detection", "audit", "by-plane", "calibration", "Next",
    ]  # fmt: skip
    assert all(
        sentence in text for sentence in load_result(StudyFolder(project / "studies" / "TB"), "detection").sentences
    )
    data = json.loads(call("strain", "--bone", "TB", "--json", *HERE).output)["strain"]
    assert set(data["metrics"]) == {"error_percent", "constant_error_percent", "slope", "p"}
    assert data["ran_on"] == "scans"
    assert Path(data["folder"], HEAD).exists()


def test_what_a_person_sees_changes_the_detection_limits_alone(project, monkeypatch, tmp_path):
    root = copy(project, tmp_path / "copy")
    monkeypatch.chdir(root)
    folder = StudyFolder(root / "studies" / "TB")
    before = {name: load_result(folder, name).finished for name in ("best-fold", "grad-cam", "detection")}
    call("explain", "--bone", "TB", "--visible-from", 2, *HERE)
    changed = [name for name, finished in before.items() if load_result(folder, name).finished != finished]
    assert changed == ["detection"]
    assert load_result(folder, "detection").parameters["visible_from"] == "2"


@pytest.mark.torture
def test_a_result_of_another_optimum_is_not_reported_and_made_again(project, monkeypatch, tmp_path):
    root = copy(project, tmp_path / "copy")
    monkeypatch.chdir(root)
    folder = StudyFolder(root / "studies" / "TB")
    former = load_result(folder, "best-fold")
    folder.config.write_text(TOML.replace("epochs = 3", "epochs = 2"))
    (root / "studies" / "optuna.db").unlink()  # begun anew: its optimum, too, is trial 0
    call("search", "--bone", "TB", "--trials", 1, *HERE)
    call("report", "--bone", "TB")
    assert headings(folder) == ["The specimens", "Leaks between sets", "Models that cannot see a crack"]
    call("reproduce", "--bone", "TB", "--only", "best-fold", "--only", "report", *HERE)
    found = load_result(folder, "best-fold")
    assert found.inputs != former.inputs
    assert found.parameters["optimum"] == former.parameters["optimum"]
    assert "The network of the best fold" in headings(folder)


def headings(folder):
    """The headings of those sections of the report that show results."""
    html = (folder.path / "report.html").read_text(encoding="utf-8")
    return [kind.heading for name, kind in RESULT_KINDS.items() if f'<section id="{name}"' in html]


def test_the_report_shows_every_result_and_is_kept_in_mlflow(project):
    folder = StudyFolder(project / "studies" / "TB")
    assert len(headings(folder)) == 11
    html = (folder.path / "report.html").read_text(encoding="utf-8")
    assert all(load_result(folder, name).sentences[0][:30] in html for name in ("sweep", "strain", "detection"))
    assert "bonehpo compare --bone TB" in html, "what is missing"
    report = next(run for run in runs(project).values() if run.data.tags.get("bonehpo.result") == "report")
    assert (Path(report.info.artifact_uri) / "report.html").read_text(encoding="utf-8") == html


def content(root):
    """What MLflow holds of results, configurations and folds, without what differs between two records."""
    return {
        key: (
            run.data.params,
            run.data.metrics,
            {
                name: value
                for name, value in run.data.tags.items()
                if name.startswith("bonehpo.") and "driver" not in name
            },
            sorted(
                path.name.partition("+timestamp")[0]  # MLflow numbers pictures at random
                for path in Path(run.info.artifact_uri).rglob("*")
                if path.is_file()
            ),
        )
        for key, run in runs(root).items()
        if run.data.tags.get("bonehpo.result") not in (None, "report")
    }


def test_sync_writes_results_with_configurations_and_folds_again(project, monkeypatch, tmp_path):
    root = copy(project, tmp_path / "copy")
    monkeypatch.chdir(root)
    call("sync", "--bone", "TB")
    lost = content(project)
    assert {tags["bonehpo.level"] for _, _, tags, _ in lost.values()} == {"comparison", "explanation", "fold"}
    found = content(root)
    superseded = [key for key in lost if key not in found]
    assert ["/audit/" in key for key in superseded] == [True], "the audit that the search made before detection limits"
    assert found.keys() <= lost.keys()
    for key, record in found.items():
        assert repr(lost[key]) == repr(record), key  # a NaN is not equal to itself


@pytest.mark.torture
def test_sigkill_in_the_middle_of_a_sweep_loses_no_fit(project, tmp_path, monkeypatch):
    root = copy(project, tmp_path / "copy")
    folder = StudyFolder(root / "studies" / "TB")
    sweep = load_result(folder, "sweep")
    shutil.rmtree(folder.results / "sweep")
    of_sweep = {key for configuration in sweep.configurations for key in configuration.keys} - of_search(folder)
    for key in of_sweep:
        (folder.fits / f"{key}.npz").unlink()
    process = subprocess.Popen(
        [sys.executable, "-m", "bonehpo", "sweep", "--bone", "TB", "--workers", "0"],
        cwd=root,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not any((folder.fits / f"{key}.npz").exists() for key in of_sweep):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = times(folder.fits)
    kept = {key for key in of_sweep if folder.fits / f"{key}.npz" in before}
    assert kept < of_sweep
    assert not (folder.results / "sweep").exists()
    monkeypatch.chdir(root)
    call("sweep", "--bone", "TB", *HERE)
    after = times(folder.fits)
    assert {path: after.get(path) for path in before if path.suffix == ".npz"} == {
        path: made for path, made in before.items() if path.suffix == ".npz"
    }
    found = load_result(folder, "sweep")
    assert [configuration.keys for configuration in found.configurations] == [
        configuration.keys for configuration in sweep.configurations
    ]
    assert {run.info.status for run in runs(root).values()} == {"FINISHED"}
    assert len(recorded(root, "sweep")) == 1


def of_search(folder):
    """Addresses of the fits of trials and optimum."""
    from bonehpo.search.records import read_optimum
    from bonehpo.search.storage import finished_pairs, load_study
    from bonehpo.workflow.plan import make_plan

    plan = make_plan(folder)
    study = load_study(plan.storage, folder.name, plan.identity)
    pairs = {pair.key for trial in study.get_trials() for pair in finished_pairs(trial).values()}
    return pairs | set(read_optimum(study).keys.values())


def test_a_single_step_can_be_asked_for(project, monkeypatch, tmp_path):
    root = copy(project, tmp_path / "copy")
    monkeypatch.chdir(root)
    folder = StudyFolder(root / "studies" / "TB")
    shutil.rmtree(folder.results)
    answer = call("reproduce", "--bone", "TB", "--only", "report", "--only", "best-fold", *HERE)
    assert sorted(path.name for path in folder.results.iterdir()) == ["best-fold", "specimens", "study"]
    assert answer.stdout.index("best-fold: ") < answer.stdout.index("Report: "), "in the order of the paper"
    assert "ablation" not in answer.stderr
    assert "Next: bonehpo " in answer.stdout


def test_a_step_can_be_left_out(project, monkeypatch, tmp_path):
    root = copy(project, tmp_path / "copy")
    monkeypatch.chdir(root)
    folder = StudyFolder(root / "studies" / "TB")
    shutil.rmtree(folder.results)
    call("reproduce", "--bone", "TB", "--only", "report", "--only", "best-fold", "--skip", "report", *HERE)
    assert [path.name for path in folder.results.iterdir()] == ["best-fold"]


def test_weights_that_are_not_there_are_refused_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = make_study(tmp_path)
    line = refusal("reproduce", "--bone", "TB", "--trials", 1, "--weights", "gone.h5", *HERE)
    assert "no weights at gone.h5" in line
    assert "study CB has no ResNet-50" in refusal("reproduce", "--bone", "TB", "--weights", "study:CB", *HERE)
    assert not folder.fits.exists()


@pytest.mark.parametrize("command", ["sweep", "explain", "compare --weights none", "strain", "reproduce --only sweep"])
def test_a_study_without_an_optimum_is_sent_to_the_search(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    make_study(tmp_path)
    assert "bonehpo search" in refusal(*command.split(), "--bone", "TB", *HERE)


def test_an_ablation_of_scans_that_are_not_there_is_refused(project):
    assert "gone.csv" in refusal("ablate", "gone.csv", "--bone", "TB", *HERE)


def test_scans_whose_states_are_words_are_ablated_and_the_same_command_goes_on(project, monkeypatch, tmp_path):
    root = copy(project, tmp_path / "copy")
    monkeypatch.chdir(root)
    folder = StudyFolder(root / "studies" / "TB")
    scans = write_striped(root / "scans", DAMAGES)
    text = scans.read_text()
    for i, word in enumerate(("intact", "loaded", "failed"), start=1):
        text = text.replace(f",{i},", f",{word},")
    scans.write_text(text)
    refused = refusal("ablate", scans, "--bone", "TB", *HERE)
    assert "state is 'intact'; give a whole number, 1 for pristine, or order words with --states" in refused
    too_soon = call("reproduce", "--bone", "TB", "--scans", scans, *HERE, code=1)
    assert "order words with --states" in too_soon.stderr
    assert "/results/" not in too_soon.stdout, "the table is read before anything is made"
    words = ("--states", "intact,Loaded,failed", "--bone", "TB", *HERE)
    call("ablate", scans, *words)
    made, fits = load_result(folder, "ablation"), times(folder.fits)
    call("reproduce", "--only", "ablation", "--only", "report", "--scans", scans, *words)
    assert load_result(folder, "ablation").finished == made.finished
    assert times(folder.fits) == fits
    command = "bonehpo ablate SCANS.csv --bone TB --states intact,Loaded,failed"
    assert command in (folder.path / "report.html").read_text("utf-8")
    assert "name the table with --scans SCANS.csv" in call("reproduce", *words, code=2).output


@pytest.mark.torture
def test_every_experiment_runs_with_one_command_and_imagenet_is_done_without_where_there_is_no_network(
    tmp_path, monkeypatch
):
    side = 2 * SIDE
    root = new_project(tmp_path / "project")
    monkeypatch.chdir(root)
    folder = make_study(root, PLAIN, (0, 1), side, 2)
    scans = write_striped(root / "scans", (0, 1), side)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # a port on which nothing listens
    answer = call("reproduce", "--bone", "TB", "--trials", 1, "--scans", scans, *HERE)
    note = next(line for line in answer.stderr.splitlines() if line.startswith("Note: "))
    assert "ImageNet weights of ResNet-50 could not be downloaded" in note
    assert note.endswith("ResNet-50 is trained from scratch alone.")
    made = ["sweep", "best-fold", "grad-cam", "detection", "audit", "by-plane", "calibration"]
    made += ["mixed", "compare", "ablation", "strain"]
    assert [line.split(":")[0] for line in answer.stdout.splitlines() if "/results/" in line] == made
    assert set(load_result(folder, "compare").tables["configurations"]["configuration"]) == {"cnn", "scratch"}
    assert len(headings(folder)) == 13
    assert {name: len(recorded(root, name)) for name in made} == {name: 1 + (name == "audit") for name in made}


@pytest.fixture(scope="module")
def of_strain(tmp_path_factory):
    """A project whose networks predict strain, and what the search said."""
    root = new_project(tmp_path_factory.mktemp("strain"))
    make_study(root, STRAIN, (0, 0.4, 0.7, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        said = call("search", "--bone", "TB", "--trials", 2, *HERE)
    return root, said.output


def test_a_search_for_strain_tells_errors_and_finds_what_is_better_than_a_constant(of_strain, monkeypatch):
    root, said = of_strain
    monkeypatch.chdir(root)
    assert "accuracy" not in said.lower()
    assert "Apparent error %" in said
    assert "promote" not in said
    data = json.loads(call("show", "--bone", "TB", "--json").output)
    assert data["estimates"]["nested_error_percent"] >= data["estimates"]["apparent_error_percent"] > 0
    assert data["optimum"]["refit_error_percent"] > 0
    assert set(data["optimum"]["folds"][0]) >= {"test_error_percent", "validation_error_percent"}
    assert "accuracy" not in json.dumps(data)
    constant = 1.0  # % strain: states lie at 0, 1, 2 and 3, their mean at 1.5
    assert data["estimates"]["nested_error_percent"] < constant


def test_mlflow_holds_errors_of_a_study_of_strain(of_strain):
    by_level = {run.data.tags["bonehpo.level"]: run for run in runs(of_strain[0]).values()}
    fold, trial, optimum = (by_level[level].data.metrics for level in ("fold", "trial", "optimum"))
    assert {"test_error_percent", "validation_error_percent", "bias_percent", "plane/XY"} <= set(fold)
    assert {"mean_error_percent", "sd_error_percent", "set/TB5"} <= set(trial)
    assert {"nested_error_percent", "apparent_error_percent", "refit_error_percent"} <= set(optimum)
    assert all(metrics["set/TB5"] > 0 for metrics in [trial])
    assert not [name for name in (*fold, *trial, *optimum) if "accuracy" in name or "score" in name]


@pytest.mark.parametrize("command", ["sweep", "explain", "compare --weights none", "ablate scans.csv"])
def test_what_is_about_damage_is_refused_for_a_study_of_strain(of_strain, monkeypatch, command):
    monkeypatch.chdir(of_strain[0])
    line = refusal(*command.split(), "--bone", "TB", *HERE)
    assert re.search(r"study TB predicts strain, and [\w-]+ is about networks that tell failed from pristine", line)


def test_no_network_that_predicts_strain_is_promoted(of_strain, monkeypatch):
    monkeypatch.chdir(of_strain[0])
    assert "only networks that see damage are promoted" in refusal("promote", "--bone", "TB")


def test_a_study_of_strain_is_reproduced_as_far_as_it_goes(of_strain, monkeypatch, tmp_path):
    root = copy(of_strain[0], tmp_path / "copy")
    monkeypatch.chdir(root)
    folder = StudyFolder(root / "studies" / "TB")
    answer = call("reproduce", "--bone", "TB", "--trials", 2, *HERE)
    others = "sweep, best-fold, grad-cam, detection, audit, by-plane, calibration, mixed, compare, ablation"
    assert f"Left out, as study TB predicts strain: {others}.\n" in answer.stderr
    assert "strain: " in answer.stdout
    assert "Report: " in answer.stdout
    assert headings(folder) == ["The specimens", "Leaks between sets", "Strain read from slices"]
    assert load_result(folder, "strain").metrics["error_percent"] > 0


def test_a_scan_without_strain_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    csv = write_striped(tmp_path / "scans")
    csv.write_text(csv.read_text().replace("TB6-2.npy,0.01", "TB6-2.npy,"))
    call("prepare", csv, "--bone", "TB", "--slices", 2, *HERE)
    StudyFolder(tmp_path / "studies" / "TB").config.write_text(STRAIN)
    line = refusal("search", "--bone", "TB", "--trials", 1, *HERE)
    assert "TB6 state 2 has no strain" in line
    assert "fill the column strain" in line
    assert not (tmp_path / "studies" / "TB" / "fits").exists()
