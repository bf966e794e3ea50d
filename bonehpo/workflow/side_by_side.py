"""Two studies on one page, as the paper has its two bones."""

from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from bonehpo.errors import StudyError

if TYPE_CHECKING:
    from bonehpo.report.page import Report
    from bonehpo.search.plan import SearchPlan
    from bonehpo.workflow.study import Study


def report_side_by_side(left: "Study", right: "Study", path: str | PathLike[str] | None = None) -> Path:
    """Write one HTML page with two studies side by side: headline numbers, and what the paper shows of both of its bones.

    The page needs nothing else. It is drawn from what is recorded now, and is not logged to MLflow, where each study has its
    own.

    Args:
        left: The study in the left column.
        right: That in the right one.
        path: HTML file to write; None for `studies/CB-TB.html`, beside the folder of the study `CB`.

    Returns:
        The file.

    Raises:
        StudyError: Both are one study, they are of two tasks, one has not begun, or the page cannot be written.
        StoreError: One has no store, or it is damaged.

    Examples:
        >>> both = bonehpo.Study("studies/CB"), bonehpo.Study("studies/TB")  # doctest: +SKIP
        >>> bonehpo.report_side_by_side(*both)  # doctest: +SKIP
        PosixPath('/home/me/project/studies/CB-TB.html')
    """
    from bonehpo.report.side_by_side import Sides, write_side_by_side

    if left.folder.path.resolve() == right.folder.path.resolve():
        raise StudyError(f"{left.name} cannot stand beside itself: name two studies")
    usual = left.folder.path.with_name(f"{left.name}-{right.name}.html")
    made = datetime.now().astimezone()
    sides = Sides(_side(left.plan, made), _side(right.plan, made))
    return write_side_by_side(sides, usual if path is None else Path(path).absolute())


def _side(plan: "SearchPlan", made: datetime) -> "Report":
    """Contents of one column, with those figures that the paper has."""
    from bonehpo.report.page import Report
    from bonehpo.report.side_by_side import shows_figure
    from bonehpo.results.specimens import make_specimens
    from bonehpo.search.records import read_study
    from bonehpo.search.summary import summarise
    from bonehpo.store.store import SliceStore
    from bonehpo.workflow.kinds import RESULT_KINDS
    from bonehpo.workflow.report import current_results

    found = read_study(plan)
    make_specimens(SliceStore.open(plan.folder.store), plan.folder)
    results = current_results(plan, found.optimum)
    kinds = [RESULT_KINDS[result.name] for result in results]
    return Report(
        study=summarise(plan),
        record=found.record,
        kinds=tuple(RESULT_KINDS.values()),
        results=results,
        drawn={
            kind.name: kind.draw(result, plan.folder)
            for kind, result in zip(kinds, results, strict=True)
            if shows_figure(kind)
        },
        made=made,
    )
