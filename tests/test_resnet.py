"""ResNet-50: its parameters, its three ways of training, and where its weights come from."""

import hashlib

import h5py
import keras
import numpy as np
import pytest

from bonehpo.errors import NetworkError
from bonehpo.files import file_sha256
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning import backbones
from bonehpo.learning.backbones import (
    IMAGENET_FILE,
    IMAGENET_URL,
    base_features,
    build_resnet,
    freeze,
    load_base_weights,
    put_head,
    reset_resnet,
    resolve_weights,
    take_head,
)
from bonehpo.learning.networks import build_network, load_network, save_network

SIDE = 32
N_BASE = 23_587_712
N_BIASES = 26_560
N_HEAD = 4_098


def count(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


def slices(n, seed=0, side=SIDE):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side), dtype=np.uint8)


def keras_base():
    return keras.applications.ResNet50(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3))


def layers_below_head(network):
    return [layer for layer in network.layers if layer.weights and layer.name != "softmax"]


@pytest.fixture(scope="module")
def network():
    return build_resnet(side=SIDE)


@pytest.fixture
def fresh(network):
    """The one network of these tests, drawn anew and wholly trainable."""
    freeze(network, "scratch")
    reset_resnet(network, 1)
    return network


@pytest.fixture(scope="module")
def donor():
    """Keras's own base with weights that no drawing gives, batch normalisation included."""
    base, generator = keras_base(), np.random.default_rng(5)
    base.set_weights([generator.uniform(0.01, 0.1, w.shape).astype(np.float32) for w in base.get_weights()])
    return base


def assert_base_is(network, donor):
    for layer in layers_below_head(donor):
        for ours, theirs in zip(network.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
            assert np.array_equal(ours, theirs), layer.name
    assert len(layers_below_head(network)) == len(layers_below_head(donor)) == 106


# --- what it is


def test_base_and_head_have_the_published_parameters_but_for_biases(network):
    assert count(network.weights) == N_BASE + N_HEAD
    biases = [v for layer in layers_below_head(network) for v in layer.weights if v.name == "bias"]
    assert count(biases) == N_BIASES
    assert N_BASE - N_BIASES == 23_561_152


def test_it_answers_as_keras_own_resnet_on_preprocessed_colour_images(fresh):
    pixels = slices(3)
    colour = keras.applications.resnet.preprocess_input(np.repeat(pixels[..., None], 3, axis=3).astype(np.float32))
    seen = keras.Model(fresh.input, fresh.get_layer("preprocess").output)(pixels[..., None])
    assert np.asarray(seen) == pytest.approx(colour, abs=1e-4)
    base = keras_base()
    for layer in layers_below_head(base):
        layer.set_weights(fresh.get_layer(layer.name).get_weights())
    features = np.asarray(base(colour)).mean(axis=(1, 2))
    assert features.std() > 0
    assert base_features(fresh, pixels) == pytest.approx(features, rel=1e-4, abs=1e-5 * float(features.max()))


def test_answers_are_float32_probabilities_under_mixed_precision_too():
    network = build_resnet(side=SIDE, dtype="mixed_bfloat16")
    assert network.get_layer("conv3_block1_1_conv").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"
    answer = np.asarray(network(slices(2)[..., None]))
    assert answer.dtype == np.float32
    assert answer.sum(axis=1) == pytest.approx(np.ones(2), abs=1e-6)


def test_slices_below_32_pixels_are_refused():
    with pytest.raises(NetworkError, match="32 pixels a side or more, but got 31"):
        build_resnet(side=31)


def test_it_is_saved_and_loaded_like_any_network(fresh, tmp_path):
    save_network(fresh, tmp_path / "resnet.keras")
    again = load_network(tmp_path / "resnet.keras")
    assert again.get_layer("conv1_bn").momentum == fresh.get_layer("conv1_bn").momentum == 0.9
    assert [layer.name for layer in again.layers] == [layer.name for layer in fresh.layers]
    assert all(map(np.array_equal, again.get_weights(), fresh.get_weights()))


# --- how it is trained


def train(network, mode, n_steps=1):
    """A few steps of Adam on the same images; the weights of each layer before and after."""
    freeze(network, mode)
    network.compile(
        keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", run_eagerly=True
    )  # tracing takes longer
    before = {layer.name: layer.get_weights() for layer in network.layers}
    for _ in range(n_steps):
        network.train_on_batch(slices(4)[..., None], np.array([0, 1, 0, 1]))
    after = {layer.name: layer.get_weights() for layer in network.layers}
    return before, after


def changed(before, after):
    return {name for name, old in before.items() if not all(map(np.array_equal, old, after[name]))}


def test_frozen_trains_the_head_alone(fresh):
    before, after = train(fresh, "frozen")
    assert count(fresh.trainable_weights) == N_HEAD
    assert changed(before, after) == {"softmax"}


def test_fine_tuned_trains_convolutions_and_leaves_batch_normalisation_as_pretrained(fresh):
    before, after = train(fresh, "fine-tuned")
    assert count(fresh.trainable_weights) == N_BASE + N_HEAD - 4 * N_BIASES
    assert changed(before, after) == {"softmax"} | {name for name in before if name.endswith("_conv")}


def test_scratch_trains_everything_and_batch_normalisation_follows(fresh):
    before, after = train(fresh, "scratch")
    assert count(fresh.trainable_weights) == N_BASE + N_HEAD - 2 * N_BIASES
    assert {name for name in before if name.endswith("_bn")} <= changed(before, after)


def test_after_forty_steps_evaluation_knows_the_statistics_of_training(fresh):
    first = keras.Model(fresh.input, fresh.get_layer("conv1_bn").output)
    pixels = slices(4)[..., None]
    for _ in range(40):
        trained = np.asarray(first(pixels, training=True))
    evaluated = np.asarray(first(pixels, training=False))
    assert np.abs(evaluated - trained).max() < 0.1 * trained.std()


def test_an_unknown_way_of_training_is_refused_with_the_choices(network):
    with pytest.raises(NetworkError, match=r"frozen, fine-tuned, scratch, but got 'warm'"):
        freeze(network, "warm")


def test_a_head_trained_on_features_is_the_head_of_frozen_training(fresh):
    head = take_head(fresh)
    features = base_features(fresh, slices(4))
    _, after = train(fresh, "frozen", n_steps=3)
    head.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", run_eagerly=True)
    for _ in range(3):
        head.train_on_batch(features, np.array([0, 1, 0, 1]))
    reset_resnet(fresh, 1)
    put_head(fresh, head)
    assert fresh.get_layer("softmax").get_weights()[0] == pytest.approx(after["softmax"][0], abs=1e-5)
    assert fresh.predict_on_batch(slices(4)[..., None]) == pytest.approx(head.predict_on_batch(features), abs=1e-6)


def test_features_of_many_batches_are_those_of_each_slice(fresh, monkeypatch):
    monkeypatch.setattr("bonehpo.learning.backbones.FEATURE_BATCH", 2)
    pixels = slices(5)
    one_by_one = [base_features(fresh, pixels[i : i + 1])[0] for i in range(5)]
    features = base_features(fresh, pixels)
    assert features.dtype == np.float32
    assert features == pytest.approx(np.array(one_by_one), rel=1e-4, abs=1e-5)
    assert base_features(fresh, pixels[:0]).shape == (0, 2048)


# --- where its weights come from


def test_the_same_seed_draws_the_same_weights_and_another_seed_others(network):
    drawn = []
    for seed in (3, 4, 3):
        reset_resnet(network, seed)
        drawn.append([w for layer in network.layers for w in layer.get_weights()])
    assert all(map(np.array_equal, drawn[0], drawn[2]))
    kernels = [i for i, w in enumerate(drawn[0]) if w.ndim > 1]
    assert not any(np.array_equal(drawn[0][i], drawn[1][i]) for i in kernels)
    assert len({drawn[0][i].flat[0] for i in kernels}) == len(kernels) == 54


def test_drawn_weights_are_spread_as_those_of_a_new_network(network):
    reset_resnet(network, 1)
    for new, ours in zip(build_resnet(side=SIDE).get_weights(), network.get_weights(), strict=True):
        assert ours.mean() == pytest.approx(new.mean(), abs=0.01)
        assert ours.std() == pytest.approx(new.std(), rel=0.05)


def write_legacy_h5(base, path):
    """The layout in which Keras distributes weights: names and arrays of every layer, in the order of the layers."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in base.layers]
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.2.4"
        for layer in base.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{variable.name}:0" for variable in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, array in zip(names, layer.get_weights(), strict=True):
                group[name] = array


def saved_network(donor, path):
    whole = build_resnet(side=SIDE)
    for layer in layers_below_head(donor):
        whole.get_layer(layer.name).set_weights(layer.get_weights())
    if path.suffix == ".keras":
        save_network(whole, path)
    else:
        whole.save_weights(path)


WRITERS = {
    "distributed by Keras.h5": write_legacy_h5,
    "base.weights.h5": lambda donor, path: donor.save_weights(path),
    "whole.weights.h5": saved_network,
    "study.keras": saved_network,
}


@pytest.mark.parametrize("name", WRITERS)
def test_each_kind_of_file_fills_the_base_to_the_bit_and_leaves_the_head(fresh, donor, tmp_path, name):
    WRITERS[name](donor, tmp_path / name)
    head = fresh.get_layer("softmax").get_weights()
    load_base_weights(fresh, resolve_weights(str(tmp_path / name)))
    assert_base_is(fresh, donor)
    assert all(map(np.array_equal, head, fresh.get_layer("softmax").get_weights()))


def test_a_file_that_was_overwritten_is_read_again(fresh, donor, tmp_path):
    path, kernel = tmp_path / "base.h5", "conv1_conv/conv1_conv/kernel:0"
    write_legacy_h5(donor, path)
    load_base_weights(fresh, path)
    with h5py.File(path, "r+") as file:
        file[kernel][:] = 7.0
    load_base_weights(fresh, path)
    assert np.all(fresh.get_layer("conv1_conv").get_weights()[0] == 7)


def other_network(path):
    other = build_network(Hyperparameters(layers=2, kernel=3), side=SIDE)
    if path.suffix == ".keras":
        save_network(other, path)
    else:
        other.save_weights(path)


def truncated(path):
    keras_base().save_weights(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("cnn.keras", other_network),
        ("cnn.weights.h5", other_network),
        ("text.h5", lambda path: path.write_text("weights")),
        ("half.weights.h5", truncated),
        (
            "deeper.h5",
            lambda path: write_legacy_h5(build_network(Hyperparameters(layers=2, kernel=3), side=SIDE), path),
        ),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_line(fresh, tmp_path, name, write):
    write(tmp_path / name)
    before = fresh.get_weights()
    with pytest.raises(NetworkError) as refusal:
        load_base_weights(fresh, tmp_path / name)
    text = str(refusal.value)
    assert "\n" not in text
    assert text.startswith(f"{tmp_path / name} holds no ResNet-50")
    assert IMAGENET_FILE in text
    assert all(map(np.array_equal, before, fresh.get_weights()))


def test_none_stands_for_random_weights():
    assert resolve_weights("none") is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("gone.h5", r"no weights at gone\.h5"),
        ("gone.keras", "no weights at"),
        ("imagnet", "give imagenet, none, study:NAME"),
    ],
)
def test_what_is_no_weights_file_is_refused_with_the_choices(text, complaint):
    with pytest.raises(NetworkError, match=complaint):
        resolve_weights(text)


def test_a_file_with_nan_is_refused_though_keras_would_read_it(fresh, donor, tmp_path):
    write_legacy_h5(donor, tmp_path / "nan.h5")
    with h5py.File(tmp_path / "nan.h5", "r+") as file:
        file["conv4_block2_1_conv/conv4_block2_1_conv/kernel:0"][0, 0, 0, 0] = np.nan
    with pytest.raises(NetworkError, match="NaN or infinite weights in conv4_block2_1_conv"):
        load_base_weights(fresh, tmp_path / "nan.h5")


@pytest.mark.parametrize("there", [False, True], ids=["nothing there", "a damaged file there"])
def test_without_network_it_is_said_where_to_get_imagenet_weights_and_where_to_put_them(
    tmp_path, monkeypatch, capsys, there
):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # a port on which nothing listens
    if there:
        (tmp_path / "home" / "models").mkdir(parents=True)
        (tmp_path / "home" / "models" / IMAGENET_FILE).write_bytes(b"half a file")
    with pytest.raises(NetworkError) as refusal:
        resolve_weights("imagenet")
    text = str(refusal.value)
    assert "\n" not in text
    assert IMAGENET_URL in text
    assert str(tmp_path / "home" / "models") in text
    assert "--weights FILE" in text
    assert capsys.readouterr().out == ""


def test_imagenet_weights_that_lie_where_keras_keeps_them_need_no_network(tmp_path, monkeypatch):
    content = b"stands for 94 MB"
    monkeypatch.setattr(backbones, "IMAGENET_MD5", hashlib.md5(content).hexdigest())
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / IMAGENET_FILE).write_bytes(content)
    found = resolve_weights("imagenet")
    assert found == tmp_path / "models" / IMAGENET_FILE
    assert file_sha256(found) == hashlib.sha256(content).hexdigest()


def test_the_address_of_imagenet_weights_is_that_of_the_installed_keras():
    from keras.src.applications import resnet

    assert f"{resnet.BASE_WEIGHTS_PATH}{IMAGENET_FILE}" == IMAGENET_URL
    assert resnet.WEIGHTS_HASHES["resnet50"][1] == backbones.IMAGENET_MD5
