"""The optimum of a study, and the folds from which it is chosen, as Optuna's storage holds them."""

import dataclasses
import json
from dataclasses import dataclass

import optuna
import pandas as pd

from bonehpo.domain import FoldScores, Hyperparameters
from bonehpo.search.racing import complete_trials
from bonehpo.search.storage import OPTIMUM, finished_pairs


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The trial that ended a study, and the networks that were fitted again with its hyperparameters.

    Attributes:
        trial: Its number.
        rule: How it was chosen.
        trials: Numbers of the complete trials that it was chosen from.
        keys: Content address of the fresh fit of each holdout pair, by label.
        chosen: When, ISO 8601.
        repeats: The same of each further set of fresh seeds, whose networks are not kept.
    """

    trial: int
    rule: str
    trials: tuple[int, ...]
    keys: dict[str, str]
    chosen: str
    repeats: tuple[dict[str, str], ...] = ()


def hyperparameters(params: dict[str, float]) -> Hyperparameters:
    """Optuna's parameters of a trial as the domain knows them."""
    return Hyperparameters(
        layers=int(params["layers"]),
        learning_rate=float(params["learning_rate"]),
        kernel=int(params["kernel"]),
        batch=int(params["batch"]),
    )


def folds_table(study: optuna.Study) -> pd.DataFrame:
    """All folds of all trials that have them all, a row each: `trial`, `key` of the fit, the fields of `FoldScores`."""
    rows = [
        {"trial": trial.number, "key": pair.key, **dataclasses.asdict(fold)}
        for trial in complete_trials(study)
        for pair in finished_pairs(trial).values()
        for fold in pair.folds
    ]
    return pd.DataFrame(rows, columns=["trial", "key", *(f.name for f in dataclasses.fields(FoldScores))])


def read_optimum(study: optuna.Study) -> Optimum | None:
    """The optimum that the study holds, or None before it has one."""
    text = study.user_attrs.get(OPTIMUM)
    if not text:
        return None
    data = json.loads(text)
    return Optimum(**{**data, "trials": tuple(data["trials"]), "repeats": tuple(data.get("repeats", ()))})
