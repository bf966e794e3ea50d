"""The package as others install it: a wheel, in an environment of its own, away from this checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from places import PROJECT

TOML = """
bone = "elsewhere"
[space]
layers = [1]
learning_rate = [1e-3]
kernel = [3]
batch = [8]
[baseline]
layers = 1
learning_rate = 1e-3
kernel = 3
batch = 8
[training]
epochs = 1
precision = "float32"
"""


def run(*words: object, folder: Path) -> str:
    """What a program prints in a folder, without what this process lets it see of the checkout."""
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "MLFLOW_TRACKING_URI"}}
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of what is in the checkout, so that no earlier build can lend a file."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(PROJECT / "bonehpo", folder / "bonehpo", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, folder)
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    run(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", "dist", ".", folder=folder)
    return next((folder / "dist").glob("bonehpo-*.whl"))


@pytest.fixture(scope="module")
def bin_folder(wheel, tmp_path_factory) -> Path:
    """Programs of an environment that holds the wheel alone; what it depends on is lent by the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", "env", folder=folder)
    python = folder / "env" / "bin" / "python"
    packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", folder=folder).strip()
    )
    lent = dict.fromkeys(sysconfig.get_paths()[kind] for kind in ("purelib", "platlib"))
    (packages / "lent.pth").write_text("\n".join(lent))  # their own .pth files are not followed: no editable install
    install = ("install", "--no-deps", "--no-index", "--quiet")
    run(sys.executable, "-m", "pip", "--python", python, *install, wheel, folder=folder)
    return python.parent


def test_the_wheel_holds_every_file_of_the_package(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("bonehpo/")}
    package = [path for path in (PROJECT / "bonehpo").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert held == {str(path.relative_to(PROJECT)) for path in package}


def test_the_installed_package_is_the_wheel_and_not_the_checkout(bin_folder, tmp_path):
    where = (
        "import bonehpo, importlib.metadata as m; print(bonehpo.__file__, m.distribution('bonehpo').locate_file(''))"
    )
    for path in run(bin_folder / "python", "-c", where, folder=tmp_path).split():
        assert Path(path).is_relative_to(bin_folder.parent)


@pytest.mark.torture
def test_the_installed_package_goes_from_phantom_to_prediction_away_from_the_checkout(bin_folder, tmp_path):
    def bonehpo(*words: object) -> str:
        return run(bin_folder / "bonehpo", *words, folder=tmp_path)

    small = ("--side", 48, "--states", 2, "--specimens", "A,B,C")
    bonehpo("phantom", "--bone", "TB", "--out", "phantoms", *small, "--workers", 0)
    study = ("--bone", "elsewhere")
    (tmp_path / "studies" / "elsewhere").mkdir(parents=True)
    (tmp_path / "studies" / "elsewhere" / "study.toml").write_text(TOML)
    bonehpo("prepare", "phantoms/scans.csv", *study, "--size", 16, "--slices", 3, "--workers", 0)
    bonehpo("search", *study, "--trials", 1, "--workers", 0)
    bonehpo("report", *study)
    assert "</html>" in (tmp_path / "studies" / "elsewhere" / "report.html").read_text("utf-8")
    assert "bonehpo-elsewhere" in bonehpo("promote", *study, "--force", "--because", "a test of the wheel")
    bonehpo("predict", *study, next((tmp_path / "phantoms" / "A").glob("state_02*")))
    assert list(tmp_path.glob("*-prediction.csv"))
