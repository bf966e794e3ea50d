"""The leakage prover: a planted leak of each kind is caught, and bone that only looks alike is not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from data_makers import bone_like, write_table
from scipy.ndimage import gaussian_filter
from tiny_study import TOML, plan_of

from bonehpo.cli import main
from bonehpo.config import StudyFolder
from bonehpo.domain import NO_DONORS, Group
from bonehpo.engine import open_engine
from bonehpo.errors import StudyError
from bonehpo.folds import specimen_sets
from bonehpo.leakage import leaks as leakage
from bonehpo.leakage.leaks import find_leaks
from bonehpo.leakage.near_duplicates import NEAR_BITS, ORIENTATIONS, perceptual_hashes, same_bone
from bonehpo.phantom.damage import load, specimen_damage
from bonehpo.phantom.simulation import quantise, simulate_scan, stream
from bonehpo.phantom.spec import PhantomSpec, load_states
from bonehpo.phantom.structure import pristine_structure
from bonehpo.preparation.prepare import prepare
from bonehpo.results.leakage import leakage_line, leaks_of, prove_no_leak
from bonehpo.results.result import load_result
from bonehpo.store.recipe import Steps
from bonehpo.store.store import SliceStore
from bonehpo.workflow.plan import make_plan

SIDE, N_SLICES = 48, 6
SPECIMENS = ("TB5", "TB6", "TB9")


def volumes():
    """Two-phase volumes of three specimens in two states, (specimen, state) -> uint8 (z, y, x), no two alike."""
    return {(s, t): bone_like(SIDE, 10 * i + t, "uint8") for i, s in enumerate(SPECIMENS) for t in (1, 2)}


def store_of(folder: Path, scans, donors=NO_DONORS, **steps) -> SliceStore:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for (specimen, state), volume in scans.items():
        np.save(folder / f"{specimen}-{state}.npy", volume)
        row = {"specimen": specimen, "state": state, "path": f"{specimen}-{state}.npy"}
        rows.append({**row, "donor": donors[specimen]} if donors else row)
    with open_engine(0) as engine:
        steps = {"match": "none", "median": False, "registration": False, **steps}
        return prepare(
            write_table(folder, rows), folder / "TB" / "slices.zarr", Steps(n_slices=N_SLICES, **steps), engine
        )


def report_of(store):
    return find_leaks(store, specimen_sets(store.specimens, store.planes, store.donors))


def failed(report):
    return [check.name for check in report.checks if not check.passed]


def shared(report):
    """Failed checks but that of intensities: scans are darkened here and not matched, which is cautioned of, too."""
    return [name for name in failed(report) if name != "phases"]


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A store without leaks."""
    return store_of(tmp_path_factory.mktemp("clean"), volumes())


def test_different_bone_does_not_leak(clean):
    report = report_of(clean)
    assert failed(report) == []
    assert report.duplicates == ()
    assert report.n_slices == 3 * 2 * 3 * N_SLICES
    assert report.n_compared == 3 * (2 * 3 * N_SLICES) ** 2


def test_a_slice_that_stands_in_two_specimens_is_named(tmp_path):
    scans = volumes()
    scans["TB9", 2][:9] = scans["TB5", 1][:9]  # in it lies the first XY slice, at z = 4
    report = report_of(store_of(tmp_path, scans))
    assert "content" in failed(report)
    [duplicate] = [duplicate for duplicate in report.duplicates if duplicate.kind == "equal"]
    assert (duplicate.first.name, duplicate.second.name) == ("TB5 state 1 XY slice 0", "TB9 state 2 XY slice 0")


@pytest.mark.parametrize(
    "copy",
    [
        lambda v: v[:, ::-1],
        lambda v: v.transpose(0, 2, 1),
        lambda v: np.roll(v, (0, 1, -1), (0, 1, 2)),
        lambda v: v // 2 + 60,
        lambda v: 255 * (v / 255) ** 0.7,
    ],
    ids=["mirrored", "turned", "shifted", "darker", "another gamma"],
)
def test_a_bone_scanned_twice_under_two_names_is_found(tmp_path, copy):
    scans = volumes()
    noise = np.random.default_rng(0).normal(0, 6, (SIDE,) * 3)
    scans["TB9", 1] = np.clip(copy(scans["TB5", 1]) + noise, 0, 255).astype(np.uint8)
    report = report_of(store_of(tmp_path, scans))
    assert shared(report) == ["specimens"]
    pairs = {((t.first.specimen, t.first.state), (t.second.specimen, t.second.state)) for t in report.duplicates}
    assert pairs == {(("TB5", 1), ("TB9", 1))}
    assert len(report.duplicates) >= N_SLICES / 2
    assert all(duplicate.kind == "near" for duplicate in report.duplicates)


def test_blank_slices_equal_each_other_and_are_no_leak(tmp_path):
    scans = volumes()
    for volume in scans.values():
        volume[:16] = 7
    report = report_of(store_of(tmp_path, scans))
    assert failed(report) == []
    assert report.n_blank == 3 * 2 * 2


def test_two_slices_with_the_same_outline_but_other_struts_are_not_the_same_bone():
    y, x = np.mgrid[:64, :64] - 31.5
    inside = np.hypot(y, x) < 24

    def section(seed):
        field = gaussian_filter(np.random.default_rng(seed).standard_normal((64, 64)), 1.5)
        return np.where(inside, 120 + 50 * (field > 0), 20).astype(np.uint8)

    first, second = (np.stack([section(10 * k + i) for i in range(8)]) for k in (1, 2))
    prints = [perceptual_hashes(stack, [bytes(16)] * 8) for stack in (first, second)]
    assert same_bone(*prints).found == ()
    assert len(same_bone(prints[0], prints[0]).found) == 8


def machined(volume: np.ndarray, seed: int) -> np.ndarray:
    """A volume turned to a cylinder in air along z, not quite in the middle, its ends in view."""
    rng, side = np.random.default_rng(seed), len(volume)
    z, y, x = np.mgrid[:side, :side, :side]
    cy, cx = side / 2 + rng.uniform(-1, 1, 2)
    whole = (np.hypot(y - cy, x - cx) < 0.45 * side) & (z > 1) & (z < side - 2)
    inside = gaussian_filter(whole.astype(float), 0.7)
    air = 12 + rng.normal(0, 3, volume.shape)
    return np.clip(np.rint(inside * volume + (1 - inside) * air), 0, 255).astype(np.uint8)


def phantom_cylinders(bone: str) -> dict[tuple[str, int], np.ndarray]:
    """Phantoms of five specimens, pristine and failed, each turned to a cylinder."""
    spec = PhantomSpec(bone=bone, side=64, n_states=2, seed=77)
    scans = {}
    for index, name in enumerate(spec.specimens):
        draw = stream(spec, index, 0)
        states = load_states(spec, index, draw)
        structure = pristine_structure(spec, index, draw)
        damage = specimen_damage(spec, states[-1].strain, draw)
        for state in states:
            faults = stream(spec, index, state.number)
            scan = quantise(simulate_scan(load(spec, structure, damage, state, faults).intensity, spec.bone, faults))
            scans[name, state.number] = machined(scan, index)
    return scans


@pytest.mark.parametrize("bone", ["CB", "TB"])
def test_cylinders_with_their_outline_in_view_are_not_the_same_bone_and_one_scanned_twice_is(tmp_path, bone):
    scans = phantom_cylinders(bone)
    first, *_, last = sorted({name for name, _ in scans})
    report = report_of(store_of(tmp_path / "apart", scans))
    assert not {"content", "specimens"} & set(failed(report))
    noise = np.random.default_rng(5).normal(0, 4, scans[first, 1].shape)
    scans[last, 1] = np.clip(scans[first, 1] + noise, 0, 255).astype(np.uint8)
    report = report_of(store_of(tmp_path / "twice", scans))
    pairs = {frozenset((d.first.specimen, d.second.specimen)) for d in report.duplicates}
    assert pairs == {frozenset((first, last))}


def test_the_same_bone_within_one_set_is_no_leak(tmp_path):
    scans = volumes()
    scans["TB9", 1] = (scans["TB5", 1] // 2 + 40).astype(np.uint8)
    store = store_of(tmp_path, scans)
    together = {plane: tuple(Group(s, plane) for s in SPECIMENS) for plane in store.planes}
    assert shared(find_leaks(store, together)) == []
    assert shared(report_of(store)) == ["specimens"]


@pytest.mark.parametrize(("donor", "leaks"), [("A", []), ("B", ["content", "specimens"])])
def test_the_same_bone_leaks_only_where_its_specimens_are_of_two_donors(tmp_path, donor, leaks):
    scans = volumes() | {("TB11", t): bone_like(SIDE, 30 + t, "uint8") for t in (1, 2)}
    scans["TB9", 1] = (scans["TB5", 1] // 2 + 40).astype(np.uint8)
    scans["TB9", 2][:9] = scans["TB5", 2][:9]
    donors = {"TB5": "A", "TB9": donor, "TB6": "C", "TB11": "D"}
    report = report_of(store_of(tmp_path, scans, donors))
    assert shared(report) == leaks
    assert report.n_compared == (5 if donor == "A" else 6) * (2 * 3 * N_SLICES) ** 2
    assert ("another donor" in " ".join(check.sentence for check in report.checks)) == bool(leaks)


def test_a_group_in_two_sets_is_a_leak(clean):
    sets = dict(specimen_sets(clean.specimens, clean.planes))
    sets["TB6"] = (*sets["TB6"], Group("TB5", "XZ"))
    assert "names" in failed(find_leaks(clean, sets))


def test_matching_to_one_reference_is_proven_and_the_reference_is_named(tmp_path):
    report = report_of(store_of(tmp_path, volumes(), match="histogram", reference="TB6:1"))
    assert failed(report) == []
    [sentence] = [check.sentence for check in report.checks if check.name == "intensities"]
    assert "TB6 state 1" in sentence
    assert "the intensities of TB6 are in all other sets" in sentence


def test_failed_scans_that_were_matched_to_another_reference_are_found(tmp_path):
    scans = volumes()
    for (_, state), volume in scans.items():
        if state == 2:
            volume[...] = volume // 2 + 20
    store = store_of(tmp_path, scans)
    claims = replace(store, manifest=replace(store.manifest, recipe=replace(store.recipe, match=True)))
    report = report_of(claims)
    assert failed(report) == ["intensities", "phases"]
    assert any("state 2" in check.sentence for check in report.checks if not check.passed)


def test_slices_that_were_not_standardised_are_found_where_the_manifest_says_they_were(clean, tmp_path):
    claims = replace(clean, manifest=replace(clean.manifest, recipe=replace(clean.recipe, standardise=True)))
    assert failed(report_of(claims)) == ["intensities"]
    assert failed(report_of(store_of(tmp_path, volumes(), standardise=True))) == []


def test_standardisation_by_all_slices_instead_of_the_training_slices_is_found(clean, monkeypatch):
    honest = leakage.intensity_moments
    monkeypatch.setattr(leakage, "intensity_moments", lambda pixels, _: honest(pixels, np.arange(len(pixels))))
    assert failed(report_of(clean)) == ["constants"]


def test_a_network_is_standardised_without_its_held_out_slices():
    from bonehpo.hyperparameters import Hyperparameters
    from bonehpo.learning.networks import STANDARDISE, build_network, standardise

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 16, 16)).astype(np.uint8)
    train = np.array([0, 2, 3])
    network = build_network(Hyperparameters(layers=1, kernel=3), side=16)
    constants = []
    for pixels in (images, np.where(np.isin(np.arange(6), train)[:, None, None], images, 255 - images)):
        standardise(network, pixels.astype(np.uint8), train)
        constants.append([np.asarray(v) for v in network.get_layer(STANDARDISE).non_trainable_weights])
    assert all(np.array_equal(a, b) for a, b in zip(*constants, strict=True))


def leaking_plan(root):
    """The plan of a study whose TB9 is TB5 scanned again."""
    scans = volumes()
    scans["TB9", 1] = (scans["TB5", 1] // 2 + 40).astype(np.uint8)
    folder = StudyFolder(root / "studies" / "TB")
    store_of(root / "scans", scans).path.parent.rename(_parent(folder.path))
    folder.config.write_text(TOML, encoding="utf-8")
    return make_plan(folder)


def _parent(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_a_leak_stops_the_search_and_is_written_down(tmp_path):
    plan = leaking_plan(tmp_path)
    with pytest.raises(StudyError, match=r"TB5 state 1 .* and TB9 state 1 .*--despite-leaks"):
        prove_no_leak(plan)
    duplicates = load_result(plan.folder, "leakage").tables["near-duplicates"]
    assert set(duplicates["kind"]) == {"near"}
    assert set(duplicates["first_specimen"]) == {"TB5"}
    result = prove_no_leak(plan, despite_leaks=True)
    assert len(leaks_of(result)) == 1
    assert "Caution" in leakage_line(result)


def test_search_refuses_a_leak_before_any_fit(tmp_path, monkeypatch):
    leaking_plan(tmp_path)
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(main, ["search", "--bone", "TB", "--trials", "1", "--workers", "0"])
    assert said.exit_code == 1
    assert "leaks between its sets" in said.output
    assert not (tmp_path / "studies" / "TB" / "fits").exists()


def test_a_report_on_leaks_is_made_once_for_a_store(tmp_path):
    plan = plan_of(tmp_path)
    first = prove_no_leak(plan)
    assert leaks_of(first) == ()
    assert leakage_line(first).startswith("Leakage: none (72 slices")
    assert prove_no_leak(plan).finished == first.finished
    other = replace(plan, sets=dict(reversed(plan.sets.items())), store_id=plan.store_id)
    assert prove_no_leak(other).finished == first.finished


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_slices_are_found_whichever_way_they_lie(orientation):
    transposed, y, x = orientation
    slices = bone_like(64, 3, "uint8")[::8]
    turned = (slices.transpose(0, 2, 1) if transposed else slices)[:, ::y, ::x]
    prints = [perceptual_hashes(stack, [bytes(16)] * len(stack)) for stack in (slices, turned)]
    found = same_bone(*prints).found
    assert [(match.first, match.second) for match in found] == [(i, i) for i in range(8)]
    assert min(match.correlation for match in found) > 0.99


def test_the_bits_of_a_slice_scanned_again_stay_and_those_of_another_do_not():
    rng = np.random.default_rng(0)
    slices = bone_like(64, 3, "uint8")[::8]
    again = np.clip(slices * 0.7 + 30 + rng.normal(0, 6, slices.shape), 0, 255).astype(np.uint8)
    other = bone_like(64, 4, "uint8")[::8]
    prints = [perceptual_hashes(stack, [bytes(16)] * len(stack)) for stack in (slices, again, other)]
    from bonehpo.leakage.near_duplicates import _bits

    bits = [_bits(p.spectra) for p in prints]
    assert np.bitwise_count(bits[0] ^ bits[1]).max() <= NEAR_BITS
    assert np.bitwise_count(bits[0] ^ bits[2]).min() > NEAR_BITS
