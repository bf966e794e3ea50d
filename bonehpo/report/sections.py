"""How accurate it is, at the head of the page: estimates with their intervals, and where the scores vary."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import pandas as pd

from bonehpo.analysis.estimates import span_as_shown
from bonehpo.analysis.variance import variance_in_words
from bonehpo.domain import Task
from bonehpo.hyperparameters import told
from bonehpo.report.figures.style import Drawn
from bonehpo.report.views import (
    FigureView,
    Sentence,
    TableView,
    figure_views,
    score_text,
    sentences,
    spread_text,
    table_view,
    value_text,
)
from bonehpo.results.finished import OPTIMUM_ADDRESS
from bonehpo.results.result import Result
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
            f"Apparent {what}",
            f"{score_text(found.apparent_score, task)} ± {spread_text(found.sd, task)}",
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
    return () if study.variance is None else variance_in_words(study.variance, "" if study.task == "damage" else " %")


AUDIT = {
    "leakage": "whether a held-out slice is, or shows the bone of, one that networks were trained on",
    "audit": "how far models come that cannot see a crack",
    "permutation": "what the procedure finds in labels that mean nothing",
    "grad-cam": "whether heat maps depend on what was learnt and, on phantoms, lie on the damage",
    "detection": "whether loaded bone is told from pristine bone before there is damage",
    "ablation": "what networks learn from scans without histogram matching and filter",
}
"""Results that look for shortcuts, and what each asks."""


class Kind(NamedTuple):
    """How a result is presented: its heading, the command that makes it, its tables that are worth printing."""

    heading: str
    command: str
    tables: Mapping[str, str]


KINDS = {
    "specimens": Kind("The specimens", "inspect", {"scans": "Measures of the pristine specimens"}),
    "leakage": Kind(
        "Leaks between sets",
        "audit --leakage",
        {"checks": "What was asked of the slice store", "near-duplicates": "Slices that show the same"},
    ),
    "sweep": Kind(
        "One hyperparameter at a time",
        "sweep",
        {"combinations": "Combinations that were fitted after the sweep", "optima": "Optima of sweep and search"},
    ),
    "best-fold": Kind("The network of the best fold", "explain", {"layers": "Layers of the network"}),
    "grad-cam": Kind("What the network looks at", "explain", {}),
    "detection": Kind(
        "From which load on damage is seen", "explain", {"limits": "Detection limits; strain as a fraction"}
    ),
    "audit": Kind(
        "Models that cannot see a crack",
        "audit",
        {"models": "The network and the models beside it; differences from the network over test sets"},
    ),
    "permutation": Kind(
        "The same on labels that mean nothing",
        "audit --permutation",
        {
            "trials": "Candidates on permuted labels",
            "sets": "For each test set the candidate that is chosen without it",
        },
    ),
    "pruning": Kind("What pruning has lost", "audit --pruned", {"trials": "Stopped trials, finished"}),
    "calibration": Kind("Whether p(failed) is a probability", "explain", {"folds": "Brier score of each fold"}),
    "mixed": Kind(
        "Mixed split", "compare", {"configurations": "Accuracy in each split", "sets": "What each set holds"}
    ),
    "compare": Kind(
        "Beside ResNet-50",
        "compare",
        {"configurations": "Accuracy of each network", "tests": "Differences over test sets, sign-flip test"},
    ),
    "ablation": Kind(
        "What preparation is for", "ablate SCANS.csv", {"separation": "Lowest mean accuracy over all loaded states"}
    ),
    "strain": Kind(
        "Strain read from slices",
        "strain",
        {"configurations": "Mean absolute error", "specimens": "Mean absolute error on each specimen"},
    ),
}
"""The results of docs/reference/results.md in the order of the page."""


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
    """What one result says of shortcuts: `cautions` of what was found; None where the result is missing."""

    name: str
    heading: str
    question: str
    cautions: tuple[str, ...] | None


def result_sections(
    study: StudySummary, results: Sequence[Result], drawn: Mapping[str, Sequence[Drawn]], first_number: int
) -> tuple[Section, ...]:
    """All results in the order of docs/reference/results.md with their figures, numbered from `first_number` on."""
    by_name = {result.name: result for result in results}
    found, number = [], first_number
    for name, kind in KINDS.items():
        if name not in by_name and not drawn.get(name):
            continue
        figures = figure_views(drawn.get(name, ()), number)
        number += len(figures)
        found.append(_section(study, name, kind, by_name.get(name), figures))
    return tuple(found)


def _section(
    study: StudySummary, name: str, kind: Kind, result: Result | None, figures: tuple[FigureView, ...]
) -> Section:
    if result is None:
        return Section(name=name, heading=kind.heading, sentences=(), figures=figures, tables=())
    stale = (
        f"Caution: made from the slice store {result.store_id[:12]}, not from that of this study: run it again."
        if result.store_id != study.store_id
        else ""
    )
    tables = [table_view(_printed(t, result.tables[t]), text) for t, text in kind.tables.items() if t in result.tables]
    return Section(
        name=name,
        heading=kind.heading,
        sentences=sentences([text for text in (stale, *result.sentences) if text]),
        figures=figures,
        tables=tuple(view for view in tables if view.rows),
        parameters={key: value for key, value in result.parameters.items() if key != OPTIMUM_ADDRESS},
        finished=result.finished.strftime("%Y-%m-%d %H:%M %Z").strip(),
    )


def _printed(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """What of a table is printed: of scans those of the first state, of models those that were asked; of others all."""
    if name == "scans":
        return table[table["state"].eq(table["state"].min())]
    if name == "models":
        return table[table["reason"] == ""].drop(columns=["n_folds", "near", "sees_before"])
    return table


def audit_checks(results: Sequence[Result]) -> tuple[Check, ...]:
    """What was done to find out whether networks look at damage or at a shortcut, and what it warns of."""
    by_name = {result.name: result for result in results}
    return tuple(
        Check(name, KINDS[name].heading, question, cautions_of(by_name[name]) if name in by_name else None)
        for name, question in AUDIT.items()
    )


def cautions_of(result: Result) -> tuple[str, ...]:
    """The warnings among what a result says, without the word that they begin with."""
    found = [sentence.text for sentence in sentences(result.sentences) if sentence.is_caution]
    return tuple(text.removeprefix("Caution: ") for text in found)


def command_of(name: str, flag: str, by_name: Mapping[str, Result]) -> str:
    """The command that makes a result of a study.

    Args:
        name: Of the result, one of `KINDS`.
        flag: How a command names the study.
        by_name: Results that there are, from which options are known.
    """
    command = KINDS[name].command
    words = f"bonehpo {command} {flag}"
    compared, seen = by_name.get("compare"), by_name.get("detection")
    if command == "compare" and compared and "weights" in compared.parameters:
        words += f" --weights {shlex.quote(compared.parameters['weights'])}"
    if command == "explain" and seen and seen.ran_on == "scans":  # phantoms know it themselves
        state = seen.parameters.get("visible_from", "")
        words += f" --visible-from {state}" if state.isdigit() else ""
    return words


def missing_results(
    study: StudySummary, results: Sequence[Result], drawn: Mapping[str, Sequence[Drawn]]
) -> list[Missing]:
    """What the page does not show because nobody has made it yet; of a study of strain only what can be made of it."""
    there = {result.name for result in results} | {name for name, figures in drawn.items() if figures}
    flag = f"--bone {shlex.quote(study.name)}"
    by_name = {result.name: result for result in results}
    wanted = [name for name in KINDS if name != "pruning" or study.pruned] if study.task == "damage" else ["specimens"]
    found = [Missing(KINDS[name].heading, command_of(name, flag, by_name)) for name in wanted if name not in there]
    if study.optimum is None:
        n_trials = max(len(study.trials), 1)
        found.insert(0, Missing("The optimum, fitted again", f"bonehpo search {flag} --trials {n_trials}"))
    return found


def trials_view(study: StudySummary) -> TableView:
    """All trials; the best stands out."""
    score = "accuracy" if study.task == "damage" else "error"
    best = study.estimates.trial if study.estimates else None
    columns = told(row.hyperparameters for row in study.trials)
    return TableView(
        caption=f"Trials: mean and standard deviation of the test {score} over folds",
        columns=("trial", *(entry.label for entry in columns), "parameters", score, "sd", "folds", "state"),
        rows=tuple(
            (
                str(row.trial),
                *(value_text(entry, row.hyperparameters) for entry in columns),
                f"{row.n_parameters:,}",
                score_text(row.mean_score, study.task),
                spread_text(row.sd, study.task),
                str(row.n_folds),
                row.state if row.reason is None else f"{row.state}: {row.reason}",
            )
            for row in study.trials
        ),
        numeric=(True, *(entry.kind != "choice" for entry in columns), *(True,) * 4, False),
        marked=next((i for i, row in enumerate(study.trials) if row.trial == best), None),
    )
