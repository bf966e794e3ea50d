"""Promotion: the gate, the calibrated network, its card, the registry."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bonehpo.analysis.calibration import fit_temperature
from bonehpo.analysis.estimates import Estimates, estimate, nested_accuracy
from bonehpo.domain import HoldoutPair
from bonehpo.errors import PromotionRefused
from bonehpo.learning.fits import FitResult, load_fit
from bonehpo.report.card import CardContents, model_card
from bonehpo.search.plan import SearchPlan
from bonehpo.search.records import Optimum, folds_of_optimum, git_commit, read_optimum
from bonehpo.search.storage import load_study
from bonehpo.search.summary import RefitOptimum, StudySummary, summarise
from bonehpo.store.store import SliceStore
from bonehpo.task import DAMAGE, task_named
from bonehpo.tracking.database import Tracking
from bonehpo.tracking.registry import NewModel, RegisteredVersion, register_champion


class Audited(NamedTuple):
    """Findings of the audits of a study.

    Attributes:
        warnings: Against its accuracy, one sentence each.
        sentences: What else the shortcut audit found.
    """

    warnings: tuple[str, ...]
    sentences: tuple[str, ...] = ()


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
    simple = float(folds.loc[folds["trial"] == baseline, "test_score"].mean())
    if trial != baseline and nested.mean < simple:
        found.append(
            f"the search has not paid: nested accuracy {nested.mean:.3f}, the baseline, trial {baseline}, {simple:.3f}"
        )
    return (*found, *(text.rstrip(".") for text in shortcuts))


def objections_to(plan: SearchPlan, audited: Audited) -> tuple[str, ...]:
    """Everything for which `promote_optimum` would ask for a reason; nothing, where the gate is open.

    Raises:
        PromotionRefused: There is no whole optimum, or its best network is gone.
    """
    whole = _whole_optimum(plan)
    _best_network(plan, whole)
    return _against(plan, whole, audited)


def promote_optimum(
    plan: SearchPlan, tracking: Tracking, audited: Audited, because: str | None = None
) -> RegisteredVersion:
    """Register the best network of a study's optimum, calibrated.

    Args:
        plan: Of the study.
        tracking: Where to register it.
        audited: What the audits say.
        because: Why it is promoted although something speaks against it; None where nothing may.

    Raises:
        PromotionRefused: There is no whole optimum, or something speaks against it.
        TrackingError: MLflow cannot be written.
    """
    whole = _whole_optimum(plan)
    against = _pass_gate(plan, whole, audited, because)
    pair, network = _best_network(plan, whole)
    store = SliceStore.open(plan.folder.store)
    estimates = estimate(whole.folds, whole.optimum.trial)
    temperature = _temperature(next(fit for fit in whole.fits if fit.pair == pair))
    contents = CardContents(
        pair=pair,
        train=tuple(name for name in plan.sets if name not in pair),
        commit=git_commit(),
        temperature=temperature,
        calibration=whole.refit.calibration,
        audit=audited.sentences,
        against=against,
        because=because,
    )
    with tempfile.TemporaryDirectory() as folder:
        calibrated = Path(folder) / network.name
        _write_calibrated(network, temperature, calibrated)
        model = NewModel(
            name=f"bonehpo-{plan.config.bone}",
            study=plan.folder.name,
            network=calibrated,
            recipe_json=store.recipe.to_json(),
            card=model_card(whole.summary, estimates, store.recipe, contents),
            tags=_tags(plan, estimates, contents),
            input_example=_examples(store),
        )
        return register_champion(tracking, model)


class _Whole(NamedTuple):
    """A study whose optimum has all its fits; `folds` are the recorded ones of its complete trials."""

    summary: StudySummary
    optimum: Optimum
    refit: RefitOptimum
    fits: list[FitResult]
    folds: pd.DataFrame


def _whole_optimum(plan: SearchPlan) -> _Whole:
    if not task_named(plan.config.task).promotable:
        raise PromotionRefused(
            f"study {plan.folder.name} predicts {plan.config.task}: only networks that see damage are promoted"
        )
    study = load_study(plan.storage, plan.folder.name, plan.identity)
    summary, optimum = summarise(plan), read_optimum(study)
    fits = [] if optimum is None else _fits(plan, optimum)
    if optimum is None or summary.optimum is None or len(fits) < len(plan.pairs):
        raise PromotionRefused(
            f"study {plan.folder.name} has no whole optimum: let `bonehpo search` run to its end, which fits it"
        )
    folds = folds_of_optimum(study, optimum)
    check_folds(folds, optimum.trial, 2 * len(plan.pairs))
    return _Whole(summary, optimum, summary.optimum, fits, folds)


def _best_network(plan: SearchPlan, whole: _Whole) -> tuple[HoldoutPair, Path]:
    pair = best_pair(whole.refit)
    network = plan.network(whole.optimum.keys[pair.label])
    if not network.exists():
        raise PromotionRefused(f"{network} is missing: run the same `bonehpo search` again, which fits it anew")
    return pair, network


def _against(plan: SearchPlan, whole: _Whole, audited: Audited) -> tuple[str, ...]:
    return objections(whole.folds, whole.optimum.trial, _baseline(plan, whole.summary), audited.warnings)


def _pass_gate(plan: SearchPlan, whole: _Whole, audited: Audited, because: str | None) -> tuple[str, ...]:
    """Objections to promotion, where a reason is given to promote nevertheless; nothing where the gate is open."""
    trial, against = whole.optimum.trial, _against(plan, whole, audited)
    if against and because is None:
        raise PromotionRefused(
            f"trial {trial} of study {plan.folder.name} is not promoted: {'; '.join(against)}. Say why it shall be promoted "
            'nevertheless: --force --because "…"; or mend it'
        )
    return against


def _tags(plan: SearchPlan, estimates: Estimates, contents: CardContents) -> dict[str, str]:
    tags = {
        "bonehpo.store_id": plan.store_id,
        "bonehpo.trial": str(estimates.trial),
        "bonehpo.ran_on": plan.ran_on,
        "bonehpo.apparent_accuracy": f"{estimates.apparent_score:.4f}",
        "bonehpo.nested_accuracy": f"{estimates.nested_score:.4f}",
        "bonehpo.temperature": f"{contents.temperature:.4f}",
    }
    return {**tags, "bonehpo.forced": contents.because} if contents.because is not None and contents.against else tags


def best_pair(optimum: RefitOptimum) -> HoldoutPair:
    """The holdout pair whose fresh network was right most often on both of its sets; the first of equals."""
    scores: dict[HoldoutPair, list[float]] = {}
    for fold in optimum.folds:
        first, second = sorted((fold.test, fold.validation))
        scores.setdefault(HoldoutPair(first, second), []).append(fold.test_score)
    return max(scores, key=lambda pair: float(np.mean(scores[pair])))


def _fits(plan: SearchPlan, optimum: Optimum) -> list[FitResult]:
    found = [load_fit(plan.folder.fits, optimum.keys[pair.label]) for pair in plan.pairs]
    return [fit for fit in found if fit is not None]


def _baseline(plan: SearchPlan, summary: StudySummary) -> int | None:
    """The first complete trial of the baseline's hyperparameters."""
    found = (row.trial for row in summary.trials if row.hyperparameters == plan.config.baseline and row.mean_score)
    return next(found, None)


def _temperature(chosen: FitResult) -> float:
    """Temperature of a network, from both sets that it was not trained on."""
    truth, p_failed = (
        np.concatenate([getattr(told, name) for told in chosen.predictions]) for name in ("truth", "output")
    )
    return fit_temperature(truth, p_failed)


def _write_calibrated(network: Path, temperature: float, path: Path) -> None:
    from bonehpo.learning.networks import load_network, save_calibrated  # imports TensorFlow, which takes seconds

    save_calibrated(load_network(network), temperature, path)


def _examples(store: SliceStore) -> np.ndarray:
    """A pristine and a failed slice, from the middle of the first specimen, uint8 (2, side, side)."""
    ends = (store.states[0], store.states[-1])
    return np.stack([store.group(store.specimens[0], state, store.planes[0])[store.n_slices // 2] for state in ends])
