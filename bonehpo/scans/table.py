"""scans.csv: which file holds which specimen in which load state, every cell checked and refused by file and line.

One row per scan (`specimen,state,path[,label,donor,strain,stress_mpa,voxel_um]`) or, for data that exist only as 2-D images,
one row per slice (`specimen,state,plane,position,path` and the same optional columns). Paths are relative to the CSV.
What is not used or hardly meant is noted. Nothing but the CSV is opened here: `readers` opens what it names.
"""

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from natsort import natsorted

from bonehpo.domain import some_of
from bonehpo.errors import ScanError
from bonehpo.scans.rows import (
    COLUMNS,
    Label,
    Row,
    common_number,
    label_in,
    name_in,
    number_in,
    read_rows,
    source_in,
    state_in,
)

DONORS_UNKNOWN = (
    "The table has no column donor: specimens are taken to be of different donors; two cores of one animal are not "
    "independent, name their donor."
)
"""Note on a table that names no donors."""

ALIKE = 1 + 1e-6
"""Ratio of two sides of a voxel up to which a table means one: spreadsheets round in the last digits."""

SMALLEST_UM, LARGEST_UM = 0.05, 500.0
"""Sides of a voxel between which a table or a file is believed: nano-CT to clinical CT."""

LARGEST_MPA = 1000.0
"""Stress beyond which megapascals are hardly meant: compact bone fails at a fifth of it."""

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
        label: What the table says of it, if it has a column for it: that it is the pristine or the failed one.
    """

    specimen: str
    state: int
    source: str
    donor: str | None = None
    strain: float | None = None
    stress_mpa: float | None = None
    voxel_um: float | None = None
    images: tuple[SliceImage, ...] = ()
    label: Label = ""

    @property
    def name(self) -> str:
        """Specimen and state, as they stand in messages."""
        return f"{self.specimen} state {self.state}"


@dataclass(frozen=True, kw_only=True)
class ScanTable:
    """All scans of one CSV, checked: each scan stands once, and each specimen begins pristine and ends failed.

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
        """All load states of the table, rising; the first is pristine."""
        return tuple(sorted({scan.state for scan in self.scans}))

    def ends(self, specimen: str) -> tuple[int, int]:
        """The first and the last load state of a specimen: pristine and failed."""
        states = [scan.state for scan in self.scans if scan.specimen == specimen]
        return states[0], states[-1]

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
            label=label_in(row),
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
            label=_common_label(members),
            donor=_donor_in(members[0]),
            strain=strain,
            stress_mpa=stress_mpa,
            voxel_um=voxel_um,
            images=tuple(sorted(images, key=lambda image: (image.plane, image.position))),
        )


def _common_label(rows: Sequence[Row]) -> Label:
    labels = {label_in(row) for row in rows}
    if len(labels) > 1:
        raise ScanError(f"{rows[0].where}: label differs among the slices of one scan; give one")
    return labels.pop()


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
    for specimen in table.specimens:
        _check_ends(table, [scan for scan in table.scans if scan.specimen == specimen])
    voxels = sorted({scan.voxel_um for scan in table.scans if scan.voxel_um is not None})
    if voxels and voxels[-1] > voxels[0] * ALIKE:
        sizes = ", ".join(f"{size:g}" for size in voxels)
        raise ScanError(f"{table.csv}: voxel_um differs among the scans ({sizes}); resample them to one size")


def _check_ends(table: ScanTable, scans: Sequence[Scan]) -> None:
    """See that the scans of a specimen begin in the first state, and end in the last or, where labels say so, failed."""
    specimen, states = scans[0].specimen, [scan.state for scan in scans]
    labelled = any(scan.label for scan in table.scans)
    if labelled and len(states) == 1:
        raise ScanError(
            f"{table.csv}: {specimen} has one scan alone, state {states[0]}; add its pristine or failed one, or remove "
            f"{specimen}{_near_double(specimen, table.specimens)}"
        )
    for role, state, own in (("first", table.states[0], states[0]), ("last", table.states[-1], states[-1])):
        if own != state and not (labelled and role == "last"):
            why = "" if labelled or role == "first" else ", label the failed scan of each specimen in a column label"
            raise ScanError(
                f"{table.csv}: {specimen} lacks the {role} state, {state}; add it{why}, or remove {specimen}"
                f"{_near_double(specimen, table.specimens)}"
            )
    for label, role, state in (("pristine", "first", states[0]), ("failed", "last", states[-1])) if labelled else ():
        found = [scan.state for scan in scans if scan.label == label]
        if found != [state]:
            said = (
                f"state {', '.join(map(str, found))} is labelled {label}" if found else f"no scan is labelled {label}"
            )
            raise ScanError(f"{table.csv}: {specimen}: {said}; label its {role}, state {state}, so, and no other")


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
    failed = {scan.specimen: scan.state for scan in scans if scan.label == "failed"}
    if len(set(failed.values())) > 1:
        told = some_of([f"{specimen} in state {state}" for specimen, state in failed.items()], 6)
        yield f"Specimens failed in different states: {told}. Compared by state, failed scans stand in the last of all."
    yield from _doubtful_numbers(scans)
    donors = [scan.donor for scan in scans if scan.donor is not None]
    for what, names in (("specimens", [scan.specimen for scan in scans]), ("donors", donors)):
        by_plain: dict[str, str] = {}
        for name in dict.fromkeys(names):
            other = by_plain.setdefault(_plain(name), name)
            if other != name:
                yield f"{other} and {name} are taken for two {what}; if they are one, name it alike."


def _doubtful_numbers(scans: Sequence[Scan]) -> Iterator[str]:
    """Notes on numbers that are hardly in the unit of their column, or hardly of their load state."""
    strains = [scan.strain for scan in scans if scan.strain is not None]
    if strains and max(map(abs, strains)) > 1:
        largest = max(strains, key=abs)
        yield f"Strains go to {largest:g}: fractions are expected, 0.065 for 6.5 %. If they are per cent, divide by 100."
    stresses = [scan.stress_mpa for scan in scans if scan.stress_mpa is not None]
    if stresses and max(map(abs, stresses)) > LARGEST_MPA:
        yield f"Stresses go to {max(stresses, key=abs):g}: megapascals are expected, 8 and not 8000000 (Pa)."
    voxels = [scan.voxel_um for scan in scans if scan.voxel_um is not None]
    if voxels and not SMALLEST_UM <= voxels[0] <= LARGEST_UM:
        yield f"voxel_um is {voxels[0]:g}: micrometres are expected, 6.5 and not 0.0065 (mm) or 6500 (nm)."
    strained = [scan for scan in scans if scan.strain is not None]
    fallen = [
        f"{scan.name} ({before.strain:g} to {scan.strain:g})"
        for before, scan in itertools.pairwise(strained)
        if before.specimen == scan.specimen and abs(scan.strain or 0) < abs(before.strain or 0)
    ]
    of_one = [list(found) for _, found in itertools.groupby(strained, key=lambda scan: scan.specimen)]
    unstrained = [
        f"{found[0].specimen} ({found[0].strain:g})"
        for found in of_one
        if len(found) > 1 and found[0].strain == found[-1].strain
    ]
    if unstrained:
        yield (
            f"Strain is the same in the first and the last state of {some_of(unstrained)}: see that the failed scan has "
            "its own."
        )
    if fallen:
        yield f"Strain falls to {some_of(fallen)}: see that states rise from pristine to failed, and strain with them."
