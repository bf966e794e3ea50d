"""scans.csv: which file holds which specimen in which load state, every cell checked and refused by file and line.

One row per scan (`specimen,state,path[,strain,stress_mpa,voxel_um]`) or, for data that exist only as 2-D images, one
row per slice (`specimen,state,plane,position,path` and the same optional columns). Paths are relative to the CSV;
unknown columns are ignored. Nothing but the CSV is opened here: `readers` opens what it names.
"""

import csv
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from natsort import natsorted

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


TableKind = Literal["volumes", "slices"]

_OPTIONAL_NUMBERS = ("strain", "stress_mpa", "voxel_um")


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceImage:
    """One row of a 2-D slice table.

    Attributes:
        plane: Cutting direction, as named in the data.
        position: Where the slice lies along the normal of its plane, in the unit of the table.
        path: File of one image.
    """

    plane: str
    position: float
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """One tomography of one specimen in one load state.

    Attributes:
        specimen: Name of the specimen.
        state: Number of the load state.
        source: What `readers.open_volume` takes; the CSV itself for a 2-D slice table.
        strain: Apparent strain, as a fraction, if known.
        stress_mpa: Apparent stress in MPa, if known.
        voxel_um: Side of a voxel in µm, if known.
        images: The images of a 2-D slice table; empty for a volume.
    """

    specimen: str
    state: int
    source: str
    strain: float | None = None
    stress_mpa: float | None = None
    voxel_um: float | None = None
    images: tuple[SliceImage, ...] = ()

    @property
    def name(self) -> str:
        """Specimen and state, as they stand in messages."""
        return f"{self.specimen} state {self.state}"


@dataclass(frozen=True, kw_only=True)
class ScanTable:
    """All scans of one CSV, checked: each scan stands once, and each specimen has the first and the last state.

    Attributes:
        csv: The file that was read.
        kind: Whether the scans are volumes or tables of 2-D slices.
        scans: By specimen in natural order, then by state.
    """

    csv: Path
    kind: TableKind
    scans: tuple[Scan, ...]

    @property
    def specimens(self) -> tuple[str, ...]:
        """Specimen names in natural order (TB9 before TB11)."""
        return tuple(dict.fromkeys(scan.specimen for scan in self.scans))

    @property
    def states(self) -> tuple[int, ...]:
        """All load states of the table, rising; the first is pristine and the last failed."""
        return tuple(sorted({scan.state for scan in self.scans}))

    @property
    def voxel_um(self) -> float | None:
        """Side of a voxel in µm, the same for all scans; None when the table does not say."""
        return next((scan.voxel_um for scan in self.scans if scan.voxel_um is not None), None)


def read_scans(path: Path) -> ScanTable:
    """Read and check a table of scans.

    Args:
        path: The CSV, in UTF-8.

    Returns:
        The table; every path that it names exists.

    Raises:
        ScanError: The table cannot be used; the message names the file and, where there is one, the line.
    """
    rows = read_rows(path)
    kind: TableKind = "slices" if "plane" in rows[0].cells else "volumes"
    folder = path.resolve().parent
    scans = _volume_scans(rows, folder) if kind == "volumes" else _slice_scans(rows, folder, path)
    table = ScanTable(csv=path, kind=kind, scans=tuple(natsorted(scans, key=lambda scan: (scan.specimen, scan.state))))
    _check_table(table)
    return table


def _volume_scans(rows: Sequence[Row], folder: Path) -> Iterator[Scan]:
    seen: dict[tuple[str, int], int] = {}
    for row in rows:
        specimen, state = name_in(row, "specimen"), state_in(row)
        if (specimen, state) in seen:
            line = seen[specimen, state]
            raise ScanError(f"{row.where}: {specimen} state {state} stands already in line {line}; remove one")
        seen[specimen, state] = row.line
        strain, stress_mpa, voxel_um = (number_in(row, column) for column in _OPTIONAL_NUMBERS)
        yield Scan(
            specimen=specimen,
            state=state,
            source=source_in(row, folder),
            strain=strain,
            stress_mpa=stress_mpa,
            voxel_um=voxel_um,
        )


def _slice_scans(rows: Sequence[Row], folder: Path, path: Path) -> Iterator[Scan]:
    grouped: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        grouped.setdefault((name_in(row, "specimen"), state_in(row)), []).append(row)
    for (specimen, state), members in grouped.items():
        images = [_image(row, folder) for row in members]
        for image, count in Counter((image.plane, image.position) for image in images).items():
            if count > 1:
                place = f"{specimen} state {state} plane {image[0]} position {image[1]:g}"
                raise ScanError(f"{path}: {place} stands {count} times; give each slice its own position")
        strain, stress_mpa, voxel_um = (common_number(members, column) for column in _OPTIONAL_NUMBERS)
        yield Scan(
            specimen=specimen,
            state=state,
            source=str(path.resolve()),
            strain=strain,
            stress_mpa=stress_mpa,
            voxel_um=voxel_um,
            images=tuple(sorted(images, key=lambda image: (image.plane, image.position))),
        )


def _image(row: Row, folder: Path) -> SliceImage:
    position = number_in(row, "position")
    if position is None:
        raise ScanError(f"{row.where}: position is empty; give the place of the slice along its plane's normal")
    return SliceImage(plane=name_in(row, "plane"), position=position, path=source_in(row, folder))


def _check_table(table: ScanTable) -> None:
    if len(table.specimens) < 2:
        raise ScanError(f"{table.csv}: only one specimen ({table.specimens[0]}); nothing can be held out: add another")
    if len(table.states) < 2:
        raise ScanError(f"{table.csv}: only one load state ({table.states[0]}); add the scans of the failed state")
    first, last = table.states[0], table.states[-1]
    held = {(scan.specimen, scan.state) for scan in table.scans}
    for specimen in table.specimens:
        for state, role in ((first, "first"), (last, "last")):
            if (specimen, state) not in held:
                raise ScanError(f"{table.csv}: {specimen} lacks the {role} state, {state}; add it or remove {specimen}")
    voxels = sorted({scan.voxel_um for scan in table.scans if scan.voxel_um is not None})
    if len(voxels) > 1:
        sizes = ", ".join(f"{size:g}" for size in voxels)
        raise ScanError(f"{table.csv}: voxel_um differs among the scans ({sizes}); resample them to one size")
