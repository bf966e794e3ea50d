"""The shortcut audit on phantoms with planted shortcuts: of those that can be learnt, how many does it flag?

Usage: python benchmarks/audit_zoo.py [--bones TB,CB] [--seeds 1,2,3] [--kinds KIND,…] [--side 64] [--slices 8]

Of each bone and seed, five specimens in four load states are scanned with no shortcut, and with each kind in the failed or
in the pristine scans, and prepared as `bonehpo prepare` does. In place of a network there is a linear model on random
convolutions, trained on the same folds: a shortcut is *learnable* if such a model tells undamaged scans with it from
undamaged scans without with an accuracy of 0.70. Flagged is what `bonehpo audit` would caution of. Prints a table.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import fftconvolve

from bonehpo.analysis.detection import mean_by_state
from bonehpo.analysis.shortcuts import GroupState, end_folds, judge, network_sentence, state_accuracies, too_few
from bonehpo.domain import Group, ignore_progress
from bonehpo.engine import open_engine
from bonehpo.folds import Sets, specimen_sets
from bonehpo.leakage.features import CEILINGS, KINDS, scan_features
from bonehpo.phantom import PhantomSpec, write_phantom
from bonehpo.phantom.shortcuts import KINDS as SHORTCUTS
from bonehpo.preparation.prepare import prepare
from bonehpo.store.recipe import Steps

LEARNABLE = 0.70
N_STATES, PRISTINE, BEFORE, FAILED = 4, 1, 2, 4
CONVOLUTIONS = "random convolutions"

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


def measured(bone: str, seed: int, shortcut: str, side: int, n_slices: int) -> tuple[Features, Sets]:
    """Numbers of all models on the slices of a phantom, and its sets."""
    found: Features = {model: {} for model in (*KINDS, CONVOLUTIONS)}
    spec = PhantomSpec(bone=bone, side=side, n_states=N_STATES, seed=seed, shortcut=shortcut)
    steps = Steps(side=side, n_slices=n_slices, registration=False)
    with tempfile.TemporaryDirectory(prefix="bonehpo-zoo-") as folder, open_engine(0) as engine:
        csv = write_phantom(spec, Path(folder) / "phantom", engine, ignore_progress)
        store = prepare(csv, Path(folder) / bone / "slices.zarr", steps, engine)
        for specimen in store.specimens:
            for state in (PRISTINE, BEFORE, FAILED):
                by_model = scan_features(store, specimen, state)
                for plane in store.planes:
                    key = GroupState(Group(specimen, plane), state)
                    for model in KINDS:
                        found[model][key] = by_model[model][plane]
                    found[CONVOLUTIONS][key] = np.array([convolved(x) for x in store.group(specimen, state, plane)])
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


def flagged(features: Features, sets: Sets, visible_from: int) -> list[str]:
    """The models for which an audit would flag the stand-in of a network, or the stand-in itself."""
    states = state_accuracies(features[CONVOLUTIONS], sets)
    found = []
    for model in KINDS:
        if not too_few(features[model]):
            own = state_accuracies(features[model], sets)
            if judge(model, own, end_folds(states), visible_from, states, ceiling=CEILINGS.get(model)).flagged:
                found.append(model)
    return [*found, *(["network"] if network_sentence(mean_by_state(states), visible_from) else [])]


def only(features: Features, states: tuple[int, ...]) -> Features:
    """The features of some states."""
    return {model: {key: v for key, v in found.items() if key.state in states} for model, found in features.items()}


def rows_of(bone: str, seed: int, kinds: list[str], side: int, n_slices: int) -> list[dict[str, object]]:
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
        for where, features, told in (("failed", failed, loaded), ("pristine", pristine, pristine)):
            found = flagged(features, sets, 3)
            learnable = learnability(only(told, (PRISTINE, BEFORE)), sets)
            rows.append(
                row | {"kind": kind, "where": where, "learnable": learnable, "flagged": bool(found), "by": found}
            )
    for made in rows:
        made["cpu_s"] = round((time.process_time() - start) / len(rows), 1)
    return rows


def main() -> None:
    """Print a row for each phantom as it comes, and then the shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bones", default="TB,CB")
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--kinds", default=",".join(SHORTCUTS))
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--slices", type=int, default=8)
    asked = parser.parse_args()
    rows = []
    for seed in map(int, asked.seeds.split(",")):
        for bone in asked.bones.split(","):
            kinds = [kind for kind in asked.kinds.split(",") if kind]
            new = rows_of(bone, seed, kinds, asked.side, asked.slices)
            print(pd.DataFrame(new).assign(by=[", ".join(row["by"]) for row in new]).to_string(index=False), flush=True)
            rows += new
    table = pd.DataFrame(rows)
    planted = table[table["kind"] != "none"]
    print("\nclean phantoms flagged:", table[table["kind"] == "none"].groupby("bone")["flagged"].agg(["sum", "count"]))
    for name, part in (("learnable", planted[planted["learnable"] >= LEARNABLE]), ("all", planted)):
        print(f"\n{name} plants flagged:\n", part.groupby(["bone", "where"])["flagged"].agg(["sum", "count", "mean"]))


if __name__ == "__main__":
    main()
