"""MLflow caught up with a study: whatever it lacks is written from Optuna's storage, the fits and the results."""

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from bonehpo.results.result import load_result, result_record
from bonehpo.search.plan import SearchPlan
from bonehpo.search.records import replay
from bonehpo.search.storage import load_study
from bonehpo.tracking.database import open_tracking, relocate
from bonehpo.tracking.runs import MlflowRecorder
from bonehpo.workflow.tables import write_tables


class Synced(NamedTuple):
    """Outcome of catching MLflow up with a study.

    Attributes:
        is_whole: Whether MLflow now holds all; False where it failed on the way, which is logged.
        n_trials: Trials of the study.
        n_lost: Fits whose files are gone, so that their curves and predictions cannot be recorded.
        n_relocated: Paths that were adapted to where the project is now.
    """

    is_whole: bool
    n_trials: int
    n_lost: int
    n_relocated: int = 0


def sync_study(plan: SearchPlan, project: Path, *, relocated: bool = False) -> Synced:
    """Write into MLflow whatever it lacks of a study, and its tables `trials.csv` and `folds.csv` anew.

    Args:
        plan: Of the study.
        project: Folder that holds `mlruns/`.
        relocated: Whether first to adapt MLflow's absolute paths to where the project is now.

    Raises:
        StudyMissing: The study has not begun.
        TrackingError: MLflow cannot be opened.
    """
    n_relocated = relocate(project) if relocated else 0
    study = load_study(plan.storage, plan.folder.name, plan.identity)
    write_tables(plan)
    with closing(MlflowRecorder(open_tracking(project))) as recorder:
        n_lost = replay(plan, study, recorder)
        for name in sorted(path.parent.name for path in plan.folder.results.glob("*/result.json")):
            found = load_result(plan.folder, name)
            if found is not None:
                recorder.result(result_record(found, plan.folder))
    return Synced(not recorder.is_off, len(study.trials), n_lost, n_relocated)
