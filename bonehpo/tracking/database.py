"""MLflow's database: opened quickly, created once, moved with the project.

MLflow itself waits 100 s on a database that it cannot open, crashes when two processes create one at the same time,
silently lists nothing when the project was moved, and calls a database of a newer MLflow "out of date". Each is met
here.
"""

import os
import sqlite3
import urllib.error
import urllib.request
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import mlflow
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from bonehpo.errors import TrackingError

PROBE_TIMEOUT_S = 1.5
CREATION_TIMEOUT_S = 60
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
"""Every column in which MLflow keeps artifact paths, always absolute."""


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """An MLflow backend that answered.

    Attributes:
        uri: Its tracking URI.
        artifacts: Folder of the artifacts, one subfolder for each study; None where a server decides.
        client: Client for it.
    """

    uri: str
    artifacts: Path | None
    client: MlflowClient

    def lock(self) -> AbstractContextManager[object]:
        """Keeps out other processes that make shared records; a server that somebody else runs cannot be locked."""
        if self.artifacts is None:
            return nullcontext()
        self.artifacts.mkdir(parents=True, exist_ok=True)
        return FileLock(self.artifacts.with_name("mlflow.db.lock"), timeout=CREATION_TIMEOUT_S)

    @property
    def is_server(self) -> bool:
        """True for a server that somebody else runs."""
        return self.artifacts is None


def open_tracking(root: Path) -> Tracking:
    """Open the MLflow backend of a project: `MLFLOW_TRACKING_URI`, or `mlruns/mlflow.db` in the project.

    The project's own database is created when there is none.

    Args:
        root: Folder of the project, which holds `mlruns/`.

    Returns:
        A backend that answered just now.

    Raises:
        TrackingError: It does not answer or cannot be opened, was made by another MLflow, or looks for its artifacts
            in another folder because the project was moved.
    """
    root = root.resolve()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_database(root)}"
    if uri.startswith(("http://", "https://")):
        _probe_server(uri)
        return _tracking(uri, None)
    if uri.startswith("sqlite:///"):
        _open_sqlite(Path(uri.removeprefix("sqlite:///")).absolute(), _artifacts(root))
    else:
        _probe_database(uri)
    if uri == f"sqlite:///{_database(root)}":
        _refuse_moved(root)
    return _tracking(uri, _artifacts(root))


def relocate(root: Path) -> int:
    """Rewrite the artifact paths in the project's database after the project was moved or copied.

    Args:
        root: Where the project is now.

    Returns:
        Number of paths rewritten.

    Raises:
        TrackingError: There is no database that can be opened.
    """
    root = root.resolve()
    path = _database(root)
    _probe_sqlite(path)
    n_rewritten = 0
    with closing(_connect(path)) as connection, connection:
        for former in {str(Path(location).parent) for location in _moved_locations(connection, root)}:
            for table, column in _LOCATIONS:
                n_rewritten += connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (str(_artifacts(root)), len(former) + 1, len(former) + 1, f"{former}/"),
                ).rowcount
    return n_rewritten


def _database(root: Path) -> Path:
    return root / "mlruns" / "mlflow.db"


def _artifacts(root: Path) -> Path:
    return root / "mlruns" / "artifacts"


def _tracking(uri: str, artifacts: Path | None) -> Tracking:

    try:
        client = MlflowClient(tracking_uri=uri)
        client.get_experiment("0")
    except MlflowException as error:
        raise TrackingError(f"MLflow cannot use {uri}: {first_line(error)}; correct MLFLOW_TRACKING_URI") from error
    return Tracking(uri=uri, artifacts=artifacts, client=client)


def first_line(error: BaseException) -> str:
    """First line of an error, or of its cause where it has one: MLflow wraps errors that say more than it does."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _probe_server(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PROBE_TIMEOUT_S):
            pass
    except urllib.error.HTTPError:
        pass  # it answers; whether it lets us in, the first request tells
    except OSError as error:
        raise TrackingError(
            f"The MLflow server at {uri} does not answer ({first_line(error)}); start it or unset MLFLOW_TRACKING_URI"
        ) from error


def _probe_database(uri: str) -> None:

    try:
        engine = create_engine(uri)
        engine.connect().close()
        engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        raise TrackingError(
            f"MLFLOW_TRACKING_URI names no database that opens ({first_line(error)}); correct it or unset it"
        ) from error


def _open_sqlite(path: Path, artifacts: Path) -> None:
    for character in "%?#":
        if character in f"{path}{artifacts}":
            raise TrackingError(
                f"MLflow cannot keep records under a path with {character!r} in it: {path.parent}; rename that folder"
            )
    if not path.exists():
        _create(path, artifacts)
    _probe_sqlite(path)


def _create(path: Path, artifacts: Path) -> None:
    """Migrate a new database beside its place and rename it: a killed creation leaves none, a second process waits."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=CREATION_TIMEOUT_S):
            if path.exists():
                return
            partial.unlink(missing_ok=True)
            partial.touch()
            SqlAlchemyStore(f"sqlite:///{partial}", str(artifacts)).engine.dispose()
            partial.replace(path)
    except Timeout as error:
        raise TrackingError(
            f"Another process has been creating {path} for {CREATION_TIMEOUT_S} s; end it and try again"
        ) from error
    except OSError as error:
        raise TrackingError(
            f"{path} cannot be created ({error.strerror}); make its folder writable or set MLFLOW_TRACKING_URI"
        ) from error


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=PROBE_TIMEOUT_S, isolation_level="IMMEDIATE")


def _probe_sqlite(path: Path) -> None:
    """Refuse a file that is no MLflow database, cannot be written, or has another MLflow's schema."""
    try:
        with closing(_connect(path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    except (sqlite3.Error, TypeError) as error:
        raise TrackingError(
            f"{path} does not open as an MLflow database ({first_line(error)}); move it away, then run `bonehpo sync`"
        ) from error
    _refuse_other_revision(path, revision)


def _refuse_other_revision(path: Path, revision: str) -> None:

    script = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    if revision == script.get_current_head():
        return
    try:
        script.get_revision(revision)
    except CommandError as error:
        raise TrackingError(
            f"{path} was written by an MLflow newer than {mlflow.__version__}; "
            "install that one, or move the file away and run `bonehpo sync`"
        ) from error
    raise TrackingError(
        f"{path} was written by an MLflow older than {mlflow.__version__}; "
        f"copy it, then run `mlflow db upgrade sqlite:///{path}`"
    )


def _moved_locations(connection: sqlite3.Connection, root: Path) -> list[str]:
    rows = connection.execute("SELECT artifact_location FROM experiments WHERE name LIKE 'bonehpo/%'").fetchall()
    return [row[0] for row in rows if row[0] and not row[0].startswith(f"{_artifacts(root)}/")]


def _refuse_moved(root: Path) -> None:
    with closing(_connect(_database(root))) as connection:
        moved = _moved_locations(connection, root)
    if moved:
        raise TrackingError(
            f"The project was moved: {_database(root)} looks for its artifacts in {Path(moved[0]).parent}; "
            "run `bonehpo sync --relocate` to correct the paths"
        )
