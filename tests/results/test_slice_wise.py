"""What a leak is worth: slices of all specimens, split at random."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from commands import call, refusal
from documented import undocumented
from hypothesis import given
from hypothesis import strategies as st
from tiny_study import SPECIMENS, finish, make_result, make_study
from tracked import new_project

from bonehpo.config import StudyFolder
from bonehpo.domain import Group
from bonehpo.learning.fitting import run_fit
from bonehpo.results.finished import finished_study
from bonehpo.results.result import load_result
from bonehpo.results.slice_wise import accuracy_by_set, slice_wise_configuration
from bonehpo.store.images import LabelledImages, load_images
from bonehpo.workflow.plan import make_plan

HERE = ("--bone", "TB", "--workers", 0)


def images_of(counts):
    """Images of specimens with so many pristine and failed slices each, in one plane, without pixels to speak of."""
    rows = [
        (f"S{i}", truth, position)
        for i, of_classes in enumerate(counts)
        for truth, n in enumerate(of_classes)
        for position in range(n)
    ]
    specimens, truth, positions = zip(*rows, strict=True)
    return LabelledImages(
        pixels=np.zeros((len(rows), 1, 1), np.uint8),
        truth=np.array(truth, np.float32),
        specimens=np.array(specimens),
        states=np.array(truth) + 1,
        planes=np.repeat("XY", len(rows)),
        positions=np.array(positions),
    )


counts_of_classes = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=3, max_size=6)


@given(counts_of_classes, st.integers(0, 99))
def test_parts_are_disjoint_cover_all_slices_and_hold_as_many_of_each_class_as_the_sets(counts, seed):
    images = images_of(counts)
    sets = {f"part-{i}": (Group(f"S{i}", "XY"),) for i in range(len(counts))}
    parts = images.by_set(sets, seed)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(images.truth)))
    for i, of_classes in enumerate(counts):
        truth = images.truth[parts[f"part-{i}"]]
        assert ((truth == 0).sum(), (truth == 1).sum()) == of_classes


@given(counts_of_classes, st.integers(0, 99))
def test_the_same_seed_gives_the_same_parts_whatever_the_order_of_the_sets(counts, seed):
    images = images_of(counts)
    sets = {f"part-{i}": (Group(f"S{i}", "XY"),) for i in range(len(counts))}
    one, other = images.by_set(sets, seed), images.by_set(dict(reversed(sets.items())), seed)
    assert all(np.array_equal(one[name], other[name]) for name in sets)


def test_parts_mix_specimens_and_other_seeds_give_other_parts():
    images = images_of([(20, 20)] * 4)
    sets = {f"part-{i}": (Group(f"S{i}", "XY"),) for i in range(4)}
    parts = images.by_set(sets, 0)
    assert all(len(set(images.specimens[indices])) == 4 for indices in parts.values())
    assert not np.array_equal(parts["part-0"], images.by_set(sets, 1)["part-0"])
    assert np.array_equal(images.by_set(sets)["part-0"], images.indices(sets["part-0"])), "without a seed: the sets"


def test_slices_outside_the_sets_stay_outside():
    images = images_of([(5, 5)] * 4)
    parts = images.by_set({f"part-{i}": (Group(f"S{i}", "XY"),) for i in range(3)}, 0)
    assert "S3" not in images.specimens[np.concatenate(list(parts.values()))]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a study of 4 slices a plane that has its optimum."""
    root = new_project(tmp_path_factory.mktemp("slices"))
    finish(make_plan(make_study(root)))
    return root


@pytest.fixture(scope="module")
def finished(project):
    return finished_study(make_plan(StudyFolder(project / "studies" / "TB")))


def test_each_fit_trains_and_tests_as_many_slices_of_each_class_as_one_of_the_study(finished):
    tasks = slice_wise_configuration(finished).tasks
    images = load_images(finished.plan.folder.store, finished.plan.store_id)
    own = images.by_set(finished.plan.sets)
    sizes = {name: (images.truth[indices] == 0).sum() for name, indices in own.items()}
    assert len({task.spec.pair for task in tasks}) == len(tasks) == len(finished.plan.pairs)
    for task in tasks:
        assert task.spec.training == finished.plan.config.training
        parts = images.by_set(task.spec.sets, task.spec.slice_seed)
        assert [len(part) for part in parts.values()] == [len(indices) for indices in own.values()]
        assert [(images.truth[part] == 0).sum() for part in parts.values()] == list(sizes.values())
        assert all(not set(a) & set(b) for a, b in combinations(parts.values(), 2))
        assert len(set(images.specimens[parts[task.spec.pair.first]])) == len(SPECIMENS)


def test_a_fit_is_tested_on_the_parts_that_it_did_not_train_on(finished):
    images = load_images(finished.plan.folder.store, finished.plan.store_id)
    task = slice_wise_configuration(finished).tasks[0]
    parts = images.by_set(task.spec.sets, task.spec.slice_seed)
    for name, told in zip(task.spec.pair, run_fit(task).predictions, strict=True):
        rows = list(zip(told.specimen, told.state, told.plane, told.position, strict=True))
        columns = (images.specimens, images.states, images.planes, images.positions)
        assert rows == list(zip(*(column[parts[name]] for column in columns), strict=True))


def test_slices_count_for_the_set_that_they_were_cut_from_whatever_part_they_were_in(finished):
    fit = run_fit(slice_wise_configuration(finished).tasks[0])
    told = [p._replace(output=np.where(p.specimen == "TB6", 1 - p.truth, p.truth)) for p in fit.predictions]
    found = accuracy_by_set([replace(fit, predictions=(told[0], told[1]))], finished.plan.sets)
    assert found == {"TB5": 1, "TB6": 0, "TB9": 1}


def test_the_result_tells_both_splits_over_the_same_slices_and_fits_nothing_twice(finished):
    found = make_result("slice-wise", finished)
    assert undocumented(found) == []
    splits, sets, folds = (found.tables[name] for name in ("splits", "sets", "folds"))
    assert list(splits["split"]) == ["slices", "specimen"]
    assert list(splits["n_folds"]) == [6, 6]
    assert (splits["lower"] < splits["mean"]).all()
    assert list(sets["set"]) == list(SPECIMENS)
    difference = (sets["accuracy_slice_wise"] - sets["accuracy"]).mean()
    assert found.metrics["difference"] == pytest.approx(difference)
    assert found.metrics["accuracy/slices"] - found.metrics["accuracy/specimen"] == pytest.approx(difference)
    own = folds[folds["split"] == "specimen"].groupby("test")["accuracy"].mean()
    assert list(own[list(SPECIMENS)]) == pytest.approx(list(sets["accuracy"]))
    files = {path: path.stat().st_mtime_ns for path in finished.plan.folder.fits.iterdir()}
    assert make_result("slice-wise", finished).metrics == found.metrics
    assert {path: path.stat().st_mtime_ns for path in finished.plan.folder.fits.iterdir()} == files


def test_the_command_tells_it_in_words_and_as_json_and_once(project, monkeypatch):
    monkeypatch.chdir(project)
    said = call("audit", "--slice-wise", *HERE).stdout
    made = load_result(StudyFolder(project / "studies" / "TB"), "slice-wise")
    assert "slices of all specimens split at random" in " ".join(said.split())
    assert "The leak is worth" in said
    data = json.loads(call("audit", "--slice-wise", "--json", *HERE).stdout)
    assert list(data) == ["slice-wise"]
    assert data["slice-wise"]["metrics"] == made.metrics
    assert load_result(StudyFolder(project / "studies" / "TB"), "slice-wise").finished == made.finished
    call("report", "--bone", "TB")
    assert '<section id="slice-wise"' in (project / "studies" / "TB" / "report.html").read_text("utf-8")


def test_a_study_that_was_not_searched_is_refused_in_a_line(tmp_path, monkeypatch):
    root = new_project(tmp_path)
    make_study(root)
    monkeypatch.chdir(root)
    assert "study TB has no trials yet: run `bonehpo search" in refusal("audit", "--slice-wise", *HERE)
