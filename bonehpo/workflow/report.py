"""The report: everything recorded of a study on one page."""

from contextlib import closing
from datetime import datetime
from pathlib import Path

from bonehpo.files import write_durably
from bonehpo.report.figures.studies import importance_figure, learning_curves_figure, trials_figure
from bonehpo.report.figures.style import Export, exported
from bonehpo.report.methods import Described, methods_page, paragraphs, references_bib
from bonehpo.report.page import STUDY_FIGURES, Report, write_page
from bonehpo.results.result import Drawn, Result, address_of, result_folder, result_record
from bonehpo.results.specimens import make_specimens
from bonehpo.search.plan import SearchPlan
from bonehpo.search.recorder import Recorder, ResultRecord
from bonehpo.search.records import Optimum, read_folds, read_study
from bonehpo.search.summary import StudySummary, importances, summarise
from bonehpo.store.store import SliceStore
from bonehpo.tracking.runs import recorder_for
from bonehpo.workflow.kinds import RESULT_KINDS


def make_report(plan: SearchPlan, recorder: Recorder) -> Path:
    """Draw what is recorded of a study, write `report.html` into its folder, and log that to MLflow.

    Beside it, `methods.md` is what a paper takes over, and `references.bib` what it cites.

    Results of another store, or of an optimum that the study has no more, are left out.

    Raises:
        StudyError: The study has not begun, or the page cannot be written.
    """
    found, summary = read_study(plan), summarise(plan)
    recorder.study(found.record)
    store = SliceStore.open(plan.folder.store)
    specimens = make_specimens(store, plan.folder)
    results = current_results(plan, found.optimum)
    drawn = {result.name: RESULT_KINDS[result.name].draw(result, plan.folder) for result in results}
    recorder.result(result_record(specimens, plan.folder))
    drawn[STUDY_FIGURES] = _own_figures(plan, summary, found.optimum)
    described = Described(
        study=summary,
        record=found.record,
        config=plan.config,
        recipe=store.recipe,
        states=store.states,
        results=tuple(result.name for result in results),
    )
    report = Report(
        study=summary,
        record=found.record,
        kinds=tuple(RESULT_KINDS.values()),
        results=results,
        drawn=drawn,
        methods=paragraphs(described),
        matching=store.recipe.matching_in_words,
        made=datetime.now().astimezone(),
    )
    version = found.record.versions["bonehpo"]
    write_durably(plan.folder.path / "methods.md", methods_page(described).encode())
    write_durably(plan.folder.path / "references.bib", references_bib(version, report.made.year).encode())
    page = write_page(report, plan.folder.path / "report.html")
    recorder.result(
        ResultRecord(
            level="explanation",
            name="report",
            inputs=address_of([result.inputs for result in results], len(summary.trials)),
            parameters={"results": ", ".join(result.name for result in results)},
            metrics={},
            files=[page],
            finished=report.made,
        )
    )
    return page


def current_results(plan: SearchPlan, optimum: Optimum | None) -> list[Result]:
    """The saved results that were made from a study as it is now, in the order of the page.

    Args:
        plan: Of the study.
        optimum: Of the study as it is now; None while it has none.
    """
    found = (kind.current(plan, optimum) for kind in RESULT_KINDS.values())
    return [result for result in found if result is not None]


def export_figures(plan: SearchPlan, export: Export) -> tuple[Path, ...]:
    """Draw all figures of a study as a journal wants them.

    Args:
        plan: Of the study.
        export: Where to, and how.

    Returns:
        The files, in the order of the page.

    Raises:
        StudyError: The study has not begun, or a figure cannot be written.
    """
    found, summary = read_study(plan), summarise(plan)
    with exported(export):
        figures = list(_own_figures(plan, summary, found.optimum))
        for result in current_results(plan, found.optimum):
            figures += RESULT_KINDS[result.name].draw(result, plan.folder)
    return tuple(figure.png for figure in figures)


def record_report(plan: SearchPlan, project: Path) -> Path:
    """Write the report of a study as `make_report` does, with the recorder of a project.

    Args:
        plan: Of the study.
        project: Folder that holds `mlruns/`.

    Raises:
        StudyError: The study has not begun, or the page cannot be written.
    """
    with closing(recorder_for(project)) as recorder:
        return make_report(plan, recorder)


def _own_figures(plan: SearchPlan, summary: StudySummary, optimum: Optimum | None) -> tuple[Drawn, ...]:
    """Figures of the study itself, in `results/study`."""
    folder = result_folder(plan.folder, "study")
    folder.mkdir(parents=True, exist_ok=True)
    folds = read_folds(plan.folder, list(optimum.keys.values())) if optimum else []
    n_complete = sum(row.state == "complete" for row in summary.trials)
    drawn = (
        trials_figure(summary, folder),
        learning_curves_figure(folds, plan.ran_on, folder),
        importance_figure(importances(plan), n_complete, plan.ran_on, folder),
    )
    return tuple(figure for figure in drawn if figure is not None)
