"""The examples run as they are, in an empty folder, and draw the figures that their text shows."""

import os
import re
import subprocess
import sys

import pytest
from places import PROJECT

EXAMPLES = sorted((PROJECT / "examples").glob("*.py"))
PATIENCE_S = 600


def cells(script: str) -> list[str]:
    """The cells of a script in jupytext's percent format, each with its first line."""
    return [f"# %%{cell}" for cell in script.split("# %%")[1:]]


def test_there_are_three():
    assert [path.stem for path in EXAMPLES] == ["own_hyperparameter", "own_scans", "read_a_study"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_notebook_in_the_percent_format(path):
    script = path.read_text("utf-8")
    assert script.startswith("# %% [markdown]\n# # ")
    kinds = [cell.splitlines()[0] for cell in cells(script)]
    assert set(kinds) == {"# %% [markdown]", "# %%"}
    for cell in cells(script):
        if cell.startswith("# %% [markdown]"):
            assert all(line.startswith("#") or not line for line in cell.splitlines())
        else:
            compile(cell, path.name, "exec")


QUICK = "read_a_study"
"""The example that `make test` runs; the others train more."""


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.stem == QUICK else [pytest.mark.torture], id=path.stem) for path in EXAMPLES],
)
def test_an_example_runs_prints_and_draws(path, tmp_path):
    figures = tmp_path / "figures"
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment |= {"PYTHONPATH": str(PROJECT), "BONEHPO_FIGURES": str(figures)}
    run = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": PATIENCE_S}
    answer = subprocess.run([sys.executable, str(path)], check=False, **run)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "mean_accuracy" in answer.stdout
    shown = re.findall(r"^# !\[.+\]\((.+)\)$", path.read_text("utf-8"), re.MULTILINE)
    drawn = [figure.name for figure in figures.glob("*")] if figures.exists() else []
    assert sorted(drawn) == sorted(shown)
    assert {made.name for made in tmp_path.iterdir()} - {"figures"} == {path.stem.replace("_", "-")}
    for name in (*shown, path.with_suffix(".txt").name):
        assert (PROJECT / "examples" / name).exists(), "run `make examples`"
