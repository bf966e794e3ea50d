"""The runs of one study in MLflow, each found by its key before it is made.

A key says what a run records (`<study id>/trial/7/TB5/TB6`), so that recording something twice makes one run. All keys
of a study are looked up once, when its ledger is opened: a query for each fold would cost more than recording it.
"""

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import psutil
from mlflow.entities import DatasetInput, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from bonehpo.tracking.database import Tracking
from bonehpo.tracking.entries import milliseconds

_DONE = ("FINISHED", "FAILED")
_PARENT = "mlflow.parentRunId"
_MAX_METRICS, _MAX_OTHERS, _MAX_RUNS = 800, 100, 1000
"""Limits of one request: 100 parameters, 100 tags and 1,000 entries in all; and rows of one page of runs."""


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """A run to be opened.

    Attributes:
        key: What it records; unique.
        name: How it is called in the user interface.
        parent: Key of the run that it is nested in; None at the top.
        tags: Its tags.
        started: When it began.
        dataset: What it was made from.
    """

    key: str
    name: str
    parent: str | None
    tags: Mapping[str, str]
    started: datetime
    dataset: DatasetInput | None = None


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A run as this process knows it, without asking MLflow."""

    run_id: str
    status: str
    driver: str
    is_optimum: bool = False
    metrics: frozenset[str] = frozenset()


class RunLedger:
    """Opens, fills and ends the runs of one study."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._client = tracking.client
        self._driver = this_driver()
        self._entries: dict[str, _Entry] = {}
        self._open: set[str] = set()
        self._experiment_id = ""
        self._study_id = ""

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def open_study(self, experiment: str, study_id: str, new: NewRun, tags: Mapping[str, str]) -> bool:
        """Look up everything that is recorded of a study, and open its run.

        Args:
            experiment: Name of the study, after which its experiment is called.
            study_id: Tells this study from others of the same name.
            new: The run of the study.
            tags: Of the experiment.

        Returns:
            As `open`.
        """
        self._study_id = study_id
        with self._tracking.lock():
            self._experiment_id = experiment_of(self._tracking, experiment)
            told = self._client.get_experiment(self._experiment_id).tags
            for name, value in tags.items():
                if told.get(name) != value:
                    self._client.set_experiment_tag(self._experiment_id, name, value)
            self.refresh(study=new.key)
            return self.open(new)

    def refresh(self, study: str | None = None) -> None:
        """Look up all runs of the study; one that a dead process of this machine left RUNNING becomes KILLED.

        Args:
            study: Key of the run of the study. What is nested in it, as once all trials and results were, is put at the top.
        """
        runs = self._all_runs()
        above = next((run.info.run_id for run in runs if run.data.tags["bonehpo.key"] == study), None)
        for run in runs:
            tags, status = run.data.tags, run.info.status
            driver = tags["bonehpo.driver"]
            if status == "RUNNING" and is_dead(driver):
                status = "KILLED"
                self._client.set_terminated(run.info.run_id, status)
            is_optimum = tags.get("bonehpo.optimum") == "true"
            self._entries[tags["bonehpo.key"]] = _Entry(
                run_id=run.info.run_id,
                status=status,
                driver=driver,
                is_optimum=is_optimum,
                metrics=frozenset(run.data.metrics),
            )
            if above is not None and tags.get(_PARENT) == above:
                self._client.delete_tag(run.info.run_id, _PARENT)

    def open(self, new: NewRun) -> bool:
        """Make a run, or take up the unfinished one of the same key.

        Returns:
            Whether there is anything to record: False for a run that is finished, or that another process of this
            machine is recording; they stay as they are.
        """
        if new.key not in self._entries:
            self._create(new)
            return True
        return self._entries[new.key].status not in _DONE and self.take_up(new.key)

    def take_up(self, key: str) -> bool:
        """Set a run RUNNING and make it this process's own, unless another process of this machine is recording it.

        Returns:
            Whether this process may record it.
        """
        if key in self._open:
            return True
        entry = self._entries[key]
        if entry.status == "RUNNING" and entry.driver != self._driver and is_alive(entry.driver):
            return False
        self._client.set_tag(entry.run_id, "bonehpo.driver", self._driver)
        self._client.update_run(entry.run_id, status="RUNNING")
        self._entries[key] = replace(entry, status="RUNNING", driver=self._driver)
        self._open.add(key)
        return True

    def is_open(self, key: str) -> bool:
        """True if this process opened the run and has not ended it."""
        return key in self._open

    def lacks(self, key: str, metric: str) -> bool:
        """True if a run was there when its study was opened, without this metric."""
        return key in self._entries and metric not in self._entries[key].metrics

    def log(
        self,
        key: str,
        *,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Add to a run in as few requests as MLflow's limits allow.

        Args:
            key: Of the run.
            metrics: To add.
            params: To add; what is there cannot be changed.
            tags: To set.
        """
        all_params = [Param(name, str(value)) for name, value in (params or {}).items()]
        all_tags = [RunTag(name, value) for name, value in (tags or {}).items()]
        n_others = max(len(all_params), len(all_tags))
        for i in range(max(-(-len(metrics) // _MAX_METRICS), -(-n_others // _MAX_OTHERS))):
            self._client.log_batch(
                self._entries[key].run_id,
                metrics=metrics[i * _MAX_METRICS : (i + 1) * _MAX_METRICS],
                params=all_params[i * _MAX_OTHERS : (i + 1) * _MAX_OTHERS],
                tags=all_tags[i * _MAX_OTHERS : (i + 1) * _MAX_OTHERS],
            )

    def write(self, key: str, text: str, file: str) -> None:
        """Keep a text as an artifact of a run.

        Args:
            key: Of the run.
            text: Content.
            file: Path of the artifact within the run.
        """
        self._client.log_text(self._entries[key].run_id, text, file)

    def keep(self, key: str, path: str) -> None:
        """Keep a copy of a file as an artifact of a run."""
        self._client.log_artifact(self._entries[key].run_id, path)

    def show(self, key: str, series: str, step: int, pixels: npt.NDArray[np.uint8], at: datetime) -> None:
        """Keep a picture (y, x) of a series that the user interface steps through.

        Args:
            key: Of the run.
            series: Name of the series.
            step: Place in the series.
            pixels: (y, x).
            at: Time of the picture.
        """
        self._client.log_image(
            self._entries[key].run_id, pixels, key=series, step=step, timestamp=milliseconds(at), synchronous=True
        )

    def end(self, key: str, status: str, at: datetime) -> None:
        """End a run that this process opened.

        Args:
            key: Of the run.
            status: FINISHED, FAILED or KILLED.
            at: End of the run.
        """
        entry = self._entries[key]
        self._client.set_terminated(entry.run_id, status, milliseconds(at))
        self._entries[key] = replace(entry, status=status)
        self._open.discard(key)

    def end_all(self, status: str) -> None:
        """End whatever this process has left open."""
        for key in sorted(self._open, reverse=True):
            self.end(key, status, datetime.now())

    def mark_optimum(self, keys: Iterable[str]) -> None:
        """Put the tag `bonehpo.optimum` on these runs, then take it from all others."""
        wanted = set(keys)
        for key, entry in self._entries.items():
            if key in wanted and not entry.is_optimum:
                self._client.set_tag(entry.run_id, "bonehpo.optimum", "true")
                self._entries[key] = replace(entry, is_optimum=True)
        for key, entry in self._entries.items():
            if entry.is_optimum and key not in wanted:
                self._client.delete_tag(entry.run_id, "bonehpo.optimum")
                self._entries[key] = replace(entry, is_optimum=False)

    def _all_runs(self) -> list[Run]:
        runs: list[Run] = []
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id],
                f"tags.`bonehpo.study_id` = '{self._study_id}'",
                max_results=_MAX_RUNS,
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def _create(self, new: NewRun) -> None:
        tags = {
            **new.tags,
            "bonehpo.study_id": self._study_id,
            "bonehpo.key": new.key,
            "bonehpo.driver": self._driver,
            "mlflow.source.name": "bonehpo",
        }
        if new.parent is not None:
            tags[_PARENT] = self._entries[new.parent].run_id
        run = self._client.create_run(self._experiment_id, milliseconds(new.started), tags, new.name)
        if new.dataset is not None:
            self._client.log_inputs(run.info.run_id, datasets=[new.dataset])
        self._entries[new.key] = _Entry(run_id=run.info.run_id, status="RUNNING", driver=self._driver)
        self._open.add(new.key)


def experiment_of(tracking: Tracking, study: str) -> str:
    """The id of the study's MLflow experiment `bonehpo/<study>`, made or restored when it is not there."""
    name = f"bonehpo/{study}"
    found = tracking.client.get_experiment_by_name(name)
    if found is None:
        location = str(tracking.artifacts / study) if tracking.artifacts else None
        try:
            return str(tracking.client.create_experiment(name, artifact_location=location))
        except MlflowException:  # where nothing can be locked, another process may have been faster
            found = tracking.client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        tracking.client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def this_driver() -> str:
    """This process, as `host:pid:start`: a later process of the same number is another."""
    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def is_alive(driver: str) -> bool:
    """True if the process that `this_driver` named runs on this machine."""
    host, pid, start = driver.split(":")
    try:
        return host == socket.gethostname() and f"{psutil.Process(int(pid)).create_time():.2f}" == start
    except psutil.NoSuchProcess:
        return False


def is_dead(driver: str) -> bool:
    """True if the process that `this_driver` named was on this machine and runs no more; of others nothing is known."""
    return driver.split(":", maxsplit=1)[0] == socket.gethostname() and not is_alive(driver)
