"""Studies small enough for tests: three specimens whose failed slices carry stripes, 16 × 16 pixels or 32 × 32."""

import functools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from data_makers import write_table

from bonehpo.config import StudyFolder
from bonehpo.domain import ignore_progress
from bonehpo.engine import open_engine
from bonehpo.preparation.prepare import prepare
from bonehpo.results.finished import finished_study
from bonehpo.results.kind import ResultOptions
from bonehpo.search.recorder import NullRecorder
from bonehpo.search.study import SearchOptions, run_search
from bonehpo.store.recipe import Steps
from bonehpo.workflow.kinds import RESULT_KINDS
from bonehpo.workflow.plan import make_plan

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

LONG_ENOUGH = TOML.replace("epochs = 3", "epochs = 12")
"""To tell stripes from none nearly always."""


def striped(seed: int, damage: float, side: int = SIDE) -> np.ndarray:
    """Noise, with stripes along every axis that are the brighter the more the bone is damaged; uint8 (z, y, x)."""
    rng = np.random.default_rng(seed)
    volume = rng.integers(60, 120, (side,) * 3)
    volume[::4] += round(80 * damage)
    volume[:, ::4] += round(80 * damage)
    volume[:, :, ::4] += round(80 * damage)
    return volume.clip(0, 255).astype(np.uint8)


def write_striped(folder: Path, damages: Sequence[float] = (0, 1), side: int = SIDE) -> Path:
    """Scans of the three specimens as .npy files with their table; a load state for each damage, 1 % strain apart."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, specimen in enumerate(SPECIMENS):
        for state, damage in enumerate(damages, start=1):
            np.save(folder / f"{specimen}-{state}.npy", striped(10 * i + state, damage, side))
            strain = (state - 1) / 100
            rows.append({"specimen": specimen, "state": state, "path": f"{specimen}-{state}.npy", "strain": strain})
    return write_table(folder, rows)


@functools.cache
def _template(damages: tuple[float, ...], side: int, n_slices: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="bonehpo-study-"))
    with open_engine(0) as engine:
        prepare(
            write_striped(folder / "scans", damages, side),
            folder / "TB" / "slices.zarr",
            Steps(match="none", median=False, n_slices=n_slices),
            engine,
        )
    return folder


def make_study(
    root: Path, toml: str = TOML, damages: tuple[float, ...] = (0, 1), side: int = SIDE, n_slices: int = 4
) -> StudyFolder:
    """A study folder `root/studies/TB` with a store and a study.toml."""
    folder = StudyFolder(root / "studies" / "TB")
    shutil.copytree(_template(damages, side, n_slices) / "TB" / "slices.zarr", folder.store)
    folder.config.write_text(toml, encoding="utf-8")
    return folder


def plan_of(root: Path, *settings):
    """The plan of a new study folder below `root`; settings as in `make_study`."""
    return make_plan(make_study(root, *settings))


def finish(plan):
    """Search the plan in this process until it has an optimum."""
    with open_engine(0) as engine:
        run_search(plan, engine, NullRecorder(), SearchOptions(n_trials=2))
    return finished_study(plan)


def make_result(name, finished, n_workers=0, **options):
    """A result of a finished study, made anew and saved nowhere."""
    with open_engine(n_workers) as engine:
        return RESULT_KINDS[name].make(finished, ResultOptions(**options), engine, ignore_progress)
