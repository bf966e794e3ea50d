"""The table from what was found to the next step: each row is reached, and promotion is advised only where it is open."""

import shlex
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import pytest
from tiny_study import TOML, make_study

import bonehpo
from bonehpo.cli import main
from bonehpo.cli.console import folder_named
from bonehpo.config import StudyFolder
from bonehpo.workflow.next_steps import TABLE, next_step
from bonehpo.workflow.plan import flag
from bonehpo.workflow.standing import Standing, standing_of

FOUND = Standing(n_trials=5, n_complete=5, has_optimum=True)
AUDITED = replace(FOUND, results=frozenset({"specimens", "audit"}))
EXPLAINED = replace(AUDITED, results=AUDITED.results | {"grad-cam"})
CHANCE = replace(FOUND, is_at_chance=True, objections=("it does not beat chance",))
FLAGGED = replace(AUDITED, shortcuts=("a model comes near",), objections=("a model comes near",))

ROWS = {
    "no slices": (Standing(has_store=False), "verify", "prepare SCANS.csv --bone TB"),
    "leak": (Standing(leaks=("TB5 and TB6 share 3 slices",)), "audit", "prepare SCANS.csv --bone TB --overwrite"),
    "prepared": (Standing(), "prepare", "inspect --bone TB"),
    "looked at": (Standing(), "inspect", "search --bone TB --trials 50"),
    "all failed": (Standing(n_trials=2, n_failed=2), "sync", "show --bone TB"),
    "all failed, told": (Standing(n_trials=2, n_failed=2), "search", "search --bone NEW --trials 50"),
    "interrupted": (Standing(n_trials=3, n_complete=2), "search", "search --bone TB --trials 3"),
    "at chance": (CHANCE, "search", "explain --bone TB"),
    "at chance, explained": (CHANCE, "explain", "search --bone NEW --trials 5"),
    "flagged": (FLAGGED, "search", "audit --bone TB"),
    "flagged, audited": (FLAGGED, "audit", "prepare SCANS.csv --bone NEW --standardise"),
    "flagged, looked at": (replace(FLAGGED, is_standardised=True), "inspect", "audit --bone TB"),
    "predicted": (replace(EXPLAINED, has_report=True), "predict", "ui --bone TB"),
    "flagged, standardised": (replace(FLAGGED, is_standardised=True), "audit", "inspect --bone TB"),
    "not audited": (FOUND, "search", "audit --bone TB"),
    "has not paid": (replace(AUDITED, objections=("the baseline is better",)), "show", "search --bone TB --trials 10"),
    "not explained": (AUDITED, "audit", "explain --bone TB"),
    "no report": (EXPLAINED, "explain", "report --bone TB"),
    "good": (EXPLAINED, "report", "promote --bone TB"),
    "promoted": (EXPLAINED, "promote", "report --bone TB"),
    "promoted, told": (replace(EXPLAINED, has_report=True), "promote", "predict --bone TB SCAN"),
    "strain": (replace(FOUND, is_promotable=False, has_report=True), "show", "ui --bone TB"),
}


@pytest.mark.parametrize(("standing", "after", "command"), ROWS.values(), ids=ROWS)
def test_from_a_finding_follows_the_next_step(standing, after, command):
    step = next_step(standing, "--bone TB", "TB", after)
    assert step.command == f"bonehpo {command}"
    assert step.why


def test_every_row_of_the_table_is_reached():
    reached = {next_step(s, "--bone TB", "TB", after).why for s, after, _ in ROWS.values()}
    assert reached == {row.step.why for row in TABLE}


def everything():
    """All combinations of what can be found."""
    choices = {
        "n_trials": (0, 3),
        "n_complete": (0, 3),
        "has_optimum": (False, True),
        "is_promotable": (False, True),
        "is_at_chance": (False, True),
        "is_standardised": (False, True),
        "leaks": ((), ("TB5 and TB6",)),
        "shortcuts": ((), ("comes near",)),
        "objections": ((), ("something",)),
        "results": tuple(map(frozenset, ((), ("audit",), ("audit", "grad-cam", "specimens")))),
        "has_report": (False, True),
    }
    assert {field.name for field in fields(Standing)} - set(choices) == {"has_store", "n_failed"}
    for values in product(*choices.values()):
        yield Standing(**dict(zip(choices, values, strict=True)))


COMMANDS = ("", "search", "show", "inspect", "audit", "explain", "report", "reproduce", "promote", "predict", "sync")


def test_promotion_is_advised_only_where_it_would_not_be_refused():
    for standing in everything():
        for after in COMMANDS:
            command = next_step(standing, "--bone TB", "TB", after).command
            if standing.shortcuts:
                assert "the baseline does as well" not in next_step(standing, "--bone TB", "TB", after).why
            if command.startswith("bonehpo promote"):
                assert standing.has_optimum
                assert standing.is_promotable
                assert "audit" in standing.results
                assert not any((standing.objections, standing.leaks, standing.shortcuts, standing.is_at_chance))


def test_an_audit_is_advised_only_where_there_is_an_optimum_and_nothing_is_advised_again():
    for standing in everything():
        for after in ("prepare", "inspect", "show", "audit", "explain", "report", "promote"):
            command = next_step(standing, "--bone TB", "TB", after).command.split()[1]
            assert command != "audit" or standing.has_optimum
            allowed = after == "explain" and standing.shortcuts  # the audit is a part of it
            if after in ("inspect", "show", "report", "promote") or allowed:
                assert command != after, standing


def test_every_command_that_is_advised_exists():
    assert {row.step.command.split()[1] for row in TABLE} <= set(main.commands)


def test_the_standing_of_a_study_is_read(tmp_path):
    assert standing_of(bonehpo.Study(tmp_path / "studies" / "TB")) == Standing(has_store=False)
    folder = make_study(tmp_path, TOML.replace("epochs = 3", "epochs = 1"))
    study = bonehpo.Study(folder.path, project=tmp_path)
    assert standing_of(study) == Standing()
    study.search(2, workers=0)
    found = standing_of(study)
    assert (found.n_trials, found.n_complete, found.has_optimum, found.has_report) == (2, 2, True, False)
    assert found.results >= {"leakage", "audit"}
    assert bool(found.objections) == (found.is_at_chance or bool(found.shortcuts) or len(found.objections) > 0)
    study.report()
    assert standing_of(study).has_report
    for network in folder.optimum.glob("*.keras"):
        network.rename(network.with_suffix(".away"))
    without = standing_of(study)
    assert not without.has_optimum
    assert next_step(without, "--bone TB", "TB").command == "bonehpo search --bone TB --trials 2"
    for network in folder.optimum.glob("*.away"):
        network.rename(network.with_suffix(".keras"))
    if found.objections:
        with pytest.raises(bonehpo.PromotionRefused):
            study.promote()
    else:
        study.promote()


@pytest.mark.parametrize("name", ["TB", "my study", "100%", "a'b", "-x"])
def test_a_proposed_command_names_a_study_as_commands_take_it(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    folder = StudyFolder(tmp_path / "studies" / name)
    option, value = shlex.split(flag(folder))
    assert {"--bone": folder_named, "--study": lambda path: StudyFolder(Path(path))}[option](value) == folder
