"""The console: options that commands share, progress, tables and refusals."""

import contextlib
import dataclasses
import io
import json
import math
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bonehpo.config import StudyFolder
from bonehpo.domain import Progress
from bonehpo.errors import BonehpoError, printable
from bonehpo.workflow.plan import STUDIES, STUDY_NAME

if TYPE_CHECKING:
    from bonehpo.scans.sections import Crop
    from bonehpo.workflow.study import Study

Command = TypeVar("Command", bound=Callable[..., Any])


def study_option(function: Command) -> Command:
    """`--bone X` or `--study DIR`: hands the command a `StudyFolder` as `folder`."""
    bone = click.option(
        "--bone",
        "folder",
        metavar="NAME",
        callback=_folder_of_bone,
        shell_complete=complete_study,
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


def _remember(ctx: click.Context, _: click.Parameter, value: Path | tuple[Path, ...] | None) -> None:
    ctx.meta["bonehpo.study"] = value


def _folder_of_bone(ctx: click.Context, _: click.Parameter, value: str | None) -> StudyFolder:
    study: Path | None = ctx.meta.get("bonehpo.study")
    if study is not None and value is not None:
        raise click.UsageError("give --bone or --study, not both")
    if study is not None:
        return StudyFolder(study.resolve())
    if value is None:
        raise click.UsageError("which study? Give --bone NAME for studies/NAME, or --study DIR")
    return folder_named(value)


def studies_option(function: Command) -> Command:
    """`--bone X` or `--study DIR`, once or twice: hands the command one or two of `StudyFolder` as `folders`."""
    bone = click.option(
        "--bone",
        "folders",
        metavar="NAME",
        multiple=True,
        callback=_folders_of_bones,
        shell_complete=complete_study,
        help="The study in studies/NAME, such as TB or CB; twice for two studies side by side.",
    )
    study = click.option(
        "--study",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        multiple=True,
        is_eager=True,
        expose_value=False,
        callback=_remember,
        help="The study in this folder, in place of --bone.",
    )
    return bone(study(function))


def _folders_of_bones(ctx: click.Context, _: click.Parameter, names: tuple[str, ...]) -> tuple[StudyFolder, ...]:
    studies: tuple[Path, ...] = ctx.meta.get("bonehpo.study") or ()
    if studies and names:
        raise click.UsageError("give --bone or --study, not both")
    if not studies and not names:
        raise click.UsageError("which study? Give --bone NAME for studies/NAME, or --study DIR")
    if len(names or studies) > LARGEST_REPORT:
        raise click.UsageError(f"a page holds one study, or two side by side, but {len(names or studies)} were named")
    return tuple(map(folder_named, names)) or tuple(StudyFolder(path.resolve()) for path in studies)


LARGEST_REPORT = 2
"""Studies on one page."""


def folder_named(name: str) -> StudyFolder:
    """The study in `studies/NAME`.

    Raises:
        UsageError: The name could not be that of a folder.
    """
    if not STUDY_NAME.fullmatch(name):
        raise click.UsageError(
            f"{name!r} cannot name a folder in studies/: use letters, digits, and _ . + -, or blanks between them"
        )
    return StudyFolder(STUDIES.absolute() / name)


def complete_study(_ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Names of studies that begin so, for the completion in a shell."""
    if not STUDIES.is_dir():
        return []
    return sorted(path.name for path in STUDIES.iterdir() if path.is_dir() and path.name.startswith(begun))


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


def states_option(function: Command) -> Command:
    """`--states WORD,WORD,…`."""

    def words(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
        return tuple(word.strip() for word in value.split(",")) if value else ()

    return click.option(
        "--states",
        metavar="WORDS",
        callback=words,
        help="Words of the column state, from pristine to failed, as intact,damaged,failed.  [default: numbers]",
    )(function)


def crop_option(function: Command) -> Command:
    """`--crop SIDE` or `--crop Z,Y,X`: hands the command a `Crop`."""

    def voxels(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> "Crop":
        if value is None:
            return None
        try:
            numbers = tuple(int(number) for number in value.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) == 1:
            return numbers[0]
        if len(numbers) == 3:
            return numbers
        raise click.BadParameter(
            f"{value!r} is neither the side of a cube, as 110, nor voxels along Z,Y,X, as 110,450,450"
        )

    return click.option(
        "--crop",
        metavar="SIDE|Z,Y,X",
        callback=voxels,
        help="Side of the centre cube in voxels, or voxels along each axis; sections that are no squares are laid into "
        "squares.  [default: the largest cube that all scans hold]",
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

NARROW = 60
"""Characters in a line below which progress is told without a bar."""

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
        say(text, err=True)


def _ignore(_done: float, _total: float, _text: str, _seconds_left: float | None) -> None:
    """Before the first task."""


@contextlib.contextmanager
def _terminal_bar(what: str) -> Iterator[ProgressReport]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    started = time.monotonic()
    columns = (
        TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        *([BarColumn(bar_width=12)] if shutil.get_terminal_size().columns >= NARROW else []),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True)),
    )
    with Bar(*columns, console=Console(stderr=True), expand=True) as bar:
        task = bar.add_task(what, total=None, left="")

        def report(done: float, total: float, text: str, seconds_left: float | None) -> None:
            left = _estimate(started, done, total) if seconds_left is None else seconds_left
            bar.update(task, completed=done, total=total, description=text, left=_left(left))

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
        left = _left(_estimate(started, done, total) if seconds_left is None else seconds_left)
        click.echo(f"{what}: {done:.0f}/{total:.0f}, {text}{left and f', {left}'}", err=True)

    yield report


def _left(seconds: float) -> str:
    """The time left, where it is known."""
    return "" if math.isnan(seconds) else f"{duration(seconds)} left"


def _estimate(started: float, done: float, total: float) -> float:
    return (time.monotonic() - started) / done * (total - done) if done else math.nan


def duration(seconds: float) -> str:
    """A time span in the two largest units.

    Examples:
        >>> duration(75), duration(7322)
        ('1 min 15 s', '2 h 2 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def line_width(*, err: bool = False) -> int | None:
    """Characters in a line of the terminal; None where there is none: then lines are left whole, for programs.

    Args:
        err: Whether stderr is meant, and not stdout.
    """
    return shutil.get_terminal_size().columns if (sys.stderr if err else sys.stdout).isatty() else None


def say(text: str, indent: int = 0, *, err: bool = False) -> None:
    """Print a line, broken between words where it is longer than the terminal is wide.

    Args:
        text: One line.
        indent: Spaces before its second line and those after it.
        err: Whether it goes to stderr.
    """
    width = line_width(err=err)
    if width is not None and len(text) > width:
        indent = indent if indent <= width // 2 else 2
        before = text[: len(text) - len(text.lstrip())].replace("\n", "")
        if text.startswith("\n"):
            click.echo(err=err)
        text = textwrap.fill(
            text.lstrip(),
            width,
            initial_indent=before,
            subsequent_indent=" " * (indent or len(before)),
            break_long_words=False,
            break_on_hyphens=False,
        )
    click.echo(text, err=err)


def say_notes(notes: Sequence[str]) -> None:
    """Print notes, each under its word: a caution says so itself."""
    for note in notes:
        word = "Caution: " if note.startswith("Caution: ") else "Note: "
        say(word + printable(note.removeprefix("Caution: ")), len(word))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns in line; the first to the left, numbers to the right. Cells are wrapped where the terminal is too narrow."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = line_width()
    heads = [max(map(len, name.split()), default=1) for name in columns]
    if width is not None and sum(heads) + 2 * len(heads) > width:
        for row in rows:
            say("; ".join(f"{name} {cell}" for name, cell in zip(columns, row, strict=True)), 2)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, (name, cells) in enumerate(
        zip(columns, zip(*rows, strict=True) if rows else [()] * len(columns), strict=True)
    ):
        is_text = i == 0 or any(len(cell) > LONGEST_NUMBER for cell in cells)
        table.add_column(Text(name), justify="left" if is_text else "right", overflow="fold", min_width=heads[i])
    for row in rows:
        table.add_row(*map(Text, row))
    page = io.StringIO()
    Console(file=page, width=width or WIDEST, color_system=None).print(table)
    for line in page.getvalue().splitlines():
        click.echo(line.rstrip())


LONGEST_NUMBER = 18
"""Characters of a cell up to which it stands to the right, as numbers do."""

WIDEST = 10_000
"""Characters in a line of a table that nobody looks at."""


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


def print_next(study: "Study", named: str, after: str = "", *, err: bool = False) -> None:
    """Print the step that follows from what is known of a study.

    Args:
        study: The study.
        named: How a command names it.
        after: The command that has just ended.
        err: Whether it goes to stderr.
    """
    from bonehpo.workflow.next_steps import next_step
    from bonehpo.workflow.standing import standing_of

    try:
        step = next_step(standing_of(study), named, study.name, after)
    except BonehpoError as error:  # what was asked for is done
        say(f"Note: {error}", len("Note: "), err=err)
        return
    say(f"Next: {step.command}  ({step.why})", len("Next: "), err=err)
