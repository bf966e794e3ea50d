"""The public API: its names, what importing it costs, and a study in one's hands."""

import csv
import inspect
import subprocess
import sys
from dataclasses import is_dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_study import LONG_ENOUGH, SPECIMENS, TOML, make_study, write_striped
from tracked import new_project

import bonehpo
from bonehpo.config import StudyFolder

NAMES = (
    *("BonehpoError", "ConfigError", "EngineError", "Estimates", "FitError"),
    *("FoldError", "Hyperparameters", "NetworkError", "PhantomError", "PhantomSpec"),
    *("Prediction", "PreparationError", "Progress", "PromotionRefused", "RefitOptimum"),
    *("RegisteredVersion", "ResultMissing", "SavedResult", "ScanError", "SearchForecast"),
    *("SearchOutcome", "SearchProgress", "SliceStore", "Steps", "StoreDamaged"),
    *("StoreError", "StoreMissing", "Study", "StudyConfig", "StudyError"),
    *("StudyMissing", "StudyResults", "StudySummary", "TrackingError", "__version__"),
    *("make_phantom", "open_store", "predict", "prepare", "report_side_by_side"),
)

HEAVY = (
    *("tensorflow", "keras", "mlflow", "optuna", "dask", "distributed", "matplotlib", "sklearn", "skimage"),
    *("pandas", "zarr", "numpy", "scipy", "click", "rich"),
)


def run(script: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, **options)


def test_the_public_names_are_these():
    assert sorted(bonehpo.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(bonehpo))
    assert all(getattr(bonehpo, name) is not None for name in NAMES)


def test_every_error_of_the_tree_is_public():
    def below(kind):
        return {
            kind,
            *(kind for sub in kind.__subclasses__() for kind in below(sub) if sub.__module__ == kind.__module__),
        }

    tree = {kind.__name__ for kind in below(bonehpo.BonehpoError) if kind.__module__ == "bonehpo.errors"}
    assert tree == {name for name in NAMES if isinstance(getattr(bonehpo, name), type)} & tree
    assert all(issubclass(getattr(bonehpo, name), bonehpo.BonehpoError) for name in tree)


def members(kind: type) -> dict[str, object]:
    """Public methods and properties that a class of ours defines, and its constructor where it wrote one."""
    found = {name: value for name, value in vars(kind).items() if not name.startswith("_")}
    if not is_dataclass(kind) and not hasattr(kind, "_fields") and "__init__" in vars(kind):
        found["__init__"] = vars(kind)["__init__"]
    return found


def callables() -> dict[str, object]:
    """Functions of the API, and the functions behind methods and properties of its classes, by dotted name."""
    found = {}
    for name in NAMES:
        value = getattr(bonehpo, name)
        if inspect.isfunction(value):
            found[name] = value
        for member, inner in members(value).items() if inspect.isclass(value) else ():
            function = getattr(inner, "fget", getattr(inner, "__func__", inner))
            if inspect.isfunction(function):
                found[f"{name}.{member}"] = function
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if name != "__version__"])
def test_each_public_name_is_documented(name):
    text = inspect.getdoc(getattr(bonehpo, name))
    assert text
    assert not text.startswith(f"{name}("), "the signature that a dataclass writes by itself"


@pytest.mark.parametrize(("name", "function"), callables().items(), ids=list(callables()))
def test_each_function_is_documented_and_typed(name, function):
    assert function.__doc__, name
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "cls")]
    untyped = [p.name for p in parameters if p.annotation is inspect.Parameter.empty]
    assert untyped == []
    assert function.__name__ == "__init__" or function.__annotations__.get("return") is not None
    if len(parameters) > 1:
        assert "Args:" in function.__doc__
        assert [p.name for p in parameters if f"{p.name}:" not in function.__doc__] == []


def test_importing_it_loads_nothing_heavy():
    script = f"import bonehpo, sys; dir(bonehpo); print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run(script).stdout == "[]\n"


def test_a_study_is_named_and_read_without_tensorflow(tmp_path):
    folder = make_study(tmp_path)
    script = f"""
import bonehpo, sys
study = bonehpo.Study({str(folder.path)!r}, project={str(tmp_path)!r})
print(study.name, study.config.bone, study.store.specimens, study.results)
print([name for name in ("tensorflow", "keras", "mlflow") if name in sys.modules])
"""
    assert run(script).stdout.splitlines() == [f"TB TB {SPECIMENS!r} <results of TB: none>", "[]"]


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Stduy'"):
        _ = bonehpo.Stduy


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project in which the whole way was gone in Python: prepared, searched, audited; and what was told on the way."""
    root = new_project(tmp_path_factory.mktemp("project"))
    told, notes = [], []
    csv = write_striped(root / "scans", (0, 0.6, 1))
    study = bonehpo.Study(root / "studies" / "TB", project=root)
    study.folder.path.mkdir(parents=True)
    study.folder.config.write_text(LONG_ENOUGH)
    steps = bonehpo.Steps(match="none", median=False, n_slices=4)
    bonehpo.prepare(csv, study.folder.path, steps, workers=0, progress=told.append)
    outcome = study.search(2, workers=0, progress=told.append, note=notes.append)
    return study, outcome, told, notes


@pytest.fixture
def study(project):
    return project[0]


def test_a_search_says_how_it_ended_and_what_it_did(project):
    _, outcome, told, notes = project
    assert (outcome.n_complete, outcome.has_optimum) == (2, True)
    assert list(dict.fromkeys(at.task for at in told)) == ["headers", "prepare", "leakage", "search", "audit"]
    begins, leakage = notes
    assert begins == "Study TB begins: 2 trials of 3 fits each, and as many for the optimum."
    assert leakage.startswith("Leakage: none (72 slices by hash, 1,728 pairs across specimens by perceptual hash).")
    assert "Prepare with --match phases." in leakage  # stripes brighten all of a failed scan


def test_trials_and_folds_are_there_as_csv(project):
    study = project[0]
    trials, folds = study.folder.trials_csv, study.folder.folds_csv
    pd.testing.assert_frame_equal(
        pd.read_csv(trials, index_col="trial", keep_default_na=False), study.trials, check_dtype=False
    )
    pd.testing.assert_frame_equal(pd.read_csv(folds), study.folds, check_dtype=False)
    with folds.open(encoding="utf-8", newline="") as file:
        assert {len(row) for row in csv.reader(file)} == {len(study.folds.columns)}


def test_tables_that_cannot_be_written_end_no_search(tmp_path):
    folder = make_study(tmp_path, TOML.replace("epochs = 3", "epochs = 1"))
    folder.trials_csv.mkdir()
    notes = []
    study = bonehpo.Study(folder.path, project=tmp_path)
    assert study.search(1, workers=0, note=notes.append).has_optimum
    assert [note for note in notes if "trials.csv and folds.csv are not up to date" in note] == notes[-1:]


def test_progress_rises_to_the_end(project):
    _, _, told, _ = project
    for task in ("prepare", "leakage", "search", "audit"):
        steps = [at for at in told if at.task == task]
        assert [at.done for at in steps] == sorted(at.done for at in steps)
        assert steps[-1].done == steps[-1].total
        assert all(at.what for at in steps)
    search = [at for at in told if isinstance(at, bonehpo.SearchProgress)]
    assert {at.trial for at in search} == {0, 1, None}
    assert {at.task for at in search} == {"search"}
    assert search[-1].best > 0.5


def test_trials_are_a_table(study):
    trials = study.trials
    assert trials.index.name == "trial"
    assert list(trials.index) == [0, 1]
    assert list(trials.columns[:4]) == ["layers", "learning_rate", "kernel", "batch"]
    assert {"n_parameters", "n_folds", "mean_accuracy", "sd", "state", "reason"} <= set(trials.columns)
    by_set = trials[[f"accuracy_{name}" for name in SPECIMENS]]
    assert np.allclose(by_set.mean(axis=1), trials["mean_accuracy"])
    assert set(trials["state"]) == {"complete"}


def test_folds_are_a_table_of_the_same_scores(study):
    folds = study.folds
    assert len(folds) == 2 * 6
    assert (folds["test"] != folds["validation"]).all()
    means = folds.groupby("trial")["test_accuracy"].mean()
    pd.testing.assert_series_equal(means, study.trials["mean_accuracy"], check_names=False)
    planes = folds[["accuracy_XY", "accuracy_XZ", "accuracy_YZ"]]
    assert np.allclose(planes.mean(axis=1), folds["test_accuracy"])
    assert {"accuracy_pristine", "accuracy_failed", "key"} <= set(folds.columns)


def test_the_optimum_and_how_accurate_it_is(study):
    assert study.optimum.trial == study.estimates.trial
    best = study.trials["mean_accuracy"].max()
    assert study.estimates.apparent_score == pytest.approx(best)
    assert study.estimates.nested_score <= best + 1e-9
    assert len(study.optimum.folds) == 6


def test_results_are_a_mapping_of_what_is_current(study):
    assert {"audit", "leakage"} <= set(study.results)
    assert len(study.results) == len(list(study.results))
    assert "mixed" not in study.results
    with pytest.raises(KeyError) as missing:
        _ = study.results["mixed"]
    assert isinstance(missing.value, bonehpo.ResultMissing)
    assert str(missing.value).startswith("study TB has no current result 'mixed': make it with Study.run('mixed')")
    audit = study.results["audit"]
    assert audit.tables["models"].shape[0] > 1
    assert audit.sentences
    assert audit.metrics
    assert [path.exists() for path in audit.figures.values()] == [True]


def test_a_result_of_another_optimum_is_not_current(study, tmp_path):
    import shutil

    shutil.copytree(study.folder.path, tmp_path / "studies" / "TB")
    shutil.copy(study.folder.path.parent / "optuna.db", tmp_path / "studies")
    other = bonehpo.Study(tmp_path / "studies" / "TB", project=tmp_path)
    before = set(other.results)
    head = other.results["audit"].folder / "result.json"
    text = head.read_text()
    address = other.results["audit"].parameters["optimum_address"]
    head.write_text(text.replace(address, "0" * 32))
    assert set(other.results) == before - {"audit"}
    assert list(other.audits) == ["leakage"]


def test_a_result_is_made_with_its_figures_and_taken_as_it_is(study):
    told = []
    first = study.run("sweep", workers=0, progress=told.append)
    assert {at.task for at in told} == {"sweep"}
    assert study.results["sweep"].sentences == first.sentences
    assert first.tables["points"].shape[0] > 1
    assert "sweep" in first.figures
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in first.figures.values())
    again = study.run("sweep", workers=0)
    assert again.finished == first.finished


def test_what_a_user_knows_of_damage_is_handed_on(study):
    assert study.run("detection", visible_from=2, workers=0).parameters["visible_from"] == "2"


def test_what_cannot_be_made_is_refused(study):
    with pytest.raises(bonehpo.StudyError, match="there is no result 'sweeep': there are specimens, leakage, sweep, "):
        study.run("sweeep")
    with pytest.raises(bonehpo.StudyError, match=r"SCANS\.csv"):
        study.run("ablation", workers=0)
    with pytest.raises(bonehpo.PromotionRefused, match="is not promoted"):
        study.promote()


def test_a_champion_is_promoted_and_predicts(study):
    scan = study.project / "scans" / "TB6-3.npy"
    version = study.promote(because="stripes are brighter")
    assert (version.name, version.ran_on) == ("bonehpo-TB", "scans")
    found = bonehpo.predict("bonehpo-TB", scan, project=study.project)
    assert (found.verdict, found.model, found.version) == ("failed", "bonehpo-TB", version.version)
    assert len(found.slices) == 3 * 4
    for model in (study, f"models:/bonehpo-TB/{version.version}", version.uri):
        same = bonehpo.predict(model, scan, project=study.project)
        pd.testing.assert_frame_equal(same.slices, found.slices)
    for wrong in ("models:/bonehpo-TB/99", "bonehpo-XX", "models:m-0123", "models:/bonehpo-TB@nobody"):
        with pytest.raises(bonehpo.TrackingError):
            bonehpo.predict(wrong, scan, project=study.project)


def test_a_prediction_is_written_where_one_says(study, tmp_path):
    study.promote(because="stripes are brighter")
    found = bonehpo.predict(study, study.project / "scans" / "TB6-1.npy")
    assert found.verdict == "pristine"
    csv, picture = found.write(tmp_path / "there")
    assert csv.name == "scans-TB6-1-prediction.csv"
    pd.testing.assert_frame_equal(pd.read_csv(csv), found.slices, check_dtype=False)
    assert picture.stat().st_size > 10_000


def test_predictions_of_scans_that_are_named_nearly_alike_do_not_replace_each_other(study, tmp_path):
    study.promote(because="stripes are brighter")
    found = bonehpo.predict(study, study.project / "scans" / "TB6-1.npy")
    for name in ("F3_6.5um", "F3_6.8um"):
        (tmp_path / name).mkdir()
    scans = [str(tmp_path / name) for name in ("F3_6.5um", "F3_6.8um", "F3.h5::/a", "F3.h5::/b/a", "F3.zarr::0")]
    for scan in scans:
        replace(found, scan=scan).write(tmp_path / "there")
    names = {file.name for file in (tmp_path / "there").glob("*.csv")}
    ends = ("F3_6.5um", "F3_6.8um", "F3-a", "F3-b-a", "F3-0")
    assert names == {f"{tmp_path.name}-{end}-prediction.csv" for end in ends}


def test_a_report_and_a_record_are_written(study):
    page = study.report()
    assert page == study.folder.path / "report.html"
    assert "Models that cannot see a crack" in page.read_text("utf-8")
    assert study.sync()._asdict() == {"is_whole": True, "n_trials": 2, "n_lost": 0, "n_relocated": 0}


def test_a_store_is_opened_by_its_study_or_by_itself(study):
    by_study, by_itself = bonehpo.open_store(study.folder.path), bonehpo.open_store(str(study.folder.store))
    assert by_study.id == by_itself.id == study.store.id
    with pytest.raises(bonehpo.StoreMissing, match=r"nowhere/slices\.zarr: no slice store"):
        bonehpo.open_store("nowhere")


def test_a_phantom_is_made(tmp_path):
    spec = bonehpo.PhantomSpec(bone="CB", side=32, n_states=2, specimens=("CB5", "CB6", "CB8"))
    csv = bonehpo.make_phantom(spec, tmp_path / "phantom", workers=0)
    assert csv == tmp_path / "phantom" / "scans.csv"
    assert len(pd.read_csv(csv)) == 3 * 2


def test_before_a_search_a_study_says_that_there_is_none(tmp_path):
    study = bonehpo.Study(make_study(tmp_path).path, project=tmp_path)
    for read in ("trials", "folds", "optimum", "estimates"):
        with pytest.raises(bonehpo.StudyMissing, match="has no trials yet"):
            getattr(study, read)


def test_a_link_keeps_its_name_and_dots_are_resolved(tmp_path, monkeypatch):
    (tmp_path / "studies" / "TB" / "notebooks").mkdir(parents=True)
    (tmp_path / "studies" / "linked").symlink_to(tmp_path / "studies" / "TB")
    assert bonehpo.Study(tmp_path / "studies" / "linked").name == "linked"
    monkeypatch.chdir(tmp_path / "studies" / "TB" / "notebooks")
    assert bonehpo.Study("..").folder == StudyFolder(tmp_path / "studies" / "TB")
    assert repr(bonehpo.Study("..")) == f"Study('{tmp_path}/studies/TB')"


@pytest.mark.torture
def test_a_search_prints_nothing(tmp_path):
    folder = make_study(tmp_path)
    script = f"""
import bonehpo
study = bonehpo.Study({str(folder.path)!r}, project={str(tmp_path)!r})
assert study.search(1, workers=0).has_optimum
study.run("calibration", workers=0)
study.report()
"""
    answer = run(script, cwd=tmp_path)
    assert (answer.stdout, answer.stderr) == ("", "")
    assert not (Path(tmp_path) / "studies" / "mlruns").exists()
