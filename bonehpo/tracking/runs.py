"""A study as MLflow shows it: one experiment, in which every run is tagged `bonehpo.level`.

Trials are at the top, their folds nested in them: the user interface folds away whatever is nested. Beside them are the run
of the study, an `optimum` for each that was chosen, with the folds of its networks fitted again (`refit`), and each
`comparison` and `explanation`; the stored views leave these out. No failure here stops a search: the first is told once,
with its remedy, and the rest of the search goes unrecorded.
"""

import functools
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Concatenate, ParamSpec

from mlflow.entities import Metric

from bonehpo.errors import TrackingError
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.schema import RESULTS, old_name
from bonehpo.search.recorder import (
    ConfigurationRecord,
    FoldRecord,
    NullRecorder,
    OptimumRecord,
    Recorder,
    ResultRecord,
    StudyRecord,
    TrialRecord,
    TrialSummary,
)
from bonehpo.task import Measure, task_named
from bonehpo.tracking import entries, views
from bonehpo.tracking.database import Tracking, first_line, open_tracking
from bonehpo.tracking.ledger import NewRun, RunLedger

logger = logging.getLogger(__name__)

P = ParamSpec("P")

_STATUS = {"complete": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}
_REMEDY = "the search goes on without it, run `bonehpo sync` when MLflow is back"


def recorder_for(root: Path) -> Recorder:
    """A recorder for the MLflow backend of a project; when that does not open, a warning and one that writes nothing.

    Args:
        root: Folder of the project, which holds `mlruns/`.
    """
    try:
        return MlflowRecorder(open_tracking(root))
    except TrackingError as error:
        logger.warning("Nothing is recorded in MLflow: %s (%s)", error, _REMEDY)
        return NullRecorder()


def _never_stops_a_search(
    method: Callable[Concatenate["MlflowRecorder", P], None],
) -> Callable[Concatenate["MlflowRecorder", P], None]:
    """Record as long as MLflow answers; at its first failure warn, and from then on do nothing."""

    @functools.wraps(method)
    def attempt(self: "MlflowRecorder", /, *args: P.args, **kwargs: P.kwargs) -> None:
        if self.is_off:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # whatever it is, it must not cost a search of days
            self.is_off = True
            logger.warning("MLflow failed at `%s` (%s); %s", method.__name__, first_line(error), _REMEDY)
            logger.debug("Its cause:", exc_info=True)

    return attempt


class MlflowRecorder:
    """The `Recorder` that writes into MLflow.

    Every call may come twice, from a resumed search or from `bonehpo sync`: a finished run is left as it is, an
    unfinished one is taken up again.

    Attributes:
        is_off: Whether MLflow failed, and nothing is recorded any more.
    """

    def __init__(self, tracking: Tracking) -> None:
        self.is_off = False
        self._ledger = RunLedger(tracking)
        self._record: StudyRecord
        self._study_key = ""
        self._trials: dict[int, Hyperparameters] = {}
        self._folds: dict[int, list[FoldRecord]] = {}

    @_never_stops_a_search
    def study(self, record: StudyRecord) -> None:
        """Open the study's run and sweep what a killed search left RUNNING."""
        self._record = record
        self._study_key = record.study_id
        new = self._new_run("study", self._study_key, record.name, None, record.started)
        if self._ledger.open_study(record.name, record.study_id, new, views.experiment_tags(record)):
            self._describe_study()

    @_never_stops_a_search
    def trial_started(self, trial: TrialRecord) -> None:
        """Open a trial's run, or set it RUNNING again."""
        self._trials[trial.number] = trial.hyperparameters
        self._folds[trial.number] = []
        key = self._trial_key(trial.number)
        new = self._new_run("trial", key, f"trial {trial.number}", None, trial.started, trial=trial.number)
        if self._open(new):
            params = entries.choice_params(trial.hyperparameters, self._record)
            self._ledger.log(key, params={**params, "n_parameters": trial.n_parameters})

    @_never_stops_a_search
    def fold(self, trial_number: int, fold: FoldRecord) -> None:
        """Record a fold whole: its run begins and ends here."""
        self._folds[trial_number].append(fold)
        parameters = entries.choice_params(self._trials[trial_number], self._record)
        self._fold("fold", self._trial_key(trial_number), parameters, fold, trial=trial_number)

    @_never_stops_a_search
    def trial_finished(self, trial_number: int, summary: TrialSummary) -> None:
        """Record a trial's mean, standard deviation, accuracies by set and mean learning curves, and end its run."""
        key = self._trial_key(trial_number)
        folds = self._folds.pop(trial_number, [])
        curves = self._curves(folds, summary)
        if not self._ledger.is_open(key):
            if curves and self._ledger.lacks(key, curves[0].key):  # trials had none at first
                self._ledger.log(key, metrics=curves)
            return
        tags = {"bonehpo.state": summary.state} | ({"bonehpo.reason": summary.reason} if summary.reason else {})
        numbers = [*entries.trial_metrics(summary, self._measure), *entries.stuck_metrics(folds, summary.finished)]
        self._ledger.log(key, metrics=[*numbers, *curves], tags=tags)
        self._ledger.end(key, _STATUS[summary.state], summary.finished)

    def _curves(self, folds: Sequence[FoldRecord], summary: TrialSummary) -> list[Metric]:
        """Mean learning curves of a complete trial all of whose folds are known: others would be means of other folds."""
        n_sets = self._record.n_sets
        if summary.state != "complete" or len(folds) != n_sets * (n_sets - 1):
            return []
        return entries.trial_curves(folds, self._measure)

    @_never_stops_a_search
    def optimum(self, record: OptimumRecord, refit: Sequence[FoldRecord]) -> None:
        """Record an optimum as a run of its own, and move the tag `bonehpo.optimum` to it and to its trial."""
        number = record.estimates.trial
        trial_key = self._trial_key(number)
        if trial_key not in self._ledger:
            self._ledger.refresh()  # another driver recorded that trial
        key = f"{self._study_key}/optimum/{number}/{record.rule}/{record.n_trials}"
        if record.repeats:
            key += f"/{1 + len(record.repeats)} seeds"
        name = f"optimum: trial {number}"
        if self._open(self._new_run("optimum", key, name, None, record.chosen, trial=number)):
            self._ledger.log(
                key,
                metrics=[
                    *entries.optimum_metrics(record, self._measure),
                    *entries.stuck_metrics(refit, record.chosen),
                ],
                params=entries.optimum_params(record, self._record),
            )
            self._ledger.write(key, json.dumps(dict(record.estimates.chosen_by_set), indent=2), "chosen_by_set.json")
            parameters = entries.choice_params(record.hyperparameters, self._record)
            for repeat, folds in enumerate((refit, *record.repeats), start=1):
                for fold in folds:
                    self._fold("refit", key, parameters, fold, trial=number, repeat=repeat)
            self._ledger.end(key, "FINISHED", record.chosen)
        self._ledger.mark_optimum([key, trial_key])

    @_never_stops_a_search
    def result(self, record: ResultRecord) -> None:
        """Record a comparison or an explanation with its configurations and files; one from other inputs is a new run."""
        key = f"{self._study_key}/{record.level}/{old_name(record.name, RESULTS)}/{record.inputs}"
        name = f"{record.level}: {record.name}"
        new = self._new_run(record.level, key, name, None, record.finished, result=record.name)
        if self._open(new):
            self._ledger.log(
                key,
                metrics=entries.metrics(record.metrics, record.finished),
                params=record.parameters,
                tags={"mlflow.note.content": "\n\n".join(record.sentences)},
            )
            for configuration in record.configurations:
                self._configuration(key, record, configuration)
            for image in entries.opened_at_once(record.images):
                self._ledger.show(key, entries.clean(image.series), image.step, image.pixels, record.finished)
            for file in record.files:
                self._ledger.keep(key, str(file))
            self._ledger.end(key, "FINISHED", record.finished)

    def _configuration(self, parent: str, record: ResultRecord, configuration: ConfigurationRecord) -> None:
        key = f"{parent}/{configuration.name}"
        if not self._open(
            self._new_run(
                record.level,
                key,
                configuration.name,
                parent,
                record.finished,
                result=record.name,
                configuration=configuration.name,
            )
        ):
            return
        tags = {"bonehpo.reason": configuration.reason} if configuration.reason else {}
        metrics = entries.configuration_metrics(configuration, self._measure, record.finished)
        self._ledger.log(key, metrics=metrics, params=configuration.parameters, tags=tags)
        for fold in configuration.folds:
            self._fold(
                "fold", key, configuration.parameters, fold, result=record.name, configuration=configuration.name
            )
        self._ledger.end(key, "FAILED" if configuration.reason else "FINISHED", record.finished)

    @_never_stops_a_search
    def interrupted(self) -> None:
        """Set every run that is still open to KILLED."""
        self._ledger.end_all("KILLED")

    @_never_stops_a_search
    def close(self) -> None:
        """End the study's run; a trial that is still open never finished, so it becomes KILLED."""
        if self._ledger.is_open(self._study_key):
            self._ledger.end(self._study_key, "FINISHED", datetime.now())
        self._ledger.end_all("KILLED")

    @property
    def _measure(self) -> Measure:
        return task_named(self._record.task).measure

    def _trial_key(self, number: int) -> str:
        return f"{self._study_key}/trial/{number}"

    def _new_run(
        self, level: str, key: str, name: str, parent: str | None, started: datetime, **tags: str | int
    ) -> NewRun:
        common = {"level": level, "store_id": self._record.store_id, "ran_on": self._record.ran_on}
        common |= entries.candidates_tag(self._record)
        all_tags = {f"bonehpo.{tag}": str(value) for tag, value in (common | tags).items()}
        dataset = entries.slices_used(self._record) if parent is None else None
        return NewRun(key=key, name=name, parent=parent, tags=all_tags, started=started, dataset=dataset)

    def _open(self, new: NewRun) -> bool:
        """Open a run below the study; a study that was finished goes on."""
        if not self._ledger.open(new):
            return False
        if not self._ledger.is_open(self._study_key) and self._ledger.take_up(self._study_key):
            self._describe_study()
        return True

    def _describe_study(self) -> None:
        params, tags = entries.study_params(self._record), entries.study_tags(self._record)
        self._ledger.log(self._study_key, params=params, tags=tags)
        self._ledger.write(self._study_key, self._record.config_toml, "study.toml")

    def _fold(
        self, level: str, parent: str, parameters: Mapping[str, object], fold: FoldRecord, **tags: str | int
    ) -> None:
        test, validation = fold.scores.test, fold.scores.validation
        all_tags = tags | {"test": test, "validation": validation, "fit": fold.key}
        if fold.is_stuck:
            all_tags["stuck"] = "true"
        key, name = f"{parent}/{test}/{validation}", f"test {test} | validation {validation}"
        if tags.get("repeat", 1) != 1:
            key, name = f"{key}/{tags['repeat']}", f"{name} | seeds {tags['repeat']}"
        if self._open(self._new_run(level, key, name, parent, fold.started, **all_tags)):
            params = {**parameters, **entries.fold_params(fold)}
            self._ledger.log(key, metrics=entries.fold_metrics(fold), params=params)
            self._ledger.write(key, entries.predictions_csv(fold.predictions, task_named(fold.task)), "predictions.csv")
            self._ledger.end(key, "FINISHED", fold.finished)
