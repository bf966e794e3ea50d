"""The shortcut audit on phantoms with planted shortcuts: of those that can be learnt, how many does it flag?

Usage: python benchmarks/audit_zoo.py [--bones TB,CB] [--seeds 1,2,3] [--kinds KIND,…] [--side 64] [--slices 8]
                                      [--maxima] [--networks N]

Of each bone and seed, five specimens in four load states are scanned with no shortcut, and with each kind in the failed or
in the pristine scans, and prepared as `bonehpo prepare` does. In place of a network there is a linear model on random
convolutions, trained on the same folds: a shortcut is *learnable* if such a model tells undamaged scans with it from
undamaged scans without with an accuracy of 0.70. Flagged is what `bonehpo audit` would caution of. Prints a table.

`--maxima` makes clean phantoms alone, of four states and of two, in which every failed slice is damaged, and prints how
far each model comes on any: the ceilings of `leakage.features` lie above. `--networks N` also trains N small networks
on undamaged bone with and without each plant, and prints how many of their slices they are right about, and the CPU time.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import fftconvolve

from bonehpo.analysis.detection import mean_by_state
from bonehpo.analysis.shortcuts import (
    GroupState,
    Verdict,
    end_folds,
    judge,
    network_sentence,
    state_accuracies,
    too_few,
)
from bonehpo.domain import Group, ignore_progress
from bonehpo.engine import open_engine
from bonehpo.folds import Sets, holdout_pairs, specimen_sets
from bonehpo.leakage.features import CEILINGS, KINDS, scan_features
from bonehpo.phantom import PhantomSpec, write_phantom
from bonehpo.phantom.shortcuts import KINDS as SHORTCUTS
from bonehpo.preparation.prepare import prepare
from bonehpo.store.recipe import Steps

LEARNABLE = 0.70
PRISTINE, BEFORE, FAILED = 1, 2, 4
N_STATES, FEWEST_STATES = 4, 2
EPOCHS = 20
CONVOLUTIONS, PIXELS = "random convolutions", "pixels"

Features = dict[str, dict[GroupState, np.ndarray]]


def kernels() -> list[np.ndarray]:
    """Twelve random kernels of 3 to 9 pixels that answer nothing to an even slice."""
    rng = np.random.default_rng(0)
    drawn = [rng.standard_normal((side, side)) for side in (3, 3, 3, 3, 5, 5, 5, 5, 7, 7, 9, 9)]
    return [(kernel - kernel.mean()) / np.abs(kernel - kernel.mean()).sum() for kernel in drawn]


KERNELS = kernels()


def convolved(image: np.ndarray) -> list[float]:
    """Mean, maximum and share of what is above 0 after each kernel."""
    found = []
    for kernel in KERNELS:
        answer = np.maximum(fftconvolve(image.astype(np.float32), kernel, mode="valid"), 0)
        found += [float(answer.mean()), float(answer.max()), float((answer > 0).mean())]
    return found


def measured(
    bone: str, seed: int, shortcut: str, side: int, n_slices: int, n_states: int = N_STATES
) -> tuple[Features, Sets]:
    """Numbers of all models on the slices of a phantom, and its sets; of two states the last is `FEWEST_STATES`."""
    found: Features = {model: {} for model in (*KINDS, CONVOLUTIONS, PIXELS)}
    spec = PhantomSpec(bone=bone, side=side, n_states=n_states, seed=seed, shortcut=shortcut)
    steps = Steps(side=side, n_slices=n_slices, registration=False)
    with tempfile.TemporaryDirectory(prefix="bonehpo-zoo-") as folder, open_engine(0) as engine:
        csv = write_phantom(spec, Path(folder) / "phantom", engine, ignore_progress)
        store = prepare(csv, Path(folder) / bone / "slices.zarr", steps, engine)
        for specimen in store.specimens:
            for state in (PRISTINE, BEFORE, FAILED) if n_states == N_STATES else store.states:
                by_model = scan_features(store, specimen, state)
                for plane in store.planes:
                    key = GroupState(Group(specimen, plane), state)
                    for model in KINDS:
                        found[model][key] = by_model[model][plane]
                    found[PIXELS][key] = store.group(specimen, state, plane)
                    found[CONVOLUTIONS][key] = np.array([convolved(image) for image in found[PIXELS][key]])
    return found, specimen_sets(store.specimens, store.planes)


def joined(first: Features, others: Features, states: Mapping[int, int]) -> Features:
    """Features of `first` in the states that are not named, and of `others` in those that are: {state: state there}."""
    return {
        model: {
            key: others[model][GroupState(key.group, states[key.state])] if key.state in states else values
            for key, values in found.items()
        }
        for model, found in first.items()
    }


def learnability(features: Features, sets: Sets) -> float:
    """Accuracy of the linear model on random convolutions on the first against the last of the states it is given."""
    return float(end_folds(state_accuracies(features[CONVOLUTIONS], sets))["accuracy"].mean())


def judged(features: Features, sets: Sets, visible_from: int | None) -> list[Verdict]:
    """Verdicts of the models that can be asked on the stand-in of a network."""
    states = state_accuracies(features[CONVOLUTIONS], sets)
    asked = [model for model in KINDS if not too_few(features[model])]
    if visible_from is None:
        asked = [model for model in asked if CEILINGS.get(model) != math.inf]
    return [
        judge(
            model,
            state_accuracies(features[model], sets),
            end_folds(states),
            visible_from,
            None if visible_from is None else states,
            ceiling=CEILINGS.get(model),
        )
        for model in asked
    ]


def flagged(features: Features, sets: Sets, visible_from: int) -> list[str]:
    """The models for which an audit would flag the stand-in of a network, or the stand-in itself."""
    states = state_accuracies(features[CONVOLUTIONS], sets)
    found = [verdict.model for verdict in judged(features, sets, visible_from) if verdict.flagged]
    return [*found, *(["network"] if network_sentence(mean_by_state(states), visible_from) else [])]


def clean_rows(bone: str, seed: int, side: int, n_slices: int) -> list[dict[str, object]]:
    """How far each model with a ceiling comes on the clean phantoms of four states and of two, and which are flagged."""
    rows = []
    for n_states, visible_from in ((N_STATES, 3), (FEWEST_STATES, 2)):
        start = time.process_time()
        features, sets = measured(bone, seed, "", side, n_slices, n_states)
        verdicts = judged(features, sets, visible_from)
        means = {v.model: round(v.mean, 2) for v in verdicts if np.isfinite(v.ceiling)}
        over = [v.model for v in verdicts if v.flagged and v.mean >= v.ceiling]
        rest = [v.model for v in verdicts if v.flagged and v.model not in over]
        row = {
            "bone": bone,
            "seed": seed,
            "states": n_states,
            "over": ", ".join(over),
            "near or before": ", ".join(rest),
        }
        rows.append(row | means | {"cpu_s": round(time.process_time() - start, 1)})
    return rows


def network_accuracy(told: Features, clean: Features, sets: Sets, n_networks: int) -> dict[str, object]:
    """Accuracy of small trained networks on undamaged bone with a plant against without, and what that took.

    Each trains on all sets but one pair and tests on that pair: with it as a failed slice, without as a pristine one.
    """
    from bonehpo.hyperparameters import Hyperparameters  # imports TensorFlow, which takes seconds
    from bonehpo.learning.learners import compiled_network, predict, start_optimiser
    from bonehpo.learning.networks import reset_weights, standardise

    start, right = time.process_time(), []
    for seed, pair in enumerate(holdout_pairs(list(sets))[:n_networks]):
        names = {True: pair, False: [name for name in sets if name not in pair]}
        pixels, truth = {}, {}
        for tested, chosen in names.items():
            groups = [group for name in chosen for group in sets[name]]
            sides = [[of[PIXELS][GroupState(group, BEFORE)] for group in groups] for of in (clean, told)]
            pixels[tested] = np.concatenate([image for side in sides for image in side])
            truth[tested] = np.repeat([0, 1], len(pixels[tested]) // 2)
        network = compiled_network(Hyperparameters(layers=2, kernel=5, filters=8), pixels[True].shape[1], "float32")
        reset_weights(network, seed)
        standardise(network, pixels[False], np.arange(len(pixels[False])))
        start_optimiser(network, 1e-3)
        network.fit(pixels[False][..., None], truth[False], batch_size=16, epochs=EPOCHS, verbose=0)
        right.append(float(((predict(network, pixels[True]) > 0.5) == truth[True]).mean()))
    return {"by networks": np.mean(right), "n": len(right), "networks_cpu_s": round(time.process_time() - start, 1)}


def only(features: Features, states: tuple[int, ...]) -> Features:
    """The features of some states."""
    return {model: {key: v for key, v in found.items() if key.state in states} for model, found in features.items()}


def rows_of(
    bone: str, seed: int, kinds: list[str], side: int, n_slices: int, n_networks: int = 0
) -> list[dict[str, object]]:
    """A row for the clean phantom, and two for each kind of shortcut."""
    start = time.process_time()
    clean, sets = measured(bone, seed, "", side, n_slices)
    row = {"bone": bone, "seed": seed}
    found = flagged(clean, sets, 3)
    rows = [row | {"kind": "none", "where": "", "learnable": float("nan"), "flagged": bool(found), "by": found}]
    for kind in kinds:
        loaded, _ = measured(bone, seed, f"{kind}@loaded", side, n_slices)
        failed = joined(clean, loaded, {FAILED: FAILED})
        pristine, _ = measured(bone, seed, f"{kind}@pristine", side, n_slices)
        trained = network_accuracy(loaded, clean, sets, n_networks) if n_networks else {}
        for where, features, told in (("failed", failed, loaded), ("pristine", pristine, pristine)):
            found = flagged(features, sets, 3)
            learnable = learnability(only(told, (PRISTINE, BEFORE)), sets)
            rows.append(
                row
                | {"kind": kind, "where": where, "learnable": learnable, "flagged": bool(found), "by": found}
                | trained
            )
    for made in rows:
        made["cpu_s"] = round((time.process_time() - start) / len(rows), 1)
    return rows


def main() -> None:
    """Print the zoo, or how far models come on clean phantoms."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bones", default="TB,CB")
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--kinds", default=",".join(SHORTCUTS))
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--maxima", action="store_true")
    parser.add_argument("--networks", type=int, default=0)
    asked = parser.parse_args()
    worlds = [(bone, int(seed)) for seed in asked.seeds.split(",") for bone in asked.bones.split(",")]
    if asked.maxima:
        print_maxima(worlds, asked.side, asked.slices)
    else:
        print_zoo(worlds, [kind for kind in asked.kinds.split(",") if kind], asked)


def print_maxima(worlds: list[tuple[str, int]], side: int, n_slices: int) -> None:
    """Print a row for each clean phantom as it comes, and the largest mean accuracy of each model with a ceiling."""
    rows: list[dict[str, object]] = []
    for bone, seed in worlds:
        new = clean_rows(bone, seed, side, n_slices)
        print(pd.DataFrame(new).to_string(index=False), flush=True)
        rows += new
    table = pd.DataFrame(rows).drop(columns=["seed", "cpu_s"])
    found = table.assign(flagged=(table.pop("over") + table.pop("near or before")) != "")
    print("\nclean phantoms flagged:\n", found.groupby(["bone", "states"])["flagged"].agg(["sum", "count"]))
    largest = table.groupby(["bone", "states"]).max().T
    ceilings = {model: ceiling for model, ceiling in CEILINGS.items() if math.isfinite(ceiling)}
    print("\nlargest mean accuracy:\n", largest.assign(ceiling=pd.Series(ceilings)))


def print_zoo(worlds: list[tuple[str, int]], kinds: list[str], asked: argparse.Namespace) -> None:
    """Print a row for each plant as it comes, and then the shares."""
    rows = []
    for bone, seed in worlds:
        new = rows_of(bone, seed, kinds, asked.side, asked.slices, asked.networks)
        print(pd.DataFrame(new).assign(by=[", ".join(row["by"]) for row in new]).to_string(index=False), flush=True)
        rows += new
    table = pd.DataFrame(rows)
    planted = table[table["kind"] != "none"]
    print("\nclean phantoms flagged:", table[table["kind"] == "none"].groupby("bone")["flagged"].agg(["sum", "count"]))
    for name, part in (("learnable", planted[planted["learnable"] >= LEARNABLE]), ("all", planted)):
        print(f"\n{name} plants flagged:\n", part.groupby(["bone", "where"])["flagged"].agg(["sum", "count", "mean"]))


if __name__ == "__main__":
    main()
