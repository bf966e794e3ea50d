"""The commands, as a person types them: what they print, how they end."""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import call, refusal
from data_makers import write_table
from places import PROJECT
from tiny_study import LONG_ENOUGH, SPECIMENS, TOML, make_study, write_striped

from bonehpo.cli import console, main
from bonehpo.errors import PhantomError
from bonehpo.report.figures.scans import phantom_plate


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty project folder, as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def promoted(tmp_path_factory):
    """A project in which the whole way was gone once, and what each command printed."""
    root = tmp_path_factory.mktemp("project")
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        (root / "studies" / "TB").mkdir(parents=True)
        (root / "studies" / "TB" / "study.toml").write_text(LONG_ENOUGH)
        csv = write_striped(root / "scans with spaces")
        steps = ("--no-match", "--no-median", "--slices", 4, "--workers", 0)
        said["prepare"] = call("prepare", csv, "--bone", "TB", *steps)
        said["search"] = call("search", "--bone", "TB", "--trials", 2, "--workers", 0)
        said["refused"] = call("promote", "--bone", "TB", code=1)
        said["promote"] = call("promote", "--bone", "TB", "--force", "--because", "stripes are brighter", code=0)
    return root, said


def test_the_way_from_scans_to_a_champion_names_each_next_command(promoted):
    _, said = promoted
    assert "Next: bonehpo inspect --bone TB" in said["prepare"].output
    assert "Next: bonehpo audit --bone TB  (a model that sees no damage comes near" in said["search"].output
    assert "is not promoted: " in said["refused"].stderr
    assert "Next: bonehpo audit --bone TB" in said["refused"].stderr
    assert (
        "A model of intensity levels alone, among which crack pixels count, reaches 1.00" in said["refused"].stderr
    ), "stripes are brighter"
    assert "bonehpo-TB version 1 is the champion: models:/bonehpo-TB@champion" in said["promote"].output


def test_show_prints_trials_and_both_accuracies(promoted, monkeypatch):
    root, _ = promoted
    monkeypatch.chdir(root)
    text = call("show", "--bone", "TB").output
    for part in (
        "Apparent accuracy",
        "Nested accuracy",
        "Optimism",
        "n = 3 sets",
        "without TB5",
        "on scans",
        "Brier score",
    ):
        assert part in text
    data = json.loads(call("show", "--study", root / "studies" / "TB", "--json").output)
    assert data["estimates"]["apparent_accuracy"] > 0.8
    assert len(data["trials"]) == 2
    assert len(data["optimum"]["folds"]) == 6
    assert 0 <= data["optimum"]["calibration"]["brier_calibrated"] < 0.25


def test_status_of_a_study_with_an_optimum_imports_nothing_that_draws_or_trains(promoted, monkeypatch):
    monkeypatch.chdir(promoted[0])
    heavy = (
        "tensorflow",
        "keras",
        "mlflow",
        "dask",
        "matplotlib",
        "sklearn",
        "jinja2",
        "scipy.stats",
        "optuna.importance",
    )
    script = (
        "import sys; from bonehpo.cli import main\n"
        "main(['status'], standalone_mode=False)\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "2 of 2      yes" in answer.stdout
    assert answer.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("width", [80, 40])
@pytest.mark.parametrize("command", ["show", "inspect", "verify", "sync"])
def test_lines_fit_the_terminal_and_lose_no_word(promoted, monkeypatch, command, width):
    root, _ = promoted
    monkeypatch.chdir(root)
    whole = call(command, "--bone", "TB").stdout
    monkeypatch.setattr(console, "line_width", lambda **_: width)
    told = call(command, "--bone", "TB").stdout
    long = [line for line in told.splitlines() if len(line) > width and len(line.split()) > 1 and "/" not in line]
    assert long == []
    assert set(re.split(r"[\s;]+", whole)) <= set(re.split(r"[\s;]+", told))


@pytest.mark.parametrize("width", [80, 40])
def test_the_bar_of_a_search_keeps_what_counts_on_one_line(monkeypatch, width):
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    page = io.StringIO()
    monkeypatch.setattr("sys.stderr", page)
    with console._terminal_bar("search") as report:
        report(7, 30, "trial 3/5, fit 2/5, best 0.812 (layers 4, lr 0.001, kernel 5, batch 10)", 75.0)
    lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in re.split(r"[\r\n]", page.getvalue())]
    last = [line for line in lines if line.strip()][-1]
    assert len(last) <= width
    assert last.startswith("trial 3/5")
    assert "23%" in last
    assert "1 min 15 s left" in last


@pytest.mark.parametrize(("state", "verdict"), [(1, "pristine"), (2, "failed")])
def test_predict_judges_a_scan_and_writes_every_slice_and_a_picture(promoted, monkeypatch, tmp_path, state, verdict):
    root, _ = promoted
    monkeypatch.chdir(root)
    scan = root / "scans with spaces" / f"TB6-{state}.npy"
    answer = call("predict", "--bone", "TB", scan, "--out", tmp_path, "--json")
    data = json.loads(answer.output)
    assert data["verdict"] == verdict
    assert {plane["plane"] for plane in data["planes"]} == {"XY", "XZ", "YZ"}
    assert len(Path(data["csv"]).read_text().splitlines()) == 1 + 3 * 4
    assert Path(data["picture"]).stat().st_size > 10_000


def test_predict_measures_how_far_a_scan_lies_from_the_first_of_its_specimen(promoted, monkeypatch, tmp_path):
    root, _ = promoted
    monkeypatch.chdir(root)
    scans = root / "scans with spaces"
    said = refusal("predict", "--bone", "TB", scans / "TB6-2.npy", "--out", tmp_path, "--first", scans / "TB6-1.npy")
    assert "TB6-1.npy: 16×16×16 voxels are too few to register, which takes 32 along each edge" in said
    assert not list(tmp_path.iterdir())
    for state in (1, 2):
        voxels = np.kron(np.load(scans / f"TB6-{state}.npy"), np.ones((2, 2, 2), np.uint8))
        np.save(tmp_path / f"{state}.npy", voxels)
    words = ("predict", "--bone", "TB", tmp_path / "2.npy", "--out", tmp_path, "--first", tmp_path / "1.npy")
    told = json.loads(call(*words, "--json").output)["registration"]
    assert told.startswith("Caution: the scan is unlike the first (")  # stripes of the one, and noise of the other
    assert told in " ".join(call(*words).output.split())


def test_a_study_whose_mlflow_database_is_lost_is_synced(promoted, monkeypatch, tmp_path):
    root = Path(shutil.copytree(promoted[0], tmp_path / "copy"))
    monkeypatch.chdir(root)
    shutil.rmtree(root / "mlruns")
    storage = f"sqlite:///{root / 'studies' / 'optuna.db'}"
    assert "MLflow holds all 2 trials" in call("sync", "--bone", "TB", "--storage", storage).output
    assert (root / "mlruns" / "mlflow.db").exists()


def test_inspect_and_verify_tell_what_is_there(promoted, monkeypatch):
    root, _ = promoted
    monkeypatch.chdir(root)
    assert "is whole" in call("verify", "--bone", "TB").output
    data = json.loads(call("inspect", "--bone", "TB", "--json").output)
    assert (data["specimens"], data["phantom"]) == (list(SPECIMENS), False)
    assert Path(data["montage"]).exists()


def test_verify_ends_with_1_and_names_what_is_damaged(here):
    folder = make_study(here)
    shard = next(path for path in (folder.store / "slices" / "c").rglob("*") if path.is_file())
    content = bytearray(shard.read_bytes())
    content[40] ^= 1
    shard.write_bytes(content)
    line = refusal("verify", "--bone", "TB")
    assert re.search(r"TB\d state \d plane [XY][YZ] .*have changed", line)
    assert json.loads(call("verify", "--bone", "TB", "--json", code=1).stdout)["whole"] is False


def test_a_dry_run_tells_folds_fits_time_and_disk_and_does_nothing(here):
    make_study(here)
    text = call("search", "--bone", "TB", "--trials", 5, "--dry-run").output
    for part in (
        "6 a trial, over 3 sets",
        "24 to train, 24 to validate",
        "18: 3 for each of 5 trials",
        "images/s",
        "GB",
    ):
        assert part in text
    assert sorted(path.name for path in (here / "studies" / "TB").iterdir()) == ["slices.zarr", "study.toml"]
    assert not (here / "mlruns").exists()


def test_the_network_table_ends_with_the_published_number():
    assert "19,265,858 trainable parameters" in call("network").output
    data = json.loads(call("network", "--layers", 5, "--kernel", 3, "--json").output)
    assert data["n_parameters"] == 20_446_018


def test_without_a_store_a_search_names_the_two_commands_that_make_one(here):
    line = refusal("search", "--bone", "TB", "--trials", 1)
    assert "bonehpo prepare" in line
    assert "bonehpo phantom" in line
    assert not list(here.iterdir())


def test_promote_before_search_is_refused(here):
    make_study(here)
    assert "run `bonehpo search" in refusal("promote", "--bone", "TB")


def test_predict_before_promote_is_refused(here):
    make_study(here)
    assert "run `bonehpo promote` for the study of TB first" in refusal("predict", "--bone", "TB", "scan.npy")


def test_a_store_of_another_study_is_refused(promoted, monkeypatch, tmp_path):
    root = Path(shutil.copytree(promoted[0], tmp_path / "copy"))
    monkeypatch.chdir(root)
    call(
        "prepare",
        root / "scans with spaces" / "scans.csv",
        "--bone",
        "TB",
        "--slices",
        3,
        "--overwrite",
        "--workers",
        0,
    )
    assert "was begun with store" in refusal("search", "--bone", "TB", "--trials", 2, "--workers", 0)


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ("epoch = 3", 'unknown key "epoch"'),
        ("[training]\nepoch = 3", 'unknown key "training.epoch": did you mean "epochs"?'),
        ("[space]\nlayers = [1, 3, 5]", "layers=5 pools images of 16 × 16 pixels to nothing"),
    ],
)
def test_a_study_that_cannot_be_searched_is_refused_before_training(here, toml, complaint):
    make_study(here, toml)
    assert complaint in refusal("search", "--bone", "TB", "--trials", 1, "--workers", 0)
    assert not (here / "studies" / "TB" / "fits").exists()


def test_an_unopenable_storage_is_refused(here):
    make_study(here)
    (here / "studies" / "optuna.db").mkdir()
    assert "optuna.db cannot be opened" in refusal("search", "--bone", "TB", "--trials", 1, "--workers", 0)


def test_an_unopenable_mlflow_database_is_told_and_stops_no_search(here):
    make_study(here, TOML.replace("epochs = 3", "epochs = 1"))
    (here / "mlruns").mkdir()
    (here / "mlruns" / "mlflow.db").write_text("no database, but a text that is long enough " * 9)
    assert "Optimum" in call("search", "--bone", "TB", "--trials", 1, "--workers", 0).output
    assert "mlflow.db" in refusal("sync", "--bone", "TB")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["search", "--bone", "TB", "--trials", "0"], "0 is not in the range x>=1"),
        (["search", "--trials", "1"], "which study?"),
        (["search", "--bone", "../TB", "--trials", "1"], "cannot name a folder"),
        (["search", "--bone", "TB ", "--trials", "1"], "'TB ' cannot name a folder"),
        (["search", "--bone", "TB", "--study", "x", "--trials", "1"], "not both"),
        (["search", "--bone", "TB", "--trials", "1", "--timeout", "soon"], "is not a duration"),
        (["phantom", "--bone", "XB", "--out", "x"], "'XB' is not one of"),
        (["sarch"], "No such command 'sarch'"),
        (["prepare", "scans.csv", "--bone", "TB", "--crop", "4,4"], "'4,4' is neither the side of a cube, as 110, nor"),
        (["prepare", "scans.csv", "--bone", "TB", "--crop", "4,x,4"], "nor voxels along Z,Y,X"),
        (["prepare", "scans.csv", "--bone", "TB", "--register", "--no-registration"], "exclude each other; remove one"),
    ],
)
def test_wrong_usage_ends_with_2(here, words, complaint):
    assert complaint in call(*words, code=2).output


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--crop", "0"], "--crop is 0"),
        (["--slices", "0"], "--slices is 0"),
        (["--crop", "99"], "99"),
        (["--crop", "9,9,99"], "99"),
        (["--reference", "TB7:1"], "TB7:1"),
    ],
)
def test_a_step_that_cannot_be_done_leaves_no_store(here, words, complaint):
    csv = write_striped(here / "scans")
    assert complaint in refusal("prepare", csv, "--bone", "TB", "--workers", 0, *words)
    assert not list(here.glob("studies/*/slices.zarr"))


def test_a_prepare_that_is_refused_on_its_way_leaves_nothing_behind(here):
    csv = write_striped(here / "scans")
    lines = csv.read_text().splitlines()
    csv.write_text("\n".join([*lines[:-1], ",".join([*lines[-1].split(",")[:2], *lines[-2].split(",")[2:]])]))
    (here / "studies").mkdir()
    assert "hold the same voxels" in refusal("prepare", csv, "--bone", "TB", "--workers", 0)
    assert list((here / "studies").iterdir()) == []
    (here / "studies" / "TB").mkdir()
    assert "hold the same voxels" in refusal("prepare", csv, "--bone", "TB", "--workers", 0)
    assert list((here / "studies").rglob("*")) == [here / "studies" / "TB"]


def test_headers_are_read_under_a_bar_of_their_own(here):
    csv = write_striped(here / "scans")
    csv.write_text(csv.read_text().replace("specimen,state,path", '"specimen\n",state,path', 1))
    said = call("prepare", csv, "--bone", "TB", "--workers", 0, "--slices", 2).stderr
    assert said.index("headers: ") < said.index("prepare: ")


def test_notes_print_nothing_that_a_terminal_obeys(here):
    csv = write_striped(here / "scans")
    head, *rows = csv.read_text().splitlines()
    csv.write_text("\n".join([f"{head},st\x1b[31mat", *(f"{row},x" for row in rows)]))
    said = call("prepare", csv, "--bone", "TB", "--workers", 0, "--slices", 2).output
    assert "The column st\\x1b[31mat of the table is not used" in said
    assert "\x1b" not in said


def test_one_specimen_alone_is_refused(here):
    csv = write_striped(here / "scans")
    csv.write_text("".join(csv.read_text().splitlines(keepends=True)[:3]))
    assert "only one specimen (TB5)" in refusal("prepare", csv, "--bone", "TB", "--workers", 0)


def test_two_specimens_are_prepared_but_too_few_to_search(here):
    csv = write_striped(here / "scans")
    csv.write_text("".join(csv.read_text().splitlines(keepends=True)[:5]))
    call("prepare", csv, "--bone", "TB", "--workers", 0)
    assert "needs at least 3 sets" in refusal("search", "--bone", "TB", "--trials", 1)


def test_a_table_without_rows_is_refused(here):
    csv = write_table(here, [{"specimen": "A", "state": 1, "path": "x"}])
    csv.write_text("specimen,state,path\n")
    assert "scans.csv" in refusal("prepare", csv, "--bone", "TB", "--workers", 0)


def test_phantoms_are_made_prepared_and_named_as_such(here):
    call("phantom", "--bone", "TB", "--out", "p", "--side", 32, "--states", 2, "--specimens", "A,B,C", "--workers", 0)
    assert "Next: bonehpo inspect" in call("prepare", "p/scans.csv", "--bone", "TB", "--workers", 0).output
    assert "made from phantoms" in call("inspect", "--bone", "TB").output
    assert "p exists already" in refusal("phantom", "--bone", "TB", "--out", "p", "--side", 32)


def test_the_plate_of_a_phantom_is_a_picture(here):
    call("phantom", "--bone", "TB", "--out", "p", "--side", 32, "--states", 3, "--specimens", "A,B,C", "--workers", 0)
    phantom_plate(here / "p", "B", here / "plate.png")
    assert (here / "plate.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(PhantomError, match="has no specimen Z"):
        phantom_plate(here / "p", "Z", here / "none.png")


def test_doctor_finds_this_installation_usable(here):
    make_study(here)
    findings = json.loads(call("doctor", "--json").stdout)
    assert [f for f in findings if not f[2]] == []
    (here / "studies" / "TB" / "study.toml").write_text("[")
    assert "BAD  study TB" in call("doctor", code=1).output


def test_every_command_has_help_and_stands_in_the_docs():
    written = "".join(path.read_text("utf-8") for path in (PROJECT / "README.md", *PROJECT.glob("docs/**/*.md")))
    for name, command in main.commands.items():
        assert command.help, name
        assert all(
            getattr(option, "help", "")
            for option in command.params
            if option.param_type_name == "option" and not option.hidden
        ), name
        assert f"bonehpo {name}" in written, name


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", ".github/workflows/ci.yml", ".pre-commit-config.yaml"]
)
def test_every_make_target_that_is_named_exists(name):
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|: |^)make ([a-z-]+)", (PROJECT / name).read_text("utf-8"), re.MULTILINE))
    assert named
    assert named <= targets
