"""What a person sees while something runs, and tables at the end. Plain lines where there is no terminal."""

import contextlib
import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from bonehpo.domain import Progress, ProgressCallback

PLAIN_EVERY_S = 10.0

Report = Callable[[float, float, str, float | None], None]
"""Takes steps done, steps in all, what is at work, and the seconds left (None: estimated from the steps)."""


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[ProgressCallback]:
    """A bar with the time left for tasks that report `Progress`."""
    with _display(what) as report:

        def callback(progress: Progress) -> None:
            report(progress.done, progress.total, progress.what, None)

        yield callback


@contextlib.contextmanager
def search_bar() -> Iterator[Callable[[Any], None]]:
    """A bar for `search.study.SearchProgress`: trial, fit, best so far, time left."""
    with _display("search") as report:

        def callback(at: Any) -> None:
            trial = at.n_trials if at.trial is None else at.trial
            done = trial * at.n_fits + at.fit
            name = "optimum, fresh seeds" if at.trial is None else f"trial {at.trial + 1}/{at.n_trials}"
            choice = describe(at.choice)
            best = "" if math.isnan(at.best) else f", best {abs(at.best):.3f}"
            report(
                done,
                (at.n_trials + 1) * at.n_fits,
                f"{name} ({choice}), fit {at.fit}/{at.n_fits}{best}",
                at.seconds_left,
            )

        yield callback


def describe(choice: Any) -> str:
    """Hyperparameters in few words."""
    return f"layers {choice.layers}, lr {choice.learning_rate:g}, kernel {choice.kernel}, batch {choice.batch}"


@contextlib.contextmanager
def _display(what: str) -> Iterator[Report]:
    if sys.stderr.isatty():
        with _terminal_bar(what) as report:
            yield report
    else:
        yield _plain_lines(what)


@contextlib.contextmanager
def _terminal_bar(what: str) -> Iterator[Report]:
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


def _plain_lines(what: str) -> Report:
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

    return report


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
