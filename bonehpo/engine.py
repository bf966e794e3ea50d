"""One way to run many independent tasks: in this process, on a local cluster, or on a cluster elsewhere.

Tasks are fits and scans. A task is a picklable value, the function a module-level one, and tasks must be safe to run twice:
a worker that dies has its task rerun on another. This is the only importer of dask.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from bonehpo.errors import EngineError

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


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

    n_workers: int

    def run(
        self, function: Callable[[T], R], tasks: Sequence[T], deadline: float | None = None
    ) -> Iterator[Outcome[T, R]]:
        """Run `function` over `tasks` and yield outcomes in the order in which they finish.

        Args:
            function: Importable by name in the workers.
            tasks: Picklable values.
            deadline: `time.monotonic()` value at which to stop waiting.

        Raises:
            DeadlinePassed: The deadline came first. Unfinished tasks are cancelled.
        """
        ...
