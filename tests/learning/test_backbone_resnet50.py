"""ResNet-50, beyond what holds for every backbone: the paper's numbers, and the kinds of files that weights come in."""

import dataclasses
import hashlib

import h5py
import keras
import numpy as np
import pytest

from bonehpo.errors import NetworkError
from bonehpo.files import file_sha256
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.backbones import RESNET50
from bonehpo.learning.networks import build_network, save_network
from bonehpo.learning.transfer import (
    base_features,
    build_backbone,
    freeze,
    load_base_weights,
    reset_backbone,
    resolve_weights,
)

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
    return build_backbone(RESNET50, side=SIDE)


@pytest.fixture
def fresh(network):
    """The one network of these tests, drawn anew and wholly trainable."""
    freeze(network, "scratch")
    reset_backbone(network, 1)
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


@pytest.mark.parametrize(("mode", "n"), [("frozen", 4_098), ("fine-tuned", 23_485_570), ("scratch", 23_538_690)])
def test_as_many_parameters_are_trained_as_ever(fresh, mode, n):
    freeze(fresh, mode)
    assert count(fresh.trainable_weights) == RESNET50.n_trainable(mode) == n


def test_after_forty_steps_evaluation_knows_the_statistics_of_training(fresh):
    first = keras.Model(fresh.input, fresh.get_layer("conv1_bn").output)
    pixels = slices(4)[..., None]
    for _ in range(40):
        trained = np.asarray(first(pixels, training=True))
    evaluated = np.asarray(first(pixels, training=False))
    assert np.abs(evaluated - trained).max() < 0.1 * trained.std()


def test_features_of_many_batches_are_those_of_each_slice(fresh, monkeypatch):
    monkeypatch.setattr("bonehpo.learning.transfer.FEATURE_BATCH", 2)
    pixels = slices(5)
    one_by_one = [base_features(fresh, pixels[i : i + 1])[0] for i in range(5)]
    features = base_features(fresh, pixels)
    assert features.dtype == np.float32
    assert features == pytest.approx(np.array(one_by_one), rel=1e-4, abs=1e-5)
    assert base_features(fresh, pixels[:0]).shape == (0, 2048)


# --- where its weights come from


def test_drawn_weights_are_spread_as_those_of_a_new_network(network):
    reset_backbone(network, 1)
    for new, ours in zip(build_backbone(RESNET50, side=SIDE).get_weights(), network.get_weights(), strict=True):
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
    whole = build_backbone(RESNET50, side=SIDE)
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
    assert RESNET50.weights_file in text
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
        (tmp_path / "home" / "models" / RESNET50.weights_file).write_bytes(b"half a file")
    with pytest.raises(NetworkError) as refusal:
        resolve_weights("imagenet")
    text = str(refusal.value)
    assert "\n" not in text
    assert RESNET50.weights_url in text
    assert str(tmp_path / "home" / "models") in text
    assert "--weights FILE" in text
    assert capsys.readouterr().out == ""


def test_imagenet_weights_that_lie_where_keras_keeps_them_need_no_network(tmp_path, monkeypatch):
    content = b"stands for 94 MB"
    backbone = dataclasses.replace(RESNET50, weights_md5=hashlib.md5(content).hexdigest())
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / RESNET50.weights_file).write_bytes(content)
    found = resolve_weights("imagenet", backbone)
    assert found == tmp_path / "models" / RESNET50.weights_file
    assert file_sha256(found) == hashlib.sha256(content).hexdigest()
