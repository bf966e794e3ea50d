"""Writes a phantom: scans.csv, a multipage TIFF for each scan, the truth masks, and phantom.json."""

import csv
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

from bonehpo.data.phantom.damage import specimen_damage
from bonehpo.data.phantom.deformation import load
from bonehpo.data.phantom.imaging import add_zingers, photograph, quantise
from bonehpo.data.phantom.schedule import LoadState, load_states
from bonehpo.data.phantom.spec import PhantomSpec
from bonehpo.data.phantom.structure import pristine_structure
from bonehpo.data.truth import TRUTH_FOLDER, mask_file
from bonehpo.domain import Progress, ProgressCallback
from bonehpo.engine import Engine
from bonehpo.errors import PhantomError

SCANS_CSV = "scans.csv"
SPEC_JSON = "phantom.json"
COLUMNS = ("specimen", "state", "path", "strain", "stress_mpa", "voxel_um")


class SpecimenTask(NamedTuple):
    """One specimen to write."""

    spec: PhantomSpec
    position: int
    folder: Path


class WrittenSpecimen(NamedTuple):
    """A specimen that has been written, with its load states."""

    position: int
    states: tuple[LoadState, ...]


def write_phantom(spec: PhantomSpec, out: Path, engine: Engine, progress: ProgressCallback) -> Path:
    """Write a phantom into a new folder; the folder appears when it is complete, or not at all.

    Args:
        spec: What to make.
        out: Folder to make: `scans.csv`, `<specimen>/state_NN.tif` (uint8, one page a level of z),
            `truth/<specimen>/state_NN.tif` (255 in open cracks and crushed bone) and `phantom.json`.
        engine: Runs one task for each specimen.
        progress: Told after each specimen.

    Returns:
        The path of `scans.csv`.

    Raises:
        PhantomError: The folder exists, or the structure cannot be used.
    """
    if out.exists():
        raise PhantomError(f"{out} exists already: remove it, or choose another folder for the phantom")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    try:
        tasks = [SpecimenTask(spec, index, partial) for index in range(len(spec.specimens))]
        written = []
        for outcome in engine.run(write_specimen, tasks):
            written.append(outcome.result())
            progress(Progress(len(written), len(tasks), f"specimen {spec.specimens[outcome.task.position]}"))
        write_tables(spec, sorted(written), partial)
        partial.chmod(0o755)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out / SCANS_CSV


def write_specimen(task: SpecimenTask) -> WrittenSpecimen:
    """Draw one specimen and write its scans and truth masks; each draw depends on the seed and the specimen alone."""
    spec, index = task.spec, task.position
    name = spec.specimens[index]
    scans = task.folder / name
    for folder in (scans, task.folder / TRUTH_FOLDER / name):
        folder.mkdir(parents=True, exist_ok=True)
    draw = stream(spec, index, 0)
    states = load_states(spec, index, draw)
    structure = pristine_structure(spec, index, draw)
    damage = specimen_damage(spec, states[-1].strain, draw)
    for state in states:
        faults = stream(spec, index, state.number)
        loaded = load(spec, structure, damage, state, faults)
        scan = photograph(loaded.grey, spec.bone, faults)
        if spec.shortcut and state.number == 1:
            add_zingers(scan, faults)
        mask = mask_file(task.folder, name, state.number)
        tifffile.imwrite(scans / mask.name, quantise(scan), photometric="minisblack")
        truth = loaded.truth * np.uint8(255)
        tifffile.imwrite(mask, truth, photometric="minisblack", compression="zlib")
    return WrittenSpecimen(index, states)


def stream(spec: PhantomSpec, index: int, stage: int) -> np.random.Generator:
    """Random numbers for one stage of one specimen: 0 draws the specimen, n the scan of state n."""
    return np.random.default_rng([spec.seed, ord(spec.bone[0]), index, stage])


def write_tables(spec: PhantomSpec, written: list[WrittenSpecimen], folder: Path) -> None:
    """Write scans.csv, and phantom.json with the spec and the state of the first damage of each specimen."""
    with (folder / SCANS_CSV).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for index, states in written:
            name = spec.specimens[index]
            voxel_um = "" if spec.structure else f"{spec.voxel_um:.4g}"
            for state in states:
                path = f"{name}/state_{state.number:02d}.tif"
                table.writerow([name, state.number, path, state.strain, state.stress_mpa, voxel_um])
    onsets = {
        spec.specimens[index]: next(state.number for state in states if state.damage > 0) for index, states in written
    }
    document = {"phantom": asdict(spec), "first_damaged_state": onsets}
    (folder / SPEC_JSON).write_text(json.dumps(document, indent=2, default=str) + "\n", encoding="utf-8")
