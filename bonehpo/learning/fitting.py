"""Doing a fit, or finding that it was done before; and how long one takes. TensorFlow is imported only to train."""

import logging
from dataclasses import replace

from bonehpo.config import Training
from bonehpo.errors import FitError
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.fits import FitResult, FitTask, Speed, is_stuck, load_fit, restart_seed, save_fit

logger = logging.getLogger(__name__)

OVERHEAD = 1.3
"""Time of a fit over that of its training steps alone: both held-out sets are evaluated after every epoch."""


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
    try:
        result = _train_anew_while_stuck(task)
    except Exception as error:
        if isinstance(error, MemoryError) or type(error).__name__ in ("ResourceExhaustedError", "OutOfMemoryError"):
            raise FitError(
                f"out of memory at {task.spec.hyperparameters}: use smaller batches or layers, or fewer --workers"
            ) from error
        raise
    save_fit(result, task.fits)
    return result


def _train_anew_while_stuck(task: FitTask) -> FitResult:
    """The fit by its own seed or, while it is stuck, by others; it has taken the time of all of them."""
    from bonehpo.learning.training import train

    spec, attempts = task.spec, [train(task)]
    while is_stuck(attempts[-1]) and len(attempts) <= spec.training.restarts:
        logger.info("fit %s is stuck, and fitted again with another seed", spec.key)
        seed = restart_seed(spec.seed, len(attempts))
        attempts.append(train(replace(task, spec=replace(spec, seed=seed))))
    return replace(
        attempts[-1],
        key=spec.key,
        restarts=len(attempts) - 1,
        cpu_seconds=sum(result.cpu_seconds for result in attempts),
        started_s=attempts[0].started_s,
    )


def find_fit(task: FitTask) -> FitResult | None:
    """The result of a task that was done before, with all files that the task asks for."""
    if any(file is not None and not file.exists() for file in (task.network, task.states)):
        return None
    return load_fit(task.fits, task.spec.key)


def training_speed(choice: Hyperparameters, side: int, training: Training) -> Speed:
    """Speed of training, measured in a few seconds, for a process that has no TensorFlow to have a worker measure it.

    Args:
        choice: The network, and its batch.
        side: Side of the slices in pixels.
        training: Augmentation and precision.
    """
    from bonehpo.learning.training import measure_speed

    return measure_speed(choice, side, training)
