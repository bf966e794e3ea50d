"""The shortcut audit: models that cannot see a crack, beside the network."""

import json
from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from places import SHARED_DATA
from scipy.ndimage import gaussian_filter
from tiny_study import make_study

from bonehpo.analysis.detection import mean_by_state
from bonehpo.analysis.intervals import mean_interval
from bonehpo.analysis.shortcuts import (
    GroupState,
    end_folds,
    flags,
    judge,
    network_sentence,
    network_verdict,
    state_accuracies,
    too_few,
    verdict_sentence,
)
from bonehpo.cli import main
from bonehpo.domain import Group, ignore_progress
from bonehpo.engine import open_engine
from bonehpo.folds import specimen_sets
from bonehpo.leakage.features import CEILINGS, KINDS, LEAST, scan_features, slice_features
from bonehpo.phantom import PhantomSpec, write_phantom
from bonehpo.phantom.spec import PROPERTIES
from bonehpo.preparation.prepare import prepare
from bonehpo.results.audit import score_models
from bonehpo.results.detection import first_damaged
from bonehpo.store.recipe import Steps
from bonehpo.workflow.gate import audited, current_audits
from bonehpo.workflow.plan import make_plan

SPECIMENS = ("A", "B", "C", "D", "E")
SETS = specimen_sets(SPECIMENS, ("XY", "XZ"))
GROUPS = [group for groups in SETS.values() for group in groups]


def numbers(shift, seed=0, n=20):
    """Four numbers for each slice; the first rises by `shift(state)`, the others are noise. Scales differ widely."""
    rng = np.random.default_rng(seed)
    found = {}
    for group in GROUPS:
        for state in (1, 2, 3):
            values = rng.standard_normal((n, 4))
            values[:, 0] += shift(state)
            found[GroupState(group, state)] = values * [1000, 1, 1e-3, 1] + [5, 0, 0, 300]
    return found


def network_of(accuracy):
    """Folds of a network that is as good on every set."""
    return pd.DataFrame(
        [(a, b, accuracy) for a, b in permutations(SETS, 2)], columns=["test", "validation", "accuracy"]
    )


def curve(accuracy_at):
    """State accuracies of every fold, as `state_accuracies` gives them."""
    rows = [
        (a, b, state, np.nan, accuracy, accuracy, accuracy + 0.01 * SPECIMENS.index(a) - 0.02, 10)
        for a, b in permutations(SETS, 2)
        for state, accuracy in accuracy_at.items()
    ]
    columns = ["test", "validation", "state", "strain", "accuracy_pristine", "accuracy_loaded", "accuracy", "n_slices"]
    return pd.DataFrame(rows, columns=columns)


def test_a_number_that_tells_the_classes_apart_is_right_in_all_folds():
    states = state_accuracies(numbers(lambda state: 20.0 * (state == 3)), SETS)
    assert len(states) == 20 * 3
    assert (states.loc[states["state"] == 3, "accuracy"] == 1).all()
    assert states.loc[states["state"] == 2, "accuracy"].mean() == pytest.approx(0.5, abs=0.01)


def test_a_model_is_trained_on_the_first_and_the_last_state_and_asked_of_all():
    states = state_accuracies(numbers(lambda state: 20.0 * (state > 1)), SETS)
    assert (states.loc[states["state"] > 1, "accuracy"] == 1).all()
    assert states.index.tolist() == list(range(60))
    assert end_folds(states).columns.tolist() == ["test", "validation", "accuracy"]
    assert end_folds(states).index.tolist() == list(range(20))


def test_numbers_without_meaning_stay_at_chance():
    states = state_accuracies(numbers(lambda _: 0.0), SETS)
    assert states.loc[states["state"] == 3, "accuracy"].mean() == pytest.approx(0.5, abs=0.06)


def test_a_model_errs_on_both_classes_alike_unless_one_has_more_slices():
    states = state_accuracies(numbers(lambda state: 1.0 * (state == 3), n=60), SETS)
    last = states[states["state"] == 3]
    assert last["accuracy"].mean() == pytest.approx(0.69, abs=0.03)  # half a standard deviation from the middle
    assert last["accuracy_loaded"].mean() == pytest.approx(last["accuracy_pristine"].mean(), abs=0.05)
    features, more = numbers(lambda _: 0.0), numbers(lambda _: 0.0, seed=1, n=100)
    states = state_accuracies({key: (more if key.state == 3 else features)[key] for key in features}, SETS)
    assert states.loc[states["state"] == 3, "accuracy_loaded"].mean() > 0.95  # what it knows nothing of is the commoner
    assert states.loc[states["state"] == 3, "accuracy_pristine"].mean() < 0.05


def test_a_model_sees_nothing_of_the_sets_that_its_fold_holds_out():
    features = numbers(lambda state: 0.5 * (state == 3))
    before = state_accuracies(features, SETS)
    for key in features:
        if key.group.specimen == "A":
            features[key] = -1e6 * features[key]
    after = state_accuracies(features, SETS)
    beside = (before["validation"] == "A") & (before["test"] != "A")
    assert before[beside].equals(after[beside])
    assert not before[before["test"] == "B"].equals(after[after["test"] == "B"])


def test_the_units_of_a_number_do_not_matter():
    features = numbers(lambda state: 0.5 * (state == 3))
    other = {key: values * [1e-6, 50, 1e3, 1e-3] + [7, -1e5, 0, 3] for key, values in features.items()}
    first, second = state_accuracies(features, SETS), state_accuracies(other, SETS)
    assert np.abs(first["accuracy"] - second["accuracy"]).max() < 0.02


def test_the_units_of_a_number_that_is_missing_here_and_there_do_not_matter():
    features = numbers(lambda state: 20.0 * (state == 3))
    for values in features.values():
        values[::4, 0] = np.nan
    small = {key: values * [1e-9, 1, 1, 1] for key, values in features.items()}
    first, second = state_accuracies(features, SETS), state_accuracies(small, SETS)
    assert first.loc[first["state"] == 3, "accuracy"].mean() > 0.8
    assert np.abs(first["accuracy"] - second["accuracy"]).max() < 0.02


def test_that_a_number_is_missing_tells_a_model_nothing():
    features = numbers(lambda _: 0.0)
    for values in features.values():
        values[:, 1] = 7
    without = state_accuracies(features, SETS)
    for key, values in features.items():
        if key.state == 3:
            values[::2, 1] = np.nan
    pd.testing.assert_frame_equal(state_accuracies(features, SETS), without)


def test_a_missing_number_counts_as_the_mean_of_the_training_slices():
    features = numbers(lambda state: 20.0 * (state == 3))
    for values in features.values():
        values[::2, 1:3] = np.nan
    assert too_few(features) == ""
    states = state_accuracies(features, SETS)
    assert (states.loc[states["state"] == 3, "accuracy"] == 1).all()


def test_a_model_is_not_asked_where_most_slices_of_a_group_have_no_pixels():
    features = numbers(lambda _: 0.0)
    assert too_few(features) == ""
    features[GroupState(Group("C", "XZ"), 1)][:11] = np.nan
    assert "45% of the slices of C state 1 XZ" in too_few(features)


def test_a_model_near_the_network_is_flagged_where_nobody_knows_an_undamaged_state():
    states = curve({1: 0.5, 3: 0.86})
    found = judge("intensity levels", states, network_of(0.79), None)
    assert (found.near, found.flagged) == (True, True)
    assert found.share == pytest.approx(0.36 / 0.29, abs=0.01)
    assert found.difference == pytest.approx(0.07)
    assert "does not show that it sees damage" in verdict_sentence(found, 0.79, None)


def test_a_model_is_held_against_the_network_test_set_by_test_set():
    found = judge("noise inside bone", curve({1: 0.5, 2: 0.52, 3: 0.86}), network_of(0.79), 3)
    differences = 0.07 + 0.01 * (np.arange(5) - 2)
    assert (found.mean, found.n_folds) == pytest.approx((0.86, 20))
    assert found.sd == pytest.approx(np.std(np.repeat(differences, 4), ddof=1))
    assert found[6:9] == pytest.approx((0.07, *mean_interval(differences)))
    assert found.p == found.smallest_p == 0.0625
    assert found.before == pytest.approx(0.52)
    folds = pd.DataFrame({"test": list("ABC"), "validation": list("BCA"), "accuracy": [0.8, 0.9, 1.0]})
    assert network_verdict(folds)[:4] == ("network", pytest.approx(0.9), pytest.approx(0.1), 3)
    assert not any(network_verdict(folds)[-3:])


def test_the_pristine_state_is_none_in_which_a_model_can_be_cleared():
    found = judge("noise inside bone", curve({1: 0.5, 2: 0.8, 3: 0.8}), network_of(0.8), 2)
    assert np.isnan(found.before)
    assert (found.near, found.sees_before, found.flagged, found.unsure) == (True, False, False, True)
    assert "every loaded state is damaged" in verdict_sentence(found, 0.8, 2)


@pytest.mark.parametrize(("accuracy", "near"), [(0.6875, True), (0.68, False)])
def test_a_model_is_near_from_three_quarters_of_the_networks_margin_on(accuracy, near):
    states = curve({1: 0.5, 3: 0.5})
    states.loc[states["state"] == 3, "accuracy"] = accuracy  # of every set, so that the mean is exact
    found = judge("intensity levels", states, network_of(0.75), None)
    assert (found.near, found.flagged) == (near, near)


def test_a_model_far_from_the_network_says_nothing():
    found = judge("intensity levels", curve({1: 0.5, 3: 0.65}), network_of(0.9), None)
    assert (found.near, found.flagged) == (False, False)
    assert verdict_sentence(found, 0.9, None) == ""


def test_a_model_near_the_network_is_cleared_where_it_sees_nothing_before_damage():
    found = judge("noise inside bone", curve({1: 0.5, 2: 0.52, 3: 0.8}), network_of(0.8), 3)
    assert (found.near, found.sees_before, found.flagged) == (True, False, False)
    assert "comes with the damage" in verdict_sentence(found, 0.8, 3)


def test_a_model_that_sees_loaded_bone_before_damage_is_flagged_however_far_it_is():
    found = judge("background", curve({1: 0.5, 2: 0.7, 3: 0.7}), network_of(0.99), 3)
    assert (found.near, found.sees_before, found.flagged) == (False, True, True)
    assert "before damage is visible (state 3)" in verdict_sentence(found, 0.99, 3)
    rising = judge("background", curve({1: 0.5, 2: 0.7, 3: 0.8}), network_of(0.99), 3)
    assert (rising.sees_before, rising.flagged) == (True, True)


def test_what_a_model_sees_before_damage_is_no_flag_where_the_network_does_not_see_it():
    blind, seeing = curve({1: 0.5, 2: 0.5, 3: 0.95}), curve({1: 0.5, 2: 0.8, 3: 0.95})
    states = curve({1: 0.5, 2: 0.7, 3: 0.7})
    cleared = judge("background", states, network_of(0.95), 3, blind)
    assert not cleared.flagged
    said = verdict_sentence(cleared, 0.95, 3)
    assert "accuracy up to 0.70) before damage is visible, but the network does not" in said
    assert judge("background", states, network_of(0.95), 3, seeing).flagged


def test_models_beside_a_network_at_chance_are_near_only_above_chance():
    assert not judge("intensity levels", curve({1: 0.5, 3: 0.45}), network_of(0.5), None).flagged
    assert not judge("intensity levels", curve({1: 0.5, 3: 0.45}), network_of(0.4), None).flagged
    found = judge("intensity levels", curve({1: 0.5, 3: 0.6}), network_of(0.5), None)
    assert found.flagged
    assert np.isnan(found.share)
    chance = curve({1: 0.5, 3: 0.5}).assign(accuracy=0.5)
    assert not judge("intensity levels", chance, network_of(0.5), None).near


def test_a_network_that_sees_loaded_bone_before_damage_is_flagged_by_itself():
    assert "at state 2" in network_sentence(mean_by_state(curve({1: 0.5, 2: 0.9, 3: 0.95})), 3)
    assert network_sentence(mean_by_state(curve({1: 0.5, 2: 0.52, 3: 0.95})), 3) == ""
    bump = mean_by_state(curve({1: 0.5, 2: 0.7, 3: 0.9, 4: 0.8, 5: 0.5, 6: 0.95}))
    assert "(state 6), with an accuracy of 0.90 at state 3" in network_sentence(bump, 6)
    assert "below its detection limit, with an accuracy of 0.90 at state 3" in network_sentence(bump, None)


def bone(seed, noise, crack=False):
    """Slices of bone with pores, (8, 96, 96), in whose middle a crack may run, three pixels wide."""
    rng = np.random.default_rng(seed)
    pores = gaussian_filter(rng.standard_normal((8, 96, 96)), (0, 6, 6))
    intensity = np.where(pores > pores.std(), 40.0, 170.0)
    if crack:
        intensity[:, 46:49] = 40
    return np.clip(intensity + rng.normal(0, noise, intensity.shape), 0, 255).astype(np.uint8)


def test_noise_is_measured_and_a_crack_is_not():
    quiet, loud, cracked = bone(0, 6), bone(0, 12), bone(0, 6, crack=True)
    of = [slice_features(slices, 105)["noise inside bone"][:, 1].mean() for slices in (quiet, loud, cracked)]
    assert of[0] == pytest.approx(6, rel=0.05)
    assert of[1] == pytest.approx(12, rel=0.05)
    assert of[2] == pytest.approx(of[0], rel=0.03)


def test_noise_is_not_measured_where_bone_meets_its_surroundings():
    largest = slice_features(bone(0, 6), 105)["noise outside bone"][:, 5]
    assert (largest > 6).all()
    assert largest.max() < 6 * 4  # the 99th percentile of sizes: no edge of 130 intensity levels is among them


def test_what_a_slice_has_too_little_of_is_missing():
    solid = np.full((2, 32, 32), 200, np.uint8)
    solid[0, :7, :7] = 10
    found = slice_features(solid, 100)
    assert np.isnan(found["background"]).all()
    assert np.isfinite(found["noise inside bone"]).all()
    assert LEAST > 1


def scored(store, accuracy):
    sets = specimen_sets(store.specimens, store.planes)
    network = pd.DataFrame(
        [(a, b, accuracy) for a, b in permutations(sets, 2)], columns=["test", "validation", "accuracy"]
    )
    verdicts = score_models(store, sets, network, first_damaged(store)).verdicts
    return {verdict.model: verdict for verdict in verdicts}


def prepared(csv, out, **steps):
    with open_engine(0) as engine:
        return prepare(csv, out, Steps(registration=False, **steps), engine)


def test_a_model_that_damage_hardly_concerns_is_flagged_by_its_ceiling_alone():
    network, silent = network_of(0.99), curve({1: 0.5, 2: 0.5, 3: 0.76})
    assert judge("place", silent, network, 3, ceiling=0.7).flagged
    assert judge("place", silent, network, None, ceiling=0.7).flagged
    assert not judge("place", silent, network, None, ceiling=0.8).flagged
    assert not judge("place", silent, network_of(0.7), None, ceiling=0.8).flagged, "near a network means nothing of it"
    assert not judge("place", silent, network, 3).flagged
    said = verdict_sentence(judge("place", silent, network, 3, ceiling=0.7), 0.99, 3)
    assert said.startswith(
        "A model of place alone tells failed from pristine slices with 0.76, and damage would not let it"
    )


def flat_slices(seed, n=12, side=64, texture=0.6):
    """Slices of two phases, (slice, y, x), with noise that is correlated over `texture` pixels; uint8."""
    rng = np.random.default_rng(seed)
    bone = gaussian_filter(rng.standard_normal((n, side, side)), (0, 6, 6)) > 0.03
    noise = gaussian_filter(rng.standard_normal(bone.shape), (0, texture, texture))
    return np.clip(80 + 90 * bone + 6 * noise / noise.std(), 0, 255)


def blind(slices):
    """The numbers of the models that have a ceiling."""
    found = slice_features(np.rint(slices).astype(np.uint8), 125)
    return {model: found[model] for model in CEILINGS}


def moved(model, one, other):
    """By how many of their own standard deviations the numbers of a model differ at most."""
    first, second = blind(one)[model], blind(other)[model]
    spread = np.maximum((first.std(axis=0) + second.std(axis=0)) / 2, 1e-6)
    return float((np.abs(first.mean(axis=0) - second.mean(axis=0)) / spread).max())


def test_each_model_of_flat_parts_answers_to_what_it_measures_and_not_to_a_crack():
    plain, cracked = flat_slices(0), flat_slices(0)
    cracked[:, 30:33, :] = 60
    shaded = plain * (1 + 0.2 * np.linspace(-0.5, 0.5, 64))
    marked, coarse = plain.copy(), np.rint(plain / 16) * 16
    marked[:, :5, :5] = 255
    for model in ("flat texture", "flat noise", "place", "shading", "bone place"):
        assert moved(model, plain, cracked) < 1, model
    assert moved("flat texture", plain, flat_slices(0, texture=0.9)) > 3
    assert moved("flat texture", plain, coarse) > 3
    assert moved("flat noise", plain, plain + 2 * (plain - gaussian_filter(plain, (0, 1, 1)))) > 3
    assert moved("place", plain, shaded) > 1.5
    assert moved("place", plain, marked) > 3


def test_flat_parts_are_not_measured_where_there_are_none():
    black = np.zeros((2, 64, 64))
    assert all(np.isnan(blind(black)[model]).all() for model in ("flat texture", "flat noise"))
    assert all(np.isnan(found).all() for found in blind(flat_slices(1, side=24)).values() if found.shape[1] == 17)
    framed = flat_slices(2, side=96)
    framed[:, :20] = 0
    assert moved("flat noise", framed, flat_slices(2, side=96)) < 1, "a black frame is no part of the image"


def test_sharpness_shading_rings_and_place_answer_to_what_they_measure_and_not_to_a_crack():
    plain, cracked = flat_slices(0), flat_slices(0)
    cracked[:, 30:33, :] = 60
    x = np.arange(64) - 31.5
    ring = np.where(np.hypot(x[:, None], x).round() % 4 == 0, 4, 0)
    faults = {
        "sharpness": plain + 0.5 * (plain - gaussian_filter(plain, (0, 1, 1))),
        "shading": plain * (1 + 0.1 * np.linspace(-0.5, 0.5, 64)),
        "rings": plain + ring,
        "bone place": np.roll(plain, 8, axis=2),
    }

    def means(slices, model):
        return blind(slices)[model].mean(axis=0)

    for model, planted in faults.items():
        change, of_crack = (np.abs(means(other, model) - means(plain, model)) for other in (planted, cracked))
        assert change.max() > 3 * of_crack[change.argmax()], model
    assert means(faults["shading"], "shading")[1] - means(plain, "shading")[1] == pytest.approx(0.1, abs=0.02)


def test_the_rings_of_a_scan_are_those_of_the_plane_that_shows_them_best(tmp_path):
    with open_engine(0) as engine:
        spec = PhantomSpec(bone="CB", side=48, n_states=2, specimens=("A", "B", "C"), shortcut="rings:0.05@failed")
        csv = write_phantom(spec, tmp_path / "phantom", engine, ignore_progress)
    found = scan_features(prepared(csv, tmp_path / "a" / "slices.zarr", n_slices=6), "A", 2)["rings"]
    assert found["XY"] == found["XZ"] == found["YZ"]
    assert found["XY"] > 0.3


def test_a_model_that_sees_cracks_is_asked_before_damage_alone():
    cracks = judge("random filters", curve({1: 0.5, 2: 0.5, 3: 0.99}), network_of(0.9), 3, ceiling=np.inf)
    assert (cracks.near, cracks.flagged, cracks.unsure) == (False, False, False)
    assert judge("random filters", curve({1: 0.5, 2: 0.8, 3: 0.99}), network_of(0.9), 3, ceiling=np.inf).flagged


def test_a_mean_over_a_limit_is_a_caution_where_sets_are_too_unlike_to_tell():
    states = curve({1: 0.5, 3: 0.8})
    wide = states.assign(
        accuracy=states["accuracy"] + 0.16 * (states["test"].map("ABCDE".index) - 2) * (states["state"] == 3)
    )
    for network, ceiling in ((0.8, None), (0.99, 0.7)):
        assert judge("flat noise", states, network_of(network), None, ceiling=ceiling).flagged
        found = judge("flat noise", wide, network_of(network), None, ceiling=ceiling)
        assert found.surely == pytest.approx(mean_interval(0.8 + 0.16 * (np.arange(5) - 2)).lower, abs=0.02)
        assert (found.flagged, found.unsure) == (False, True)
        assert "they cannot tell" in verdict_sentence(found, network, None)


def test_crack_pixels_are_said_to_count_where_a_model_looks_at_all_pixels():
    states = curve({1: 0.5, 3: 0.86})
    for model, said in (("intensity levels", True), ("background", False)):
        sentence = verdict_sentence(judge(model, states, network_of(0.79), None), 0.79, None)
        assert ("among which crack pixels count" in sentence) == said


@pytest.mark.parametrize(
    "shortcut", ["sharpening:1.5@failed", "blur:0.8@failed", "bit-depth:3@failed", "mark:5@failed", "frame:2@failed"]
)
def test_a_shortcut_of_the_failed_scans_alone_is_flagged(tmp_path, shortcut):
    with open_engine(0) as engine:
        spec = PhantomSpec(bone="CB", side=48, n_states=4, specimens=("A", "B", "C"), shortcut=shortcut)
        csv = write_phantom(spec, tmp_path / "phantom", engine, ignore_progress)
    found = scored(prepared(csv, tmp_path / "a" / "slices.zarr", n_slices=6), 0.95)
    assert any(verdict.flagged and verdict.mean >= verdict.ceiling for verdict in found.values())


@pytest.mark.parametrize("kind", ["TB", "CB"])
def test_a_shortcut_in_unprepared_phantoms_is_flagged_and_clean_prepared_ones_are_not(tmp_path, kind):
    def phantom(name, **more):
        with open_engine(0) as engine:
            spec = PhantomSpec(bone=kind, side=48, n_states=4, specimens=PROPERTIES[kind].specimens[:3], **more)
            return write_phantom(spec, tmp_path / name, engine, ignore_progress)

    trap, clean = phantom("trap", shortcut="hot-pixels"), phantom("clean")
    raw = scored(prepared(trap, tmp_path / "a" / "slices.zarr", n_slices=6, match="none", median=False), 0.95)
    noise = "noise outside bone" if kind == "TB" else "noise inside bone"
    assert raw[noise].flagged
    assert raw[noise].before > 0.95
    good = scored(prepared(clean, tmp_path / "b" / "slices.zarr", n_slices=6), 0.85)
    assert not any(verdict.flagged for verdict in good.values())
    assert good["intensity levels"].n_folds == 6


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the shared images are not here")
def test_the_contrast_of_porcine_slices_is_flagged_and_gone_once_slices_are_standardised(tmp_path):
    csv = SHARED_DATA / "porcine_vertebrae" / "slices.csv"
    plain = scored(prepared(csv, tmp_path / "a" / "slices.zarr", side=96, n_slices=5), 0.779)
    assert plain["intensity levels"].mean > 0.8
    assert plain["intensity levels"].flagged
    even = scored(prepared(csv, tmp_path / "b" / "slices.zarr", side=96, n_slices=5, standardise=True), 0.779)
    assert not any(verdict.flagged for verdict in even.values())


def test_flags_are_the_sentences_of_the_table():
    tables = {"flags": pd.DataFrame([("intensity levels", "near", "one"), ("network", "before damage", "two")],
                                    columns=["model", "kind", "sentence"])}  # fmt: skip
    assert flags(tables) == ("one", "two")
    assert set(KINDS) >= {"intensity levels"}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A project whose failed slices are brighter, and what was said of its search."""
    root = tmp_path_factory.mktemp("searched")
    folder = make_study(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert "nobody has looked" in warned_before(folder)
        said = CliRunner().invoke(main, ["search", "--bone", "TB", "--trials", "1", "--workers", "0"])
        assert said.exit_code == 0, said.output
    return root, folder, said


def warned_before(folder):
    """What speaks against a study that has begun, but has no optimum."""
    from bonehpo.search.storage import open_storage, open_study

    plan = make_plan(folder)
    open_study(open_storage(plan.storage), folder.name, plan.identity)
    return " ".join(audited(plan).warnings)


def test_a_search_looks_for_leaks_at_its_start_and_for_shortcuts_at_its_end(searched):
    _, folder, said = searched
    assert "Leakage: none (72 slices by hash" in said.stderr
    assert (folder.results / "leakage" / "near-duplicates.csv").exists()
    assert (folder.results / "audit" / "audit.png").exists()


def test_show_says_what_was_found_in_one_line_each(searched, monkeypatch):
    monkeypatch.chdir(searched[0])
    lines = CliRunner().invoke(main, ["show", "--bone", "TB"]).output.splitlines()
    assert sum(line.startswith("Leakage: none") for line in lines) == 1
    [shortcuts] = [line for line in lines if line.startswith("Shortcuts: ")]
    assert "Caution: A model of intensity levels alone, among which crack pixels count, reaches 1.00" in shortcuts
    shown = json.loads(CliRunner().invoke(main, ["show", "--bone", "TB", "--json"]).output)["audits"]
    assert set(shown) == {"leakage", "audit"}
    assert shown["audit"]["metrics"]["accuracy/intensity_levels"] == 1


def test_the_audit_is_told_as_json_and_is_what_speaks_against_promotion(searched, monkeypatch):
    monkeypatch.chdir(searched[0])
    told = json.loads(CliRunner().invoke(main, ["audit", "--bone", "TB", "--json"]).stdout)
    cautions = [s.removeprefix("Caution: ") for s in told["audit"]["sentences"] if s.startswith("Caution")]
    plan = make_plan(searched[1])
    assert list(audited(plan).warnings) == cautions
    assert cautions
    found = current_audits(plan)
    unsure = replace(found["audit"], sentences=(*found["audit"].sentences, "Caution: too few sets to say."))
    assert audited(plan, found | {"audit": unsure}) == (
        audited(plan).warnings,
        (*audited(plan).sentences, "Caution: too few sets to say."),
    ), "what is no flag goes to the model card"
    assert any(
        "when parts of pristine and failed slices are exchanged (n = 3 test sets)" in s
        for s in told["audit"]["sentences"]
    )
    alone = json.loads(CliRunner().invoke(main, ["audit", "--bone", "TB", "--leakage", "--json"]).stdout)
    assert set(alone) == {"leakage"}


def test_an_audit_asks_of_undamaged_states_once_a_person_says_which_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_study(tmp_path, damages=(0, 0, 1))
    run = CliRunner().invoke
    assert run(main, ["search", "--bone", "TB", "--trials", "1", "--workers", "0"]).exit_code == 0
    blind = json.loads(run(main, ["audit", "--bone", "TB", "--json"]).stdout)["audit"]
    assert any("crack pixels count, reaches" in sentence for sentence in blind["sentences"])
    asked = json.loads(run(main, ["audit", "--bone", "TB", "--visible-from", "3", "--json"]).stdout)["audit"]
    assert asked["parameters"]["visible_from"] == "3"
    assert asked["metrics"]["before_damage/intensity_levels"] < 0.6
    assert not any("crack pixels count, reaches" in s and s.startswith("Caution") for s in asked["sentences"])
