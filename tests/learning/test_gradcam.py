"""Grad-CAM against mathematics written out by hand, finite differences and planted answers."""

import keras
import numpy as np
import pytest

from bonehpo.errors import NetworkError
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.backbones import RESNET50
from bonehpo.learning.gradcam import (
    as_float32,
    default_layer,
    grad_cam,
    normalise_maps,
    randomise_top,
    weighted_layers,
)
from bonehpo.learning.networks import build_network, save_network
from bonehpo.learning.transfer import build_backbone

SIDE = 16


def slices(n, side=SIDE):
    return np.random.default_rng(0).integers(0, 256, (n, side, side), dtype=np.uint8)


def spread_weights(network):
    """Weights of one seed, unlike those of a new network: biases and statistics count, and both classes are chosen."""
    generator = np.random.default_rng(1)
    for i, variable in enumerate(network.weights):
        if len(variable.shape) > 1:
            variable.assign(keras.initializers.GlorotUniform(seed=i)(variable.shape))
        else:
            low = 0.5 if variable.name in ("gamma", "moving_variance") else -0.2
            variable.assign(generator.uniform(low, 1, variable.shape))
    for layer in network.layers:
        if layer.name == "standardise":
            layer.moving_mean.assign([128])
            layer.moving_variance.assign([70**2])
    last, side = network.layers[-1], network.input.shape[1]
    kernel = generator.uniform(-0.1, 0.3, last.kernel.shape)
    answers = np.asarray(keras.Model(network.input, last.input)(slices(9, side)[..., None])) @ kernel
    last.set_weights([kernel, np.array([0, np.median(answers[:, 0] - answers[:, 1])])])
    return network


@pytest.fixture(scope="module")
def network():
    return spread_weights(build_network(Hyperparameters(layers=2, kernel=3), side=SIDE))


@pytest.fixture(scope="module")
def resnet():
    return spread_weights(build_backbone(RESNET50, side=64))


def regression(network):
    """The same network with one linear output."""
    strain = keras.layers.Dense(1, name="strain")
    whole = keras.Model(network.input, strain(network.layers[-1].input))
    strain.set_weights([network.layers[-1].get_weights()[0][:, 1:], network.layers[-1].get_weights()[1][1:]])
    return whole


def output_of(network, layer, pixels):
    return np.asarray(keras.Model(network.input, network.get_layer(layer).output)(pixels[..., None]), np.float64)


def enlarged(coarse, side):
    """Bilinear, pixel centres aligned, (image, y, x)."""
    n = coarse.shape[1]
    places = ((np.arange(side) + 0.5) * n / side - 0.5).clip(0, n - 1)
    low = np.minimum(places.astype(int), max(n - 2, 0))
    rows = np.zeros((side, n))
    rows[np.arange(side), low] = 1 - (places - low)
    rows[np.arange(side), np.minimum(low + 1, n - 1)] += places - low
    return rows @ coarse @ rows.T


def tail_gradient(network, activations, target):
    """Of the score of `target` by the last activations (image, y, x, channel): max-pool, dense ReLU, dense, by hand."""
    n, height, width, channels = activations.shape
    windows = activations.reshape(n, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 5, 2, 4)
    windows = windows.reshape(n, height // 2, width // 2, channels, 4)
    pooled = windows.max(axis=-1)
    kernel, bias = network.get_layer("dense").get_weights()
    active = pooled.reshape(n, -1) @ kernel.astype(np.float64) + bias > 0
    by_hidden = active * network.layers[-1].get_weights()[0][:, target]
    by_pooled = (by_hidden @ kernel.T).reshape(pooled.shape)
    chosen = np.arange(4) == windows.argmax(axis=-1)[..., None]
    by_windows = (by_pooled[..., None] * chosen).reshape(n, height // 2, width // 2, channels, 2, 2)
    return by_windows.transpose(0, 1, 4, 2, 5, 3).reshape(activations.shape)


def map_by_hand(activations, gradient, side):
    weights = gradient.mean(axis=(1, 2), keepdims=True)
    return enlarged(np.maximum((weights * activations).sum(axis=3), 0), side)


@pytest.mark.parametrize("target", [0, 1])
def test_maps_of_the_family_are_those_of_gradients_written_out_by_hand(network, target):
    pixels = slices(4)
    activations = output_of(network, "convolution_2", pixels)
    expected = map_by_hand(activations, tail_gradient(network, activations, target), SIDE)
    maps = grad_cam(network, pixels, target=target)
    assert maps.dtype == np.float32
    assert maps.shape == pixels.shape
    assert expected.max() > 0.01
    assert maps == pytest.approx(expected, abs=1e-5 * expected.max())


@pytest.mark.parametrize("target", [0, 1])
def test_maps_of_the_last_block_of_a_resnet_are_weighted_by_its_head(resnet, target):
    pixels = slices(2, side=64)
    activations = output_of(resnet, "conv5_block3_out", pixels)
    weights = resnet.get_layer("softmax").get_weights()[0][:, target] / (activations.shape[1] * activations.shape[2])
    expected = enlarged(np.maximum(activations @ weights, 0), 64)
    assert expected.max() > 0
    maps = grad_cam(resnet, pixels, target=target, layer="conv5_block3_out")
    assert maps == pytest.approx(expected, abs=1e-5 * expected.max())


def test_maps_agree_with_finite_differences_through_a_convolution(network):
    pixels, step = slices(1), 1e-3
    activations = output_of(network, "convolution_1", pixels)  # as large as the slice, so that nothing is enlarged
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    tail = keras.Model(copy.get_layer("convolution_1").output, copy.layers[-1].input)
    kernel = network.layers[-1].get_weights()[0][:, 1].astype(np.float64)
    weights = np.empty(activations.shape[3])
    for i in range(len(weights)):
        moved = np.repeat(activations, 2, axis=0)
        moved[:, :, :, i] += np.array([-step, step])[:, None, None]
        low, high = np.asarray(tail(moved.astype(np.float32)), np.float64) @ kernel
        weights[i] = (high - low) / (2 * step) / (SIDE * SIDE)
    expected = np.maximum((weights * activations).sum(axis=3), 0)
    maps = grad_cam(network, pixels, target=1, layer="convolution_1")
    assert expected.max() > 0
    assert maps == pytest.approx(expected, abs=0.02 * expected.max())


def test_a_spot_that_decides_is_where_the_map_is_brightest():
    network = build_network(Hyperparameters(layers=1, kernel=1), side=SIDE)
    for variable in network.trainable_variables:
        variable.assign(np.full(variable.shape, 0.0 if len(variable.shape) == 1 else 1e-3))
    network.layers[-1].set_weights([np.tile([-1.0, 1.0], (64, 1)), np.zeros(2)])
    pixels = np.full((1, SIDE, SIDE), 20, np.uint8)
    pixels[0, 4, 11] = 250
    brightest = np.unravel_index(grad_cam(network, pixels, target=1)[0].argmax(), (SIDE, SIDE))
    assert brightest == (4, 11)
    assert not grad_cam(network, pixels, target=0).any()  # it speaks against the other class, which is cut off


def test_without_a_target_each_slice_is_explained_for_the_class_chosen(network):
    pixels = slices(9)
    chosen = network.predict_on_batch(pixels[..., None]).argmax(axis=1)
    assert set(chosen) == {0, 1}
    by_class = np.stack([grad_cam(network, pixels, target=target) for target in (0, 1)])
    assert grad_cam(network, pixels) == pytest.approx(by_class[chosen, np.arange(9)], abs=1e-6)


def test_a_regression_is_explained_by_its_answer_itself(network):
    pixels = slices(3)
    assert grad_cam(regression(network), pixels) == pytest.approx(grad_cam(network, pixels, target=1), abs=1e-6)


def test_batches_do_not_change_maps(network, monkeypatch):
    pixels = slices(5)
    whole = grad_cam(network, pixels)
    monkeypatch.setattr("bonehpo.learning.gradcam.BATCH", 2)
    assert grad_cam(network, pixels) == pytest.approx(whole, abs=1e-6)
    assert grad_cam(network, pixels[:0]).shape == (0, SIDE, SIDE)


def test_a_network_trained_in_bfloat16_is_explained_in_float32(network):
    mixed = build_network(Hyperparameters(layers=2, kernel=3), side=SIDE, dtype="mixed_bfloat16")
    mixed.set_weights(network.get_weights())
    pixels = slices(3)
    assert np.array_equal(grad_cam(mixed, pixels), grad_cam(network, pixels))
    copy = as_float32(mixed)
    assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
    assert np.array_equal(copy.predict_on_batch(pixels[..., None]), network.predict_on_batch(pixels[..., None]))
    assert mixed.get_layer("convolution_2").compute_dtype == "bfloat16"


@pytest.mark.parametrize(
    ("layers", "side", "depth"), [(4, 200, 4), (5, 200, 5), (6, 200, 5), (6, 64, 4), (2, 14, 2), (2, 13, 1), (2, 4, 1)]
)
def test_the_default_layer_is_the_deepest_with_seven_pixels_a_side(layers, side, depth):
    assert default_layer(build_network(Hyperparameters(layers=layers, kernel=3), side=side)) == f"convolution_{depth}"


def test_the_default_layer_of_a_resnet_is_the_end_of_a_block(resnet):
    assert default_layer(resnet) == "conv3_block4_out"
    assert default_layer(build_backbone(RESNET50, side=200)) == "conv5_block3_out"


def test_normalised_maps_reach_one_and_empty_maps_stay_empty():
    maps = np.zeros((2, 3, 3), np.float32)
    maps[0, 1, 1], maps[0, 2, 2] = 5, 2
    normalised = normalise_maps(maps)
    assert normalised[0, 1, 1] == 1
    assert normalised[0, 2, 2] == pytest.approx(0.4)
    assert not normalised[1].any()
    assert maps[0, 1, 1] == 5
    assert normalise_maps(maps[:0]).shape == (0, 3, 3)


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        ({"layer": "convolution_9"}, "no layer 'convolution_9': take one of convolution_1, convolution_2"),
        ({"layer": "dense"}, "the output of dense is no map"),
        ({"target": 2}, "no class 2: take one from 0 to 1"),
    ],
)
def test_what_cannot_be_explained_is_refused_with_the_choices(network, choice, complaint):
    with pytest.raises(NetworkError, match=complaint):
        grad_cam(network, slices(1), **choice)


def test_a_place_that_a_shortcut_passes_by_is_refused(resnet):
    with pytest.raises(NetworkError, match="cannot be cut after conv5_block2_2_relu"):
        grad_cam(resnet, slices(1, side=64), layer="conv5_block2_2_relu")


def test_a_regression_has_no_class_to_explain(network):
    with pytest.raises(NetworkError, match="leave the target out"):
        grad_cam(regression(network), slices(1), target=1)


def test_explaining_leaves_the_network_as_it_was(tmp_path):
    network = build_network(Hyperparameters(layers=1, kernel=3), side=SIDE)
    before, graph, pixels = network.get_weights(), network.get_config(), slices(2)
    answer = network.predict_on_batch(pixels[..., None])
    grad_cam(network, pixels)
    randomise_top(network, 2, seed=0)
    assert all(map(np.array_equal, before, network.get_weights()))
    assert network.get_config() == graph
    save_network(network, tmp_path / "same.keras")
    again = keras.saving.load_model(tmp_path / "same.keras")
    assert np.array_equal(again.predict_on_batch(pixels[..., None]), answer)


def differing(first, second):
    pairs = [(layer.name, layer.get_weights(), second.get_layer(layer.name).get_weights()) for layer in first.layers]
    return {name for name, a, b in pairs if not all(map(np.array_equal, a, b))}


def test_layers_are_counted_from_the_output_on(network, resnet):
    assert weighted_layers(network) == ("softmax", "dense", "convolution_2", "convolution_1")
    names = weighted_layers(resnet)
    assert names[0] == "softmax"
    assert names[-2:] == ("conv1_bn", "conv1_conv")
    assert len(names) == 107


@pytest.mark.parametrize("n_layers", [0, 1, 3, 4])
def test_exactly_the_top_layers_are_randomised(network, n_layers):
    copy = randomise_top(network, n_layers, seed=1)
    assert differing(network, copy) == set(weighted_layers(network)[:n_layers])


def test_a_longer_cascade_draws_the_same_weights_where_a_shorter_one_did(network):
    assert differing(randomise_top(network, 2, seed=1), randomise_top(network, 3, seed=1)) == {"convolution_2"}
    assert differing(randomise_top(network, 2, seed=1), randomise_top(network, 2, seed=2)) == {"softmax", "dense"}


@pytest.mark.parametrize("n_layers", [-1, 5])
def test_more_layers_than_there_are_cannot_be_randomised(network, n_layers):
    with pytest.raises(NetworkError, match="has 4 layers with weights"):
        randomise_top(network, n_layers, seed=0)


def test_maps_of_a_randomised_network_are_others(network):
    pixels = slices(2)
    assert not np.allclose(
        grad_cam(randomise_top(network, 4, seed=1), pixels, target=1), grad_cam(network, pixels, target=1)
    )
