"""The cells of scans.csv: read as text, checked one by one, refused by file and line."""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bonehpo.errors import ScanError

MAX_NAME = 64
"""Longest specimen or plane name, in characters."""

_FORBIDDEN = ("/", "\\", "|", "..")
_SURPLUS = "\0"


class Row(NamedTuple):
    """One line of the table: where it stands, for messages, and its cells by column."""

    path: Path
    line: int
    cells: dict[str, str]

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.path} line {self.line}"


def read_rows(path: Path) -> list[Row]:
    """Read all lines of a table.

    Raises:
        ScanError: There is no table, it is not CSV in UTF-8, a needed column is missing, or it holds no line.
    """
    if not path.is_file():
        raise ScanError(f"{path}: no such file; give a CSV with the columns specimen,state,path")
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, skipinitialspace=True, restkey=_SURPLUS, restval="", strict=True)
            columns = [column.strip() for column in reader.fieldnames or ()]
            _check_columns(path, columns)
            reader.fieldnames = columns
            rows = [_row(path, reader.line_num, cells) for cells in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ScanError(f"{path}: not a CSV in UTF-8 ({error}); save it again as CSV UTF-8") from error
    if not rows:
        raise ScanError(f"{path}: the table holds no scan; add one row for each scan")
    return rows


def name_in(row: Row, column: str) -> str:
    """The specimen or plane name in a cell.

    Raises:
        ScanError: The name could not be a folder or a key.
    """
    name = row.cells[column]
    if not (0 < len(name) <= MAX_NAME and name.isprintable()) or any(part in name for part in _FORBIDDEN):
        rule = f"use 1 to {MAX_NAME} printable characters without {' '.join(_FORBIDDEN)}"
        raise ScanError(f"{row.where}: {column} {name[:20]!r} cannot name a folder; {rule}")
    return name


def state_in(row: Row) -> int:
    """The number of the load state.

    Raises:
        ScanError: It is not a whole number.
    """
    text = row.cells["state"]
    if not (text.isascii() and text.isdigit()):
        raise ScanError(f"{row.where}: state is {text!r}; give a whole number, 1 for pristine")
    return int(text)


def number_in(row: Row, column: str) -> float | None:
    """The number in a cell; None when the cell is empty or there is no such column.

    Raises:
        ScanError: It is no finite number.
    """
    text = row.cells.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (column == "voxel_um" and value <= 0):
        raise ScanError(f"{row.where}: {column} is {text!r}; give a number with a decimal point, or leave it empty")
    return value


def common_number(rows: Sequence[Row], column: str) -> float | None:
    """The number that all rows of one scan share.

    Raises:
        ScanError: The rows differ.
    """
    values = {number_in(row, column) for row in rows}
    if len(values) > 1:
        raise ScanError(f"{rows[0].where}: {column} differs among the slices of one scan; give one value")
    return values.pop()


def source_in(row: Row, folder: Path) -> str:
    """The path in a cell, made absolute; what follows `::` is kept as it is.

    Raises:
        ScanError: There is no such file or folder.
    """
    text = row.cells["path"]
    file, mark, inner = text.partition("::")
    if not text or not (folder / file).exists():
        raise ScanError(f"{row.where}: path {text!r} does not exist; paths are relative to the folder of the CSV")
    return f"{folder / file}{mark}{inner}"


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    needed = ["specimen", "state", "path"]
    if {"plane", "position"} & set(columns):
        needed[2:2] = ["plane", "position"]
    missing = [column for column in needed if column not in columns]
    if missing:
        found = ",".join(columns) or "nothing"
        raise ScanError(f"{path}: column {', '.join(missing)} is missing (the first line holds: {found}); add it")
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise ScanError(f"{path}: column {', '.join(twice)} stands twice in the first line; remove one")


def _row(path: Path, line: int, cells: dict[str, str]) -> Row:
    if _SURPLUS in cells:
        raise ScanError(f"{path} line {line}: more fields than columns; put a field that holds a comma in quotes")
    return Row(path, line, {column: text.strip() for column, text in cells.items()})
