"""Backbones beside the optimum (the paper: ResNet-50), and the mixed split: §2.5, §2.6, §3.4, §3.5, Table 1, Fig 8, 9."""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import get_args

import pandas as pd

from bonehpo.analysis.comparison import compare_by_set, compare_folds
from bonehpo.config import Split, StudyFolder
from bonehpo.domain import HoldoutPair, ProgressCallback
from bonehpo.engine import Engine
from bonehpo.errors import FoldError, StudyError
from bonehpo.files import file_sha256
from bonehpo.folds import Sets, assign_sets
from bonehpo.learning.architecture import count_parameters
from bonehpo.learning.backbones import RESNET50, Backbone, Mode, find_backbone
from bonehpo.learning.fits import FitTask, Transfer
from bonehpo.results.detection import state_table
from bonehpo.results.finished import (
    Configuration,
    Findings,
    FinishedStudy,
    FittedConfiguration,
    fit_configurations,
    parameters_of,
)
from bonehpo.results.result import Result, load_result
from bonehpo.search.plan import SearchPlan
from bonehpo.store.store import SliceStore

MIXED = "mixed"

SPLITS = {
    "specimen": Split(kind="specimen"),
    "mixed, published": Split(kind="mixed", assignment="published"),
    "mixed, seeded": Split(kind="mixed", assignment="seeded"),
}


def mixed_address(finished: FinishedStudy) -> str:
    """Content address of the comparison of splits."""
    return finished.address(MIXED)


def run_mixed(finished: FinishedStudy, engine: Engine, progress: ProgressCallback) -> Findings:
    """The optimum by specimen and in both mixed assignments; the published one where the specimens are the paper's.

    Args:
        finished: The study.
        engine: Where fits run.
        progress: Told after every fit.
    """
    plans, left_out = {}, ""
    for name, split in SPLITS.items():
        try:
            plans[name] = with_split(finished.plan, split, finished.store)
        except FoldError as error:
            left_out = f"{name} is left out: {error}"
    fitted = fit_configurations([_mixed(finished, name, plan) for name, plan in plans.items()], engine, progress)
    rows = [
        {
            "configuration": name,
            "mean": configuration.spread.mean,
            "sd": configuration.spread.sd,
            "n_folds": len(configuration.folds),
            "reason": configuration.reason,
        }
        for name, configuration in fitted.items()
    ]
    folds = [
        {"configuration": name, "test": fold.test, "validation": fold.validation, "accuracy": fold.test_score}
        for name, configuration in fitted.items()
        for fold in configuration.folds
    ]
    return Findings(
        parameters={**parameters_of(finished.choice), "seed": SPLITS["mixed, seeded"].seed},
        metrics={
            f"accuracy/{name}".replace(",", ""): configuration.spread.mean for name, configuration in fitted.items()
        },
        sentences=[left_out, *_sentences_on_mixed(fitted)],
        tables={"configurations": pd.DataFrame(rows), "folds": pd.DataFrame(folds), "sets": _sets_table(plans)},
        configurations=list(fitted.values()),
    )


def with_split(plan: SearchPlan, split: Split, store: SliceStore) -> SearchPlan:
    """The same study, its groups assigned in another way.

    Raises:
        FoldError: They cannot be assigned so.
    """
    sets = assign_sets(split, plan.config.bone, store.specimens, store.planes, store.donors)
    return replace(plan, config=replace(plan.config, split=split), sets=sets)


def _mixed(finished: FinishedStudy, name: str, plan: SearchPlan) -> Configuration:
    tasks = tuple(plan.task(finished.choice, pair, repeat=1) for pair in plan.pairs)
    return Configuration(name=name, parameters={**parameters_of(finished.choice), "split": name}, tasks=tasks)


def _sets_table(plans: dict[str, SearchPlan]) -> pd.DataFrame:
    def words(sets: Sets, name: str) -> str:
        return ", ".join(f"{group.specimen} {group.plane}" for group in sets[name])

    return pd.DataFrame(
        {"configuration": configuration, "set": name, "groups": words(plan.sets, name)}
        for configuration, plan in plans.items()
        for name in plan.sets
    )


def _sentences_on_mixed(fitted: dict[str, FittedConfiguration]) -> list[str]:
    specimen = fitted["specimen"].spread
    return [
        f"{name}: {configuration.spread.mean:.3f} ± {configuration.spread.sd:.3f}, "
        f"against {specimen.mean:.3f} ± {specimen.sd:.3f} by specimen. "
        "A mixed set is tested by networks that know its specimens from other planes: it answers an easier question."
        for name, configuration in fitted.items()
        if name != "specimen" and configuration.fits
    ]


COMPARE = "compare"

Epochs = Mapping[Mode, int]
"""Passes over the training images, for each way to train a backbone."""

EPOCHS: Epochs = {"scratch": 20, "frozen": 5, "fine-tuned": 5}
"""Of the paper (§2.6)."""


def compare_name(backbone: Backbone) -> str:
    """Name of the result that compares a backbone: `compare` for that of the paper, so that no other replaces it.

    Args:
        backbone: One of `BACKBONES`.
    """
    return COMPARE if backbone == RESNET50 else f"{COMPARE}-{backbone.name}"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Pretrained weights.

    Attributes:
        name: As the user gave them: `imagenet`, a file, `study:NAME` or `none`.
        file: Where they lie; None for `none`.
        hash: SHA-256 of the file; empty for `none`.
        scans: Hashes of the scans of the study that they come from.
    """

    name: str
    file: Path | None = None
    hash: str = ""
    scans: frozenset[str] = frozenset()

    @property
    def modes(self) -> tuple[Mode, ...]:
        """Ways to train a backbone with these weights: without any, from scratch alone."""
        return get_args(Mode) if self.file else ("scratch",)


def find_weights(text: str, studies: Path, backbone: Backbone = RESNET50) -> Weights:
    """Find pretrained weights, downloading those of ImageNet where they are not at hand.

    Args:
        text: `imagenet`, `none`, a file, or `study:NAME` for the same backbone in another study's comparison.
        studies: Folder of the studies.
        backbone: What they are for.

    Raises:
        NetworkError: There are none, or the download failed.
        StudyError: That study has not compared this backbone.
    """
    from bonehpo.learning.transfer import resolve_weights  # imports TensorFlow, which takes seconds

    if not text.startswith("study:"):
        file = resolve_weights(text, backbone)
        return Weights(name=text) if file is None else Weights(name=text, file=file.absolute(), hash=file_sha256(file))
    study = StudyFolder(studies / text.removeprefix("study:"))
    file, scans = _of_study(study, backbone), _scans(SliceStore.open(study.store))
    return Weights(name=text, file=file.absolute(), hash=file_sha256(file), scans=scans)


def _scans(store: SliceStore) -> frozenset[str]:
    return frozenset(scan.sha256 for scan in store.manifest.scans)


def _of_study(study: StudyFolder, backbone: Backbone) -> Path:
    found = load_result(study, compare_name(backbone))
    keys = (
        {configuration.name.split(",")[0]: configuration.keys for configuration in reversed(found.configurations)}
        if found
        else {}
    )
    for mode in ("fine-tuned", "scratch"):
        for key in keys.get(mode, ()):
            file = study.networks / f"{key}.keras"
            if file.exists():
                return file
    asked = "" if backbone == RESNET50 else f" --backbone {backbone.name}"
    raise StudyError(
        f"study {study.name} has no {backbone.label} to start from: run `bonehpo compare --bone {study.name}{asked}` first"
    )


def compare_address(
    finished: FinishedStudy, weights: Weights, backbone: Backbone = RESNET50, epochs: Epochs = EPOCHS
) -> str:
    """Content address of all that the comparison with a backbone is made from."""
    return finished.address(compare_name(backbone), weights.hash, dict(epochs))


def run_compare(
    finished: FinishedStudy,
    weights: Weights,
    engine: Engine,
    progress: ProgressCallback,
    backbone: Backbone = RESNET50,
    epochs: Epochs = EPOCHS,
) -> Findings:
    """Cross-validate a backbone in every way that the weights allow, and the optimum, in both splits.

    Args:
        finished: The study.
        weights: What frozen and fine-tuned networks start from.
        engine: Where missing fits run.
        progress: Told of each.
        backbone: What is compared with the optimum.
        epochs: How long it is trained in each way.

    Raises:
        NetworkError: Slices are too small for the backbone, or the weights are of another network.
        StudyError: The weights come from scans of this study, or the optimum has no folds.
    """
    if weights.scans & _scans(finished.store):
        raise StudyError(
            f"{weights.name} was trained on scans of study {finished.plan.folder.name}, which it would be tested on: "
            "take weights of other specimens"
        )
    configurations: dict[tuple[str, str], Configuration] = {}
    for split, plan in _plans(finished).items():
        configurations["cnn", split] = _cnn_configuration(finished, plan, split)
        transfers = (_transfer(mode, weights, backbone) for mode in weights.modes)
        configurations |= {(t.mode, split): _backbone(finished, plan, t, weights, epochs[t.mode]) for t in transfers}
    _prepare_features(
        [configuration for (name, _), configuration in configurations.items() if name == "frozen"], engine
    )
    in_turn = sorted(
        configurations.values(), key=lambda configuration: configuration.parameters.get(backbone.name, "")
    )  # a worker keeps one kind ready
    by_name = fit_configurations(in_turn, engine, progress)
    fitted = {key: by_name[configuration.name] for key, configuration in configurations.items()}
    tests = _tests_table(fitted)
    return Findings(
        parameters={
            "backbone": backbone.name,
            "weights": weights.name,
            "weights_sha256": weights.hash,
            **parameters_of(backbone.hyperparameters),
        },
        metrics={
            f"accuracy/{split} {name}": configuration.spread.mean for (name, split), configuration in fitted.items()
        },
        sentences=_sentences(fitted, tests, weights, backbone),
        tables={
            "configurations": _configurations_table(fitted, finished, backbone, epochs),
            "folds": _folds_table(fitted),
            "tests": tests,
            "states": _states_table(fitted, finished),
        },
        configurations=list(fitted.values()),
    )


def weights_option(result: Result) -> str:
    """The option by which a comparison was given its pretrained weights."""
    return f" --weights {shlex.quote(result.parameters['weights'])}" if "weights" in result.parameters else ""


def _plans(finished: FinishedStudy) -> dict[str, SearchPlan]:
    """The study's own split, and the other one: mixed sets as published where the specimens are the paper's."""
    own, store = finished.plan, finished.store
    plans: dict[str, SearchPlan] = {own.config.split.kind: own}
    for split in (Split(kind="specimen"), Split(kind="mixed", assignment="published"), Split(kind="mixed")):
        if split.kind not in plans:
            with suppress(FoldError):
                plans[split.kind] = with_split(own, split, store)
    return plans


def _cnn_configuration(finished: FinishedStudy, plan: SearchPlan, split: str) -> Configuration:
    if split == finished.plan.config.split.kind:
        return replace(finished.optimum_configuration(), name=f"cnn, {split}")
    tasks = tuple(plan.task(finished.choice, pair, repeat=1) for pair in plan.pairs)
    return Configuration(name=f"cnn, {split}", parameters=parameters_of(finished.choice), tasks=tasks)


def _transfer(mode: Mode, weights: Weights, backbone: Backbone) -> Transfer:
    return Transfer(mode=mode, weights="" if mode == "scratch" else weights.hash, backbone=backbone.name)


def _backbone(
    finished: FinishedStudy, plan: SearchPlan, transfer: Transfer, weights: Weights, epochs: int
) -> Configuration:
    split, mode = plan.config.split.kind, transfer.mode
    choice = parameters_of(find_backbone(transfer.backbone).hyperparameters)
    return Configuration(
        name=f"{mode}, {split}",
        parameters={**choice, transfer.backbone: mode, "epochs": str(epochs), "split": split},
        tasks=tuple(_task(finished, plan, pair, transfer, weights, epochs) for pair in plan.pairs),
    )


def _task(
    finished: FinishedStudy, plan: SearchPlan, pair: HoldoutPair, transfer: Transfer, weights: Weights, epochs: int
) -> FitTask:
    """A fit of a backbone. In the study's own split a network that is not frozen says what it sees in every load state."""
    task = plan.task(find_backbone(transfer.backbone).hyperparameters, pair)
    spec = replace(task.spec, training=replace(task.spec.training, epochs=epochs), transfer=transfer)
    own = plan is finished.plan and transfer.mode != "frozen"
    return replace(
        task,
        spec=spec,
        weights=None if transfer.mode == "scratch" else weights.file,
        states=plan.states(spec.key).absolute() if own else None,
        network=plan.kept(spec.key) if own and pair == plan.pairs[0] else None,
    )


def _prepare_features(configurations: Sequence[Configuration], engine: Engine) -> None:
    """Compute what a frozen base makes of each image, once for all fits."""
    if configurations:
        from bonehpo.learning.learners import compute_features

        for outcome in engine.run(compute_features, [configurations[0].tasks[0]]):
            outcome.result()


def _configurations_table(
    fitted: Mapping[tuple[str, str], FittedConfiguration], finished: FinishedStudy, backbone: Backbone, epochs: Epochs
) -> pd.DataFrame:
    choice, side = finished.choice, finished.plan.side
    n_epochs: dict[str, int] = {"cnn": finished.plan.config.training.epochs, **{str(m): n for m, n in epochs.items()}}
    sizes = {
        "cnn": count_parameters(choice, side),
        **{str(mode): backbone.n_trainable(mode) for mode in get_args(Mode)},
    }
    return pd.DataFrame(
        {
            "configuration": name,
            "split": split,
            "epochs": n_epochs[name],
            "n_trainable": sizes[name],
            "mean": configuration.spread.mean,
            "sd": configuration.spread.sd,
            "n_folds": len(configuration.folds),
            "reason": configuration.reason,
        }
        for (name, split), configuration in fitted.items()
    )


def _folds_table(fitted: Mapping[tuple[str, str], FittedConfiguration]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "configuration": name,
            "split": split,
            "test": fold.test,
            "validation": fold.validation,
            "accuracy": fold.test_score,
        }
        for (name, split), configuration in fitted.items()
        for fold in configuration.folds
    )


def _tests_table(fitted: Mapping[tuple[str, str], FittedConfiguration]) -> pd.DataFrame:
    """Every two networks of a split, compared by test set, and over folds as a second opinion."""
    rows = []
    for split in dict.fromkeys(split for _, split in fitted):
        names = [name for name, other in fitted if other == split and fitted[name, split].fits]
        by_set = {name: _by_set(fitted[name, split]) for name in names}
        rows += [
            {
                "split": split,
                "first": a,
                "second": b,
                **compare_by_set(by_set[a], by_set[b])._asdict(),
                "p_corrected_t": compare_folds(fitted[a, split].folds, fitted[b, split].folds).p,
            }
            for a, b in combinations(names, 2)
        ]
    measures = ["difference", "lower", "upper", "p", "smallest_p", "n_sets", "p_corrected_t"]
    columns = ["split", "first", "second", *measures]
    return pd.DataFrame(rows, columns=columns)


def _by_set(configuration: FittedConfiguration) -> dict[str, float]:
    scores = pd.DataFrame({"test": f.test, "score": f.test_score} for f in configuration.folds)
    return {str(name): float(score) for name, score in scores.groupby("test")["score"].mean().items()}


def _states_table(fitted: Mapping[tuple[str, str], FittedConfiguration], finished: FinishedStudy) -> pd.DataFrame:
    """Accuracy at every load state of the optimum and of the best trained backbone, as in Fig 9."""
    split = finished.plan.config.split.kind
    shown = ["cnn", "fine-tuned" if ("fine-tuned", split) in fitted else "scratch"]
    tables = [
        state_table(fitted[name, split], finished.store, finished.plan.sets).assign(configuration=name)
        for name in shown
        if (name, split) in fitted and fitted[name, split].fits
    ]
    return pd.concat(tables, ignore_index=True)


def _sentences(
    fitted: Mapping[tuple[str, str], FittedConfiguration], tests: pd.DataFrame, weights: Weights, backbone: Backbone
) -> list[str]:
    sentences = [
        f"{'The optimum' if name == 'cnn' else f'{backbone.label} {name}'}, {split} split: "
        f"{configuration.spread.mean:.3f} ± {configuration.spread.sd:.3f}."
        for (name, split), configuration in fitted.items()
        if configuration.fits
    ]
    if len(tests):
        smallest, least = float(tests["p"].min()), float(tests["smallest_p"].max())
        sentences.append(
            f"Compared by test set, the smallest p of {len(tests)} comparisons is {smallest:.4g}; with "
            f"{int(tests['n_sets'].max())} sets none below {least:.4g} is possible, whatever the networks do. Mixed "
            "sets share specimens: their p and intervals are too small. The corrected resampled t over folds is a second "
            f"opinion; its smallest p is {float(tests['p_corrected_t'].min()):.1g}."
        )
    if not weights.file:
        sentences.append("No pretrained weights were given: frozen and fine-tuned networks are left out.")
    return sentences
