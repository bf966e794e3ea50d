"""Imports point down, and each third-party giant has one floor (design §3)."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from places import PROJECT

PACKAGE = PROJECT / "bonehpo"

FLOORS = (
    *("errors", "schema", "files", "hyperparameters", "domain", "task", "config", "folds", "engine"),
    *("scans", "store", "preparation", "leakage", "phantom", "learning"),
    *("analysis", "search", "results", "tracking", "report", "workflow", "cli"),
)
"""From the lowest to the highest. A module may import from its own floor and from those below."""

GIANTS = {
    "dask": {"engine"},
    "distributed": {"engine"},
    "zarr": {"store", "scans"},
    "tifffile": {"scans", "phantom"},
    "skimage": {"scans", "preparation", "leakage", "phantom"},
    "sklearn": {"analysis"},
    "h5py": {"scans"},
    "SimpleITK": {"scans"},
    "edt": {"preparation"},
    "keras": {"learning"},
    "tensorflow": {"learning"},
    "optuna": {"search"},
    "mlflow": {"tracking"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
}
"""The floors that may import each large package."""
SHIPPED = PACKAGE / "tracking" / "serving.py"
"""Travels with every registered model and runs without bonehpo, so that it imports keras itself."""


def floor_of(path: Path) -> str:
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "cli" if name == "__main__" else name


def imports(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, at the top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def breaches(path: Path) -> list[str]:
    floor, found = floor_of(path), []
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "bonehpo" and rest and FLOORS.index(rest[0]) > FLOORS.index(floor):
            found.append(f"{path.name} on floor {floor} imports {name}")
        if floor not in GIANTS.get(top, {floor}) and path != SHIPPED:
            found.append(f"{path.name} on floor {floor} imports {name}, which belongs to {sorted(GIANTS[top])}")
    return found


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_and_giants_stay_on_their_floor(path):
    assert breaches(path) == []


@pytest.mark.parametrize(
    ("floor", "line"),
    [("store", "import keras"), ("search", "from mlflow import log"), ("domain", "from bonehpo.config import Space")],
)
def test_a_breach_is_seen(tmp_path, monkeypatch, floor, line):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    path = tmp_path / floor / "module.py"
    path.parent.mkdir()
    path.write_text(f"def f():\n    {line}\n")
    assert len(breaches(path)) == 1


def test_help_imports_nothing_heavy():
    heavy = (
        *("tensorflow", "keras", "mlflow", "optuna", "dask", "distributed"),
        *("pandas", "zarr", "numpy", "matplotlib", "sklearn"),
    )
    script = (
        "import sys; from bonehpo.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
    assert "search" in answer.stdout


def test_python_m_bonehpo_is_the_same_program():
    answer = subprocess.run([sys.executable, "-m", "bonehpo", "--help"], capture_output=True, text=True, check=True)
    assert "bonehpo" in answer.stdout
    assert "promote" in answer.stdout


def public(tree: ast.Module | ast.ClassDef) -> list[ast.FunctionDef | ast.ClassDef]:
    """Functions and classes of a module, and members of its public classes, whose names do not begin with _."""
    found = [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith("_")]
    return found + [member for node in found if isinstance(node, ast.ClassDef) for member in public(node)]


def test_every_public_name_is_documented():
    missing = [
        f"{path.name}:{node.lineno} {node.name}"
        for path in FILES
        for node in public(ast.parse(path.read_text("utf-8")))
        if ast.get_docstring(node) is None
    ]
    assert missing == []


QUESTION = re.compile(r"(What|Whether|How|Where|Which|Who|When|Why)\b")


def test_a_docstring_says_what_is_returned_or_done_with_the_noun():
    questions = [
        f"{path.name}: {docstring.splitlines()[0]}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if QUESTION.match(docstring := ast.get_docstring(node) or "")
    ]
    assert questions == []


def test_no_imports_go_round_in_a_circle():
    modules = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in FILES}
    below = {name: {found for found in imports(path) if found in modules} for name, path in modules.items()}
    while free := {name for name, found in below.items() if not found & below.keys()}:
        below = {name: found for name, found in below.items() if name not in free}
    assert below == {}


def test_no_module_is_longer_than_450_lines():
    assert [path.name for path in FILES if len(path.read_text("utf-8").splitlines()) > 450] == []
