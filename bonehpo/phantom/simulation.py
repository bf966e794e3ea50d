"""Simulated scans: blur, noise, ring artefacts and drifting brightness, and the files of a whole phantom."""

import csv
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from bonehpo.domain import Progress, ProgressCallback
from bonehpo.engine import Engine
from bonehpo.errors import PhantomError
from bonehpo.phantom.damage import load, specimen_damage
from bonehpo.phantom.grid import Field, centred_axis, ring_image
from bonehpo.phantom.spec import Bone, PhantomSpec, PhantomState, load_states
from bonehpo.phantom.structure import pristine_structure
from bonehpo.preparation.scan import TRUTH_FOLDER, mask_file

BLUR_VOXELS = (0.7, 0.82)
NOISE, NOISE_OF_SIGNAL = 0.028, 0.032
NOISE_FACTOR = (0.9, 1.15)
RING_INTENSITY = (0.004, 0.014)
SHADING_GAIN: dict[Bone, float] = {"CB": 0.012, "TB": 0.006}
DRIFT_GAIN, DRIFT_OFFSET = 0.05, 0.02


def simulate_scan(intensity: Field, bone: Bone, rng: np.random.Generator) -> Field:
    """Scan a specimen.

    Args:
        intensity: Material, 0 to 1, (side, side, side); is overwritten.
        bone: Dense bone hardens the beam more.
        rng: Source of the faults.

    Returns:
        What the scanner reconstructs, about 0 to 1, of the same shape.
    """
    gaussian_filter(intensity, rng.uniform(*BLUR_VOXELS), output=intensity)
    deviation = np.sqrt(np.float32(NOISE**2) + np.float32(NOISE_OF_SIGNAL**2) * intensity)
    deviation *= np.float32(rng.uniform(*NOISE_FACTOR))
    intensity += deviation * rng.standard_normal(intensity.shape, dtype=np.float32)
    intensity += rings(len(intensity), rng)
    intensity *= shading(len(intensity), SHADING_GAIN[bone], rng)
    intensity *= np.float32(1 + DRIFT_GAIN * rng.uniform(-1, 1))
    intensity += np.float32(DRIFT_OFFSET * rng.uniform(-1, 1))
    return intensity


def rings(side: int, rng: np.random.Generator) -> Field:
    """Draw the rings that the detector pixels of a scanner leave, of which a few are far off.

    Returns:
        (1, side, side) intensity, the same at every level.
    """
    faults = rng.standard_normal(side) * (1 + 3 * (rng.random(side) < 0.04))
    return np.asarray(rng.uniform(*RING_INTENSITY) * ring_image(side, faults), dtype=np.float32)


def shading(side: int, strength: float, rng: np.random.Generator) -> Field:
    """Draw a slow change of gain over the volume: a beam that drifts during the scan, and its hardening in the specimen.

    Args:
        side: Voxels an edge.
        strength: Largest relative change of gain.
        rng: Source of random numbers.

    Returns:
        (side, side, side), about 1.
    """
    axis = centred_axis(side) / np.float32(side / 2)
    z, y, x, cup = (strength * rng.uniform(-1, 1, 4)).astype(np.float32)
    plane = (y * axis)[:, None] + x * axis + cup * (axis[:, None] ** 2 + axis**2)
    gain: Field = 1 + (z * axis)[:, None, None] + plane
    return gain


def quantise(intensity: Field) -> NDArray[np.uint8]:
    """Round intensity 0 to 1 to 8 bit."""
    return np.clip(intensity * 235 + 10, 0, 255).round().astype(np.uint8)


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
    states: tuple[PhantomState, ...]


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
        scan, damaged = simulate_scan(loaded.intensity, spec.bone, faults), loaded.truth
        if spec.planted and spec.planted.is_in(state.number, spec.n_states):
            scan, damaged = spec.planted.planted(scan, faults), spec.planted.moved(damaged)
        mask = mask_file(task.folder, name, state.number)
        tifffile.imwrite(scans / mask.name, quantise(scan), photometric="minisblack")
        truth = damaged * np.uint8(255)
        tifffile.imwrite(mask, truth, photometric="minisblack", compression="zlib")
    return WrittenSpecimen(index, states)


def stream(spec: PhantomSpec, index: int, stage: int) -> np.random.Generator:
    """Random numbers for one stage of one specimen: 0 draws the specimen, n the scan of state n.

    Args:
        spec: Of the phantom.
        index: Of the specimen, from 0.
        stage: 0 for the specimen, n for the scan of state n.
    """
    return np.random.default_rng([spec.seed, ord(spec.bone[0]), index, stage])


def write_tables(spec: PhantomSpec, written: list[WrittenSpecimen], folder: Path) -> None:
    """Write scans.csv, and phantom.json with the spec and the state of the first damage of each specimen.

    Args:
        spec: Of the phantom.
        written: Specimens with their scans, in order.
        folder: Where to write.
    """
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
