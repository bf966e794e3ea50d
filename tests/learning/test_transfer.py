"""ResNet-50 as a fit like any other, and set beside the optimum of a tiny study, with weights that start from somewhere."""

from dataclasses import replace
from typing import get_args

import keras
import numpy as np
import pytest
from documented import undocumented
from tiny_study import SPECIMENS, TOML, finish, make_study, plan_of

from bonehpo.config import Split, Training
from bonehpo.domain import Group, HoldoutPair, ignore_progress
from bonehpo.engine import open_engine
from bonehpo.errors import FitError, NetworkError, StudyError
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.backbones import BACKBONES, MOBILENETV2, RESNET50, Mode
from bonehpo.learning.fits import FitSpec, FitTask, Transfer, fit_path, load_answers, load_fit, pair_seed
from bonehpo.learning.fitting import find_fit, run_fit
from bonehpo.learning.learners import compute_features, features_file, make_transfer_learner, predict
from bonehpo.learning.networks import load_network
from bonehpo.learning.transfer import base_features
from bonehpo.results.compare import Weights, compare_address, compare_name, find_weights, run_compare, with_split
from bonehpo.results.result import load_result, save_result
from bonehpo.store.images import load_images
from bonehpo.store.store import SliceStore
from bonehpo.workflow.plan import make_plan

pytestmark = pytest.mark.torture  # a ResNet-50 is built and trained many times

SIDE, N_SLICES = 32, 3
DAMAGES = (0, 0.5, 1)
SHORT = TOML.replace("epochs = 3", "epochs = 1")
EPOCHS = {"frozen": 2, "fine-tuned": 1, "scratch": 1}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file as Keras itself writes the weights of a ResNet-50 without its head."""
    file = tmp_path_factory.mktemp("weights") / "base.weights.h5"
    keras.utils.set_random_seed(3)
    keras.applications.ResNet50(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3)).save_weights(file)
    return find_weights(str(file), file.parent)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of 18 training images a fit: one step of a ResNet-50, and one shape to trace."""
    return finish(plan_of(tmp_path_factory.mktemp("transfer"), SHORT, DAMAGES, SIDE, N_SLICES))


@pytest.fixture(scope="module")
def plan(finished):
    return finished.plan


def compare(finished, weights):
    with open_engine(0) as engine:
        findings = run_compare(finished, weights, engine, ignore_progress, epochs=EPOCHS)
    return finished.result("compare", "comparison", compare_address(finished, weights, epochs=EPOCHS), findings)


@pytest.fixture(scope="module")
def compared(finished, weights):
    return compare(finished, weights)


def resnet_task(plan, mode, weights, n=0):
    """The fit of the n-th holdout pair as the comparison asks for it."""
    task = plan.task(RESNET50.hyperparameters, plan.pairs[n])
    transfer = Transfer(mode=mode, weights="" if mode == "scratch" else weights.hash)
    training = replace(task.spec.training, epochs=EPOCHS[mode])
    task = replace(task, spec=replace(task.spec, transfer=transfer, training=training), weights=weights.file)
    return replace(task, states=plan.states(task.spec.key).absolute())


def n_trainable(network):
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


@pytest.mark.parametrize("mode", get_args(Mode))
def test_a_resnet_is_a_fit_whose_network_answers_every_load_state(compared, plan, weights, mode):
    task = replace(resnet_task(plan, mode, weights), network=plan.kept(resnet_task(plan, mode, weights).spec.key))
    if mode == "frozen":
        assert find_fit(task) is None, "the comparison keeps neither a frozen network nor its answers"
        run_fit(task)
    found = find_fit(task)
    assert [fold.test for fold in found.fold_scores()] == list(task.spec.pair)
    assert np.isfinite(found.curves.held_out_loss).all()
    if mode == "frozen":
        assert found.precision == "float32", "whatever the hardware likes: features and head are float32"

    answers = load_answers(task.states)
    for i, name in enumerate(task.spec.pair):
        p_failed = answers.p_failed(task.spec.pair, name)
        assert list(p_failed) == [1, 2, 3]
        assert {len(p) for p in p_failed.values()} == {3 * N_SLICES}
        tested = found.predictions[i]
        for state in (1, 3):
            assert p_failed[state] == pytest.approx(tested.output[tested.state == state], abs=1e-5)

    images = load_images(task.store, task.spec.store_id)
    indices = images.indices(task.spec.sets[task.spec.pair.first])
    assert predict(load_network(task.network), images.pixels[indices]) == pytest.approx(
        found.predictions[0].output, abs=1e-4
    )
    assert n_trainable(make_transfer_learner(task, images, "float32").network) == RESNET50.n_trainable(mode)


def test_features_of_a_frozen_base_are_computed_once_for_all_fits_and_splits(plan, weights):
    first, second = (resnet_task(plan, "frozen", weights, n) for n in (0, 1))
    run_fit(first)
    made = features_file(first).stat().st_mtime_ns
    run_fit(second)
    mixed = with_split(plan, Split(kind="mixed"), SliceStore.open(plan.folder.store))
    run_fit(resnet_task(mixed, "frozen", weights))
    assert compute_features(second) == features_file(first).name
    assert [path.stat().st_mtime_ns for path in plan.folder.fits.glob("features-*")] == [made]


@pytest.mark.parametrize("mode", ["frozen", "fine-tuned"])
def test_a_network_that_starts_from_weights_is_refused_without_any(plan, mode):
    with pytest.raises(FitError, match=f"ResNet-50 {mode} needs weights to start from: give --weights"):
        run_fit(resnet_task(plan, mode, Weights(name="none")))


def test_weights_that_changed_meanwhile_or_are_gone_are_refused(plan, weights, tmp_path):
    copy = tmp_path / "copy.weights.h5"
    copy.write_bytes(weights.file.read_bytes()[:-1])
    task = resnet_task(plan, "frozen", replace(weights, file=copy))
    task = replace(task, spec=replace(task.spec, seed=1))
    with pytest.raises(FitError, match=r"copy\.weights\.h5 were changed meanwhile: run the same command again"):
        run_fit(task)
    copy.unlink()
    with pytest.raises(FitError, match=r"copy\.weights\.h5 are gone: put them back"):
        run_fit(task)


def test_a_resnet_predicts_no_strain(plan, weights):
    task = resnet_task(plan, "scratch", weights)
    with pytest.raises(FitError, match="leave strain to the paper's family"):
        run_fit(replace(task, spec=replace(task.spec, task="strain")))


def test_a_fit_is_done_again_when_its_network_or_its_states_are_gone(plan, weights):
    task = resnet_task(plan, "frozen", weights, 1)
    task = replace(task, network=plan.kept(task.spec.key))
    run_fit(task)
    result = fit_path(task.fits, task.spec.key)
    made = result.stat().st_mtime_ns
    run_fit(task)
    assert result.stat().st_mtime_ns == made
    for file in (task.network, task.states):
        file.unlink()
        assert find_fit(task) is None
        run_fit(task)
        assert file.exists()
        assert result.stat().st_mtime_ns > made
        made = result.stat().st_mtime_ns


# --- addresses of fits, literally as version 0.1 (commit 4cd7cb9) computed them


SETS = {specimen: tuple(Group(specimen, plane) for plane in ("XY", "XZ", "YZ")) for specimen in SPECIMENS}
PAIR = HoldoutPair("TB5", "TB9")


def spec_of(transfer, n_epochs, **changes):
    return FitSpec(
        store_id="ab" * 32,
        sets=SETS,
        pair=PAIR,
        hyperparameters=RESNET50.hyperparameters,
        training=Training(epochs=n_epochs),
        seed=pair_seed(0, PAIR),
        transfer=transfer,
        **changes,
    )


@pytest.mark.parametrize(
    ("transfer", "n_epochs", "changes", "address"),
    [
        (Transfer(mode="scratch"), 20, {}, "f2f8cb1e923d9617ddec608371eae84b"),
        (Transfer(mode="frozen", weights="cd" * 32), 5, {}, "6960a383314ab492b6d384ca8d392efc"),
        (Transfer(mode="fine-tuned", weights="cd" * 32), 5, {}, "d03a002dd45a57c8fd7faaf31056b182"),
        (Transfer(mode="scratch"), 20, {"swapped": ("TB6",)}, "72a4da4fc3d703e73fa7ed643434c820"),
        (
            None,
            20,
            {"hyperparameters": Hyperparameters(layers=4, learning_rate=1e-4, kernel=5, batch=20)},
            "5f62fef2bc68ee61c9f90f491a0246ea",
        ),
    ],
)
def test_fits_of_version_0_1_keep_their_addresses(transfer, n_epochs, changes, address):
    assert replace(spec_of(transfer, n_epochs), **changes).key == address


def test_features_of_version_0_1_keep_their_names(tmp_path):
    spec = spec_of(Transfer(mode="frozen", weights="cd" * 32), 5)
    task = FitTask(spec=spec, store=tmp_path, fits=tmp_path)
    assert features_file(task).name == "features-26fe47455dfec0d34745271941ef79e4.npy"


def test_each_backbone_has_fits_and_features_of_its_own(tmp_path):
    specs = [spec_of(Transfer(mode="frozen", weights="cd" * 32, backbone=name), 5) for name in BACKBONES]
    assert len({spec.key for spec in specs}) == len(BACKBONES)
    tasks = [FitTask(spec=spec, store=tmp_path, fits=tmp_path) for spec in specs]
    assert len({features_file(task).name for task in tasks}) == len(BACKBONES)


# --- ResNet-50 beside the optimum


def test_the_optimum_and_every_resnet_are_compared_in_both_splits(compared, finished):
    configurations = compared.tables["configurations"].set_index(["configuration", "split"])
    assert list(configurations.index) == [
        (configuration, split)
        for split in ("specimen", "mixed")
        for configuration in ("cnn", "frozen", "fine-tuned", "scratch")
    ]
    assert set(configurations["n_folds"]) == {6}
    assert set(configurations["reason"]) == {""}
    assert configurations["mean"].between(0, 1).all()
    assert set(configurations.loc["frozen", "n_trainable"]) == {4098}
    assert {configuration: set(configurations.loc[configuration, "epochs"]) for configuration in EPOCHS} == {
        configuration: {n} for configuration, n in EPOCHS.items()
    }
    assert {len(load_fit(finished.plan.folder.fits, key).curves.train_loss) for key in keys_of(compared, "frozen")} == {
        2
    }
    assert len(compared.tables["folds"]) == 8 * 6
    assert undocumented(compared) == []
    assert {configuration.name: len(configuration.keys) for configuration in compared.configurations} == {
        f"{configuration}, {split}": 3 for configuration, split in configurations.index
    }
    assert configurations.loc[("cnn", "specimen"), "mean"] == pytest.approx(finished_mean(finished))


def keys_of(compared, kind):
    return [
        key
        for configuration in compared.configurations
        if configuration.name.startswith(kind)
        for key in configuration.keys
    ]


def finished_mean(finished):
    folds = [fold for task in finished.optimum_configuration().tasks for fold in find_fit(task).fold_scores()]
    return np.mean([fold.test_score for fold in folds])


def test_three_sets_can_show_no_p_below_a_quarter(compared):
    tests = compared.tables["tests"]
    assert len(tests) == 2 * 6  # pairs of four networks
    assert set(tests["n_sets"]) == {3}
    assert set(tests["smallest_p"]) == {0.25}
    assert tests["p_corrected_t"].between(0, 1).all()
    assert (tests["p"] >= 0.25).all()
    assert any("none below 0.25 is possible" in sentence for sentence in compared.sentences)


def test_every_load_state_is_asked_of_the_optimum_and_of_the_best_resnet(compared):
    states = compared.tables["states"]
    assert states.groupby("configuration").size().to_dict() == {"cnn": 6 * 3, "fine-tuned": 6 * 3}
    assert (states.loc[states["state"] == 1, "accuracy"] == 0.5).all()
    assert states["strain"].tolist() == pytest.approx(0.01 * (states["state"] - 1))


def test_without_weights_a_resnet_is_trained_from_scratch_alone_and_what_is_fitted_is_taken(compared, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.plan.folder.fits.iterdir()}
    none = Weights(name="none")
    found = compare(finished, none)
    assert list(found.tables["configurations"]["configuration"]) == ["cnn", "scratch"] * 2
    assert set(found.tables["states"]["configuration"]) == {"cnn", "scratch"}
    assert "frozen and fine-tuned networks are left out" in found.sentences[-1]
    assert found.inputs == compare_address(finished, none, epochs=EPOCHS) != compared.inputs
    assert {path: path.stat().st_mtime_ns for path in finished.plan.folder.fits.iterdir()} == before


def test_weights_can_be_the_network_that_another_study_fine_tuned(compared, finished, weights, tmp_path):
    save_result(compared, finished.plan.folder)
    found = find_weights("study:TB", finished.plan.folder.path.parent)
    keys = {configuration.name: configuration.keys for configuration in compared.configurations}["fine-tuned, specimen"]
    assert found.file == finished.plan.kept(keys[0])
    other = make_plan(make_study(tmp_path, SHORT, DAMAGES, SIDE, N_SLICES))
    task = resnet_task(other, "frozen", found)
    run_fit(task)
    images = load_images(task.store, task.spec.store_id)
    features = base_features(load_network(found.file), images.pixels)
    assert np.load(features_file(task)) == pytest.approx(features, rel=1e-4, abs=1e-5 * float(features.max()))
    assert features_file(task).name != features_file(resnet_task(other, "frozen", weights)).name


def test_weights_that_were_trained_on_scans_of_the_study_itself_are_refused(compared, finished):
    save_result(compared, finished.plan.folder)
    own = find_weights("study:TB", finished.plan.folder.path.parent)
    with pytest.raises(StudyError, match="study:TB was trained on scans of study TB, which it would be tested on"):
        compare(finished, own)


def test_a_study_without_a_comparison_gives_no_weights_but_says_how_to_make_them(tmp_path):
    with pytest.raises(StudyError, match="study CB has no ResNet-50 to start from: run `bonehpo compare --bone CB`"):
        find_weights("study:CB", tmp_path)


def test_slices_that_are_too_small_for_a_resnet_are_refused_in_one_line(tmp_path):
    finished = finish(plan_of(tmp_path, SHORT))
    with pytest.raises(NetworkError, match="32 pixels a side or more, but got 16"):
        compare(finished, Weights(name="none"))


@pytest.mark.torture
def test_another_backbone_is_compared_under_a_name_of_its_own_and_gives_weights_to_other_studies(
    compared, finished, tmp_path
):
    save_result(compared, finished.plan.folder)
    none = Weights(name="none")
    with open_engine(0) as engine:
        findings = run_compare(finished, none, engine, ignore_progress, MOBILENETV2, EPOCHS)
    inputs = compare_address(finished, none, MOBILENETV2, EPOCHS)
    other = finished.result(compare_name(MOBILENETV2), "comparison", inputs, findings)
    save_result(other, finished.plan.folder)
    assert other.name == "compare-mobilenetv2"
    assert other.parameters["backbone"] == "mobilenetv2"
    assert undocumented(other) == []
    assert load_result(finished.plan.folder, "compare").inputs == compared.inputs, "that of ResNet-50 is still there"
    scratch = other.tables["configurations"].set_index("configuration").loc["scratch"]
    assert set(scratch["n_trainable"]) == {MOBILENETV2.n_trainable("scratch")}
    assert set(scratch["n_folds"]) == {6}
    assert any(sentence.startswith("MobileNetV2 scratch, specimen split:") for sentence in other.sentences)
    assert not any("ResNet-50" in sentence for sentence in other.sentences)

    studies = finished.plan.folder.path.parent
    found = find_weights("study:TB", studies, MOBILENETV2)
    assert load_network(found.file).name == "mobilenetv2"
    with pytest.raises(StudyError, match=r"no DenseNet-121 to start from: .*--bone TB --backbone densenet121` first"):
        find_weights("study:TB", studies, BACKBONES["densenet121"])


@pytest.mark.torture
def test_dropout_of_a_backbone_is_that_of_the_seed_whatever_was_trained_before(plan):
    """EfficientNet drops whole blocks at random while it is trained; one compiled network serves all fits of a worker."""
    images = load_images(plan.folder.store, plan.store_id)
    transfer = Transfer(mode="scratch", backbone="efficientnetb0")
    trained = []
    for n in (0, 1, 0):
        task = plan.task(BACKBONES["efficientnetb0"].hyperparameters, plan.pairs[n])
        task = replace(task, spec=replace(task.spec, transfer=transfer))
        learner = make_transfer_learner(task, images, "float32")
        for _ in range(2):
            learner.network.train_on_batch(images.pixels[:8][..., None], learner.targets[:8])
        trained.append(learner.network.get_weights())
    assert all(map(np.array_equal, trained[0], trained[2]))
    assert not all(map(np.array_equal, trained[0], trained[1]))
