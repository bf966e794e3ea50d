"""What a search will take, before it starts: folds, images, fits, parameters, time and disk."""

import itertools
from dataclasses import dataclass

import numpy as np

from bonehpo.learning.architecture import count_operations, count_parameters
from bonehpo.search.objective import SearchPlan

BYTES_PER_PREDICTION = 12
BYTES_PER_PARAMETER = 4
BYTES_PER_FOLD_RUN = 60_000
"""What MLflow's database and files take for the run of a fold."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a search will take.

    Attributes:
        n_folds: Folds of a trial.
        n_fits: Fits of the whole search, the optimum's fresh ones included.
        n_train: Training images of one fit: fewest and most.
        n_held_out: Images of one held-out set: fewest and most.
        parameters: Trainable parameters: fewest and most over the space.
        hours: Expected time; NaN where no speed was measured.
        gigabytes: Expected disk use beside the store.
    """

    n_folds: int
    n_fits: int
    n_train: tuple[int, int]
    n_held_out: tuple[int, int]
    parameters: tuple[int, int]
    hours: float
    gigabytes: float


def forecast(
    plan: SearchPlan, n_trials: int, operations_per_s: float, n_workers: int, overhead: float, n_seeds: int = 1
) -> Forecast:
    """Reckon what a search will take.

    Args:
        plan: Of the search.
        n_trials: Trials of the study.
        operations_per_s: Forward multiply-accumulate operations a second while training, of one worker.
        n_workers: Fits that run at a time.
        overhead: Time of a fit over that of its training steps.
        n_seeds: Sets of fresh seeds with which the optimum is fitted.
    """
    total = sum(plan.n_images.values())
    train = [total - sum(plan.n_images[name] for name in pair) for pair in plan.pairs]
    networks = list(itertools.product(plan.config.space.layers, plan.config.space.kernel))
    parameters = [count_parameters(layers, kernel, plan.side) for layers, kernel in networks]
    operations = float(np.mean([count_operations(layers, kernel, plan.side) for layers, kernel in networks]))
    n_fits = (n_trials + n_seeds) * len(plan.pairs)
    seconds = (
        n_fits * np.mean(train) * plan.config.training.epochs * operations / operations_per_s * overhead / n_workers
    )
    held_out = list(plan.n_images.values())
    per_fit = 2 * np.mean(held_out) * BYTES_PER_PREDICTION + 2 * BYTES_PER_FOLD_RUN
    kept = len(plan.pairs) * np.mean(parameters) * BYTES_PER_PARAMETER
    return Forecast(
        n_folds=2 * len(plan.pairs),
        n_fits=n_fits,
        n_train=(min(train), max(train)),
        n_held_out=(min(held_out), max(held_out)),
        parameters=(min(parameters), max(parameters)),
        hours=float(seconds) / 3600,
        gigabytes=float(n_fits * per_fit + kept) / 1e9,
    )
