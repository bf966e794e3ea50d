"""Made-up results by the contract of docs/reference/results.md: plausible, and as awkward as real ones can be.

`everything()` is a whole phantom study of five trabecular specimens and 15 load states. `awkward()` is one on scans: no
strain, no truth, two planes, long and hostile names, a failed point, configurations that did not run, no best fold's states.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from bonehpo.analysis.calibration import Answers, calibrated_folds, fold_scores, reliability, with_temperature
from bonehpo.analysis.detection import detection_limits, mean_by_state
from bonehpo.analysis.shortcuts import Verdict, flags, judge, network_verdict
from bonehpo.config import StudyFolder
from bonehpo.leakage.features import CEILINGS
from bonehpo.leakage.features import KINDS as FEATURE_KINDS
from bonehpo.learning.architecture import filters_of
from bonehpo.learning.backbones import BACKBONES, RESNET50, Backbone
from bonehpo.results.audit import Scored, audit_tables
from bonehpo.results.by_plane import BOTH, over_sets
from bonehpo.results.compare import compare_name
from bonehpo.results.result import Drawn, Result
from bonehpo.workflow.kinds import RESULT_KINDS

FINISHED = datetime(2026, 11, 20, 21, 0, tzinfo=UTC)
SIDE = 48
HOSTILE = "<script>alert('bone')</script>&amp;"


@dataclass(frozen=True)
class World:
    """What the results of one study share."""

    bone: str = "TB"
    ran_on: str = "phantom"
    specimens: tuple[str, ...] = ("TB5", "TB6", "TB9", "TB11", "TB12")
    planes: tuple[str, ...] = ("XY", "XZ", "YZ")
    n_states: int = 15
    has_strain: bool = True
    fails: bool = False

    def strain(self, state: int) -> float:
        return 0.065 * (state - 1) / (self.n_states - 1) if self.has_strain else math.nan

    def folds(self) -> list[tuple[str, str]]:
        return list(permutations(self.specimens, 2))

    def result(self, name: str, tables: dict[str, pd.DataFrame], **more: Any) -> Result:
        return Result(
            name=name,
            level=RESULT_KINDS[name].level,
            inputs="0123456789abcdef" * 2,
            study="TB",
            bone=self.bone,
            store_id="ab" * 32,
            ran_on=self.ran_on,  # type: ignore[arg-type]
            parameters=more.pop("parameters", {"epochs": "20"}),
            metrics=more.pop("metrics", {}),
            sentences=more.pop("sentences", (f"This is what {name} says in words.",)),
            tables=tables,
            arrays=more.pop("arrays", {}),
            finished=FINISHED,
        )


def made(**changes) -> Result:
    """The smallest result that has something of everything."""
    table = pd.DataFrame(
        {
            "specimen": ["007", "NA"],
            "reason": ["", "diverged"],
            "mean": [0.5, math.nan],
            "n": [3, 4],
            "best": [True, False],
        }
    )
    return replace(
        Result(
            name="sweep",
            level="comparison",
            inputs="ab",
            study="TB",
            bone="TB",
            store_id="cd",
            ran_on="phantom",
            parameters={"rule": "best"},
            metrics={"accuracy": 0.75, "missing": math.nan},
            sentences=("Caution: it is small.",),
            tables={"points": table},
            arrays={"slices": np.arange(8, dtype=np.uint8).reshape(2, 2, 2)},
            finished=datetime(2026, 11, 20, 12, 0, tzinfo=UTC),
        ),
        **changes,
    )


PHANTOM = World()
SCANS = World(
    bone="CB",
    ran_on="scans",
    specimens=(HOSTILE, "a specimen with a very long name, left femur, mid-shaft, cut 3", "CB8", "CB12", "CB22"),
    planes=("XY", "radial"),
    n_states=20,
    has_strain=False,
    fails=True,
)


def bone_slice(seed: int, loaded: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A slice like trabecular bone with a dark band of damage, a heat map, and the truth; (y, x) each."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 2.2)
    bone = field > 0.1 * field.std()
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    band = np.exp(-(((y - 0.55 - 0.15 * x) / 0.07) ** 2)) * loaded
    grey = 45 + 130 * bone * (1 - 0.75 * (band > 0.45)) + 8 * rng.standard_normal((SIDE, SIDE))
    heat = (
        band
        + 0.35 * ndimage.gaussian_filter(rng.random((SIDE, SIDE)), 6)
        + 0.15 * np.exp(-((x - 0.2) ** 2 + y**2) / 0.05)
    )
    heat = (heat - heat.min()) / np.ptp(heat)
    damage = ((band > 0.45) * 1.0).astype(np.float32)
    return grey.clip(0, 255).astype(np.uint8), heat.astype(np.float32), damage


def pictures(world: World, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """The arrays that belong to a table of pictures."""
    made = [
        bone_slice(len(str(row.plane)) + ord(str(row.plane)[0]), min((row.state - 1) / (world.n_states - 1), 1))
        for row in rows.itertuples()
    ]
    slices, maps, damage = (np.stack(part) for part in zip(*made, strict=True))
    arrays = {"slices": slices, "maps": maps}
    return {**arrays, "damage": damage} if world.ran_on == "phantom" else arrays


def sweep(world: World = PHANTOM) -> Result:
    baseline = {"layers": 3, "learning_rate": 1e-4, "kernel": 5, "batch": 20}
    series = {
        "layers": ((1, 0.71), (2, 0.78), (3, 0.82), (4, 0.86), (5, 0.88), (6, 0.80)),
        "learning_rate": ((1e-5, 0.68), (1e-4, 0.82), (1e-3, 0.87), (1e-2, math.nan if world.fails else 0.55)),
        "kernel": ((3, 0.84), (5, 0.82), (7, 0.80), (9, 0.77), (11, 0.75)),
        "batch": ((5, 0.83), (10, 0.835), (20, 0.82), (30, 0.81), (40, 0.805), (50, 0.79)),
    }
    n_folds = len(world.folds())
    points = pd.DataFrame(
        {
            "parameter": parameter,
            "value": float(value),
            **baseline,
            parameter: value,
            "mean": mean,
            "sd": math.nan if math.isnan(mean) else 0.04 + 0.02 * (mean < 0.8),
            "n_folds": 0 if math.isnan(mean) else n_folds,
            "reason": "the loss became NaN in 3 of 10 fits" if math.isnan(mean) else "",
        }
        for parameter, values in series.items()
        for value, mean in values
    )
    best = {"layers": 5, "learning_rate": 1e-3, "kernel": 3, "batch": 10}
    scored = {"mean": 0.893, "sd": 0.041, "n_folds": n_folds}
    combinations = pd.DataFrame(
        [
            {"role": "best of each", **best, **scored, "reason": "", "chosen": True},
            {"role": "one layer fewer", **best, "layers": 4, **scored, "mean": 0.871, "reason": "", "chosen": False},
        ]
    )
    optima = pd.DataFrame(
        [
            {
                "by": "sweep",
                **best,
                "n_parameters": 20_446_018,
                **scored,
                "rule": "best of each, then checked together",
            },
            {"by": "search", **best, "kernel": 5, "n_parameters": 20_447_554, **scored, "rule": "best"},
        ]
    )
    tables = {"points": points, "combinations": combinations, "optima": optima}
    return world.result("sweep", tables, sentences=("The sweep and the search agree within one standard deviation.",))


def layer_rows(layers: int, kernel: int, side: int = 200) -> list[dict[str, Any]]:
    def row(name: str, kind: str, size: float, channels: int, parameters: int = 0) -> dict[str, Any]:
        return {
            "name": name,
            "kind": kind,
            "height": size,
            "width": size,
            "channels": channels,
            "parameters": parameters,
        }

    rows = [row("slices", "InputLayer", side, 1), row("standardise", "BatchNormalization", side, 1)]
    rows.append(row("channels", "Concatenate", side, 3))
    channels = 3
    for i in range(layers):
        filters, size = filters_of(i), kernel if i == 0 else 3
        rows.append(row(f"convolution_{i + 1}", "Conv2D", side, filters, (size**2 * channels + 1) * filters))
        side, channels = side // 2, filters
        rows.append(row(f"pool_{i + 1}", "MaxPooling2D", side, filters))
    flat = side**2 * channels
    rows.append(row("flatten", "Flatten", math.nan, flat))
    rows.append(row("dense", "Dense", math.nan, 2 * channels, (flat + 1) * 2 * channels))
    rows.append(row("softmax", "Dense", math.nan, 2, (2 * channels + 1) * 2))
    return rows


def best_fold(world: World = PHANTOM, layers: int = 5, kernel: int = 3) -> Result:
    rng = np.random.default_rng(4)
    rows = []
    for test, validation in world.folds():
        failed, pristine = rng.uniform(0.72, 0.99, 2)
        rows.append(
            {
                "test": test,
                "validation": validation,
                "train": " ".join(name for name in world.specimens if name not in (test, validation)),
                "accuracy": (failed + pristine) / 2,
                "accuracy_failed": failed,
                "accuracy_pristine": pristine,
                "softmax_failed": 0.95 * failed,
                "softmax_pristine": 0.94 * pristine,
            }
        )
    folds = pd.DataFrame(rows).sort_values("accuracy", ascending=False, ignore_index=True)
    return world.result("best-fold", {"folds": folds, "layers": pd.DataFrame(layer_rows(layers, kernel))})


def picture_rows(world: World, panels: Sequence[str] = ("classes", "states")) -> pd.DataFrame:
    test, validation = world.folds()[0]
    shared = {"test": test, "validation": validation, "specimen": test, "position": 150}
    rows = []
    if "classes" in panels:
        for plane in world.planes:
            for label, state in (("pristine", 1), ("failed", world.n_states)):
                rows.append({"panel": "classes", "plane": plane, "label": label, "state": state})
    if "states" in panels:
        for state in range(1, world.n_states + 1):
            label = "pristine" if state == 1 else "failed" if state == world.n_states else "loaded"
            rows.append({"panel": "states", "plane": world.planes[0], "label": label, "state": state})
    for row in rows:
        share = (row["state"] - 1) / (world.n_states - 1)
        row |= {**shared, "strain": world.strain(row["state"]), "p_failed": 1 / (1 + math.exp(-14 * (share - 0.65)))}
    return pd.DataFrame(rows)


def grad_cam(world: World = PHANTOM) -> Result:
    rng = np.random.default_rng(5)
    slices = picture_rows(world)
    agreement = pd.DataFrame(
        {
            "specimen": specimen,
            "state": world.n_states,
            "plane": plane,
            "n_networks": 4,
            "n_maps": 40,
            "n_blank": 0,
            "correlation": math.nan if world.fails and k == i == 0 else 0.7 + 0.08 * rng.standard_normal() - 0.1 * k,
        }
        for i, specimen in enumerate(world.specimens)
        for k, plane in enumerate(world.planes)
    )
    layers = (
        "",
        "softmax",
        "dense",
        "convolution_5",
        "convolution_4",
        "convolution_3",
        "convolution_2",
        "convolution_1",
    )
    sanity = pd.DataFrame(
        {
            "randomised": k,
            "layer": layer,
            "correlation": 1.0 if k == 0 else 0.5 * 0.55**k,
            "sd": 0.0 if k == 0 else 0.12,
            "n_slices": 30,
        }
        for k, layer in enumerate(layers)
    )
    tables = {"slices": slices, "agreement": agreement, "sanity": sanity}
    if world.ran_on == "phantom":
        tables["energy"] = energy(world, rng)
    sentences = (
        "The maps of the networks agree with each other at failure, and less before it.",
        "Caution: the maps of slices before damage begins show the corner of the image.",
    )
    return world.result("grad-cam", tables, arrays=pictures(world, slices), sentences=sentences)


def energy(world: World, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for test, validation in world.folds():
        for plane in world.planes:
            chance = rng.uniform(0.04, 0.08)
            share = chance * rng.uniform(2, 3.5)
            rows.append(
                (
                    test,
                    validation,
                    test,
                    world.n_states,
                    plane,
                    share,
                    chance,
                    share / chance,
                    1.5 * chance,
                    0.8 * chance,
                )
            )
    names = ["test", "validation", "specimen", "state", "plane", "share", "chance", "gain", "dark", "bright"]
    return pd.DataFrame(rows, columns=names)


def states_table(world: World, onset: float = 0.7, anomaly: bool = True, level: float = 0.95) -> pd.DataFrame:
    """Accuracy along the load for every fold: a rise at `onset`, and the paper's bump at states 3 and 4."""
    rng = np.random.default_rng(round(1000 * onset))
    rows = []
    for k, (test, validation) in enumerate(world.folds()):
        pristine = min(level + 0.04 * rng.standard_normal(), 1.0)
        for state in range(1, world.n_states + 1):
            share = (state - 1) / (world.n_states - 1)
            at = onset + 0.04 * (world.specimens.index(test) - 2) + 0.01 * (k % 4)
            loaded = level / (1 + math.exp(-18 * (share - at))) + 0.02 * rng.random()
            if anomaly and state in (3, 4):
                loaded = 0.8 + 0.04 * world.specimens.index(test) + 0.03 * rng.random()
            loaded = 1 - pristine if state == 1 else min(loaded, 1.0)
            rows.append(
                {
                    "test": test,
                    "validation": validation,
                    "best": k == 0,
                    "state": state,
                    "strain": world.strain(state),
                    "accuracy_pristine": pristine,
                    "accuracy_loaded": loaded,
                    "accuracy": (pristine + loaded) / 2,
                    "n_slices": 900,
                }
            )
    return pd.DataFrame(rows)


def detection(world: World = PHANTOM, onset: float = 0.7) -> Result:
    states = states_table(world, onset)
    middle = min(round(onset * world.n_states), world.n_states)
    slices = picture_rows(world, ("states",)).query(f"{middle - 2} <= state <= {middle + 2}").reset_index(drop=True)
    tables = {
        "states": states,
        "mean": mean_by_state(states),
        "limits": detection_limits(states),
        "slices": slices[["specimen", "state", "strain", "plane", "position"]],
    }
    arrays = {"slices": pictures(world, slices)["slices"]}
    sentences = (
        "Damage is seen from state 10 on.",
        "Caution: accuracy is high at states 3 and 4, before damage is visible: something else than damage is seen.",
    )
    parameters = {"threshold": "0.75", "visible_from": "8" if world.ran_on == "phantom" else "unknown"}
    return world.result("detection", tables, arrays=arrays, parameters=parameters, sentences=sentences)


def audit(world: World = PHANTOM) -> Result:
    """On phantoms one model sees something before damage; on scans two come near the network, one is not asked."""
    visible = 8 if world.ran_on == "phantom" else None
    network = pd.DataFrame(fold_rows(world, 0.89, 7))
    states, verdicts = {}, [network_verdict(network)]
    for k, (model, level) in enumerate(
        zip(FEATURE_KINDS, (0.87, 0.62, 0.7, 0.84, 0.58, 0.61, 0.54, 0.6, 0.51, 0.5, 0.55, 0.88), strict=True)
    ):
        if world.fails and model == "noise inside bone":
            verdicts.append(
                Verdict(model, math.nan, math.nan, 0, "only 3% of the slices of CB8 state 1 XY have such pixels")
            )
            continue
        if model == "random filters" and visible is None:
            verdicts.append(Verdict(model, math.nan, math.nan, 0, "no loaded state is known to be undamaged"))
            continue
        found = states_table(world, 0.6, anomaly=k == 0, level=level).drop(columns="best").assign(strain=math.nan)
        asked = (found["state"] < (visible or 2)) | (found["state"] == world.n_states)
        states[model] = found[asked].reset_index(drop=True)
        verdicts.append(judge(model, states[model], network, visible, ceiling=CEILINGS.get(model)))
    tables = audit_tables(Scored(verdicts, states), network, visible) | {"exchanged": exchanged_parts(network)}
    sentences = (*(f"Caution: {text}" for text in flags(tables)), "Mean accuracy over the folds: network 0.89.")
    return world.result(
        "audit", tables, parameters={"visible_from": str(visible or "unknown"), "near": "0.75"}, sentences=sentences
    )


def by_plane(world: World = PHANTOM) -> Result:
    rng = np.random.default_rng(12)
    means = {"pristine": 0.9, "failed": 0.75}
    rows = [
        {
            "test": name,
            "plane": plane,
            "label": label,
            "accuracy": mean - 0.1 * (plane == "XY") + rng.normal(0, 0.03),
        }
        for name in world.specimens
        for plane in ("XY", "XZ", "YZ")
        for label, mean in means.items()
    ]
    told = pd.DataFrame(rows)
    both = told.groupby(["test", "plane"], sort=False)["accuracy"].mean().reset_index().assign(label=BOTH)
    sets = pd.concat([told, both], ignore_index=True)[["test", "plane", "label", "accuracy"]]
    return world.result("by-plane", {"planes": over_sets(sets), "sets": sets})


def exchanged_parts(network: pd.DataFrame) -> pd.DataFrame:
    """Networks that follow damage for the most part."""
    outputs = {"pristine": 0.1, "failed": 0.9, "damaged_part": 0.7, "undamaged_part": 0.25}
    first = network[["test", "validation"]].assign(specimen=network["test"], plane="XY", n_slices=10, area=0.2)
    return first.assign(**outputs)


def calibration(world: World = PHANTOM) -> Result:
    rng = np.random.default_rng(10)
    answers = []
    for k, (test, validation) in enumerate(world.folds()):
        p = rng.uniform(0.01, 0.99, 72)
        truth = (rng.random(72) < p).astype(float)
        answers.append(Answers(test, validation, truth, with_temperature(p, 0.3 + 0.1 * (k % 3))))
    calibrated = calibrated_folds(answers)
    return world.result("calibration", {"folds": fold_scores(calibrated), "bins": reliability(calibrated)})


def fold_rows(world: World, mean: float, seed: int, **more: str) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    by_set = {name: mean + 0.03 * rng.standard_normal() for name in world.specimens}
    return [
        {
            **more,
            "test": test,
            "validation": validation,
            "accuracy": min(by_set[test] + 0.015 * rng.standard_normal(), 1),
        }
        for test, validation in world.folds()
    ]


def configuration_row(folds: list[dict[str, Any]], reason: str = "", **more: Any) -> dict[str, Any]:
    accuracies = [fold["accuracy"] for fold in folds]
    known = len(accuracies) > 0
    return {
        **more,
        "mean": float(np.mean(accuracies)) if known else math.nan,
        "sd": float(np.std(accuracies, ddof=1)) if known else math.nan,
        "n_folds": len(accuracies),
        "reason": reason,
    }


def mixed(world: World = PHANTOM) -> Result:
    configurations, folds = [], []
    for k, (configuration, mean) in enumerate(
        (("specimen", 0.893), ("mixed, published", 0.93), ("mixed, seeded", 0.925))
    ):
        missing = world.fails and configuration == "mixed, published"
        found = [] if missing else fold_rows(world, mean, k, configuration=configuration)
        folds += found
        configurations.append(
            configuration_row(found, "Table 1 names other specimens" if missing else "", configuration=configuration)
        )
    sets = pd.DataFrame(
        {"configuration": "mixed, seeded", "set": f"set {k + 1}", "groups": f"{name} XY, {name} XZ"}
        for k, name in enumerate(world.specimens)
    )
    return world.result(
        "mixed", {"configurations": pd.DataFrame(configurations), "folds": pd.DataFrame(folds), "sets": sets}
    )


def compare(world: World = PHANTOM, backbone: Backbone = RESNET50) -> Result:
    means = {"cnn": (0.893, 0.925), "scratch": (0.80, 0.83), "frozen": (0.951, 0.96), "fine-tuned": (0.985, 0.99)}
    configurations, folds = [], []
    for k, (configuration, both) in enumerate(means.items()):
        for split, mean in zip(("specimen", "mixed"), both, strict=True):
            missing = world.fails and configuration in ("frozen", "fine-tuned")
            found = (
                [] if missing else fold_rows(world, mean, 10 * k + len(split), configuration=configuration, split=split)
            )
            folds += found
            reason = "no pretrained weights" if missing else ""
            configurations.append(
                configuration_row(
                    found,
                    reason,
                    configuration=configuration,
                    split=split,
                    epochs=20 if configuration in ("cnn", "scratch") else 5,
                    n_trainable=4098,
                )
            )
    tests = pd.DataFrame(
        [
            {"split": "specimen", "first": "fine-tuned", "second": "cnn", "difference": 0.09, "lower": 0.02, "upper": 0.16,
             "p": 0.0625, "smallest_p": 0.0625, "n_sets": len(world.specimens), "p_corrected_t": 0.0213},
        ]
    )  # fmt: skip
    second = "scratch" if world.fails else "fine-tuned"
    states = [
        states_table(world, 0.7).assign(configuration="cnn"),
        states_table(world, 0.5, anomaly=False, level=0.98).assign(configuration=second),
    ]
    tables = {
        "configurations": pd.DataFrame(configurations),
        "folds": pd.DataFrame(folds),
        "tests": tests,
        "states": pd.concat(states, ignore_index=True),
    }
    sentences = ("With 5 test sets p cannot be below 0.0625.",)
    return world.result(
        compare_name(backbone), tables, parameters={"epochs": "20", "backbone": backbone.name}, sentences=sentences
    )


def ablation(world: World = PHANTOM) -> Result:
    onsets = {"prepared": 0.7, "no matching": 0.45, "no filter": 0.6, "raw": 0.02}
    states = pd.concat(
        [
            states_table(world, onset, anomaly=variant == "prepared").assign(variant=variant)
            for variant, onset in onsets.items()
        ],
        ignore_index=True,
    )
    separation = pd.DataFrame(
        {
            "variant": variant,
            "accuracy_failed": 0.96,
            "lowest": 0.94 if variant == "raw" else 0.52,
            "state": 2,
            "separates": variant == "raw",
        }
        for variant in onsets
    )
    rows = picture_rows(world, ("states",)).query("state in (1, 5, @world.n_states)").reset_index(drop=True)
    slices = pd.concat([rows.assign(variant=variant) for variant in ("prepared", "raw")], ignore_index=True)
    sentences = (
        "Caution: on raw slices the network tells every loaded state from pristine bone: it has learnt the scan.",
    )
    tables = {"states": states, "separation": separation, "slices": slices}
    return world.result("ablation", tables, arrays=pictures(world, slices), sentences=sentences)


def strain(world: World = PHANTOM) -> Result:
    world = replace(world, has_strain=True)
    rng = np.random.default_rng(9)
    rows = []
    for k, (test, validation) in enumerate(world.folds()):
        for state in range(1, world.n_states + 1):
            true = 100 * world.strain(state)
            for plane in world.planes:
                for position in range(4):
                    predicted = 1.2 + 0.72 * true + 0.2 * (k % 5 - 2) + 0.5 * rng.standard_normal()
                    rows.append((test, state, plane, position, test, validation, true, predicted))
    columns = ["specimen", "state", "plane", "position", "test", "validation", "strain_percent", "predicted_percent"]
    slices = pd.DataFrame(rows, columns=columns)
    errors = (slices["predicted_percent"] - slices["strain_percent"]).abs()
    states = (
        slices.assign(error_percent=errors)
        .groupby("state")
        .agg(
            strain_percent=("strain_percent", "mean"),
            error_percent=("error_percent", "mean"),
            n_slices=("state", "size"),
        )
        .reset_index()
        .assign(sd=0.15)
    )
    configurations = pd.DataFrame(
        {"configuration": configuration, "error_percent": error, "sd": 0.2, "n_folds": len(world.folds())}
        for configuration, error in (("network", float(errors.mean())), ("mean of the training strains", 1.74))
    )
    maps = (
        picture_rows(world, ("states",))
        .drop(columns="p_failed")
        .assign(predicted_percent=lambda t: 1.2 + 72 * t["strain"])
    )
    specimens = pd.DataFrame(
        {"specimen": name, "error_percent": 0.9, "sd": 0.1, "n_folds": 4, "constant_error_percent": 1.74}
        for name in world.specimens
    )
    return world.result(
        "strain",
        {"slices": slices, "states": states, "specimens": specimens, "configurations": configurations, "maps": maps},
        arrays=pictures(world, maps),
    )


def specimens(world: World = PHANTOM) -> Result:
    rows = [(name, state, world.strain(state)) for name in world.specimens for state in (1, world.n_states)]
    scans = pd.DataFrame(rows, columns=["specimen", "state", "strain"])
    scans["stress_mpa"] = math.nan
    scans = scans.assign(bone_volume_fraction=0.21, porosity=0.79, trabecular_thickness_um=143.25)
    return world.result("specimens", {"scans": scans.assign(trabecular_spacing_um=610.0, degree_of_anisotropy=0.4)})


def leakage(world: World = PHANTOM) -> Result:
    """On phantoms nothing; on scans one bone under two names."""
    sentence = "No slice of one set shows the bone of another."
    checks = pd.DataFrame({"check": ["specimens"], "passed": [not world.fails], "sentence": [sentence]})
    slices = {
        f"{which}_{key}": value
        for which, name in (("first", world.specimens[0]), ("second", world.specimens[1]))
        for key, value in (("specimen", name), ("state", 1), ("plane", "XY"), ("position", 3))
    }
    near = pd.DataFrame([{"kind": "near", **slices, "correlation": 0.93}])
    tables = {"checks": checks, "near-duplicates": near if world.fails else near.iloc[:0]}
    return world.result("leakage", tables, sentences=(f"Caution: {sentence}" if world.fails else sentence,))


CHOICE = {"layers": 3, "learning_rate": 1e-4, "kernel": 5, "batch": 20}


def permutation(world: World = PHANTOM) -> Result:
    n_folds = len(world.folds())
    trials = pd.DataFrame(
        {"trial": i, **CHOICE, "mean": 0.52 - 0.01 * i, "sd": 0.08, "n_folds": n_folds} for i in range(8)
    )
    sets = pd.DataFrame({"test": world.specimens, "chosen": 0, "accuracy": 0.5})
    return world.result("permutation", {"trials": trials, "sets": sets}, parameters={"swapped": world.specimens[0]})


def slice_wise(world: World = PHANTOM) -> Result:
    parts = [f"part-{i + 1}" for i in range(len(world.specimens))]
    folds = [
        row for k, mean in enumerate((0.99, 0.84)) for row in fold_rows(world, mean, k, split=("slices", "specimen")[k])
    ]
    for row in folds:
        if row["split"] == "slices":
            row |= {key: parts[world.specimens.index(row[key])] for key in ("test", "validation")}
    splits = pd.DataFrame(
        {"split": split, "mean": mean, "sd": 0.05, "n_folds": 10, "lower": mean - 0.01, "upper": mean + 0.01,
         "n_sets": len(parts)}
        for split, mean in (("slices", 0.99), ("specimen", 0.84))
    )  # fmt: skip
    sets = pd.DataFrame({"set": world.specimens, "accuracy": 0.84, "accuracy_slice_wise": 0.99})
    return world.result("slice-wise", {"splits": splits, "sets": sets, "folds": pd.DataFrame(folds)})


def pruning(world: World = PHANTOM) -> Result:
    scores = {"incumbent": 0, "incumbent_accuracy": 0.89, "told_accuracy": 0.7, "accuracy": 0.71, "gain": -0.18}
    row = {"trial": 4, **CHOICE, "n_folds": 8, "p": 0.01, **scores, "gain_on_optimum": -0.18, "reason": ""}
    return world.result("pruning", {"trials": pd.DataFrame([{**row, "would_have_won": False}])})


MAKERS: dict[str, Callable[[World], Result]] = {
    "specimens": specimens,
    "leakage": leakage,
    "sweep": sweep,
    "best-fold": best_fold,
    "grad-cam": grad_cam,
    "detection": detection,
    "audit": audit,
    "permutation": permutation,
    "slice-wise": slice_wise,
    "pruning": pruning,
    "by-plane": by_plane,
    "calibration": calibration,
    "mixed": mixed,
    **{compare_name(backbone): partial(compare, backbone=backbone) for backbone in BACKBONES.values()},
    "ablation": ablation,
    "strain": strain,
}


def draw(result: Result, folder: Path) -> tuple[Drawn, ...]:
    """The figures of a result, drawn as those of a study in a folder."""
    return RESULT_KINDS[result.name].draw(result, StudyFolder(folder))


REPRODUCED = tuple(name for name in MAKERS if RESULT_KINDS[name].is_step)


def everything() -> list[Result]:
    """What `reproduce` leaves of a study of phantoms."""
    return [MAKERS[name](PHANTOM) for name in REPRODUCED]


def awkward() -> list[Result]:
    """What `reproduce` leaves of a study of scans."""
    return [MAKERS[name](SCANS) for name in REPRODUCED]
