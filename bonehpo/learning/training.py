"""One fit: a network trained on the sets outside one holdout pair, and tested on both sets of the pair.

Fold (i, j) and fold (j, i) train on the same images, so that one fit yields both, exactly, as long as nothing in training
depends on which of the two is called validation. Here nothing does: the seed comes from the unordered pair, the learning
rate follows the number of the step alone, and with `checkpoint = "best"` the epoch that tests set i is the one that was
best on set j.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bonehpo.config import Training
from bonehpo.errors import FitError
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.architecture import count_operations
from bonehpo.learning.fits import Curves, FitResult, FitSpec, FitTask, Predictions, Speed, StateAnswers, save_answers
from bonehpo.learning.learners import (
    Learner,
    augment,
    choose_precision,
    compiled_network,
    make_cnn_learner,
    make_transfer_learner,
    rate_at,
)
from bonehpo.store.images import LabelledImages, load_images, open_expected
from bonehpo.task import task_named

logger = logging.getLogger(__name__)

BOTH = 2
"""Beside 0 and 1, the sets of a pair: both of them."""


def train(task: FitTask) -> FitResult:
    """Train the network of a task, and test it on both sets of its pair.

    Raises:
        FitError: The loss became NaN or infinite.
        StoreError: The store is not the one that is meant, or is damaged.
    """
    spec = task.spec
    images = load_images(task.store, spec.store_id, task_named(spec.task)).swapped(spec.swapped)
    started_s, cpu_started = time.time(), time.process_time()
    frozen = spec.transfer is not None and spec.transfer.mode == "frozen"  # a head on features alone
    precision = "float32" if frozen else choose_precision(spec.training.precision)
    by_set = images.by_set(spec.sets, spec.slice_seed)
    held_out = tuple(by_set[name] for name in spec.pair)
    train = np.sort(np.concatenate([indices for name, indices in by_set.items() if name not in spec.pair]))
    if spec.transfer is None:
        learner = make_cnn_learner(task, images, train, precision)
    else:
        learner = make_transfer_learner(task, images, precision)
    trained = _train(learner, images, train, held_out, spec, keep=bool(task.network or task.states))
    if task.states is not None:
        answers = []
        for i in (0, 1):  # each set is asked of the network by which it is tested
            learner.network.set_weights(trained.weights[i])
            answers.append(answer_states(learner, task, i))
        save_answers(join_answers(answers), task.states)
    if task.network is not None:
        learner.network.set_weights(trained.weights[BOTH])
        learner.keep(task.network)
    return FitResult(
        key=spec.key,
        task=spec.task,
        pair=spec.pair,
        seed=spec.seed,
        precision=precision,
        cpu_seconds=time.process_time() - cpu_started,
        started_s=started_s,
        finished_s=time.time(),
        epochs=(trained.epochs[0], trained.epochs[1]),
        curves=trained.curves,
        predictions=(
            _columns(images, held_out[0], trained.outputs[0]),
            _columns(images, held_out[1], trained.outputs[1]),
        ),
    )


class _Trained(NamedTuple):
    """Yield of training: `epochs` and `outputs` for each set of the pair.

    Of a network that is kept also `weights`: for each set those by which it is tested, for `BOTH` those of the epoch that
    was best on both.
    """

    curves: Curves
    epochs: list[int]
    outputs: dict[int, npt.NDArray[np.float32]]
    weights: dict[int, list[npt.NDArray[np.float32]]]


def _train(
    learner: Learner,
    images: LabelledImages,
    train: npt.NDArray[np.int64],
    held_out: tuple[npt.NDArray[np.int64], ...],
    spec: FitSpec,
    *,
    keep: bool,
) -> _Trained:
    generator = np.random.default_rng(spec.seed)
    found = _Trained(_empty_curves(spec.training.epochs), [0, 0], {}, {})
    curves, checkpoint, answer = found.curves, spec.training.checkpoint, task_named(spec.task)
    n_steps = spec.training.epochs * math.ceil(len(train) / spec.hyperparameters.batch)
    rates = (rate_at(spec.hyperparameters, step, n_steps) for step in range(n_steps))
    for epoch in range(spec.training.epochs):
        curves.train_loss[epoch], curves.train_score[epoch] = _train_epoch(
            learner, generator.permutation(train), spec, generator, rates
        )
        outputs = [learner.outputs(indices) for indices in held_out]
        if not all(np.isfinite(values).all() for values in outputs):
            raise FitError(
                f"diverged: non-finite outputs (NaN or inf) after epoch {epoch + 1} at {spec.hyperparameters}"
            )
        for i, indices in enumerate(held_out):
            curves.held_out_loss[i, epoch] = answer.loss(outputs[i], images.truth[indices])
            curves.held_out_score[i, epoch] = answer.score(outputs[i], images.truth[indices])
        for i in (0, 1):
            if _takes(checkpoint, curves.held_out_score[1 - i], epoch):
                found.epochs[i], found.outputs[i] = epoch, outputs[i]
        if keep and (checkpoint == "best" or epoch == spec.training.epochs - 1):
            _keep_weights(found, learner.network.get_weights(), checkpoint, epoch)
    return found


def _keep_weights(found: _Trained, weights: list[npt.NDArray[np.float32]], checkpoint: str, epoch: int) -> None:
    for i in (0, 1):
        if found.epochs[i] == epoch:
            found.weights[i] = weights
    if _takes(checkpoint, found.curves.held_out_score.mean(axis=0), epoch):
        found.weights[BOTH] = weights


def _takes(checkpoint: str, scores: npt.NDArray[np.float32], epoch: int) -> bool:
    """True if this epoch's network is the one to take, judged by `scores` (epoch,).

    A set is tested by the epoch that was best on the *other* set of the pair; a network that is kept for new specimens is
    that of the epoch best on both.
    """
    return checkpoint == "last" or epoch == 0 or bool(scores[epoch] > scores[:epoch].max())


def _train_epoch(
    learner: Learner,
    order: npt.NDArray[np.int64],
    spec: FitSpec,
    generator: np.random.Generator,
    rates: Iterator[float],
) -> tuple[float, float]:
    """One pass; its mean loss and score over images. Keras forgets both after every batch."""
    totals = np.zeros(2)
    for start in range(0, len(order), spec.hyperparameters.batch):
        chosen = order[start : start + spec.hyperparameters.batch]
        learner.network.optimizer.learning_rate = next(rates)
        logs = learner.network.train_on_batch(
            learner.batch(chosen, generator), learner.targets[chosen], return_dict=True
        )
        if not np.isfinite(logs["loss"]):
            raise FitError(f"diverged: the loss became {logs['loss']} at {spec.hyperparameters}")
        totals += len(chosen) * np.array([logs["loss"], logs["score"]], np.float64)
    loss, shown = totals / len(order)
    sign = task_named(spec.task).measure.sign
    return float(loss) * learner.scale**2, sign * float(shown) * learner.scale


def _empty_curves(n_epochs: int) -> Curves:
    return Curves(*(np.full(shape, np.nan, np.float32) for shape in (n_epochs, n_epochs, (2, n_epochs), (2, n_epochs))))


def _columns(images: LabelledImages, indices: npt.NDArray[np.int64], outputs: npt.NDArray[np.float32]) -> Predictions:
    return Predictions(
        specimen=images.specimens[indices],
        state=images.states[indices],
        plane=images.planes[indices],
        position=images.positions[indices],
        truth=images.truth[indices],
        output=outputs,
    )


N_STEPS = 12


def measure_speed(choice: Hyperparameters, side: int, training: Training) -> Speed:
    """Train a network for a few steps on random images. Takes a few seconds.

    Args:
        choice: The network, and its batch.
        side: Side of the slices in pixels.
        training: Augmentation and precision.
    """
    precision = choose_precision(training.precision)
    network = compiled_network(choice, side, precision)
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (choice.batch, side, side), dtype=np.uint8)
    labels = generator.integers(0, 2, choice.batch)
    network.train_on_batch(pixels[..., None], labels)  # traces
    started = time.perf_counter()
    for _ in range(N_STEPS):
        network.train_on_batch(augment(pixels, training, generator)[..., None], labels)
    images_per_s = N_STEPS * choice.batch / (time.perf_counter() - started)
    return Speed(images_per_s, images_per_s * count_operations(choice, side), precision)


def answer_states(learner: Learner, task: FitTask, held_out: int) -> StateAnswers:
    """Ask a trained network about every load state of one of its held-out sets, a group of slices in memory at a time.

    Args:
        learner: With the trained network.
        task: Of the fit: store, sets and pair.
        held_out: 0 or 1: which set of the pair.
    """
    store = open_expected(task.store, task.spec.store_id)
    n = store.n_slices
    keys = [
        (held_out, group.specimen, state, group.plane)
        for group in task.spec.sets[task.spec.pair[held_out]]
        for state in store.states
        if store.has(group.specimen, state)
    ]
    return StateAnswers(
        held_out=np.repeat([key[0] for key in keys], n),
        specimen=np.repeat([key[1] for key in keys], n),
        state=np.repeat([key[2] for key in keys], n),
        plane=np.repeat([key[3] for key in keys], n),
        position=np.tile(np.arange(n), len(keys)),
        output=np.concatenate([learner.answers(store.group(*key[1:])) for key in keys]),
    )


def join_answers(answers: Sequence[StateAnswers]) -> StateAnswers:
    """Answers on several sets, one after the other."""
    return StateAnswers(*(np.concatenate(columns) for columns in zip(*answers, strict=True)))
