"""`bonehpo prepare --standardise`: level and spread of intensities tell nothing any more."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from data_makers import bone_like, write_scans, write_table

from bonehpo.cli import main
from bonehpo.engine import open_engine
from bonehpo.preparation.prepare import prepare, prepare_scan
from bonehpo.scans.intensity import STANDARD_MEAN, STANDARD_SD, intensity_moments, standardised
from bonehpo.store.manifest import MANIFEST
from bonehpo.store.recipe import Recipe, Steps
from bonehpo.store.store import SliceStore


def prepared(csv, out, **steps) -> SliceStore:
    with open_engine(0) as engine:
        return prepare(csv, out, Steps(n_slices=4, **steps), engine)


def all_slices(store):
    return [
        image.astype(float)
        for scan in store.manifest.scans
        for plane in store.planes
        for image in store.group(scan.specimen, scan.state, plane)
    ]


def test_every_slice_of_a_volume_gets_the_same_mean_and_spread(tmp_path):
    csv = write_scans(tmp_path / "scans")
    store = prepared(csv, tmp_path / "TB" / "slices.zarr", standardise=True)
    for image in all_slices(store):
        assert image.mean() == pytest.approx(STANDARD_MEAN, abs=1)
        assert image.std() == pytest.approx(STANDARD_SD, abs=1)
    plain = prepared(csv, tmp_path / "other" / "slices.zarr")
    assert max(abs(image.std() - STANDARD_SD) for image in all_slices(plain)) > 5


def slice_table(folder):
    """A bright scan of high contrast and a dark one of low contrast of the same section."""
    folder.mkdir()
    rows = []
    for seed, specimen in enumerate(("P1", "P2")):
        section = bone_like(40, seed)[20].astype(float) / 256
        for state, gain in ((1, 1.0), (2, 0.5)):
            for position in range(3):
                file = f"{specimen}-{state}-{position}.tif"
                tifffile.imwrite(
                    folder / file, (np.roll(section, position) * gain * (1 - position / 4) + state).astype(np.uint8)
                )
                rows.append({"specimen": specimen, "state": state, "plane": "ML", "position": position, "path": file})
    return write_table(folder, rows)


def test_two_dimensional_slices_of_different_contrast_become_alike(tmp_path):
    store = prepared(slice_table(tmp_path / "scans"), tmp_path / "P" / "slices.zarr", standardise=True)
    bright, dark = store.group("P1", 1, "ML").astype(float), store.group("P1", 2, "ML").astype(float)
    assert np.abs(bright - dark).mean() < 2
    assert any("mean 128" in note for note in store.notes)


def test_a_further_scan_is_standardised_as_those_of_the_store(tmp_path):
    csv = write_scans(tmp_path / "scans")
    store = prepared(csv, tmp_path / "TB" / "slices.zarr", standardise=True)
    recipe = Recipe.from_json(store.recipe.to_json())
    again = prepare_scan(str(tmp_path / "scans" / "TB5_2.tif"), recipe)
    assert np.array_equal(again.slices["XZ"], store.group("TB5", 2, "XZ"))


def test_recipes_and_stores_from_before_are_read_and_keep_their_id(tmp_path):
    store = prepared(write_scans(tmp_path / "scans"), tmp_path / "TB" / "slices.zarr")
    assert "standardise" not in json.loads((store.path / MANIFEST).read_text())["recipe"]
    assert SliceStore.open(store.path).recipe.standardise is False
    assert (
        replace(store.manifest, recipe=replace(store.recipe, standardise=True)).to_bytes() != store.manifest.to_bytes()
    )


def test_bone_is_measured_as_it_was_before_slices_are_standardised(tmp_path):
    csv = slice_table(tmp_path / "scans")
    fractions = [
        [
            scan.bone_volume_fraction
            for scan in prepared(csv, tmp_path / name / "slices.zarr", standardise=on).manifest.scans
        ]
        for name, on in (("on", True), ("off", False))
    ]
    assert fractions[0] == fractions[1]


def test_inspect_says_that_slices_are_standardised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    csv = write_scans(tmp_path / "scans")
    options = ["--bone", "TB", "--slices", "2", "--standardise", "--workers", "0"]
    assert CliRunner().invoke(main, ["prepare", str(csv), *options]).exit_code == 0
    said = CliRunner().invoke(main, ["inspect", "--bone", "TB"]).output
    assert "each slice with mean 128 and sd 40" in said
    assert json.loads(CliRunner().invoke(main, ["inspect", "--bone", "TB", "--json"]).output)["standardised"] is True


def test_a_slice_of_one_intensity_is_given_the_mean_and_no_noise():
    assert (standardised(np.full((4, 4), 7.0)) == STANDARD_MEAN).all()


def test_moments_of_training_slices_do_not_know_what_is_held_out():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (10, 8, 8)).astype(np.uint8)
    train = np.array([0, 3, 4])
    held_out = np.setdiff1d(np.arange(10), train)
    before = intensity_moments(pixels, train)
    pixels[held_out] = 255 - pixels[held_out]
    assert intensity_moments(pixels, train) == before
    assert before.mean == pytest.approx(pixels[train].mean())
    assert before.variance == pytest.approx(pixels[train].var())
