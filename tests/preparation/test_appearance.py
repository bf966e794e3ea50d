"""Polarity, phases and the specimen in air: what is odd is said, and what is not is not."""

import numpy as np
import pytest
import tifffile
from commands import call
from data_makers import bone_like, write_table
from places import SHARED_DATA
from scipy.ndimage import gaussian_filter

from bonehpo.domain import ignore_progress
from bonehpo.engine import InProcess, open_engine
from bonehpo.phantom import PhantomSpec, write_phantom
from bonehpo.preparation.morphometry import condense
from bonehpo.preparation.prepare import prepare, prepare_scan
from bonehpo.preparation.scan import filter_median
from bonehpo.scans.intensity import histogram, levels
from bonehpo.scans.photometry import as_bright
from bonehpo.scans.window import scan_window
from bonehpo.store.recipe import Recipe, Steps
from bonehpo.workflow.stores import appearance_cautions


def seen(volume):
    """The preview of a scan as preparation makes it."""
    filtered = volume.copy()
    filter_median(filtered)
    return condense(filtered, levels(scan_window(histogram(filtered), filtered.dtype)))


@pytest.fixture(scope="module", params=["CB", "TB"])
def scans(request, tmp_path_factory):
    """Kind of bone, and pristine and failed scans of three phantoms."""
    folder = tmp_path_factory.mktemp("phantoms") / request.param
    spec = PhantomSpec(bone=request.param, side=56, n_states=2, specimens=("A", "B", "C"), seed=77)
    write_phantom(spec, folder, InProcess(), ignore_progress)
    return request.param, [tifffile.imread(folder / s / f"state_0{k}.tif") for s in "ABC" for k in (1, 2)]


def in_air(volume, air=12):
    """A cylinder of a volume, in air; and where it lies."""
    side = len(volume)
    _, y, x = np.indices(volume.shape)
    whole = np.hypot(y - side / 2, x - side / 2) < 0.45 * side
    inside = gaussian_filter(whole.astype(float), 0.7)
    noise = np.random.default_rng(1).normal(0, 3, volume.shape)
    return np.clip(np.rint(inside * volume + (1 - inside) * (air + noise)), 0, 255).astype(np.uint8), whole


def test_scans_of_bright_bone_are_not_odd(scans):
    _, volumes = scans
    assert {seen(volume).look for volume in volumes} == {""}
    assert {seen(in_air(volume)[0]).look for volume in volumes[::2]} == {""}


def test_dark_bone_is_seen_in_pristine_scans(scans):
    kind, volumes = scans
    turned = [seen(as_bright(volume, "dark")).look for volume in volumes[::2]]
    assert turned.count("dark bone") >= (3 if kind == "TB" else 1)
    assert {seen(as_bright(in_air(volume)[0], "dark")).look for volume in volumes[::2]} == {"dark bone"}


TRABECULAR = pytest.mark.parametrize("scans", ["TB"], indirect=True)


@TRABECULAR
def test_of_a_cylinder_in_air_the_fraction_is_that_of_the_cylinder(scans):
    _, volumes = scans
    for volume in volumes[::2]:
        cylinder, whole = in_air(volume)
        filtered = volume.copy()
        filter_median(filtered)
        to_level = levels(scan_window(histogram(filtered), filtered.dtype))
        true = (np.rint(to_level(filtered))[whole] > seen(volume).threshold).mean()
        assert seen(cylinder).bone_volume_fraction == pytest.approx(true, abs=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_noise_about_one_intensity_has_no_bone_volume_fraction(seed):
    rng = np.random.default_rng(seed)
    volumes = [
        rng.normal(30000, 3000, (40,) * 3).astype(np.uint16),
        np.clip(rng.normal(120, 20, (40,) * 3), 0, 255).astype(np.uint8),
        rng.integers(0, 255, (40,) * 3).astype(np.uint8),
        (gaussian_filter(rng.normal(0, 1, (40,) * 3), 1.5) * 2000 + 20000).astype(np.float32),
    ]
    found = seen(volumes[seed])
    assert (found.look, found.bone_volume_fraction) == ("one phase", None)


def test_two_levels_alone_are_binary_and_have_a_fraction():
    found = seen((bone_like(40, dtype="uint8") > 110).astype(np.uint8))
    assert found.look == "binary"
    assert 0.3 < found.bone_volume_fraction < 0.7


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the shared images are not here")
def test_a_human_core_is_not_odd_and_turned_round_it_is():
    files = sorted((SHARED_DATA / "human_trabecular" / "cropped").glob("*.tif"))[:100]
    core = np.stack([tifffile.imread(file)[:100, :100] for file in files])
    assert seen(core).look == ""
    assert seen(as_bright(core, "dark")).look == "dark bone"


def table_of(folder, volumes):
    rows = []
    for (specimen, state), volume in volumes.items():
        np.save(folder / f"{specimen}{state}.npy", volume)
        rows.append({"specimen": specimen, "state": state, "path": f"{specimen}{state}.npy", "voxel_um": 10})
    return write_table(folder, rows)


def prepared(table, folder, **steps):
    with open_engine(0) as engine:
        return prepare(table, folder / "TB" / "slices.zarr", Steps(n_slices=4, **steps), engine)


def test_dark_bone_is_turned_round_where_that_is_asked_for(scans, tmp_path):
    _, volumes = scans
    named = {(name, state): volumes[2 * i + state - 1] for i, name in enumerate("AB") for state in (1, 2)}
    for folder in ("bright", "dark"):
        (tmp_path / folder).mkdir()
    bright = prepared(table_of(tmp_path / "bright", named), tmp_path / "bright", registration=False)
    turned = {key: as_bright(volume, "dark") for key, volume in named.items()}
    table = table_of(tmp_path / "dark", turned)
    dark = prepared(table, tmp_path / "dark", registration=False, bone_is="dark")
    for plane in bright.planes:
        np.testing.assert_array_equal(dark.group("B", 2, plane), bright.group("B", 2, plane))
    recipe = Recipe.from_json(dark.recipe.to_json())
    again = prepare_scan(str(table.parent / "B2.npy"), recipe)
    np.testing.assert_array_equal(again.slices["XZ"], bright.group("B", 2, "XZ"))
    assert appearance_cautions(bright) == appearance_cautions(dark) == ()


@TRABECULAR
def test_what_is_odd_is_said_of_the_scans_that_are(scans, tmp_path):
    _, volumes = scans
    noise = np.random.default_rng(2).normal(120, 9, volumes[0].shape).astype(np.uint8)
    named = {
        ("A", 1): as_bright(volumes[0], "dark"),
        ("A", 2): volumes[1],
        ("B", 1): volumes[2],
        ("B", 2): noise,
        ("C", 1): volumes[4],
        ("C", 2): (volumes[5] > 120).astype(np.uint8),
    }
    store = prepared(table_of(tmp_path, named), tmp_path, registration=False)
    dark, apart, one, binary = appearance_cautions(store)
    assert dark.startswith("In A bone looks darker than what is around it")
    assert "give --bone-is dark" in dark
    assert "of A state 2 is more than 0.25 off" in apart
    assert one.startswith("B state 2 shows one phase")
    assert binary.startswith("C state 2 has two levels alone")
    assert store.scan("B", 2).bone_volume_fraction is None
    assert store.scan("B", 2).porosity is None


@TRABECULAR
def test_of_a_saturated_screw_bone_keeps_its_levels_and_its_fraction(scans, tmp_path):
    """A ball of 0.7 % of the voxels at the end of 16 bit, in all scans but one."""
    _, volumes = scans
    distance = np.sqrt(((np.indices(volumes[0].shape) - 27.5) ** 2).sum(axis=0))
    screw = distance < (0.007 * volumes[0].size * 3 / 4 / np.pi) ** (1 / 3)
    plain = {(n, s): 8_000 + 40 * volumes[2 * i + s - 1].astype(np.uint16) for i, n in enumerate("ABC") for s in (1, 2)}
    odd = {key: v if key == ("B", 2) else np.where(screw, 65_535, v).astype(np.uint16) for key, v in plain.items()}
    stores = []
    for name, scans_of in (("plain", plain), ("odd", odd)):
        (tmp_path / name).mkdir()
        stores.append(prepared(table_of(tmp_path / name, scans_of), tmp_path / name, registration=False))
    expected, found = stores
    for scan in found.manifest.scans:
        of_plain = expected.scan(scan.specimen, scan.state).bone_volume_fraction
        assert scan.bone_volume_fraction == pytest.approx(of_plain, abs=0.015)
    for key in odd:
        levels_apart = [np.ptp(np.percentile(store.group(*key, "XY"), (25, 98))) for store in stores]
        assert levels_apart[1] > 0.8 * levels_apart[0] > 60
    assert appearance_cautions(expected) == ()
    [caution] = appearance_cautions(found)
    assert caution.startswith("In A state 1, A state 2, B state 1")
    assert "far brighter than bone" in caution


@TRABECULAR
def test_a_scan_of_one_phase_is_shown_with_a_dash(scans, tmp_path, monkeypatch):
    _, volumes = scans
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(2).normal(120, 9, volumes[0].shape).astype(np.uint8)
    named = {(n, s): volumes[2 * i + s - 1] for i, n in enumerate("ABC") for s in (1, 2)} | {("B", 2): noise}
    table = table_of(tmp_path, named)
    said = call("prepare", table, "--bone", "TB", "--slices", 4, "--workers", 0, "--no-registration").output
    assert "Caution: B state 2 shows one phase" in " ".join(said.split())
    said = call("inspect", "--bone", "TB").output
    assert [line.split() for line in said.splitlines() if line.startswith("B ") and line.rstrip().endswith("-")]
