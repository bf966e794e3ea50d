"""One way to run many independent tasks: in this process, on a local cluster, or on a cluster elsewhere.

Tasks are fits and scans. A task is a picklable value, the function a module-level one, and tasks must be safe to run twice:
a worker that dies has its task rerun on another. This is the only importer of dask.
"""

import contextlib
import logging
import multiprocessing.spawn
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from bonehpo.errors import EngineError

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

ATTEMPTS = 3
"""Attempts at a task whose workers die. Several workers may be killed at once, which says nothing about the task."""

WORKERS_CHECKED_EVERY_S = 5.0
"""Time between two looks for workers that are gone for good."""


class Outcome(NamedTuple, Generic[T, R]):
    """A task, and what became of it: a value or the error that it ended with."""

    task: T
    value: R | None
    error: BaseException | None

    def result(self) -> R:
        """The value.

        Raises:
            BaseException: The error that the task ended with.
        """
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


class DeadlinePassed(EngineError):
    """The time given to a run of tasks is over; what was unfinished is abandoned."""


class Engine(Protocol):
    """Runs tasks and hands back each outcome as soon as it is there."""

    def run(
        self, function: Callable[[T], R], tasks: Sequence[T], deadline: float | None = None
    ) -> Generator[Outcome[T, R], None, None]:
        """Run `function` over `tasks` and yield outcomes in the order in which they finish.

        Args:
            function: Importable by name in the workers.
            tasks: Picklable values.
            deadline: `time.monotonic()` value at which to stop waiting.

        Raises:
            DeadlinePassed: The deadline came first. Unfinished tasks are cancelled.
        """
        ...


class InProcess:
    """Runs one task after the other in this process: for debugging and tests."""

    def run(
        self, function: Callable[[T], R], tasks: Sequence[T], deadline: float | None = None
    ) -> Generator[Outcome[T, R], None, None]:
        """See `Engine.run`. The deadline is looked at between tasks."""
        for task in tasks:
            _check_deadline(deadline)
            try:
                yield Outcome(task, function(task), None)
            except Exception as error:
                yield Outcome(task, None, error)


class Cluster:
    """Runs tasks on the workers of a Dask cluster."""

    def __init__(self, client: Any, *, is_ours: bool) -> None:
        self._client = client
        self._is_ours = is_ours

    def run(
        self, function: Callable[[T], R], tasks: Sequence[T], deadline: float | None = None
    ) -> Generator[Outcome[T, R], None, None]:
        """See `Engine.run`."""
        from distributed import as_completed

        if self._is_ours:
            self._recycle_workers()
        futures = self._client.map(function, tasks, pure=False, retries=0)
        attempts = {future.key: (task, 1) for future, task in zip(futures, tasks, strict=True)}
        timeout = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        unfinished = as_completed(futures, timeout=timeout)
        try:
            for future in unfinished:
                task, attempt = attempts[future.key]
                if _worker_died(future) and attempt < ATTEMPTS:
                    logger.info("a worker died: attempt %d of %d", attempt + 1, ATTEMPTS)
                    futures.append(again := self._client.submit(function, task, pure=False, retries=0))
                    attempts[again.key] = task, attempt + 1
                    unfinished.add(again)
                else:
                    yield _outcome(task, future)
                future.release()
        except TimeoutError:
            raise DeadlinePassed("the time is over") from None
        finally:
            self._client.cancel([future for future in futures if not future.done()], reason="no longer needed")

    def _recycle_workers(self) -> None:
        """Restart workers that hold more than half of their memory: TensorFlow keeps about 50 MB a fit."""
        grown = [
            address
            for address, worker in self._client.scheduler_info(n_workers=-1)["workers"].items()
            if worker.get("nanny")
            and worker["memory_limit"]
            and worker["metrics"]["memory"] > worker["memory_limit"] / 2
        ]
        if grown:
            logger.info("restarting %d workers that have grown", len(grown))
            try:
                self._client.restart_workers(grown, timeout=60)
            except TimeoutError as error:
                raise EngineError("workers did not restart within a minute: run the same command again") from error


def _worker_died(future: Any) -> bool:
    """True if the scheduler gave a task up because the worker that had it died."""
    from distributed import KilledWorker

    return future.status == "error" and isinstance(future.exception(), KilledWorker)


def _outcome(task: T, future: Any) -> Outcome[T, Any]:
    from distributed import CancelledError, KilledWorker

    try:
        error = future.exception() if future.status != "finished" else None
    except CancelledError:
        error = EngineError("the scheduler is gone: start it again and run the same command")
        return Outcome(task, None, error)
    if isinstance(error, KilledWorker):
        error = EngineError(
            f"workers died at each of {ATTEMPTS} attempts, most likely out of memory: use fewer --workers"
        )
    return Outcome(task, None if error is not None else future.result(), error)


def _check_deadline(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise DeadlinePassed("the time is over")


_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
# Ctrl-C reaches the whole process group: the driver alone decides what it means.
_IGNORE_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


_WORKER_PROCESS = "Dask Worker process"
"""Dask's names of the processes of workers, also of those that it starts again."""


class _MainLeftAlone:
    """A context manager in which workers do not run the main module again.

    A spawned process imports the main module of its parent, so that a script without `if __name__ == "__main__"` would
    search once more in each worker. Workers do not need it: Dask sends what is defined there by value. Other processes that
    the script may start are left as they are.
    """

    _lock = threading.Lock()
    _n_open = 0
    _original = staticmethod(multiprocessing.spawn.get_preparation_data)

    def __enter__(self) -> None:
        with self._lock:
            type(self)._n_open += 1
            multiprocessing.spawn.get_preparation_data = self._preparation

    def __exit__(self, *_: object) -> None:
        with self._lock:
            type(self)._n_open -= 1
            if not self._n_open:
                multiprocessing.spawn.get_preparation_data = self._original

    @classmethod
    def _preparation(cls, name: str) -> dict[str, Any]:
        """Description of its parent that a new process is given, without the main module where it is a worker."""
        told = cls._original(name)
        if not name.startswith(_WORKER_PROCESS):
            return told
        return {key: value for key, value in told.items() if not key.startswith("init_main_from")}


class Workers(NamedTuple):
    """Place where tasks run, as `open_engine` is told.

    Attributes:
        n: Worker processes on this machine; None for one per core, 0 to work in this process.
        scheduler: Address of a running Dask scheduler, `tcp://HOST:8786`, in their place.
    """

    n: int | None = None
    scheduler: str | None = None


@contextlib.contextmanager
def open_engine(n_workers: int | None = None, scheduler: str | None = None) -> Iterator[Engine]:
    """Open an engine and close it, with all its processes, at the end of the block.

    One process per worker with one thread each: two single-thread processes train more images a second than one process
    with two threads.

    Args:
        n_workers: Worker processes on this machine; None for one per core; 0 for this process itself.
        scheduler: Address of a running Dask scheduler, "tcp://host:8786". Its workers need bonehpo and the study folder
            under the same path.

    Raises:
        EngineError: No scheduler answers there, or it has no workers.
    """
    if scheduler is None and n_workers == 0:
        yield InProcess()
        return
    import dask
    from distributed import Client, LocalCluster

    settings = {
        # A dead worker is blamed on every task that it holds, so it holds one. On a first death the task comes back to
        # `Cluster.run`; by then the scheduler knows of all workers that died at once and sends it to none of them.
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.allowed-failures": 0,
        "distributed.comm.timeouts.connect": "5s",
        # A fit's memory is not Dask's to spill: a worker works, or at 95 % it is killed and the fit says why.
        **{f"distributed.worker.memory.{measure}": False for measure in ("target", "spill", "pause")},
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        if scheduler is None:
            logging.getLogger("distributed").setLevel(logging.CRITICAL)
            stack.enter_context(_MainLeftAlone())
            cluster = LocalCluster(
                n_workers=n_workers or len(os.sched_getaffinity(0)),
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
                env=dict.fromkeys(_THREAD_LIMITS, "1"),
                preload=[_IGNORE_CTRL_C],
            )
            stack.enter_context(cluster)
            stack.enter_context(_kept_whole(cluster, len(cluster.workers)))
            yield Cluster(stack.enter_context(Client(cluster)), is_ours=True)
        else:
            yield Cluster(stack.enter_context(_connect(scheduler)), is_ours=False)


@contextlib.contextmanager
def _kept_whole(cluster: Any, n_workers: int) -> Iterator[None]:
    """Start workers again that Dask has given up: one that is away for 15 s, or dies twice in that time, is for ever."""
    is_over = threading.Event()

    def keep() -> None:
        while not is_over.wait(WORKERS_CHECKED_EVERY_S):
            cluster.scale(n_workers)

    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        is_over.set()
        keeper.join()


def _connect(scheduler: str) -> Any:
    from distributed import Client

    try:
        client = Client(scheduler, timeout=5)
    except (OSError, ValueError) as error:
        raise EngineError(
            f"no scheduler answers at {scheduler}: start one with `dask scheduler` and give its address"
        ) from error
    if not client.scheduler_info()["workers"]:
        client.close()
        raise EngineError(f"the scheduler at {scheduler} has no workers: start some with `dask worker {scheduler}`")
    return client
