"""A study begun by `new`, and all of a project at a glance by `status`."""

import json
import re
import shlex
from dataclasses import replace

import pytest
from commands import call, refusal
from places import DOCS
from tiny_study import TOML, make_study, write_striped

from bonehpo.config import StudyConfig, StudyFolder, load_config
from bonehpo.store.recipe import Steps
from bonehpo.workflow.beginning import estimate_search, look_over, search_plan
from bonehpo.workflow.plan import make_plan


@pytest.fixture
def scans(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_striped(tmp_path / "scans of 2026")


def test_a_study_is_begun_and_the_command_that_is_printed_works_as_it_stands(scans, tmp_path):
    said = call("new", "femur", scans).stdout
    assert "6 scans of 3 specimens (TB5, TB6, TB9), load states 1 (pristine) to 2 (failed)" in said
    assert "Crop:   the centre cube of 16 voxels." in said
    assert "16 of 16 × 16 pixels in each of XY, XZ, YZ, 288 in all" in said
    assert "Two load states" in said
    assert "The paper's space does not fit: layers=6 pools images of 16 × 16" in said
    folder = StudyFolder(tmp_path / "studies" / "femur")
    assert load_config(folder.config, "x") == StudyConfig(bone="femur")
    program, *words = shlex.split(re.search("Next: (.*)", said)[1])
    assert program == "bonehpo"
    call(*words, "--workers", 0)
    assert folder.store.is_dir()


def test_headers_are_counted_while_they_are_read(scans):
    told = []
    look_over(scans, Steps(), progress=told.append)
    assert [(at.task, at.done, at.total) for at in told] == [("new", done, 7) for done in range(8)]
    assert told[0].what == "header of TB5 state 1"
    assert "new: 0/7, header of TB5 state 1" in call("new", "femur", scans, "--dry-run").stderr


def test_the_time_of_a_search_is_estimated_as_for_the_store_that_is_proposed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scans = write_striped(tmp_path / "scans", (0, 0.5, 1), side=64)
    said = call("new", "femur", scans, "--slices", 5)
    assert re.search(
        r"Time:   a search of 50 trials takes about .* with \d+ workers, an estimate: the paper's baseline trains \d+ "
        "images/s a worker here",
        said.stdout,
    )
    assert "training for a few seconds" in said.stderr
    call("prepare", scans, "--bone", "femur", "--slices", 5, "--workers", 0)
    prepared = make_plan(StudyFolder(tmp_path / "studies" / "femur"))
    proposed = search_plan(look_over(scans, Steps(n_slices=5)))
    for name in ("side", "sets", "n_images", "ran_on", "by_donor", "pairs"):
        assert getattr(proposed, name) == getattr(prepared, name), name
    assert replace(proposed.config, bone="femur") == prepared.config


def test_no_time_is_estimated_of_a_search_that_cannot_be(scans, tmp_path):
    said = call("new", "femur", scans, "--dry-run")
    assert "Time:" not in said.stdout
    assert "`bonehpo search --dry-run` says how long a search takes" in said.stdout
    two = write_striped(tmp_path / "two", side=64)
    two.write_text("".join(two.read_text().splitlines(keepends=True)[:5]))
    assert estimate_search(look_over(two, Steps())) is None


def test_what_is_there_is_left_and_nothing_is_written_where_something_is_wrong(scans, tmp_path):
    call("new", "femur", scans, "--dry-run")
    assert not (tmp_path / "studies").exists()
    said = call("new", "femur", scans, "--crop", 8, "--slices", 4).stdout
    assert "Caution: 16 × 16 × 16 voxels → the centre cube of 8 voxels: 12% of each scan." in said
    config = tmp_path / "studies" / "femur" / "study.toml"
    config.write_text('bone = "mine"\n')
    assert "is there already" in refusal("new", "femur", scans)
    assert config.read_text() == 'bone = "mine"\n'
    call("new", "femur", scans, "--overwrite")
    assert 'bone = "femur"' in config.read_text()
    assert "prepare with --crop 16 or less" in refusal("new", "other", scans, "--crop", 99)
    assert "'a/b' cannot name a folder in studies/" in call("new", "a/b", scans, code=2).stderr
    assert "gone.csv" in refusal("new", "other", "gone.csv")
    assert not (tmp_path / "studies" / "other").exists()


def test_the_settings_are_those_of_the_docs():
    page = (DOCS / "reference" / "study.md").read_text("utf-8").partition("```toml\n")[2].partition("```")[0]
    assert page in (DOCS.parent / "bonehpo" / "workflow" / "study.toml").read_text("utf-8")


def test_all_studies_are_told_and_a_broken_one_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "Next: bonehpo new NAME SCANS.csv" in call("status").stdout
    make_study(tmp_path, TOML)
    for name, text in (("begun", ""), ("broken", "epochs = 3\n")):
        (tmp_path / "studies" / name).mkdir()
        (tmp_path / "studies" / name / "study.toml").write_text(text)
    (tmp_path / "studies" / "notes").mkdir()
    said = call("status").stdout
    assert "3 specimens, 2 states" in said
    assert "Next for TB: bonehpo inspect --bone TB" in said
    assert "Next for begun: bonehpo prepare SCANS.csv --bone begun" in said
    assert "notes" not in said
    found = {one["name"]: one for one in json.loads(call("status", "--json").stdout)}
    assert set(found) == {"TB", "begun", "broken"}
    assert (found["TB"]["n_trials"], found["TB"]["has_optimum"]) == (0, False)


def test_results_of_another_store_are_out_of_date(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = make_study(tmp_path, TOML)
    call("inspect", "--bone", "TB")
    (one,) = json.loads(call("status", "--json").stdout)
    assert (one["results"], one["stale"]) == (["specimens"], [])
    csv = write_striped(tmp_path / "others", (0, 0.5))
    call("prepare", csv, "--bone", "TB", "--slices", 4, "--overwrite", "--workers", 0)
    (one,) = json.loads(call("status", "--json").stdout)
    assert (one["results"], one["stale"]) == ([], ["specimens"])
    assert folder.store.is_dir()
