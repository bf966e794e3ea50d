"""One HTML page that holds a whole study: no script, nothing loaded from elsewhere, printable."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bonehpo.files import write_whole
from bonehpo.hyperparameters import in_words
from bonehpo.report.sections import (
    audit_checks,
    command_of,
    headline_cautions,
    headline_numbers,
    missing_results,
    nested_view,
    result_sections,
    states_in_words,
    trials_view,
    variance_sentences,
    variance_view,
)
from bonehpo.report.template import filled
from bonehpo.report.views import figure_views
from bonehpo.results.kind import ResultKind
from bonehpo.results.result import Drawn, Result
from bonehpo.search.recorder import StudyRecord
from bonehpo.search.summary import StudySummary
from bonehpo.task import DAMAGE, task_named

TEMPLATE = "page.html.j2"
STUDY_FIGURES = "study"
"""Key in `Report.drawn` of the figures of the study itself stand: learning curves, importance of hyperparameters."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Contents of the page.

    Attributes:
        study: Its trials and estimates.
        record: Where it comes from: code, versions, settings.
        kinds: All kinds of results, in the order of the page.
        results: Comparisons and explanations that there are, in any order.
        drawn: The figures of each result by its name; those of the study itself under `STUDY_FIGURES`.
        made: When the page is made.
        methods: The methods in sentences that a paper can take over, one string a paragraph.
        matching: Matching of intensities, in words; empty where it is not told.
    """

    study: StudySummary
    record: StudyRecord
    kinds: Sequence[ResultKind]
    results: Sequence[Result]
    drawn: Mapping[str, Sequence[Drawn]]
    made: datetime
    methods: Sequence[str] = ()
    matching: str = ""


def write_page(report: Report, path: Path) -> Path:
    """Write the page, whole or not at all.

    Args:
        report: What goes into it. Every name in it is taken for text, never for markup.
        path: HTML file; its folder is made if it is not there.

    Returns:
        The file.

    Raises:
        StudyError: It cannot be written.
    """
    html = render_page(report)
    write_whole(path, lambda partial: partial.write_text(html, encoding="utf-8"))
    return path


def render_page(report: Report) -> str:
    """The page as text."""
    study = report.study
    own = figure_views(
        sorted(report.drawn.get(STUDY_FIGURES, ()), key=lambda figure: figure.name == "learning-curves"), 1
    )
    sections = result_sections(study, report.kinds, report.results, report.drawn, len(own) + 1)
    return filled(
        TEMPLATE,
        study=study,
        task=task_named(study.task),
        record=report.record,
        methods=report.methods,
        matching=report.matching,
        made=report.made.strftime("%Y-%m-%d %H:%M %Z").strip(),
        numbers=headline_numbers(study),
        cautions=headline_cautions(study, report.kinds, report.results),
        nested=nested_view(study),
        variance=variance_view(study),
        limits=variance_sentences(study),
        trials=trials_view(study),
        best=None if study.estimates is None else study.row(study.estimates.trial),
        states=states_in_words(study),
        own=own,
        sections=sections,
        audit=audit_checks(report.kinds, report.results) if study.task == DAMAGE.name else (),
        missing=missing_results(study, report.kinds, report.results, report.drawn),
        commands=commands(report),
        in_words=in_words,
    )


def commands(report: Report) -> tuple[str, ...]:
    """The commands that make this page again, in order, from the slice store on."""
    study, flag = report.study, f"--bone {shlex.quote(report.study.name)}"
    made = {result.name for result in report.results}
    of_results = [command_of(kind, flag, report.kinds, report.results) for kind in report.kinds if kind.name in made]
    search = [f"bonehpo search {flag} --trials {len(study.trials)}"] if study.trials else []
    return (*search, *dict.fromkeys(of_results), f"bonehpo report {flag}")
