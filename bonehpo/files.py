"""Files that are whole or absent, refusals where one cannot be written, and the hashes by which contents are known."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bonehpo.errors import BonehpoError, StudyError
from bonehpo.schema import stable

N_DIGITS = 32
"""Hexadecimal digits of a content address."""

MAKE_ROOM = "make room there and run the same command again"


@contextmanager
def writing(path: Path, error: type[BonehpoError] = StudyError, remedy: str = MAKE_ROOM) -> Iterator[None]:
    """Turn what the file system refuses inside the block into one line.

    Args:
        path: File or folder that is written.
        error: Kind of the refusal.
        remedy: What the user can do.

    Raises:
        BonehpoError: Of the kind `error`, where an `OSError` was raised inside.
    """
    try:
        yield
    except OSError as reason:
        raise error(f"{path} cannot be written: {reason.strerror or reason}: {remedy}") from reason


def write_durably(path: Path, data: bytes, remedy: str = MAKE_ROOM) -> None:
    """Write a file so that after a crash or power cut it is there whole, or not there.

    Args:
        path: The file; its folder is made where there is none.
        data: Its content.
        remedy: What the user can do where it cannot be written.

    Raises:
        StudyError: It cannot be written.
    """
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    with writing(path, remedy=remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                file.write(data)
            flush(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        flush(path.parent)


def write_whole(path: Path, write: Callable[[Path], object], remedy: str = MAKE_ROOM) -> None:
    """Let something write a file under its own name in a folder beside its place, and move it there when it is whole.

    Args:
        path: The file; its folder is made where there is none.
        write: Given the path to write to.
        remedy: What the user can do where it cannot be written.

    Raises:
        StudyError: It cannot be written.
    """
    with writing(path, remedy=remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
            partial = Path(folder) / path.name
            write(partial)
            partial.replace(path)


def flush(path: Path) -> None:
    """Have the system put a file or the entries of a folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_address(parts: object) -> str:
    """Content address of plain values, 32 hexadecimal digits: equal values have equal addresses.

    Args:
        parts: What `json` can write, and dataclasses as `schema.stable` has them; the order of keys does not count.
    """
    text = json.dumps(stable(parts), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:N_DIGITS]
