"""Worth of temperatures on a specimen that nothing has seen; part of `make simulations`.

Studies are drawn, not trained. The logit of a slice is the sum of what the specimen makes easy, what the fit is worth, and
the noise of slices, times how sure the network is of itself: its own factor, as networks that are trained to the end are
too sure.
"""

import argparse
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from bonehpo.analysis.calibration import (
    Answers,
    brier_score,
    fit_temperature,
    overconfidence,
    study_temperature,
    with_temperature,
)

N_SETS, N_SLICES = 5, 60


class World(NamedTuple):
    """Slices are parted by `margin` standard deviations of their noise, on average."""

    margin: float
    specimen_sd: float
    fit_sd: float
    sureness: float


WORLDS = {
    "accuracy about 0.75": World(0.7, 0.2, 0.2, 3.0),
    "accuracy about 0.85": World(1.1, 0.3, 0.2, 3.0),
    "accuracy about 0.95": World(1.8, 0.4, 0.3, 3.0),
    "specimens differ much": World(1.1, 0.7, 0.2, 3.0),
    "fits differ much": World(1.1, 0.3, 0.6, 3.0),
    "hardly too sure": World(1.1, 0.3, 0.2, 1.2),
}


class Row(NamedTuple):
    """Over-confidence and Brier score on a specimen that nothing has seen, of the network that was best on its own two sets:
    as trained, with the temperature of those sets, and with that of all pairs."""

    world: str
    trained: tuple[float, float]
    own: tuple[float, float]
    pooled: tuple[float, float]


def simulate(name: str, n_studies: int, seed: int = 0) -> Row:
    """What temperatures are worth in many studies of one world."""
    rng, world = np.random.default_rng(seed), WORLDS[name]
    found = np.array([_study(rng, world) for _ in range(n_studies)]).mean(axis=0)
    return Row(name, *(tuple(pair) for pair in found.tolist()))


def _study(rng: np.random.Generator, world: World) -> list[tuple[float, float]]:
    margins = rng.normal(world.margin, world.specimen_sd, N_SETS + 1)
    fits, answers = [], []
    for i, j in combinations(range(N_SETS), 2):
        gain, sureness = rng.normal(0, world.fit_sd), world.sureness * rng.lognormal(0, 0.3)
        own = [_answers(rng, margins[k] + gain, sureness, str(k), str(i + j - k)) for k in (i, j)]
        fits.append((own, gain, sureness))
        answers += own
    own, gain, sureness = max(fits, key=lambda fit: np.mean([_accuracy(a) for a in fit[0]]))
    new = _answers(rng, margins[N_SETS] + gain, sureness, "new", "")
    temperatures = (
        1.0,
        fit_temperature(*(np.concatenate([getattr(a, name) for a in own]) for name in ("truth", "p_failed"))),
        study_temperature(answers),
    )
    judged = [with_temperature(new.p_failed, temperature) for temperature in temperatures]
    return [(overconfidence(new.truth, p), brier_score(new.truth, p)) for p in judged]


def _answers(rng: np.random.Generator, margin: float, sureness: float, test: str, validation: str) -> Answers:
    truth = np.arange(N_SLICES) % 2
    seen = margin * (2 * truth - 1) + rng.normal(0, 1, N_SLICES)
    return Answers(test, validation, truth, expit(sureness * 2 * abs(margin) * seen))


def _accuracy(answers: Answers) -> float:
    return float(np.mean((answers.p_failed > 0.5) == answers.truth))


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000, help="Simulated studies in each row.")
    n_studies = parser.parse_args().studies
    print(
        f"\n{n_studies} studies in each row: over-confidence and Brier score of the promoted network on the next bone.\n"
    )
    print("| world | as trained | temperature of its own two sets | of all pairs |\n|---|---|---|---|")
    for name in WORLDS:
        _, *told = simulate(name, n_studies)
        print(f"| {name} | {' | '.join(f'{over:+.3f}, {brier:.3f}'.replace('-', '−') for over, brier in told)} |")


if __name__ == "__main__":
    main()
