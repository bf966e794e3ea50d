"""Dropout, normalisation, AdamW, schedules, widths: right, and the same in every process, whatever was fitted before."""

import dataclasses
import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import SUPPORT
from scipy.special import expit, logit
from tiny_study import TOML, plan_of

from bonehpo.config import StudyFolder
from bonehpo.hyperparameters import HYPERPARAMETERS, Hyperparameters, replace_values
from bonehpo.learning.architecture import count_operations, count_parameters, groups_of, n_weighted_layers
from bonehpo.learning.fits import load_answers
from bonehpo.learning.fitting import run_fit
from bonehpo.learning.gradcam import default_layer, grad_cam, randomise_top, weighted_layers
from bonehpo.learning.learners import compile_network, compiled_network, predict, rate_at, start_optimiser
from bonehpo.learning.networks import (
    build_network,
    layer_table,
    load_network,
    reset_weights,
    save_calibrated,
    save_network,
    standardise,
)
from bonehpo.learning.training import train
from bonehpo.store.images import load_images
from bonehpo.task import DAMAGE, STRAIN
from bonehpo.workflow.plan import make_plan

BASE = Hyperparameters(layers=2, learning_rate=1e-2, kernel=3, batch=8)
ADDED = {
    "dropout": 0.5,
    "filters": 12,
    "dense_units": 20,
    "weight_decay": 0.1,
    "normalisation": "batch",
    "schedule": "cosine",
}
CHOICES = {name: replace_values(BASE, {name: value}) for name, value in ADDED.items()}
CHOICES |= {"group": dataclasses.replace(BASE, normalisation="group"), "all": replace_values(BASE, ADDED)}
NORMALISATIONS = ("batch", "group")


def plan_in(root, task="damage", precision="float32", checkpoint="last"):
    toml = TOML.replace(
        'epochs = 3\nprecision = "float32"', f'epochs = 2\nprecision = "{precision}"\ncheckpoint = "{checkpoint}"'
    )
    return plan_of(root, toml.replace('bone = "TB"', f'bone = "TB"\ntask = "{task}"'), (0, 0.5, 1))


def digest(result):
    """Every bit of curves and predictions."""
    arrays = [*result.curves, *(column for set_ in result.predictions for column in set_)]
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def fits_of(folder, names):
    """Digest of the first fit of each of these choices, in this process and this order."""
    plan = make_plan(StudyFolder(Path(folder)))
    return [digest(train(plan.task(CHOICES[name], plan.pairs[0]))) for name in names]


def elsewhere(plan, names):
    """The same in a fresh process."""
    script = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(SUPPORT)!r}]\n"
        f"from test_beyond_the_paper import fits_of\nprint(*fits_of({str(plan.folder.path)!r}, {list(names)!r}))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return dict(zip(names, answer.stdout.split(), strict=True))


def check_repeats(plan, names, there):
    """Fit each choice, another pair of it, another choice, and the first again: always what a fresh process found."""
    for name in names:
        first = train(plan.task(CHOICES[name], plan.pairs[0]))
        assert digest(first) == there[name], f"{name}: after other fits, in another process"
        train(plan.task(CHOICES[name], plan.pairs[1]))
        assert fits_of(plan.folder.path, [name]) == [there[name]], f"{name}: repeated on the cached network"


def test_it_is_the_whole_table():
    assert {*ADDED} == {entry.name for entry in HYPERPARAMETERS if not entry.is_always_told}


@pytest.mark.torture
def test_a_fit_is_the_same_in_a_fresh_process_after_other_fits_and_when_repeated(tmp_path):
    plan = plan_in(tmp_path)
    names = list(CHOICES)
    there = elsewhere(plan, names)
    there["all"] = elsewhere(plan, ["all"])["all"]  # the very first fit of a process
    check_repeats(plan, names[::-1], there)
    plain = digest(train(plan.task(BASE, plan.pairs[0])))
    assert len({plain, *there.values()}) == 1 + len(names), "each of them changes what is learnt"


@pytest.mark.torture
@pytest.mark.parametrize(("task", "precision"), [("damage", "bfloat16"), ("strain", "float32")])
def test_so_are_fits_of_strain_and_in_bfloat16(tmp_path, task, precision):
    plan = plan_in(tmp_path, task, precision)
    names = ["all", "group"]
    check_repeats(plan, names, elsewhere(plan, names[::-1]))


def images(n, side=16):
    return np.random.default_rng(0).integers(0, 256, (n, side, side), dtype=np.uint8)


def drawn(choice, side=16, dtype="float32", task=DAMAGE):
    network = build_network(choice, side=side, dtype=dtype, task=task)
    reset_weights(network, 3)
    standardise(network, images(20, side), np.arange(20))
    return network


def step(network, n=8):
    network.train_on_batch(images(n)[..., None], np.arange(n) % 2)


@settings(max_examples=12, deadline=None)
@given(
    choice=st.builds(
        Hyperparameters,
        layers=st.integers(1, 3),
        kernel=st.integers(1, 5),
        filters=st.integers(1, 40),
        dense_units=st.integers(0, 30),
        dropout=st.sampled_from([0.0, 0.3]),
        normalisation=st.sampled_from(["none", *NORMALISATIONS]),
    )
)
def test_counts_by_arithmetic_are_those_of_the_built_network(choice):
    network = build_network(choice, side=16)
    assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == count_parameters(choice, 16)
    assert len(weighted_layers(network)) == n_weighted_layers(choice)
    kernels = {layer.name: layer.kernel.shape for layer in network.layers if hasattr(layer, "kernel")}
    operations = [16**2 // 4**i * np.prod(kernels[f"convolution_{i + 1}"]) for i in range(choice.layers)]
    assert sum(operations) + np.prod(kernels["dense"]) == count_operations(choice, 16)


def test_layers_stand_where_the_reference_says():
    rows = layer_table(build_network(CHOICES["all"], side=16))
    assert [row.kind for row in rows[-13:]] == [
        *("Conv2D", "BatchNormalization", "Activation", "MaxPooling2D") * 2,
        *("Flatten", "Dropout", "Dense", "Dropout", "Dense"),
    ]
    sizes = {row.name: row.shape[-1] for row in rows}
    assert (sizes["convolution_1"], sizes["convolution_2"], sizes["dense"]) == (12, 24, 20)
    wide = build_network(dataclasses.replace(BASE, filters=12), side=16)
    assert wide.get_layer("dense").units == 48, "twice the last filters"


@pytest.mark.parametrize(("filters", "groups"), [(32, 8), (12, 4), (7, 1), (64, 8)])
def test_groups_divide_the_filters(filters, groups):
    assert groups_of(filters) == groups
    choice = dataclasses.replace(BASE, normalisation="group", filters=filters)
    network = build_network(choice, side=16)
    assert network.get_layer("normalisation_1").groups == groups


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_a_normalisation_gives_maps_of_mean_0_and_variance_1_while_training(normalisation, dtype):
    network = drawn(dataclasses.replace(BASE, normalisation=normalisation), dtype=dtype)
    layer = network.get_layer("normalisation_1")
    maps = np.asarray(keras.Model(network.input, layer.output)(images(20)[..., None], training=True), np.float32)
    if normalisation == "batch":
        mean, sd = maps.mean(axis=(0, 1, 2)), maps.std(axis=(0, 1, 2))
    else:
        grouped = maps.reshape(20, -1, layer.groups, 32 // layer.groups)
        mean, sd = grouped.mean(axis=(1, 3)), grouped.std(axis=(1, 3))
    assert mean == pytest.approx(0, abs=0.02)
    assert sd == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_what_is_said_of_a_slice_does_not_depend_on_the_slices_beside_it(normalisation):
    network = drawn(dataclasses.replace(BASE, normalisation=normalisation, dropout=0.5))
    compile_network(network, DAMAGE)
    for _ in range(3):
        step(network)
    together = predict(network, images(6))
    alone = np.concatenate([predict(network, images(6)[i : i + 1]) for i in range(6)])
    assert together == pytest.approx(alone, abs=1e-6)
    assert len(set(together.tolist())) == 6


def test_a_reset_forgets_everything_that_training_leaves():
    network = compiled_network(CHOICES["all"], 16, "float32")
    variables = [*network.variables, *network.optimizer.variables]
    reset_weights(network, 3)
    step(network)
    states = []
    for seed in (3, 4, 3):
        for variable in [*network.variables, *network.optimizer.variables]:
            variable.assign(keras.ops.cast(keras.ops.ones(variable.shape) * 5, variable.dtype))
        reset_weights(network, seed)
        start_optimiser(network, 1e-3)
        states.append([np.asarray(v) for v in [*network.variables, *network.optimizer.variables]])
    names = [v.path for v in [*network.variables, *network.optimizer.variables]]
    assert len(names) > len(variables), "the optimiser has its slots by now"
    for name, first, other, again in zip(names, *states, strict=True):
        assert np.array_equal(first, again), name
        drawn_anew = name.endswith(("kernel", "seed_generator_state"))
        assert np.array_equal(first, other) != drawn_anew, name
        if name.endswith(("gamma", "moving_variance")):
            assert (first == 1).all(), name
        elif not drawn_anew and not name.endswith("learning_rate"):
            assert (first == 0).all(), name


def test_choices_that_differ_in_what_is_not_rebuilt_share_a_network():
    one = compiled_network(BASE, 16, "float32")
    for entry in HYPERPARAMETERS:
        other = next(value for value in entry.examples if value != getattr(BASE, entry.name))
        again = compiled_network(replace_values(BASE, {entry.name: other}), 16, "float32")
        assert (again is one) != entry.is_rebuilt, entry.name
        one = compiled_network(BASE, 16, "float32")


def test_weight_decay_takes_its_share_of_the_kernels_alone_and_apart_from_the_step():
    rate, decay = 1e-2, 0.1
    before, after = [], []
    for weight_decay in (0.0, decay):
        network = drawn(dataclasses.replace(BASE, normalisation="group"))
        compile_network(network, DAMAGE, weight_decay)
        network.optimizer.learning_rate = rate
        before.append({v.path: np.asarray(v) for v in network.trainable_variables})
        step(network)
        after.append({v.path: np.asarray(v) for v in network.trainable_variables})
    for name, value in before[0].items():
        share = rate * decay if name.endswith("kernel") else 0
        assert after[1][name] == pytest.approx(after[0][name] - share * value, abs=1e-7), name
        assert name.endswith(("kernel", "bias", "gamma", "beta"))


def test_without_weight_decay_the_optimiser_is_adam_as_it_was():
    network = drawn(BASE)
    compile_network(network, DAMAGE)
    plain = keras.optimizers.Adam().get_config() | {"name": network.optimizer.name}
    assert network.optimizer.get_config() == plain
    assert plain["weight_decay"] is None


def test_the_cosine_begins_at_the_learning_rate_and_falls_to_nothing():
    choice = CHOICES["schedule"]
    rates = [rate_at(choice, i, 100) for i in range(100)]
    assert rates[0] == choice.learning_rate
    assert rates[50] == pytest.approx(choice.learning_rate / 2)
    assert all(a > b > 0 for a, b in itertools.pairwise(rates))
    assert rates[-1] < choice.learning_rate / 1000
    assert {rate_at(BASE, i, 100) for i in range(100)} == {BASE.learning_rate}


def test_the_steps_of_a_schedule_are_those_of_all_epochs(tmp_path):
    plan = plan_in(tmp_path)
    train(plan.task(CHOICES["schedule"], plan.pairs[0]))
    network = compiled_network(CHOICES["schedule"], 16, "float32")
    n_images = len(load_images(plan.folder.store.absolute(), plan.store_id).indices(plan.sets["TB9"]))
    n_steps = 2 * -(-n_images // 8)
    assert int(network.optimizer.iterations) == n_steps
    assert float(network.optimizer.learning_rate) == pytest.approx(rate_at(CHOICES["schedule"], n_steps - 1, n_steps))


def test_dropout_leaves_out_its_share_while_training_and_nothing_afterwards():
    network = drawn(CHOICES["dropout"])
    layer = network.get_layer("dropout_1")
    seen = np.asarray(layer(np.ones((50, 200), np.float32), training=True))
    assert np.mean(seen == 0) == pytest.approx(0.5, abs=0.03)
    assert {*np.unique(seen).tolist()} == {0, 2}
    assert np.array_equal(predict(network, images(5)), predict(network, images(5)))


@pytest.mark.parametrize("checkpoint", ["last", "best"])
@pytest.mark.parametrize("name", ["all", "group"])
def test_kept_networks_answer_what_their_fit_recorded(tmp_path, name, checkpoint):
    plan = plan_in(tmp_path, checkpoint=checkpoint)
    task = plan.task(CHOICES[name], plan.pairs[0], keep=True)
    result, answers = run_fit(task), load_answers(task.states)
    for tested, set_ in zip(result.predictions, plan.pairs[0], strict=True):
        found = answers.p_failed(plan.pairs[0], set_)
        for state in (1, 3):
            assert found[state] == pytest.approx(tested.output[tested.state == state], abs=1e-6)
    if checkpoint == "last":
        kept = load_images(task.store, plan.store_id)
        again = predict(load_network(task.network), kept.pixels[kept.indices(plan.sets[plan.pairs[0].first])])
        assert again == pytest.approx(result.predictions[0].output, abs=1e-6)


@pytest.mark.parametrize("name", ["all", "group"])
def test_a_kept_network_of_strain_answers_in_percent(tmp_path, name):
    plan = plan_in(tmp_path, "strain")
    task = plan.task(CHOICES[name], plan.pairs[0], keep=True)
    result, kept = run_fit(task), load_images(task.store, plan.store_id, STRAIN)
    again = predict(load_network(task.network), kept.pixels[kept.indices(plan.sets[plan.pairs[0].first])])
    assert again == pytest.approx(result.predictions[0].output, abs=1e-5)


@pytest.mark.parametrize("name", ["all", "group", "dropout"])
def test_a_calibrated_network_divides_its_logits(tmp_path, name):
    network = drawn(CHOICES[name])
    before = predict(network, images(20))
    save_calibrated(network, 2.5, tmp_path / "mended.keras")
    after = predict(load_network(tmp_path / "mended.keras"), images(20))
    assert after == pytest.approx(expit(logit(before.astype(float)) / 2.5), abs=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_grad_cam_looks_at_the_last_convolution_after_its_normalisation_and_relu(normalisation, dtype):
    network = drawn(dataclasses.replace(BASE, normalisation=normalisation, dropout=0.5), side=32, dtype=dtype)
    assert default_layer(network) == "relu_2"
    assert default_layer(build_network(dataclasses.replace(BASE, normalisation=normalisation), side=16)) == "relu_2"
    deep = dataclasses.replace(BASE, normalisation=normalisation, layers=4)
    assert default_layer(build_network(deep, side=32)) == "relu_3", "the fourth has 4 pixels a side"
    maps = grad_cam(network, images(3, 32), target=1)
    assert maps.shape == (3, 32, 32)
    assert (maps >= 0).all()
    assert maps.max() > 0
    assert np.array_equal(maps, grad_cam(network, images(3, 32), target=1))


def test_grad_cam_of_a_normalised_network_is_the_gradient_of_the_score():
    """Against finite differences: adding the same to a whole channel after its ReLU changes the score by its weight."""
    network = drawn(dataclasses.replace(BASE, normalisation="batch", filters=2, dense_units=6), side=32)
    relu, last = network.get_layer("relu_2"), network.layers[-1]
    front = keras.Model(network.input, relu.output)
    rest = keras.Model(relu.output, last.input)
    seen = np.asarray(front(images(1, 32)[..., None]))

    def score(activations):
        return float((np.asarray(rest(activations)) @ np.asarray(last.kernel) + np.asarray(last.bias))[0, 1])

    shift = 1e-3 * np.eye(seen.shape[-1], dtype=np.float32)
    slopes = np.array([score(seen + one) - score(seen - one) for one in shift]) / 2e-3 / (16 * 16)
    coarse = np.maximum((seen[0] * slopes).sum(axis=-1), 0)
    whole = keras.ops.image.resize(coarse[None, ..., None], (32, 32), interpolation="bilinear")
    expected = np.asarray(whole)[0, ..., 0]
    assert grad_cam(network, images(1, 32), target=1)[0] == pytest.approx(expected, rel=0.05, abs=0.02 * expected.max())


def test_random_weights_from_the_top_reach_every_layer_of_a_normalised_network():
    network = drawn(CHOICES["all"], side=32)
    names = weighted_layers(network)
    assert names[:2] == ("softmax", "dense")
    assert {"normalisation_1", "convolution_1"} <= {*names}
    assert len(names) == n_weighted_layers(CHOICES["all"])
    everything = randomise_top(network, len(names), seed=1)
    assert not np.array_equal(predict(everything, images(3, 32)), predict(network, images(3, 32)))


def test_a_saved_network_answers_as_before(tmp_path):
    network = drawn(CHOICES["all"])
    compile_network(network, DAMAGE, 0.1)
    step(network)
    save_network(network, tmp_path / "one.keras")
    assert np.array_equal(predict(load_network(tmp_path / "one.keras"), images(5)), predict(network, images(5)))
