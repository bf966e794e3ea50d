"""Optuna's storage as the truth of a study: opening it, and who works on which trial.

A driver is a process that runs trials. It holds a lock file in the study folder for as long as it lives, and the operating
system gives the lock back when it dies, however it dies. A RUNNING trial whose driver's lock is free is an orphan: the next
driver takes it up at its first missing pair.
"""

import json
import logging
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from bonehpo.config import StudyFolder
from bonehpo.domain import HoldoutPair
from bonehpo.errors import StudyError
from bonehpo.search.objective import FinishedPair

logger = logging.getLogger(__name__)
optuna.logging.set_verbosity(optuna.logging.WARNING)

PAIR_PREFIX = "pair:"
DRIVER, REASON = "driver", "reason"
STUDY_ID, IDENTITY, OPTIMUM = "study_id", "identity", "optimum"


def default_storage(folder: StudyFolder) -> str:
    """One SQLite file beside the study folders, unless another URL is given."""
    return f"sqlite:///{folder.path.absolute().parent / 'optuna.db'}"


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """Open Optuna's storage, creating it where it is new.

    Raises:
        StudyError: It cannot be opened; said within two seconds.
    """
    try:
        backend = make_url(url)
    except ArgumentError as error:
        raise StudyError(
            f'"{url}" is no database URL: give --storage sqlite:///FILE or postgresql://USER@HOST/NAME'
        ) from error
    try:
        if backend.get_backend_name() == "sqlite":
            return _open_sqlite(url, Path(backend.database or ""))
        return optuna.storages.RDBStorage(
            url, engine_kwargs={"pool_pre_ping": True, "connect_args": {"connect_timeout": 2}}
        )
    except (SQLAlchemyError, ImportError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise StudyError(f"Optuna's storage {backend.render_as_string()} cannot be opened: {reason}") from error


def _open_sqlite(url: str, path: Path) -> optuna.storages.RDBStorage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=30):
            with closing(sqlite3.connect(path, timeout=1)) as probe:
                probe.execute("BEGIN IMMEDIATE").connection.rollback()
            return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
    except (sqlite3.Error, OSError, Timeout) as error:
        raise StudyError(
            f"Optuna's storage {path} cannot be opened: {error}: check the file and its folder, or give --storage URL"
        ) from error


def open_study(
    storage: optuna.storages.RDBStorage, name: str, identity: Mapping[str, str], sampler: optuna.samplers.BaseSampler
) -> optuna.Study:
    """Open a study, creating it where it is new.

    Args:
        storage: Where it is kept.
        name: Of the study.
        identity: What must not change while a study lasts, as text by name.
        sampler: Who proposes trials.

    Raises:
        StudyError: The study was begun with another identity.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        sampler=sampler,
        pruner=optuna.pruners.NopPruner(),
    )
    if IDENTITY not in study.user_attrs:
        study.set_user_attr(STUDY_ID, uuid.uuid4().hex)
        study.set_user_attr(IDENTITY, json.dumps(identity, sort_keys=True))
        return study
    began = json.loads(study.user_attrs[IDENTITY])
    for key, value in identity.items():
        if began.get(key) != value:
            raise StudyError(
                f"study {name} was begun with {key} = {began.get(key)}, now it is {value}: "
                "restore it, or search in a new study folder"
            )
    return study


def load_study(url: str, name: str) -> optuna.Study:
    """A study that exists.

    Raises:
        StudyError: It does not, or its storage cannot be opened.
    """
    try:
        return optuna.load_study(storage=open_storage(url), study_name=name)
    except KeyError as error:
        raise StudyError(f"study {name} has no trials yet: run `bonehpo search --bone {name} --trials 50`") from error


@dataclass(frozen=True, kw_only=True)
class RecordedTrial:
    """A trial as the storage holds it, with its finished pairs by label."""

    trial: FrozenTrial
    pairs: Mapping[str, FinishedPair]

    @classmethod
    def of(cls, trial: FrozenTrial) -> "RecordedTrial":
        """Read the pairs of a trial."""
        pairs = {
            key.removeprefix(PAIR_PREFIX): FinishedPair.from_json(text)
            for key, text in trial.user_attrs.items()
            if key.startswith(PAIR_PREFIX)
        }
        return cls(trial=trial, pairs=pairs)


def record_pair(trial: optuna.Trial, pair: HoldoutPair, finished: FinishedPair) -> None:
    """Write a finished pair down, before anything else is told of it."""
    trial.set_user_attr(PAIR_PREFIX + pair.label, finished.to_json())


class Driver:
    """This process among the drivers of a study. A context manager: leaving it gives its trials free."""

    def __init__(self, folder: StudyFolder) -> None:
        self._folder = folder.drivers
        self.id = uuid.uuid4().hex
        self._lock = FileLock(self._folder / f"{self.id}.lock")

    def __enter__(self) -> "Driver":
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            raise StudyError(f"{self._folder} cannot be written: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other driver from choosing a trial."""
        with FileLock(self._folder / "choosing.lock"):
            yield

    def next_trial(self, study: optuna.Study, n_trials: int) -> optuna.Trial | None:
        """An orphan to go on with, else a new trial, else None when the study has its `n_trials`."""
        with self.alone():
            trials = study.get_trials(deepcopy=False)
            for frozen in trials:
                if frozen.state == TrialState.RUNNING and self._is_orphan(frozen):
                    logger.info("taking up trial %d", frozen.number)
                    trial = optuna.trial.Trial(study, frozen._trial_id)
                    trial.set_user_attr(DRIVER, self.id)
                    return trial
            if sum(frozen.state != TrialState.WAITING for frozen in trials) >= n_trials:
                return None
            trial = study.ask()
            trial.set_user_attr(DRIVER, self.id)
            return trial

    def _is_orphan(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get(DRIVER)
        if owner is None or owner == self.id:
            return True
        lock = FileLock(self._folder / f"{owner}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return False
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)
        return True
