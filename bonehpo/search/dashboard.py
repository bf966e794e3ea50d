"""A study as Optuna's dashboard shows it to people: short attributes, a note, the name of what is maximised.

Nothing in bonehpo reads what is written here.
"""

import warnings
from collections.abc import Sequence

import optuna
from optuna.exceptions import ExperimentalWarning

from bonehpo.domain import FoldScores
from bonehpo.search.plan import SearchPlan
from bonehpo.search.records import mean_and_sd
from bonehpo.search.storage import attributes, remember
from bonehpo.task import task_named

NOTE, NOTE_VERSION = "dashboard:note_str:0", "dashboard:note_ver"
"""System attributes of a study that the dashboard keeps its note in; longer notes go on in `…:1`, which this one is not."""

_TEXT = """# {name}

**{bone}**, {what}, on {ran_on}; {split} split over the sets {sets}.

- The objective is the mean validation {measure} over all {n_folds} folds; higher is better{sign}.
- Intermediate values are the test {measure} of single folds: steps 2 i and 2 i + 1 are both folds of the i-th of the
  {n_pairs} pairs of sets that are held out together.
- {protocol}
- How accurate the best trial really is, `bonehpo show` says: the highest objective was chosen among many.
"""


def describe_study(study: optuna.Study, plan: SearchPlan) -> None:
    """Write down what people want to know of a study; a note that is there already is left as it is.

    Args:
        study: The study.
        plan: Of it.
    """
    known = attributes(study)
    measure = task_named(plan.config.task).measure
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([f"mean validation {measure.name}"])
    told = {
        "bone": plan.config.bone,
        "task": plan.config.task,
        "made from": f"{plan.ran_on}, store {plan.store_id[:12]}",
        "sets": ", ".join(f"{name} ({n} images)" for name, n in plan.n_images.items()),
    }
    for name, value in told.items():
        if known.get(name) != value:
            study.set_user_attr(name, value)
    if NOTE_VERSION not in known:
        remember(study, NOTE, _note(plan))
        remember(study, NOTE_VERSION, 1)


def describe_trial(trial: optuna.Trial, folds: Sequence[FoldScores], task: str) -> None:
    """Write down the test score of a trial, and that on each set, before Optuna is told its value.

    Args:
        trial: That is running.
        folds: Its folds so far.
        task: Of the study.
    """
    measure = task_named(task).measure
    spread = mean_and_sd([fold.test_score for fold in folds])
    trial.set_user_attr(f"test {measure.name}", f"{abs(spread.mean):.3f} ± {spread.sd:.3f} (sd of {len(folds)} folds)")
    for name in dict.fromkeys(fold.test for fold in folds):
        mean = mean_and_sd([fold.test_score for fold in folds if fold.test == name]).mean
        trial.set_user_attr(f"test {measure.name} {name}", round(abs(mean), 3))


def _note(plan: SearchPlan) -> str:
    measure = task_named(plan.config.task).measure
    return _TEXT.format(
        name=plan.folder.name,
        bone=plan.config.bone,
        what=plan.config.task,
        ran_on="phantoms" if plan.ran_on == "phantom" else "scans",
        split=plan.split,
        sets=", ".join(plan.sets),
        measure=measure.name,
        n_folds=2 * len(plan.pairs),
        n_pairs=len(plan.pairs),
        sign="" if measure.sign > 0 else ", as it is negative",
        protocol="The candidates were fixed before the first score."
        if plan.config.protocol == "strict"
        else "What was tried depended on scores that were seen.",
    )[:2000]
