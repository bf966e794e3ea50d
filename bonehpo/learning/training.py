"""One fit: a network trained on the sets outside one holdout pair, and tested on both sets of the pair.

Fold (i, j) and fold (j, i) train on the same images, so that one fit yields both, exactly, as long as nothing in training
depends on which of the two is called validation. Here nothing does: the seed comes from the unordered pair, the learning
rate is constant, and with `checkpoint = "best"` the epoch that tests set i is the one that was best on set j.
"""

import logging
import time
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bonehpo.errors import FitError
from bonehpo.learning.fits import Curves, FitResult, Predictions
from bonehpo.learning.learners import Learner, choose_precision, make_cnn_learner
from bonehpo.learning.metrics import loss, score
from bonehpo.learning.specs import FitSpec, FitTask
from bonehpo.learning.states import answer_states, join_answers, save_states
from bonehpo.learning.transfer import make_resnet_learner
from bonehpo.store.images import LabelledImages, load_images

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
    images = load_images(task.store, spec.store_id, spec.task).swapped(spec.swapped)
    started_s, cpu_started = time.time(), time.process_time()
    frozen = spec.resnet is not None and spec.resnet.mode == "frozen"  # a head on features alone
    precision = "float32" if frozen else choose_precision(spec.training.precision)
    held_out = tuple(images.indices(spec.sets[name]) for name in spec.pair)
    train = images.indices(tuple(g for name, groups in spec.sets.items() if name not in spec.pair for g in groups))
    if spec.resnet is None:
        learner = make_cnn_learner(task, images, train, precision)
    else:
        learner = make_resnet_learner(task, images, precision)
    trained = _train(learner, images, train, held_out, spec, keep=bool(task.network or task.states))
    if task.states is not None:
        answers = []
        for i in (0, 1):  # each set is asked of the network by which it is tested
            learner.network.set_weights(trained.weights[i])
            answers.append(answer_states(learner, task, i))
        save_states(join_answers(answers), task.states)
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
    """What training yields: `epochs` and `outputs` for each set of the pair.

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
    curves, checkpoint = found.curves, spec.training.checkpoint
    for epoch in range(spec.training.epochs):
        curves.train_loss[epoch], curves.train_score[epoch] = _train_epoch(
            learner, generator.permutation(train), spec, generator
        )
        outputs = [learner.outputs(indices) for indices in held_out]
        if not all(np.isfinite(values).all() for values in outputs):
            raise FitError(
                f"diverged: the network answers what is no number after epoch {epoch + 1} at {spec.hyperparameters}"
            )
        for i, indices in enumerate(held_out):
            curves.held_out_loss[i, epoch] = loss(spec.task, outputs[i], images.truth[indices])
            curves.held_out_score[i, epoch] = score(spec.task, outputs[i], images.truth[indices])
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
    """Whether this epoch's network is the one to take, judged by `scores` (epoch,).

    A set is tested by the epoch that was best on the *other* set of the pair; a network that is kept for new specimens is
    that of the epoch best on both.
    """
    return checkpoint == "last" or epoch == 0 or bool(scores[epoch] > scores[:epoch].max())


def _train_epoch(
    learner: Learner, order: npt.NDArray[np.int64], spec: FitSpec, generator: np.random.Generator
) -> tuple[float, float]:
    """One pass; its mean loss and score over images. Keras forgets both after every batch."""
    totals = np.zeros(2)
    for start in range(0, len(order), spec.hyperparameters.batch):
        chosen = order[start : start + spec.hyperparameters.batch]
        logs = learner.network.train_on_batch(
            learner.batch(chosen, generator), learner.targets[chosen], return_dict=True
        )
        if not np.isfinite(logs["loss"]):
            raise FitError(f"diverged: the loss became {logs['loss']} at {spec.hyperparameters}")
        totals += len(chosen) * np.array([logs["loss"], logs["score"]], np.float64)
    loss_, score_ = totals / len(order)
    if spec.task == "strain":
        return float(loss_) * learner.scale**2, -float(score_) * learner.scale
    return float(loss_), float(score_)


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
