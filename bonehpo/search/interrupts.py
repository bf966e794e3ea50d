"""Ctrl-C and SIGTERM, held back while something is written down.

An exception that comes out of a signal handler in the middle of a database transaction leaves the database locked by the
process that is about to say goodbye to it. So signals wait until the search waits.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class HeldInterrupts:
    """A context manager in which SIGINT and SIGTERM raise `KeyboardInterrupt` only inside `window()`.

    A second signal raises at once, wherever the program is. Outside the main thread, where no handler can be set, signals
    are left alone.
    """

    def __init__(self) -> None:
        self._former: dict[signal.Signals, Any] = {}
        self._is_open = False
        self._is_pending = False

    def __enter__(self) -> "HeldInterrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    @contextmanager
    def window(self) -> Iterator[None]:
        """Where an interruption may come. One that came before comes now.

        Raises:
            KeyboardInterrupt: SIGINT or SIGTERM was received.
        """
        if self._is_pending:
            raise KeyboardInterrupt
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_open or self._is_pending:
            raise KeyboardInterrupt
        self._is_pending = True
