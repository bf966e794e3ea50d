"""What a race has cost: some of the trials that it stopped are finished, to see whether they would have won."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from bonehpo.analysis.estimates import nested_accuracy
from bonehpo.domain import Hyperparameters, ProgressCallback, Task, shown
from bonehpo.engine import Engine
from bonehpo.errors import StudyError
from bonehpo.results.finished import FinishedStudy, parameters_of
from bonehpo.results.fitting import Arm, FittedArm, fit_arms
from bonehpo.results.record import Result
from bonehpo.search.objective import SearchPlan, objective
from bonehpo.search.optimum import folds_table, hyperparameters
from bonehpo.search.racing import Stop, read_stop, stopped_trials
from bonehpo.search.storage import load_study

NAME = "race"

DEFAULT_TRIALS = 3


class StoppedTrial(NamedTuple):
    """A trial that a race stopped: its number and choice, and why."""

    number: int
    choice: Hyperparameters
    stop: Stop


class RacedStudy(NamedTuple):
    """What a race left: the trials that it stopped, and the folds of those that are complete."""

    stopped: tuple[StoppedTrial, ...]
    folds: pd.DataFrame


def read_race(plan: SearchPlan) -> RacedStudy:
    """Read what a race left of a study.

    Raises:
        StudyError: The study has not begun.
    """
    study = load_study(plan.storage, plan.folder.name, plan.identity)
    stops = {trial.number: (hyperparameters(trial.params), read_stop(trial)) for trial in stopped_trials(study)}
    stopped = tuple(StoppedTrial(n, choice, stop) for n, (choice, stop) in stops.items() if stop is not None)
    return RacedStudy(stopped, folds_table(study))


def race_address(finished: FinishedStudy, n_trials: int = DEFAULT_TRIALS) -> str:
    """What the audit of a race is made from."""
    return finished.address(NAME, n_trials, [trial.number for trial in read_race(finished.plan).stopped])


def audit_race(
    finished: FinishedStudy, engine: Engine, progress: ProgressCallback, n_trials: int = DEFAULT_TRIALS
) -> Result:
    """Finish a random sample of the stopped trials, and say what would have been lost.

    Args:
        finished: Of the study.
        engine: Where fits run.
        progress: Told after every fit.
        n_trials: How many to finish; all, where there are fewer.

    Raises:
        StudyError: No trial was stopped.
    """
    plan, raced = finished.plan, read_race(finished.plan)
    if not raced.stopped:
        raise StudyError(
            f"study {plan.folder.name} has no stopped trials, so that nothing was lost: see `bonehpo show`"
        )
    sample = _sample(raced.stopped, n_trials, plan.config.search.seed)
    fitted = list(fit_arms([_arm(finished, trial) for trial in sample], engine, progress).values())
    before = nested_accuracy(raced.folds).mean
    after = nested_accuracy(pd.concat([raced.folds, _folds_of(sample, fitted)], ignore_index=True)).mean
    trials = _trials_table(sample, fitted, raced.folds, finished.optimum.trial)
    won = trials["gain_score"] > 0
    metrics = {
        "n_finished": float(trials["gain_score"].notna().sum()),
        "n_would_have_won": float(won.sum()),
        "n_stopped": float(len(raced.stopped)),
        "nested_score": before,
        "nested_score_with_them": after,
    }
    return finished.result(
        NAME,
        "explanation",
        race_address(finished, n_trials),
        parameters={"trials": " ".join(str(trial.number) for trial in sample)},
        metrics=shown(metrics, plan.config.task),
        sentences=_sentences(trials, len(raced.stopped), before, after, plan.config.task),
        tables={"trials": _named(trials, plan.config.task)},
        arms=fitted,
    )


def _sample(stopped: Sequence[StoppedTrial], n: int, seed: int) -> list[StoppedTrial]:
    drawn = np.random.default_rng([seed, len(stopped)]).permutation(len(stopped))[:n]
    return [stopped[i] for i in sorted(drawn.tolist())]


def _arm(finished: FinishedStudy, trial: StoppedTrial) -> Arm:
    """The trial itself, with its own seeds: what it has finished is found among the fits."""
    tasks = tuple(finished.plan.task(trial.choice, pair) for pair in finished.plan.pairs)
    return Arm(name=f"trial {trial.number}", parameters=parameters_of(trial.choice), tasks=tasks)


def _folds_of(sample: Sequence[StoppedTrial], fitted: Sequence[FittedArm]) -> pd.DataFrame:
    return pd.DataFrame(
        {"trial": trial.number, **asdict(fold)} for trial, arm in zip(sample, fitted, strict=True) for fold in arm.folds
    )


def _trials_table(
    sample: Sequence[StoppedTrial], fitted: Sequence[FittedArm], folds: pd.DataFrame, optimum: int
) -> pd.DataFrame:
    """A row for each finished trial; scores are those that the search maximises, gains are over the other's."""
    scores = folds.groupby("trial")["validation_score"].mean()
    rows = []
    for trial, arm in zip(sample, fitted, strict=True):
        score = objective(arm.folds) if arm.folds else float("nan")
        rows.append(
            {
                "trial": trial.number,
                **asdict(trial.choice),
                "n_folds": 2 * trial.stop.n_fits,
                "p": trial.stop.p,
                "leader": trial.stop.leader,
                "leader_score": float(scores[trial.stop.leader]),
                "told_score": trial.stop.score,
                "score": score,
                "gain_score": score - scores[trial.stop.leader],
                "gain_on_optimum_score": score - scores[optimum],
                "reason": arm.reason,
            }
        )
    return pd.DataFrame(rows)


def _named(trials: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Scores under the names, and with the signs, that people know; gains stay gains."""
    values = {str(name): column for name, column in trials.items()}
    plain = {name: column for name, column in values.items() if not name.startswith("gain")}
    gains = {name.removesuffix("_score"): column for name, column in values.items() if name.startswith("gain")}
    won = pd.Series(trials["gain_score"] > 0, name="would_have_won")
    return pd.DataFrame({**shown(plain, task), **gains, "would_have_won": won})


def _sentences(trials: pd.DataFrame, n_stopped: int, before: float, after: float, task: Task) -> list[str]:
    finished = trials[trials["gain_score"].notna()]
    won, n = finished[finished["gain_score"] > 0], len(finished)
    word = "accuracy" if task == "damage" else "error (%)"
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
    said.append(f"With them complete the nested {word} would be {abs(after):.3f}; without, it is {abs(before):.3f}.")
    return said


def _at_most(n_won: int, n: int, n_stopped: int) -> str:
    """The exact one-sided 95 % bound on the share of all stopped trials, where some were not finished."""
    if n in (n_stopped, 0):
        return ""
    share = float(stats.binomtest(n_won, n, alternative="less").proportion_ci(0.95).high)
    return f" (of all that were stopped at most {100 * share:.0f} %, one-sided 95 %)"
