"""All studies of a project at a glance: what is there, what is out of date, what is next."""

from dataclasses import dataclass
from pathlib import Path

from bonehpo.config import StudyFolder
from bonehpo.domain import specimens_in_words
from bonehpo.errors import BonehpoError
from bonehpo.workflow.next_steps import next_step
from bonehpo.workflow.plan import STUDIES, flag
from bonehpo.workflow.standing import standing_of
from bonehpo.workflow.study import Study


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """One study at a glance.

    Attributes:
        name: Of the study.
        slices: What its store holds, in words; empty without one.
        n_trials: Trials that have begun.
        n_complete: Those that have a score.
        has_optimum: Whether the optimum is fitted again with fresh seeds.
        results: Names of the results that are current.
        stale: Names of results on disk that are of another store or optimum, and `report` where it is older than a result.
        next_command: What to type next.
        why: Why.
        problem: Why nothing more can be said; empty where it can.
    """

    name: str
    slices: str = ""
    n_trials: int = 0
    n_complete: int = 0
    has_optimum: bool = False
    results: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    next_command: str = ""
    why: str = ""
    problem: str = ""


def studies_of(project: Path) -> list[str]:
    """Names of the studies of a project: folders of `studies/` that hold settings or a store."""
    folders = sorted((project / STUDIES).glob("*/")) if (project / STUDIES).is_dir() else []
    return [path.name for path in folders if (path / "study.toml").exists() or (path / "slices.zarr").exists()]


def status_of(study: Study) -> StudyStatus:
    """The status of one study; what is wrong with it is told in it."""
    try:
        return _status_of(study)
    except BonehpoError as error:
        return StudyStatus(name=study.name, problem=str(error))


def _status_of(study: Study) -> StudyStatus:
    standing = standing_of(study)
    step = next_step(standing, flag(study.folder), study.name)
    current = sorted(standing.results)
    return StudyStatus(
        name=study.name,
        slices=_slices(study) if standing.has_store else "",
        n_trials=standing.n_trials,
        n_complete=standing.n_complete,
        has_optimum=standing.has_optimum,
        results=tuple(current),
        stale=_stale(study.folder, current, has_report=standing.has_report),
        next_command=step.command,
        why=step.why,
    )


def _slices(study: Study) -> str:
    store = study.store
    made_from = "phantom, " if store.is_phantom else ""
    counts = f"{specimens_in_words(store.specimens, store.donors)}, {len(store.states)} states"
    return f"{made_from}{counts}, {store.n_slices} a plane, {store.side} px"


def _stale(folder: StudyFolder, current: list[str], *, has_report: bool) -> tuple[str, ...]:
    on_disk = sorted(path.parent.name for path in folder.results.glob("*/result.json"))
    report = ["report"] if (folder.path / "report.html").exists() and not has_report else []
    return (*(name for name in on_disk if name not in current and name != "study"), *report)
