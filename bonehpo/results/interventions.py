"""The intervention test of the audit: kept networks asked about slices whose damaged and undamaged parts were exchanged."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from bonehpo.analysis.interventions import LARGEST_AREA, SMALLEST_AREA, crossed, visible_damage
from bonehpo.domain import Group, HoldoutPair, Progress, ProgressCallback
from bonehpo.engine import Engine
from bonehpo.errors import NetworkError
from bonehpo.results.finished import FinishedStudy
from bonehpo.results.heat_maps import SliceKey, read_damage, read_slices
from bonehpo.scans.sections import even_positions
from bonehpo.store.images import open_expected

logger = logging.getLogger(__name__)

N_ASKED = 10
"""Positions of each specimen and plane, evenly spaced."""

COLUMNS = ["pristine", "failed", "damaged_part", "undamaged_part"]
"""Mean outputs on slices as they are, and crosswise; see `analysis.interventions`."""


_COLUMNS = ["test", "validation", "specimen", "plane", "n_slices", "area", *COLUMNS]


@dataclass(frozen=True, kw_only=True)
class SwapTask:
    """Exchanged slices to be shown to one network.

    Attributes:
        network: Its file.
        store: Folder of the slice store.
        store_id: The store that is meant.
        groups: Of which slices are exchanged.
    """

    network: Path
    store: Path
    store_id: str
    groups: tuple[Group, ...]


class SwapAnswer(NamedTuple):
    """Mean outputs of a network on the slices of one group; see the columns of `ask_networks`."""

    group: Group
    n_slices: int
    area: float
    outputs: tuple[float, ...]


def ask_network(task: SwapTask) -> tuple[SwapAnswer, ...]:
    """Show exchanged slices to a network.

    Raises:
        NetworkError: There is no such network.
        StoreError: The store is another one, or damaged.
    """
    from bonehpo.learning.learners import predict
    from bonehpo.learning.networks import load_network

    network, store = load_network(task.network), open_expected(task.store, task.store_id)
    found = []
    for group in task.groups:
        places = even_positions(store.n_slices, min(store.n_slices, N_ASKED))
        pristine, failed = (
            [SliceKey(group.specimen, state, group.plane, int(at)) for at in places]
            for state in store.ends(group.specimen)
        )
        first, second = read_slices(store, pristine), read_slices(store, failed)
        damage = read_damage(store, failed) if store.has_damage else visible_damage(first, second)
        parts = crossed(first, second, damage)
        kept = (parts.area >= SMALLEST_AREA) & (parts.area <= LARGEST_AREA)
        if not kept.any():
            continue
        images: list[npt.NDArray[np.uint8]] = [first, second, parts.damaged_part, parts.undamaged_part]
        outputs = predict(network, np.concatenate([image[kept] for image in images]))
        means = outputs.reshape(len(images), -1).mean(axis=1)
        found.append(SwapAnswer(group, int(kept.sum()), float(parts.area[kept].mean()), tuple(map(float, means))))
    return tuple(found)


def network_files(finished: FinishedStudy) -> Mapping[HoldoutPair, Path]:
    """Files of the optimum's networks; empty if one is gone."""
    tasks = finished.optimum_configuration().tasks
    files = {task.spec.pair: finished.plan.network(task.spec.key).absolute() for task in tasks}
    return files if all(file.exists() for file in files.values()) else {}


def ask_networks(finished: FinishedStudy, engine: Engine, progress: ProgressCallback) -> pd.DataFrame:
    """Outputs of the optimum's networks on slices of their held-out sets whose parts were exchanged.

    Args:
        finished: The study.
        engine: Where networks are asked.
        progress: Told of each.

    Returns:
        Columns `test`, `validation`, `specimen`, `plane`, `n_slices`, `area` and `COLUMNS`; without rows where networks are
        gone or damaged, or no slice has both parts.

    Raises:
        StoreError: The store is damaged.
    """
    sets, plan = finished.plan.sets, finished.plan
    tasks = {
        SwapTask(
            network=file,
            store=plan.folder.store.absolute(),
            store_id=plan.store_id,
            groups=tuple(group for name in pair for group in sets[name]),
        ): pair
        for pair, file in network_files(finished).items()
    }
    rows = []
    for done, outcome in enumerate(engine.run(ask_network, list(tasks)), start=1):
        try:
            pair, answers = tasks[outcome.task], outcome.result()
        except NetworkError:
            logger.warning("%s cannot be read: where the evidence lies is not asked", outcome.task.network)
            return pd.DataFrame(columns=_COLUMNS)
        for test, validation in (pair, tuple(reversed(pair))):
            rows += [
                (test, validation, *answer.group, answer.n_slices, answer.area, *answer.outputs)
                for answer in answers
                if answer.group in sets[test]
            ]
        progress(Progress(done, len(tasks), "exchanged parts"))
    return pd.DataFrame(rows, columns=_COLUMNS)
