"""Checks of the procedure itself: the permutation test of the labels, and what pruning has cost."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from bonehpo.analysis.estimates import NestedEstimate, nested_accuracy, trial_estimates
from bonehpo.analysis.intervals import Interval, mean_interval
from bonehpo.domain import NO_DONORS, ProgressCallback, independent
from bonehpo.engine import Engine
from bonehpo.errors import StudyError
from bonehpo.hyperparameters import Hyperparameters, Space, from_params, row_of
from bonehpo.results.finished import (
    Configuration,
    Findings,
    FinishedStudy,
    FittedConfiguration,
    fit_configurations,
    parameters_of,
)
from bonehpo.schema import RESULTS, old_name
from bonehpo.search.plan import SearchPlan, objective
from bonehpo.search.pruning import Stop, read_stop, stopped_trials
from bonehpo.search.records import folds_table
from bonehpo.search.space import candidates
from bonehpo.search.storage import load_study
from bonehpo.task import DAMAGE, Measure, task_named

PERMUTATION = "permutation"

N_PERMUTED = 8


def permutation_address(finished: FinishedStudy, n_trials: int = N_PERMUTED) -> str:
    """Content address of the permutation test."""
    return finished.address(old_name(PERMUTATION, RESULTS), n_trials)


def run_permutation(
    finished: FinishedStudy, engine: Engine, progress: ProgressCallback, n_trials: int = N_PERMUTED
) -> Findings:
    """Search a short list of candidates on permuted labels, and estimate as for a real study.

    A specimen's two labels are exchanged, or not, by the toss of a coin: what is learnt from others then says nothing of it.
    Where donors are named, one coin is tossed for all specimens of a donor.

    Args:
        finished: Of the study.
        engine: Where fits run.
        progress: Told after every fit.
        n_trials: Candidates of a quasi-random sequence, the baseline first.

    Raises:
        StudyError: Too few candidates can be fitted, or there are too few specimens to permute.
    """
    swapped = swapped_specimens(finished.store.specimens, finished.plan.config.search.seed, finished.store.donors)
    configurations = [_permuted(finished, choice, swapped) for choice in _choices(finished, n_trials)]
    fitted = [
        configuration
        for configuration in fit_configurations(configurations, engine, progress).values()
        if configuration.fits
    ]
    if len(fitted) < 2:
        raise StudyError("the permutation test needs two candidates that can be fitted: give it more trials")
    folds = _folds_table(fitted)
    nested = nested_accuracy(folds)
    honest = mean_interval(np.array(list(nested.by_set.values())))
    best = max(trial_estimates(folds), key=lambda e: e.mean)
    naive = mean_interval(folds.loc[folds["trial"] == best.trial, "test_score"].to_numpy(float))
    return Findings(
        parameters={"swapped": " ".join(swapped), "trials": len(fitted)},
        metrics={"nested_accuracy": nested.mean, "apparent_accuracy": best.mean},
        sentences=[
            f"With permuted labels (exchanged on {', '.join(swapped)}) the nested accuracy of {len(fitted)} candidates is "
            f"{nested.mean:.3f} ({honest.lower:.3f} to {honest.upper:.3f}, n = {len(nested.by_set)} sets).",
            _honest_verdict(honest),
            f"The best candidate's own accuracy is {best.mean:.3f} ({naive.lower:.3f} to {naive.upper:.3f}, were its "
            f"{len(fitted[best.trial].folds)} folds independent). {_naive_verdict(naive)}",
        ],
        tables={"trials": _trials_of_permutation(fitted, finished.plan.config.space), "sets": _sets_table(nested)},
        configurations=fitted,
    )


def swapped_specimens(specimens: Sequence[str], seed: int, donors: Mapping[str, str] = NO_DONORS) -> tuple[str, ...]:
    """Specimens whose labels are exchanged: a coin is tossed for each, again while all or none are.

    Args:
        specimens: Of the store.
        seed: The same seed gives the same tosses.
        donors: Donor of each specimen; where donors are named the coin is tossed for each of them.

    Raises:
        StudyError: There are fewer than two.
    """
    members = independent(specimens, donors)
    if len(members) < 2:
        raise StudyError(f"labels can be permuted among two {'donors' if donors else 'specimens'} or more")
    generator = np.random.default_rng([seed, len(members)])
    tossed = np.zeros(len(members), bool)
    while tossed.all() or not tossed.any():
        tossed = generator.random(len(members)) < 0.5
    return tuple(name for names, heads in zip(members.values(), tossed, strict=True) if heads for name in names)


def _honest_verdict(interval: Interval) -> str:
    if interval.lower > DAMAGE.chance:
        return "Caution: that is above chance although the labels mean nothing: scores of this study leak."
    if interval.upper < DAMAGE.chance:
        return "That is below chance: networks learn from the others what is wrong here. It is no leak."
    return f"It covers chance ({DAMAGE.chance}), as it must."


def _naive_verdict(interval: Interval) -> str:
    if interval.lower > DAMAGE.chance:
        return "That is above chance, although there is nothing to be found: the best of many flatters."
    return "Here the best of them does not flatter by much."


def _choices(finished: FinishedStudy, n_trials: int) -> tuple[Hyperparameters, ...]:
    config = finished.plan.config
    listed = replace(config, search=replace(config.search, sampler="quasi-random"))
    return candidates(listed, n_trials)[:n_trials]


def _permuted(finished: FinishedStudy, choice: Hyperparameters, swapped: tuple[str, ...]) -> Configuration:
    plan, parameters = finished.plan, parameters_of(choice)
    tasks = (plan.task(choice, pair) for pair in plan.pairs)
    return Configuration(
        name=", ".join(f"{name} {value}" for name, value in parameters.items()),
        parameters=parameters,
        tasks=tuple(replace(task, spec=replace(task.spec, swapped=swapped)) for task in tasks),
    )


def _folds_table(fitted: Sequence[FittedConfiguration]) -> pd.DataFrame:
    return pd.DataFrame(
        {"trial": i, **asdict(fold)} for i, configuration in enumerate(fitted) for fold in configuration.folds
    )


def _trials_of_permutation(fitted: Sequence[FittedConfiguration], space: Space) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "trial": i,
            **{name: str(value) for name, value in row_of(_choice_of(configuration), space).items()},
            "mean": configuration.spread.mean,
            "sd": configuration.spread.sd,
            "n_folds": len(configuration.folds),
        }
        for i, configuration in enumerate(fitted)
    )


def _choice_of(configuration: FittedConfiguration) -> Hyperparameters:
    return configuration.configuration.tasks[0].spec.hyperparameters


def _sets_table(nested: NestedEstimate) -> pd.DataFrame:
    return pd.DataFrame(
        {"test": name, "chosen": nested.chosen[name], "accuracy": accuracy} for name, accuracy in nested.by_set.items()
    )


PRUNING = "pruning"

N_COMPLETED = 3


class StoppedTrial(NamedTuple):
    """A trial that pruning stopped: its number and choice, and why."""

    number: int
    choice: Hyperparameters
    stop: Stop


class PrunedStudy(NamedTuple):
    """Outcome of pruning: the trials that it stopped, and the folds of those that are complete."""

    stopped: tuple[StoppedTrial, ...]
    folds: pd.DataFrame


def read_pruning(plan: SearchPlan) -> PrunedStudy:
    """Read what pruning left of a study.

    Raises:
        StudyError: The study has not begun.
    """
    study = load_study(plan.storage, plan.folder.name, plan.identity)
    stops = {trial.number: (from_params(trial.params), read_stop(trial)) for trial in stopped_trials(study)}
    stopped = tuple(StoppedTrial(n, choice, stop) for n, (choice, stop) in stops.items() if stop is not None)
    return PrunedStudy(stopped, folds_table(study, plan))


def pruning_address(finished: FinishedStudy, n_trials: int = N_COMPLETED) -> str:
    """Content address of the audit of pruning."""
    return finished.address(
        old_name(PRUNING, RESULTS), n_trials, [trial.number for trial in read_pruning(finished.plan).stopped]
    )


def audit_pruning(
    finished: FinishedStudy, engine: Engine, progress: ProgressCallback, n_trials: int = N_COMPLETED
) -> Findings:
    """Finish a random sample of the stopped trials, and say what would have been lost.

    Args:
        finished: Of the study.
        engine: Where fits run.
        progress: Told after every fit.
        n_trials: How many to finish; all, where there are fewer.

    Raises:
        StudyError: No trial was stopped.
    """
    plan, pruned = finished.plan, read_pruning(finished.plan)
    measure = task_named(plan.config.task).measure
    if not pruned.stopped:
        raise StudyError(
            f"study {plan.folder.name} has no stopped trials, so that nothing was lost: see `bonehpo show`"
        )
    sample = _sample(pruned.stopped, n_trials, plan.config.search.seed)
    fitted = list(fit_configurations([_completed(finished, trial) for trial in sample], engine, progress).values())
    before = nested_accuracy(pruned.folds).mean
    after = nested_accuracy(pd.concat([pruned.folds, _folds_of(sample, fitted)], ignore_index=True)).mean
    trials = _trials_of_pruning(sample, fitted, pruned.folds, finished.optimum.trial, plan.config.space)
    won = trials["gain_score"] > 0
    metrics = {
        "n_finished": float(trials["gain_score"].notna().sum()),
        "n_would_have_won": float(won.sum()),
        "n_stopped": float(len(pruned.stopped)),
        "nested_score": before,
        "nested_score_with_them": after,
    }
    return Findings(
        parameters={"trials": " ".join(str(trial.number) for trial in sample)},
        metrics=measure.shown(metrics),
        sentences=_sentences(trials, len(pruned.stopped), before, after, measure),
        tables={"trials": _named(trials, measure)},
        configurations=fitted,
    )


def _sample(stopped: Sequence[StoppedTrial], n: int, seed: int) -> list[StoppedTrial]:
    drawn = np.random.default_rng([seed, len(stopped)]).permutation(len(stopped))[:n]
    return [stopped[i] for i in sorted(drawn.tolist())]


def _completed(finished: FinishedStudy, trial: StoppedTrial) -> Configuration:
    """The trial itself, with its own seeds: what it has finished is found among the fits."""
    tasks = tuple(finished.plan.task(trial.choice, pair) for pair in finished.plan.pairs)
    return Configuration(name=f"trial {trial.number}", parameters=parameters_of(trial.choice), tasks=tasks)


def _folds_of(sample: Sequence[StoppedTrial], fitted: Sequence[FittedConfiguration]) -> pd.DataFrame:
    return pd.DataFrame(
        {"trial": trial.number, **asdict(fold)}
        for trial, configuration in zip(sample, fitted, strict=True)
        for fold in configuration.folds
    )


def _trials_of_pruning(
    sample: Sequence[StoppedTrial],
    fitted: Sequence[FittedConfiguration],
    folds: pd.DataFrame,
    optimum: int,
    space: Space,
) -> pd.DataFrame:
    """A row for each finished trial; scores are those that the search maximises, gains are over the other's."""
    scores = folds.groupby("trial")["validation_score"].mean()
    rows = []
    for trial, configuration in zip(sample, fitted, strict=True):
        score = objective(configuration.folds) if configuration.folds else float("nan")
        rows.append(
            {
                "trial": trial.number,
                **row_of(trial.choice, space),
                "n_folds": 2 * trial.stop.n_fits,
                "p": trial.stop.p,
                "incumbent": trial.stop.incumbent,
                "incumbent_score": float(scores[trial.stop.incumbent]),
                "told_score": trial.stop.score,
                "score": score,
                "gain_score": score - scores[trial.stop.incumbent],
                "gain_on_optimum_score": score - scores[optimum],
                "reason": configuration.reason,
            }
        )
    return pd.DataFrame(rows)


def _named(trials: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Scores under the names, and with the signs, that people know; gains stay gains."""
    values = {str(name): column for name, column in trials.items()}
    plain = {name: column for name, column in values.items() if not name.startswith("gain")}
    gains = {name.removesuffix("_score"): column for name, column in values.items() if name.startswith("gain")}
    won = pd.Series(trials["gain_score"] > 0, name="would_have_won")
    return pd.DataFrame({**measure.shown(plain), **gains, "would_have_won": won})


def _sentences(trials: pd.DataFrame, n_stopped: int, before: float, after: float, measure: Measure) -> list[str]:
    finished = trials[trials["gain_score"].notna()]
    won, n = finished[finished["gain_score"] > 0], len(finished)
    said = [
        f"Of {n_stopped} trials that were stopped {n} were finished: {len(won)} would have beaten the trial that they were "
        f"stopped behind{_at_most(len(won), n, n_stopped)}."
    ]
    best = won.sort_values("gain_on_optimum_score", ascending=False)[:1]
    for row in best.to_dict("records"):
        gain = row["gain_on_optimum_score"]
        if gain > 0:
            said.append(f"Caution: trial {row['trial']} would have been the optimum, better by {gain:.3f}.")
        else:
            said.append(f"None would have been the optimum: the best, trial {row['trial']}, is {-gain:.3f} behind it.")
    with_them, without = (f"{measure.sign * score:.3f}{measure.unit}" for score in (after, before))
    said.append(f"With them complete the nested {measure.noun} would be {with_them}; without, it is {without}.")
    return said


def _at_most(n_won: int, n: int, n_stopped: int) -> str:
    """The exact one-sided 95 % bound on the share of all stopped trials, where some were not finished."""
    if n in (n_stopped, 0):
        return ""
    from scipy import stats

    share = float(stats.binomtest(n_won, n, alternative="less").proportion_ci(0.95).high)
    return f" (of all that were stopped at most {100 * share:.0f} %, one-sided 95 %)"
