"""scans.csv: which file holds which specimen in which load state, every cell checked and refused by file and line.

One row per scan (`specimen,state,path[,donor,strain,stress_mpa,voxel_um]`) or, for data that exist only as 2-D images, one
row per slice (`specimen,state,plane,position,path` and the same optional columns). Paths are relative to the CSV.
Spreadsheets write tables in many ways: separators, decimal commas, marks of byte order and empty lines are taken as they are
meant, and what is not used or hardly meant is noted. Nothing but the CSV is opened here: `readers` opens what it names.
"""

import codecs
import csv
import difflib
import io
import itertools
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from natsort import natsorted

from bonehpo.errors import ScanError

DONORS_UNKNOWN = (
    "The table has no column donor: specimens are taken to be of different donors; two cores of one animal are not "
    "independent, name their donor."
)
"""Note on a table that names no donors."""

ALIKE = 1 + 1e-6
"""Ratio of two sides of a voxel up to which a table means one: spreadsheets round in the last digits."""

SMALLEST_UM, LARGEST_UM = 0.05, 500.0
"""Sides of a voxel between which a table or a file is believed: nano-CT to clinical CT."""

MAX_NAME = 64
"""Longest specimen or plane name, in characters."""

_FORBIDDEN = ("/", "\\", "|", "..")
_SURPLUS = "\0"
_SEPARATORS = (",", ";", "\t")
COLUMNS = ("specimen", "state", "plane", "position", "path", "donor", "strain", "stress_mpa", "voxel_um")


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
    before the head are passed over. Columns are known whatever their case.

    Raises:
        ScanError: There is no table, it is not CSV in UTF-8, a needed column is missing, or it holds no line.
    """
    if not path.is_file():
        raise ScanError(f"{path}: no such file; give a CSV with the columns specimen,state,path")
    try:
        whole = enumerate(io.StringIO(_decoded(path.read_bytes()), newline=""), start=1)
        lines = list(itertools.dropwhile(lambda at: not at[1].strip() or at[1].startswith("#"), whole))
        separator, lines = _separator(lines)
        reader = csv.reader((line for _, line in lines), delimiter=separator, skipinitialspace=True, strict=True)
        table = [(lines[reader.line_num - 1][0], [cell.strip() for cell in cells]) for cells in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ScanError(f"{path}: not a CSV in UTF-8 ({error}); save it again as CSV UTF-8") from error
    table = [(line, cells) for line, cells in table if any(cells)]
    columns = [column.lower() for column in table[0][1]] if table else []
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
    whole = text.removesuffix(".0")
    if not re.fullmatch("[0-9]{1,9}", whole):
        hint = ", or order words with --states pristine,…,failed" if text.isalpha() else ""
        raise ScanError(f"{row.where}: state is {text!r}; give a whole number, 1 for pristine{hint}")
    return int(whole)


def number_in(row: Row, column: str) -> float | None:
    """The number in a cell; None when the cell is empty or there is no such column.

    Raises:
        ScanError: It is no finite number.
    """
    text = row.cells.get(column, "")
    if not text:
        return None
    if row.has_decimal_comma:
        text = text.replace(",", ".")
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
        donor: Name of the animal or human that the specimen is of, if known.
        strain: Apparent strain, as a fraction, if known.
        stress_mpa: Apparent stress in MPa, if known.
        voxel_um: Side of a voxel in µm, if known.
        images: The images of a 2-D slice table; empty for a volume.
    """

    specimen: str
    state: int
    source: str
    donor: str | None = None
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
        notes: What is not used of the table, or hardly meant, one sentence each.
    """

    csv: Path
    kind: TableKind
    scans: tuple[Scan, ...]
    notes: tuple[str, ...] = ()

    @property
    def specimens(self) -> tuple[str, ...]:
        """Specimen names in natural order (TB9 before TB11)."""
        return tuple(dict.fromkeys(scan.specimen for scan in self.scans))

    @property
    def donors(self) -> dict[str, str]:
        """Donor of each specimen; empty where the table names none."""
        return {scan.specimen: scan.donor for scan in self.scans if scan.donor is not None}

    @property
    def states(self) -> tuple[int, ...]:
        """All load states of the table, rising; the first is pristine and the last failed."""
        return tuple(sorted({scan.state for scan in self.scans}))

    @property
    def voxel_um(self) -> float | None:
        """Side of a voxel in µm, the same for all scans; None when the table does not say."""
        return next((scan.voxel_um for scan in self.scans if scan.voxel_um is not None), None)


def read_scans(path: Path, states: Sequence[str] = ()) -> ScanTable:
    """Read and check a table of scans.

    Args:
        path: The CSV, see `read_rows`.
        states: Words for the load states, from pristine to failed, where the table has words for them.

    Returns:
        The table; every path that it names exists.

    Raises:
        ScanError: The table cannot be used; the message names the file and, where there is one, the line.
    """
    rows = read_rows(path)
    _check_donors(rows)
    kind: TableKind = "slices" if "plane" in rows[0].cells else "volumes"
    folder = path.resolve().parent
    found = _volume_scans(rows, folder, states) if kind == "volumes" else _slice_scans(rows, folder, path, states)
    scans = tuple(natsorted(found, key=lambda scan: (scan.specimen, scan.state)))
    table = ScanTable(csv=path, kind=kind, scans=scans, notes=tuple(_notes(rows, scans)))
    _check_table(table)
    return table


def _volume_scans(rows: Sequence[Row], folder: Path, words: Sequence[str]) -> Iterator[Scan]:
    seen: dict[tuple[str, int], int] = {}
    for row in rows:
        specimen, state = name_in(row, "specimen"), state_in(row, words)
        if (specimen, state) in seen:
            line = seen[specimen, state]
            raise ScanError(f"{row.where}: {specimen} state {state} stands already in line {line}; remove one")
        seen[specimen, state] = row.line
        strain, stress_mpa, voxel_um = (number_in(row, column) for column in _OPTIONAL_NUMBERS)
        yield Scan(
            specimen=specimen,
            state=state,
            source=source_in(row, folder),
            donor=_donor_in(row),
            strain=strain,
            stress_mpa=stress_mpa,
            voxel_um=voxel_um,
        )


def _slice_scans(rows: Sequence[Row], folder: Path, path: Path, words: Sequence[str]) -> Iterator[Scan]:
    grouped: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        grouped.setdefault((name_in(row, "specimen"), state_in(row, words)), []).append(row)
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
            donor=_donor_in(members[0]),
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


def _donor_in(row: Row) -> str | None:
    return name_in(row, "donor") if row.cells.get("donor") else None


def _check_donors(rows: Sequence[Row]) -> None:
    """See that every row names a donor, always the same for one specimen; or that none does."""
    if not any(row.cells.get("donor") for row in rows):
        return
    first: dict[str, Row] = {}
    for row in rows:
        specimen, donor = name_in(row, "specimen"), _donor_in(row)
        if donor is None:
            raise ScanError(f"{row.where}: donor of {specimen} is empty, but other rows name one; name it in every row")
        other = first.setdefault(specimen, row)
        if donor != _donor_in(other):
            said = f"{_donor_in(other)} in line {other.line}"
            raise ScanError(
                f"{row.where}: donor of {specimen} is {donor}, but {said}; a specimen is of one donor: correct it"
            )


def _check_table(table: ScanTable) -> None:
    for what, names in (("specimen", table.specimens), ("donor", tuple(dict.fromkeys(table.donors.values())))):
        if len(names) == 1:
            raise ScanError(f"{table.csv}: only one {what} ({names[0]}); nothing can be held out: add another")
    if len(table.states) < 2:
        raise ScanError(f"{table.csv}: only one load state ({table.states[0]}); add the scans of the failed state")
    first, last = table.states[0], table.states[-1]
    held = {(scan.specimen, scan.state) for scan in table.scans}
    for specimen in table.specimens:
        for state, role in ((first, "first"), (last, "last")):
            if (specimen, state) not in held:
                raise ScanError(
                    f"{table.csv}: {specimen} lacks the {role} state, {state}; add it or remove {specimen}"
                    f"{_near_double(specimen, table.specimens)}"
                )
    voxels = sorted({scan.voxel_um for scan in table.scans if scan.voxel_um is not None})
    if voxels and voxels[-1] > voxels[0] * ALIKE:
        sizes = ", ".join(f"{size:g}" for size in voxels)
        raise ScanError(f"{table.csv}: voxel_um differs among the scans ({sizes}); resample them to one size")


def _near_double(specimen: str, specimens: Sequence[str]) -> str:
    """Another name that may mean the same specimen, for a refusal."""
    alike = [other for other in specimens if other != specimen and _plain(other) == _plain(specimen)]
    return f"; or is {alike[0]} the same specimen?" if alike else ""


def _plain(name: str) -> str:
    """A name without what people write one time and leave out the other: case, spaces, hyphens, zeros in front."""
    bare = re.sub(r"[\W_]+", "", name.casefold())
    return re.sub(r"(?<!\d)0+(?=\d)", "", bare)


def _notes(rows: Sequence[Row], scans: Sequence[Scan]) -> Iterator[str]:
    """Notes on what is not used of a table, or hardly meant."""
    for column in rows[0].cells:
        if column and column not in COLUMNS:
            close = difflib.get_close_matches(column, COLUMNS, n=1, cutoff=0.6)
            yield f"The column {column} of the table is not used{f': is {close[0]} meant?' if close else '.'}"
    strains = [scan.strain for scan in scans if scan.strain is not None]
    if strains and max(map(abs, strains)) > 1:
        largest = max(strains, key=abs)
        yield f"Strains go to {largest:g}: fractions are expected, 0.065 for 6.5 %. If they are per cent, divide by 100."
    voxels = [scan.voxel_um for scan in scans if scan.voxel_um is not None]
    if voxels and not SMALLEST_UM <= voxels[0] <= LARGEST_UM:
        yield f"voxel_um is {voxels[0]:g}: micrometres are expected, 6.5 and not 0.0065 (mm) or 6500 (nm)."
    donors = [scan.donor for scan in scans if scan.donor is not None]
    for what, names in (("specimens", [scan.specimen for scan in scans]), ("donors", donors)):
        by_plain: dict[str, str] = {}
        for name in dict.fromkeys(names):
            other = by_plain.setdefault(_plain(name), name)
            if other != name:
                yield f"{other} and {name} are taken for two {what}; if they are one, name it alike."
