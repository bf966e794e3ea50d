"""DICOM under any name: folders of images in the order of their positions, and files of several frames."""

import locale
import shutil

import numpy as np
import pytest
from data_makers import bone_like, write_folder
from dicom_files import write_dicom
from read_scans import read_all, refusal

from bonehpo.scans.photometry import INVERTED, LOSSY
from bonehpo.scans.readers import open_volume

SIDE = 8
VOXELS = bone_like(SIDE) + np.uint16(1)
SPACING, PLACE, AXES, FRAME_UM = (0x0018, 0x0088), (0x0020, 0x0032), (0x0020, 0x0037), 0.0065
PHOTOMETRIC, OFFSET, RATIO, IS_LOSSY = (0x0028, 0x0004), (0x0028, 0x1052), (0x0028, 0x1053), (0x0028, 0x2110)
SERIES, NUMBER = (0x0020, 0x000E), (0x0020, 0x0013)


@pytest.fixture
def sitk():
    return pytest.importorskip("SimpleITK")


pytestmark = pytest.mark.usefixtures("sitk")


def write_images(folder, name="IM{:06d}", voxels=VOXELS, **more):
    folder.mkdir(exist_ok=True)
    for z, section in enumerate(voxels):
        elements = {PLACE: f"0\\0\\{FRAME_UM * z}", AXES: "1\\0\\0\\0\\1\\0"} | more.get("elements", {})
        write_dicom(folder / name.format(z + 1), section, elements, number=z + 1)
    return folder


@pytest.mark.parametrize("name", ["IM{:06d}", "1.2.840.113619.2.{}", "i{}.dcm", "I{}.IMA", "scan.{}", "a{}.dicom"])
def test_a_folder_of_dicom_is_known_whatever_its_files_are_called(tmp_path, name):
    folder = write_images(tmp_path / "scan", name)
    (folder / "readme.txt").write_text("made by a scanner")
    (folder / "DICOMDIR").write_bytes(b"an index")
    volume = open_volume(str(folder))
    assert (volume.shape, volume.voxel_um, volume.remarks) == ((SIDE,) * 3, pytest.approx(6.5), ())
    np.testing.assert_array_equal(read_all(folder), VOXELS)


@pytest.mark.parametrize("name", ["a.dcm", "IM000001", "1.2.840.3", "A.IMA"])
@pytest.mark.parametrize("alone", [False, True], ids=["file", "alone in its folder"])
def test_a_file_of_several_frames_is_a_volume(tmp_path, name, alone):
    file = write_dicom(tmp_path / name, VOXELS)
    before = locale.setlocale(locale.LC_ALL)
    np.testing.assert_array_equal(read_all(tmp_path if alone else file), VOXELS)
    assert locale.setlocale(locale.LC_ALL) == before
    file.write_bytes(file.read_bytes()[:-1])
    assert "claims 1024 bytes, 1023 are left" in refusal(file)


def test_frames_that_tell_their_distance_give_the_size_of_a_voxel(tmp_path, sitk):
    image = sitk.GetImageFromArray(VOXELS)
    image.SetSpacing((FRAME_UM,) * 3)
    own = locale.setlocale(locale.LC_ALL)
    sitk.WriteImage(image, tmp_path / "a.dcm")
    locale.setlocale(locale.LC_ALL, own)
    assert open_volume(str(tmp_path / "a.dcm")).voxel_um == pytest.approx(6.5)


@pytest.mark.parametrize("write", [write_images, lambda place, **more: write_dicom(place, VOXELS, more["elements"])])
def test_intensities_are_those_that_were_meant(tmp_path, write):
    """Scanco's scanners write density as 16 bits with a ratio and an offset."""
    density = write(tmp_path / "density", elements={OFFSET: "-392.5", RATIO: "0.1875"})
    np.testing.assert_array_equal(read_all(density), (VOXELS * 0.1875 - 392.5).astype("f4"))
    white = write(tmp_path / "white", elements={PHOTOMETRIC: "MONOCHROME1", IS_LOSSY: "01"})
    np.testing.assert_array_equal(read_all(white), 65535 - VOXELS)
    assert open_volume(str(white)).remarks == (INVERTED, LOSSY)


def two_volumes(folder):
    write_dicom(folder / "a", VOXELS, number=1)
    write_dicom(folder / "b", VOXELS, number=2)


def one_image(folder):
    write_dicom(folder / "a", VOXELS[0])


def survey(folder):
    """An image across the others, of their series."""
    write_images(folder)
    across = {PLACE: "0\\0\\0.1", AXES: "1\\0\\0\\0\\0\\1"}
    write_dicom(folder / "IM999999", VOXELS[:, 0], across, number=99)


def two_series(folder):
    write_images(folder)
    write_images(folder, "B{}", elements={SERIES: "1.2.3.6"})


def cut_image(folder):
    file = write_images(folder) / "IM000003"
    file.write_bytes(file.read_bytes()[:-1])


def gap(folder):
    (write_images(folder) / "IM000003").unlink()


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (two_volumes, "holds 2 DICOM files of several frames; give one of them: "),
        (one_image, "not a volume|is one DICOM image"),
        (survey, "IM999999 lies in another plane than IM000001"),
        (two_series, "holds 2 series of DICOM images"),
        (cut_image, "IM000003: damaged, element (7fe0,0010) claims 128 bytes, 127 are left"),
        (gap, "1 images are missing between IM000002 and IM000004"),
    ],
)
def test_a_folder_of_dicom_that_is_no_volume_says_why(tmp_path, write, reason):
    write(tmp_path)
    assert any(part in refusal(tmp_path) for part in reason.split("|"))


def test_one_image_names_its_folder_as_what_to_give(tmp_path):
    folder = write_images(tmp_path / "scan")
    assert "IM000003: is one DICOM image; give the folder of all of them" in refusal(folder / "IM000003")


def test_a_dicom_among_sections_is_left_out_and_sections_among_dicom_too(tmp_path):
    few = write_folder(tmp_path / "tiff", VOXELS)
    write_dicom(few / "preview", VOXELS[0])
    np.testing.assert_array_equal(read_all(few), VOXELS)
    many = write_images(tmp_path / "dicom")
    shutil.copy(few / "section_0.tif", many / "preview.tif")
    np.testing.assert_array_equal(read_all(many), VOXELS)


def test_dicom_some_folders_down_is_hinted_at(tmp_path):
    (tmp_path / "PA000001" / "ST000001").mkdir(parents=True)
    write_images(tmp_path / "PA000001" / "ST000001" / "SE000001")
    assert "but its folder PA000001/ST000001/SE000001 holds 8 images" in refusal(tmp_path)


def test_images_without_positions_are_ordered_by_their_numbers_and_not_by_their_names(tmp_path):
    for z, section in enumerate(VOXELS):
        write_dicom(tmp_path / f"IM{100 - z}", section, {NUMBER: str(z + 1)}, number=z + 1)
    volume = open_volume(str(tmp_path))
    assert volume.remarks == ("The images tell no position: their numbers (Instance Number) order them.",)
    assert volume.voxel_um is None
    np.testing.assert_array_equal(read_all(tmp_path), VOXELS)
    (tmp_path / "IM97").unlink()
    assert "1 images are missing between IM98 and IM96" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["IM{}", "1.2.840.{}", "i{}.dcm"])
def test_images_without_positions_and_numbers_are_ordered_by_their_names(tmp_path, name):
    for z, section in enumerate(VOXELS):
        write_dicom(tmp_path / name.format(z + 5), section, number=z + 1)
    np.testing.assert_array_equal(read_all(tmp_path), VOXELS)
    assert open_volume(str(tmp_path)).remarks == ("The images tell no position: their names order them.",)


def test_an_index_of_dicom_is_no_image(tmp_path, capfd):
    index = bytes(128) + b"DICM" + b"\2\0\x10\0UI\x14\0" + b"1.2.840.10008.1.2.1\0"
    folder = write_images(tmp_path / "DICOM")
    for place in (tmp_path, folder):
        (place / "DICOMDIR").write_bytes(index)
    np.testing.assert_array_equal(read_all(folder), VOXELS)
    assert "but its folder DICOM holds 8 images" in refusal(tmp_path)
    (folder / "DICOMDIR").rename(folder / "other.dcm")
    for file in folder.glob("IM*"):
        file.unlink()
    assert "holds 0 series of DICOM images" in refusal(folder)
    assert capfd.readouterr().err == ""
