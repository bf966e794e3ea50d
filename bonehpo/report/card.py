"""The model card: what a promoted network is, what it was made from, and what its accuracy means."""

from dataclasses import dataclass

from bonehpo.analysis.calibration import Calibration, calibration_in_words
from bonehpo.analysis.estimates import Estimates
from bonehpo.domain import HoldoutPair
from bonehpo.hyperparameters import told
from bonehpo.scans.sections import crop_in_words
from bonehpo.search.summary import StudySummary
from bonehpo.store.recipe import Recipe
from bonehpo.task import ACCURACY


@dataclass(frozen=True, kw_only=True)
class CardContents:
    """Contents of the card that concern the one network that is promoted.

    Attributes:
        pair: Sets that it did not train on.
        train: Sets that it trained on.
        commit: Of the code.
        temperature: By which its logits are divided.
        calibration: What temperatures are worth over the folds of the optimum; None where that is not known.
        audit: What the shortcut audit found, beside its warnings.
        against: What speaks against its promotion; empty where the gate was open.
        because: Why it was promoted nevertheless.
    """

    pair: HoldoutPair
    train: tuple[str, ...]
    commit: str
    temperature: float
    calibration: Calibration | None
    audit: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    because: str | None = None


def model_card(study: StudySummary, estimates: Estimates, recipe: Recipe, contents: CardContents) -> str:
    """The card in Markdown.

    Args:
        study: Of the network.
        estimates: Of its accuracy, from the folds of the study.
        recipe: How a scan is prepared for it.
        contents: Of the network itself.
    """
    source = (
        "**phantoms: synthetic specimens whose damage is simulated. It says nothing about real bone.**"
        if study.ran_on == "phantom"
        else "scans of real specimens."
    )
    return f"""# bonehpo-{study.bone}

Tells failed from pristine slices of {study.bone}. It was made from {source}

{_table(study, estimates.trial, recipe, contents)}

## Accuracy

{_accuracy(study, estimates)}

The network is one of the fits of the optimum with fresh seeds: the one that was right most often on its two held-out sets.
Its accuracy on other bones, scanners, voxel sizes or preparations is not known.

## Probabilities

Its logits are divided by {contents.temperature:.2f}, the temperature of all fits of the optimum on the sets that they were
not trained on: so its softmax outputs are probabilities. They hold for slices of bone that is pristine or failed, as many
of each; for states between there is no such truth.{_calibration(contents)}

## What the audit found

{_audit(contents)}
"""


def _table(study: StudySummary, trial: int, recipe: Recipe, contents: CardContents) -> str:
    row = study.row(trial)
    choice = row.hyperparameters
    steps = [
        f"crop: {crop_in_words(recipe.crop)}",
        f"matched to {f'{recipe.reference} by {recipe.matching}' if recipe.match else 'none'}",
        f"median {'3×3×3' if recipe.median else 'none'}",
        f"slices {'standardised' if recipe.standardise else 'as they are'}",
    ]
    rows = {
        **{entry.label: entry.text(getattr(choice, entry.name)) for entry in told([choice])},
        "parameters": f"{row.n_parameters:,}",
        "study": f"{study.name}, trial {trial} of {len(study.trials)}, {study.split} split",
        "protocol": study.protocol_in_words,
        "store": study.store_id,
        "code": contents.commit,
        "trained on": ", ".join(contents.train),
        "held out": ", ".join(contents.pair),
        "slices": f"{', '.join(recipe.planes)}, {recipe.side} × {recipe.side}, uint8",
        "preparation": ", ".join(steps),
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _accuracy(study: StudySummary, estimates: Estimates) -> str:
    unseen = (
        "other planes of the same specimens:\n  in the mixed split a specimen under test was trained on"
        if study.split == "mixed"
        else f"{study.unit}s that neither training nor the choice of\n  the hyperparameters has seen"
    )
    low, high = ACCURACY.span(estimates.next_score_worse_end, estimates.next_score_better_end)
    next_one = (
        ""
        if study.split == "mixed"
        else f"""
- On the next {study.unit}, if it is of the same kind, scanned and prepared like these, **{low:.3f} to {high:.3f}**
  (95 % prediction interval)."""
    )
    n_sets = len(estimates.nested_score_by_set)
    by_set = ", ".join(f"{name} {accuracy:.3f}" for name, accuracy in estimates.nested_score_by_set.items())
    return f"""\
- **Nested accuracy {estimates.nested_score:.3f}**: the mean to expect on {unseen};
  at least {estimates.nested_score_bound:.3f} (one-sided 95 %, approximate, {n_sets} sets).{next_one}
- Apparent accuracy {estimates.apparent_score:.3f} ± {estimates.sd:.3f}: mean ± sd over the {estimates.n_folds} folds of the
  chosen trial. The search maximised it, so it flatters: it is {estimates.gap:+.3f} from the nested accuracy.

By {study.unit}: {by_set}."""


def _calibration(contents: CardContents) -> str:
    if contents.calibration is None:
        return ""
    return f" Over the folds of the optimum:\n{calibration_in_words(contents.calibration)}"


def _audit(contents: CardContents) -> str:
    told = "\n".join(f"- {sentence}" for sentence in contents.audit)
    if not contents.against:
        return f"It raised no flag; the network beats chance, and the baseline is not better by more than chance.\n\n{told}"
    against = "\n".join(f"- {text}" for text in contents.against)
    return f"{against}\n\n**Promoted nevertheless, because:** {contents.because}\n\n{told}".rstrip()
