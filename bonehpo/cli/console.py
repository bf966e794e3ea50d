"""The console: options that commands share, progress, tables and refusals."""

import contextlib
import dataclasses
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from bonehpo.config import StudyFolder
from bonehpo.domain import Progress
from bonehpo.workflow.plan import STUDIES

Command = TypeVar("Command", bound=Callable[..., Any])

_NAME = re.compile(r"[\w][\w .+-]{0,99}")


def study_option(function: Command) -> Command:
    """`--bone X` or `--study DIR`: hands the command a `StudyFolder` as `folder`."""
    bone = click.option(
        "--bone",
        "folder",
        metavar="NAME",
        callback=_folder_of_bone,
        help="The study in studies/NAME, such as TB or CB.",
    )
    study = click.option(
        "--study",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_remember,
        help="The study in this folder, in place of --bone.",
    )
    return bone(study(function))


def _remember(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    ctx.meta["bonehpo.study"] = value


def _folder_of_bone(ctx: click.Context, _: click.Parameter, value: str | None) -> StudyFolder:
    study: Path | None = ctx.meta.get("bonehpo.study")
    if study is not None and value is not None:
        raise click.UsageError("give --bone or --study, not both")
    if study is not None:
        return StudyFolder(study.resolve())
    if value is None:
        raise click.UsageError("which study? Give --bone NAME for studies/NAME, or --study DIR")
    if not _NAME.fullmatch(value):
        raise click.UsageError(f"--bone {value!r} cannot name a folder: use letters, digits, and _ . + -")
    return StudyFolder(STUDIES.absolute() / value)


def workers_option(function: Command) -> Command:
    """`--workers N`."""
    return click.option(
        "--workers",
        type=click.IntRange(min=0),
        default=None,
        show_default="one per core",
        help="Worker processes; 0 works in this process.",
    )(function)


def memory_option(function: Command) -> Command:
    """`--max-gigabytes X`, which worker processes learn from the environment."""

    def remember(_ctx: click.Context, _parameter: click.Parameter, value: float | None) -> None:
        from bonehpo.scans.limits import VARIABLE

        if value is not None:
            os.environ[VARIABLE] = str(value)

    return click.option(
        "--max-gigabytes",
        type=click.FloatRange(min=0, min_open=True),
        callback=remember,
        expose_value=False,
        help="Memory that the voxels of one scan may take.  [default: half of this machine's]",
    )(function)


def scheduler_option(function: Command) -> Command:
    """`--scheduler ADDRESS`."""
    return click.option(
        "--scheduler", metavar="ADDRESS", help="A running Dask scheduler, tcp://HOST:8786, in place of --workers."
    )(function)


def storage_option(function: Command) -> Command:
    """`--storage URL`."""
    return click.option("--storage", metavar="URL", help="Optuna's storage.  [default: studies/optuna.db]")(function)


def json_option(function: Command) -> Command:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


PLAIN_EVERY_S = 10.0

ProgressReport = Callable[[float, float, str, float | None], None]
"""Takes steps done, steps in all, what is at work, and the seconds left (None: estimated from the steps)."""


class ProgressDisplay:
    """Shows long tasks on stderr, one after the other: a bar on a terminal, else a line now and then.

    It is a `ProgressCallback`, and a context manager that takes the last bar away at the end.
    """

    def __init__(self) -> None:
        self._task: str | None = None
        self._bars = contextlib.ExitStack()
        self._report: ProgressReport = _ignore

    def __enter__(self) -> "ProgressDisplay":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, at: Progress) -> None:
        """Show how far a task has come; a bar of its own for each."""
        if at.task != self._task:
            self.close()
            bar = _terminal_bar(at.task) if sys.stderr.isatty() else _plain_lines(at.task)
            self._report, self._task = self._bars.enter_context(bar), at.task
        self._report(at.done, at.total, at.what, at.seconds_left)

    def close(self) -> None:
        """Take the bar away, so that something else can be printed."""
        self._bars.close()
        self._task = None

    def note(self, text: str) -> None:
        """Print a line to stderr."""
        self.close()
        click.echo(text, err=True)


def _ignore(_done: float, _total: float, _text: str, _seconds_left: float | None) -> None:
    """Before the first task."""


@contextlib.contextmanager
def _terminal_bar(what: str) -> Iterator[ProgressReport]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    started = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None, left="")

        def report(done: float, total: float, text: str, seconds_left: float | None) -> None:
            left = _estimate(started, done, total) if seconds_left is None else seconds_left
            bar.update(task, completed=done, total=total, description=text, left=f"{duration(left)} left")

        yield report


@contextlib.contextmanager
def _plain_lines(what: str) -> Iterator[ProgressReport]:
    started = time.monotonic()
    last_line = -math.inf

    def report(done: float, total: float, text: str, seconds_left: float | None) -> None:
        nonlocal last_line
        now = time.monotonic()
        if now - last_line < PLAIN_EVERY_S and done < total:
            return
        last_line = now
        left = _estimate(started, done, total) if seconds_left is None else seconds_left
        click.echo(f"{what}: {done:.0f}/{total:.0f}, {text}, {duration(left)} left", err=True)

    yield report


def _estimate(started: float, done: float, total: float) -> float:
    return (time.monotonic() - started) / done * (total - done) if done else math.nan


def duration(seconds: float) -> str:
    """A time span in the two largest units.

    Examples:
        >>> duration(75), duration(7322), duration(float("nan"))
        ('1 min 15 s', '2 h 2 min', 'some time')
    """
    if math.isnan(seconds):
        return "some time"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns in line; the first to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        click.echo("  ".join(cells).rstrip())


def print_json(value: object) -> None:
    """JSON with NaN as null, dataclasses as tables."""
    click.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
