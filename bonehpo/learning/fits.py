"""Results of fits, addressed by their content: one small file for each training ever finished.

The address is a hash of everything that determines the result: store, sets, holdout pair, hyperparameters, training settings
and seed. A repeated configuration, a resumed trial and a comparison find what is there; nothing is trained twice. A file
holds scores, curves and predictions, so that the MLflow view can be rebuilt whole from Optuna's storage and these files.
"""

import io
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bonehpo.domain import FoldScores, HoldoutPair, Task
from bonehpo.errors import FitError, StudyError
from bonehpo.learning.metrics import evaluate
from bonehpo.learning.specs import FitTask

logger = logging.getLogger(__name__)


class Curves(NamedTuple):
    """Loss (nats; (% strain)²) and score after each epoch. Training curves are means over the epoch's augmented images.

    Shapes: `train_*` (epoch,); `held_out_*` (set, epoch), sets in the order of the pair.
    """

    train_loss: npt.NDArray[np.float32]
    train_score: npt.NDArray[np.float32]
    held_out_loss: npt.NDArray[np.float32]
    held_out_score: npt.NDArray[np.float32]


class Predictions(NamedTuple):
    """What one network said of the images of one set, columns of equal length (image,).

    `truth` is 0 pristine or 1 failed and `output` the softmax output for *failed*; or both are strains in %.
    """

    specimen: npt.NDArray[np.str_]
    state: npt.NDArray[np.int64]
    plane: npt.NDArray[np.str_]
    position: npt.NDArray[np.int64]
    truth: npt.NDArray[np.float32]
    output: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class FitResult:
    """What one fit yields.

    Attributes:
        key: Content address of its specification.
        task: What the network answers.
        pair: The sets held out.
        seed: Of the fit.
        precision: "float32" or "bfloat16", as it was trained.
        cpu_seconds: Processor time of the training process.
        started_s: When the training began, in seconds since 1970.
        finished_s: When it ended.
        epochs: For each set of the pair, the epoch (from 0) of the network by which it is tested.
        curves: Loss and score by epoch.
        predictions: For each set of the pair, what that network said of its images.
    """

    key: str
    task: Task
    pair: HoldoutPair
    seed: int
    precision: str
    cpu_seconds: float
    started_s: float
    finished_s: float
    epochs: tuple[int, int]
    curves: Curves
    predictions: tuple[Predictions, Predictions]

    def fold_scores(self) -> tuple[FoldScores, FoldScores]:
        """The two folds of the fit: (test first, validation second) and its mirror image."""
        return self._fold(0), self._fold(1)

    def _fold(self, i: int) -> FoldScores:
        tested = self.predictions[i]
        found = evaluate(self.task, tested.output, tested.truth, tested.plane)
        return FoldScores(
            test=self.pair[i],
            validation=self.pair[1 - i],
            test_score=found.score,
            validation_score=float(self.curves.held_out_score[1 - i, self.epochs[i]]),
            score_by_plane=found.score_by_plane,
            details=found.details,
        )


def fit_path(folder: Path, key: str) -> Path:
    """Where the result with this address lies."""
    return folder / f"{key}.npz"


def save_fit(result: FitResult, folder: Path) -> None:
    """Write a result durably: whole and on the disk, or not at all.

    Raises:
        StudyError: The folder cannot be written, or the disk is full.
    """
    head = {
        "key": result.key,
        "task": result.task,
        "pair": list(result.pair),
        "seed": result.seed,
        "precision": result.precision,
        "cpu_seconds": result.cpu_seconds,
        "started_s": result.started_s,
        "finished_s": result.finished_s,
        "epochs": list(result.epochs),
    }
    columns = {f"{name}_{i}": c for i, p in enumerate(result.predictions) for name, c in p._asdict().items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, head=np.array(json.dumps(head)), **result.curves._asdict(), **columns)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(fit_path(folder, result.key), buffer.getvalue())
    except OSError as error:
        raise StudyError(
            f"a result could not be written to {folder}: {error.strerror}: make room there and run the same command again; "
            "nothing finished is lost"
        ) from error


def load_fit(folder: Path, key: str) -> FitResult | None:
    """The result with this address, or None where there is none that can be read."""
    path = fit_path(folder, key)
    if not path.exists():
        return None
    try:
        return _read_fit(path, key)
    except Exception as error:  # whatever a flipped bit makes of a zip archive
        logger.warning("%s is damaged (%s) and will be trained again", path, error)
        return None


def _read_fit(path: Path, key: str) -> FitResult:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        arrays: Mapping[str, npt.NDArray[np.generic]] = dict(file)
    head = json.loads(str(arrays["head"]))
    if head["key"] != key:
        raise ValueError(f"it is the result {head['key']}")
    return FitResult(
        key=key,
        task=head["task"],
        pair=HoldoutPair(*head["pair"]),
        seed=head["seed"],
        precision=head["precision"],
        cpu_seconds=head["cpu_seconds"],
        started_s=head["started_s"],
        finished_s=head["finished_s"],
        epochs=(head["epochs"][0], head["epochs"][1]),
        curves=Curves(**{name: arrays[name] for name in Curves._fields}),  # type: ignore[arg-type]
        predictions=(_predictions(arrays, 0), _predictions(arrays, 1)),
    )


def _predictions(arrays: Mapping[str, npt.NDArray[np.generic]], i: int) -> Predictions:
    return Predictions(**{name: arrays[f"{name}_{i}"] for name in Predictions._fields})  # type: ignore[arg-type]


def run_fit(task: FitTask) -> FitResult:
    """Do one fit, or find that it was done before. TensorFlow is imported only for the former.

    Raises:
        FitError: The loss became NaN or infinite, or memory ran out.
        StoreError: The store is not the one that is meant, or is damaged.
        StudyError: The result cannot be written.
    """
    done = find_fit(task)
    if done is not None:
        return done
    from bonehpo.learning.training import train

    try:
        result = train(task)
    except Exception as error:
        if isinstance(error, MemoryError) or type(error).__name__ in ("ResourceExhaustedError", "OutOfMemoryError"):
            raise FitError(
                f"out of memory at {task.spec.hyperparameters}: use smaller batches or layers, or fewer --workers"
            ) from error
        raise
    save_fit(result, task.fits)
    return result


def find_fit(task: FitTask) -> FitResult | None:
    """The result of a task that was done before, with all files that the task asks for."""
    if any(file is not None and not file.exists() for file in (task.network, task.states)):
        return None
    return load_fit(task.fits, task.spec.key)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file so that after a crash or power cut it is there whole, or not there."""
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
