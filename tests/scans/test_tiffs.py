"""TIFF as microscopes and ImageJ write it: in several files, in several sizes, in one run; the reason of a refusal holds."""

import logging
import warnings

import numpy as np
import pytest
import tifffile
from data_makers import bone_like
from read_scans import read_all, refusal

SIDE = 16
VOXELS = bone_like(SIDE) + np.uint16(1)
NAMES = [f"scan &amp; co {z}.ome.tif" for z in range(SIDE)]


@pytest.fixture
def ome(tmp_path):
    """An OME-TIFF of a file for each section; each names all."""
    uids = [f"urn:uuid:00000000-0000-0000-0000-{z:012d}" for z in range(SIDE)]
    planes = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{NAMES[z]}">{uids[z]}</UUID></TiffData>'
        for z in range(SIDE)
    )
    for z, section in enumerate(VOXELS):
        pixels = f'SizeX="{SIDE}" SizeY="{SIDE}" SizeZ="{SIDE}" SizeC="1" SizeT="1"'
        head = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uids[z]}">'
            f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" {pixels}>{planes}</Pixels>'
            "</Image></OME>"
        )
        file = tmp_path / NAMES[z].replace("&amp;", "&")
        tifffile.imwrite(file, section, description=head, photometric="minisblack", metadata=None)
    return tmp_path


def test_an_ome_tiff_in_several_files_is_read_by_any_of_them_without_a_word_of_its_library(ome, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_all(ome / "scan & co 3.ome.tif"), VOXELS)
    assert caplog.record_tuples == []


def test_an_ome_tiff_of_which_a_file_is_missing_or_cut_is_refused_by_its_name(ome, caplog):
    caplog.set_level(logging.WARNING)
    first, other = ome / "scan & co 0.ome.tif", ome / "scan & co 5.ome.tif"
    other.write_bytes(other.read_bytes()[:-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "lie in scan & co 5.ome.tif, too, which is truncated; copy that file again" in refusal(first)
        other.write_bytes(b"no TIFF")
        assert "lie in other files, too, of which one cannot be read" in refusal(first)
        other.unlink()
        assert "lie in scan & co 5.ome.tif, too, which is not there; copy all files of the scan beside" in refusal(
            first
        )
    assert caplog.record_tuples == []


def test_one_run_of_imagej_that_was_cut_says_so(tmp_path):
    """Of more than 4 GB ImageJ writes the first page alone, and the sections behind it."""
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, VOXELS, imagej=True, metadata={"axes": "ZYX"}, byteorder=">")
    with tifffile.TiffFile(file) as tif:
        page = tif.pages[0]
        start, end = page.dataoffsets[0], page.offset + 2 + 12 * len(page.tags)
    whole = bytearray(file.read_bytes())
    whole[end : end + 4] = bytes(4)
    whole = whole[: start + VOXELS.nbytes]
    file.write_bytes(whole)
    np.testing.assert_array_equal(read_all(file), VOXELS)
    file.write_bytes(whole[:-1])
    assert f"truncated, {len(whole) - 1} of {len(whole)} bytes are there" in refusal(file)


def sizes(section):
    return [section[..., ::step, ::step] for step in (1, 2, 4)]


def as_volumes(folder):
    with tifffile.TiffWriter(folder / "a.tif") as tif:
        for volume in sizes(VOXELS):
            tif.write(volume, photometric="minisblack", metadata=None)
    return folder / "a.tif"


def by_section(folder):
    with tifffile.TiffWriter(folder / "a.tif") as tif:
        for section in VOXELS:
            for image in sizes(section):
                tif.write(image, photometric="minisblack", metadata=None)
    return folder / "a.tif"


def in_a_folder(folder):
    for z, section in enumerate(VOXELS):
        with tifffile.TiffWriter(folder / f"s{z}.tif") as tif:
            for image in sizes(section):
                tif.write(image, photometric="minisblack", metadata=None)
    return folder


@pytest.mark.parametrize("write", [as_volumes, by_section, in_a_folder])
def test_of_several_sizes_in_pages_that_do_not_say_so_the_full_one_is_read(tmp_path, write):
    np.testing.assert_array_equal(read_all(write(tmp_path)), VOXELS)


@pytest.mark.parametrize("content", [b"II", b"II*\0", b"no TIFF at all", bytes(100)])
def test_what_is_no_tiff_is_refused_without_the_words_of_its_library(tmp_path, content):
    (tmp_path / "a.tif").write_bytes(content)
    assert refusal(tmp_path / "a.tif") == f"{tmp_path / 'a.tif'}: not a readable TIFF; copy it again"


@pytest.mark.parametrize("settings", [{"tile": (16, 16)}, {"rowsperstrip": 4}], ids=["tiles", "strips"])
def test_parts_of_a_page_that_were_never_written_are_refused_and_no_zeros(tmp_path, settings):
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, VOXELS, compression="zlib", photometric="minisblack", metadata=None, **settings)
    np.testing.assert_array_equal(read_all(file), VOXELS)
    with tifffile.TiffFile(file) as tif:
        tag = tif.pages[5].tags["TileByteCounts" if "tile" in settings else "StripByteCounts"]
        place, size = tag.valueoffset, {3: 2, 4: 4}[int(tag.dtype)]
    whole = bytearray(file.read_bytes())
    whole[place : place + size] = bytes(size)
    file.write_bytes(whole)
    assert "parts of page 6 were never written" in refusal(file)


@pytest.mark.parametrize(
    ("n", "settings", "reason"),
    [
        (4, {"photometric": "separated"}, "is in CMYK, which is no grey"),
        (3, {"photometric": "cielab"}, "is in CIELAB, which is no grey"),
        (2, {"photometric": "minisblack", "planarconfig": "contig"}, "holds 2 channels"),
    ],
)
def test_inks_and_channels_are_not_read_as_grey(tmp_path, n, settings, reason):
    """Equal inks would pass for equal colours, and are high where it is dark."""
    bytes_of = (VOXELS >> 8).astype("u1")
    tifffile.imwrite(tmp_path / "a.tif", np.stack([bytes_of] * n, -1), metadata=None, **settings)
    assert reason in refusal(tmp_path / "a.tif")


def test_a_folder_with_the_volume_in_one_file_says_to_give_the_file(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", VOXELS, photometric="minisblack")
    assert "holds 16 pages" in refusal(tmp_path)
    assert "give the file and not its folder" in refusal(tmp_path)
