"""One behaviour for every format of volumes: opened by the header, read by the box, refused where anything is missing."""

import gzip
import json
import locale
import shutil
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from data_makers import bone_like, write_folder, write_table
from dicom_files import write_dicom
from places import DOCS

from bonehpo.errors import ScanError
from bonehpo.preparation.planning import plan_preparation
from bonehpo.preparation.scan import read_centre
from bonehpo.scans import dicom, formats, medical
from bonehpo.scans.formats import FORMATS, format_of, formats_table
from bonehpo.scans.readers import INTENSITY_TYPES, open_volume
from bonehpo.scans.sections import centred_box
from bonehpo.scans.table import read_scans
from bonehpo.store.recipe import Steps

BOX = (slice(3, 15), slice(2, 14), slice(5, 11))
SIDE = 16


class Written(NamedTuple):
    """A volume on disk: what opens it, and the file that holds (some of) its voxels."""

    source: str
    voxels: Path


def write_tiff_folder(folder, volume):
    shutil.rmtree(folder / "stack", ignore_errors=True)
    write_folder(folder / "stack", volume)
    return Written(str(folder / "stack"), folder / "stack" / "section_9.tif")


def write_zarr(folder, volume, shards=None):
    zarr.create_array(folder / "a.zarr", data=volume, chunks=(8, 8, 8), shards=shards, overwrite=True)
    place = ("c", "0", "0", "0") if shards else ("c", "1", "0", "1")
    return Written(str(folder / "a.zarr"), folder.joinpath("a.zarr", *place))


def write_zarr_of_one_shard(folder, volume):
    return write_zarr(folder, volume, volume.shape)


def write_tiff(folder, volume):
    tifffile.imwrite(folder / "a.tif", volume, photometric="minisblack", compression="zlib")
    return Written(str(folder / "a.tif"), folder / "a.tif")


def write_npy(folder, volume):
    np.save(folder / "a.npy", volume)
    return Written(str(folder / "a.npy"), folder / "a.npy")


def write_hdf5(folder, volume):
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("entry/bone", data=volume, chunks=(7, 7, 7), compression="gzip")
    return Written(f"{folder / 'a.h5'}::/entry/bone", folder / "a.h5")


def write_itk(name, voxels=None, **settings):
    def write(folder, volume):
        sitk = pytest.importorskip("SimpleITK")
        sitk.WriteImage(sitk.GetImageFromArray(volume), folder / name, **settings)
        return Written(str(folder / name), folder / (voxels or name))

    return write


def write_images(folder, volume):
    pytest.importorskip("SimpleITK")
    stack = folder / "dicom"
    shutil.rmtree(stack, ignore_errors=True)
    stack.mkdir()
    for z, section in enumerate(volume):
        place = {(0x0020, 0x0032): f"0\\0\\{0.0065 * z}", (0x0020, 0x0037): "1\\0\\0\\0\\1\\0"}
        write_dicom(stack / f"x{len(volume) - z}.dcm", section, place, number=z + 1)  # against the order of the names
    return Written(str(stack), stack / "x9.dcm")


def write_frames(folder, volume):
    pytest.importorskip("SimpleITK")
    file = write_dicom(folder / "IM000001", volume)
    return Written(str(file), file)


WRITERS = {
    "folder of sections": [write_tiff_folder],
    "folder of DICOM images": [write_images],
    "zarr array": [write_zarr, write_zarr_of_one_shard],
    "multipage TIFF": [write_tiff],
    "NumPy array": [write_npy],
    "HDF5, NeXus": [write_hdf5],
    "MetaImage": [
        write_itk("a.mha"),
        write_itk("a.mhd", "a.raw"),
        write_itk("b.mha", useCompression=True),
        write_itk("b.mhd", "b.zraw", useCompression=True),
    ],
    "NRRD": [
        write_itk("a.nrrd"),
        write_itk("a.nhdr", "a.raw"),
        write_itk("b.nrrd", useCompression=True),
        write_itk("b.nhdr", "b.raw.gz", useCompression=True),
    ],
    "NIfTI": [write_itk("a.nii"), write_itk("a.nii.gz")],
    "DICOM of several frames": [write_frames],
}
"""How the tests write a volume of each format; a further format needs a line here, and the suite runs on it."""
CASES = [pytest.param(name, write, id=f"{name} {i}") for name in WRITERS for i, write in enumerate(WRITERS[name])]
every_format = pytest.mark.parametrize(("name", "write"), CASES)
everywhere = centred_box((SIDE,) * 3, None)


def refusal(function, *arguments):
    with pytest.raises(ScanError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def read_all(source):
    volume = open_volume(source)
    return volume.read(centred_box(volume.shape, None))


def truth(dtype="uint16", seed=0):
    """A cube of bone whose every intensity is above 0, so that what is missing is not taken for it."""
    return bone_like(SIDE, seed, dtype) + np.array(1, dtype)


def test_every_format_is_written_by_these_tests_and_stands_in_the_docs():
    assert {each.name for each in FORMATS} == set(WRITERS)
    assert formats_table() in (DOCS / "reference" / "store.md").read_text("utf-8")


def test_reading_dicom_leaves_the_locale_as_it_is(tmp_path):
    source, _ = write_images(tmp_path, truth())
    before = locale.setlocale(locale.LC_ALL)
    read_all(source)
    assert locale.setlocale(locale.LC_ALL) == before


def test_no_two_formats_claim_a_suffix():
    suffixes = [suffix for each in FORMATS for suffix in each.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert all(suffix == suffix.lower() for suffix in suffixes)


@every_format
@pytest.mark.parametrize("dtype", sorted(set(INTENSITY_TYPES) - {"int8"}))
def test_a_box_has_the_voxels_and_the_type_of_the_file(tmp_path, name, write, dtype):
    if "DICOM" in name and np.dtype(dtype).itemsize > 2:
        pytest.skip("DICOM holds 16 bits")
    voxels = truth(dtype)
    source, _ = write(tmp_path, voxels)
    volume = open_volume(source)
    assert (volume.shape, str(volume.dtype), volume.remarks) == (voxels.shape, dtype, ())
    block = volume.read(BOX)
    assert (block.dtype, block.dtype.isnative, block.flags.c_contiguous) == (voxels.dtype, True, True)
    np.testing.assert_array_equal(block, voxels[BOX])
    np.testing.assert_array_equal(volume.read(everywhere), voxels)


@every_format
def test_a_path_is_recognised_by_its_name_or_by_what_the_folder_holds(tmp_path, name, write):
    place = Path(write(tmp_path, truth())[0].partition("::")[0])
    assert format_of(place).name == name
    if place.suffix:
        loud = place.rename(place.with_name(place.name.upper()))
        assert format_of(loud).name == name


@every_format
def test_opening_reads_no_voxel(tmp_path, name, write):
    """What is written anew after a volume was opened is what is read."""
    source, _ = write(tmp_path, truth())
    volume = open_volume(source)
    write(tmp_path, truth(seed=1))
    np.testing.assert_array_equal(volume.read(BOX), truth(seed=1)[BOX])


@every_format
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.93, -1], ids=["empty", "half", "most", "all but a byte"])
def test_what_is_cut_short_is_refused_and_not_filled_with_zeros(tmp_path, name, write, kept, capfd):
    source, file = write(tmp_path, truth())
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept) if kept >= 0 else -1])
    assert str(tmp_path) in refusal(read_all, source)


@every_format
def test_what_is_not_there_is_refused_by_name(tmp_path, name, write):
    source, _ = write(tmp_path, truth())
    place = Path(source.partition("::")[0])
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert f"{place}: no such file or folder" in refusal(open_volume, source)


@every_format
def test_a_wrong_suffix_is_refused(tmp_path, name, write):
    source, _ = write(tmp_path, truth())
    place = Path(source.partition("::")[0])
    if not place.is_dir() and "DICOM" not in name:  # which is known by its content
        unknown = place.rename(place.with_suffix(".xyz"))
        message = refusal(open_volume, str(unknown))
        if "its content is that of" in message:
            assert place.suffix in message or place.suffix in (".tif", ".nhdr")
        else:
            assert "format not known" in message
            assert all(suffix in message for each in FORMATS for suffix in each.suffixes)
        place = unknown
    for other in FORMATS:
        if other.name != name and other.suffixes and other.is_folder == place.is_dir():
            place = place.rename(place.with_name(f"other{other.suffixes[0]}"))
            assert str(place) in refusal(read_all, str(place))


@every_format
def test_intensities_that_are_no_numbers_are_refused_before_anything_is_made_of_them(tmp_path, name, write):
    if "DICOM" in name:
        pytest.skip("DICOM holds whole numbers")
    for value in (np.nan, np.inf):
        voxels = truth("float32")
        voxels[8, 8, 8] = value
        source, _ = write(tmp_path, voxels)
        assert "NaN or infinite" in refusal(lambda source: read_centre(open_volume(source), None), source)


@every_format
def test_what_is_no_volume_is_refused_with_its_shape(tmp_path, name, write):
    if name in ("folder of sections", "folder of DICOM images", "multipage TIFF", "zarr array"):
        pytest.skip("pages are 2-D, or the writer's chunks 3-D")
    source, _ = write(tmp_path, truth()[3]) if name != "HDF5, NeXus" else write_flat_hdf5(tmp_path)
    said = "is one DICOM image" if "DICOM" in name else "not a volume"
    assert said in refusal(open_volume, source)


def write_flat_hdf5(folder):
    with h5py.File(folder / "flat.h5", "w") as file:
        file["flat"] = truth()[3]
    return Written(f"{folder / 'flat.h5'}::flat", folder / "flat.h5")


def test_a_folder_that_holds_no_volume_is_refused_with_what_can_be_read(tmp_path):
    (tmp_path / "notes.txt").touch()
    message = refusal(open_volume, str(tmp_path))
    assert "the folder holds no .tif, .tiff, .png" in message
    assert "but .txt" in message
    assert "*.zarr" in message


def test_chunks_that_a_zarr_volume_does_not_store_are_told(tmp_path):
    """As constant chunks are left out, a lost one cannot be told from them: the user is."""
    source, file = write_zarr(tmp_path, truth())
    assert open_volume(source).remarks == ()
    file.unlink()
    (told,) = open_volume(source).remarks
    assert "7 of 8 chunks are stored, the others are read as 0" in told
    write_npy(tmp_path, truth(seed=3))
    rows = [
        {"specimen": specimen, "state": state, "path": "a.zarr" if state == 2 else "a.npy"}
        for specimen in "AB"
        for state in (1, 2)
    ]
    plan = plan_preparation(read_scans(write_table(tmp_path, rows)), Steps(n_slices=4))
    assert sum("7 of 8 chunks" in note for note in plan.notes) == 1


def unwritten(file):
    file.create_dataset("bone", (SIDE,) * 3, "u2", chunks=(8, 8, 8))[:8] = truth()[:8]


def never_written(file):
    file.create_dataset("bone", (SIDE,) * 3, "u2")


def virtual(file):
    layout = h5py.VirtualLayout((SIDE,) * 3, "u2")
    layout[:] = h5py.VirtualSource("gone.h5", "bone", (SIDE,) * 3)
    file.create_virtual_dataset("bone", layout, fillvalue=0)


def external(file):
    file.create_dataset("bone", (SIDE,) * 3, "u2", external=[("gone.raw", 0, 2 * SIDE**3)])


@pytest.mark.parametrize(
    ("write", "complaint"),
    [
        (unwritten, "4 of 8 parts were written"),
        (never_written, "0 of 1 parts were written"),
        (virtual, "its voxels lie in gone.h5"),
        (external, "its voxels lie in gone.raw"),
    ],
)
def test_hdf5_whose_voxels_were_never_written_or_lie_elsewhere_is_refused(tmp_path, write, complaint):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write(file)
    assert complaint in refusal(open_volume, f"{tmp_path / 'a.h5'}::bone")


def test_a_virtual_volume_whose_parts_are_there_is_read(tmp_path):
    with h5py.File(tmp_path / "gone.h5", "w") as file:
        file["bone"] = truth()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        virtual(file)
    np.testing.assert_array_equal(read_all(f"{tmp_path / 'a.h5'}::bone"), truth())


@pytest.fixture
def sitk():
    return pytest.importorskip("SimpleITK")


def test_a_packed_nifti_is_checked_to_its_last_bit(tmp_path, sitk):
    voxels = bone_like(80) + np.uint16(1)
    source, file = write_itk("a.nii.gz")(tmp_path, voxels)
    whole = file.read_bytes()
    for place in (len(whole) // 2, len(whole) - 6):  # in the middle, and in the checksum
        spoilt = bytearray(whole)
        spoilt[place] ^= 0x10
        file.write_bytes(spoilt)
        assert "truncated or damaged" in refusal(read_all, source)
    file.write_bytes(gzip.compress(gzip.decompress(whole)[:-1]))
    assert "bytes are there; copy it again" in refusal(read_all, source)
    halves = gzip.decompress(whole)[:30000], gzip.decompress(whole)[30000:]
    file.write_bytes(b"".join(gzip.compress(half) for half in halves))
    np.testing.assert_array_equal(read_all(source), voxels)  # of several members, as bgzip writes


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_floats_of_a_nifti_are_looked_at_in_the_byte_order_of_the_file(tmp_path, sitk, name, monkeypatch):
    """ITK reads NaN as 0."""
    voxels = truth("float32")
    source, file = write_itk(name)(tmp_path, voxels)
    raw = gzip.decompress(file.read_bytes()) if name.endswith("gz") else file.read_bytes()

    def save(content):
        file.write_bytes(gzip.compress(content) if name.endswith("gz") else content)

    swapped = swap_nifti(raw)
    save(swapped)
    np.testing.assert_array_equal(read_all(source), voxels)
    monkeypatch.setattr(medical, "_BLOCK", 1000)  # several blocks, of which the last lie behind the voxels
    save(swapped + b"\xff" * 4096)
    np.testing.assert_array_equal(read_all(source), voxels)
    for order, content in (("<f4", raw), (">f4", swapped)):
        save(content[:352] + np.array([np.nan], order).tobytes() + content[356:])
        assert "NaN or infinite" in refusal(read_all, source)


def swap_nifti(raw):
    """A NIfTI-1 of floats in the other byte order."""
    header, voxels = bytearray(raw[:352]), np.frombuffer(raw[352:], "<f4").astype(">f4").tobytes()
    shorts = [*range(40, 56, 2), 68, 70, 72, 74, 120, 252, 254]  # dim, intent, datatype, bitpix, slice_start, …
    longs = [0, 32, *range(56, 68, 4), *range(76, 120, 4), *range(124, 148, 4), *range(256, 328, 4)]
    for size, places in ((2, shorts), (4, longs)):
        for place in places:
            header[place : place + size] = header[place : place + size][::-1]
    return bytes(header) + voxels


def test_a_packed_nifti_beside_an_unpacked_one_is_refused_as_the_library_would_take_that(tmp_path, sitk):
    source, _ = write_itk("a.nii.gz")(tmp_path, truth())
    other, _ = write_itk("a.nii")(tmp_path, truth(seed=1))
    assert "move one of the two" in refusal(open_volume, source)
    np.testing.assert_array_equal(read_all(other), truth(seed=1))


def test_without_its_library_a_format_names_the_extra_that_brings_it(tmp_path, monkeypatch):
    (tmp_path / "a.nii").write_bytes(b"voxels")
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    assert "NIfTI needs SimpleITK; pip install 'bonehpo[formats]'" in refusal(open_volume, str(tmp_path / "a.nii"))


def test_the_format_of_the_how_to_holds_what_it_should(tmp_path, monkeypatch):
    page = (DOCS / "how-to" / "add-a-scan-format.md").read_text("utf-8")
    names = {}
    exec(page.partition("```python\n")[2].partition("```")[0], names)
    monkeypatch.setattr(formats, "FORMATS", (*FORMATS, names["RAW"]))
    (tmp_path / "a.json").write_text(json.dumps({"shape": [SIDE] * 3, "dtype": "uint16"}))
    source = tmp_path / "a.raw"
    source.write_bytes(truth().tobytes())
    np.testing.assert_array_equal(open_volume(str(source)).read(BOX), truth()[BOX])
    source.write_bytes(truth().tobytes()[:-1])
    assert "are not (16, 16, 16) uint16" in refusal(open_volume, str(source))
    assert "raw voxels" in formats_table()


def rewritten(file, old, new):
    content = file.read_bytes()
    assert old in content
    file.write_bytes(content.replace(old, new, 1))


def test_what_users_write_into_an_nrrd_may_be_long_and_in_any_letters(tmp_path, sitk):
    file = tmp_path / "a.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(bone_like(8)), file)
    rewritten(file, b"\n\n", b"\nnote:=" + b"9" * 5000 + "\n# größe\nlab:=Übung\n\n".encode())
    np.testing.assert_array_equal(open_volume(str(file)).read(centred_box((8, 8, 8), None)), bone_like(8))


def test_bytes_that_an_nrrd_skips_are_no_voxels(tmp_path, sitk):
    voxels = bone_like(8)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), tmp_path / "a.nhdr", useCompression=True)
    (packed,) = tmp_path.glob("a.raw*")
    packed.write_bytes(gzip.compress(bytes(10) + gzip.decompress(packed.read_bytes())))
    rewritten(tmp_path / "a.nhdr", b"encoding: gzip\n", b"encoding: gzip\nbyte skip: 10\n")
    np.testing.assert_array_equal(open_volume(str(tmp_path / "a.nhdr")).read(centred_box((8, 8, 8), None)), voxels)


def test_a_blosc_chunk_with_a_checksum_behind_it_is_read(tmp_path):
    packers = [zarr.codecs.BloscCodec(), zarr.codecs.Crc32cCodec()]
    zarr.create_array(tmp_path / "a.zarr", data=bone_like(8), chunks=(4, 4, 4), compressors=packers)
    np.testing.assert_array_equal(
        open_volume(str(tmp_path / "a.zarr")).read(centred_box((8, 8, 8), None)), bone_like(8)
    )


def test_lengths_of_a_dicom_without_representations_are_not_taken_for_such(tmp_path):
    """In implicit syntax an element of 0x4C55 bytes begins with the letters UL, as if it were a number."""
    syntax = b"1.2.840.10008.1.2\0"
    meta = b"\x02\0\x10\0UI" + len(syntax).to_bytes(2, "little") + syntax
    element = b"\x09\0\x10\0" + (0x4C55).to_bytes(4, "little") + b"\xff" * 0x4C55
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM" + meta + element)
    dicom._refuse_overlong_elements(tmp_path / "a.dcm")
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM" + meta + element[:-1])
    with pytest.raises(ScanError, match=r"element \(0009,0010\) claims 19541 bytes, 19540 are left"):
        dicom._refuse_overlong_elements(tmp_path / "a.dcm")


def test_what_stands_behind_a_path_whose_format_holds_one_volume_is_not_passed_over(tmp_path):
    source, _ = write_npy(tmp_path, truth())
    assert "a NumPy array holds one volume; leave out ::second" in refusal(open_volume, f"{source}::second")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.nc", b"\x89HDF\r\n\x1a\n", "its content is that of .h5; give it the ending .h5"),
        ("a.rec", b"II*\0\x08\0\0\0", "its content is that of .tif"),
        ("a.tif.gz", b"\x1f\x8b", "is packed; unpack it"),
        ("a.img", b"\0" * 9, "Analyze or NIfTI in two files"),
    ],
)
def test_a_file_of_an_unknown_ending_is_refused_with_what_it_is(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    assert reason in refusal(open_volume, str(tmp_path / name))
