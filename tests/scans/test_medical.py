"""MetaImage and NRRD: voxels that lie elsewhere, behind something or packed are all there, or none is read."""

import gzip
import zlib

import numpy as np
import pytest
from data_makers import bone_like

from bonehpo.errors import ScanError
from bonehpo.scans.readers import open_volume
from bonehpo.scans.sections import centred_box

SIDE = 8
VOXELS = bone_like(SIDE) + np.uint16(1)
NAMES = [f"s{z:03d}.raw" for z in range(SIDE)]
LISTED = "\n".join(NAMES)

pytestmark = pytest.mark.usefixtures("sitk")


@pytest.fixture
def sitk():
    return pytest.importorskip("SimpleITK")


@pytest.fixture(params=["a.mhd", "a.nhdr"])
def write(request, tmp_path):
    """Writes a file for each section, and a header that tells them in the words that are given."""
    heads = {
        "a.mhd": "NDims = 3\nDimSize = {0} {0} {0}\nElementType = MET_USHORT\nElementDataFile = ",
        "a.nhdr": "NRRD0004\ntype: uint16\ndimension: 3\nsizes: {0} {0} {0}\nencoding: raw\nendian: little\ndata file: ",
    }

    def to_disk(told):
        for name, section in zip(NAMES, VOXELS, strict=True):
            (tmp_path / name).write_bytes(section.tobytes())
        (tmp_path / request.param).write_text(heads[request.param].format(SIDE) + told + "\n")
        return str(tmp_path / request.param)

    return to_disk


def read_all(source):
    return open_volume(source).read(centred_box((SIDE,) * 3, None))


@pytest.mark.parametrize("told", [f"LIST\n{LISTED}", f"LIST 2\n{LISTED}", f"s%03d.raw 0 {SIDE - 1} 1"])
def test_sections_in_files_of_their_own_are_read(write, told):
    np.testing.assert_array_equal(read_all(write(told)), VOXELS)


@pytest.mark.parametrize("told", ["s%03d.raw 0", "s%03d.raw"])
def test_a_metaimage_may_leave_out_numbers_of_a_pattern(write, told, tmp_path):
    source = write(told)
    if source.endswith(".nhdr"):
        pytest.skip("NRRD has no such pattern")
    if told == "s%03d.raw":  # numbers begin with 1
        for z in reversed(range(SIDE)):
            (tmp_path / NAMES[z]).rename(tmp_path / f"s{z + 1:03d}.raw")
    np.testing.assert_array_equal(read_all(source), VOXELS)


@pytest.mark.parametrize(
    ("told", "n"),
    [
        ("LIST\n" + "\n".join(NAMES[:-1]), SIDE - 1),
        (f"LIST\n{LISTED}\n{NAMES[0]}", SIDE + 1),
        ("LIST 3\n" + NAMES[0], 1),
        ("s%03d.raw 0 4 1", 5),
        (f"s%03d.raw 0 {SIDE - 1}", 0),  # MetaIO divides by a step of 0
        (f"s%03d.raw 0 {SIDE - 1} 0", 0),
    ],
)
def test_other_than_a_file_for_each_section_is_refused(write, told, n):
    with pytest.raises(ScanError, match=f"{n} files for {SIDE} sections; name one for each"):
        open_volume(write(told))


@pytest.mark.parametrize("told", [f"LIST\n{LISTED}", f"s%03d.raw 0 {SIDE - 1} 1"])
def test_a_section_that_is_not_there_or_cut_short_is_refused_by_name(write, told, tmp_path):
    source = write(told)
    (tmp_path / NAMES[5]).write_bytes(VOXELS[5].tobytes()[:-1])
    with pytest.raises(ScanError, match=rf"s005\.raw: {2 * SIDE**2 - 1} bytes are there, .* {2 * SIDE**2}"):
        open_volume(source)
    (tmp_path / NAMES[5]).unlink()
    with pytest.raises(ScanError, match=r"its voxels lie in s005\.raw, too, which is not there"):
        open_volume(source)


RAW = VOXELS.tobytes()
META = "NDims = 3\nDimSize = 8 8 8\nElementType = MET_USHORT\n{}ElementDataFile = {}\n"
NRRD = "NRRD0004\ntype: uint16\ndimension: 3\nsizes: 8 8 8\nendian: little\nencoding: {}\n{}\n"
LINES = b"scanner: A\nday: B\n"
TEXT = " ".join(map(str, VOXELS.ravel())).encode()


@pytest.mark.parametrize(
    ("name", "header", "voxels"),
    [
        ("a.nrrd", NRRD.format("raw", "line skip: 2\n"), LINES + RAW),
        ("a.nrrd", NRRD.format("raw", "line skip: 2\nbyte skip: 3\n"), LINES + b"abc" + RAW),
        ("a.nrrd", NRRD.format("raw", "byte skip: -1\n"), b"of any length" + RAW),
        ("a.nrrd", NRRD.format("gzip", "line skip: 2\nbyte skip: 3\n"), LINES + gzip.compress(b"abc" + RAW)),
        ("a.mha", META.format("HeaderSize = -1\n", "LOCAL"), RAW),
    ],
)
def test_what_lies_before_the_voxels_is_passed_over(tmp_path, name, header, voxels):
    source = tmp_path / name
    source.write_bytes(header.encode() + voxels)
    np.testing.assert_array_equal(read_all(str(source)), VOXELS)
    source.write_bytes(header.encode() + voxels[: -len(voxels) // 4])
    with pytest.raises(ScanError, match=r"bytes are there|truncated|damaged") as caught:
        read_all(str(source))
    assert "ITK" not in str(caught.value)


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (zlib.compress(RAW)[:-30], r"a\.mhd: its voxels lie in a\.zraw: truncated or damaged \(its end is missing\)"),
        (zlib.compress(RAW[:-2]), r"a\.zraw: truncated, 1022 of 1024 bytes"),
        (b"", r"a\.zraw: truncated or damaged"),
    ],
)
def test_packed_voxels_in_a_file_of_their_own_are_unpacked_before_they_are_read(tmp_path, capfd, packed, reason):
    """Without the size of what is packed, ITK fills what is missing with what was in memory."""
    (tmp_path / "a.mhd").write_text(META.format("CompressedData = True\n", "a.zraw"))
    (tmp_path / "a.zraw").write_bytes(packed)
    with pytest.raises(ScanError, match=reason):
        read_all(str(tmp_path / "a.mhd"))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "header", "reason"),
    [
        ("a.mha", META.format("BinaryData = False\n", "LOCAL"), r"as text \(BinaryData = False\)"),
        ("a.nrrd", NRRD.format("ascii", ""), r"as text \(encoding ascii\)"),
        ("a.nrrd", NRRD.format("bzip2", ""), "has the encoding bzip2, which is not read; save it raw, or with gzip"),
        ("a.mhd", META.format("", r"scan\a.raw"), r"copy a\.raw beside it, and let it name that"),
        ("a.mhd", META.format("", "gone.raw"), r"lie in gone\.raw, which is not there; copy that file beside it"),
        ("a.mha", META.format("", "LOCAL").replace("MET_USHORT", "MET_OTHER"), "damaged, or no MetaImage"),
    ],
)
def test_the_reason_of_a_refusal_is_the_one_that_holds(tmp_path, name, header, reason):
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "a.raw").write_bytes(RAW)
    (tmp_path / name).write_bytes(header.encode() + TEXT)
    with pytest.raises(ScanError, match=reason):
        read_all(str(tmp_path / name))
