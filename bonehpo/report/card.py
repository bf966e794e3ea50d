"""The model card: what a promoted network is, what it was made from, and what its accuracy means."""

from bonehpo.analysis.estimates import Estimates
from bonehpo.data.recipe import Recipe
from bonehpo.domain import HoldoutPair
from bonehpo.search.summary import StudySummary


def model_card(
    study: StudySummary, estimates: Estimates, recipe: Recipe, pair: HoldoutPair, train: tuple[str, ...], commit: str
) -> str:
    """The card in Markdown.

    Args:
        study: Of the network.
        estimates: Of its accuracy, from the folds of the study.
        recipe: How a scan is prepared for it.
        pair: Sets that this network did not train on.
        train: Sets that it trained on.
        commit: Of the code.
    """
    choice = study.row(estimates.trial).hyperparameters
    phantom = study.ran_on == "phantom"
    source = (
        "**phantoms: synthetic specimens whose damage is simulated. It says nothing about real bone.**"
        if phantom
        else "scans of real specimens."
    )
    unseen = (
        "a specimen that neither training nor the choice of\n  the hyperparameters has seen"
        if study.split == "specimen"
        else "other planes of the same specimens:\n  in the mixed split a specimen under test was trained on"
    )
    matched = recipe.reference if recipe.match else "none"
    return f"""# bonehpo-{study.bone}

Tells failed from pristine slices of {study.bone}. It was made from {source}

| | |
|---|---|
| layers | {choice.layers} |
| learning rate | {choice.learning_rate:g} |
| kernel | {choice.kernel} |
| batch | {choice.batch} |
| parameters | {study.row(estimates.trial).n_parameters:,} |
| study | {study.name}, trial {estimates.trial} of {len(study.trials)}, {study.split} split, {study.protocol} protocol |
| store | {study.store_id} |
| code | {commit} |
| trained on | {", ".join(train)} |
| held out | {", ".join(pair)} |
| slices | {", ".join(recipe.planes)}, {recipe.side} × {recipe.side}, uint8 |
| preparation | crop {recipe.crop or "none"}, matched to {matched}, median {"3×3×3" if recipe.median else "none"} |

## Accuracy

- **Nested accuracy {estimates.nested_score:.3f}**: what to expect on {unseen}; at least {estimates.nested_score_bound:.3f}
  (one-sided 95 %, approximate, {len(estimates.nested_score_by_set)} sets).
- Paper accuracy {estimates.paper_score:.3f} ± {estimates.sd:.3f}: mean ± sd over the {estimates.n_folds} folds of the
  chosen trial. The search maximised it, so it flatters: it is {estimates.gap:+.3f} from the nested accuracy.

The network is one of the fits of the optimum with fresh seeds: the one that was right most often on its two held-out sets.
Its accuracy on other bones, scanners, voxel sizes or preparations is not known.
"""
