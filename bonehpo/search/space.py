"""The search space: what may be chosen, who proposes it, and lists of candidates that are fixed beforehand.

An adaptive search may look at scores of a specimen when it chooses what to try next, and then at the same specimen's scores
again when it estimates. A list that was fixed before cannot.
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

import optuna
from optuna.trial import FrozenTrial
from scipy.stats import qmc

from bonehpo.analysis.sweep import Parameter
from bonehpo.config import Range, SamplerName, Space, StudyConfig
from bonehpo.domain import Hyperparameters
from bonehpo.errors import StudyError
from bonehpo.learning.architecture import check_architecture
from bonehpo.search.plan import SearchPlan

Value = int | float

N_DRAWS = 20
"""Random draws for each candidate, after which a small space is taken to hold no more."""


class SweepPoint(NamedTuple):
    """One point of the one-at-a-time variation: which parameter is varied, and the choice that results."""

    parameter: Parameter
    choice: Hyperparameters


def check_space(config: StudyConfig, side: int) -> None:
    """Refuse a space of which some network cannot be built, before anything is trained.

    Args:
        config: The study.
        side: Side of the slices in pixels.

    Raises:
        NetworkError: An architecture of the space, or the baseline, pools the image to nothing.
    """
    check_architecture(max(config.space.layers), min(config.space.kernel), side)
    check_architecture(config.baseline.layers, config.baseline.kernel, side)


def suggest(trial: optuna.Trial, space: Space) -> Hyperparameters:
    """Ask the sampler for one choice. A trial that is taken up again answers what it answered before."""
    rate = space.learning_rate
    return Hyperparameters(
        layers=int(_suggest(trial, "layers", space.layers)),
        learning_rate=(
            trial.suggest_float("learning_rate", rate.low, rate.high, log=True)
            if isinstance(rate, Range)
            else float(_suggest(trial, "learning_rate", rate))
        ),
        kernel=int(_suggest(trial, "kernel", space.kernel)),
        batch=int(_suggest(trial, "batch", space.batch)),
    )


def _suggest(trial: optuna.Trial, name: str, values: Sequence[Value]) -> Value:
    """An evenly spaced list of integers keeps its order for the sampler; any other list is a category."""
    steps = {b - a for a, b in itertools.pairwise(values)}
    if all(isinstance(v, int) for v in values) and len(steps) == 1 and min(steps) > 0:
        return trial.suggest_int(name, int(values[0]), int(values[-1]), step=int(steps.pop()))
    chosen: Value = trial.suggest_categorical(name, list(values))
    return chosen


def space_in_words(space: Space) -> dict[str, str]:
    """The values of each hyperparameter, as text by name."""
    rate = space.learning_rate
    lists: dict[str, Sequence[Value]] = {"layers": space.layers, "kernel": space.kernel, "batch": space.batch}
    if not isinstance(rate, Range):
        lists["learning_rate"] = rate
    words = {name: ", ".join(f"{value:g}" for value in values) for name, values in lists.items()}
    return words if not isinstance(rate, Range) else words | {"learning_rate": f"{rate.low:g} to {rate.high:g}"}


def make_sampler(config: StudyConfig, n_trials_before: int) -> optuna.samplers.BaseSampler:
    """The sampler that proposes where no candidate was fixed beforehand.

    Args:
        config: The study.
        n_trials_before: Trials that the study holds already. Each trial has a seed of its own, so that neither a search
            that goes on nor a second driver proposes what was proposed before.
    """
    seed = config.search.seed + n_trials_before
    if config.search.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=8)
    return optuna.samplers.RandomSampler(seed=seed)


def candidates(config: StudyConfig, n_trials: int) -> tuple[Hyperparameters, ...]:
    """The choices that are fixed before any score. The first is the baseline.

    Args:
        config: The study.
        n_trials: How many trials the study shall have.

    Returns:
        For "tpe" the baseline alone, and for "random" too unless the protocol is strict: then `n_trials` different draws;
        for "quasi-random" `n_trials` points of a scrambled Sobol sequence; for "grid" the whole grid and for "sweep" the
        paper's one-at-a-time variation, however many they are.
    """
    proposals: dict[SamplerName, Callable[[], list[Hyperparameters]]] = {
        "random": lambda: _random(config, n_trials) if config.protocol == "strict" else [],
        "quasi-random": lambda: _sobol(config, n_trials),
        "grid": lambda: _grid(config),
        "sweep": lambda: [choice for _, choice in sweep_points(config)],
    }
    further = proposals[config.search.sampler]() if config.search.sampler in proposals else []
    return tuple(dict.fromkeys([config.baseline, *further]))


def n_possible(config: StudyConfig, n_trials: int) -> int:
    """How many trials there will be where `n_trials` are asked for: a list that is fixed may hold fewer."""
    if config.protocol == "adaptive" and config.search.sampler in ("tpe", "random"):
        return n_trials
    return min(n_trials, len(candidates(config, n_trials)))


def _rates(config: StudyConfig) -> tuple[float, ...]:
    if isinstance(config.space.learning_rate, Range):
        raise StudyError(
            "grid and sweep need a list of learning rates, not a range: write learning_rate = [1e-5, 1e-4, …]"
        )
    return config.space.learning_rate


def _grid(config: StudyConfig) -> list[Hyperparameters]:
    space = config.space
    return [
        Hyperparameters(layers=layers, learning_rate=rate, kernel=kernel, batch=batch)
        for layers, rate, kernel, batch in itertools.product(space.layers, _rates(config), space.kernel, space.batch)
    ]


def sweep_points(config: StudyConfig) -> list[SweepPoint]:
    """Each parameter alone through its values, the others at the baseline (§3.2 and Fig 3 of the paper).

    Raises:
        StudyError: Learning rates are a range, not a list.
    """
    values: dict[Parameter, Sequence[Value]] = {
        "layers": config.space.layers,
        "learning_rate": _rates(config),
        "batch": config.space.batch,
        "kernel": config.space.kernel,
    }
    start = dataclasses.asdict(config.baseline)
    return [
        SweepPoint(name, Hyperparameters(**{**start, name: value})) for name, list_ in values.items() for value in list_
    ]


def _random(config: StudyConfig, n: int) -> list[Hyperparameters]:
    """The first n different draws; fewer, where `N_DRAWS` for each find no more."""
    sampler = optuna.samplers.RandomSampler(seed=config.search.seed)
    study = optuna.create_study(sampler=sampler)
    found: dict[Hyperparameters, None] = {}
    for _ in range(N_DRAWS * n):
        if len(found) == n:
            break
        found[suggest(study.ask(), config.space)] = None
    return list(found)


def _sobol(config: StudyConfig, n: int) -> list[Hyperparameters]:
    """The first n different points of the sequence (fewer, where the space holds fewer)."""
    space, rate = config.space, config.space.learning_rate
    points = qmc.Sobol(d=4, rng=config.search.seed).random_base2(max(n - 1, 1).bit_length() + 3)

    def pick(values: Sequence[Value], u: float) -> Value:
        return values[min(int(u * len(values)), len(values) - 1)]

    found = {
        Hyperparameters(
            layers=int(pick(space.layers, a)),
            learning_rate=(
                float(rate.low * (rate.high / rate.low) ** b) if isinstance(rate, Range) else float(pick(rate, b))
            ),
            kernel=int(pick(space.kernel, c)),
            batch=int(pick(space.batch, d)),
        ): None
        for a, b, c, d in points.tolist()
    }
    return list(found)[:n]


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
