"""Promotion: through the gate, the calibrated network and its card go into the registry."""

import tempfile
from pathlib import Path

import numpy as np

from bonehpo.analysis.calibration import study_temperature
from bonehpo.analysis.estimates import Estimates, estimate
from bonehpo.errors import PromotionRefused
from bonehpo.report.card import CardContents, model_card
from bonehpo.search.plan import SearchPlan, fold_records
from bonehpo.search.records import answers_of, git_commit
from bonehpo.store.store import SliceStore
from bonehpo.tracking.database import Tracking
from bonehpo.tracking.registry import NewModel, RegisteredVersion, register_champion
from bonehpo.workflow.gate import Audited, WholeOptimum, best_network, objections_of, whole_optimum


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
    whole = whole_optimum(plan)
    against = _pass_gate(plan, whole, audited, because)
    pair, network = best_network(plan, whole)
    store = SliceStore.open(plan.folder.store)
    estimates = estimate(whole.folds, whole.optimum.trial)
    temperature = study_temperature(answers_of([fold for fit in whole.fits for fold in fold_records(fit)]))
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


def _pass_gate(plan: SearchPlan, whole: WholeOptimum, audited: Audited, because: str | None) -> tuple[str, ...]:
    """Objections to promotion, where a reason is given to promote nevertheless; nothing where the gate is open."""
    trial, against = whole.optimum.trial, objections_of(plan, whole, audited)
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


def _write_calibrated(network: Path, temperature: float, path: Path) -> None:
    from bonehpo.learning.networks import load_network, save_calibrated  # imports TensorFlow, which takes seconds

    save_calibrated(load_network(network), temperature, path)


def _examples(store: SliceStore) -> np.ndarray:
    """A pristine and a failed slice, from the middle of the first specimen, uint8 (2, side, side)."""
    one = store.specimens[0]
    return np.stack([store.group(one, state, store.planes[0])[store.n_slices // 2] for state in store.ends(one)])
