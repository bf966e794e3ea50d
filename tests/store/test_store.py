"""A store is complete and verified, or absent."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray
from data_makers import bone_like, write_scans
from filelock import FileLock
from PIL import Image
from places import SHARED_DATA

from bonehpo.domain import Group, ignore_progress
from bonehpo.engine import InProcess, open_engine
from bonehpo.errors import ScanError, StoreDamaged, StoreError, StoreMissing
from bonehpo.leakage.near_duplicates import read_hashes
from bonehpo.phantom import PhantomSpec, write_phantom
from bonehpo.preparation.prepare import prepare
from bonehpo.report.figures import montage
from bonehpo.store.building import chunk_slices
from bonehpo.store.images import load_images
from bonehpo.store.manifest import MANIFEST
from bonehpo.store.recipe import Steps
from bonehpo.store.store import SliceStore
from bonehpo.task import FAILED

SHARD = "slices/c/1/2/0/0/0/0"  # TB12, third state, XY


def make(csv, place, progress=lambda _: None, *, overwrite=False, **steps):
    with open_engine(0) as engine:
        return prepare(csv, place, Steps(**steps), engine, progress, overwrite=overwrite)


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A store of two specimens and three states; TB5 lacks the second."""
    folder = tmp_path_factory.mktemp("whole")
    csv = write_scans(folder, states=(1, 2, 3))
    csv.write_text("".join(line for line in csv.read_text().splitlines(True) if not line.startswith("TB5,2")))
    return make(csv, folder / "studies" / "TB" / "slices.zarr").path


@pytest.fixture
def place(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "TB" / "slices.zarr"))


@pytest.fixture(scope="session")
def known(tmp_path_factory):
    """A store of two phantoms in four states, and the folder of the phantoms."""
    folder = tmp_path_factory.mktemp("known")
    spec = PhantomSpec(bone="TB", side=32, n_states=4, specimens=("A", "B"))
    csv = write_phantom(spec, folder / "phantom", InProcess(), ignore_progress)
    return make(csv, folder / "TB" / "slices.zarr", side=24), csv.parent


def leftovers(place):
    return [path.name for path in place.parent.glob("*") if path.name != place.name]


def flip(file, at=None):
    content = bytearray(file.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 1
    file.write_bytes(content)


def test_a_store_says_what_it_holds(whole):
    store = SliceStore.open(whole)
    assert (store.bone, store.specimens, store.states) == ("TB", ("TB5", "TB12"), (1, 2, 3))
    assert (store.planes, store.n_slices, store.side) == (("XY", "XZ", "YZ"), 20, 20)
    assert not store.has("TB5", 2)
    assert store.scan("TB5", 3).strain == 0.02
    assert store.group("TB5", 3, "YZ").shape == (20, 20, 20)
    assert store.verify() == ()
    with pytest.raises(StoreError, match="holds no scan of TB5 state 2"):
        store.group("TB5", 2, "XY")
    with pytest.raises(StoreError, match="holds no plane ML; its planes are XY, XZ, YZ"):
        store.group("TB5", 1, "ML")


def test_the_same_scans_and_steps_give_the_same_store(whole, tmp_path):
    again = make(whole.parents[2] / "scans.csv", tmp_path / "TB" / "slices.zarr")
    assert again.id == SliceStore.open(whole).id
    assert str(tmp_path) not in (again.path / "MANIFEST.json").read_text()


@pytest.mark.parametrize("settings", [{}, {"consolidated": False}])
def test_xarray_opens_a_store_by_its_names(whole, settings):
    with warnings.catch_warnings():
        if settings:  # zarr then looks at every file, and says that the manifest is none of its own
            warnings.filterwarnings("ignore", message="Object at MANIFEST")
        dataset = xarray.open_zarr(whole, **settings)
    store = SliceStore.open(whole)
    chosen = dataset.slices.sel(specimen="TB12", state=3, plane="XZ")
    assert chosen.dims == ("slice", "y", "x")
    np.testing.assert_array_equal(chosen.values, store.group("TB12", 3, "XZ"))
    fraction = dataset.bone_volume_fraction
    assert float(fraction.sel(specimen="TB12", state=2)) == store.scan("TB12", 2).bone_volume_fraction
    assert np.isnan(fraction.sel(specimen="TB5", state=2))
    assert dataset.strain.sel(specimen="TB5").values[[0, 2]].tolist() == [0, 0.02]
    assert np.isnan(dataset.stress_mpa).all()


def test_slices_lie_in_one_shard_a_group_with_a_checksum_a_chunk(whole):
    metadata = json.loads((whole / "slices" / "zarr.json").read_text())
    assert metadata["chunk_grid"]["configuration"]["chunk_shape"] == [1, 1, 1, 20, 20, 20]
    sharding = metadata["codecs"][0]["configuration"]
    assert sharding["chunk_shape"] == [1, 1, 1, 10, 20, 20]
    assert [codec["name"] for codec in sharding["codecs"]] == ["bytes", "zstd", "crc32c"]
    assert [chunk_slices(n) for n in (300, 7, 64, 11, 13)] == [10, 7, 8, 11, 13]


def test_black_slices_are_stored(tmp_path):
    csv = write_scans(tmp_path, dtype="uint8")
    volume = bone_like(20, 7, "uint8")
    volume[:10] = 0
    np.save(tmp_path / "dark.npy", volume)
    csv.write_text(csv.read_text().replace("TB12_2.tif", "dark.npy"))
    store = make(csv, tmp_path / "TB" / "slices.zarr", match="none", median=False)
    shard = (store.path / "slices/c/1/1/0/0/0/0").read_bytes()
    index = np.frombuffer(shard[-2 * 16 - 4 : -4], "<u8")  # offset and length of two chunks, then a checksum
    assert (index != 2**64 - 1).all(), "zarr marks a chunk that is not stored by this number"
    np.testing.assert_array_equal(store.group("TB12", 2, "XY"), volume)


DAMAGES = {
    "a flipped byte": (lambda place: flip(place / SHARD), "TB12 state 3 plane XY", "bytes have changed"),
    "a missing shard": (lambda place: (place / SHARD).unlink(), "TB12 state 3 plane XY", "missing"),
    "a truncated shard": (lambda place: os.truncate(place / SHARD, 50), "TB12 state 3 plane XY", "50 bytes instead of"),
    "an empty shard": (lambda place: os.truncate(place / SHARD, 0), "TB12 state 3 plane XY", "0 bytes instead of"),
    "changed metadata": (lambda place: flip(place / "slices" / "zarr.json"), "slices/zarr.json", "bytes have changed"),
    "a changed coordinate": (lambda place: flip(place / "state" / "c" / "0"), "state/c/0", "bytes have changed"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_verify_finds(place, name):
    damage, where, what = DAMAGES[name]
    store = SliceStore.open(place)
    damage(place)
    (found,) = store.verify()
    assert where in found.message
    assert what in found.message


def test_a_store_of_phantoms_knows_where_each_slice_is_damaged_and_from_which_state_on(known):
    store, phantom = known
    onsets = json.loads((phantom / "phantom.json").read_text())["first_damaged_state"]
    assert store.has_damage
    for specimen in store.specimens:
        assert store.first_damaged_state(specimen) == onsets[specimen]
        for state in store.states:
            damage = np.concatenate([store.damage(specimen, state, plane) for plane in store.planes])
            assert damage.shape == (96, 24, 24)
            assert damage.any() == (state >= onsets[specimen])
            assert store.scan(specimen, state).damage_fraction == pytest.approx(damage.mean() / 255)


def test_a_store_of_scans_knows_no_damage_and_says_so(whole):
    store = SliceStore.open(whole)
    assert not store.has_damage
    for ask in (lambda: store.damage("TB5", 1, "XY"), lambda: store.first_damaged_state("TB5")):
        with pytest.raises(StoreError, match="does not know where its scans are damaged; prepare a phantom"):
            ask()


def test_previews_are_the_first_and_last_state_of_each_specimen_in_small(known, whole):
    store, _ = known
    assert store.has_preview
    volume = store.preview("B", 4)
    assert (volume.shape, volume.dtype) == ((32, 32, 32), np.uint8)
    assert (volume > store.scan("B", 4).threshold).mean() == pytest.approx(store.scan("B", 4).bone_volume_fraction)
    assert not np.array_equal(volume, store.preview("B", 1))
    assert SliceStore.open(whole).preview("TB5", 3).shape == (20, 20, 20)
    with pytest.raises(StoreError, match="no preview of A state 2; there are only of states 1 and 4"):
        store.preview("A", 2)


@pytest.mark.parametrize(
    ("key", "read", "where"),
    [
        ("damage/c/1/3/2/0/0/0", lambda store: store.damage("B", 4, "YZ"), "B state 4 plane YZ damage"),
        ("preview/c/0/1/0/0/0", lambda store: store.preview("A", 4), "A state 4 preview"),
    ],
)
def test_damage_and_previews_are_checked_as_slices_are(known, tmp_path, key, read, where):
    place = Path(shutil.copytree(known[0].path, tmp_path / "slices.zarr"))
    store = SliceStore.open(place)
    flip(place / key)
    (found,) = store.verify()
    assert found.message == f"{where} ({key}): bytes have changed"
    with pytest.raises(StoreDamaged, match=where):
        read(store)
    (place / key).unlink()
    with pytest.raises(StoreDamaged, match=f"{where}.*missing"):
        SliceStore.open(place)


def test_xarray_opens_damage_previews_and_measures_beside_the_slices(known):
    store, _ = known
    dataset = xarray.open_zarr(store.path)
    assert dataset.damage.dims == dataset.slices.dims
    np.testing.assert_array_equal(dataset.preview.sel(specimen="A", preview_state=4), store.preview("A", 4))
    scan = store.scan("A", 4)
    here = dataset.slices.sel(specimen="A", state=4)
    for name in ("porosity", "trabecular_thickness_um", "trabecular_spacing_um", "degree_of_anisotropy"):
        assert float(here.coords[name]) == getattr(scan, name)
    assert 0 < scan.degree_of_anisotropy < 1
    assert scan.porosity + scan.bone_volume_fraction == pytest.approx(1)


def swap(place):
    """Swap TB12 state 3 XY and YZ."""
    first, second = place / SHARD, place / "slices/c/1/2/2/0/0/0"
    spare = place.parent / "spare"
    first.rename(spare)
    second.rename(first)
    spare.rename(second)


def test_verify_finds_swapped_shards_and_says_whose_they_are(place):
    store = SliceStore.open(place)
    swap(place)
    found = store.verify()
    assert [(damage.specimen, damage.state, damage.plane) for damage in found] == [("TB12", 3, "XY"), ("TB12", 3, "YZ")]


def test_a_group_is_hashed_before_it_is_decoded(place):
    store = SliceStore.open(place)
    shutil.copy(place / "slices/c/0/0/0/0/0/0", place / "slices/c/0/2/0/0/0/0")
    with pytest.raises(StoreDamaged, match=r"TB5 state 3 plane XY \(slices/c/0/2/0/0/0/0\)"):
        store.group("TB5", 3, "XY")
    flip(place / SHARD)
    with pytest.raises(StoreDamaged, match=r"TB12 state 3 plane XY .*bytes have changed; prepare the store again"):
        store.group("TB12", 3, "XY")
    store.group("TB12", 3, "XZ")


def test_verify_finds_a_file_that_nobody_wrote(place):
    (place / "slices/c/0/1/0/0/0").mkdir(parents=True)
    shutil.copy(place / SHARD, place / "slices/c/0/1/0/0/0/0")
    (found,) = SliceStore.open(place).verify()
    assert found.message == "slices/c/0/1/0/0/0/0: not in the manifest"


def test_a_store_with_a_missing_or_cut_file_or_other_metadata_does_not_open(place):
    for name, (damage, where, what) in DAMAGES.items():
        if name in ("a flipped byte", "a changed coordinate"):
            continue
        copy = Path(shutil.copytree(place, place.with_name(name)))
        damage(copy)
        with pytest.raises(StoreDamaged, match=what) as caught:
            SliceStore.open(copy)
        assert where in str(caught.value)


@pytest.mark.parametrize("file", ["MANIFEST.json", "MANIFEST.sha256"])
def test_a_manifest_that_differs_from_its_seal_is_refused(place, file):
    flip(place / file, at=9)
    with pytest.raises(StoreDamaged, match="differs from its seal"):
        SliceStore.open(place)


def test_a_store_of_another_format_is_refused(place):
    from hashlib import sha256

    text = (place / "MANIFEST.json").read_text().replace('"format":2', '"format":3')
    (place / "MANIFEST.json").write_text(text)
    (place / "MANIFEST.sha256").write_text(sha256(text.encode()).hexdigest())
    with pytest.raises(StoreDamaged, match="format 3, this bonehpo reads 2"):
        SliceStore.open(place)


def test_no_store_names_the_two_commands_that_make_one(tmp_path):
    with pytest.raises(StoreMissing, match=r"bonehpo prepare SCANS.csv --bone CB.*bonehpo phantom --bone CB --out DIR"):
        SliceStore.open(tmp_path / "CB" / "slices.zarr")


def test_a_store_that_is_there_is_not_replaced_unasked(place, tmp_path):
    before = SliceStore.open(place).id
    with pytest.raises(StoreError, match="there is a store already"):
        make(write_scans(tmp_path), place)
    assert make(write_scans(tmp_path), place, overwrite=True).id != before
    assert leftovers(place) == []


def test_a_store_is_still_there_when_its_replacement_fails(place, tmp_path):
    before = SliceStore.open(place).id
    csv = write_scans(tmp_path)
    os.truncate(tmp_path / "TB12_2.tif", 9000)
    with pytest.raises(ScanError, match=r"TB12_2\.tif"):
        make(csv, place, overwrite=True)
    assert SliceStore.open(place).id == before
    assert SliceStore.open(place).verify() == ()
    assert leftovers(place) == []


def test_what_is_no_store_is_never_replaced(tmp_path):
    place = tmp_path / "TB" / "slices.zarr"
    place.mkdir(parents=True)
    (place / "thesis.txt").touch()
    with pytest.raises(StoreError, match="is not a slice store and will not be replaced"):
        make(write_scans(tmp_path), place, overwrite=True)
    assert (place / "thesis.txt").exists()


def interrupt(step):
    if step.task != "headers":
        raise KeyboardInterrupt


def test_an_interrupted_preparation_leaves_nothing(tmp_path):
    place = tmp_path / "TB" / "slices.zarr"
    with pytest.raises(KeyboardInterrupt):
        make(write_scans(tmp_path), place, interrupt)
    assert not place.exists()
    assert leftovers(place) == []


KILLED = """
import os, sys
from pathlib import Path
from bonehpo.preparation.prepare import prepare
from bonehpo.store.recipe import Steps
from bonehpo.engine import open_engine
def stop(step):
    if step.task != "headers":
        os.kill(os.getpid(), 9)
with open_engine(0) as engine:
    prepare(Path(sys.argv[1]), Path(sys.argv[2]), Steps(), engine, stop)
"""


def test_what_a_killed_preparation_left_is_swept_by_the_next(tmp_path):
    place = tmp_path / "TB" / "slices.zarr"
    csv = write_scans(tmp_path)
    assert subprocess.run([sys.executable, "-c", KILLED, csv, place], check=False).returncode == -signal.SIGKILL
    assert not place.exists()
    assert sorted(leftovers(place)) == [".slices.zarr.lock", ".slices.zarr.making"]
    (place.parent / ".slices.zarr.making" / "old").touch()
    assert make(csv, place).verify() == ()
    assert leftovers(place) == []


def test_a_store_set_aside_by_a_killed_replacement_comes_back(place, tmp_path):
    before = SliceStore.open(place).id
    place.rename(place.with_name(".slices.zarr.replaced"))
    with pytest.raises(StoreError, match="there is a store already"):
        make(write_scans(tmp_path), place)
    assert SliceStore.open(place).id == before


def test_a_store_of_phantoms_is_marked_as_one(whole, tmp_path):
    csv = write_scans(tmp_path)
    (tmp_path / "phantom.json").touch()
    assert make(csv, tmp_path / "TB" / "slices.zarr").is_phantom
    assert not SliceStore.open(whole).is_phantom


def test_two_preparations_do_not_build_one_store(tmp_path):
    place = tmp_path / "TB" / "slices.zarr"
    place.parent.mkdir()
    with FileLock(place.with_name(".slices.zarr.lock")), pytest.raises(StoreError, match="another `bonehpo prepare`"):
        make(write_scans(tmp_path), place)


FULL = """
import resource, sys
from pathlib import Path
from bonehpo.preparation.prepare import prepare
from bonehpo.store.recipe import Steps
from bonehpo.engine import open_engine
from bonehpo.errors import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
with open_engine(0) as engine:
    try:
        prepare(Path(sys.argv[1]), Path(sys.argv[2]), Steps(match="histogram"), engine)
    except StoreError as error:
        print(error)
"""


@pytest.mark.parametrize("limit", [3000, 30000], ids=["at a shard", "at the manifest"])
def test_a_full_disk_is_one_clear_line_and_leaves_nothing(tmp_path, limit):
    place = tmp_path / "TB" / "slices.zarr"
    command = [sys.executable, "-c", FULL, write_scans(tmp_path), place, str(limit)]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "cannot be written: File too large: free space, or choose another disk" in said.stdout
    assert said.stdout.count("\n") == 1
    assert leftovers(place) == []
    assert not place.exists()


def test_an_unwritable_place_is_one_clear_line(tmp_path):
    (tmp_path / "studies").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        make(write_scans(tmp_path), tmp_path / "studies" / "TB" / "slices.zarr")


def test_scans_whose_slices_did_not_arrive_make_no_store(tmp_path):
    place = tmp_path / "TB" / "slices.zarr"

    def lose(step):
        for file in place.with_name(".slices.zarr.making").glob("slices/c/0/0/1/0/0/0"):
            file.unlink()

    with pytest.raises(StoreError, match="TB5 state 1 plane XZ: it did not arrive; let all workers write"):
        make(write_scans(tmp_path), place, lose)
    assert not place.exists()


def test_two_workers_give_the_store_that_one_process_gives(whole, tmp_path):
    started = time.monotonic()
    with open_engine(2) as engine:
        store = prepare(whole.parents[2] / "scans.csv", tmp_path / "TB" / "slices.zarr", Steps(), engine)
    assert store.id == SliceStore.open(whole).id
    assert time.monotonic() - started < 60


def test_a_montage_shows_each_specimen_in_both_states_and_all_planes(whole, tmp_path):
    montage(SliceStore.open(whole), tmp_path / "montage.png")
    with Image.open(tmp_path / "montage.png") as image:
        pixels = np.asarray(image.convert("L"))
    assert image.width > image.height > 300
    assert len(np.unique(pixels)) > 50


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real scans are not on this machine")
def test_real_slices_make_a_store_that_verifies(tmp_path):
    store = make(SHARED_DATA / "porcine_vertebrae" / "slices.csv", tmp_path / "PV" / "slices.zarr", side=64)
    assert store.verify() == ()
    assert all(0.2 < scan.bone_volume_fraction < 0.9 for scan in store.manifest.scans)
    montage(store, tmp_path / "montage.png")


@pytest.fixture(scope="session")
def unlike(tmp_path_factory):
    """A store of TB5, which failed in its second state, and TB12, which failed in its third, as labels say."""
    folder = tmp_path_factory.mktemp("unlike")
    head, *rows = write_scans(folder, states=(1, 2, 3)).read_text().splitlines()
    ends = {"TB5,1": "pristine", "TB5,2": "failed", "TB12,1": "pristine", "TB12,3": "failed"}
    labelled = [f"{row},{ends.get(','.join(row.split(',')[:2]), '')}" for row in rows if not row.startswith("TB5,3")]
    (folder / "labelled.csv").write_text("\n".join([f"{head},label", *labelled]))
    return make(folder / "labelled.csv", folder / "TB" / "slices.zarr")


def test_specimens_that_failed_in_different_states_have_ends_of_their_own(unlike, tmp_path):
    assert (unlike.states, unlike.ends("TB5"), unlike.ends("TB12")) == ((1, 2, 3), (1, 2), (1, 3))
    assert [unlike.label("TB12", state) for state in unlike.states] == ["pristine", "loaded", "failed"]
    assert [unlike.common_state("TB5", 2), unlike.common_state("TB12", 2), unlike.common_state("TB5", 1)] == [3, 2, 1]
    assert "TB5 in state 2, TB12 in state 3." in unlike.notes[0]
    assert unlike.verify() == ()
    assert not np.array_equal(unlike.preview("TB5", 1), unlike.preview("TB5", 2))
    with pytest.raises(StoreError, match="no preview of TB12 state 2; there are only of states 1 and 3"):
        unlike.preview("TB12", 2)
    montage(unlike, tmp_path / "montage.png")


def test_what_failed_is_learnt_from_and_audited_in_its_own_state(unlike):
    images = load_images(unlike.path, unlike.id)
    failed = images.truth == FAILED
    assert set(zip(images.specimens[failed], images.states[failed], strict=True)) == {("TB5", 2), ("TB12", 3)}
    assert set(images.states[~failed]) == {1}
    groups = tuple(Group(specimen, "XY") for specimen in unlike.specimens)
    found = read_hashes(unlike, groups, ignore_progress)
    assert [(seen.group.specimen, seen.state) for seen in found] == [("TB5", 1), ("TB5", 2), ("TB12", 1), ("TB12", 3)]


def test_a_manifest_that_says_nothing_new_has_the_keys_of_before(tmp_path):
    csv = write_scans(tmp_path, side=20)
    told = json.loads((make(csv, tmp_path / "TB" / "slices.zarr", match="histogram").path / MANIFEST).read_text())
    assert not {"standardise", "phases", "frames", "registered", "bone_is"} & set(told["recipe"])
    assert "donors" not in told
    assert not any("look" in scan for scan in told["scans"])
    new = make(csv, tmp_path / "new" / "slices.zarr", match="histogram", bone_is="dark")
    assert json.loads((new.path / MANIFEST).read_text())["recipe"]["bone_is"] == "dark"
