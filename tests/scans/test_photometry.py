"""What files mean by their numbers: white as 0, palettes, equal colours, calibrations; the grey that was saved is read."""

import numpy as np
import pytest
import tifffile
from data_makers import bone_like, write_table
from PIL import Image

from bonehpo.errors import ScanError
from bonehpo.preparation.planning import plan_preparation
from bonehpo.scans.photometry import EQUAL_COLOURS, INVERTED, LOSSY, NO_TRANSPARENCY, PALETTE
from bonehpo.scans.readers import open_volume, read_image
from bonehpo.scans.sections import centred_box
from bonehpo.scans.table import read_scans
from bonehpo.store.recipe import Steps

SIDE = 12
GREY8, GREY16 = (bone_like(SIDE, 0, dtype) for dtype in ("uint8", "uint16"))
LINEAR = np.repeat((np.arange(256) * 257).astype("u2")[None], 3, 0)
"""A palette that is none."""
HALVED = np.repeat(np.repeat(np.arange(128) * 257, 2).astype("u2")[None], 3, 0)
COLOURED = np.stack([LINEAR[0], LINEAR[0], LINEAR[0][::-1]])


def repeated(volume, n):
    return np.repeat(volume[..., None], n, -1)


def with_alpha(volume, n):
    return np.concatenate([repeated(volume, n), np.full((*volume.shape, 1), 255, volume.dtype)], -1)


KINDS = {
    "white is 0": (65535 - GREY16, {"photometric": "miniswhite"}, GREY16, INVERTED),
    "white is 0, 8 bits": (255 - GREY8, {"photometric": "miniswhite"}, GREY8, INVERTED),
    "white is 0, packed": (
        255 - GREY8, {"photometric": "miniswhite", "compression": "zlib"}, GREY8, INVERTED,
    ),
    "white is 0, signed": (-1 - GREY16.astype("i2"), {"photometric": "miniswhite"}, GREY16.astype("i2"), INVERTED),
    "equal colours": (repeated(GREY8, 3), {"photometric": "rgb"}, GREY8, EQUAL_COLOURS),
    "equal colours of 16 bits": (repeated(GREY16, 3), {"photometric": "rgb"}, GREY16, EQUAL_COLOURS),
    "equal colours, packed": (repeated(GREY8, 3), {"photometric": "rgb", "compression": "zlib"}, GREY8, EQUAL_COLOURS),
    "equal colours and transparency": (
        with_alpha(GREY8, 3), {"photometric": "rgb", "extrasamples": [2]}, GREY8, EQUAL_COLOURS,
    ),
    "grey and transparency": (
        with_alpha(GREY8, 1), {"photometric": "minisblack", "extrasamples": [2], "planarconfig": "contig"}, GREY8,
        NO_TRANSPARENCY,
    ),
    "plain palette": (GREY8, {"photometric": "palette", "colormap": LINEAR}, GREY8, None),
    "palette": (GREY8, {"photometric": "palette", "colormap": HALVED}, GREY8 // 2, PALETTE),
}  # fmt: skip


def write_pages(tmp_path, data, settings, form):
    if form == "multipage":
        tifffile.imwrite(tmp_path / "a.tif", data, **settings)
        return str(tmp_path / "a.tif")
    (tmp_path / "stack").mkdir()
    for z, section in enumerate(data):
        tifffile.imwrite(tmp_path / "stack" / f"s{z}.tif", section, **settings)
    return str(tmp_path / "stack")


def everything(volume):
    return volume.read(centred_box(volume.shape, None))


@pytest.mark.parametrize("form", ["multipage", "folder"])
@pytest.mark.parametrize(("data", "settings", "meant", "remark"), KINDS.values(), ids=KINDS)
def test_the_grey_that_was_meant_is_read_and_it_is_said(tmp_path, data, settings, meant, remark, form):
    volume = open_volume(write_pages(tmp_path, data, settings, form))
    assert volume.shape == meant.shape
    assert volume.dtype == meant.dtype
    np.testing.assert_array_equal(everything(volume), meant)
    box = (slice(3, 7), slice(2, 9), slice(5, 6))
    np.testing.assert_array_equal(volume.read(box), meant[box])
    assert (remark in volume.remarks) == (remark is not None)


@pytest.mark.parametrize("form", ["multipage", "folder"])
@pytest.mark.parametrize("z", [0, 5])
def test_a_coloured_section_is_refused_wherever_it_lies(tmp_path, form, z):
    data = repeated(GREY8, 3)
    data[z, 4, 4, 2] += 1
    source = write_pages(tmp_path, data, {"photometric": "rgb"}, form)
    with pytest.raises(ScanError, match="in colours, which are no intensities"):
        everything(open_volume(source))


def test_a_palette_of_colours_is_refused(tmp_path):
    source = write_pages(tmp_path, GREY8, {"photometric": "palette", "colormap": COLOURED}, "folder")
    with pytest.raises(ScanError, match="in colours"):
        open_volume(source)


@pytest.mark.parametrize("form", ["multipage", "folder"])
@pytest.mark.parametrize(
    ("offset", "factor", "meant"),
    [
        (-32768, 1, (GREY16.astype(int) - 32768).astype("i2")),
        (-1000, 0.5, (GREY16 * 0.5 - 1000).astype("f4")),
        (65535, -1, (65535.0 - GREY16).astype("f4")),
        (0, 1, GREY16),
    ],
)
def test_what_imagej_calibrated_is_read_as_it_was_calibrated(tmp_path, offset, factor, meant, form):
    volume = open_volume(write_pages(tmp_path, GREY16, by_imagej(form, 0, offset, factor), form))
    assert volume.dtype == meant.dtype
    np.testing.assert_array_equal(everything(volume), meant)


@pytest.mark.parametrize("form", ["multipage", "folder"])
def test_a_calibration_by_a_curve_is_refused(tmp_path, form):
    source = write_pages(tmp_path, GREY16, by_imagej(form, 4, 1, 2), form)
    with pytest.raises(ScanError, match="calibrated in ImageJ by a curve"):
        open_volume(source)


def by_imagej(form, kind, offset, factor):
    axes = "ZYX" if form == "multipage" else "YX"
    return {"imagej": True, "metadata": {"axes": axes, "cf": kind, "c0": offset, "c1": factor}}


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
@pytest.mark.parametrize("suffix", ["png", "bmp", "jpg"])
def test_images_of_other_formats_are_read_in_grey(tmp_path, suffix, mode):
    if (suffix, mode) in {("bmp", "LA"), ("jpg", "LA"), ("jpg", "RGBA"), ("jpg", "P")}:
        pytest.skip("the format has no such pixels")
    (tmp_path / "stack").mkdir()
    for z, section in enumerate(GREY8):
        Image.fromarray(section).convert(mode).save(tmp_path / "stack" / f"rec{z}.{suffix}", quality=98)
    volume = open_volume(str(tmp_path / "stack"))
    tolerance = 12 if suffix == "jpg" else 0
    np.testing.assert_allclose(everything(volume).astype(int), GREY8.astype(int), atol=tolerance)
    assert (LOSSY in volume.remarks) == (suffix == "jpg")
    np.testing.assert_allclose(
        read_image(str(tmp_path / "stack" / f"rec3.{suffix}")).astype(int), GREY8[3], atol=tolerance
    )


def test_png_of_16_bits_is_read_in_16_bits(tmp_path):
    for z, section in enumerate(GREY16):
        Image.fromarray(section).save(tmp_path / f"rec{z}.png")
    np.testing.assert_array_equal(everything(open_volume(str(tmp_path))), GREY16)


def test_what_is_said_of_files_is_said_once_for_all_scans(tmp_path):
    for n in range(4):
        tifffile.imwrite(tmp_path / f"{n}.tif", 65535 - bone_like(SIDE, n), photometric="miniswhite")
    rows = [{"specimen": "AB"[n // 2], "state": 1 + n % 2, "path": f"{n}.tif"} for n in range(4)]
    notes = plan_preparation(read_scans(write_table(tmp_path, rows)), Steps(n_slices=4)).notes
    assert [note for note in notes if INVERTED in note] == [f"A state 1 and 3 more: {INVERTED}"]
