"""How fast this machine trains, measured: for the forecast of `bonehpo search --dry-run`."""

import time
from typing import NamedTuple

import numpy as np

from bonehpo.config import Training
from bonehpo.domain import Hyperparameters
from bonehpo.learning.architecture import count_operations
from bonehpo.learning.augmentation import augment
from bonehpo.learning.learners import choose_precision, compiled_network

N_STEPS = 12
OVERHEAD = 1.3
"""Time of a fit over that of its training steps alone: both held-out sets are evaluated after every epoch."""


class Speed(NamedTuple):
    """Training images a second of one process, and multiply-accumulate operations a second of their forward passes."""

    images_per_s: float
    operations_per_s: float
    precision: str


def measure_speed(choice: Hyperparameters, side: int, training: Training) -> Speed:
    """Train a network for a few steps on random images. Takes a few seconds.

    Args:
        choice: The network, and its batch.
        side: Side of the slices in pixels.
        training: Augmentation and precision.
    """
    precision = choose_precision(training.precision)
    network = compiled_network(choice.layers, choice.kernel, side, precision)
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (choice.batch, side, side), dtype=np.uint8)
    labels = generator.integers(0, 2, choice.batch)
    network.train_on_batch(pixels[..., None], labels)  # traces
    started = time.perf_counter()
    for _ in range(N_STEPS):
        network.train_on_batch(augment(pixels, training, generator)[..., None], labels)
    images_per_s = N_STEPS * choice.batch / (time.perf_counter() - started)
    return Speed(images_per_s, images_per_s * count_operations(choice.layers, choice.kernel, side), precision)
