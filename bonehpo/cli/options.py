"""Options that several commands share."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from bonehpo.config import StudyFolder

Command = TypeVar("Command", bound=Callable[..., Any])

STUDIES = Path("studies")
TRACKING = Path("mlruns")
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


def flag(folder: StudyFolder, storage: str | None = None) -> str:
    """How the next command names this study, and its storage where it is not the usual one."""
    name = f"--bone {folder.name}" if folder.path.parent == STUDIES.absolute() else f"--study {folder.path}"
    return f"{name} --storage {storage}" if storage else name
