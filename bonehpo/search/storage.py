"""Optuna's storage as the truth of a study: opening it, and who works on which trial.

A driver is a process that runs trials. It holds a lock file in the study folder for as long as it lives, and the operating
system gives the lock back when it dies, however it dies. A RUNNING trial whose driver's lock is free is an orphan: the next
driver takes it up at its first missing pair.
"""

import json
import logging
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from bonehpo.config import StudyFolder
from bonehpo.domain import HoldoutPair
from bonehpo.errors import StudyError, StudyMissing
from bonehpo.files import writing
from bonehpo.schema import SCHEMA
from bonehpo.search.plan import FinishedPair

logger = logging.getLogger(__name__)
optuna.logging.set_verbosity(optuna.logging.WARNING)

PAIR_PREFIX = "pair:"
DRIVER, REASON = "driver", "reason"
STUDY_ID, IDENTITY, OPTIMUM, SCHEMA_KEY = "study_id", "identity", "optimum", "schema"
AS_EVER = "its default"
"""Value of a setting that an identity leaves out, see `schema`."""


def attributes(of: optuna.Study | FrozenTrial) -> Mapping[str, Any]:
    """Everything that bonehpo has written down of a study or of a trial.

    What programs read lies among Optuna's system attributes, so that its dashboard shows people what they can read. Studies
    of before have it among the user attributes.
    """
    system = of.system_attrs if isinstance(of, FrozenTrial) else of._storage.get_study_system_attrs(of._study_id)
    return {**of.user_attrs, **system}


def remember(of: optuna.Study | optuna.Trial, name: str, value: Any) -> None:
    """Write something down that programs read, see `attributes`.

    Args:
        of: The study, or a trial that is running.
        name: Its name.
        value: What JSON can hold.
    """
    if isinstance(of, optuna.Study):
        of._storage.set_study_system_attr(of._study_id, name, value)
    else:
        of.storage.set_trial_system_attr(of._trial_id, name, value)


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
        if not backend.database:
            raise ArgumentError("it names no database")
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
    except (SQLAlchemyError, StorageInternalError, ImportError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise StudyError(
            f"Optuna's storage {backend.render_as_string()} cannot be opened: {reason}: "
            "check the address, and that the server runs"
        ) from error


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn what a full disk, a lock or a lost server makes of a storage into one clear line.

    Raises:
        StudyError: The storage failed inside the block.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        cause = str(error.__cause__ or error).splitlines()[0]
        raise StudyError(
            f"Optuna's storage failed ({cause}): see to its disk or server and run the same command again; "
            "nothing finished is lost"
        ) from error


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


def open_study(storage: optuna.storages.RDBStorage, name: str, identity: Mapping[str, str]) -> optuna.Study:
    """Open a study, creating it where it is new. Two drivers that do so at once need a lock.

    Args:
        storage: Where it is kept.
        name: Of the study.
        identity: What must not change while a study lasts, as text by name.

    Raises:
        StudyError: The study was begun with another identity.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.NopPruner(),
    )
    if IDENTITY not in attributes(study):
        remember(study, STUDY_ID, uuid.uuid4().hex)
        remember(study, SCHEMA_KEY, SCHEMA)
        remember(study, IDENTITY, json.dumps(identity, sort_keys=True))
    _check_identity(study, identity)
    return study


def load_study(url: str, name: str, identity: Mapping[str, str]) -> optuna.Study:
    """A study that has begun.

    Args:
        url: Of the storage.
        name: Of the study.
        identity: Settings that must be those of the study.

    Raises:
        StudyMissing: It has not.
        StudyError: It was begun with another identity, or its storage cannot be opened.
    """
    try:
        study = optuna.load_study(storage=open_storage(url), study_name=name)
    except KeyError:
        study = None
    if study is None or IDENTITY not in attributes(study):
        raise StudyMissing(f"study {name} has no trials yet: run `bonehpo search --bone {name} --trials 50` first")
    _check_identity(study, identity)
    return study


def _check_identity(study: optuna.Study, identity: Mapping[str, str]) -> None:
    schema = attributes(study).get(SCHEMA_KEY, 1)
    if schema > SCHEMA:
        raise StudyError(
            f"study {study.study_name} was begun with a newer bonehpo (schema {schema}, this one knows {SCHEMA}): "
            "install that, or search in a study folder of another name"
        )
    began = json.loads(attributes(study)[IDENTITY])
    for key in dict.fromkeys([*identity, *began]):
        if began.get(key) != identity.get(key):
            raise StudyError(
                f"study {study.study_name} was begun with {key} = {began.get(key, AS_EVER)}, "
                f"now it is {identity.get(key, AS_EVER)}: go back to that, or search in a study folder of another name"
            )


def finished_pairs(trial: FrozenTrial) -> dict[str, FinishedPair]:
    """Finished pairs of a trial, by the label of the pair."""
    return {
        key.removeprefix(PAIR_PREFIX): FinishedPair.from_json(text)
        for key, text in attributes(trial).items()
        if key.startswith(PAIR_PREFIX)
    }


def record_pair(trial: optuna.Trial, pair: HoldoutPair, finished: FinishedPair, place: int) -> None:
    """Write a finished pair down, before anything else is told of it; the scores of its folds as intermediate values, too.

    Nothing in bonehpo reads the intermediate values: they are for Optuna's dashboard.

    Args:
        trial: That is running.
        pair: The sets held out.
        finished: The address of its result, and its two folds.
        place: Number of the pair among those of a trial, from 0; the steps are twice that and the one after it.
    """
    remember(trial, PAIR_PREFIX + pair.label, finished.to_json())
    for i, fold in enumerate(finished.folds):
        trial.storage.set_trial_intermediate_value(trial._trial_id, 2 * place + i, fold.test_score)


class Driver:
    """This process among the drivers of a study. A context manager: leaving it gives its trials free."""

    def __init__(self, folder: StudyFolder) -> None:
        self._folder = folder.drivers
        self.id = uuid.uuid4().hex
        self._lock = FileLock(self._folder / f"{self.id}.lock")

    def __enter__(self) -> "Driver":
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)

    @contextmanager
    def alone(self, at: str = "choosing", timeout_s: float = -1) -> Iterator[None]:
        """Keep every other driver from doing the same: choosing a trial, or fitting the optimum.

        Raises:
            Timeout: Another driver is at it, for longer than `timeout_s`.
        """
        with FileLock(self._folder / f"{at}.lock", timeout=timeout_s):
            yield

    def next_trial(
        self, study: optuna.Study, n_trials: int, sampler: Callable[[int], optuna.samplers.BaseSampler]
    ) -> optuna.Trial | None:
        """An orphan to go on with, else a new trial, else None when the study has its `n_trials`.

        Args:
            study: The study.
            n_trials: Trials that it shall have in all.
            sampler: Who proposes a trial, given the number of trials that there are.
        """
        with self.alone():
            trials = study.get_trials(deepcopy=False)
            for frozen in trials:
                if frozen.state == TrialState.RUNNING and self._is_orphan(frozen):
                    logger.info("taking up trial %d", frozen.number)
                    trial = optuna.trial.Trial(study, frozen._trial_id)
                    remember(trial, DRIVER, self.id)
                    return trial
            if sum(frozen.state != TrialState.WAITING for frozen in trials) >= n_trials:
                return None
            study.sampler = sampler(len(trials))
            trial = study.ask()
            remember(trial, DRIVER, self.id)
            return trial

    def others_at_work(self, study: optuna.Study) -> int:
        """Number of trials that other living drivers are at."""
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return sum(not self._is_orphan(trial) for trial in running)

    def _is_orphan(self, trial: FrozenTrial) -> bool:
        owner = attributes(trial).get(DRIVER)
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
