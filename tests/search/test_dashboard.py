"""A study as the real dashboard of Optuna shows it: what its server answers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from urllib.error import URLError

import pytest
from tiny_study import TOML, finish, plan_of

from bonehpo.search.dashboard import NOTE, describe_study
from bonehpo.search.storage import attributes, load_study, remember
from bonehpo.search.summary import summarise


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """A study of two trials of one epoch."""
    return finish(plan_of(tmp_path_factory.mktemp("dashboard"), TOML.replace("epochs = 3", "epochs = 1"))).plan


@pytest.fixture(scope="module")
def ask(plan):
    """Asks the dashboard's server for a page of its interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    words = [plan.storage, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, "-c", script, *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )

    def answer(path):
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=30) as page:
                    return json.load(page)
            except URLError as error:
                if server.poll() is not None or hasattr(error, "code"):
                    raise
                time.sleep(0.1)
        raise AssertionError("the dashboard does not answer")

    yield answer
    os.kill(server.pid, signal.SIGTERM)
    server.wait(20)


@pytest.fixture(scope="module")
def shown(ask):
    (study,) = ask("studies")["study_summaries"]
    return ask(f"studies/{study['study_id']}?after=0")


def test_attributes_are_few_short_and_for_people(shown):
    attributes = {entry["key"]: entry["value"] for entry in shown["user_attrs"]}
    assert set(attributes) == {"bone", "task", "made from", "sets"}
    assert attributes["sets"].startswith("TB5 (")
    for trial in shown["trials"]:
        told = {entry["key"]: entry["value"] for entry in trial["user_attrs"]}
        assert set(told) == {"test accuracy", *(f"test accuracy {name}" for name in ("TB5", "TB6", "TB9"))}
        assert all(len(value) < 60 and "{" not in value for value in told.values())


def test_the_scores_of_folds_are_the_intermediate_values(shown, plan):
    rows = summarise(plan).trials
    for trial, row in zip(shown["trials"], rows, strict=True):
        values = {entry["step"]: float(entry["value"]) for entry in trial["intermediate_values"]}
        assert sorted(values) == list(range(6))
        assert sum(values.values()) / 6 == pytest.approx(row.mean_score)


def test_the_objective_has_a_name_and_the_study_a_note(shown):
    assert shown["objective_names"] == ["mean validation accuracy"]
    assert "Intermediate values are the test accuracy of single folds" in shown["note"]["body"]


def test_importance_and_slices_have_what_they_need(ask, shown, plan):
    assert {param["name"] for param in shown["union_search_space"]} == {"layers", "learning_rate", "kernel", "batch"}
    assert all(trial["state"] == "Complete" for trial in shown["trials"])
    study = ask("studies")["study_summaries"][0]["study_id"]
    (importances,) = ask(f"studies/{study}/param_importances?evaluator=ped_anova")["param_importances"]
    assert {entry["name"] for entry in importances} <= {"layers", "learning_rate", "kernel", "batch"}


def test_a_note_that_a_person_wrote_stays(plan):
    study = load_study(plan.storage, "TB", plan.identity)
    remember(study, NOTE, "mine")
    describe_study(study, plan)
    assert attributes(study)[NOTE] == "mine"
