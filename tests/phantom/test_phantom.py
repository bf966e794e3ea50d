import csv
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import label, median_filter

from bonehpo.domain import Progress, ignore_progress
from bonehpo.engine import InProcess, open_engine
from bonehpo.errors import PhantomError, ScanError
from bonehpo.phantom import SPEC_JSON, PhantomSpec, write_phantom
from bonehpo.phantom.damage import broken, specimen_damage
from bonehpo.phantom.simulation import stream
from bonehpo.phantom.spec import PROPERTIES
from bonehpo.phantom.structure import inner, pristine_structure


def write(out: Path, **settings: object) -> Path:
    spec = PhantomSpec(**{"bone": "TB", "side": 32, **settings})
    return write_phantom(spec, out, InProcess(), ignore_progress).parent


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """Both bones with all load states of one specimen."""
    folder = tmp_path_factory.mktemp("series")
    return {bone: write(folder / bone, bone=bone, side=48, specimens=("A",)) for bone in ("CB", "TB")}


def truths(folder: Path) -> list[np.ndarray]:
    return [tifffile.imread(file) for file in sorted((folder / "truth" / "A").iterdir())]


@pytest.mark.parametrize("bone", ["CB", "TB"])
def test_each_specimen_has_the_bone_volume_fraction_of_the_paper(bone):
    spec = PhantomSpec(bone=bone, side=80)
    for index, expected in enumerate(PROPERTIES[bone].volume_fractions):
        structure = pristine_structure(spec, index, stream(spec, index, 0))
        shown = inner(structure.bone, spec.margin)
        assert (shown > 0.5).mean() == pytest.approx(expected, abs=0.003)


def test_cortical_porosity_is_that_of_the_paper():
    porosities = 100 * (1 - np.array(PROPERTIES["CB"].volume_fractions))
    assert porosities.mean() == pytest.approx(3.3, abs=0.1)
    assert np.all(np.abs(porosities - 3.3) <= 0.3 + 1e-9)


@pytest.mark.parametrize("bone", ["CB", "TB"])
def test_there_is_no_damage_before_its_onset_and_it_never_shrinks_after(series, bone):
    onset = json.loads((series[bone] / SPEC_JSON).read_text())["first_damaged_state"]["A"]
    volumes = [int((truth > 0).sum()) for truth in truths(series[bone])]
    assert onset in PROPERTIES[bone].onsets
    assert not any(volumes[: onset - 1])
    assert volumes[-1] > 0.01 * 48**3
    grown = volumes[onset - 1 :]
    assert all(before <= after for before, after in pairwise(grown))


def test_the_crack_of_failed_cortical_bone_pierces_it_from_end_to_end(series):
    regions, _ = label(truths(series["CB"])[-1] > 0, structure=np.ones((3, 3, 3)))
    assert set(np.unique(regions[0])) & set(np.unique(regions[-1])) - {0}


def test_failed_trabecular_bone_is_damaged_most_in_a_band(series):
    damaged = np.argwhere(truths(series["TB"])[-1] > 0).astype(float)
    flattest = np.linalg.eigvalsh(np.cov(damaged.T))[0]
    even_spread = 48**2 / 12
    assert flattest < 0.75 * even_spread


def test_damaged_voxels_are_darker_than_they_were(series):
    first = tifffile.imread(series["CB"] / "A" / "state_01.tif").astype(float)
    last = tifffile.imread(series["CB"] / "A" / "state_20.tif").astype(float)
    cracked = truths(series["CB"])[-1] > 0
    assert last[cracked].mean() < first[cracked].mean() - 40


@pytest.mark.parametrize("bone", ["CB", "TB"])
def test_material_is_untouched_until_damage_begins(bone):
    spec = PhantomSpec(bone=bone, side=32)
    structure = pristine_structure(spec, 0, stream(spec, 0, 0))
    damage = specimen_damage(spec, 0.065, stream(spec, 0, 0))
    undamaged = broken(structure, damage, 0.0)
    assert np.array_equal(undamaged.intensity, structure.intensity)
    assert not undamaged.damaged.any()


@pytest.mark.parametrize("bone", ["CB", "TB"])
def test_strain_rises_from_0_to_6_to_7_percent_and_stress_falls_before_failure(series, bone):
    with (series[bone] / "scans.csv").open() as file:
        rows = list(csv.DictReader(file))
    strains = [float(row["strain"]) for row in rows]
    stresses = [float(row["stress_mpa"]) for row in rows]
    assert [int(row["state"]) for row in rows] == list(range(1, PROPERTIES[bone].n_states + 1))
    assert strains == sorted(strains)
    assert strains[0] == stresses[0] == 0
    assert 0.06 <= strains[-1] <= 0.07
    assert 0 < stresses[-1] < max(stresses)
    assert all((series[bone] / row["path"]).exists() for row in rows)


def test_any_number_of_workers_writes_the_same_phantom(tmp_path):
    spec = PhantomSpec(bone="TB", side=32, n_states=2, specimens=("A", "B"))
    with open_engine(2) as cluster:
        write_phantom(spec, tmp_path / "two", cluster, ignore_progress)
    write_phantom(spec, tmp_path / "none", InProcess(), ignore_progress)
    assert contents(tmp_path / "two") == contents(tmp_path / "none")


def test_another_seed_gives_another_phantom(tmp_path):
    one, two = (write(tmp_path / str(seed), seed=seed, n_states=2, specimens=("A",)) for seed in (1, 2))
    assert contents(one)["A/state_01.tif"] != contents(two)["A/state_01.tif"]


def test_the_shortcut_changes_the_noise_of_pristine_scans_only_and_the_median_takes_it_away(tmp_path):
    honest = write(tmp_path / "honest", n_states=3, specimens=("A",))
    trapped = write(tmp_path / "trapped", n_states=3, specimens=("A",), shortcut="hot-pixels")
    changed = {name for name, data in contents(honest).items() if contents(trapped)[name] != data}
    assert changed == {"A/state_01.tif", SPEC_JSON}
    a, b = (tifffile.imread(folder / "A" / "state_01.tif").astype(float) for folder in (honest, trapped))
    assert (b - a).std() > 5
    assert (median_filter(b, 3) - median_filter(a, 3)).std() < 0.15 * (b - a).std()


def test_a_real_scan_gives_distinct_specimens_with_its_own_texture(tmp_path):
    rng = np.random.default_rng(0)
    scan = (60 + 120 * (median_filter(rng.random((64, 64, 64)), 7) > 0.5)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "scan.tif", scan, photometric="minisblack")
    out = write(tmp_path / "out", n_states=2, structure=tmp_path / "scan.tif")
    first = {contents(out)[f"{name}/state_01.tif"] for name in PROPERTIES["TB"].specimens}
    assert len(first) == 5
    truth = tifffile.imread(out / "truth" / "TB9" / "state_02.tif")
    assert truth.any()


def test_a_structure_that_cannot_be_cut_into_specimens_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "small.tif", np.eye(40, dtype=np.uint8)[None].repeat(40, 0), photometric="minisblack")
    with pytest.raises(PhantomError, match=r"40 × 40 × 40 voxels.*choose a smaller side"):
        write(tmp_path / "out", structure=tmp_path / "small.tif")
    tifffile.imwrite(tmp_path / "flat.tif", np.zeros((64, 64, 64), np.uint8), photometric="minisblack")
    with pytest.raises(PhantomError, match="single intensity"):
        write(tmp_path / "out", structure=tmp_path / "flat.tif")
    with pytest.raises(ScanError):
        write(tmp_path / "out", structure=tmp_path / "none.tif")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bone": "XB"}, "choose CB or TB"),
        ({"side": 8}, "choose 32 to 600"),
        ({"side": 1000}, "choose 32 to 600"),
        ({"n_states": 1}, "too few"),
        ({"n_states": -2}, "too few"),
        ({"seed": -1}, "negative"),
        ({"specimens": ("A", "A")}, "name twice"),
        ({"specimens": ("../A",)}, "cannot name a folder"),
        ({"specimens": ("truth",)}, "cannot name a folder"),
    ],
)
def test_a_spec_that_cannot_be_made_is_refused(settings, message):
    with pytest.raises(PhantomError, match=message):
        PhantomSpec(**{"bone": "TB", **settings})


def test_an_existing_folder_is_never_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(PhantomError, match="exists already"):
        write(tmp_path / "out")
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "mine"]


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantom(PhantomSpec(bone="TB", side=32, n_states=2), tmp_path / "out", InProcess(), interrupt)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_specimens(tmp_path):
    seen: list[Progress] = []
    spec = PhantomSpec(bone="CB", side=32, n_states=2, specimens=("A", "B"))
    write_phantom(spec, tmp_path / "out", InProcess(), seen.append)
    assert [(p.done, p.total) for p in seen] == [(1, 2), (2, 2)]
