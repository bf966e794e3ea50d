"""Whatever the bytes of a file are, it is read or refused in one line that names it, with little memory and time."""

import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from mutations import mutated
from reading_process import Reading, ReadingProcess
from seeds import SEEDS, Seed

QUICK, LONG = 8, 460
"""Inputs of each seed."""

RANDOM_SEED = 20261127


@pytest.fixture(scope="module")
def process() -> Iterator[ReadingProcess]:
    child = ReadingProcess()
    yield child
    child.close()


class Made(NamedTuple):
    """An input: what is given to the reader, and the file that was mutated with what it held before."""

    path: str
    file: Path
    before: bytes


def mutants(seed: Seed, folder: Path, n: int, random: Random) -> Iterator[Made]:
    """Inputs made of one seed, each in place of the one before."""
    path = seed.write(folder)
    before = {file: file.read_bytes() for file in sorted(folder.glob(seed.only)) if file.is_file()}
    files = [file for file, content in before.items() if content]
    for _ in range(n):
        file = random.choice(files)
        file.write_bytes(seed.repack(mutated(seed.unpack(before[file]), random)))
        yield Made(path, file, before[file])
        for other, content in before.items():
            if other == file or not other.is_file():
                other.write_bytes(content)


def random_of(name: str) -> Random:
    return Random(RANDOM_SEED + zlib.crc32(name.encode()))


@pytest.mark.parametrize("name", SEEDS)
def test_what_is_mutated_is_read_before(tmp_path, process, name):
    assert process.read(SEEDS[name].kind, SEEDS[name].write(tmp_path)).outcome == "read"


@pytest.mark.parametrize("name", SEEDS)
def test_mutated_bytes_are_read_or_refused(tmp_path, process, name):
    for made in mutants(SEEDS[name], tmp_path, QUICK, random_of(name)):
        reading = process.read(SEEDS[name].kind, made.path)
        assert not reading.is_bad, reading


@pytest.mark.torture
@pytest.mark.parametrize("name", SEEDS)
def test_very_many_mutated_bytes_are_read_or_refused(tmp_path, process, name, capsys):
    inputs = mutants(SEEDS[name], tmp_path, LONG, random_of(f"{name} at length"))
    readings = [process.read(SEEDS[name].kind, made.path) for made in inputs]
    with capsys.disabled():
        print(f"\n{name}: {told(readings)}")
    assert [reading for reading in readings if reading.is_bad] == []


def told(readings: list[Reading]) -> str:
    """Figures of many readings."""
    counts = Counter(reading.outcome for reading in readings)
    peak, slowest = max(r.n_bytes for r in readings), max(r.seconds for r in readings)
    outcomes = ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items()))
    return f"{len(readings)} inputs, seed {RANDOM_SEED}: {outcomes}; {peak / 1e6:.0f} MB, {slowest:.2f} s at most"
