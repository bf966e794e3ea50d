"""One HTML page with two studies side by side: their headline numbers, and what the paper shows of both of its bones."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bonehpo.errors import StudyError
from bonehpo.files import write_whole
from bonehpo.hyperparameters import in_words
from bonehpo.report.page import Report, commands
from bonehpo.report.sections import audit_checks, command_of, headline_cautions, states_in_words
from bonehpo.report.template import filled
from bonehpo.report.views import (
    NONE,
    FigureView,
    Sentence,
    figure_views,
    score_text,
    sentences,
    signed_text,
    span_text,
    spread_text,
)
from bonehpo.results.kind import FromOptimum, ResultKind
from bonehpo.results.result import Drawn
from bonehpo.search.summary import StudySummary
from bonehpo.task import DAMAGE, task_named

TEMPLATE = "side_by_side.html.j2"
FIGURE = "Fig"
"""Figures of the paper begin so, in `Drawn.paper` and in `ResultKind.paper`."""


class Sides(NamedTuple):
    """Two studies, as each is shown on its own page; of their figures those that the paper has are enough."""

    left: Report
    right: Report


class Cell(NamedTuple):
    """Place of one study in a row of figures: the figure, or why there is none and the commands that make it, in order."""

    figure: FigureView | None = None
    why: str = ""
    commands: tuple[str, ...] = ()


class Part(NamedTuple):
    """One kind of result on the page: what each study says of it, and its figures, a row for each."""

    name: str
    heading: str
    paper: str
    sentences: tuple[tuple[Sentence, ...], ...]
    rows: tuple[tuple[Cell, ...], ...]


class NumberRow(NamedTuple):
    """A row of the table of headline numbers: a text for each study."""

    label: str
    texts: tuple[str, ...]


class Doubts(NamedTuple):
    """Everything that must stand beside the headline number of a study, and the checks that were, and were not, made."""

    cautions: tuple[str, ...]
    made: tuple[str, ...]
    not_made: tuple[str, ...]


def write_side_by_side(sides: Sides, path: Path) -> Path:
    """Write the page, whole or not at all.

    Args:
        sides: What goes into it. Every name in it is taken for text, never for markup.
        path: HTML file; its folder is made if it is not there.

    Returns:
        The file.

    Raises:
        StudyError: The studies are of two tasks, or it cannot be written.
    """
    html = render_side_by_side(sides)
    write_whole(path, lambda partial: partial.write_text(html, encoding="utf-8"))
    return path


def render_side_by_side(sides: Sides) -> str:
    """The page as text.

    Raises:
        StudyError: The studies are of two tasks.
    """
    studies = [side.study for side in sides]
    if len({study.task for study in studies}) > 1:
        told = " and ".join(f"{study.name} is of {study.task}" for study in studies)
        raise StudyError(f"only studies of one task stand side by side, but {told}: report each on its own page")
    return filled(
        TEMPLATE,
        title=" and ".join(study.name for study in studies),
        names=[study.name for study in studies],
        task=task_named(studies[0].task),
        version=sides.left.record.versions.get("bonehpo", ""),
        phantoms=" and ".join(study.name for study in studies if study.ran_on == "phantom"),
        mixed=" and ".join(study.name for study in studies if study.split == "mixed"),
        headline=number_rows([_headline(side) for side in sides]),
        run=number_rows([_run(side) for side in sides]),
        doubts=[_doubts(side) for side in sides],
        parts=paper_parts(sides),
        sides=sides,
        made=sides.left.made.strftime("%Y-%m-%d %H:%M %Z").strip(),
        commands=_commands(sides),
    )


def shows_figure(kind: ResultKind) -> bool:
    """True for a kind of result that the paper has a figure of."""
    return (kind.paper or "").startswith(FIGURE)


def number_rows(columns: Sequence[Mapping[str, str]]) -> tuple[NumberRow, ...]:
    """Rows of a table with a column for each study.

    Args:
        columns: Texts of each study by their labels; what a study has not is a dash.
    """
    labels = dict.fromkeys(label for column in columns for label in column)
    return tuple(NumberRow(label, tuple(column.get(label, NONE) for column in columns)) for label in labels)


def _headline(side: Report) -> dict[str, str]:
    """The honest accuracies of one study, the nested one first."""
    study, record = side.study, side.record
    measure, found = task_named(study.task).measure, study.estimates
    nested, interval, bound = f"nested {measure.noun}", "95\u00a0% interval", f"{measure.bound} (one-sided 95\u00a0%)"
    numbers = dict.fromkeys((nested, interval, bound), NONE)
    numbers["test sets"] = f"n\u00a0=\u00a0{record.n_sets}: {', '.join(record.n_images)}"
    if found is None:
        return numbers
    ends = span_text(found.nested_score_worse_end, found.nested_score_better_end, measure)
    next_one = span_text(found.next_score_worse_end, found.next_score_better_end, measure)
    drawn = span_text(found.bootstrap_score_worse_end, found.bootstrap_score_better_end, measure)
    apparent = f"{score_text(found.apparent_score, measure)} ± {spread_text(found.sd, measure)}"
    return numbers | {
        nested: score_text(found.nested_score, measure),
        interval: ends,
        bound: score_text(found.nested_score_bound, measure),
        "next specimen or donor, 95\u00a0%": NONE if study.split == "mixed" else next_one,
        "bootstrapped": f"{score_text(found.bootstrap_score, measure)} ({drawn}, 95\u00a0%)",
        f"apparent {measure.noun}": f"{apparent} (sd over {found.n_folds} folds)",
        "optimism": signed_text(found.gap, measure),
        **_refit(study),
    }


def _refit(study: StudySummary) -> dict[str, str]:
    if study.optimum is None:
        return {}
    measure, found = task_named(study.task).measure, study.optimum
    score, sd = score_text(found.refit_score, measure), spread_text(found.refit_sd, measure)
    return {"fitted again": f"{score} ± {sd} (fresh seeds, sd over {len(found.folds)} folds)"}


def _run(side: Report) -> dict[str, str]:
    """Data and search of one study."""
    study = side.study
    numbers = {
        "ran on": "phantoms, synthetic specimens" if study.ran_on == "phantom" else "scans of real specimens",
        "bone type": study.bone,
        "slices": f"{sum(side.record.n_images.values()):,}",
        "split": "mixed: groups of (specimen, plane)" if study.split == "mixed" else f"by {study.split}",
        "trials": states_in_words(study),
        "protocol": study.protocol_in_words,
    }
    if study.estimates is None:
        return numbers
    best = study.row(study.estimates.trial)
    return numbers | {
        "optimum": f"trial {best.trial}: {in_words(best.hyperparameters, short=False)}",
        "trainable parameters": f"{best.n_parameters:,}",
    }


def _doubts(side: Report) -> Doubts:
    cautions = headline_cautions(side.study, side.kinds, side.results)
    if side.study.estimates is None:
        cautions = ("No trial is complete yet.", *cautions)
    checks = audit_checks(side.kinds, side.results) if side.study.task == DAMAGE.name else ()
    return Doubts(
        cautions,
        made=tuple(check.heading for check in checks if check.cautions is not None),
        not_made=tuple(check.heading for check in checks if check.cautions is None),
    )


def paper_parts(sides: Sides) -> tuple[Part, ...]:
    """Everything that the paper has a figure of, in its order; kinds that neither study can have are left out."""
    parts, number = [], 1
    for kind in filter(shows_figure, sides.left.kinds):
        if not any(kind.is_wanted(side.study) or side.drawn.get(kind.name) for side in sides):
            continue
        rows, number = _rows(sides, kind, number)
        said = [_sentences(side, kind) for side in sides]
        parts.append(Part(kind.name, kind.heading, kind.paper or "", tuple(said), rows))
    return tuple(parts)


def _sentences(side: Report, kind: ResultKind) -> tuple[Sentence, ...]:
    return tuple(text for result in side.results if result.name == kind.name for text in sentences(result.sentences))


def _rows(sides: Sides, kind: ResultKind, number: int) -> tuple[tuple[tuple[Cell, ...], ...], int]:
    """A row for each figure that one of the studies has, and the number of the next figure; one row where none has any."""
    figures = [{one.name: one for one in _of_paper(side.drawn.get(kind.name, ()))} for side in sides]
    rows = []
    for name in dict.fromkeys(name for found in figures for name in found) or [""]:
        row = []
        for side, found in zip(sides, figures, strict=True):
            if name in found:
                (view,) = figure_views([found[name]], number)
                row.append(Cell(view))
                number += 1
            else:
                row.append(_absent(side, kind))
        rows.append(tuple(row))
    return tuple(rows), number


def _of_paper(drawn: Sequence[Drawn]) -> list[Drawn]:
    return [figure for figure in drawn if figure.paper.startswith(FIGURE)]


def _absent(side: Report, kind: ResultKind) -> Cell:
    study = side.study
    if study.task not in kind.tasks:
        return Cell(why=f"A study of {study.task} has no such figure.")
    if any(result.name == kind.name for result in side.results):
        return Cell(why="What it would show is not known of this study.")
    flag = f"--bone {shlex.quote(study.name)}"
    first = []
    if study.optimum is None and isinstance(kind.made, FromOptimum):
        first = [f"bonehpo search {flag} --trials {max(len(study.trials), 1)}"]
    return Cell(why="Not made yet:", commands=(*first, command_of(kind, flag, side.kinds, side.results)))


def _commands(sides: Sides) -> tuple[str, ...]:
    flags = [f"--bone {shlex.quote(side.study.name)}" for side in sides]
    return (*(command for side in sides for command in commands(side)), f"bonehpo report {' '.join(flags)}")
