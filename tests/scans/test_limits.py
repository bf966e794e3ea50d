"""What claims more memory than a scan may take is refused before it is decoded."""

import json
import os
import tracemalloc

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from commands import call, refusal
from data_makers import bone_like, write_scans

from bonehpo.errors import ScanError
from bonehpo.scans.limits import VARIABLE, max_bytes
from bonehpo.scans.readers import open_volume
from bonehpo.scans.sections import centred_box

SIDE = 20_000
"""Of a section that takes 400 MB unpacked and next to nothing packed."""


def write_tiff(folder):
    """A file of a few kB whose head claims sections of 400 MB; what would be unpacked is not there."""
    file = folder / "a.tif"
    tifffile.imwrite(file, np.zeros((3, 16, 16), "u1"), photometric="minisblack", compression="zlib", metadata=None)
    with tifffile.TiffFile(file, mode="r+b") as tif:
        for page in tif.pages:
            for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
                page.tags[name].overwrite(SIDE)
    return str(file)


def write_zarr(folder):
    zarr.create_array(folder / "a.zarr", shape=(3, SIDE, SIDE), chunks=(1, SIDE, SIDE), dtype="u1", fill_value=0)
    return str(folder / "a.zarr")


def write_hdf5(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        data = file.create_dataset("bone", (2, SIDE, SIDE), "u1", chunks=(1, SIDE, SIDE), compression="gzip")
        data.id.write_direct_chunk((0, 0, 0), b"x", 0)
        data.id.write_direct_chunk((1, 0, 0), b"x", 0)
    return f"{folder / 'a.h5'}::bone"


@pytest.mark.parametrize("write", [write_tiff, write_zarr, write_hdf5])
def test_a_small_file_that_claims_much_is_refused_without_taking_it(tmp_path, monkeypatch, write):
    source = write(tmp_path)
    monkeypatch.setenv(VARIABLE, "0.1")
    tracemalloc.start()
    with pytest.raises(ScanError, match=r"take 0\.4 GB, more than the 0\.1 GB .* --max-gigabytes"):
        open_volume(source)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_a_box_within_the_limit_is_read_of_a_volume_beyond_it(tmp_path, monkeypatch):
    voxels = bone_like(32)
    zarr.create_array(tmp_path / "a.zarr", data=voxels, chunks=(8, 8, 8), shards=(32, 32, 32))
    monkeypatch.setenv(VARIABLE, str(10_000 / 1e9))
    volume = open_volume(str(tmp_path / "a.zarr"))
    box = centred_box(volume.shape, 8)
    np.testing.assert_array_equal(volume.read(box), voxels[box])
    with pytest.raises(ScanError, match="give --crop, or --max-gigabytes"):
        volume.read(centred_box(volume.shape, None))


def test_the_limit_is_an_option_of_prepare(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "")  # so that what the command leaves is taken back
    write_scans(tmp_path / "scans")
    words = ("prepare", "scans/scans.csv", "--bone", "TB", "--workers", 0, "--slices", 2, "--max-gigabytes")
    assert "--max-gigabytes if that is right" in refusal(*words, 1e-6)
    assert os.environ[VARIABLE] == "1e-06"
    call(*words, 1)


def test_what_is_no_number_in_the_environment_is_said(monkeypatch):
    monkeypatch.setenv(VARIABLE, "much")
    with pytest.raises(ScanError, match="BONEHPO_MAX_GIGABYTES is 'much'; give gigabytes as a number"):
        max_bytes()
    monkeypatch.delenv(VARIABLE)
    assert max_bytes() > 1e8


def test_a_chunk_that_claims_far_more_than_its_array_is_refused(tmp_path):
    volume = tmp_path / "a.zarr"
    zarr.create_array(volume, shape=(8, 8, 8), chunks=(8, 8, 8), dtype="uint8")[...] = 1
    told = json.loads((volume / "zarr.json").read_text())
    told["chunk_grid"]["configuration"]["chunk_shape"] = [2_000_000, 8, 8]
    (volume / "zarr.json").write_text(json.dumps(told))
    with pytest.raises(ScanError, match="each chunk claims 2000000 × 8 × 8 voxels"):
        open_volume(str(volume))


@pytest.mark.parametrize("version", [2, 3])
def test_more_chunks_than_can_be_looked_for_are_refused(tmp_path, version):
    volume = tmp_path / "a.zarr"
    zarr.create_array(volume, shape=(8, 8, 8), chunks=(8, 8, 8), dtype="uint8", zarr_format=version)[...] = 1
    metadata = volume / (".zarray" if version == 2 else "zarr.json")
    told = json.loads(metadata.read_text())
    told["shape"] = [8, 8, 2**32]
    metadata.write_text(json.dumps(told))
    with pytest.raises(ScanError, match=r"a\.zarr: claims 8 × 8 × 4294967296 voxels in 5\.37e\+08 chunks of 8 × 8 × 8"):
        open_volume(str(volume))


def test_a_volume_of_which_nearly_nothing_is_stored_is_refused(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", shape=(8, 8, 804), chunks=(8, 8, 4), dtype="uint8")
    array[:, :, :8] = 1
    with pytest.raises(ScanError, match=r"a\.zarr: 2 of its 201 chunks are stored, which is no scan"):
        open_volume(str(tmp_path / "a.zarr"))
    array[:, :, :12] = 1
    assert "3 of 201 chunks are stored" in " ".join(open_volume(str(tmp_path / "a.zarr")).remarks)
