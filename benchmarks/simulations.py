"""Worth of the estimates where the truth is known: `make simulations` prints the tables of docs/explanation/estimates.md.

Studies are drawn, not trained. A score of fold (i, j) of a configuration is the sum of what the specimen i makes easy, what
the configuration is worth, what it is worth on i alone, and luck: of the fit, shared by its two folds, and of the fold.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats

from bonehpo.analysis.comparison import corrected_resampled_t, sign_flip_p
from bonehpo.analysis.estimates import FoldArrays, Values, bootstrap_corrected, mean, nested_estimate
from bonehpo.analysis.variance import detectable_difference

N_SETS, N_CONFIGURATIONS = 5, 50
LUCK = 0.3
"""Standard deviation of the luck of a fold, where a specimen's is 1."""


N_RANDOM = 20
"""Trials of an adaptive search before it proposes what did best."""


class World(NamedTuple):
    """Standard deviations of what makes a score.

    Attributes:
        configuration: Of what configurations are worth.
        interaction: Of what a configuration is worth on one specimen alone.
        luck: Of the luck of a fold.
        shared: Part of the luck's variance that the two folds of a fit share.
        n_families: Families of configurations that are worth the same on each specimen; 0: each is its own.
        is_adaptive: Whether all trials after the first `N_RANDOM` are of the family that did best in those.
    """

    configuration: float = 0.0
    interaction: float = 0.0
    luck: float = LUCK
    shared: float = 0.0
    n_families: int = 0
    is_adaptive: bool = False


WORLDS: Mapping[str, World] = {
    "equal, luck of each fold": World(),
    "equal, half the luck of the fit": World(shared=0.5),
    "equal, that and configuration × specimen": World(shared=0.5, interaction=0.3),
    "differ, no luck": World(configuration=0.3, luck=0.0),
    "differ, half the luck of the fit": World(configuration=0.3, shared=0.5),
    "differ, that and configuration × specimen": World(configuration=0.3, shared=0.5, interaction=0.3),
    "ten families × specimen, fixed list": World(shared=0.5, interaction=0.3, n_families=10),
    "ten families × specimen, adaptive": World(shared=0.5, interaction=0.3, n_families=10, is_adaptive=True),
}


class Study(NamedTuple):
    """A simulated study.

    Attributes:
        arrays: What was recorded; (i, j) validates as (j, i) tests.
        worth: What each configuration scores on average over all specimens that there could be, (configuration,).
        ease: How much easier than those the drawn specimens are, on average.
    """

    arrays: FoldArrays
    worth: Values
    ease: float


class Estimate(NamedTuple):
    """An estimate with both ends of its 95 % interval, and the lower end of its one-sided one."""

    value: float
    lower: float
    upper: float
    bound: float


class Row(NamedTuple):
    """How an estimate did: bias and its standard error in sd of the luck, and coverage of both intervals."""

    world: str
    estimate: str
    bias: float
    error: float
    coverage: float
    coverage_one_sided: float


def draw_study(rng: np.random.Generator, world: World, n_sets: int = N_SETS, n: int = N_CONFIGURATIONS) -> Study:
    """Draw specimens, configurations and luck."""
    ease = rng.normal(0, 1, n_sets)
    worth = rng.normal(0, world.configuration, n)
    upper = np.triu(rng.normal(0, 1, (n, n_sets, n_sets)), 1)
    fit = upper + upper.transpose(0, 2, 1)
    fold = rng.normal(0, 1, (n, n_sets, n_sets))
    luck = world.luck * (np.sqrt(world.shared) * fit + np.sqrt(1 - world.shared) * fold) * ~np.eye(n_sets, dtype=bool)
    interaction = rng.normal(0, world.interaction, (world.n_families or n, n_sets))
    families = rng.integers(0, world.n_families, n) if world.n_families else np.arange(n)
    if world.is_adaptive:
        first = families[:N_RANDOM]
        scores = interaction[first].mean(axis=1) + luck[:N_RANDOM].sum(axis=(1, 2)) / (n_sets * (n_sets - 1))
        families[N_RANDOM:] = max(set(first.tolist()), key=lambda family: scores[first == family].mean())
    test = ease[:, None] + worth[:, None, None] + interaction[families][:, :, None] + luck
    test[:, np.arange(n_sets), np.arange(n_sets)] = np.nan
    names = tuple(f"bone {i}" for i in range(n_sets))
    arrays = FoldArrays(trials=tuple(range(n)), sets=names, test=test, validation=test.transpose(0, 2, 1))
    return Study(arrays, worth, float(ease.mean()))


def estimates_of(study: Study) -> dict[str, Estimate]:
    """Every estimate of the best trial, by name."""
    arrays = study.arrays
    best = arrays.test[int(np.argmax(mean(arrays.test, (1, 2))))]
    folds = best[~np.isnan(best)]
    half = 1.96 * folds.std(ddof=1) / np.sqrt(len(folds))
    bound = 1.645 / 1.96 * half
    corrected = bootstrap_corrected(arrays.by_set)
    return {
        "paper": Estimate(folds.mean(), folds.mean() - half, folds.mean() + half, folds.mean() - bound),
        "nested, by all validation folds": _nested(arrays, spare_fit=False),
        "nested": _nested(arrays, spare_fit=True),
        "bootstrap": Estimate(corrected.mean, corrected.lower, corrected.upper, float("nan")),
    }


def _nested(arrays: FoldArrays, *, spare_fit: bool) -> Estimate:
    found = nested_estimate(arrays, spare_fit=spare_fit)
    values = np.array(list(found.by_set.values()))
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return Estimate(found.mean, found.mean - half, found.mean + half, found.lower)


def simulate(name: str, n_studies: int, seed: int = 0) -> Iterator[Row]:
    """How each estimate does in many studies of one world.

    The bias is against what the best trial is worth on the drawn specimens, which leaves their luck out; the interval has to
    cover what it is worth on specimens in general.
    """
    rng = np.random.default_rng(seed)
    errors: dict[str, list[float]] = {}
    covered: dict[str, list[tuple[bool, float]]] = {}
    for _ in range(n_studies):
        study = draw_study(rng, WORLDS[name])
        truth = study.worth[int(np.argmax(mean(study.arrays.test, (1, 2))))]
        for kind, found in estimates_of(study).items():
            errors.setdefault(kind, []).append((found.value - truth - study.ease) / LUCK)
            one_sided = float("nan") if np.isnan(found.bound) else float(found.bound <= truth)
            covered.setdefault(kind, []).append((found.lower <= truth <= found.upper, one_sided))
    for kind, values in errors.items():
        coverage, one_sided = np.array(covered[kind], dtype=np.float64).mean(axis=0)
        yield Row(name, kind, float(np.mean(values)), float(stats.sem(values)), float(coverage), float(one_sided))


class TestRow(NamedTuple):
    """Share of studies in which two networks are told apart at 5 % (and, for equal ones, at 10 %), by each test."""

    difference: float
    n_sets: int
    sign_flip: float
    sign_flip_tenth: float
    corrected_t: float
    paired_t: float


def simulate_tests(n_sets: int, difference: float, n_studies: int, seed: int = 0) -> TestRow:
    """How often two networks are told apart; `difference` in units of what `detectable_difference` says."""
    rng = np.random.default_rng(seed)
    world = World(interaction=0.3, shared=0.5)
    sd = np.sqrt(2 * (0.3**2 + LUCK**2 / (n_sets - 1)))
    shift = difference * detectable_difference(float(sd), n_sets)
    flips, corrected, paired = [], [], []
    for _ in range(n_studies):
        a, b = draw_study(rng, world, n_sets, 2).arrays.test
        folds = (a - b + shift)[~np.eye(n_sets, dtype=bool)]
        by_set = folds.reshape(n_sets, n_sets - 1).mean(axis=1)
        flips.append(sign_flip_p(by_set))
        corrected.append(corrected_resampled_t(folds, n_train=n_sets - 2, n_test=1).p)
        paired.append(stats.ttest_1samp(by_set, 0).pvalue)
    shares = [
        float(np.mean(np.array(p) <= level))
        for p, level in ((flips, 0.05), (flips, 0.1), (corrected, 0.05), (paired, 0.05))
    ]
    return TestRow(difference, n_sets, *shares)


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000, help="Simulated studies in each row.")
    n_studies = parser.parse_args().studies
    started = time.process_time()
    print(f"{n_studies} studies in each row, {N_SETS} specimens, {N_CONFIGURATIONS} configurations.\n")
    print("| configurations | estimate | bias (sd of luck) | 95 % interval covers | one-sided bound holds |")
    print("|---|---|---|---|---|")
    for name in WORLDS:
        for row in simulate(name, n_studies):
            one_sided = "–" if np.isnan(row.coverage_one_sided) else f"{row.coverage_one_sided:.3f}"
            bias = f"{row.bias:+.2f} ± {row.error:.2f}".replace("-", "−")
            print(f"| {row.world} | {row.estimate} | {bias} | {row.coverage:.3f} | {one_sided} |")
    print(
        "\n| specimens | true difference | sign-flip p ≤ 0.05 | p ≤ 0.1 | corrected t, p ≤ 0.05 | paired t, p ≤ 0.05 |"
    )
    print("|---|---|---|---|---|---|")
    for n_sets in (5, 6, 10):
        for difference in (0.0, 1.0):
            test = simulate_tests(n_sets, difference, n_studies)
            what = "none" if difference == 0 else "the smallest detectable"
            shares = (test.sign_flip, test.sign_flip_tenth, test.corrected_t, test.paired_t)
            print(f"| {n_sets} | {what} | {' | '.join(f'{share:.3f}' for share in shares)} |")
    print(f"\n{time.process_time() - started:.0f} s of CPU time.")


if __name__ == "__main__":
    main()
