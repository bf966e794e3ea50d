"""The lines of a table of scans, and what its cells mean, checked and refused by file and line.

Spreadsheets write tables in many ways: separators, decimal commas, marks of byte order and empty lines are taken as they are
meant.
"""

import codecs
import csv
import io
import itertools
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from bonehpo.errors import ScanError

MAX_NAME = 64
"""Longest specimen or plane name, in characters."""

_FORBIDDEN = ("/", "\\", "|", "..")
_SEPARATORS = (",", ";", "\t")
COLUMNS = ("specimen", "state", "plane", "position", "path", "label", "donor", "strain", "stress_mpa", "voxel_um")

_WORKBOOKS = (b"PK\3\4", b"\xd0\xcf\x11\xe0")
"""First bytes of .xlsx and .ods, and of .xls."""

Label = Literal["", "pristine", "failed"]
"""What a table may say of a scan; nothing of one between."""


class Row(NamedTuple):
    """One line of the table: where it stands, for messages, and its cells by column."""

    path: Path
    line: int
    cells: dict[str, str]
    has_decimal_comma: bool = False

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.path} line {self.line}"


def read_rows(path: Path) -> list[Row]:
    """Read all lines of a table that hold something.

    Separated by commas, semicolons or tabs, in UTF-8 or with a mark of its byte order; comments (#) and a line `sep=;`
    before the head are passed over. Columns are known whatever their case, and line breaks in their names are blanks.

    Raises:
        ScanError: There is no table, it is not CSV in UTF-8, a needed column is missing, or it holds no line.
    """
    if not path.is_file():
        raise ScanError(f"{path}: no such file; give a CSV with the columns specimen,state,path")
    if path.read_bytes()[:4] in _WORKBOOKS:
        raise ScanError(f"{path}: is a workbook of a spreadsheet, not a CSV; save its sheet as CSV UTF-8")
    try:
        whole = enumerate(io.StringIO(_decoded(path.read_bytes()), newline=""), start=1)
        lines = list(itertools.dropwhile(lambda at: not at[1].strip() or at[1].startswith("#"), whole))
        separator, lines = _separator(lines)
        reader = csv.reader((line for _, line in lines), delimiter=separator, skipinitialspace=True, strict=True)
        table = [(lines[reader.line_num - 1][0], [cell.strip() for cell in cells]) for cells in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ScanError(f"{path}: not a CSV in UTF-8 ({error}); save it again as CSV UTF-8") from error
    table = [(line, cells) for line, cells in table if any(cells)]
    columns = [" ".join(column.lower().split()) for column in table[0][1]] if table else []
    _check_columns(path, columns)
    rows = [_row(path, line, columns, cells, separator) for line, cells in table[1:]]
    if not rows:
        raise ScanError(f"{path}: the table holds no scan; add one row for each scan")
    return rows


def _decoded(data: bytes) -> str:
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding)
    return data.decode("utf-8-sig")


def _separator(lines: list[tuple[int, str]]) -> tuple[str, list[tuple[int, str]]]:
    """The separator of a table, said in a first line `sep=;` or seen in its head; and the lines that are left."""
    said = lines[0][1].strip().strip('"') if lines else ""
    if said.lower().startswith("sep=") and len(said) == len("sep=x"):
        return said[-1], lines[1:]
    head = next((line.lower() for _, line in lines if line.strip()), "")
    known = {mark: {part.strip(' "\r\n') for part in head.split(mark)} & set(COLUMNS) for mark in _SEPARATORS}
    return max(_SEPARATORS, key=lambda mark: len(known[mark])), lines


def name_in(row: Row, column: str) -> str:
    """The specimen or plane name in a cell, in one form of Unicode.

    Raises:
        ScanError: The name could not be a folder or a key.
    """
    name = unicodedata.normalize("NFC", row.cells[column])
    if not (0 < len(name) <= MAX_NAME and name.isprintable()) or any(part in name for part in _FORBIDDEN):
        rule = f"use 1 to {MAX_NAME} printable characters without {' '.join(_FORBIDDEN)}"
        raise ScanError(f"{row.where}: {column} {name[:20]!r} cannot name a folder; {rule}")
    return name


def state_in(row: Row, words: Sequence[str] = ()) -> int:
    """The number of the load state.

    Args:
        row: The line.
        words: Words for the states, from pristine to failed, where the table has words for them; the first is 1.

    Raises:
        ScanError: It is not a whole number, or not one of the words.
    """
    text = row.cells["state"]
    known = {word.casefold(): i for i, word in enumerate(words, start=1)}
    if text.casefold() in known:
        return known[text.casefold()]
    if words:
        raise ScanError(f"{row.where}: state is {text!r}; the states are {', '.join(words)}")
    whole = (text.replace(",", ".") if row.has_decimal_comma else text).removesuffix(".0")
    if not re.fullmatch("[0-9]{1,9}", whole):
        hint = ", or order words with --states pristine,…,failed" if text.isalpha() else ""
        raise ScanError(f"{row.where}: state is {text!r}; give a whole number, 1 for pristine{hint}")
    return int(whole)


def label_in(row: Row) -> Label:
    """The label of the scan; empty where the table gives none.

    Raises:
        ScanError: It is another word.
    """
    text = row.cells.get("label", "").lower()
    if text not in get_args(Label):
        raise ScanError(f"{row.where}: label is {text!r}; give pristine or failed, or leave it empty")
    return cast(Label, text)


def number_in(row: Row, column: str) -> float | None:
    """The number in a cell; None when the cell is empty or there is no such column.

    Raises:
        ScanError: It is no finite number.
    """
    text = row.cells.get(column, "")
    if not text:
        return None
    try:
        value = float(text.replace(",", ".") if row.has_decimal_comma else text)
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
    file = os.path.expanduser(file)  # noqa: PTH111  a name with ~ is no path yet
    ways = [file, file.replace("\\", "/")]
    ways += [unicodedata.normalize(form, way) for form in ("NFC", "NFD") for way in ways]
    try:
        found = next((folder / way for way in ways if text and (folder / way).exists()), None)
    except (OSError, ValueError):  # too long a name, or a 0 in it
        found = None
    if found is None:
        raise ScanError(f"{row.where}: path {text!r} does not exist; paths are relative to the folder of the CSV")
    return f"{found}{mark}{inner}"


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    needed = ["specimen", "state", "path"]
    if {"plane", "position"} & set(columns):
        needed[2:2] = ["plane", "position"]
    missing = [column for column in needed if column not in columns]
    if len(columns) == 1 and all(column in columns[0] for column in needed):
        raise ScanError(f"{path}: its columns ({columns[0]}) are not parted; part them by commas, semicolons or tabs")
    if missing:
        found = ",".join(columns) or "nothing"
        raise ScanError(f"{path}: column {', '.join(missing)} is missing (the first line holds: {found}); add it")
    twice = [column for column, count in Counter(columns).items() if count > 1 and column]
    if twice:
        raise ScanError(f"{path}: column {', '.join(twice)} stands twice in the first line; remove one")


def _row(path: Path, line: int, columns: Sequence[str], cells: Sequence[str], separator: str) -> Row:
    if any(cells[len(columns) :]):
        raise ScanError(f"{path} line {line}: more fields than columns; put a field that holds a comma in quotes")
    filled = dict(zip(columns, [*cells, *[""] * len(columns)], strict=False))
    return Row(path, line, filled, has_decimal_comma=separator != ",")
