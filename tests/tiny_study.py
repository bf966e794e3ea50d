"""A study small enough for tests: three specimens whose failed slices carry stripes, 16 × 16 pixels."""

import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np
from data_makers import write_table

from bonehpo.cli.plan import make_plan
from bonehpo.config import StudyFolder
from bonehpo.data.preparation import prepare
from bonehpo.data.recipe import Steps
from bonehpo.engine import open_engine

SPECIMENS = ("TB5", "TB6", "TB9")
SIDE = 16

TOML = """
bone = "TB"
[space]
layers = [1, 2]
learning_rate = [1e-4, 1e-2]
kernel = [3, 5]
batch = [8]
[baseline]
layers = 1
learning_rate = 1e-2
kernel = 3
batch = 8
[training]
epochs = 3
precision = "float32"
"""


def striped(seed: int, failed: bool) -> np.ndarray:
    """Noise, with stripes along every axis where the bone has failed; uint8 (z, y, x)."""
    rng = np.random.default_rng(seed)
    volume = rng.integers(60, 120, (SIDE,) * 3)
    if failed:
        volume[::4] += 80
        volume[:, ::4] += 80
        volume[:, :, ::4] += 80
    return volume.clip(0, 255).astype(np.uint8)


def write_striped(folder: Path) -> Path:
    """Scans of the three specimens, pristine and failed, as .npy files with their table."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, specimen in enumerate(SPECIMENS):
        for state in (1, 2):
            np.save(folder / f"{specimen}-{state}.npy", striped(10 * i + state, state == 2))
            rows.append({"specimen": specimen, "state": state, "path": f"{specimen}-{state}.npy"})
    return write_table(folder, rows)


@functools.cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="bonehpo-study-"))
    with open_engine(0) as engine:
        prepare(
            write_striped(folder / "scans"),
            folder / "TB" / "slices.zarr",
            Steps(match=False, median=False, n_slices=4),
            engine,
        )
    return folder


def make_study(root: Path, toml: str = TOML) -> StudyFolder:
    """A study folder `root/studies/TB` with a store and a study.toml."""
    folder = StudyFolder(root / "studies" / "TB")
    shutil.copytree(_template() / "TB" / "slices.zarr", folder.store)
    folder.config.write_text(toml, encoding="utf-8")
    return folder


def plan_of(root: Path, toml: str = TOML):
    """The plan of a new study folder below `root`."""
    return make_plan(make_study(root, toml))
