"""HDF5 that is compressed by a plugin: read once the plugin is installed, refused with its name before."""

import sys

import h5py
import numpy as np
import pytest
from data_makers import bone_like

from bonehpo.errors import ScanError
from bonehpo.scans import formats
from bonehpo.scans.readers import open_volume
from bonehpo.scans.sections import centred_box

SIDE, BITSHUFFLE = 8, 32008
VOXELS = bone_like(SIDE)


@pytest.fixture
def source(tmp_path):
    """A dataset that names a filter, which its only chunk left out: it is read as it is wherever that is allowed."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk(VOXELS.shape)
        settings.set_filter(BITSHUFFLE, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple(VOXELS.shape)
        h5py.h5d.create(file.id, b"bone", h5py.h5t.NATIVE_UINT16, space, settings)
        file["bone"].id.write_direct_chunk((0, 0, 0), VOXELS.tobytes(), filter_mask=1)
    return f"{tmp_path / 'a.h5'}::/bone"


def test_a_filter_whose_plugin_is_not_there_is_refused_with_both_names(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(ScanError, match=r"compressed with Bitshuffle \(filter 32008\).*pip install hdf5plugin"):
        open_volume(source)


def test_an_installed_plugin_is_loaded_where_a_file_needs_it(source, tmp_path, monkeypatch):
    (tmp_path / "hdf5plugin.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "hdf5plugin", raising=False)
    monkeypatch.setattr(formats.h5py.h5z, "filter_avail", lambda _: "hdf5plugin" in sys.modules)
    np.testing.assert_array_equal(open_volume(source).read(centred_box((SIDE,) * 3, None)), VOXELS)
    sys.modules.pop("hdf5plugin")
