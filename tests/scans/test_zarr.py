"""Zarr folders that do not hold the array that was asked for: the arrays that they do hold are told."""

import pytest
import zarr
from data_makers import bone_like

from bonehpo.errors import ScanError
from bonehpo.scans.readers import open_volume

VOXELS = bone_like(8)


def write_group(folder, zarr_format):
    group = zarr.open_group(folder, mode="w", zarr_format=zarr_format)
    for name in ("a", "sub/b"):
        group.create_array(name, data=VOXELS, chunks=(4, 4, 4))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_array_that_is_not_there_is_refused_with_those_that_are(tmp_path, zarr_format):
    write_group(tmp_path / "a.zarr", zarr_format)
    with pytest.raises(ScanError, match=r"holds no array c; its volumes: \S+a\.zarr::a, \S+a\.zarr::sub/b$"):
        open_volume(f"{tmp_path / 'a.zarr'}::c")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_array_is_named_without_what_lies_in_it(tmp_path, zarr_format):
    zarr.create_array(tmp_path / "a.zarr", data=VOXELS, chunks=(4, 4, 4), zarr_format=zarr_format)
    with pytest.raises(ScanError, match=r"holds no array 0, it is one itself; give \S+a\.zarr$"):
        open_volume(f"{tmp_path / 'a.zarr'}::0")


@pytest.mark.parametrize("inner", ["", "::a"])
def test_a_folder_without_metadata_is_refused_as_such(tmp_path, inner):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(ScanError, match=r"holds no array .*, nor metadata of one; copy it again"):
        open_volume(f"{tmp_path / 'a.zarr'}{inner}")
