"""One fit yields two folds, exactly; what was done is never done again."""

import dataclasses
import os

import numpy as np
import pytest
from tiny_study import TOML, plan_of

from bonehpo.config import Training
from bonehpo.domain import HoldoutPair
from bonehpo.errors import FitError, StoreError, StudyError
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.backend import keras
from bonehpo.learning.fits import fit_path, load_answers, load_fit, pair_seed
from bonehpo.learning.fitting import run_fit
from bonehpo.learning.learners import augment, predict
from bonehpo.learning.networks import build_network, load_network, reset_weights, standardise
from bonehpo.store.images import load_images
from bonehpo.task import DAMAGE

CHOICE = Hyperparameters(layers=1, learning_rate=1e-2, kernel=3, batch=8)


@pytest.fixture
def plan(tmp_path):
    return plan_of(tmp_path)


def separate_fold(plan, test, validation):
    """Train one ordered fold by itself, in the plainest way, and test it at the epoch that its validation set chooses."""
    images = load_images(plan.folder.store.absolute(), plan.store_id)
    training = plan.config.training
    network = build_network(CHOICE, side=plan.side)
    network.compile(optimizer=keras.optimizers.Adam(CHOICE.learning_rate), loss="sparse_categorical_crossentropy")
    first, second = sorted((test, validation))
    seed = pair_seed(plan.config.search.seed, HoldoutPair(first, second))
    reset_weights(network, seed)
    generator = np.random.default_rng(seed)
    train = images.indices(tuple(g for name in plan.sets if name not in (test, validation) for g in plan.sets[name]))
    standardise(network, images.pixels, train)
    history = []
    for _ in range(training.epochs):
        order = generator.permutation(train)
        for start in range(0, len(order), CHOICE.batch):
            chosen = order[start : start + CHOICE.batch]
            pixels = augment(images.pixels[chosen], training, generator)
            network.train_on_batch(pixels[..., None], images.truth[chosen])
        accuracies = []
        for name in (validation, test):
            indices = images.indices(plan.sets[name])
            p_failed = predict(network, images.pixels[indices])
            accuracies.append(float(np.mean((p_failed > 0.5) == images.truth[indices])))
        history.append(accuracies)
    best = int(np.argmax([validated for validated, _ in history])) if training.checkpoint == "best" else -1
    return history[best]


@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_one_fit_equals_its_two_folds_trained_separately(tmp_path, checkpoint):
    plan = plan_of(tmp_path, TOML + f'checkpoint = "{checkpoint}"\n')
    for pair in plan.pairs:
        for fold in run_fit(plan.task(CHOICE, pair)).fold_scores():
            validated, tested = separate_fold(plan, fold.test, fold.validation)
            assert fold.validation_score == pytest.approx(validated, abs=1e-6)
            assert fold.test_score == pytest.approx(tested, abs=1e-6)


def test_stripes_are_learnt_and_seen_in_a_specimen_that_was_held_out(tmp_path):
    plan = plan_of(tmp_path, TOML.replace("epochs = 3", "epochs = 12"))
    folds = [fold for pair in plan.pairs for fold in run_fit(plan.task(CHOICE, pair)).fold_scores()]
    assert np.mean([fold.test_score for fold in folds]) > 0.95


def test_shuffled_labels_leave_chance(plan):
    images = load_images(plan.folder.store.absolute(), plan.store_id)
    shuffled = np.random.default_rng(0).permutation(images.truth)
    mixed = dataclasses.replace(images, truth=shuffled)
    indices = mixed.indices(plan.sets["TB5"])
    network = build_network(Hyperparameters(layers=1, kernel=3), side=plan.side)
    network.compile(optimizer=keras.optimizers.Adam(1e-2), loss="sparse_categorical_crossentropy")
    train = np.setdiff1d(np.arange(len(shuffled)), indices)
    for _ in range(12):
        network.train_on_batch(mixed.pixels[train][..., None], shuffled[train])
    scores = DAMAGE.evaluate(predict(network, mixed.pixels[indices]), mixed.truth[indices], mixed.planes[indices])
    assert 0.2 < scores.score < 0.8


def test_a_finished_fit_is_read_not_trained(plan):
    task = plan.task(CHOICE, plan.pairs[0])
    first = run_fit(task)
    path = fit_path(task.fits, task.spec.key)
    before = path.stat().st_mtime_ns
    again = run_fit(task)
    assert path.stat().st_mtime_ns == before
    assert again.cpu_seconds == first.cpu_seconds
    assert np.array_equal(again.predictions[0].output, first.predictions[0].output)
    assert again.fold_scores() == first.fold_scores()


def test_a_damaged_result_is_trained_again_to_the_same_values(plan, caplog):
    task = plan.task(CHOICE, plan.pairs[0])
    first = run_fit(task)
    path = fit_path(task.fits, task.spec.key)
    whole = path.read_bytes()
    for at in range(0, len(whole), 97):  # whatever one flipped bit makes of a zip archive
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        load_fit(task.fits, task.spec.key)
    path.write_bytes(whole[:-100])
    assert load_fit(task.fits, task.spec.key) is None
    assert "is damaged" in caplog.text
    again = run_fit(task)
    assert np.array_equal(again.curves.train_loss, first.curves.train_loss)


@pytest.mark.parametrize(
    "change",
    [
        {"store_id": "other"},
        {"pair": HoldoutPair("TB5", "TB9")},
        {"hyperparameters": Hyperparameters(layers=2, learning_rate=1e-2, kernel=3, batch=8)},
        {"training": Training(epochs=4)},
        {"seed": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_determines_a_result_changes_its_address(plan, change):
    spec = plan.task(CHOICE, HoldoutPair("TB5", "TB6")).spec
    assert dataclasses.replace(spec, **change).key != spec.key
    assert dataclasses.replace(spec).key == spec.key


def test_the_seed_of_a_fit_comes_from_the_unordered_pair():
    assert pair_seed(0, HoldoutPair("a", "b")) == pair_seed(0, HoldoutPair("a", "b"))
    assert (
        len(
            {
                pair_seed(0, HoldoutPair("a", "b")),
                pair_seed(1, HoldoutPair("a", "b")),
                pair_seed(0, HoldoutPair("a", "c")),
            }
        )
        == 3
    )
    assert pair_seed(0, HoldoutPair("a", "b"), repeat=1) != pair_seed(0, HoldoutPair("a", "b"))


def test_a_network_that_diverges_ends_with_the_reason(plan):
    with pytest.raises(FitError, match=r"diverged: the loss became (nan|inf).*learning_rate=1e\+30"):
        run_fit(plan.task(dataclasses.replace(CHOICE, learning_rate=1e30), plan.pairs[0]))
    assert not list(plan.folder.fits.glob("*"))


def test_a_network_that_answers_no_numbers_has_diverged(plan):
    """The loss is seen before each step: weights that break in the last one show in the answers alone."""
    once = dataclasses.replace(CHOICE, learning_rate=1e38, batch=24)  # one step an epoch
    task = plan.task(once, plan.pairs[0])
    spec = dataclasses.replace(task.spec, training=dataclasses.replace(task.spec.training, epochs=1))
    with pytest.raises(FitError, match=r"non-finite outputs \(NaN or inf\) after epoch 1"):
        run_fit(dataclasses.replace(task, spec=spec))


def test_the_kept_network_answers_what_the_fit_recorded(plan):
    task = plan.task(CHOICE, plan.pairs[0], repeat=1, keep=True)
    result = run_fit(task)
    images = load_images(task.store, plan.store_id)
    answers = predict(load_network(task.network), images.pixels[images.indices(plan.sets[plan.pairs[0].first])])
    assert answers == pytest.approx(result.predictions[0].output, abs=1e-6)


def test_a_missing_network_is_fitted_again_though_its_result_is_there(plan):
    task = plan.task(CHOICE, plan.pairs[0], repeat=1, keep=True)
    run_fit(task)
    task.network.unlink()
    run_fit(task)
    assert [path.name for path in plan.folder.optimum.iterdir()] == [f"{task.spec.key}.keras"]


def test_a_store_that_was_made_anew_is_not_trained_on(plan):
    with pytest.raises(StoreError, match="was made anew meanwhile"):
        load_images(plan.folder.store, "0" * 64)


def test_augmentation_without_flip_and_shear_changes_nothing():
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    assert np.array_equal(augment(images, Training(flip=False, shear_deg=0), np.random.default_rng(1)), images)


def test_a_flip_mirrors_about_half_of_the_images():
    images = np.random.default_rng(0).integers(0, 256, (400, 4, 4), dtype=np.uint8)
    seen = augment(images, Training(shear_deg=0), np.random.default_rng(1))
    mirrored = np.array([np.array_equal(a, b[:, ::-1]) for a, b in zip(seen, images, strict=True)])
    kept = np.array([np.array_equal(a, b) for a, b in zip(seen, images, strict=True)])
    assert (mirrored | kept).all()
    assert 0.4 < mirrored.mean() < 0.6


def test_shear_moves_rows_by_the_tangent_of_the_angle():
    """A vertical line becomes an oblique one: its column grows linearly with the row, and the middle row stays."""
    image = np.zeros((1, 33, 33), np.uint8)
    image[:, :, 16] = 255
    sheared = augment(image, Training(flip=False, shear_deg=20), np.random.default_rng(3))[0].astype(float)
    columns = (sheared * np.arange(33)).sum(axis=1) / sheared.sum(axis=1)
    slope, offset = np.polyfit(np.arange(33) - 16, columns, 1)
    assert offset == pytest.approx(16, abs=0.05)
    assert abs(slope) <= np.tan(np.deg2rad(20))
    assert columns == pytest.approx(16 + slope * (np.arange(33) - 16), abs=0.1)


def test_an_interrupted_write_leaves_nothing(plan, monkeypatch):
    task = plan.task(CHOICE, plan.pairs[0])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StudyError, match="No space left on device: make room there"):
        run_fit(task)
    assert not list(task.fits.iterdir())


@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_each_set_is_asked_at_every_state_of_the_network_by_which_it_is_tested(tmp_path, checkpoint):
    plan = plan_of(tmp_path, TOML.replace("epochs = 3", "epochs = 6") + f'checkpoint = "{checkpoint}"\n', (0, 0.5, 1))
    for pair in plan.pairs:
        task = plan.task(CHOICE, pair, keep=True)
        result, answers = run_fit(task), load_answers(task.states)
        for tested, name in zip(result.predictions, pair, strict=True):
            found = answers.p_failed(pair, name)
            assert sorted(found) == [1, 2, 3]
            for state in (1, 3):
                assert found[state] == pytest.approx(tested.output[tested.state == state], abs=1e-6)


def test_training_curves_are_means_over_all_images_of_an_epoch(plan):
    uneven = dataclasses.replace(CHOICE, batch=10)  # 24 images: batches of 10, 10 and 4
    n_right = 24 * run_fit(plan.task(uneven, plan.pairs[0])).curves.train_score
    assert n_right == pytest.approx(np.rint(n_right), abs=1e-4)
    assert any(round(n) % 6 for n in n_right.tolist())  # the last batch alone would give quarters
