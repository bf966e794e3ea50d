"""A process that reads hostile files for the tests, so that what they do to it can be measured and survived.

Run as a program, it takes one JSON line for each input (kind and path) and answers with one: what came of it, and the CPU
time and memory that it took. `ReadingProcess` starts it, watches it, and starts it anew when an input has ended it.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

Outcome = Literal["read", "refused", "foreign", "message", "crash", "memory", "hang"]

MAX_BYTES, MAX_SECONDS = 1e9, 10.0
"""Memory and CPU time that reading a hostile file of a few kB may take."""

LIMIT_GIGABYTES = "0.1"
"""Of one scan, as the user may set it: what is read rightly stays far below `MAX_BYTES`."""

HANG_SECONDS = 60.0
"""Of the clock: a process that waits for a pipe takes no CPU time at all."""

BAD: tuple[Outcome, ...] = ("foreign", "message", "crash", "memory", "hang")


class Reading(NamedTuple):
    """One input: its outcome, what was raised or went wrong, CPU time in seconds, and memory above what was there."""

    outcome: Outcome
    message: str = ""
    seconds: float = 0.0
    n_bytes: float = 0.0

    @property
    def is_bad(self) -> bool:
        """True if it neither worked nor was refused as it should, or took too much."""
        return self.outcome in BAD or self.seconds > MAX_SECONDS or self.n_bytes > MAX_BYTES


class ReadingProcess:
    """The process, from outside."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None

    def read(self, kind: str, path: str | Path) -> Reading:
        """Have one input read."""
        child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        self._ask(child, {"kind": kind, "path": str(path)})
        if complaint := self._wait(child):
            self.close()
            return Reading(*complaint)
        line = child.stdout.readline()
        if not line:
            child.wait()
            self.close()
            return Reading("crash", f"exit status {child.returncode}")
        return Reading(**json.loads(line))

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            with self._child, contextlib.suppress(BrokenPipeError):  # closes its pipes, and waits
                if self._child.poll() is None:
                    self._child.kill()
            self._child = None

    def _start(self) -> subprocess.Popen[str]:
        root = Path(__file__).parents[2]
        environment = {
            **os.environ,
            "PYTHONPATH": str(root),
            "BONEHPO_MAX_GIGABYTES": LIMIT_GIGABYTES,
            "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
        }
        self._child = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == "ready\n"
        return self._child

    @staticmethod
    def _ask(child: subprocess.Popen[str], question: dict[str, str]) -> None:
        assert child.stdin is not None
        child.stdin.write(json.dumps(question) + "\n")
        child.stdin.flush()

    @staticmethod
    def _wait(child: subprocess.Popen[str]) -> tuple[Outcome, str, float, float] | None:
        """Wait for the answer; what is wrong where it takes too much."""
        process, began = psutil.Process(child.pid), time.monotonic()
        with contextlib.suppress(psutil.Error):
            spent, held = sum(process.cpu_times()[:2]), process.memory_info().rss
            while not select.select([child.stdout], [], [], 0.02)[0]:
                seconds, n_bytes = sum(process.cpu_times()[:2]) - spent, process.memory_info().rss - held
                if n_bytes > 2 * MAX_BYTES:
                    return "memory", "", seconds, n_bytes
                if seconds > 2 * MAX_SECONDS or time.monotonic() - began > HANG_SECONDS:
                    return "hang", "", seconds, n_bytes
        return None


def _read_volume(path: str) -> None:
    from bonehpo.scans.readers import INTENSITY_TYPES, open_volume
    from bonehpo.scans.sections import centred_box

    volume = open_volume(path)
    for box in (centred_box(volume.shape, min(*volume.shape, 4)), centred_box(volume.shape, None)):
        block = volume.read(box)
        if block.shape != tuple(part.stop - part.start for part in box) or str(block.dtype) not in INTENSITY_TYPES:
            raise AssertionError(f"{block.dtype} {block.shape} was read of {volume.dtype} {volume.shape}")


def _read_image(path: str) -> None:
    from bonehpo.scans.readers import read_image

    if read_image(path).ndim != 2:
        raise AssertionError("no image was read")


def _read_table(path: str) -> None:
    from bonehpo.scans.table import read_scans

    read_scans(Path(path))


def _read_manifest(path: str) -> None:
    """A manifest with its seal: someone who changes the one can change the other."""
    import hashlib

    from bonehpo.store.manifest import MANIFEST, SEAL, places, read_manifest

    folder = Path(path).parent
    (folder / SEAL).write_text(hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest())
    places(read_manifest(folder)[0])


def _read_recipe(path: str) -> None:
    from bonehpo.store.recipe import Recipe

    Recipe.from_json(Path(path).read_text("utf-8", "replace"))


READERS: dict[str, Callable[[str], None]] = {
    "volume": _read_volume,
    "image": _read_image,
    "table": _read_table,
    "manifest": _read_manifest,
    "recipe": _read_recipe,
}


def _outcome(kind: str, path: str) -> tuple[Outcome, str]:
    from bonehpo.errors import BonehpoError

    try:
        READERS[kind](path)
    except BonehpoError as error:
        message = str(error)
        name = Path(path.partition("::")[0]).name
        if message.isprintable() and len(message) < 1000 and (name[:50] in message or kind == "recipe"):
            return "refused", message
        return "message", message
    except Exception as error:
        import traceback

        places = [f"{Path(step.filename).name}:{step.lineno}" for step in traceback.extract_tb(error.__traceback__)]
        return "foreign", f"{type(error).__name__}: {error} at {' '.join(places[-6:])}"
    return "read", ""


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _measured(kind: str, path: str) -> Reading:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    held, spent = _peak(), time.process_time()
    outcome, message = _outcome(kind, path)
    return Reading(outcome, message[:2000], time.process_time() - spent, _peak() - held)


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not an answer
    import SimpleITK  # noqa: F401  loaded before anything is measured

    import bonehpo.scans.readers
    import bonehpo.store.manifest  # noqa: F401

    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_measured(**json.loads(line))._asdict()), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
