"""Worth of the estimates where the truth is known: `make simulations` prints the tables of docs/explanation/estimates.md.

Studies are drawn, not trained. A score of fold (i, j) of a configuration is the sum of what the specimen i makes easy, what
the configuration is worth, what it is worth on i alone, and luck: of the fit, shared by its two folds, and of the fold.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from bonehpo.analysis.comparison import against_baseline, corrected_resampled_t, sign_flip_p
from bonehpo.analysis.estimates import FoldArrays, NestedEstimate, bootstrap_corrected, mean, nested_estimate
from bonehpo.analysis.intervals import Interval, Values
from bonehpo.analysis.variance import detectable_difference

N_SETS, N_CONFIGURATIONS = 5, 50
LUCK = 0.3
"""Standard deviation of the luck of a fold, where a specimen's is 1."""


N_RANDOM = 20
"""Trials of an adaptive search before it proposes what did best."""

CHANCE = -3.0
"""Score of a fit that has collapsed."""

Specimens = Literal["normal", "skewed", "one hard in five"]


class World(NamedTuple):
    """Standard deviations of what makes a score, and what else there is.

    Attributes:
        configuration: Of what configurations are worth.
        interaction: Of what a configuration is worth on one specimen alone.
        luck: Of the luck of a fold.
        shared: Part of the luck's variance that the two folds of a fit share.
        n_families: Families of configurations that are worth the same on each specimen; 0: each is its own.
        is_adaptive: Whether all trials after the first `N_RANDOM` are of the family that did best in those.
        specimen: Of how easy specimens are.
        specimens: Their distribution: a tail of hard ones, or a hard one (by three standard deviations) in five.
        ceiling: The highest score that there is.
        collapses: Share of the fits that collapse, to `CHANCE` on both of their folds.
    """

    configuration: float = 0.0
    interaction: float = 0.0
    luck: float = LUCK
    shared: float = 0.0
    n_families: int = 0
    is_adaptive: bool = False
    specimen: float = 1.0
    specimens: Specimens = "normal"
    ceiling: float = np.inf
    collapses: float = 0.0


ALL_OF_IT = World(configuration=0.3, shared=0.5, interaction=0.3)

WORLDS: Mapping[str, World] = {
    "equal, luck of each fold": World(),
    "equal, half the luck of the fit": World(shared=0.5),
    "equal, that and configuration × specimen": World(shared=0.5, interaction=0.3),
    "differ, no luck": World(configuration=0.3, luck=0.0),
    "differ, half the luck of the fit": World(configuration=0.3, shared=0.5),
    "differ, that and configuration × specimen": ALL_OF_IT,
    "ten families × specimen, fixed list": World(shared=0.5, interaction=0.3, n_families=10),
    "ten families × specimen, adaptive": World(shared=0.5, interaction=0.3, n_families=10, is_adaptive=True),
    "specimens hardly differ": ALL_OF_IT._replace(specimen=0.1),
    "skewed specimens": ALL_OF_IT._replace(specimens="skewed"),
    "one hard specimen in five": ALL_OF_IT._replace(specimens="one hard in five"),
    "a ceiling over half of the specimens": ALL_OF_IT._replace(ceiling=0.3),
    "one fit in twenty collapses": ALL_OF_IT._replace(collapses=0.05),
}


class Study(NamedTuple):
    """A simulated study.

    Attributes:
        world: That it was drawn from.
        arrays: What was recorded; (i, j) validates as (j, i) tests.
        worth: What each configuration scores on average over all specimens that there could be, (configuration,).
        on_sets: What each is worth on each drawn specimen, luck left out, (configuration, set).
        ease: How much easier than those the drawn specimens are, on average.
    """

    world: World
    arrays: FoldArrays
    worth: Values
    on_sets: Values
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


def draw_ease(rng: np.random.Generator, world: World, n: int) -> Values:
    """How easy specimens are, (specimen,): mean 0, standard deviation as in the world."""
    if world.specimens == "skewed":
        return np.asarray(world.specimen * (1 - rng.exponential(1, n)))
    if world.specimens == "one hard in five":
        hard = 3 * (0.2 - (rng.random(n) < 0.2))
        return np.asarray(world.specimen * (hard + rng.normal(0, 0.5, n)) / np.hypot(1.2, 0.5))
    return rng.normal(0, world.specimen, n)


def with_luck(rng: np.random.Generator, world: World, on_sets: Values) -> Values:
    """Scores of the folds of configurations that are worth so much on each set, (configuration, test, validation)."""
    n, n_sets = on_sets.shape
    upper = np.triu(rng.normal(0, 1, (n, n_sets, n_sets)), 1)
    fit = upper + upper.transpose(0, 2, 1)
    fold = rng.normal(0, 1, (n, n_sets, n_sets))
    luck = world.luck * (np.sqrt(world.shared) * fit + np.sqrt(1 - world.shared) * fold)
    scores = np.minimum(on_sets[:, :, None] + luck, world.ceiling)
    fails = np.triu(rng.random((n, n_sets, n_sets)) < world.collapses, 1)
    scores[fails | fails.transpose(0, 2, 1)] = CHANCE
    scores[:, np.arange(n_sets), np.arange(n_sets)] = np.nan
    return np.asarray(scores)


def expected(world: World, worth: Values, sd: float) -> Values:
    """Mean score where what luck leaves has this standard deviation: a ceiling and collapses lower it."""
    if not np.isfinite(world.ceiling) or sd == 0:
        kept = np.minimum(worth, world.ceiling)
    else:
        z = (world.ceiling - worth) / sd
        kept = worth * stats.norm.cdf(z) + world.ceiling * stats.norm.sf(z) - sd * stats.norm.pdf(z)
    return np.asarray((1 - world.collapses) * kept + world.collapses * CHANCE)


def draw_study(rng: np.random.Generator, world: World, n_sets: int = N_SETS, n: int = N_CONFIGURATIONS) -> Study:
    """Draw specimens, configurations and luck."""
    ease = draw_ease(rng, world, n_sets)
    worth = rng.normal(0, world.configuration, n)
    interaction = rng.normal(0, world.interaction, (world.n_families or n, n_sets))
    families = rng.integers(0, world.n_families, n) if world.n_families else np.arange(n)
    if world.is_adaptive:
        first = families[:N_RANDOM]
        luck = with_luck(rng, world, np.zeros((N_RANDOM, n_sets)))
        scores = interaction[first].mean(axis=1) + np.nanmean(luck, axis=(1, 2))
        families[N_RANDOM:] = max(set(first.tolist()), key=lambda family: scores[first == family].mean())
    on_sets = ease + worth[:, None] + interaction[families]
    test = with_luck(rng, world, on_sets)
    names = tuple(f"bone {i}" for i in range(n_sets))
    arrays = FoldArrays(trials=tuple(range(n)), sets=names, test=test, validation=test.transpose(0, 2, 1))
    return Study(world, arrays, worth, on_sets, float(ease.mean()))


def draw_next(rng: np.random.Generator, study: Study, trial: int, n: int) -> Values:
    """Scores of one network each of a trial on specimens that nothing has seen, (specimen,)."""
    world = study.world
    on_next = draw_ease(rng, world, n) + study.worth[trial] + rng.normal(0, world.interaction, n)
    scores = np.minimum(on_next + rng.normal(0, world.luck, n), world.ceiling)
    return np.where(rng.random(n) < world.collapses, CHANCE, scores)


def estimates_of(study: Study) -> dict[str, Estimate]:
    """Every estimate of the best trial, by name."""
    arrays = study.arrays
    best = arrays.test[best_of(arrays)]
    folds = best[~np.isnan(best)]
    half = 1.96 * folds.std(ddof=1) / np.sqrt(len(folds))
    bound = 1.645 / 1.96 * half
    corrected = bootstrap_corrected(arrays.by_set)
    return {
        "apparent": Estimate(folds.mean(), folds.mean() - half, folds.mean() + half, folds.mean() - bound),
        "nested, by all validation folds": _nested(nested_estimate(arrays, spare_fit=False)),
        "nested": _nested(nested_estimate(arrays)),
        "bootstrap": Estimate(corrected.mean, corrected.lower, corrected.upper, float("nan")),
    }


def best_of(arrays: FoldArrays) -> int:
    """The trial with the highest mean score."""
    return int(np.argmax(mean(arrays.test, (1, 2))))


def _nested(found: NestedEstimate) -> Estimate:
    return Estimate(found.mean, *found.interval, found.lower)


def simulate(name: str, n_studies: int, seed: int = 0) -> Iterator[Row]:
    """How each estimate does in many studies of one world.

    The bias is against what the best trial is worth on the drawn specimens, which leaves their luck out; the interval has to
    cover what it is worth on specimens in general.
    """
    rng, world = np.random.default_rng(seed), WORLDS[name]
    errors: dict[str, list[float]] = {}
    covered: dict[str, list[tuple[bool, float]]] = {}
    is_linear = np.isinf(world.ceiling) and not world.collapses
    for _ in range(n_studies):
        study = draw_study(rng, world)
        trial = best_of(study.arrays)
        here = study.worth[trial] + study.ease
        truth = study.worth[trial] if is_linear else float(draw_next(rng, study, trial, 20_000).mean())
        if not is_linear:
            here = float(expected(world, study.on_sets[trial], world.luck).mean())
        for kind, found in estimates_of(study).items():
            errors.setdefault(kind, []).append((found.value - here) / LUCK)
            one_sided = float("nan") if np.isnan(found.bound) else float(found.bound <= truth)
            covered.setdefault(kind, []).append((found.lower <= truth <= found.upper, one_sided))
    for kind, values in errors.items():
        coverage, one_sided = np.array(covered[kind], dtype=np.float64).mean(axis=0)
        yield Row(name, kind, float(np.mean(values)), float(stats.sem(values)), float(coverage), float(one_sided))


class NextRow(NamedTuple):
    """Share of next specimens outside the interval of the mean and outside the prediction interval, and the width of the
    latter against that of an oracle, which knows the variance of scores and not their mean."""

    world: str
    n_sets: int
    outside_mean: float
    outside: float
    width: float


def simulate_next(name: str, n_sets: int, n_studies: int, seed: int = 0) -> NextRow:
    """How often the next specimen lies outside of what a study lets expect of it."""
    rng, world = np.random.default_rng(seed), WORLDS[name]
    outside_mean, outside, widths = [], [], []
    one = draw_next(rng, draw_study(rng, world._replace(configuration=0, is_adaptive=False), n_sets, 1), 0, 200_000)
    half = 1.96 * one.std() * np.sqrt(1 + 1 / n_sets)
    oracle = min(one.mean() + half, world.ceiling) - (one.mean() - half)
    for _ in range(n_studies):
        study = draw_study(rng, world, n_sets)
        found, scores = nested_estimate(study.arrays), draw_next(rng, study, best_of(study.arrays), 100)
        outside_mean.append(_outside(found.interval, scores))
        outside.append(_outside(found.next_set, scores))
        widths.append(min(found.next_set.upper, world.ceiling) - found.next_set.lower)
    shares = (float(np.mean(values)) for values in (outside_mean, outside, np.array(widths) / oracle))
    return NextRow(name, n_sets, *shares)


def _outside(interval: Interval, scores: Values) -> float:
    return float(np.mean((scores < interval.lower) | (scores > interval.upper)))


class BracketRow(NamedTuple):
    """Root mean square errors, in standard deviations of the luck, of the nested score and of the best trial fitted again
    with one and with five sets of fresh seeds; and the share of studies whose truth lies between the first and the last."""

    world: str
    nested: float
    refit: float
    refit_5: float
    between: float


def simulate_bracket(name: str, n_studies: int, seed: int = 0) -> BracketRow:
    """How near the nested score and fresh seeds come to what the best trial is worth, were specimens like those at hand."""
    rng, world = np.random.default_rng(seed), WORLDS[name]
    errors = np.empty((n_studies, 3))
    for row in errors:
        study = draw_study(rng, world)
        trial = best_of(study.arrays)
        refits = mean(with_luck(rng, world, study.on_sets[[trial] * 5]), (1, 2))
        scores = np.array([nested_estimate(study.arrays).mean, refits[0], refits.mean()])
        row[:] = (scores - study.worth[trial] - study.ease) / LUCK
    rms = np.sqrt((errors**2).mean(axis=0)).tolist()
    between = float(np.mean(errors[:, 0] * errors[:, 2] <= 0))
    return BracketRow(name, *rms, between)


class GateRow(NamedTuple):
    """Share of studies in which the baseline is taken for the better: where the nested score is below the baseline's, as the
    rule was, and by a paired comparison."""

    world: str
    n_sets: int
    below: float
    former: float
    paired: float


def simulate_gate(name: str, n_sets: int, below: float, n_studies: int, seed: int = 0) -> GateRow:
    """How often promotion is refused for the baseline's sake.

    The baseline is the first configuration. It is worth more than all others, which are equal, by so many standard errors
    of the difference of two configurations' means over the folds; where it is, it takes no part in the choice.
    """
    rng, world = np.random.default_rng(seed), WORLDS[name]
    luck = world.luck**2 * (1 + world.shared) / (n_sets * (n_sets - 1))
    error = np.sqrt(2 * (luck + world.interaction**2 / n_sets))
    former, paired = [], []
    for _ in range(n_studies):
        study = draw_study(rng, world, n_sets)
        baseline = study.arrays.test[:1] + below * error
        known = study.arrays.test[1:] if below else study.arrays.test
        names = study.arrays.sets
        arrays = FoldArrays(
            trials=tuple(range(len(known))), sets=names, test=known, validation=known.transpose(0, 2, 1)
        )
        found = nested_estimate(arrays)
        is_other = bool(below) or best_of(arrays) > 0
        of_baseline = dict(zip(arrays.sets, mean(baseline, (2,))[0].tolist(), strict=True))
        former.append(is_other and found.mean < np.mean(list(of_baseline.values())))
        paired.append(is_other and against_baseline(found.by_set, of_baseline).is_better)
    return GateRow(name, n_sets, below, float(np.mean(former)), float(np.mean(paired)))


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
    _print_next(n_studies)
    print("\n| configurations | nested | fitted again | with 5 sets of seeds | truth between first and last |")
    print("|---|---|---|---|---|")
    for name in list(WORLDS)[:6]:
        found = simulate_bracket(name, n_studies)
        print(f"| {name} | {found.nested:.2f} | {found.refit:.2f} | {found.refit_5:.2f} | {found.between:.2f} |")
    _print_gate(n_studies)
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


def _print_next(n_studies: int) -> None:
    kinds = ("outside the interval of the mean", "outside the prediction interval", "its width, oracle 1")
    print(f"\n| configurations | {' | '.join(kinds)} |\n|---|---|---|---|")
    for name in WORLDS:
        rows = [simulate_next(name, n_sets, n_studies) for n_sets in (3, 5, 10)]
        told = (
            (f"{row.outside_mean:.0%}" for row in rows),
            (f"{row.outside:.1%}" for row in rows),
            (f"{row.width:.2f}" for row in rows),
        )
        print(f"| {name} | {' | '.join(', '.join(three) for three in told)} |")


def _print_gate(n_studies: int) -> None:
    print("\n| configurations | specimens | baseline better by | refused by the former rule | by the paired one |")
    print("|---|---|---|---|---|")
    for name in list(WORLDS)[:3]:
        for n_sets in (3, 5, 10):
            for below in (0, 2, 3):
                row = simulate_gate(name, n_sets, below, n_studies)
                print(f"| {name} | {n_sets} | {below} se | {row.former:.3f} | {row.paired:.3f} |")


if __name__ == "__main__":
    main()
