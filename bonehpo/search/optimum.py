"""The optimum of a study, and the folds from which it is chosen, as Optuna's storage holds them."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import optuna
import pandas as pd
from optuna.trial import TrialState

from bonehpo.domain import FoldScores, HoldoutPair, Hyperparameters
from bonehpo.search.storage import OPTIMUM, RecordedTrial


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The trial that ended a study, and the networks that were fitted again with its hyperparameters.

    Attributes:
        trial: Its number.
        rule: How it was chosen.
        n_trials: Complete trials it was chosen from.
        keys: Content address of the fresh fit of each holdout pair, by label.
        chosen: When, ISO 8601.
    """

    trial: int
    rule: str
    n_trials: int
    keys: dict[str, str]
    chosen: str


def network_path(folder: Path, pair: HoldoutPair) -> Path:
    """Where the kept network of one holdout pair lies."""
    return folder / f"{pair.first}+{pair.second}.keras"


def hyperparameters(params: dict[str, float]) -> Hyperparameters:
    """Optuna's parameters of a trial as the domain knows them."""
    return Hyperparameters(
        layers=int(params["layers"]),
        learning_rate=float(params["learning_rate"]),
        kernel=int(params["kernel"]),
        batch=int(params["batch"]),
    )


def folds_table(study: optuna.Study) -> pd.DataFrame:
    """All folds of all complete trials, a row each: `trial` and the fields of `FoldScores`."""
    rows = [
        {"trial": trial.number, **dataclasses.asdict(fold)}
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        for pair in RecordedTrial.of(trial).pairs.values()
        for fold in pair.folds
    ]
    return pd.DataFrame(rows, columns=["trial", *(f.name for f in dataclasses.fields(FoldScores))])


def read_optimum(study: optuna.Study) -> Optimum | None:
    """The optimum that the study holds, or None before it has one."""
    text = study.user_attrs.get(OPTIMUM)
    return Optimum(**json.loads(text)) if text else None
