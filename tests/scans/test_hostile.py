"""Whatever the bytes of a file are, it is read or refused in one line that names it, with little memory and time."""

import gzip
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import h5py
import pytest
import tifffile
from mutations import mutated
from reading_process import Reading, ReadingProcess
from seeds import SEEDS, Seed, bone

QUICK, LONG = 8, 460
"""Inputs of each seed."""

RANDOM_SEED = 12


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


def looped_tiff(folder: Path) -> str:
    """The third page is followed by the first."""
    file = folder / "a.tif"
    tifffile.imwrite(file, bone()[:3], photometric="minisblack", metadata=None)
    with tifffile.TiffFile(file) as tif:
        first, last = tif.pages[0].offset, tif.pages[2]
        end = last.offset + 2 + 12 * len(last.tags)
    _put(file, end, first.to_bytes(4, "little"))
    return str(file)


def _put(file: Path, at: int, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(content)


def endless_nrrd(folder: Path) -> str:
    path = SEEDS["NRRD"].write(folder)
    Path(path).write_bytes(Path(path).read_bytes().replace(b"0.0064999999999999997,0,0", b"9" * 5000 + b",0,0"))
    return path


def many_axes(folder: Path) -> str:
    path = SEEDS["MetaImage apart"].write(folder)
    Path(path).write_text(Path(path).read_text().replace("NDims = 3", "NDims = 99999999999999999999"))
    return path


def greedy_dicom(folder: Path) -> str:
    """The pixels of one image claim 2 GB."""
    path = SEEDS["folder of DICOM"].write(folder)
    file = Path(path) / "i1.dcm"
    at = file.read_bytes().index(b"\xe0\x7f\x10\x00") + 4
    _put(file, at, (2**31 - 2).to_bytes(4, "little"))
    return path


def greedy_blosc(folder: Path) -> str:
    """A chunk whose header claims more bytes than it has."""
    path = SEEDS["zarr 3 blosc"].write(folder)
    _put(Path(path) / "c" / "0" / "0" / "0", 12, (2**28).to_bytes(4, "little"))
    return path


def unprintable_table(folder: Path) -> str:
    (folder / "scans.csv").write_text("specimen,sta\x1b[31mte,path\nA,1,a.tif\n")
    return str(folder / "scans.csv")


def deep_manifest(folder: Path) -> str:
    (folder / "MANIFEST.json").write_text("[" * 5000)
    return str(folder / "MANIFEST.json")


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "a.tif")
    return str(folder / "a.tif")


def pipe_in_folder(folder: Path) -> str:
    path = SEEDS["folder of TIFF"].write(folder)
    os.mkfifo(Path(path) / "s3.tif")
    return path


def packed_nifti(folder: Path) -> str:
    """A NIfTI behind whose voxels 1 GB of zeros are packed."""
    plain = gzip.decompress(Path(SEEDS["NIfTI gz"].write(folder)).read_bytes())
    with gzip.open(folder / "b.nii.gz", "wb", compresslevel=1) as file:
        file.write(plain)
        for _ in range(64):
            file.write(bytes(2**24))
    return str(folder / "b.nii.gz")


def linked_to_nothing(folder: Path) -> str:
    path = SEEDS["folder of TIFF"].write(folder)
    (Path(path) / "s3.tif").symlink_to(folder / "gone.tif")
    return path


def linked_to_itself(folder: Path) -> str:
    (folder / "a.tif").symlink_to(folder / "a.tif")
    return str(folder / "a.tif")


def hdf5_in_a_ring(folder: Path) -> str:
    """A group that holds itself."""
    with h5py.File(folder / "a.h5", "w") as file:
        file["bone"] = bone()
        file["again"] = file["/"]
        file["away"] = h5py.ExternalLink("a.h5", "/away")
    return f"{folder / 'a.h5'}::away"


def packed_zeros(folder: Path) -> str:
    """A gzip of 512 MB of zeros, in half a MB."""
    header = Path(SEEDS["NRRD gzip"].write(folder)).read_bytes().partition(b"\n\n")[0]
    packer = zlib.compressobj(9, wbits=31)
    block = bytes(2**24)
    with (folder / "b.nrrd").open("wb") as file:
        file.write(header + b"\n\n")
        for _ in range(32):
            file.write(packer.compress(block))
        file.write(packer.flush())
    return str(folder / "b.nrrd")


BY_HAND: dict[str, tuple[str, Callable[[Path], str]]] = {
    "TIFF in a circle": ("volume", looped_tiff),
    "NRRD without an end": ("volume", endless_nrrd),
    "MetaImage of many axes": ("volume", many_axes),
    "DICOM that claims 2 GB": ("volume", greedy_dicom),
    "Blosc that claims more": ("volume", greedy_blosc),
    "table that paints the terminal": ("table", unprintable_table),
    "manifest without an end": ("manifest", deep_manifest),
    "pipe": ("volume", pipe),
    "pipe in a folder": ("volume", pipe_in_folder),
    "link to nothing in a folder": ("volume", linked_to_nothing),
    "NIfTI with zeros behind": ("volume", packed_nifti),
    "link to itself": ("volume", linked_to_itself),
    "HDF5 in a ring": ("volume", hdf5_in_a_ring),
    "512 MB of packed zeros": ("volume", packed_zeros),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_what_was_made_to_do_harm_is_refused(tmp_path, process, name):
    kind, write = BY_HAND[name]
    reading = process.read(kind, write(tmp_path))
    assert reading.outcome == "refused", reading
    assert not reading.is_bad, reading
