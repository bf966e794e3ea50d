"""Studies of the version that landed are read and go on without a refit; tests/fixtures/landed says how they were made."""

import hashlib
import json
import shlex
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import call, refusal
from places import PROJECT
from tracked import new_project

from bonehpo.config import Training
from bonehpo.domain import Group, HoldoutPair
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.fits import FitSpec, Transfer

FIXTURES = PROJECT / "tests" / "fixtures" / "landed"
NAMES = ("adaptive", "strict", "interrupted", "promoted")
FINISHED = ("adaptive", "strict", "promoted")

RENAMED = {"paper_accuracy": "apparent_accuracy", "raced": "pruned"}
"""Keys of `show --json` that have another name since: old name, new name."""

MENDED = frozenset(
    {
        "nested_accuracy_bound",
        "nested_accuracy_worse_end",
        "nested_accuracy_better_end",
        "temperature",
        "brier_calibrated",
    }
)
"""Keys whose value is another on purpose: bounds no narrower than so many slices allow, temperatures of all other sets."""

ANEW = ("audit", "calibration", "by-plane")
"""Results that are made anew or were not there: the audit asks more models, temperatures are of other sets."""

STATES = ".states.npz"
"""Ends the file of what a kept network says of every load state, beside that of its fit."""


@dataclass(frozen=True)
class Landed:
    """A study of the landed version, unpacked, and what was written down of it."""

    root: Path
    record: dict[str, Any]

    @property
    def study(self) -> Path:
        (config,) = self.root.glob("studies/*/study.toml")
        return config.parent

    def command(self, *beginnings: str) -> list[list[str]]:
        """The commands that were given to the landed version, of some beginnings, as words."""
        words = [shlex.split(line, comments=True)[1:] for line in self.record["commands"]]
        return [line for line in words if " ".join(line).startswith(beginnings)]

    def repeat(self, *beginnings: str) -> None:
        """Give the same commands again."""
        commands = self.command(*beginnings)
        assert commands
        for words in commands:
            call(*words)

    def shown(self) -> dict[str, Any]:
        return json.loads(call("show", "--bone", self.study.name, "--json").stdout)

    def files(self, *patterns: str) -> dict[str, tuple[str, int]]:
        """Files of the study with their bytes, as a hash, and the time when they were written.

        Those of results that are made anew are left out.
        """
        found = (path for pattern in patterns for path in self.study.glob(pattern) if path.parent.name not in ANEW)
        return {
            str(path.relative_to(self.study)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            for path in found
        }

    def fits(self) -> dict[str, tuple[str, int]]:
        return {name: file for name, file in self.files("fits/*.npz").items() if not name.endswith(STATES)}

    def runs(self) -> list[str]:
        """Status of each MLflow run."""
        with closing(sqlite3.connect(self.root / "mlruns" / "mlflow.db")) as database:
            return [status for (status,) in database.execute("SELECT status FROM runs")]


def archive(name: str) -> Path:
    return FIXTURES / name / "project.tar.xz"


def record_of(name: str) -> dict[str, Any]:
    return json.loads((FIXTURES / name / "record.json").read_text("utf-8"))


@pytest.fixture
def restore(tmp_path, monkeypatch) -> Callable[[str], Landed]:
    """Unpacks a study, makes databases of their SQL, and goes to its project."""

    def unpack(name: str) -> Landed:
        root = tmp_path / name
        with tarfile.open(archive(name)) as packed:
            packed.extractall(root, filter="data")
        for sql in root.rglob("*.db.sql"):
            with closing(sqlite3.connect(sql.with_suffix(""))) as database:
                database.executescript(sql.read_text("utf-8"))
        landed = Landed(root, record_of(name))
        monkeypatch.chdir(root)
        if (root / "mlruns").exists():
            call("sync", "--relocate", "--bone", landed.study.name)
        else:
            new_project(root)
        return landed

    return unpack


def specs_of(name: str) -> Iterator[dict[str, Any]]:
    """What fits of a study were specified by, as plain values; each with its `key`, the address that it got then."""
    with tarfile.open(archive(name)) as packed:
        yield from map(json.loads, packed.extractfile("specs.jsonl").read().decode().splitlines())


def fit_files(name: str) -> set[str]:
    """Addresses of the fits that lie in a study."""
    with tarfile.open(archive(name)) as packed:
        names = [Path(file).name for file in packed.getnames() if "/fits/" in file]
    return {file.removesuffix(".npz") for file in names if not file.endswith(STATES)}


def address_today(spec: dict[str, Any]) -> str:
    """The content address that a fit of this specification has now."""
    plain = {key: value for key, value in spec.items() if key not in ("key", "resnet")}
    return FitSpec(
        **{
            **plain,
            "sets": {name: tuple(Group(*group) for group in groups) for name, groups in spec["sets"].items()},
            "pair": HoldoutPair(*spec["pair"]),
            "hyperparameters": Hyperparameters(**spec["hyperparameters"]),
            "training": Training(**spec["training"]),
            "transfer": Transfer(**spec["resnet"]) if spec["resnet"] else None,
            "swapped": tuple(spec["swapped"]),
        }
    ).key


def lost(old: Any, new: Any, at: str = "") -> list[str]:
    """Where something that was said of a study is not said any more, or another; what is said beside it may be new."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = ((RENAMED.get(key, key), value) for key, value in old.items() if key not in {"folder", *MENDED})
        return [line for key, value in pairs for line in lost(value, new.get(key, "nothing"), f"{at}/{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [line for i, (a, b) in enumerate(zip(old, new, strict=True)) for line in lost(a, b, f"{at}/{i}")]
    same = new == pytest.approx(old) if isinstance(old, float) else new == old
    return [] if same else [f"{at}: {old} is now {new}"]


@pytest.mark.parametrize("name", NAMES)
def test_every_fit_has_the_address_that_it_had(name):
    specs = list(specs_of(name))
    assert [address_today(spec) for spec in specs] == [spec["key"] for spec in specs]
    assert fit_files(name)
    assert fit_files(name) <= {spec["key"] for spec in specs}


def test_addresses_of_every_kind_of_fit_are_among_them():
    specs = [spec for name in NAMES for spec in specs_of(name)]
    assert {spec["resnet"]["mode"] for spec in specs if spec["resnet"]} == {"scratch", "frozen", "fine-tuned"}
    assert {spec["task"] for spec in specs} == {"damage", "strain"}
    assert any(spec["swapped"] for spec in specs)
    assert {spec["training"]["checkpoint"] for spec in specs} == {"last", "best"}
    assert {name.partition("-")[0] for spec in specs for name in spec["sets"]} > {"mixed", "TB5", "CB1"}


@pytest.mark.parametrize("name", NAMES)
def test_a_study_says_what_it_said(restore, name):
    landed = restore(name)
    assert lost(landed.record["shown"], landed.shown()) == []


def test_what_is_lost_is_seen():
    assert lost({"a": [1.0, {"b": None}]}, {"a": [1.0, {"b": None, "c": 2}]}) == []
    assert lost({"a": [1.0, {"b": 2}]}, {"a": [1.1, {}]}) == ["/a/0: 1.0 is now 1.1", "/a/1/b: 2 is now nothing"]


@pytest.mark.parametrize("name", FINISHED)
def test_a_search_that_was_finished_trains_nothing(restore, name):
    landed = restore(name)
    before = landed.files("fits/*", "optimum/*", "results/*/result.json")
    landed.repeat("search")
    assert landed.files("fits/*", "optimum/*", "results/*/result.json") == before
    then = landed.record["shown"]
    told = then | {"audits": {name: of for name, of in then["audits"].items() if name != "audit"}}
    assert lost(told, landed.shown()) == []
    assert set(landed.runs()) == {"FINISHED"}


def test_an_adaptive_study_trains_one_more_trial_and_no_other(restore):
    landed = restore("adaptive")
    before, n_pairs, n_trials = landed.fits(), 6, len(landed.record["shown"]["trials"])
    assert {trial["state"] for trial in landed.record["shown"]["trials"]} == {"complete", "stopped"}
    call("search", "--bone", "TB", "--trials", n_trials + 1, "--race", "--workers", 0)
    after, shown = landed.fits(), landed.shown()
    *former, new = shown["trials"]
    assert lost(landed.record["shown"]["trials"], former) == []
    assert new["hyperparameters"] not in [trial["hyperparameters"] for trial in former]
    is_moved = shown["optimum"]["trial"] != landed.record["shown"]["optimum"]["trial"]
    assert before.items() <= after.items()
    assert len(after) - len(before) == new["n_folds"] // 2 + is_moved * n_pairs
    assert shown["pruned"]


def test_a_strict_study_keeps_its_list(restore):
    landed = restore("strict")
    assert landed.record["shown"]["n_candidates"] == 3
    assert "fixed 3 candidates before its first score" in refusal("search", "--bone", "CB", "--trials", 4)
    assert lost(landed.record["shown"], landed.shown()) == []


def test_a_search_that_was_killed_trains_the_missing_pairs_and_no_other(restore):
    landed = restore("interrupted")
    before = landed.fits()
    assert [trial["n_folds"] for trial in landed.record["shown"]["trials"]] == [6, 2]
    landed.repeat("search")
    after, shown = landed.fits(), landed.shown()
    assert before.items() <= after.items()
    killed = {f"fits/{spec['key']}.npz" for spec in specs_of("interrupted")} - set(before)
    assert killed < set(after)
    assert len(after) - len(before) == 2 + 3  # pairs of trial 1, and of the optimum
    first, second = shown["trials"]
    assert lost(landed.record["shown"]["trials"][0], first) == []
    assert second["hyperparameters"].items() >= landed.record["shown"]["trials"][1]["hyperparameters"].items()
    assert (second["state"], second["n_folds"]) == ("complete", 6)
    n_results = len(list(landed.study.glob("results/*")))
    assert landed.runs() == ["FINISHED"] * (1 + 2 * (1 + 6) + (1 + 6) + n_results)


@pytest.mark.parametrize(
    ("name", "commands"),
    [("adaptive", ("explain", "audit", "strain")), ("strict", ("sweep", "compare"))],
)
def test_saved_results_are_current(restore, name, commands):
    landed = restore(name)
    before = landed.files("fits/*", "optimum/*", "networks/*", "results/*/result.json", "results/*/*.csv")
    assert {path.partition("/")[0] for path in before} >= {"fits", "optimum", "results"}
    landed.repeat(*commands)
    assert landed.files("fits/*", "optimum/*", "networks/*", "results/*/result.json", "results/*/*.csv") == before


def test_a_registered_model_predicts_what_it_did(restore):
    landed = restore("promoted")
    (words,) = landed.command("predict")
    told, then = json.loads(call(*words).stdout), landed.record["predicted"]
    assert 0 < then["p_failed"] < 1
    assert told["p_failed"] == pytest.approx(then["p_failed"], abs=0.01)  # rounding differs between processors
    assert lost(then, told | {"p_failed": then["p_failed"]}) == []


def test_sync_adds_no_run_twice_and_a_further_promotion_is_version_2(restore):
    landed = restore("promoted")
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript((landed.root / "mlruns" / "mlflow.db.sql").read_text("utf-8"))
        (n_runs,) = database.execute("SELECT count(*) FROM runs").fetchone()
    assert landed.runs() == ["FINISHED"] * n_runs  # unpacking has synced
    landed.repeat("search")
    call("sync", "--bone", "TB")
    n_runs += 1  # the audit, made anew
    assert landed.runs() == ["FINISHED"] * n_runs
    before = landed.fits()
    (words,) = landed.command("promote")
    assert json.loads(call(*words, "--json").stdout)["version"] == 2
    (words,) = landed.command("predict")
    assert json.loads(call(*words).stdout)["model"] == "bonehpo-TB version 2"
    assert landed.fits() == before
