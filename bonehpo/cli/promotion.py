"""What `bonehpo promote` does: gate, card, registry."""

import numpy as np

from bonehpo.analysis.estimates import estimate
from bonehpo.analysis.promotion import check_gate
from bonehpo.data.store import SliceStore
from bonehpo.domain import HoldoutPair
from bonehpo.errors import PromotionRefused
from bonehpo.report.card import model_card
from bonehpo.search.facts import folds_of_optimum, git_commit
from bonehpo.search.objective import SearchPlan
from bonehpo.search.optimum import read_optimum
from bonehpo.search.storage import load_study
from bonehpo.search.summary import RefitOptimum, summarise
from bonehpo.tracking.database import Tracking
from bonehpo.tracking.registry import NewModel, RegisteredVersion, register_champion


def promote_optimum(plan: SearchPlan, tracking: Tracking) -> RegisteredVersion:
    """Register the best network of a study's optimum.

    Args:
        plan: Of the study.
        tracking: Where to register it.

    Raises:
        PromotionRefused: There is no optimum, or it does not pass the gate.
        TrackingError: MLflow cannot be written.
    """
    if plan.config.task != "damage":
        raise PromotionRefused(
            f"study {plan.folder.name} predicts {plan.config.task}: only networks that see damage are promoted"
        )
    study = load_study(plan.storage, plan.folder.name, plan.identity)
    summary, optimum = summarise(plan), read_optimum(study)
    if optimum is None or summary.optimum is None or len(summary.optimum.folds) < 2 * len(plan.pairs):
        raise PromotionRefused(
            f"study {plan.folder.name} has no whole optimum: let `bonehpo search` run to its end, which fits it"
        )
    folds = folds_of_optimum(study, optimum)
    check_gate(folds, optimum.trial, 2 * len(plan.pairs))
    pair = best_pair(summary.optimum)
    network = plan.network(optimum.keys[pair.label])
    if not network.exists():
        raise PromotionRefused(f"{network} is missing: run the same `bonehpo search` again, which fits it anew")
    store = SliceStore.open(plan.folder.store)
    estimates = estimate(folds, optimum.trial)
    train = tuple(name for name in plan.sets if name not in pair)
    card = model_card(summary, estimates, store.recipe, pair, train, git_commit())
    model = NewModel(
        name=f"bonehpo-{plan.config.bone}",
        study=plan.folder.name,
        network=network,
        recipe_json=store.recipe.to_json(),
        card=card,
        tags={
            "bonehpo.store_id": plan.store_id,
            "bonehpo.trial": str(optimum.trial),
            "bonehpo.ran_on": plan.ran_on,
            "bonehpo.paper_accuracy": f"{estimates.paper_score:.4f}",
            "bonehpo.nested_accuracy": f"{estimates.nested_score:.4f}",
        },
        input_example=_examples(store),
    )
    return register_champion(tracking, model)


def best_pair(optimum: RefitOptimum) -> HoldoutPair:
    """The holdout pair whose fresh network was right most often on both of its sets; the first of equals."""
    scores: dict[HoldoutPair, list[float]] = {}
    for fold in optimum.folds:
        first, second = sorted((fold.test, fold.validation))
        scores.setdefault(HoldoutPair(first, second), []).append(fold.test_score)
    return max(scores, key=lambda pair: float(np.mean(scores[pair])))


def _examples(store: SliceStore) -> np.ndarray:
    """A pristine and a failed slice, from the middle of the first specimen, uint8 (2, side, side)."""
    ends = (store.states[0], store.states[-1])
    return np.stack([store.group(store.specimens[0], state, store.planes[0])[store.n_slices // 2] for state in ends])
