"""The parts of the page: headline numbers, results, checks for shortcuts, what is missing, trials."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import numpy as np

from bonehpo.analysis.estimates import Estimates
from bonehpo.analysis.variance import variance_in_words
from bonehpo.hyperparameters import told
from bonehpo.report.views import (
    FigureView,
    Sentence,
    TableView,
    figure_views,
    score_text,
    sentences,
    signed_text,
    span_text,
    spread_text,
    table_view,
    value_text,
)
from bonehpo.results.finished import OPTIMUM_ADDRESS
from bonehpo.results.kind import ResultKind
from bonehpo.results.result import Drawn, Result
from bonehpo.search.summary import RefitOptimum, StudySummary, baseline_in_words
from bonehpo.task import DAMAGE, Measure, task_named


class Headline(NamedTuple):
    """A headline number and what it means."""

    label: str
    value: str
    meaning: str


def headline_numbers(study: StudySummary) -> tuple[Headline, ...]:
    """The honest accuracies: nested, of the next specimen, the paper's, what lies between them, and the refit.

    Empty before any trial.
    """
    found, measure = study.estimates, _measure(study)
    if found is None:
        return ()
    numbers = [_nested(study, found)]
    if study.split != "mixed":
        numbers.append(
            Headline(
                f"Next {study.unit}",
                span_text(found.next_score_worse_end, found.next_score_better_end, measure),
                f"95\u00a0% prediction interval for one network on one more {study.unit}, if that is of the same kind, "
                "scanned and prepared like these.",
            )
        )
    if found.has_second_opinion:
        numbers.append(
            Headline(
                "Bootstrapped",
                score_text(found.bootstrap_score, measure),
                "A second opinion: trials chosen on test sets drawn with replacement, scored on those not drawn; "
                f"{span_text(found.bootstrap_score_worse_end, found.bootstrap_score_better_end, measure)} (95\u00a0%).",
            )
        )
    numbers += [
        Headline(
            f"Apparent {measure.noun}",
            f"{score_text(found.apparent_score, measure)} ± {spread_text(found.sd, measure)}",
            f"Mean ± standard deviation over the {found.n_folds} folds of trial {found.trial}. The search maximised it, so "
            "that it flatters.",
        ),
        Headline(
            "Optimism",
            signed_text(found.gap, measure),
            f"By so much the apparent {measure.noun} is better than the nested one.",
        ),
    ]
    if study.baseline is not None:
        numbers.append(
            Headline(
                "Baseline", score_text(study.baseline.score, measure), f"{baseline_in_words(study.baseline, measure)}."
            )
        )
    if study.optimum is not None:
        numbers.append(_fitted_again(study.optimum, measure))
    return tuple(numbers)


def _nested(study: StudySummary, found: Estimates) -> Headline:
    measure = _measure(study)
    unseen = (
        "other planes of specimens that were trained on"
        if study.split == "mixed"
        else f"{study.unit}s that neither training nor the choice of the hyperparameters has seen"
    )
    return Headline(
        f"Nested {measure.noun}",
        score_text(found.nested_score, measure),
        f"The mean to expect on {unseen}; {span_text(found.nested_score_worse_end, found.nested_score_better_end, measure)} "
        f"(95\u00a0%), {measure.bound} {score_text(found.nested_score_bound, measure)} (one-sided 95\u00a0%); "
        f"approximate, n\u00a0=\u00a0{len(found.nested_score_by_set)} test sets.",
    )


def _fitted_again(optimum: RefitOptimum, measure: Measure) -> Headline:
    scores = list(optimum.refit_score_by_repeat.values())
    several = (
        f" With {len(scores)} sets of fresh seeds {score_text(float(np.mean(scores)), measure)}."
        if len(scores) > 1
        else ""
    )
    return Headline(
        "Fitted again",
        f"{score_text(optimum.refit_score, measure)} ± {spread_text(optimum.refit_sd, measure)}",
        f"The same with fresh seeds, free of their luck and not of that of the choice; trial {optimum.trial}, "
        f"n\u00a0=\u00a0{len(optimum.folds)} folds.{several} These networks are explained, compared and promoted.",
    )


def headline_cautions(study: StudySummary, kinds: Sequence[ResultKind], results: Sequence[Result]) -> tuple[str, ...]:
    """Everything that must stand beside the headline number: chance, leaks, shortcuts; empty where nothing must.

    Args:
        study: Its estimates.
        kinds: All kinds of results.
        results: Those that there are.
    """
    found = (
        []
        if study.task != DAMAGE.name
        else [text for one in audit_checks(kinds, results) for text in one.cautions or ()]
    )
    if study.estimates is None or study.task != DAMAGE.name or study.estimates.nested_score_bound > DAMAGE.chance:
        return tuple(found)
    bound = score_text(study.estimates.nested_score_bound, _measure(study))
    return (
        f"It cannot be told from chance: at least {bound}, where guessing gives {DAMAGE.chance:g}.",
        *found,
    )


def _measure(study: StudySummary) -> Measure:
    return task_named(study.task).measure


def states_in_words(study: StudySummary) -> str:
    """Numbers of trials by their end: "48 complete, 2 failed"."""
    states = [row.state for row in study.trials]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "none"


def nested_view(study: StudySummary) -> TableView | None:
    """For each test set the trial that the others choose for it, and its score there."""
    found = study.estimates
    if found is None:
        return None
    measure = _measure(study)
    return TableView(
        caption="For each test set the trial that is chosen without looking at it, and what it achieves there",
        columns=("test set", "chosen trial", "in folds", measure.noun),
        rows=tuple(
            (
                name,
                str(trial),
                f"{found.n_agreed_by_set[name]} of {len(found.chosen_by_set) - 1}",
                score_text(found.nested_score_by_set[name], measure),
            )
            for name, trial in found.chosen_by_set.items()
        ),
        numeric=(False, True, True, True),
    )


COMPONENTS = {
    "specimen_sd": "test {}",
    "configuration_sd": "configuration",
    "interaction_sd": "configuration × {}",
    "training_sd": "{}s trained on",
    "within_sd": "rest: luck of a fit and of its folds",
    "seed_sd": "of the rest, the seed",
}
"""Components of variance as they are called on the page; {} is what a set is."""


def variance_view(study: StudySummary) -> TableView | None:
    """Components of the variance of fold scores, as standard deviations; None where too little is known."""
    found = study.variance
    if found is None:
        return None
    sds, measure = asdict(found.components), _measure(study)
    return TableView(
        caption=f"Where the scores of folds vary, {found.n_trials} trials on {found.n_sets} test sets: standard deviations",
        columns=("component", "sd"),
        rows=tuple((text.format(study.unit), spread_text(sds[name], measure)) for name, text in COMPONENTS.items()),
        numeric=(False, True),
    )


def variance_sentences(study: StudySummary) -> tuple[str, ...]:
    """Sentences on what would make the study say more."""
    return () if study.variance is None else variance_in_words(study.variance, _measure(study).unit, study.unit)


@dataclass(frozen=True, kw_only=True)
class Section:
    """One result on the page."""

    name: str
    heading: str
    sentences: tuple[Sentence, ...]
    figures: tuple[FigureView, ...]
    tables: tuple[TableView, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)
    finished: str = ""


class Missing(NamedTuple):
    """A result that there is none of yet, and the command that makes it."""

    heading: str
    command: str


class Check(NamedTuple):
    """Finding of one result on shortcuts: `cautions` of what was found; None where the result is missing."""

    name: str
    heading: str
    question: str
    cautions: tuple[str, ...] | None


def result_sections(
    study: StudySummary,
    kinds: Sequence[ResultKind],
    results: Sequence[Result],
    drawn: Mapping[str, Sequence[Drawn]],
    first_number: int,
) -> tuple[Section, ...]:
    """All results that there are, each with its figures.

    Args:
        study: That they are of.
        kinds: All kinds of results, in the order of the page.
        results: Those that there are, in any order.
        drawn: The figures of each result by its name.
        first_number: Of the first figure.
    """
    by_name = {result.name: result for result in results}
    found, number = [], first_number
    for kind in kinds:
        if kind.name not in by_name and not drawn.get(kind.name):
            continue
        figures = figure_views(drawn.get(kind.name, ()), number)
        number += len(figures)
        found.append(_section(study, kind, by_name.get(kind.name), figures))
    return tuple(found)


def _section(study: StudySummary, kind: ResultKind, result: Result | None, figures: tuple[FigureView, ...]) -> Section:
    if result is None:
        return Section(name=kind.name, heading=kind.heading, sentences=(), figures=figures, tables=())
    stale = (
        f"Caution: made from the slice store {result.store_id[:12]}, not from that of this study: run it again."
        if result.store_id != study.store_id
        else ""
    )
    tables = [
        table_view(printed.choose(result.tables[name]), printed.caption)
        for name, printed in kind.tables.items()
        if name in result.tables
    ]
    return Section(
        name=kind.name,
        heading=kind.heading,
        sentences=sentences([text for text in (stale, *result.sentences) if text]),
        figures=figures,
        tables=tuple(view for view in tables if view.rows),
        parameters={key: value for key, value in result.parameters.items() if key != OPTIMUM_ADDRESS},
        finished=result.finished.strftime("%Y-%m-%d %H:%M %Z").strip(),
    )


def audit_checks(kinds: Sequence[ResultKind], results: Sequence[Result]) -> tuple[Check, ...]:
    """Results that ask whether networks look at damage or at a shortcut, and what they warn of."""
    by_name = {result.name: result for result in results}
    return tuple(
        Check(kind.name, kind.heading, kind.question, cautions_of(by_name[kind.name]) if kind.name in by_name else None)
        for kind in kinds
        if kind.question is not None
    )


def cautions_of(result: Result) -> tuple[str, ...]:
    """The warnings among what a result says, without the word that they begin with."""
    found = [sentence.text for sentence in sentences(result.sentences) if sentence.is_caution]
    return tuple(text.removeprefix("Caution: ") for text in found)


def command_of(kind: ResultKind, study: str, kinds: Sequence[ResultKind], results: Sequence[Result]) -> str:
    """The command that makes a result of a study, as a person types it.

    Args:
        kind: Of the result.
        study: The option by which a command names the study.
        kinds: All kinds of results.
        results: Those that there are; the command repeats the options that they were made with.
    """
    by_name = {result.name: result for result in results}
    made = [other for other in kinds if other.command == kind.command and other.name in by_name]
    return f"bonehpo {kind.command} {study}" + "".join(other.options_of(by_name[other.name]) for other in made)


def missing_results(
    study: StudySummary,
    kinds: Sequence[ResultKind],
    results: Sequence[Result],
    drawn: Mapping[str, Sequence[Drawn]],
) -> list[Missing]:
    """Results that the page lacks because nobody has made them yet; of a study of strain only what every study has.

    Args:
        study: That is shown.
        kinds: All kinds of results, in the order of the page.
        results: Those that there are, in any order.
        drawn: The figures of each result by its name.
    """
    there = {result.name for result in results} | {name for name, figures in drawn.items() if figures}
    flag = f"--bone {shlex.quote(study.name)}"
    found = [
        Missing(kind.heading, command_of(kind, flag, kinds, results))
        for kind in kinds
        if kind.is_wanted(study) and kind.name not in there
    ]
    if study.optimum is None:
        n_trials = max(len(study.trials), 1)
        found.insert(0, Missing("The optimum, fitted again", f"bonehpo search {flag} --trials {n_trials}"))
    return found


def trials_view(study: StudySummary) -> TableView:
    """All trials; the best stands out."""
    measure = _measure(study)
    best = study.estimates.trial if study.estimates else None
    columns = told(row.hyperparameters for row in study.trials)
    return TableView(
        caption=f"Trials: mean and standard deviation of the test {measure.noun} over folds",
        columns=("trial", *(entry.label for entry in columns), "parameters", measure.noun, "sd", "folds", "state"),
        rows=tuple(
            (
                str(row.trial),
                *(value_text(entry, row.hyperparameters) for entry in columns),
                f"{row.n_parameters:,}",
                score_text(row.mean_score, measure),
                spread_text(row.sd, measure),
                str(row.n_folds),
                row.state_in_words,
            )
            for row in study.trials
        ),
        numeric=(True, *(entry.kind != "choice" for entry in columns), *(True,) * 4, False),
        marked=next((i for i, row in enumerate(study.trials) if row.trial == best), None),
    )
