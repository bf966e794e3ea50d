"""What pruning saves and what it loses: `make simulations` prints the tables of docs/explanation/pruning.md.

Studies are drawn, as in simulations.py, or replayed: recorded trials that have all their folds, in random orders of trials
and of sets. In both, what a stopped trial would have had is known.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats
from simulations import LUCK, WORLDS, Study, World, draw_study

from bonehpo.analysis.estimates import FoldArrays, mean, nested_estimate
from bonehpo.config import StudyFolder
from bonehpo.learning.fits import load_fit
from bonehpo.search.pruners import FIRST_LOOK, PRUNERS, PairedTest, Scores, SignedRank, fit_blocks
from bonehpo.search.space import grid
from bonehpo.workflow.plan import make_plan

N_TRIALS = 30


SIGNED_RANK = SignedRank()


class Rule(NamedTuple):
    """Looks of pruning, as numbers of fits, the alpha of each and the test; without alpha at the sign of the mean alone."""

    looks: Sequence[int]
    alpha: float | None
    test: PairedTest = SIGNED_RANK


class Pruned(NamedTuple):
    """Pruning of many studies at once: fits used, and whether a trial was stopped or would have won, (study, trial)."""

    n_fits: Scores
    stopped: Scores
    would_win: Scores
    means: Scores
    lost: Scores


def rules(n_sets: int) -> dict[str, Rule]:
    """What was compared; the last one is what the pruner "signed-rank" does."""
    n_fits = n_sets * (n_sets - 1) // 2
    size = len(fit_blocks([str(i) for i in range(n_sets)])[0])
    each = range(FIRST_LOOK, n_fits)
    blocks = [n for n in range(size, n_fits, size) if n >= FIRST_LOOK]
    return {
        "running mean below, each fit": Rule(range(1, n_fits), None),
        "0.1, each fit": Rule(range(2, n_fits), 0.1),
        "0.05, each fit": Rule(each, 0.05),
        "0.05, each block": Rule(blocks, 0.05),
        "0.025, each fit": Rule(each, 0.025),
        f"0.2 / fits = {0.2 / n_fits:.3g}, each fit": Rule(each, 0.2 / n_fits),
        f"**0.1 / fits = {SIGNED_RANK.alpha(n_fits):.3g}, each fit**": Rule(each, SIGNED_RANK.alpha(n_fits)),
    }


def pruners(n_sets: int) -> dict[str, Rule]:
    """Every registered pruner that stops trials; and the rule of SMAC and Auto-WEKA, which look at 1, 2, 4, 8, … fits."""
    n_fits = n_sets * (n_sets - 1) // 2
    tests = [pruner for pruner in PRUNERS.values() if isinstance(pruner, PairedTest)]
    doubling = [2**k for k in range(n_fits.bit_length()) if 2**k < n_fits]
    return {
        **{f"`{test.name}`": Rule(range(FIRST_LOOK, n_fits), test.alpha(n_fits), test) for test in tests},
        "mean below after 1, 2, 4, … fits": Rule(doubling, None),
    }


def prune(scores: Scores, rule: Rule) -> Pruned:
    """Prune trials one after the other against the best complete one, in many studies at once.

    Args:
        scores: Of the folds, (study, trial, fit, 2), fits in the order in which they are made.
        rule: When to look, and at which alpha.
    """
    n_studies, n_trials, n_fits, _ = scores.shape
    means, rows = scores.mean(axis=(2, 3)), np.arange(n_studies)
    incumbent = np.zeros(n_studies, int)
    used = np.full((n_studies, n_trials), n_fits)
    stopped, would_win = np.zeros((2, n_studies, n_trials), bool)
    for t in range(1, n_trials):
        differences = scores[:, t] - scores[rows, incumbent]
        for n in rule.looks:
            so_far = differences[:, :n]
            behind = so_far.mean(axis=(1, 2)) < 0
            if rule.alpha is not None:
                behind &= rule.test.p_worse(so_far) <= rule.alpha
            used[behind & ~stopped[:, t], t] = n
            stopped[behind, t] = True
        would_win[:, t] = means[:, t] > means[rows, incumbent]
        incumbent = np.where(would_win[:, t] & ~stopped[:, t], t, incumbent)
    return Pruned(used, stopped, would_win, means, means.max(axis=1) - means[rows, incumbent])


def row_of(found: Pruned, n_fits: int) -> str:
    """Folds used, share stopped, speed-up, winners stopped, optima lost, and by how much, in columns."""
    best = found.means.argmax(axis=1)[:, None]
    lost = np.take_along_axis(found.stopped, best, axis=1).mean()
    n_winners = found.would_win.sum()
    wrong = (found.stopped & found.would_win).sum() / n_winners
    error = np.sqrt(wrong * (1 - wrong) / n_winners)
    return (
        f"{2 * found.n_fits[:, 1:].mean():.1f} of {2 * n_fits} | {2 * found.n_fits[found.stopped].mean():.1f} | "
        f"{found.stopped[:, 1:].mean():.2f} | {n_fits * found.n_fits.shape[1] / found.n_fits.sum(axis=1).mean():.2f} | "
        f"{100 * wrong:.1f} ± {100 * error:.1f} % | {100 * lost:.1f} % | {found.lost.mean():.4f} |"
    )


OF_EACH_SIZE = (
    "equal, half the luck of the fit",
    "equal, 0.8 of the luck of the fit",
    "differ, half the luck of the fit",
)
COLUMNS = (
    "folds a trial | of stopped ones | stopped | speed-up | stopped of those that would have won | optimum stopped | "
    "optimum worse by |"
)
LINE = "|---|---|---|---|---|---|---|---|---|"


def in_order(values: Scores, sets: Sequence[int]) -> Scores:
    """Scores (…, test, validation) as (…, fit, 2): validation scores, sets pruned in this order."""
    names = [str(k) for k in range(len(sets))]
    pairs = [(sets[int(a)], sets[int(b)]) for block in fit_blocks(names) for a, b in block]
    return np.stack([np.stack([values[..., i, j], values[..., j, i]], axis=-1) for i, j in pairs], axis=-2)


def drawn(world: World, n_sets: int, n_studies: int, seed: int) -> list[Study]:
    """Simulated studies."""
    rng = np.random.default_rng(seed)
    return [draw_study(rng, world, n_sets, N_TRIALS) for _ in range(n_studies)]


def scores_of(studies: Sequence[Study]) -> Scores:
    """All of them in the order of pruning, (study, trial, fit, 2)."""
    return np.stack([in_order(study.arrays.validation, range(len(study.arrays.sets))) for study in studies])


def print_rules(n_studies: int, seed: int) -> None:
    """Every rule, five sets, in every world."""
    print(f"### Rules\n\n{n_studies} studies of {N_TRIALS} trials on five sets in each row.\n")
    print(f"| configurations | rule | {COLUMNS}\n{LINE}")
    for name, world in WORLDS.items():
        if world.luck:
            scores = scores_of(drawn(world, 5, n_studies, seed))
            for rule_name, rule in rules(5).items():
                print(f"| {name} | {rule_name} | {row_of(prune(scores, rule), 10)}")


def print_pruners(n_studies: int, seed: int) -> None:
    """Every pruner, in every world and for other numbers of sets."""
    print(f"\n### Pruners\n\n{n_studies} studies of {N_TRIALS} trials in each row.\n")
    print(f"| sets, configurations | pruner | {COLUMNS}\n{LINE}")
    worlds = {name: world for name, world in WORLDS.items() if world.luck}
    worlds["equal, 0.8 of the luck of the fit"] = World(shared=0.8)
    for n_sets, some in ((5, worlds), (4, OF_EACH_SIZE), (6, OF_EACH_SIZE), (7, OF_EACH_SIZE), (10, OF_EACH_SIZE)):
        for name in some:
            scores = scores_of(drawn(worlds[name], n_sets, n_studies, seed))
            for rule_name, rule in pruners(n_sets).items():
                cells = row_of(prune(scores, rule), n_sets * (n_sets - 1) // 2)
                print(f"| {n_sets}, {name} | {rule_name} | {cells}")


def print_sizes(n_studies: int, seed: int) -> None:
    """For other numbers of sets the last rules; and the chosen one where the two folds of a fit are nearly one."""
    print(
        f"\n### Numbers of sets\n\n{n_studies} studies of {N_TRIALS} trials in each row; half the luck is of the fit.\n"
    )
    print(f"| sets, configurations | rule | {COLUMNS}\n{LINE}")
    for n_sets, name in itertools.product((4, 6, 7, 10), ("equal", "differ")):
        world, n_fits = WORLDS[f"{name}, half the luck of the fit"], n_sets * (n_sets - 1) // 2
        scores = scores_of(drawn(world, n_sets, n_studies, seed))
        for rule_name in list(rules(n_sets))[-4:]:
            print(f"| {n_sets}, {name} | {rule_name} | {row_of(prune(scores, rules(n_sets)[rule_name]), n_fits)}")
    for n_sets in (5, 7, 10):
        rule_name, rule = list(rules(n_sets).items())[-1]
        found = prune(scores_of(drawn(World(shared=0.8), n_sets, n_studies, seed)), rule)
        print(
            f"| {n_sets}, equal, 0.8 of the luck of the fit | {rule_name} | {row_of(found, n_sets * (n_sets - 1) // 2)}"
        )


def print_leak(n_studies: int, seed: int) -> None:
    """Bias of the nested score, and what the optimum is worth, with and without pruning."""
    print(f"\n### Leak\n\n{n_studies} studies of {N_TRIALS} trials on five sets; in sd of the luck of a fold.\n")
    print(
        "| configurations | pruner | bias of the nested score, not pruned | pruned | pruned − not | optimum worth less by |"
    )
    print("|---|---|---|---|---|---|")
    for name, world in WORLDS.items():
        if not world.luck:
            continue
        studies = drawn(world, 5, n_studies, seed)
        scores = scores_of(studies)
        for rule_name, rule in pruners(5).items():
            if rule.alpha is not None:
                print(f"| {name} | {rule_name} | {_leak_of(studies, prune(scores, rule).stopped)} |")


def _leak_of(studies: Sequence[Study], stopped: Scores) -> str:
    """Bias without and with pruning, their difference, and the loss of the optimum, in columns."""
    rows = []
    for study, out in zip(studies, stopped, strict=True):
        whole, worth = _nested_and_worth(study.arrays, study.worth, ~np.zeros_like(out))
        left, worth_left = _nested_and_worth(study.arrays, study.worth, ~out)
        rows.append((whole - worth - study.ease, left - worth_left - study.ease, worth - worth_left))
    biases = np.array(rows) / LUCK
    change = biases[:, 1] - biases[:, 0]
    cells = [f"{x.mean():+.3f} ± {stats.sem(x):.3f}" for x in (biases[:, 0], biases[:, 1], change, biases[:, 2])]
    return " | ".join(cells)


def _nested_and_worth(arrays: FoldArrays, worth: Scores, kept: Scores) -> tuple[float, float]:
    """Nested score over some trials, and what the best of them is really worth."""
    some = FoldArrays(
        trials=tuple(np.flatnonzero(kept).tolist()),
        sets=arrays.sets,
        test=arrays.test[kept],
        validation=arrays.validation[kept],
    )
    return nested_estimate(some).mean, float(worth[kept][np.argmax(mean(some.test, (1, 2)))])


def recorded(folder: StudyFolder) -> Scores:
    """Validation scores of all configurations of a study's space whose fits are all there, (trial, test, validation)."""
    plan, names = make_plan(folder), list(make_plan(folder).sets)
    found = []
    for choice in grid(plan.config.space):
        fits = [load_fit(folder.fits, plan.task(choice, pair).spec.key) for pair in plan.pairs]
        scores = np.full((len(names), len(names)), np.nan)
        for fold in (fold for fit in fits if fit is not None for fold in fit.fold_scores()):
            scores[names.index(fold.test), names.index(fold.validation)] = fold.validation_score
        if None not in fits:
            found.append(scores)
    return np.array(found)


def print_replay(paths: Sequence[Path], n_replays: int, seed: int) -> None:
    """Every rule on recorded trials; of all, and of the better half, where winners are hard to tell."""
    print(f"\n### Recorded trials, replayed {n_replays} times in random orders of trials and sets\n")
    print(f"| study, trials | rule | {COLUMNS}\n{LINE}")
    rng = np.random.default_rng(seed)
    for path in paths:
        whole = recorded(StudyFolder(path.absolute()))
        better = whole[np.argsort(-mean(whole, (1, 2)))[: len(whole) // 2]]
        for trials, which in ((whole, "all"), (better, "better half")):
            orders = [(rng.permutation(len(trials)), rng.permutation(trials.shape[1])) for _ in range(n_replays)]
            scores = np.stack([in_order(trials[order], sets.tolist()) for order, sets in orders])
            for rule_name, rule in rules(trials.shape[1]).items():
                cells = row_of(prune(scores, rule), scores.shape[2])
                print(f"| {path.name}, {which} {len(trials)} | {rule_name} | {cells}")


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="Alpha was chosen on 0.")
    parser.add_argument("--replay", type=Path, nargs="*", default=[], help="Folders of studies whose fits are there.")
    options = parser.parse_args()
    parts: list[Callable[[int, int], None]] = [print_rules, print_sizes, print_pruners, print_leak]
    started = time.process_time()
    for part in parts:
        part(options.studies, options.seed)
    if options.replay:
        print_replay(options.replay, options.studies, options.seed)
    print(f"\n{time.process_time() - started:.0f} s of CPU time.")


if __name__ == "__main__":
    main()
