"""MLflow's own user interface on the records of a project, for as long as somebody looks at it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from bonehpo.errors import TrackingError
from bonehpo.tracking.database import Tracking, open_tracking
from bonehpo.tracking.views import Link, links

HOST = "127.0.0.1"
"""The server asks nobody who they are: it is never bound to another address. From elsewhere, use an SSH tunnel."""

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 10


Announce = Callable[[Sequence[Link]], None]
"""Told the pages to open, as soon as they answer."""


def serve_project(root: Path, port: int, announce: Announce, studies: Sequence[str] = ()) -> None:
    """Serve the user interface on the records of a project, see `serve_ui`.

    Args:
        root: Folder of the project, which holds `mlruns/`.
        port: Port on this machine.
        announce: Told the pages to open.
        studies: Names of the studies whose views to open.

    Raises:
        TrackingError: The records cannot be opened or served, or a study is not among them.
    """
    serve_ui(open_tracking(root), port, announce, studies)


def serve_ui(tracking: Tracking, port: int, announce: Announce, studies: Sequence[str] = ()) -> None:
    """Serve the user interface until Ctrl-C or SIGTERM; no process stays behind.

    One worker and no job execution: 2 processes instead of MLflow's 15, and faster answers. Records on a server that has
    an interface of its own are shown by that; then nothing is served here.

    Args:
        tracking: What to show.
        port: Port on this machine.
        announce: Told the pages to open; they lead past what MLflow has for language models.
        studies: Names of the studies whose views to open; without any, the list of all.

    Raises:
        TrackingError: A study is not recorded, the port is in use, or MLflow's server does not start.
    """
    if tracking.is_server:
        announce(_pages(tracking, tracking.uri.rstrip("/"), studies))
        return
    address = f"http://{HOST}:{port}"
    pages = _pages(tracking, address, studies)
    _refuse_used(port)
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--backend-store-uri", tracking.uri, "--workers", "1"]
    command += ["--default-artifact-root", str(tracking.artifacts), "--host", HOST, "--port", str(port)]
    command += ["--app-name", "bonehpo", "--uvicorn-opts", "--log-level warning"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with _stopped_by_signals(), tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_until_it_answers(process, address, log)
            announce(pages)
            process.wait()
        except KeyboardInterrupt:
            pass
        finally:
            _stop(process)


def _pages(tracking: Tracking, address: str, studies: Sequence[str]) -> list[Link]:
    views = [link for study in studies for link in links(tracking, study, address)]
    return views or [Link("Studies", f"{address}/#/experiments?workflowType=machine_learning")]


def _refuse_used(port: int) -> None:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
    except (OSError, OverflowError) as error:
        raise TrackingError(
            f"Port {port} of {HOST} cannot be used ({error}): choose another one with --port"
        ) from error


def _wait_until_it_answers(process: subprocess.Popen[bytes], address: str, log: IO[bytes]) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    log.seek(0)
    last = (log.read().decode(errors="replace").splitlines() or ["it said nothing"])[-1]
    raise TrackingError(f"MLflow's server at {address} did not start: {last}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server with its workers, which are in a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_TIMEOUT_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Turn SIGTERM into KeyboardInterrupt meanwhile, so that both end the server the same way."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
