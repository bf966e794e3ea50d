"""Trials and folds of a study as tables for pandas, with scores under the names that people know."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from bonehpo.errors import BonehpoError
from bonehpo.files import write_durably
from bonehpo.hyperparameters import told
from bonehpo.search.plan import SearchPlan
from bonehpo.search.records import folds_table
from bonehpo.search.storage import load_study
from bonehpo.search.summary import StudySummary, TrialRow, summarise
from bonehpo.task import Measure, task_named


def trials_of(study: StudySummary) -> pd.DataFrame:
    """All trials that have begun, a row each, with the number of the trial as index.

    Args:
        study: The study.

    Returns:
        The hyperparameters of the paper, and others that are anywhere off their default, by name; `n_parameters`;
        `n_folds` that are finished; `mean_accuracy` and `sd` of the test accuracy over folds, and `accuracy_<set>` for each
        test set, NaN where a trial is not complete; `state`; `reason` of a failure. For strain it is `mean_error_percent`
        and `error_percent_<set>`.
    """
    measure, names = task_named(study.task).measure, [e.name for e in told(row.hyperparameters for row in study.trials)]
    table = pd.DataFrame([_trial(row, names, measure) for row in study.trials])
    return table if table.empty else table.set_index("trial")


def formatted(study: StudySummary, form: str) -> str:
    """The trials of a study as a table for a paper, with units and n in its head.

    Args:
        study: The study.
        form: "csv", "latex" (tabular with the rules of booktabs) or "markdown".
    """
    measure, columns = task_named(study.task).measure, told(row.hyperparameters for row in study.trials)
    heads = ["trial", *(entry.label for entry in columns), "parameters", "n folds"]
    heads += [f"{measure.noun}, mean{f' ({measure.unit.strip()})' if measure.unit else ''}", "sd over folds", "state"]
    rows = [
        [
            str(row.trial),
            *(entry.text(getattr(row.hyperparameters, entry.name)) for entry in columns),
            f"{row.n_parameters}",
            str(row.n_folds),
            "" if row.mean_score is None else f"{abs(row.mean_score):.3f}",
            "" if row.sd is None else f"{row.sd:.3f}",
            row.state,
        ]
        for row in study.trials
    ]
    table = pd.DataFrame(rows, columns=heads)
    if form == "csv":
        return table.to_csv(index=False, lineterminator="\n")
    if form == "latex":
        return table.to_latex(index=False, escape=True, column_format="l" + "r" * (len(heads) - 2) + "l")
    lines = [heads, ["---:"] * (len(heads) - 1) + ["---"], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def write_tables(plan: SearchPlan) -> None:
    """Write `trials.csv` and `folds.csv` into the folder of a study, anew and whole: UTF-8, commas, decimal points.

    Raises:
        StudyMissing: The study has not begun.
        StudyError: They cannot be written.
    """
    trials = trials_of(summarise(plan)).to_csv(lineterminator="\n")
    write_durably(plan.folder.trials_csv, trials.encode())
    write_durably(plan.folder.folds_csv, folds_of(plan).to_csv(index=False, lineterminator="\n").encode())


class TablesKept:
    """Keeps the tables of a study up to date during a search, and never ends it: what cannot be written is told once."""

    def __init__(self, plan: SearchPlan, note: Callable[[str], None]) -> None:
        """Keep the tables of the study that a plan is of.

        Args:
            plan: Of the study.
            note: Told why they cannot be written.
        """
        self._plan, self._note = plan, note
        self._is_told = False

    def write(self) -> None:
        """Write the tables."""
        try:
            write_tables(self._plan)
        except BonehpoError as error:
            if not self._is_told:
                self._note(f"Note: trials.csv and folds.csv are not up to date: {error}")
            self._is_told = True


def _trial(row: TrialRow, names: Sequence[str], measure: Measure) -> dict[str, object]:
    scores = measure.shown({"mean_score": float("nan") if row.mean_score is None else row.mean_score})
    by_set = measure.shown({"score_by_set": row.score_by_set})
    return {
        "trial": row.trial,
        **{name: getattr(row.hyperparameters, name) for name in names},
        "n_parameters": row.n_parameters,
        "n_folds": row.n_folds,
        **scores,
        "sd": float("nan") if row.sd is None else row.sd,
        **_one_by_one(by_set),
        "state": row.state,
        "reason": row.reason or "",
    }


def folds_of(plan: SearchPlan) -> pd.DataFrame:
    """The folds of all complete trials, a row each.

    Args:
        plan: Of the study.

    Returns:
        `trial`; `test` and `validation`, the sets held out; `test_accuracy` and `validation_accuracy`;
        `accuracy_<plane>` on the test slices cut in each plane; `accuracy_pristine`, `accuracy_failed` and the mean
        softmax output for the right class, `softmax_pristine` and `softmax_failed`; `key`, the content address of the fit.
        For strain it is `test_error_percent` and so on, and `bias_percent`.

    Raises:
        StudyMissing: The study has not begun.
    """
    measure = task_named(plan.config.task).measure
    folds = folds_table(load_study(plan.storage, plan.folder.name, plan.identity), plan)
    rows = []
    for row in folds.to_dict("records"):
        by_plane, details = row.pop("score_by_plane"), row.pop("details")
        key, _ = row.pop("key"), row.pop("n_slices")
        scores = measure.shown({str(name): value for name, value in row.items()})
        rows.append({**scores, **_one_by_one(measure.shown({"score_by_plane": by_plane})), **details, "key": key})
    return pd.DataFrame(rows, columns=None if rows else ["trial", "test", "validation", "key"])


def _one_by_one(tables: Mapping[str, object]) -> dict[str, object]:
    """Columns `accuracy_TB5`, … of a table `accuracy_by_set`."""
    return {
        f"{name.partition('_by_')[0]}_{key}": value
        for name, values in tables.items()
        if isinstance(values, Mapping)
        for key, value in values.items()
    }
