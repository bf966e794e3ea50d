"""The search space: what may be chosen, who proposes it, and lists of candidates that are fixed beforehand.

An adaptive search may look at scores of a specimen when it chooses what to try next, and then at the same specimen's scores
again when it estimates. A list that was fixed before cannot.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

import optuna
from optuna.trial import FrozenTrial

from bonehpo.config import SamplerName, StudyConfig
from bonehpo.errors import StudyError
from bonehpo.hyperparameters import (
    IN_TURN,
    Hyperparameter,
    Hyperparameters,
    Range,
    Space,
    Value,
    from_params,
    replace_values,
    searched,
)
from bonehpo.learning.architecture import check_architecture
from bonehpo.schema import SCHEMA_1, stable
from bonehpo.search.plan import SearchPlan
from bonehpo.search.storage import attributes, remember

N_DRAWS = 20
"""Random draws for each candidate, after which a small space is taken to hold no more."""


class SweepPoint(NamedTuple):
    """One point of the one-at-a-time variation: which parameter is varied, and the choice that results."""

    parameter: str
    choice: Hyperparameters


def check_space(config: StudyConfig, side: int) -> None:
    """Refuse a space of which some network cannot be built, before anything is trained.

    Args:
        config: The study.
        side: Side of the slices in pixels.

    Raises:
        NetworkError: An architecture of the space, or the baseline, pools the image to nothing.
    """
    for entry in searched(config.space):
        if entry.changes == "network":
            values = config.space.of(entry.name)
            largest = values.high if isinstance(values, Range) else max(values, key=entry.number)
            check_architecture(from_params({"layers": 1, entry.name: largest}), side)
    check_architecture(config.baseline, side)


def suggest(trial: optuna.Trial, space: Space) -> Hyperparameters:
    """Ask the sampler for one choice. A trial that is taken up again answers what it answered before."""
    return from_params({entry.name: _suggest(trial, entry, space.of(entry.name)) for entry in searched(space)})


def _suggest(trial: optuna.Trial, entry: Hyperparameter, values: Sequence[Value] | Range) -> Value:
    """An evenly spaced list of integers keeps its order for the sampler; any other list is a category."""
    if isinstance(values, Range):
        return trial.suggest_float(entry.name, values.low, values.high, log=entry.logarithmic)
    whole = [value for value in values if isinstance(value, int)]
    steps = {b - a for a, b in itertools.pairwise(whole)}
    if len(whole) == len(values) and len(steps) == 1 and min(steps) > 0:
        return trial.suggest_int(entry.name, whole[0], whole[-1], step=steps.pop())
    return entry.cast(trial.suggest_categorical(entry.name, list(values)))


def space_in_words(space: Space) -> dict[str, str]:
    """The values of each hyperparameter that is searched, as text by name."""
    words = {}
    for entry in searched(space):
        values = space.of(entry.name)
        is_range = isinstance(values, Range)
        texts = [entry.text(v) for v in ((values.low, values.high) if isinstance(values, Range) else values)]
        words[entry.name] = (" to " if is_range else ", ").join(texts)
    return words


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
        "grid": lambda: grid(config.space),
        "sweep": lambda: [choice for _, choice in sweep_points(config)],
    }
    further = proposals[config.search.sampler]() if config.search.sampler in proposals else []
    return tuple(dict.fromkeys([config.baseline, *further]))


def n_possible(config: StudyConfig, n_trials: int) -> int:
    """Number of trials that there will be where `n_trials` are asked for: a list that is fixed may hold fewer."""
    if config.protocol == "adaptive" and config.search.sampler in ("tpe", "random"):
        return n_trials
    return min(n_trials, len(candidates(config, n_trials)))


def _listed(space: Space, entry: Hyperparameter) -> tuple[Value, ...]:
    values = space.of(entry.name)
    if isinstance(values, Range):
        raise StudyError(
            f"grid and sweep need a list of values, not a range: write {entry.name} = "
            f"[{', '.join(f'{value:g}' for value in entry.examples)}]"
        )
    return values


def grid(space: Space) -> list[Hyperparameters]:
    """Every choice that a space holds.

    Raises:
        StudyError: Some hyperparameter has a range, not a list.
    """
    lists = {entry.name: _listed(space, entry) for entry in searched(space)}
    return [from_params(dict(zip(lists, values, strict=True))) for values in itertools.product(*lists.values())]


def networks(space: Space) -> list[Hyperparameters]:
    """One choice for each network that a space holds, of ranges their ends."""
    ends = {e: v for e in searched(space) if e.changes == "network" for v in [space.of(e.name)]}
    lists = [(values.low, values.high) if isinstance(values, Range) else values for values in ends.values()]
    names = [entry.name for entry in ends]
    return [from_params(dict(zip(names, values, strict=True))) for values in itertools.product(*lists)]


def sweep_points(config: StudyConfig) -> list[SweepPoint]:
    """Each parameter alone through its values, the others at the baseline (§3.2 and Fig 3 of the paper).

    Raises:
        StudyError: Some hyperparameter has a range, not a list.
    """
    swept = [entry for entry in IN_TURN if entry in searched(config.space)]
    return [
        SweepPoint(entry.name, replace_values(config.baseline, {entry.name: value}))
        for entry in swept
        for value in _listed(config.space, entry)
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
    from scipy.stats import qmc

    space, entries = config.space, searched(config.space)
    sobol = qmc.Sobol(d=len(entries), rng=config.search.seed).random_base2(max(n - 1, 1).bit_length() + 3)
    found = [
        from_params({e.name: _pick(e, space.of(e.name), u) for e, u in zip(entries, point, strict=True)})
        for point in sobol.tolist()
    ]
    return list(dict.fromkeys(found))[:n]


def _pick(entry: Hyperparameter, values: Sequence[Value] | Range, u: float) -> Value:
    """The value at a share `u` of the way through all there are."""
    if isinstance(values, Range):
        return values.at(u, logarithmic=entry.logarithmic)
    return values[min(int(u * len(values)), len(values) - 1)]


CANDIDATES = "candidates"
"""Attribute in which Optuna's storage keeps the list of a strict study."""


class FixedList(NamedTuple):
    """All candidates of a strict study, in the order in which they are tried, and the SHA-256 of the list."""

    choices: tuple[Hyperparameters, ...]
    sha256: str


def read_fixed_list(study: optuna.Study) -> FixedList | None:
    """The list of a strict study; None of an adaptive one, and of one that was begun before lists were written down.

    Raises:
        StudyError: The list is not the one that was hashed.
    """
    text = attributes(study).get(CANDIDATES)
    if not text:
        return None
    data = json.loads(text)
    choices = tuple(from_params(choice) for choice in data["choices"])
    if _sha256(choices) != data["sha256"]:
        raise StudyError(
            f"the candidates of study {study.study_name} are not those that were fixed before its first score: "
            "restore its storage, or search in a study folder of another name"
        )
    return FixedList(choices, data["sha256"])


def _sha256(choices: Sequence[Hyperparameters]) -> str:
    listed = json.dumps(stable(choices), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(listed.encode()).hexdigest()


def settle_candidates(study: optuna.Study, plan: SearchPlan, n_trials: int) -> int:
    """Put the candidates that are fixed beforehand in line, once each. Several drivers that do so at once need a lock.

    Args:
        study: In its storage.
        plan: Of the study.
        n_trials: Trials that are asked for.

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
        _enqueue(study, plan, trials, candidates(plan.config, n_trials))
        return n_trials
    if fixed is None and trials:
        explicit = plan.config.search.protocol == "strict"
        _refuse_if(explicit, study, "it was begun without a fixed list, and protocol strict fixes it before any score")
        _enqueue(study, plan, trials, candidates(plan.config, n_trials))
        return n_trials
    if fixed is None:
        choices = candidates(plan.config, n_trials)[:n_trials]
        fixed = FixedList(choices, _sha256(choices))
        remember(study, CANDIDATES, json.dumps({"sha256": fixed.sha256, "choices": stable(choices)}))
    if n_trials != len(fixed.choices):
        raise StudyError(
            f"study {study.study_name} fixed {len(fixed.choices)} candidates before its first score, now --trials is "
            f"{n_trials}: give --trials {len(fixed.choices)}, or search in a study folder of another name"
        )
    stray = [trial.number for trial in trials if enqueued(trial) not in fixed.choices]
    _refuse_if(bool(stray), study, f"its trials {stray} are not among the candidates that were fixed")
    _enqueue(study, plan, trials, fixed.choices)
    return n_trials


def is_done(study: optuna.Study, plan: SearchPlan) -> bool:
    """True if an optimum may be chosen: in the strict protocol when every candidate has ended."""
    fixed = read_fixed_list(study) if plan.config.protocol == "strict" else None
    ended = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
    return fixed is None or ended >= len(fixed.choices)


def _enqueue(
    study: optuna.Study, plan: SearchPlan, trials: Sequence[FrozenTrial], choices: Sequence[Hyperparameters]
) -> None:
    known, names = {enqueued(trial) for trial in trials}, [entry.name for entry in searched(plan.config.space)]
    for choice in choices:
        if choice not in known:
            study.enqueue_trial({name: getattr(choice, name) for name in names})


def enqueued(trial: FrozenTrial) -> Hyperparameters | None:
    """The choice that a trial was put in line with; None of one that a sampler proposed."""
    params = trial.system_attrs.get("fixed_params")
    return from_params(params) if params and all(name in params for name in SCHEMA_1["Hyperparameters"]) else None


def _refuse_if(refused: bool, study: optuna.Study, why: str) -> None:
    if refused:
        raise StudyError(f"study {study.study_name}: {why}: search in a study folder of another name")
