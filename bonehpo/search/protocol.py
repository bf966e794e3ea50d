"""The strict protocol: the list of candidates is written down and hashed before any score, and nothing is added to it.

An adaptive search may look at scores of a specimen when it chooses what to try next, and then at the same specimen's scores
again when it estimates. A list that was fixed before cannot.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import optuna
from optuna.trial import FrozenTrial

from bonehpo.domain import Hyperparameters
from bonehpo.errors import StudyError
from bonehpo.search.objective import SearchPlan
from bonehpo.search.space import candidates, n_possible

CANDIDATES = "candidates"
"""Where Optuna's storage keeps the list of a strict study."""


class FixedList(NamedTuple):
    """All candidates of a strict study, in the order in which they are tried, and the SHA-256 of the list."""

    choices: tuple[Hyperparameters, ...]
    sha256: str


def read_fixed_list(study: optuna.Study) -> FixedList | None:
    """The list of a strict study; None of an adaptive one, and of one that was begun before lists were written down.

    Raises:
        StudyError: The list is not the one that was hashed.
    """
    text = study.user_attrs.get(CANDIDATES)
    if not text:
        return None
    data = json.loads(text)
    choices = tuple(Hyperparameters(**choice) for choice in data["choices"])
    if _sha256(choices) != data["sha256"]:
        raise StudyError(
            f"the candidates of study {study.study_name} are not those that were fixed before its first score: "
            "restore its storage, or search in a study folder of another name"
        )
    return FixedList(choices, data["sha256"])


def _sha256(choices: Sequence[Hyperparameters]) -> str:
    listed = json.dumps([dataclasses.asdict(choice) for choice in choices], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(listed.encode()).hexdigest()


def settle_candidates(study: optuna.Study, plan: SearchPlan, n_trials: int) -> int:
    """Put the candidates that are fixed beforehand in line, once each. Several drivers that do so at once need a lock.

    Returns:
        How many trials the study will have.

    Raises:
        StudyError: What is asked for would change a list that was fixed, or fix it after scores were seen.
    """
    trials = study.get_trials(deepcopy=False)
    n_trials = n_possible(plan.config, n_trials)
    fixed = read_fixed_list(study)
    if plan.config.protocol == "adaptive":
        _refuse_if(fixed is not None, study, "its candidates were fixed (protocol strict), now it is adaptive")
        _enqueue(study, trials, candidates(plan.config, n_trials))
        return n_trials
    if fixed is None and trials:
        explicit = plan.config.search.protocol == "strict"
        _refuse_if(explicit, study, "it was begun without a fixed list, and protocol strict fixes it before any score")
        _enqueue(study, trials, candidates(plan.config, n_trials))
        return n_trials
    if fixed is None:
        choices = candidates(plan.config, n_trials)[:n_trials]
        fixed = FixedList(choices, _sha256(choices))
        plain = [dataclasses.asdict(choice) for choice in choices]
        study.set_user_attr(CANDIDATES, json.dumps({"sha256": fixed.sha256, "choices": plain}))
    if n_trials != len(fixed.choices):
        raise StudyError(
            f"study {study.study_name} fixed {len(fixed.choices)} candidates before its first score, now --trials is "
            f"{n_trials}: give --trials {len(fixed.choices)}, or search in a study folder of another name"
        )
    listed = {_params(dataclasses.asdict(choice)) for choice in fixed.choices}
    stray = [trial.number for trial in trials if _params(trial.system_attrs.get("fixed_params")) not in listed]
    _refuse_if(bool(stray), study, f"its trials {stray} are not among the candidates that were fixed")
    _enqueue(study, trials, fixed.choices)
    return n_trials


def is_done(study: optuna.Study, plan: SearchPlan) -> bool:
    """Whether an optimum may be chosen: in the strict protocol when every candidate has ended."""
    fixed = read_fixed_list(study) if plan.config.protocol == "strict" else None
    ended = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
    return fixed is None or ended >= len(fixed.choices)


def _enqueue(study: optuna.Study, trials: Sequence[FrozenTrial], choices: Sequence[Hyperparameters]) -> None:
    known = {_params(trial.system_attrs.get("fixed_params")) for trial in trials}
    for choice in choices:
        params = dataclasses.asdict(choice)
        if _params(params) not in known:
            study.enqueue_trial(params)


def _params(params: object) -> str:
    return json.dumps(params, sort_keys=True)


def _refuse_if(refused: bool, study: optuna.Study, why: str) -> None:
    if refused:
        raise StudyError(f"study {study.study_name}: {why}: search in a study folder of another name")
