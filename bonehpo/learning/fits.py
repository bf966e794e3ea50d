"""Fits: everything that determines one, the content address made of that, and its result as one small file.

The address is a hash of everything that determines the result: store, sets, holdout pair, hyperparameters, training settings
and seed. A repeated configuration, a resumed trial and a comparison find what is there; nothing is trained twice. A file
holds scores, curves and predictions, so that the MLflow view can be rebuilt whole from Optuna's storage and these files.
"""

import hashlib
import io
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bonehpo.config import Training
from bonehpo.domain import FoldScores, HoldoutPair
from bonehpo.errors import StudyError
from bonehpo.files import MAKE_ROOM, content_address, write_durably
from bonehpo.folds import Sets
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.backbones import RESNET50, Mode
from bonehpo.schema import stable
from bonehpo.task import Classification, task_named

logger = logging.getLogger(__name__)

CODE_VERSION = 3
"""Part of every address. Raise it with each change of network or training that changes results."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """That a fit trains a backbone in place of a network of the paper's family, and from where on.

    Attributes:
        mode: "frozen" trains the head alone, "fine-tuned" everything from given weights, "scratch" everything from none.
        weights: Hash of the file of the given weights; empty for "scratch".
        backbone: Its name in `BACKBONES`.
    """

    mode: Mode
    weights: str = ""
    backbone: str = RESNET50.name


@dataclass(frozen=True, kw_only=True)
class FitSpec:
    """All that determines the outcome of one fit, but for rounding: with precision "auto" the hardware chooses that.

    Attributes:
        store_id: Of the slice store.
        sets: Set name to groups; what is in neither set of `pair` is trained on.
        pair: The two sets held out.
        hyperparameters: Of the network and its optimiser.
        training: Epochs, augmentation, checkpoint rule, precision asked for.
        seed: Of weights, order and augmentation.
        task: Name of what the network shall answer, see `task.TASKS`.
        transfer: For a backbone; None for the paper's family. In addresses it keeps its first name, "resnet".
        swapped: Specimens whose pristine slices are called failed and the other way round, for the permutation test.
        slice_seed: Seed by which single slices are dealt to the sets, which leaks; None, where `sets` are held to.
    """

    store_id: str
    sets: Sets
    pair: HoldoutPair
    hyperparameters: Hyperparameters
    training: Training
    seed: int
    task: str = "damage"
    transfer: Transfer | None = None
    swapped: tuple[str, ...] = ()
    slice_seed: int | None = None

    @property
    def key(self) -> str:
        """The content address, 32 hexadecimal digits."""
        parts = {"code": CODE_VERSION, **stable(self)}
        parts["resnet"] = parts.pop("transfer")
        return content_address(parts)


@dataclass(frozen=True, kw_only=True)
class FitTask:
    """One fit, and where its images come from and its results go.

    Attributes:
        spec: What is to be fitted.
        store: Folder of the slice store.
        fits: Folder of the results.
        network: File for the trained network; None to keep none.
        states: File for what it says of its held-out sets at every load state; None for none.
        weights: File of the weights that a backbone starts from; None for none.
    """

    spec: FitSpec
    store: Path
    fits: Path
    network: Path | None = None
    states: Path | None = None
    weights: Path | None = None


def pair_seed(study_seed: int, pair: HoldoutPair, repeat: int = 0) -> int:
    """The seed of a fit: from the *unordered* pair, so that both of its folds come from the same network.

    Args:
        study_seed: `search.seed` of study.toml.
        pair: The sets held out.
        repeat: 0 in the search; 1 and up for fresh seeds.
    """
    return _seed(f"{study_seed}/{pair.label}/{repeat}")


def restart_seed(seed: int, attempt: int) -> int:
    """The seed of one attempt at a fit.

    Args:
        seed: Of the fit, which its first attempt takes.
        attempt: 0 for the first; 1 and up for restarts.
    """
    return _seed(f"{seed}/restart/{attempt}") if attempt else seed


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


class Curves(NamedTuple):
    """Loss (nats; (% strain)²) and score after each epoch. Training curves are means over the epoch's augmented images.

    Shapes: `train_*` (epoch,); `held_out_*` (set, epoch), sets in the order of the pair.
    """

    train_loss: npt.NDArray[np.float32]
    train_score: npt.NDArray[np.float32]
    held_out_loss: npt.NDArray[np.float32]
    held_out_score: npt.NDArray[np.float32]


class Predictions(NamedTuple):
    """Outputs of one network on the images of one set, columns of equal length (image,).

    `truth` is the class (0 pristine, 1 failed) and `output` the softmax output for *failed*, of three classes and more those
    for each, (image, class); or both are strains in %.
    """

    specimen: npt.NDArray[np.str_]
    state: npt.NDArray[np.int64]
    plane: npt.NDArray[np.str_]
    position: npt.NDArray[np.int64]
    truth: npt.NDArray[np.float32]
    output: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class FitResult:
    """Result of one fit.

    Attributes:
        key: Content address of its specification.
        task: Name of what the network answers.
        pair: The sets held out.
        seed: By which it was trained: that of its specification, or of its last restart.
        precision: "float32" or "bfloat16", as it was trained.
        cpu_seconds: Processor time of the training process.
        started_s: When the training began, in seconds since 1970.
        finished_s: When it ended.
        epochs: For each set of the pair, the epoch (from 0) of the network by which it is tested.
        curves: Loss and score by epoch.
        predictions: For each set of the pair, what that network said of its images.
        restarts: Seeds before that one, with which it was stuck.
    """

    key: str
    task: str
    pair: HoldoutPair
    seed: int
    precision: str
    cpu_seconds: float
    started_s: float
    finished_s: float
    epochs: tuple[int, int]
    curves: Curves
    predictions: tuple[Predictions, Predictions]
    restarts: int = 0

    def fold_scores(self) -> tuple[FoldScores, FoldScores]:
        """The two folds of the fit: (test first, validation second) and its mirror image."""
        return self._fold(0), self._fold(1)

    def _fold(self, i: int) -> FoldScores:
        tested = self.predictions[i]
        found = task_named(self.task).evaluate(tested.output, tested.truth, tested.plane)
        return FoldScores(
            test=self.pair[i],
            validation=self.pair[1 - i],
            test_score=found.score,
            validation_score=float(self.curves.held_out_score[1 - i, self.epochs[i]]),
            score_by_plane=found.score_by_plane,
            details=found.details,
        )


KNOWLEDGE = 0.01
"""Nats by which a training loss must lie below that of guessing to be of a network that has learnt.

A network that is right about 57 % of its training slices, and as sure as that, lies 0.01 below ln 2. One whose output does
not depend on the image lies at ln 2 or above, as the steps of its last bias go on: 0.0022 above at learning rates up to
0.01, 0.0095 at 0.03 (docs/explanation/stuck.md).
"""

SAME = 1e-6
"""Difference of two outputs up to which they are the same answer: some roundings of float32."""


def is_stuck(result: FitResult) -> bool:
    """True for a fit that never learnt, by its training loss and its outputs; the truth of held-out sets is not looked at.

    Its training loss, meaned over the last quarter of the epochs, is not below that of guessing (ln 2 for two classes), and

    - all outputs on its held-out slices are the same, or
    - that loss is no more than `KNOWLEDGE` above guessing either, and was below it after no epoch.

    A network that has learnt may be so sure of its held-out slices that its outputs round to the same number: it is bad, not
    stuck. Where a number is predicted, guessing has no known loss: a fit is stuck if its outputs are the same.
    """
    outputs = np.concatenate([told.output for told in result.predictions])
    is_constant = bool((np.ptp(outputs, axis=0) <= SAME).all())
    task, losses = task_named(result.task), result.curves.train_loss
    if not isinstance(task, Classification):
        return is_constant
    guessing = -math.log(task.chance)
    at_the_end = float(losses[-max(1, len(losses) // 4) :].mean())
    if at_the_end < guessing - KNOWLEDGE:
        return False
    return is_constant or (at_the_end <= guessing + KNOWLEDGE and bool(losses.min() >= guessing - KNOWLEDGE))


def fit_path(folder: Path, key: str) -> Path:
    """Path of the result with this address."""
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
        "restarts": result.restarts,
    }
    columns = {f"{name}_{i}": c for i, p in enumerate(result.predictions) for name, c in p._asdict().items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, head=np.array(json.dumps(head)), **result.curves._asdict(), **columns)
    write_durably(fit_path(folder, result.key), buffer.getvalue(), f"{MAKE_ROOM}; nothing finished is lost")


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
        restarts=head.get("restarts", 0),
    )


def _predictions(arrays: Mapping[str, npt.NDArray[np.generic]], i: int) -> Predictions:
    return Predictions(**{name: arrays[f"{name}_{i}"] for name in Predictions._fields})  # type: ignore[arg-type]


class Speed(NamedTuple):
    """Training images a second of one process, and multiply-accumulate operations a second of their forward passes."""

    images_per_s: float
    operations_per_s: float
    precision: str


class StateAnswers(NamedTuple):
    """Columns of equal length (slice,): the slices of both held-out sets at all load states, and what was said of them.

    `held_out` is 0 for the first set of the pair and 1 for the second; `output` as in `Predictions`.
    """

    held_out: npt.NDArray[np.int64]
    specimen: npt.NDArray[np.str_]
    state: npt.NDArray[np.int64]
    plane: npt.NDArray[np.str_]
    position: npt.NDArray[np.int64]
    output: npt.NDArray[np.float32]

    def p_failed(self, pair: HoldoutPair, name: str) -> dict[int, npt.NDArray[np.float32]]:
        """For each load state the outputs (slice,) on one set of the pair."""
        mine = self.held_out == pair.index(name)
        return {int(state): self.output[mine & (self.state == state)] for state in np.unique(self.state[mine])}


def save_answers(answers: StateAnswers, path: Path) -> None:
    """Write answers durably.

    Raises:
        StudyError: The file cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **answers._asdict())
    write_durably(path, buffer.getvalue())


def load_answers(path: Path) -> StateAnswers:
    """Read what `save_answers` wrote.

    Raises:
        StudyError: It is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return StateAnswers(**{name: file[name] for name in StateAnswers._fields})
    except (OSError, ValueError, KeyError) as error:
        raise StudyError(f"{path} cannot be read ({error}): remove it, and run the same command again") from error
