"""One behaviour for every backbone: built, given weights, trained in three ways, explained, saved, the same everywhere."""

import dataclasses
import re
import subprocess
import sys
from typing import get_args

import h5py
import keras
import numpy as np
import pytest
from keras.src.utils import file_utils
from places import DOCS

from bonehpo.errors import NetworkError
from bonehpo.learning.backbones import (
    BACKBONES,
    MOBILENETV2,
    RESNET50,
    RGB_MEANS,
    RGB_SDS,
    STORAGE,
    Backbone,
    Mode,
    find_backbone,
)
from bonehpo.learning.gradcam import SMALLEST_MAP, default_layer, grad_cam
from bonehpo.learning.networks import load_network, save_network
from bonehpo.learning.transfer import (
    base_features,
    build_backbone,
    freeze,
    load_base_weights,
    put_head,
    reset_backbone,
    resolve_weights,
    take_head,
)
from bonehpo.task import Classification

LONG = {"densenet121", "efficientnetb0"}
"""Networks of so many layers that their behaviour is left to `make torture`."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.torture) if name in LONG else name for name in BACKBONES],
)
def backbone(request):
    return BACKBONES[request.param]


@pytest.fixture(scope="module")
def network(backbone):
    return build_backbone(backbone, side=backbone.smallest_side)


@pytest.fixture
def fresh(network):
    """The one network of these tests, drawn anew and wholly trainable."""
    freeze(network, "scratch")
    reset_backbone(network, 1)
    return network


def slices(network, n, seed=0):
    """Slices of a few light and dark fields under noise, as large as a network of Keras or of ours takes them."""
    generator, side = np.random.default_rng(seed), network.input.shape[1]
    field = np.arange(side) * 4 // side
    return (
        generator.integers(0, 192, (n, 4, 4))[:, field][:, :, field] + generator.integers(0, 64, (n, side, side))
    ).astype(np.uint8)


def colour(pixels):
    return np.repeat(pixels[..., None], 3, axis=3).astype(np.float32)


def count(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


def weighted(network):
    return [layer for layer in network.layers if layer.weights]


def normalisations(network):
    return {layer.name for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)}


def keras_base(backbone, weights=None):
    shape = (backbone.smallest_side, backbone.smallest_side, 3)
    return getattr(keras.applications, backbone.builder)(include_top=False, weights=weights, input_shape=shape)


def keras_module(backbone):
    return sys.modules[getattr(keras.applications, backbone.builder).__module__]


def write_weights(base, path):
    """Names and arrays of every layer in the order of the layers: the layout in which Keras distributes weights."""
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


def trained_weights(base, images):
    """Give a base weights as training leaves them: no bias, scale or statistic is that of a new network.

    Statistics are those of the images, so that what differs between slices is not lost on the way.
    """
    generator = np.random.default_rng(5)
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            # Keras's files hold standard deviations where the layer takes variances: tensorflow issue 49930.
            layer.set_weights([np.array(RGB_MEANS), np.array(RGB_SDS), np.array(0)])
            continue
        for variable in layer.weights:
            if len(variable.shape) > 1:
                n_inputs = np.prod(variable.shape[: 2 if isinstance(layer, keras.layers.DepthwiseConv2D) else -1])
                gate = layer.name.endswith(("se_reduce", "se_expand"))  # not normalised: a sigmoid must not saturate
                variable.assign(generator.normal(0, (0.1 if gate else 1) / np.sqrt(n_inputs), variable.shape))
            else:
                low, high = (0.8, 1.2) if variable.name in ("gamma", "moving_variance") else (-0.1, 0.1)
                variable.assign(generator.uniform(low, high, variable.shape))
    base(images, training=True)


@pytest.fixture(scope="module")
def donor(backbone, tmp_path_factory):
    """A base of Keras's own, and the file of its weights, which stands for those of ImageNet."""
    base, file = keras_base(backbone), tmp_path_factory.mktemp("weights") / "base.h5"
    trained_weights(base, keras_module(backbone).preprocess_input(colour(slices(base, 16, seed=1))))
    write_weights(base, file)
    return base, file


@pytest.fixture
def pretrained(fresh, donor):
    """The one network of these tests, with the donor's weights below its head."""
    load_base_weights(fresh, donor[1])
    return fresh


# --- the entry


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_each_entry_says_everything_under_its_own_name(backbone):
    assert BACKBONES[backbone.name] is backbone is find_backbone(backbone.name)
    assert re.fullmatch("[a-z0-9]+", backbone.name)
    blank = {name for name, value in dataclasses.asdict(backbone).items() if not value}
    assert blank <= {"weights_md5", "n_normalisation", "n_statistics"}, (
        "Keras may know no hash, and a network may have no normalisation"
    )
    assert [other.label for other in BACKBONES.values()].count(backbone.label) == 1


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_each_entry_has_a_line_in_the_docs(backbone):
    lines = [line for path in DOCS.rglob("*.md") for line in path.read_text("utf-8").splitlines()]
    assert any(f"`{backbone.name}`" in line and backbone.label in line for line in lines)


def test_an_unknown_backbone_is_refused_with_the_choices():
    with pytest.raises(NetworkError, match="no backbone 'resnet51': take one of resnet50, "):
        find_backbone("resnet51")


def longest_way(network):
    """Most layers with a kernel on a way from the input to the output."""
    lengths = {}
    for layer in network.layers:  # in the order of the graph
        before = [node.operation for tensor in layer._inbound_nodes[0].input_tensors if (node := tensor._keras_history)]
        kernel = any(variable.name.endswith("kernel") for variable in layer.weights)
        lengths[layer.name] = kernel + max((lengths.get(operation.name, 0) for operation in before), default=0)
    return lengths[network.layers[-1].name]


def test_its_numbers_are_those_of_the_network_that_keras_builds(backbone, network):
    below = [v for layer in weighted(network) if layer.name != "softmax" for v in layer.weights]
    assert count(below) == backbone.n_parameters
    assert network.get_layer("features").output.shape[1] == backbone.n_features
    normalising = [v for layer in network.layers if layer.name in normalisations(network) for v in layer.weights]
    assert count(normalising) == backbone.n_normalisation
    assert count(v for v in normalising if v.name.startswith("moving")) == backbone.n_statistics
    assert weighted(network)[0].kernel.shape[0] == backbone.kernel
    assert longest_way(network) == backbone.depth


@pytest.mark.parametrize("mode", get_args(Mode))
def test_as_many_parameters_are_trained_as_the_entry_says(backbone, network, mode):
    freeze(network, mode)
    assert count(network.trainable_weights) == backbone.n_trainable(mode)


# --- the network


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square")
def test_it_answers_as_keras_own_network_with_the_same_weights_for_imagenet(backbone, pretrained, donor, monkeypatch):
    asked = {}

    def get_file(name, origin, **options):
        asked.update(options, name=name, origin=origin)
        return str(donor[1])

    monkeypatch.setattr(file_utils, "get_file", get_file)  # stands for the download
    theirs = keras_base(backbone, weights="imagenet")
    assert asked["name"] == backbone.weights_file
    assert asked["origin"] == backbone.weights_url
    assert asked.get("file_hash") in (backbone.weights_md5, backbone.weights_md5 or None)

    pixels = slices(pretrained, 3)
    expected = np.asarray(theirs(keras_module(backbone).preprocess_input(colour(pixels)))).mean(axis=(1, 2))
    largest = float(np.abs(expected).max())
    assert np.ptp(expected, axis=0).max() > 0.05 * largest, "slices differ"
    assert base_features(pretrained, pixels) == pytest.approx(expected, rel=1e-3, abs=1e-3 * largest)


def test_slices_are_preprocessed_as_keras_does_it(backbone, network, donor):
    pixels = slices(network, 2)
    seen = keras.Model(network.input, network.get_layer("preprocess").output)(pixels[..., None])
    expected = keras.applications.imagenet_utils.preprocess_input(colour(pixels), mode=backbone.preprocessing)
    assert np.asarray(seen) == pytest.approx(expected, abs=1e-4)
    if not any(isinstance(layer, keras.layers.Rescaling) for layer in donor[0].layers):  # else that does nothing
        assert keras_module(backbone).preprocess_input(colour(pixels)) == pytest.approx(expected, abs=1e-4)


def test_nothing_else_scales_what_it_sees(network):
    scaling = [n.name for n in network.layers if isinstance(n, (keras.layers.Rescaling, keras.layers.Normalization))]
    assert scaling == ["preprocess"]


@pytest.fixture(scope="module")
def large(backbone):
    """A network for large slices of three classes in mixed precision."""
    stages = Classification(name="stages", labels=("a", "b", "c"), truth_of=lambda _: None, question="")
    return build_backbone(backbone, side=224, dtype="mixed_bfloat16", task=stages)


def test_three_classes_are_float32_probabilities_under_mixed_precision_too(backbone, large):
    assert weighted(large)[0].compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"
    answer = np.asarray(large(slices(large, 2)[..., None]))
    assert answer.shape == (2, 3)
    assert answer.dtype == np.float32
    assert answer.sum(axis=1) == pytest.approx(np.ones(2), abs=1e-6)
    assert take_head(large).output.shape == (None, 3)
    freeze(large, "frozen")
    assert count(large.trainable_weights) == backbone.n_trainable("frozen", n_outputs=3)


def test_two_classes_are_told_apart(network):
    assert network.output.shape == (None, 2)


def test_smaller_slices_are_refused_in_one_line(backbone):
    smallest = backbone.smallest_side
    with pytest.raises(NetworkError) as refusal:
        build_backbone(backbone, side=smallest - 1)
    assert (
        str(refusal.value)
        == f"{backbone.label} needs slices of {smallest} pixels a side or more, but got {smallest - 1}: cut larger ones"
    )


def test_another_network_under_its_name_is_refused():
    with pytest.raises(NetworkError, match=r"builds a MobileNetV2 of 2,257,984 parameters in place of 1, whose fits"):
        build_backbone(dataclasses.replace(MOBILENETV2, n_parameters=1), side=32)


def test_it_is_saved_and_loaded_like_any_network_and_gives_its_weights_to_another(pretrained, tmp_path):
    file = tmp_path / "network.keras"
    save_network(pretrained, file)
    again = load_network(file)
    assert again.name == pretrained.name
    assert [layer.name for layer in again.layers] == [layer.name for layer in pretrained.layers]
    assert all(map(np.array_equal, again.get_weights(), pretrained.get_weights()))
    assert {again.get_layer(name).momentum for name in normalisations(pretrained)} <= {0.9}
    pixels = slices(pretrained, 2)[..., None]
    assert np.asarray(again(pixels)) == pytest.approx(np.asarray(pretrained(pixels)), abs=1e-6)

    reset_backbone(pretrained, 1)
    load_base_weights(pretrained, file)
    assert all(map(np.array_equal, again.get_weights(), pretrained.get_weights()))


# --- training


def compile_eagerly(network):
    """Let a network be trained for a few steps; tracing takes longer."""
    network.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", run_eagerly=True)


def train(network, mode, n_steps=1):
    """A few steps on the same images; the weights of each layer before and after."""
    freeze(network, mode)
    compile_eagerly(network)
    before = {layer.name: layer.get_weights() for layer in network.layers}
    for _ in range(n_steps):
        network.train_on_batch(slices(network, 4)[..., None], np.array([0, 1, 0, 1]))
    after = {layer.name: layer.get_weights() for layer in network.layers}
    return before, after


def changed(before, after):
    return {name for name, old in before.items() if not all(map(np.array_equal, old, after[name]))}


def test_fine_tuned_trains_all_but_batch_normalisation(pretrained):
    assert changed(*train(pretrained, "fine-tuned")) == {n.name for n in weighted(pretrained)} - normalisations(
        pretrained
    )


def test_scratch_trains_everything_and_batch_normalisation_follows(fresh):
    assert changed(*train(fresh, "scratch")) == {layer.name for layer in weighted(fresh)}


def test_an_unknown_way_of_training_is_refused_with_the_choices(backbone, network):
    with pytest.raises(NetworkError, match=f"{backbone.label} is trained frozen, fine-tuned, scratch, but got 'warm'"):
        freeze(network, "warm")


def test_frozen_trains_the_head_alone_as_on_the_features_of_its_base(pretrained, monkeypatch):
    for layer in pretrained.layers:
        if isinstance(layer, keras.layers.Dropout):
            monkeypatch.setattr(layer, "rate", 0)  # features know no dropout
    head, pixels = take_head(pretrained), slices(pretrained, 4)
    features = base_features(pretrained, pixels)
    assert np.asarray(head(features)) == pytest.approx(np.asarray(pretrained(pixels[..., None])), abs=1e-3)
    before, after = train(pretrained, "frozen", n_steps=2)
    assert changed(before, after) == {"softmax"}
    compile_eagerly(head)
    for _ in range(2):
        head.train_on_batch(features, np.array([0, 1, 0, 1]))
    assert head.get_weights()[0] == pytest.approx(after["softmax"][0], rel=1e-3, abs=1e-3)
    reset_backbone(pretrained, 1)
    put_head(pretrained, head)
    assert all(map(np.array_equal, pretrained.get_layer("softmax").get_weights(), head.get_weights()))


STEP = """
import hashlib, sys
import keras, numpy as np
from bonehpo.learning.backbones import find_backbone
from bonehpo.learning.transfer import build_backbone, freeze, reset_backbone

def digest(network):
    return hashlib.sha256(b"".join(w.tobytes() for w in network.get_weights())).hexdigest()

def drawn_and_trained(network):
    side, found = network.input.shape[1], []
    pixels = np.random.default_rng(0).integers(0, 256, (4, side, side), dtype=np.uint8)
    freeze(network, "scratch")
    network.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", run_eagerly=True)
    reset_backbone(network, 7)
    found.append(digest(network))
    network.train_on_batch(pixels[..., None], np.array([0, 1, 0, 1]))
    return [*found, digest(network)]

if __name__ == "__main__":
    backbone = find_backbone(sys.argv[1])
    print(*drawn_and_trained(build_backbone(backbone, side=backbone.smallest_side)))
"""


@pytest.fixture(scope="module")
def elsewhere(backbone):
    """Hashes of its weights as another process draws and trains them."""
    answer = subprocess.run([sys.executable, "-c", STEP, backbone.name], capture_output=True, text=True, check=True)
    return answer.stdout.split()


def test_the_same_seed_draws_and_trains_the_same_in_a_fresh_process_and_after_other_steps(fresh, elsewhere):
    here = {"__name__": "step"}
    exec(STEP, here)
    train(fresh, "scratch")
    assert here["drawn_and_trained"](fresh) == elsewhere


def test_another_seed_draws_every_kernel_anew(network):
    drawn = []
    for seed in (3, 4):
        reset_backbone(network, seed)
        drawn.append([w for layer in weighted(network) for w in layer.get_weights() if w.ndim > 1])
    assert not any(map(np.array_equal, *drawn))
    assert len({kernel.flat[0] for kernel in drawn[0]}) == len(drawn[0])


# --- weights


def test_weights_of_a_file_fill_the_base_and_leave_the_head(backbone, fresh, donor):
    head = fresh.get_layer("softmax").get_weights()
    load_base_weights(fresh, resolve_weights(str(donor[1]), backbone))
    theirs = [layer for layer in weighted(donor[0]) if not isinstance(layer, keras.layers.Normalization)]
    for layer, their in zip(weighted(fresh)[:-1], theirs, strict=True):
        assert all(map(np.array_equal, layer.get_weights(), their.get_weights())), layer.name
    assert all(map(np.array_equal, head, fresh.get_layer("softmax").get_weights()))


def test_weights_of_another_network_are_refused_in_one_line(backbone, fresh, tmp_path):
    image = keras.Input((32, 32, 3))
    write_weights(keras.Model(image, keras.layers.Conv2D(4, 3)(image)), tmp_path / "other.h5")
    before = fresh.get_weights()
    with pytest.raises(NetworkError) as refusal:
        load_base_weights(fresh, tmp_path / "other.h5")
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith(f"{tmp_path / 'other.h5'} holds no {backbone.label} without its head")
    assert backbone.weights_file in str(refusal.value)
    assert all(map(np.array_equal, before, fresh.get_weights()))


def test_without_network_it_is_said_which_file_to_put_where(backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # a port on which nothing listens
    with pytest.raises(NetworkError) as refusal:
        resolve_weights("imagenet", backbone)
    assert "\n" not in str(refusal.value)
    assert f"ImageNet weights of {backbone.label} could not be downloaded" in str(refusal.value)
    assert f"put {backbone.weights_url} into {tmp_path / 'models'}" in str(refusal.value)


# --- Grad-CAM


def map_layers(backbone, network):
    return [layer for layer in network.layers if re.fullmatch(backbone.maps, layer.name)]


def test_everything_passes_through_the_layers_that_grad_cam_looks_at(backbone, network):
    layers = map_layers(backbone, network)
    assert len({layer.output.shape[1] for layer in layers}) >= 3, "from fine to coarse"
    for layer in layers:
        assert len(layer.output.shape) == 4
        keras.Model(layer.output, network.layers[-1].input)  # a shortcut past it would leave this graph disconnected


def test_the_last_of_them_is_looked_at_on_large_slices_and_a_finer_one_on_small_slices(backbone, network, large):
    layers = map_layers(backbone, large)
    assert layers[-1].output.shape[3] == backbone.n_features
    assert default_layer(large) == [n.name for n in layers if n.output.shape[1] >= SMALLEST_MAP][-1]
    assert network.get_layer(default_layer(network)).output.shape[1] >= SMALLEST_MAP


def test_grad_cam_gives_a_map_of_each_slice(pretrained):
    maps = np.stack([grad_cam(pretrained, slices(pretrained, 3), target=target) for target in (0, 1)])
    assert maps.shape == (2, 3, *pretrained.input.shape[1:3])
    assert np.isfinite(maps).all()
    assert (maps.max(axis=(0, 2, 3)) > 0).all(), "something speaks for one class or the other"


def test_the_backbone_of_the_how_to_is_one():
    page = (DOCS / "how-to" / "add-a-backbone.md").read_text("utf-8")
    (entry,) = re.findall(r"```python title=.*?\n(.*?)```", page, re.DOTALL)
    added = {"Backbone": Backbone, "STORAGE": STORAGE}
    exec(entry, added)
    network = build_backbone(added["VGG16"], side=32)
    test_its_numbers_are_those_of_the_network_that_keras_builds(added["VGG16"], network)
    test_everything_passes_through_the_layers_that_grad_cam_looks_at(added["VGG16"], network)
    test_slices_are_preprocessed_as_keras_does_it(added["VGG16"], network, (keras_base(added["VGG16"]), None))


def test_resnet_50_is_the_first_choice():
    assert next(iter(BACKBONES)) == RESNET50.name == "resnet50"
