"""Ablation of the preparation (Appendix A): the same scans matched another way, not matched, not filtered, neither.

Networks are trained on pristine against failed slices of each variant and asked about every load state. Where scans carry
something that only pristine ones have, a network needs no damage: it tells pristine from *every* loaded state.
"""

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bonehpo.analysis.detection import mean_by_state
from bonehpo.config import StudyFolder
from bonehpo.domain import Progress, ProgressCallback
from bonehpo.engine import Engine
from bonehpo.errors import ScanError, StudyError
from bonehpo.folds import assign_sets
from bonehpo.learning.fits import FitTask
from bonehpo.preparation.prepare import prepare
from bonehpo.results.detection import first_damaged, state_table
from bonehpo.results.finished import Configuration, Findings, FinishedStudy, fit_configurations, parameters_of
from bonehpo.results.heat_maps import Asked, MapTask, SliceKey, explain_slices, read_slices
from bonehpo.results.result import Result, address_of
from bonehpo.scans.phases import Matching
from bonehpo.scans.table import read_scans
from bonehpo.search.plan import SearchPlan
from bonehpo.store.recipe import Steps
from bonehpo.store.store import SliceStore
from bonehpo.task import FAILED, PRISTINE

NAME = "ablation"

SEPARATES = 0.9
"""Mean accuracy at every loaded state from which on pristine scans are told from all others."""

_PREPARED_FROM = "prepared-from.sha256"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to prepare scans.

    Attributes:
        name: In tables and figures.
        match: How intensities are matched.
        median: Whether the 3×3×3 median filter runs.
    """

    name: str
    match: Matching
    median: bool


def variants(prepared: Matching) -> tuple[Variant, ...]:
    """The variants, of which the first is as the study's own store, but for its filter.

    Args:
        prepared: How the store of the study was matched.
    """
    return (
        Variant(name="prepared", match=prepared, median=True),
        *(Variant(name=name, match=match, median=True) for match, name in _OTHERS.items() if match != prepared),
        Variant(name="no filter", match=prepared, median=False),
        Variant(name="raw", match="none", median=False),
    )


_OTHERS: Mapping[Matching, str] = {
    "phases": "matching by phases",
    "histogram": "matching of histograms",
    "none": "no matching",
}
EXPLAINED = ("prepared", "raw")
"""Variants of which heat maps are drawn."""


def ablation_address(finished: FinishedStudy, scans: Path, states: Sequence[str] = ()) -> str:
    """Content address of the ablation.

    Args:
        finished: The study.
        scans: Table of scans of the same bone.
        states: Words for the load states, from pristine to failed, where the table has words for them.

    Raises:
        ScanError: The table cannot be used.
    """
    return finished.address(NAME, digest_of_scans(scans, states))


def states_option(result: Result) -> str:
    """The option by which an ablation was given the order of words for load states."""
    return f" --states {shlex.quote(result.parameters['states'])}" if "states" in result.parameters else ""


def run_ablation(
    finished: FinishedStudy, scans: Path, engine: Engine, progress: ProgressCallback, states: Sequence[str] = ()
) -> Findings:
    """Prepare, train and test every variant.

    Args:
        finished: The study; its sizes of slices and its optimum are taken.
        scans: Table of scans of the same bone.
        engine: Where scans are prepared and fits run.
        progress: Told of each.
        states: Words for the load states, from pristine to failed, where the table has words for them.

    Raises:
        ScanError: The scans cannot be used, or are 2-D slices, which are neither matched nor filtered.
        StudyError: A variant could not be fitted.
    """
    if read_scans(scans, states).kind == "slices":
        raise ScanError(f"{scans} lists 2-D slices, which are neither matched nor filtered: give scans of volumes")
    wanted = variants(finished.store.recipe.matching)
    plans = {variant.name: _plan(finished, variant, scans, states, engine, progress) for variant in wanted}
    configurations = {name: _configuration(finished, name, plan) for name, plan in plans.items()}
    fitted = {
        name: configuration.whole()
        for name, configuration in fit_configurations(list(configurations.values()), engine, progress).items()
    }
    stores = {name: SliceStore.open(plan.folder.store) for name, plan in plans.items()}
    by_state = pd.concat(
        [
            state_table(configuration, stores[name], plans[name].sets).assign(variant=name)
            for name, configuration in fitted.items()
        ],
        ignore_index=True,
    )
    visible = first_damaged(stores["prepared"])
    separation = pd.DataFrame(_separation(name, by_state[by_state["variant"] == name], visible) for name in fitted)
    slices, pictures = _maps(plans, configurations, stores, engine)
    return Findings(
        parameters={
            **parameters_of(finished.choice),
            "scans": digest_of_scans(scans, states)[:12],
            **({"states": ",".join(states)} if states else {}),
        },
        metrics={
            f"{what}/{row['variant']}": float(row[what])
            for row in separation.to_dict("records")
            for what in ("accuracy_failed", "lowest")
        },
        sentences=[_sentence(row) for row in separation.to_dict("records")],
        tables={"states": by_state, "separation": separation, "slices": slices},
        arrays=pictures,
        configurations=list(fitted.values()),
    )


def digest_of_scans(scans: Path, states: Sequence[str] = ()) -> str:
    """Tells a table of scans, and the files that it names, from others: by size and time of each file.

    Args:
        scans: The table.
        states: Words for the load states, from pristine to failed, where the table has words for them.

    Raises:
        ScanError: The table cannot be used.
    """
    table = read_scans(scans, states)
    named = [scan.source.partition("::")[0] for scan in table.scans]
    named += [image.path for scan in table.scans for image in scan.images]
    files = [
        (str(file), file.stat().st_size, file.stat().st_mtime_ns)
        for path in dict.fromkeys(map(Path, named))
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
    ]
    order = [[word.casefold() for word in states]] if states else []
    return hashlib.sha256(repr((scans.read_bytes(), files, *order)).encode()).hexdigest()


def _plan(
    finished: FinishedStudy,
    variant: Variant,
    scans: Path,
    states: Sequence[str],
    engine: Engine,
    progress: ProgressCallback,
) -> SearchPlan:
    """The plan of a variant, in a folder of its own below the study; its store is prepared where it is not there."""
    folder = StudyFolder(finished.plan.folder.path / NAME / variant.name.replace(" ", "-"))
    recipe = finished.store.recipe
    steps = Steps(
        cropped=recipe.crop is not None,
        crop=recipe.crop,
        match=variant.match,
        median=variant.median,
        n_slices=recipe.n_slices,
        side=recipe.side,
        reference=recipe.reference,
        standardise=recipe.standardise,
        registration=False,
        register=recipe.registered,
        bone_is=recipe.bone_is,
    )
    mark, digest = folder.path / _PREPARED_FROM, address_of(steps, digest_of_scans(scans, states))
    if not (folder.store.exists() and mark.exists() and mark.read_text(encoding="utf-8") == digest):

        def told(at: Progress) -> None:
            progress(replace(at, what=f"{variant.name}: {at.what}"))

        mark.unlink(missing_ok=True)
        prepare(scans, folder.store, steps, engine, told, overwrite=True, states=states)
        mark.write_text(digest, encoding="utf-8")
    store = SliceStore.open(folder.store)
    return replace(
        finished.plan,
        folder=folder,
        store_id=store.id,
        side=store.side,
        sets=assign_sets(
            finished.plan.config.split, finished.plan.config.bone, store.specimens, store.planes, store.donors
        ),
        by_donor=bool(store.donors),
    )


def _configuration(finished: FinishedStudy, name: str, plan: SearchPlan) -> Configuration:
    """Fits of a variant, among those of the study; of the first pair the network is kept, to be explained."""
    own = finished.plan
    tasks = [replace(plan.task(finished.choice, pair), fits=own.folder.fits.absolute()) for pair in plan.pairs]
    tasks = [replace(task, states=own.states(task.spec.key).absolute()) for task in tasks]
    tasks[0] = replace(tasks[0], network=own.kept(tasks[0].spec.key))
    return Configuration(name=name, parameters={**parameters_of(finished.choice), "variant": name}, tasks=tuple(tasks))


def _separation(name: str, states: pd.DataFrame, visible_from: int | None) -> dict[str, object]:
    """State at which a variant is least accurate; only states without visible damage show that it needs none."""
    mean = mean_by_state(states)
    loaded = mean[mean["state"] > mean["state"].min()]
    lowest = loaded.loc[loaded["accuracy"].idxmin()]
    has_undamaged = bool(loaded["state"].min() < (visible_from or loaded["state"].max()))
    return {
        "variant": name,
        "accuracy_failed": float(mean["accuracy"].iloc[-1]),
        "lowest": float(lowest["accuracy"]),
        "state": int(lowest["state"]),
        "separates": has_undamaged and bool(lowest["accuracy"] >= SEPARATES),
    }


def _sentence(row: Mapping[object, object]) -> str:
    if row["separates"]:
        return (
            f"Caution: {row['variant']}: pristine scans are told from every loaded state (lowest accuracy "
            f"{row['lowest']:.2f}, at state {row['state']}): the network needs no damage for that."
        )
    return (
        f"{row['variant']}: accuracy {row['accuracy_failed']:.2f} on failed bone, falling to {row['lowest']:.2f} at state "
        f"{row['state']}."
    )


def _maps(
    plans: Mapping[str, SearchPlan],
    configurations: Mapping[str, Configuration],
    stores: Mapping[str, SliceStore],
    engine: Engine,
) -> tuple[pd.DataFrame, dict[str, npt.NDArray[np.generic]]]:
    """Heat maps of `EXPLAINED` variants: the middle slice of one test specimen, pristine, hardly loaded and failed."""
    tasks = {name: _map_task(plans[name], configurations[name].tasks[0], stores[name]) for name in EXPLAINED}
    found = {outcome.task: outcome.result() for outcome in engine.run(explain_slices, list(tasks.values()))}
    rows, slices, maps = [], [], []
    for name, task in tasks.items():
        store, pair = stores[name], plans[name].pairs[0]
        for asked, said in zip(task.asked, found[task].outputs, strict=True):
            key = asked.key
            rows.append(
                {
                    "variant": name,
                    "panel": "classes",
                    "test": pair.first,
                    "validation": pair.second,
                    **key._asdict(),
                    "strain": store.scan(key.specimen, key.state).strain,
                    "label": store.label(key.specimen, key.state),
                    "p_failed": float(said),
                }
            )
        slices.append(read_slices(store, [asked.key for asked in task.asked]))
        maps.append(found[task].maps)
    table = pd.DataFrame(rows).astype({"strain": float})
    return table, {"slices": np.concatenate(slices), "maps": np.concatenate(maps)}


def _map_task(plan: SearchPlan, first: FitTask, store: SliceStore) -> MapTask:
    if first.network is None:
        raise StudyError("the network to be explained was not kept: run `bonehpo ablate` again")
    group = plan.sets[plan.pairs[0].first][0]
    states = [state for state in store.states if store.has(group.specimen, state)]
    wanted = dict.fromkeys((states[0], states[len(states) // 3], states[-1]))
    return MapTask(
        network=first.network,
        store=first.store,
        store_id=plan.store_id,
        asked=tuple(
            Asked(
                SliceKey(group.specimen, state, group.plane, store.n_slices // 2),
                PRISTINE if state == states[0] else FAILED,
            )
            for state in wanted
        ),
    )
