"""The paper's networks, to the last parameter."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonehpo.errors import NetworkError
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.architecture import count_operations, count_parameters
from bonehpo.learning.networks import build_network, layer_table, load_network, reset_weights, save_network, standardise


def trainable(network):
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


@pytest.mark.parametrize(("layers", "kernel", "n_parameters"), [(4, 5, 19_265_858), (5, 3, 20_446_018)])
def test_the_published_networks_have_the_published_parameters(layers, kernel, n_parameters):
    network = build_network(Hyperparameters(layers=layers, kernel=kernel), side=200)
    assert trainable(network) == n_parameters
    assert count_parameters(Hyperparameters(layers=layers, kernel=kernel), 200) == n_parameters
    assert sum(row.n_parameters for row in layer_table(network)) == n_parameters


@settings(max_examples=10, deadline=None)
@given(layers=st.integers(1, 4), kernel=st.integers(1, 7), side=st.integers(16, 40))
def test_the_arithmetic_count_is_that_of_the_built_network(layers, kernel, side):
    choice = Hyperparameters(layers=layers, kernel=kernel)
    assert trainable(build_network(choice, side=side)) == count_parameters(choice, side)


def test_a_network_takes_bytes_and_answers_probabilities():
    network = build_network(Hyperparameters(layers=2, kernel=3), side=16, dtype="mixed_bfloat16")
    answer = np.asarray(network.predict_on_batch(np.full((3, 16, 16, 1), 200, np.uint8)))
    assert answer.shape == (3, 2)
    assert answer.dtype == np.float32
    assert answer.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-6)


def test_intensities_are_standardised_by_the_training_images():
    network = build_network(Hyperparameters(layers=1, kernel=1), side=8)
    images = np.random.default_rng(0).integers(40, 90, (5, 8, 8), dtype=np.uint8)
    standardise(network, images, np.arange(5))
    seen = keras.Model(network.input, network.get_layer("standardise").output).predict_on_batch(images[..., None])
    assert np.mean(seen) == pytest.approx(0, abs=1e-4)
    assert np.std(seen) == pytest.approx(1, abs=1e-3)


def test_only_the_first_kernel_follows_the_hyperparameter():
    network = build_network(Hyperparameters(layers=3, kernel=7), side=32)
    assert [network.get_layer(f"convolution_{i}").kernel_size for i in (1, 2, 3)] == [(7, 7), (3, 3), (3, 3)]


@pytest.mark.parametrize(
    ("layers", "kernel", "complaint"),
    [(0, 3, "layers must be positive, but got 0"), (6, 3, "use at most 5 layers"), (2, 0, "kernel must be positive")],
)
def test_what_cannot_be_built_is_refused_with_the_remedy(layers, kernel, complaint):
    for attempt in (count_parameters, count_operations):
        with pytest.raises(NetworkError, match=complaint):
            attempt(Hyperparameters(layers=layers, kernel=kernel), 32)
    with pytest.raises(NetworkError, match=complaint):
        build_network(Hyperparameters(layers=layers, kernel=kernel), side=32)


def test_the_same_seed_draws_the_same_weights_and_another_seed_others():
    network = build_network(Hyperparameters(layers=1, kernel=3), side=8)
    drawn = []
    for seed in (3, 4, 3):
        reset_weights(network, seed)
        drawn.append(np.concatenate([w.ravel() for w in network.get_weights()]))
    assert np.array_equal(drawn[0], drawn[2])
    assert not np.array_equal(drawn[0], drawn[1])


def test_drawn_weights_are_spread_as_those_of_a_new_network():
    network = build_network(Hyperparameters(layers=2, kernel=3), side=32)
    fresh = [w.std() for w in network.get_weights() if w.ndim > 1]
    reset_weights(network, 1)
    again = [w.std() for w in network.get_weights() if w.ndim > 1]
    assert again == pytest.approx(fresh, rel=0.25)


def test_a_saved_network_answers_as_before_and_carries_no_optimiser(tmp_path):
    network = build_network(Hyperparameters(layers=1, kernel=3), side=8)
    network.compile(optimizer=keras.optimizers.Adam(), loss="sparse_categorical_crossentropy")
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    network.train_on_batch(images, np.array([0, 1, 0, 1]))
    save_network(network, tmp_path / "kept" / "one.keras")
    again = load_network(tmp_path / "kept" / "one.keras")
    assert np.array_equal(again.predict_on_batch(images), network.predict_on_batch(images))
    assert getattr(again, "optimizer", None) is None
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["one.keras"]


def test_a_missing_and_a_broken_network_file_are_refused_by_path(tmp_path):
    with pytest.raises(NetworkError, match=r"no network at .*gone\.keras"):
        load_network(tmp_path / "gone.keras")
    (tmp_path / "broken.keras").write_bytes(b"not a network")
    with pytest.raises(NetworkError, match=r"broken\.keras is not a network"):
        load_network(tmp_path / "broken.keras")
