"""Folders as reconstruction programs leave them: side files, logs, previews, folders one level down."""

import shutil

import numpy as np
import pytest
import tifffile
from data_makers import bone_like, write_folder, write_table
from PIL import Image

from bonehpo.errors import ScanError
from bonehpo.preparation.planning import plan_preparation
from bonehpo.scans.readers import open_volume
from bonehpo.scans.sections import centred_box
from bonehpo.scans.table import read_scans
from bonehpo.store.recipe import Steps

BONE = bone_like(12, dtype="uint8")
LOG = """[Acquisition]
Camera Pixel Size (um)=   7.40
Image Pixel Size (um)=    8.12
[Reconstruction]
Pixel Size (um)=6.50000
"""


def write_skyscan(folder, log=LOG):
    folder.mkdir(parents=True)
    for z, section in enumerate(BONE):
        Image.fromarray(section).save(folder / f"TB5_rec{z:08d}.bmp")
    Image.fromarray(BONE[0, :9]).save(folder / "TB5_rec_spr.bmp")
    Image.fromarray(BONE[0, :9]).save(folder / "TB5_rec_spr.tif")
    (folder / "TB5_rec.log").write_text(log, encoding="latin-1")
    for junk in (".DS_Store", "Thumbs.db", "._TB5_rec00000001.bmp", "TB5_rec_voi_.roi"):
        (folder / junk).write_bytes(b"x")
    return folder


def test_a_folder_of_skyscan_is_read_with_the_voxel_size_of_its_log(tmp_path):
    volume = open_volume(str(write_skyscan(tmp_path / "scan")))
    np.testing.assert_array_equal(volume.read(centred_box(volume.shape, None)), BONE)
    assert volume.voxel_um == 6.5
    assert sorted(volume.remarks) == [
        "Left out as no sections: TB5_rec_spr.bmp.",
        "Left out, of another format than the 13 BMP: TB5_rec_spr.tif.",
    ]


@pytest.mark.parametrize(
    ("log", "voxel_um"),
    [("Image Pixel Size (um)=8.12\n", 8.12), ("Pixel Size (mm)=0.0065\n", 6.5), ("no size here\n", None)],
)
def test_the_size_of_a_log_is_that_of_the_reconstruction_or_else_of_the_image(tmp_path, log, voxel_um):
    found = open_volume(str(write_skyscan(tmp_path / "scan", log))).voxel_um
    assert found == (None if voxel_um is None else pytest.approx(voxel_um))


def table_of(tmp_path, voxels, column=None):
    rows = []
    for n, size in enumerate(voxels):
        folder = write_skyscan(tmp_path / f"{n}", f"Pixel Size (um)={size}\n")
        Image.fromarray(BONE[n]).save(folder / "TB5_rec00000000.bmp")  # no two scans alike
        row = {"specimen": "AB"[n // 2], "state": 1 + n % 2, "path": str(n)}
        rows.append(row if column is None else row | {"voxel_um": column})
    return plan_preparation(read_scans(write_table(tmp_path, rows)), Steps(n_slices=4, registration=False))


def test_the_voxel_size_of_the_files_is_taken_where_the_table_gives_none(tmp_path):
    plan = table_of(tmp_path, [6.5] * 4)
    assert plan.recipe.voxel_um == 6.5
    assert not [note for note in plan.notes if "voxel" in note]


def test_files_that_tell_different_voxels_are_told_and_none_is_taken(tmp_path):
    plan = table_of(tmp_path, [6.5, 6.5, 13, 6.5])
    assert plan.recipe.voxel_um is None
    assert "Files tell different voxels: 6.5 µm in A state 1, 13 µm in B state 1." in " ".join(plan.notes)


def test_a_table_that_disagrees_with_its_files_is_believed_and_it_is_said(tmp_path):
    plan = table_of(tmp_path, [6.5] * 4, column=13)
    assert plan.recipe.voxel_um == 13
    assert "The table gives voxel_um 13, the file of A state 1 6.5: the table is believed." in plan.notes


def test_sections_one_level_down_are_hinted_at(tmp_path):
    write_folder(tmp_path / "scan" / "recon", BONE)
    (tmp_path / "scan" / "scan.log").touch()
    with pytest.raises(ScanError, match="but its folder recon holds 12 images"):
        open_volume(str(tmp_path / "scan"))


def test_images_of_two_formats_are_no_volume(tmp_path):
    folder = write_folder(tmp_path / "scan", BONE)
    for z, section in enumerate(BONE):
        Image.fromarray(section).save(folder / f"mask_{z}.png")
    with pytest.raises(ScanError, match=r"images of several formats \(12 PNG, 12 TIFF\)"):
        open_volume(str(folder))


def test_one_image_in_place_of_a_folder_is_said(tmp_path):
    Image.fromarray(BONE[0]).save(tmp_path / "a.png")
    with pytest.raises(ScanError, match="is one PNG, not a volume; give the folder"):
        open_volume(str(tmp_path / "a.png"))


@pytest.mark.parametrize("suffix", [".isq", ".AIM", ".raw", ".vgi", ".txm", ".mat", ".am", ".RSQ"])
def test_formats_that_are_known_and_not_read_say_what_to_do(tmp_path, suffix):
    file = tmp_path / f"scan{suffix}"
    file.write_bytes(BONE.tobytes())
    with pytest.raises(ScanError, match=r"ISQ|as DICOM|TIFF sections|MetaImage header"):
        open_volume(str(file))


def test_a_page_with_its_thumbnail_is_a_page(tmp_path):
    for z, section in enumerate(BONE):
        with tifffile.TiffWriter(tmp_path / f"s{z}.tif") as file:
            file.write(section, photometric="minisblack")
            file.write(section[::4, ::4], subfiletype=1, photometric="minisblack")
    volume = open_volume(str(tmp_path))
    np.testing.assert_array_equal(volume.read(centred_box(volume.shape, None)), BONE)


def test_two_full_pages_are_no_page(tmp_path):
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    for z, section in enumerate(BONE):
        tifffile.imwrite(tmp_path / f"s{z}.tif", np.stack([section, section]), photometric="minisblack")
    with pytest.raises(ScanError, match="holds 2 pages"):
        open_volume(str(tmp_path))


def test_one_of_several_series_of_pages_is_chosen_by_number(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(BONE, photometric="minisblack")
        file.write(BONE[0, ::2, ::2], photometric="minisblack")
    with pytest.raises(ScanError, match=r"holds 2 series .*a\.tif::0 \(Q 12 × Y 12 × X 12\)"):
        open_volume(str(tmp_path / "a.tif"))
    volume = open_volume(f"{tmp_path / 'a.tif'}::0")
    np.testing.assert_array_equal(volume.read(centred_box(volume.shape, None)), BONE)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg"])
def test_a_section_that_was_cut_is_refused_by_its_own_name(tmp_path, suffix):
    for z, section in enumerate((BONE >> 8).astype("u1")):
        Image.fromarray(section).save(tmp_path / f"s{z}{suffix}")
    cut = tmp_path / f"s7{suffix}"
    cut.write_bytes(cut.read_bytes()[:-40])
    volume = open_volume(str(tmp_path))
    with pytest.raises(ScanError, match=rf"s7\{suffix}: cut short, damaged or no [A-Z]+; copy it again"):
        volume.read(centred_box(volume.shape, None))


def test_a_jpeg_of_inks_is_not_read_as_grey(tmp_path):
    for z, section in enumerate((BONE >> 8).astype("u1")):
        Image.fromarray(section).convert("CMYK").save(tmp_path / f"s{z}.jpg")
    with pytest.raises(ScanError, match=r"s0\.jpg: is in CMYK, which is no grey"):
        open_volume(str(tmp_path))
