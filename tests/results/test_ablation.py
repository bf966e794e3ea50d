"""What preparation takes away: scans whose pristine ones carry a noise of their own, prepared in four ways."""

import os
from dataclasses import replace

import pandas as pd
import pytest
import tifffile
from data_makers import bone_like, write_table
from documented import undocumented
from tiny_study import finish, make_result

from bonehpo.config import StudyFolder
from bonehpo.domain import ignore_progress
from bonehpo.engine import InProcess
from bonehpo.errors import PreparationError, ScanError
from bonehpo.phantom import PhantomSpec, write_phantom
from bonehpo.preparation.prepare import prepare
from bonehpo.results.ablation import (
    _sentence,
    _separation,
    ablation_address,
    digest_of_scans,
    states_option,
    variants,
)
from bonehpo.store.recipe import Steps
from bonehpo.store.store import SliceStore
from bonehpo.workflow.plan import make_plan

SEES_NOISE = """
bone = "TB"
[space]
layers = [4]
learning_rate = [5e-3]
kernel = [3]
batch = [8]
[baseline]
layers = 4
learning_rate = 5e-3
kernel = 3
batch = 8
[training]
epochs = 8
precision = "float32"
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished study of phantoms with the shortcut, and the table of their scans."""
    root = tmp_path_factory.mktemp("ablation")
    spec = PhantomSpec(bone="TB", side=32, n_states=4, specimens=("A", "B", "C"), shortcut="hot-pixels", seed=1)
    scans = write_phantom(spec, root / "phantom", InProcess(), ignore_progress)
    folder = StudyFolder(root / "studies" / "TB")
    folder.path.mkdir(parents=True)
    folder.config.write_text(SEES_NOISE, encoding="utf-8")
    prepare(scans, folder.store, Steps(n_slices=8, crop=30, reference="B:1", registration=False), InProcess())
    return finish(make_plan(folder)), scans


VARIANTS = variants("phases")


def ablate(study):
    finished, scans = study
    return make_result("ablation", finished, scans=scans)


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def stores(finished):
    return {v.name: finished.plan.folder.path / "ablation" / v.name.replace(" ", "-") for v in VARIANTS}


@pytest.fixture(scope="module")
def ablated(study):
    before = times(study[0].plan.folder.store)
    found = ablate(study)
    assert times(study[0].plan.folder.store) == before, "the study's own store is not touched"
    return found


def test_without_preparation_pristine_scans_are_told_from_every_loaded_state(ablated):
    assert undocumented(ablated) == []
    found = ablated.tables["separation"].set_index("variant")
    assert list(found.index) == [variant.name for variant in VARIANTS]
    assert found.loc["raw", "lowest"] > 0.75
    assert found.loc["raw", "lowest"] > found.loc["prepared", "lowest"] + 0.25
    assert list(found["separates"]) == list(found["lowest"] >= 0.9)
    assert not found.loc["prepared", "separates"]
    warned = [sentence.startswith("Caution: ") for sentence in ablated.sentences]
    assert warned == list(found["separates"])


@pytest.mark.parametrize(
    ("accuracies", "visible_from", "separates"),
    [
        ({2: 0.95, 3: 0.95, 4: 1.0}, None, True),
        ({2: 0.85, 3: 0.95, 4: 1.0}, None, False),
        ({4: 1.0}, None, False),
        ({3: 0.95, 4: 1.0}, 3, False),
        ({2: 0.95, 3: 0.95, 4: 1.0}, 3, True),
    ],
    ids=["all high", "one is not", "failure alone", "damage alone", "before damage too"],
)
def test_only_states_without_damage_show_that_a_network_needs_none(accuracies, visible_from, separates):
    rows = [
        {"test": test, "state": state, "strain": 0.0, "accuracy": a, "accuracy_pristine": a, "accuracy_loaded": a}
        for test in ("A", "B")
        for state, a in {1: 0.5, **accuracies}.items()
    ]
    found = _separation("raw", pd.DataFrame(rows), visible_from)
    assert found["separates"] is separates
    assert found["lowest"] == min(accuracies.values())
    assert _sentence(found).startswith("Caution") is separates


def test_every_variant_is_tested_at_every_state_and_two_are_explained(ablated):
    states, slices = ablated.tables["states"], ablated.tables["slices"]
    assert states.groupby("variant").size().to_dict() == {variant.name: 6 * 4 for variant in VARIANTS}
    assert slices.groupby("variant")["state"].apply(list).to_dict() == {"prepared": [1, 2, 4], "raw": [1, 2, 4]}
    assert list(slices["label"].unique()) == ["pristine", "loaded", "failed"]
    assert ablated.arrays["maps"].shape == ablated.arrays["slices"].shape == (6, 30, 30)
    assert [configuration.name for configuration in ablated.configurations] == [variant.name for variant in VARIANTS]


def test_variants_are_prepared_as_the_store_but_for_the_step_that_is_left_out(ablated, study):
    finished, _ = study
    for variant in VARIANTS:
        store = SliceStore.open(stores(finished)[variant.name] / "slices.zarr")
        recipe, own = store.recipe, finished.store.recipe
        assert (recipe.matching, recipe.median) == (variant.match, variant.median)
        assert (recipe.crop, recipe.side, recipe.n_slices, recipe.reference) == (30, own.side, 8, "B:1")
    prepared = SliceStore.open(stores(finished)["prepared"] / "slices.zarr")
    assert (prepared.group("C", 4, "XZ") == finished.store.group("C", 4, "XZ")).all()


def test_variants_are_prepared_and_trained_once(ablated, study):
    finished, scans = study
    before = times(finished.plan.folder.path)
    found = ablate(study)
    assert found.inputs == ablated.inputs == ablation_address(finished, scans)
    assert found.tables["states"].equals(ablated.tables["states"])
    assert times(finished.plan.folder.path) == before


def in_a_hurry(finished):
    """The same study with one epoch a fit."""
    config = finished.plan.config
    quick = replace(config, training=replace(config.training, epochs=1))
    return replace(finished, plan=replace(finished.plan, config=quick))


@pytest.mark.torture
def test_a_scan_that_changed_is_prepared_again(ablated, study):
    finished, scans = study
    before = {name: SliceStore.open(folder / "slices.zarr").id for name, folder in stores(finished).items()}
    scan = scans.parent / "B" / "state_03.tif"
    content = scan.read_bytes()
    try:
        tifffile.imwrite(scan, tifffile.imread(scan)[::-1], photometric="minisblack")
        assert ablation_address(finished, scans) != ablated.inputs
        ablate((in_a_hurry(finished), scans))
    finally:
        scan.write_bytes(content)
    after = {name: SliceStore.open(folder / "slices.zarr").id for name, folder in stores(finished).items()}
    assert not set(before.values()) & set(after.values())


def test_a_page_that_changed_in_a_folder_of_images_tells_its_scans_from_others(tmp_path):
    rows = []
    for specimen in "AB":
        for state in (1, 2):
            (tmp_path / f"{specimen}{state}").mkdir()
            for z in range(2):
                tifffile.imwrite(tmp_path / f"{specimen}{state}" / f"{z}.tif", bone_like(8)[z])
            rows.append({"specimen": specimen, "state": state, "path": f"{specimen}{state}"})
    scans = write_table(tmp_path, rows)
    before = digest_of_scans(scans)
    assert digest_of_scans(scans) == before
    page = tmp_path / "B2" / "1.tif"
    os.utime(page, ns=(0, page.stat().st_mtime_ns + 1))
    assert digest_of_scans(scans) != before


def test_scans_that_lack_the_reference_of_the_store_are_refused(ablated, study, tmp_path):
    finished, scans = study
    lines = scans.read_text().splitlines(keepends=True)
    others = scans.with_name("others.csv")
    others.write_text("".join(line for line in lines if not line.startswith("B,")))
    with pytest.raises(PreparationError, match=r"reference 'B:1' is not in .*others\.csv"):
        ablate((finished, others))


def in_words(scans):
    """The same scans in a table whose states are words."""
    words = {"1": "intact", "2": "loaded", "3": "cracked", "4": "failed"}
    head, *rows = scans.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    path = scans.with_name("words.csv")
    path.write_text("\n".join([head, *(",".join([name, words[state], *rest]) for name, state, *rest in cells)]))
    return path, tuple(words.values())


def test_scans_whose_states_are_words_are_those_whose_states_are_numbers(ablated, study):
    finished, scans = study
    path, words = in_words(scans)
    fits = times(finished.plan.folder.fits)
    found = make_result("ablation", finished, scans=path, states=words)
    assert found.tables["states"].equals(ablated.tables["states"])
    assert times(finished.plan.folder.fits) == fits, "nothing is fitted again"
    before = times(finished.plan.folder.path)
    assert make_result("ablation", finished, scans=path, states=words).inputs == found.inputs
    assert times(finished.plan.folder.path) == before
    assert states_option(found) == " --states intact,loaded,cracked,failed"
    assert states_option(ablated) == ""


def test_another_order_of_words_is_another_ablation(tmp_path):
    (tmp_path / "all.h5").touch()
    words = ("intact", "failed")
    rows = [{"specimen": s, "state": word, "path": f"all.h5::/{s}/{word}"} for s in "AB" for word in words]
    scans = write_table(tmp_path, rows)
    assert digest_of_scans(scans, words) == digest_of_scans(scans, ("Intact", "FAILED"))
    assert digest_of_scans(scans, words) != digest_of_scans(scans, words[::-1])


def test_slices_without_volumes_are_refused(study, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", bone_like(8)[0])
    rows = [
        {"specimen": s, "state": state, "plane": "ML", "position": 0, "path": "a.tif"} for s in "AB" for state in (1, 2)
    ]
    with pytest.raises(ScanError, match="lists 2-D slices, which are neither matched nor filtered"):
        ablate((study[0], write_table(tmp_path, rows)))
