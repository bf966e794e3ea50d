"""What a fit costs: bonehpo's training loop against a bare Keras `fit` of the same network, run alternately.

`make bench` prints one table. The figures of this machine go into the studies' README files; nothing is judged here.
"""

import os

os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")  # as in a worker

import resource
import time

import numpy as np

from bonehpo.config import Training
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.learners import augment, choose_precision, compiled_network

N_IMAGES, BATCH, ROUNDS = 240, 20, 4
CASES = ((3, 5, 64), (4, 5, 64), (5, 3, 64), (4, 5, 200))


def cpu_s() -> float:
    """Processor seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def ours(network, pixels, labels, generator) -> None:
    """One epoch as `learning.training` does it, augmentation included."""
    network.reset_metrics()
    for chosen in np.split(generator.permutation(len(labels)), len(labels) // BATCH):
        images = augment(pixels[chosen], Training(), generator)
        network.train_on_batch(images[..., None], labels[chosen], return_dict=True)


def bare(network, pixels, labels, _) -> None:
    """One epoch of `fit` on an array, without augmentation."""
    network.fit(pixels[..., None], labels, batch_size=BATCH, epochs=1, verbose=0)


def main() -> None:
    """Print images a CPU second of both, for each case."""
    precision = choose_precision("auto")
    generator = np.random.default_rng(0)
    print(f"{precision}, one thread, batch {BATCH}, images per CPU second (best of {ROUNDS}, run alternately)")
    print(f"{'network':28} {'bonehpo':>8} {'Keras fit':>10} {'ratio':>6}")
    for layers, kernel, side in CASES:
        pixels = generator.integers(0, 256, (N_IMAGES, side, side), dtype=np.uint8)
        labels = generator.integers(0, 2, N_IMAGES)
        network = compiled_network(Hyperparameters(layers=layers, kernel=kernel), side, precision)
        best = {}
        for round_ in range(ROUNDS + 1):
            for name, epoch in (("ours", ours), ("bare", bare)):
                started = cpu_s()
                epoch(network, pixels, labels, generator)
                if round_:  # the first traces
                    best[name] = max(best.get(name, 0), N_IMAGES / (cpu_s() - started))
        name = f"layers {layers}, kernel {kernel}, {side} px"
        print(f"{name:28} {best['ours']:8.0f} {best['bare']:10.0f} {best['ours'] / best['bare']:6.2f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    print(f"at {time.strftime('%Y-%m-%d')}")


if __name__ == "__main__":
    main()
