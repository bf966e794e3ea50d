"""How accurate it is, at the head of the page: estimates with their intervals, and where the scores vary."""

from dataclasses import asdict
from typing import NamedTuple

from bonehpo.analysis.estimates import span_as_shown
from bonehpo.analysis.variance import sentences
from bonehpo.domain import Task
from bonehpo.report.views import TableView, score_text, spread_text
from bonehpo.search.summary import StudySummary


class Headline(NamedTuple):
    """A headline number and what it means."""

    label: str
    value: str
    meaning: str


def headline_numbers(study: StudySummary) -> tuple[Headline, ...]:
    """The honest accuracies: nested, the paper's, what lies between them, and the refit. Empty before any trial."""
    found, task = study.estimates, study.task
    if found is None:
        return ()
    what, least = ("accuracy", "at least") if task == "damage" else ("error", "at most")
    unseen = (
        "a specimen that neither training nor the choice of the hyperparameters has seen"
        if study.split == "specimen"
        else "other planes of specimens that were trained on"
    )
    numbers = [
        Headline(
            f"Nested {what}",
            score_text(found.nested_score, task),
            f"What to expect on {unseen}; {_span(found.nested_score_worse_end, found.nested_score_better_end, task)} "
            f"(95\u00a0%), {least} {score_text(found.nested_score_bound, task)} (one-sided 95\u00a0%); approximate, "
            f"n\u00a0=\u00a0{len(found.nested_score_by_set)} test sets.",
        ),
        Headline(
            "Bootstrapped",
            score_text(found.bootstrap_score, task),
            "A second opinion: trials chosen on test sets drawn with replacement, scored on those not drawn; "
            f"{_span(found.bootstrap_score_worse_end, found.bootstrap_score_better_end, task)} (95\u00a0%).",
        ),
        Headline(
            f"Paper {what}",
            f"{score_text(found.paper_score, task)} ± {spread_text(found.sd, task)}",
            f"Mean ± standard deviation over the {found.n_folds} folds of trial {found.trial}. The search maximised it, so "
            "that it flatters.",
        ),
        Headline("Optimism", _signed(found.gap, study), f"By so much the paper {what} is better than the nested one."),
    ]
    if study.optimum is not None:
        numbers.append(
            Headline(
                "Fitted again",
                f"{score_text(study.optimum.refit_score, task)} ± {spread_text(study.optimum.refit_sd, task)}",
                f"The same with fresh seeds; trial {study.optimum.trial}, n\u00a0=\u00a0{len(study.optimum.folds)} folds. "
                "These networks are explained, compared and promoted.",
            )
        )
    return tuple(numbers)


def _span(worse_end: float, better_end: float, task: Task) -> str:
    """An interval of scores as people read it."""
    low, high = span_as_shown(worse_end, better_end, task)
    return f"{spread_text(low, task)} to {spread_text(high, task)}"


def _signed(gap: float, study: StudySummary) -> str:
    text = f"{gap:+.3f}" if study.task == "damage" else f"{gap:+.2f} %"
    return text.replace("-", "−")


def nested_view(study: StudySummary) -> TableView | None:
    """For each test set the trial that the others choose for it, and its score there."""
    found = study.estimates
    if found is None:
        return None
    score = "accuracy" if study.task == "damage" else "error"
    return TableView(
        caption="For each test set the trial that is chosen without looking at it, and what it achieves there",
        columns=("test set", "chosen trial", "in folds", score),
        rows=tuple(
            (
                name,
                str(trial),
                f"{found.n_agreed_by_set[name]} of {len(found.chosen_by_set) - 1}",
                score_text(found.nested_score_by_set[name], study.task),
            )
            for name, trial in found.chosen_by_set.items()
        ),
        numeric=(False, True, True, True),
    )


COMPONENTS = {
    "specimen_sd": "test specimen",
    "configuration_sd": "configuration",
    "interaction_sd": "configuration × specimen",
    "training_sd": "specimens trained on",
    "within_sd": "rest: luck of a fit and of its folds",
    "seed_sd": "of the rest, the seed",
}
"""Components of variance as they are called on the page."""


def variance_view(study: StudySummary) -> TableView | None:
    """Where the variance of fold scores comes from, as standard deviations; None where too little is known."""
    found = study.variance
    if found is None:
        return None
    sds = asdict(found.components)
    return TableView(
        caption=f"Where the scores of folds vary, {found.n_trials} trials on {found.n_sets} test sets: standard deviations",
        columns=("component", "sd"),
        rows=tuple((text, spread_text(sds[name], study.task)) for name, text in COMPONENTS.items()),
        numeric=(False, True),
    )


def variance_sentences(study: StudySummary) -> tuple[str, ...]:
    """What would make the study say more."""
    return () if study.variance is None else sentences(study.variance, "" if study.task == "damage" else " %")
