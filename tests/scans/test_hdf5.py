"""HDF5: datasets whose filter, file or voxels are missing somewhere are refused with the place, all others read."""

import sys

import h5py
import numpy as np
import pytest
from data_makers import bone_like

from bonehpo.errors import ScanError
from bonehpo.scans import hdf5
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
    monkeypatch.setattr(hdf5.h5py.h5z, "filter_avail", lambda _: "hdf5plugin" in sys.modules)
    np.testing.assert_array_equal(open_volume(source).read(centred_box((SIDE,) * 3, None)), VOXELS)
    sys.modules.pop("hdf5plugin")


def link_all(file, source, shape=VOXELS.shape, part=slice(None)):
    layout = h5py.VirtualLayout(VOXELS.shape, "u2")
    layout[part] = h5py.VirtualSource(source, "bone", shape)[part]
    file.create_virtual_dataset("bone", layout, fillvalue=0)


def part_lacks_the_dataset(folder, file):
    with h5py.File(folder / "part.h5", "w") as part:
        part["other"] = VOXELS
    link_all(file, "part.h5")


def part_is_smaller(folder, file):
    with h5py.File(folder / "part.h5", "w") as part:
        part.create_dataset("bone", data=VOXELS[:5], chunks=True)
    link_all(file, "part.h5")


def part_was_never_written(folder, file):
    with h5py.File(folder / "part.h5", "w") as part:
        part.create_dataset("bone", VOXELS.shape, "u2", chunks=(4, 4, 4))
    link_all(file, "part.h5")


def part_was_cut(folder, file):
    with h5py.File(folder / "part.h5", "w") as part:
        part["bone"] = VOXELS
    (folder / "part.h5").write_bytes((folder / "part.h5").read_bytes()[:-1])
    link_all(file, "part.h5")


def some_lie_nowhere(folder, file):
    with h5py.File(folder / "part.h5", "w") as part:
        part["bone"] = VOXELS
    link_all(file, "part.h5", part=slice(0, 6))


def in_a_ring(folder, file):
    link_all(file, "a.h5")


def raw_file_was_cut(folder, file):
    (folder / "a.raw").write_bytes(VOXELS.tobytes()[:-2])
    file.create_dataset("bone", VOXELS.shape, "u2", external=[("a.raw", 0, VOXELS.nbytes)])


def link_to_a_file_that_is_gone(folder, file):
    file["bone"] = h5py.ExternalLink("gone.h5", "/recon")


def link_to_a_file_without_it(folder, file):
    h5py.File(folder / "part.h5", "w").close()
    file["bone"] = h5py.ExternalLink("part.h5", "/recon")


def link_to_nothing(folder, file):
    file["bone"] = h5py.SoftLink("/recon")


def group(folder, file):
    file["bone/recon"] = VOXELS


def other_name(folder, file):
    file["recon"] = VOXELS


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (part_lacks_the_dataset, r"lie in other files, of which .*part\.h5: holds no dataset bone"),
        (part_is_smaller, r"part\.h5::bone: has shape \(5, 8, 8\) and not \(8, 8, 8\)"),
        (part_was_never_written, r"part\.h5::/bone: 0 of 8 parts were written"),
        (part_was_cut, r"part\.h5: truncated, \d+ of \d+ bytes are there"),
        (some_lie_nowhere, "384 of its 512 voxels lie in files"),
        (in_a_ring, "lie 4 virtual datasets away"),
        (raw_file_was_cut, r"lie in a\.raw, of which 1022 of 1024 bytes are there"),
        (link_to_a_file_that_is_gone, r"bone is a link into gone\.h5, which is not there"),
        (link_to_a_file_without_it, r"bone is a link to /recon in part\.h5, which holds no such dataset"),
        (link_to_nothing, "bone is a link to /recon, which is not there"),
        (group, r"bone is a group; name a dataset; volumes in the file: .*a\.h5::/bone/recon"),
        (other_name, r"holds no dataset bone; volumes in the file: .*a\.h5::/recon"),
    ],
)
def test_voxels_that_are_missing_somewhere_are_refused_with_the_place(tmp_path, write, reason):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write(tmp_path, file)
    with pytest.raises(ScanError, match=reason):
        open_volume(f"{tmp_path / 'a.h5'}::bone")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"no HDF5 at all", "is no HDF5"), (None, "truncated, 1500 of 3072 bytes")],
    ids=["text", "cut"],
)
def test_what_the_library_says_of_a_file_that_it_cannot_open_is_put_into_words(tmp_path, content, reason):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["bone"] = VOXELS
    whole = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(whole[:1500] if content is None else content)
    with pytest.raises(ScanError, match=reason):
        open_volume(f"{tmp_path / 'a.h5'}::bone")


def test_parts_that_were_moved_with_their_file_are_found_beside_it(tmp_path, monkeypatch):
    """HDF5 finds files of virtual datasets so by itself, and raw files in the folder of the process alone."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    with h5py.File(before / "part.h5", "w") as part:
        part["bone"] = VOXELS
    (before / "a.raw").write_bytes(VOXELS.tobytes())
    with h5py.File(before / "a.h5", "w") as file:
        link_all(file, str(before / "part.h5"))
        file.create_dataset("raw", VOXELS.shape, "u2", external=[("a.raw", 0, VOXELS.nbytes)])
    before.rename(after)
    monkeypatch.chdir(tmp_path)
    for name in ("bone", "raw"):
        volume = open_volume(f"{after / 'a.h5'}::{name}")
        np.testing.assert_array_equal(volume.read(centred_box((SIDE,) * 3, None)), VOXELS)


@pytest.mark.parametrize("size", [0, 2**64 - 16], ids=["stays", "goes back"])
def test_a_heap_at_which_the_library_would_stay_for_ever_is_refused(tmp_path, size):
    with h5py.File(tmp_path / "part.h5", "w") as part:
        part["bone"] = VOXELS
    with h5py.File(tmp_path / "a.h5", "w") as file:
        link_all(file, "part.h5")
    content = bytearray((tmp_path / "a.h5").read_bytes())
    first = content.index(b"GCOL") + 16
    content[first : first + 16] = bytes(8) + size.to_bytes(8, "little")
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(ScanError, match="a heap of it has no end"):
        open_volume(f"{tmp_path / 'a.h5'}::bone")


def test_numbered_parts_of_which_one_is_missing_are_refused_as_the_volume_would_end_there(tmp_path):
    for i in range(4):
        with h5py.File(tmp_path / f"part{i}.h5", "w") as part:
            part["bone"] = VOXELS[2 * i : 2 * i + 2]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_layout(h5py.h5d.VIRTUAL)
        space = h5py.h5s.create_simple(VOXELS.shape, (h5py.h5s.UNLIMITED, SIDE, SIDE))
        space.select_hyperslab((0, 0, 0), (h5py.h5s.UNLIMITED, 1, 1), (2, SIDE, SIDE), (2, SIDE, SIDE))
        settings.set_virtual(space, b"part%b.h5", b"bone", h5py.h5s.create_simple((2, SIDE, SIDE)))
        h5py.h5d.create(file.id, b"bone", h5py.h5t.NATIVE_UINT16, space, settings)
    volume = open_volume(f"{tmp_path / 'a.h5'}::bone")
    np.testing.assert_array_equal(volume.read(centred_box((SIDE,) * 3, None)), VOXELS)
    (tmp_path / "part2.h5").unlink()
    with pytest.raises(ScanError, match=r"its voxels lie in part2\.h5, too, which is not there"):
        open_volume(f"{tmp_path / 'a.h5'}::bone")
