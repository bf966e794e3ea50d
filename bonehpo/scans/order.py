"""Sections of one volume among the files of a folder, and their order by the number in their names.

A folder of sections says nothing but its file names: a mask beside each section, a preview among them, a section that was
not copied or was copied twice would be read as bone. What is not one evenly numbered series is refused here, by name.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from bonehpo.domain import some_of
from bonehpo.errors import ScanError

SIDE_FILES = re.compile(r"_spr\.[a-z]+$", re.IGNORECASE)
"""What Skyscan's programs leave beside the sections: a small projection, `NAME_spr.bmp`."""

_NUMBER = re.compile(r"\d+(?:[.,]\d*)?")
_INTEGER = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True)
class Series:
    """Sections of one volume.

    Attributes:
        names: Names of the files, by position along z.
        remarks: What the user should know, one sentence each.
    """

    names: tuple[str, ...]
    remarks: tuple[str, ...]


class _Name(NamedTuple):
    """A name, taken apart: the text between its numbers, and these."""

    name: str
    text: tuple[str, ...]
    numbers: tuple[str, ...]


def in_order(folder: Path, names: Sequence[str]) -> Series:
    """Sections of one volume by the number in their names: `z2` before `z10`, `z-1` before `z0`, `0.5mm` before `0.10mm`.

    Args:
        folder: That holds them, for messages.
        names: Names of its images, in any order.

    Returns:
        All of them but the side files of Skyscan's programs.

    Raises:
        ScanError: They are several series, a number is missing or stands twice, or names hold no number to order by.
    """
    aside = [name for name in names if SIDE_FILES.search(name)]
    kept = sorted(set(names) - set(aside)) or sorted(aside)
    remarks = [f"Left out as no sections: {_some(aside)}."] if len(kept) < len(set(names)) else []
    if len(kept) == 1:
        return Series(names=tuple(kept), remarks=tuple(remarks))
    positions, step = _positions(folder, kept)
    if step != 1 and step.denominator == 1:
        remarks.append(
            f"The sections are numbered in steps of {step}: were some left out, then voxels are no cubes, and sections "
            "across them are out of scale."
        )
    return Series(names=tuple(sorted(kept, key=positions.__getitem__)), remarks=tuple(remarks))


def _positions(folder: Path, names: Sequence[str]) -> tuple[Mapping[str, Fraction], Fraction]:
    """The position of each name, and the step from one to the next.

    A decimal point may also part two whole numbers (`scan.9`, `scan.10`): that reading counts by which the series is even.
    """
    readings: list[tuple[Mapping[str, Fraction], Fraction]] = []
    refusals: list[ScanError] = []
    for pattern in (_NUMBER, _INTEGER):
        try:
            positions = _one_series(folder, [_taken_apart(name, pattern) for name in names])
        except ScanError as error:
            refusals.append(error)
            continue
        try:
            readings.append((positions, _even_step(folder, positions)))
        except ScanError as error:
            refusals.insert(0, error)  # of a reading that nearly fits
    if not readings:
        raise refusals[0]
    if len({tuple(sorted(names, key=positions.__getitem__)) for positions, _ in readings}) > 1:
        raise ScanError(f"{folder}: {_some(names)} can be read in two orders; number the sections with whole numbers")
    return readings[-1]


def _taken_apart(name: str, pattern: re.Pattern[str]) -> _Name:
    stem = name.rpartition(".")[0]
    return _Name(name, tuple(part.lower() for part in pattern.split(stem)), tuple(pattern.findall(stem)))


def _one_series(folder: Path, names: Sequence[_Name]) -> Mapping[str, Fraction]:
    """The position of each name, by the only number that tells all apart."""
    names = _with_signs(names)
    by_text: dict[tuple[str, ...], list[_Name]] = defaultdict(list)
    for name in names:
        by_text[name.text].append(name)
    if len(by_text) > 1:
        raise ScanError(f"{folder}: {_several(list(by_text.values()))}")
    columns = list(zip(*([_value(number) for number in name.numbers] for name in names), strict=True))
    varying = [column for column in columns if len(set(column)) > 1]
    telling = [column for column in varying if len(set(column)) == len(names)]
    if not varying or not telling:
        raise ScanError(f"{folder}: {_not_told_apart(names, varying)}")
    if len({tuple(sorted(range(len(names)), key=column.__getitem__)) for column in telling}) > 1:
        raise ScanError(
            f"{folder}: {_some([n.name for n in names])} have two numbers, and another order by each; keep one"
        )
    evenest = min(telling, key=lambda column: len(set(_steps(sorted(column)))))
    return {name.name: position for name, position in zip(names, evenest, strict=True)}


def _with_signs(names: Sequence[_Name]) -> Sequence[_Name]:
    """A `-` before a number is its sign where names without it are of the same series, or where it parts nothing."""
    texts = {name.text for name in names}
    padded = any(number[:1] == "0" for name in names for number in name.numbers)

    def is_sign(text: tuple[str, ...], i: int) -> bool:
        bare = (*text[:i], text[i][:-1], *text[i + 1 :])
        return bare in texts or (not padded and text[i][:-1][-1:] in ("", "_", " ", "="))

    def signed(name: _Name) -> _Name:
        text, numbers = list(name.text), list(name.numbers)
        for i, number in enumerate(name.numbers):
            if text[i].endswith("-") and is_sign(name.text, i):
                text[i], numbers[i] = text[i][:-1], f"-{number}"
        return _Name(name.name, tuple(text), tuple(numbers))

    return [signed(name) for name in names]


def _value(number: str) -> Fraction:
    return Fraction(number.replace(",", "."))


def _steps(rising: Sequence[Fraction]) -> list[Fraction]:
    return [after - before for before, after in itertools.pairwise(rising)]


def _even_step(folder: Path, positions: Mapping[str, Fraction]) -> Fraction:
    """The step from each position to the next, which rounding in the names may change by one of their last digit."""
    rising = sorted(positions, key=positions.__getitem__)
    steps = _steps([positions[name] for name in rising])
    step = sorted(steps)[len(steps) // 2]
    rounding = Fraction(1, max(position.denominator for position in positions.values()))
    for (before, after), found in zip(itertools.pairwise(rising), steps, strict=True):
        n = round(found / step)
        if n == 0 or abs(found - n * step) > n * max(step / 10, rounding):
            raise ScanError(
                f"{folder}: numbers from {before} to {after} do not go in steps of {float(step):g}; number the sections anew"
            )
        if n > 1:
            missing = _numbers([positions[before] + i * step for i in range(1, n)])
            raise ScanError(
                f"{folder}: {missing} missing between {before} and {after}; copy what is missing, or number the "
                "sections anew"
            )
    return step


def _numbers(values: Sequence[Fraction]) -> str:
    told = [f"{float(value):g}" for value in values]
    if len(told) == 1:
        return f"number {told[0]} is"
    return f"numbers {', '.join(told) if len(told) < 6 else f'{told[0]} to {told[-1]}'} are"


def _several(series: list[list[_Name]]) -> str:
    """Refusal of names of several series: the odd ones, or all of them with their counts."""
    series.sort(key=len, reverse=True)
    largest, *others = series
    if max(map(len, others)) == 1 and len(largest) > 1:
        odd = [name.name for (name,) in others]
        does = "does" if len(odd) == 1 else "do"
        return f"{_some(odd)} {does} not belong to {_range(largest)}; move what is no section of the scan elsewhere"
    if len(largest) == 1:
        return f"the names of its images ({_some([n[0].name for n in series])}) hold no common number to order them by"
    told = ", ".join(f"{_range(names)} ({len(names)} files)" for names in series[:4])
    return f"holds {len(series)} series of images: {told}; give each a folder of its own"


def _not_told_apart(names: Sequence[_Name], varying: Sequence[Sequence[Fraction]]) -> str:
    if not varying:
        return f"{_some([n.name for n in names])} have the same number; keep one"
    column = max(varying, key=lambda column: len(set(column)))
    twice = next(value for value, count in Counter(column).items() if count > 1)
    same = [name.name for name, value in zip(names, column, strict=True) if value == twice]
    return (
        f"number {float(twice):g} stands {len(same)} times ({_some(same)}); keep one series of sections in the folder"
    )


def _range(names: Sequence[_Name]) -> str:
    ordered = sorted(name.name for name in names)
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} … {ordered[-1]}"


def _some(names: Sequence[str]) -> str:
    return some_of(sorted(names))
