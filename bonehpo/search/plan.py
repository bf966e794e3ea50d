"""The objective of one trial: the full nested cross-validation, as fits of which each yields two folds."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bonehpo.config import StudyConfig, StudyFolder
from bonehpo.domain import FoldScores, HoldoutPair
from bonehpo.folds import Sets, holdout_pairs
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.fits import CODE_VERSION, FitResult, FitSpec, FitTask, is_stuck, pair_seed
from bonehpo.schema import SETTINGS, old_name, stable
from bonehpo.search.recorder import FoldRecord

REFIT_ATTEMPTS = 3
"""Sets of fresh seeds that the optimum is fitted with until one has not diverged; they are the repeats 1, 2, ...."""

FREE = ("bone", "strain", "search.protocol", "search.optimum", "search.pruner")
"""Tables and keys of study.toml that may change while a study lasts; any other that is added may not."""

UNQUOTED = ("task", "search")
"""Tables and keys whose words stand in identities as they are, not as JSON."""


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """Everything that is settled before the first trial.

    Attributes:
        folder: Of the study.
        config: What is searched.
        store_id: Of the slice store.
        side: Side of the slices in pixels.
        sets: What is assigned.
        n_images: Labelled images in each set.
        ran_on: "phantom" or "scans".
        storage: URL of Optuna's storage.
        by_donor: Whether the donors of the specimens are named, so that specimens of one are never parted.
    """

    folder: StudyFolder
    config: StudyConfig
    store_id: str
    side: int
    sets: Sets
    n_images: Mapping[str, int]
    ran_on: Literal["phantom", "scans"]
    storage: str
    by_donor: bool = False

    @property
    def split(self) -> str:
        """Kind of a set: "specimen", "donor" where donors are named, or "mixed"."""
        return "donor" if self.by_donor and self.config.split.kind == "specimen" else self.config.split.kind

    @property
    def pairs(self) -> tuple[HoldoutPair, ...]:
        """The holdout pairs, in the order in which they are fitted."""
        return holdout_pairs(list(self.sets))

    @property
    def identity(self) -> dict[str, str]:
        """Settings that must stay while a study lasts: the store, the code, and all that changes a score or a proposal."""
        return {"store": self.store_id, "code version": str(CODE_VERSION), **_settings(self.config)}

    def task(self, choice: Hyperparameters, pair: HoldoutPair, *, repeat: int = 0, keep: bool = False) -> FitTask:
        """The fit of one holdout pair.

        Args:
            choice: Hyperparameters of the network.
            pair: Sets to hold out.
            repeat: 0 in the search; 1 and up for fresh seeds.
            keep: Whether to keep the network, and what it says of its held-out sets at every load state.
        """
        spec = FitSpec(
            store_id=self.store_id,
            sets=self.sets,
            pair=pair,
            hyperparameters=choice,
            training=self.config.training,
            seed=pair_seed(self.config.search.seed, pair, repeat),
            task=self.config.task,
        )
        # Workers elsewhere know no working directory of ours.
        return FitTask(
            spec=spec,
            store=self.folder.store.absolute(),
            fits=self.folder.fits.absolute(),
            network=self.network(spec.key).absolute() if keep else None,
            states=self.states(spec.key).absolute() if keep else None,
        )

    def network(self, key: str) -> Path:
        """Path of the kept network of the fit with this address."""
        return self.folder.optimum / f"{key}.keras"

    def kept(self, key: str) -> Path:
        """Path of a network that a comparison keeps."""
        return (self.folder.networks / f"{key}.keras").absolute()

    def states(self, key: str) -> Path:
        """Path of what the network of a fit said of its held-out sets at every load state."""
        return self.folder.fits / f"{key}.states.npz"


@dataclass(frozen=True, kw_only=True)
class FinishedPair:
    """Entry of one fit in Optuna's storage: the address of its result, and its two folds."""

    key: str
    folds: tuple[FoldScores, FoldScores]

    @classmethod
    def of(cls, result: FitResult) -> "FinishedPair":
        """Take what is to be kept of a result."""
        return cls(key=result.key, folds=result.fold_scores())

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps({"key": self.key, "folds": [dataclasses.asdict(fold) for fold in self.folds]})

    @classmethod
    def from_json(cls, text: str) -> "FinishedPair":
        """Read what `to_json` wrote."""
        data: dict[str, Any] = json.loads(text)
        first, second = (FoldScores(**fold) for fold in data["folds"])
        return cls(key=data["key"], folds=(first, second))


def _settings(config: StudyConfig) -> dict[str, str]:
    """All settings but the free ones, as text by their old names: those of schema 1, later ones off their default."""
    found = {}
    for table, values in stable(config).items():
        keys = values.items() if isinstance(values, dict) else ()
        named = {f"{table}.{old_name(key, SETTINGS)}": value for key, value in keys} or {table: values}
        for key, value in named.items():
            if table not in FREE and key not in FREE:
                found[key] = value if table in UNQUOTED and isinstance(value, str) else json.dumps(value)
    return found


def objective(folds: Sequence[FoldScores]) -> float:
    """Objective that Optuna maximises: the mean validation score of the folds.

    With a fixed number of epochs it equals the mean test score identically, so that it is no estimate of the optimum.
    """
    return float(np.mean([fold.validation_score for fold in folds]))


def fold_records(result: FitResult) -> tuple[FoldRecord, FoldRecord]:
    """Both folds of a fit as they are recorded."""
    first, second = result.fold_scores()
    return _record(result, first, 0), _record(result, second, 1)


def _record(result: FitResult, scores: FoldScores, i: int) -> FoldRecord:
    curves = result.curves
    return FoldRecord(
        task=result.task,
        scores=scores,
        key=result.key,
        seed=result.seed,
        precision=result.precision,
        cpu_seconds=result.cpu_seconds,
        n_epochs=len(curves.train_loss),
        curves={
            "train_loss": curves.train_loss,
            "train_score": curves.train_score,
            "test_loss": curves.held_out_loss[i],
            "test_score": curves.held_out_score[i],
            "validation_loss": curves.held_out_loss[1 - i],
            "validation_score": curves.held_out_score[1 - i],
        },
        predictions=result.predictions[i],
        started=datetime.fromtimestamp(result.started_s).astimezone(),
        finished=datetime.fromtimestamp(result.finished_s).astimezone(),
        is_stuck=is_stuck(result),
        restarts=result.restarts,
    )
