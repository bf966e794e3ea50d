"""The gate of promotion: what must be there of an optimum, and what its folds and audits say against its accuracy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bonehpo.analysis.estimates import nested_accuracy
from bonehpo.analysis.shortcuts import flags
from bonehpo.domain import HoldoutPair
from bonehpo.errors import PromotionRefused
from bonehpo.learning.fits import FitResult, load_fit
from bonehpo.results.audit import NAME as AUDIT
from bonehpo.results.leakage import NAME as LEAKAGE
from bonehpo.results.leakage import leaks_of
from bonehpo.results.result import Result
from bonehpo.search.plan import SearchPlan
from bonehpo.search.records import Optimum, folds_of_optimum, read_optimum, read_study
from bonehpo.search.storage import load_study
from bonehpo.search.summary import (
    HOW_TO_TAKE_IT,
    RefitOptimum,
    StudySummary,
    baseline_trial,
    beside_baseline,
    summarise,
)
from bonehpo.task import DAMAGE, task_named
from bonehpo.workflow.kinds import RESULT_KINDS
from bonehpo.workflow.plan import flag


class Audited(NamedTuple):
    """Findings of the audits of a study.

    Attributes:
        warnings: Against its accuracy, one sentence each.
        sentences: What else the shortcut audit found.
    """

    warnings: tuple[str, ...]
    sentences: tuple[str, ...] = ()


def current_audits(plan: SearchPlan) -> dict[str, Result]:
    """The reports on leaks and shortcuts that are on disk and of this store and optimum, by name.

    Raises:
        StudyMissing: The study has not begun.
    """
    optimum = read_study(plan).optimum
    found = {name: RESULT_KINDS[name].current(plan, optimum) for name in (LEAKAGE, AUDIT)}
    return {name: result for name, result in found.items() if result is not None}


def audited(plan: SearchPlan, audits: Mapping[str, Result] | None = None) -> Audited:
    """Findings on leaks and shortcuts that concern the accuracy of a study, for the gate of promotion and the model card.

    Args:
        plan: Of the study.
        audits: Its `current_audits`, where they are at hand.
    """
    found = current_audits(plan) if audits is None else audits
    leaks = leaks_of(found[LEAKAGE]) if LEAKAGE in found else ()
    if AUDIT not in found:
        return Audited((*leaks, f"nobody has looked for shortcuts: run `bonehpo audit {flag(plan.folder)}` first"))
    against = flags(found[AUDIT].tables)
    told = [sentence for sentence in found[AUDIT].sentences if sentence.removeprefix("Caution: ") not in against]
    return Audited((*leaks, *against), tuple(told))


class WholeOptimum(NamedTuple):
    """A study whose optimum has all its fits.

    Attributes:
        summary: Of the study.
        optimum: What was chosen.
        refit: Its folds, of fresh seeds.
        fits: One for each holdout pair.
        folds: Recorded folds of all complete trials of the study.
    """

    summary: StudySummary
    optimum: Optimum
    refit: RefitOptimum
    fits: list[FitResult]
    folds: pd.DataFrame


def whole_optimum(plan: SearchPlan, summary: StudySummary | None = None) -> WholeOptimum:
    """The optimum of a study, of which nothing is missing.

    Args:
        plan: Of the study.
        summary: Of the study, where it is at hand.

    Raises:
        PromotionRefused: There is none, or its task is one whose networks are not promoted.
    """
    if not task_named(plan.config.task).promotable:
        raise PromotionRefused(
            f"study {plan.folder.name} predicts {plan.config.task}: only networks that see damage are promoted"
        )
    study = load_study(plan.storage, plan.folder.name, plan.identity)
    summary, optimum = summary or summarise(plan), read_optimum(study)
    fits = [] if optimum is None else _fits(plan, optimum)
    if optimum is None or summary.optimum is None or len(fits) < len(plan.pairs):
        raise PromotionRefused(
            f"study {plan.folder.name} has no whole optimum: let `bonehpo search` run to its end, which fits it"
        )
    folds = folds_of_optimum(study, plan, optimum)
    check_folds(folds, optimum.trial, 2 * len(plan.pairs))
    return WholeOptimum(summary, optimum, summary.optimum, fits, folds)


def check_folds(folds: pd.DataFrame, trial: int, n_folds: int) -> None:
    """See that the folds of an optimum are whole. Nothing can be said of one whose folds are not.

    Args:
        folds: Recorded folds of all complete trials of the study.
        trial: The optimum.
        n_folds: Folds that a trial of this study has.

    Raises:
        PromotionRefused: A fold is missing or not a number.
    """
    rows = folds[folds["trial"] == trial]
    if len(rows) < n_folds:
        raise PromotionRefused(
            f"trial {trial} has {len(rows)} of {n_folds} folds: run `bonehpo search` until it is complete"
        )
    broken = rows[~np.isfinite(rows[["test_score", "validation_score"]]).all(axis=1)]
    if len(broken):
        first = broken.iloc[0]
        raise PromotionRefused(
            f"trial {trial}, test {first['test']}, validation {first['validation']}: the accuracy is no finite number: "
            "look at that run in `bonehpo ui`"
        )


def best_network(plan: SearchPlan, whole: WholeOptimum) -> tuple[HoldoutPair, Path]:
    """The holdout pair whose network is promoted, and the file of that network.

    Raises:
        PromotionRefused: The file is gone.
    """
    pair = _best_pair(whole.refit)
    network = plan.network(whole.optimum.keys[pair.label])
    if not network.exists():
        raise PromotionRefused(f"{network} is missing: run the same `bonehpo search` again, which fits it anew")
    return pair, network


def _best_pair(optimum: RefitOptimum) -> HoldoutPair:
    """The holdout pair whose fresh network was right most often on both of its sets; the first of equals."""
    scores: dict[HoldoutPair, list[float]] = {}
    for fold in optimum.folds:
        first, second = sorted((fold.test, fold.validation))
        scores.setdefault(HoldoutPair(first, second), []).append(fold.test_score)
    return max(scores, key=lambda pair: float(np.mean(scores[pair])))


def objections_to(plan: SearchPlan, audited: Audited, summary: StudySummary) -> tuple[str, ...]:
    """Everything for which `promote_optimum` would ask for a reason; nothing, where the gate is open.

    Args:
        plan: Of the study.
        audited: Findings of its audits.
        summary: Of the study.

    Raises:
        PromotionRefused: There is no whole optimum, or its best network is gone.
    """
    whole = whole_optimum(plan, summary)
    best_network(plan, whole)
    return objections_of(plan, whole, audited)


def objections_of(plan: SearchPlan, whole: WholeOptimum, audited: Audited) -> tuple[str, ...]:
    """Everything for which `promote_optimum` would ask for a reason, of a whole optimum that is at hand."""
    baseline = baseline_trial(whole.summary.trials, plan.config)
    return objections(whole.folds, whole.optimum.trial, baseline, audited.warnings)


def objections(folds: pd.DataFrame, trial: int, baseline: int | None, shortcuts: Sequence[str]) -> tuple[str, ...]:
    """Objections to handing a network of the study to others; nothing, where the gate is open.

    Args:
        folds: Recorded folds of all complete trials of the study, whole.
        trial: The optimum.
        baseline: Trial of the baseline's hyperparameters; None where it is not among them.
        shortcuts: What the shortcut audit warns of.
    """
    nested = nested_accuracy(folds)
    found = []
    if not nested.lower > DAMAGE.chance:
        found.append(
            f"it does not beat chance: nested accuracy {nested.mean:.3f} over {len(nested.by_set)} test sets, at least "
            f"{nested.lower:.3f} (one-sided 95 %), chance {DAMAGE.chance}"
        )
    beside = beside_baseline(folds, baseline)
    if trial != baseline and beside is not None and beside.is_better:
        found.append(
            f"the search has not paid: its nested accuracy {nested.mean:.3f} is {-beside.score_difference:.3f} ± "
            f"{beside.error:.3f} (standard error) below the baseline, trial {baseline}; {HOW_TO_TAKE_IT}"
        )
    return (*found, *(text.rstrip(".") for text in shortcuts))


def _fits(plan: SearchPlan, optimum: Optimum) -> list[FitResult]:
    found = [load_fit(plan.folder.fits, optimum.keys[pair.label]) for pair in plan.pairs]
    return [fit for fit in found if fit is not None]
