"""The paper's way to an optimum: the best value of each parameter alone, then checked together (§3.2, Fig 3).

Best single values need not combine well. For cortical bone three layers were best alone, "performed relatively poorly with
the other optimized parameters", and were given up for four, which alone were worse by less than one standard deviation. The
combination with four scored 0.983 and was taken, although a swept point had 0.988 with a standard deviation of 0.017. From
this the rule, written out so that it can be run:

1. Fit the combination of the best value of each parameter. It is good enough when its mean is at least that of the best
   swept point less the standard deviation of that point.
2. If it is not, put in the second-best value of one parameter at a time, the one that loses least alone first; only values
   that alone lose no more than the standard deviation of the best. Take the first combination that is good enough.
3. If none is, take the best of everything that was fitted, swept points included.

A combination may be a swept point, as the paper's first one for cortical bone was (the baseline with batches of 10, the
very point of 0.988). It is asked for all the same: fitted with fresh seeds, it checks a score that was also what was
maximised, and from then on the new score stands for it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bonehpo.errors import StudyError
from bonehpo.hyperparameters import IN_TURN, Hyperparameters, Value, hyperparameter, replace_values

PARAMETERS = tuple(entry.name for entry in IN_TURN)
"""The panels of Fig 3, and hyperparameters that the paper did not vary."""


class Score(NamedTuple):
    """Mean accuracy over folds and its standard deviation; a mean of NaN says that no score could be had."""

    mean: float
    sd: float


class SweptPoint(NamedTuple):
    """One value of one parameter, the others at the baseline, with its mean accuracy over folds and standard deviation.

    The mean is NaN where the network could not be built or its training failed: such a point is ignored.
    """

    parameter: str
    value: Value
    mean: float
    sd: float


@dataclass(frozen=True, kw_only=True)
class Combination:
    """Values to be fitted together.

    Attributes:
        role: Where they come from, in words.
        hyperparameters: The values.
    """

    role: str
    hyperparameters: Hyperparameters


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The optimum of a sweep.

    Attributes:
        role: As of the combination that it is, or "best swept point".
        hyperparameters: Its values.
        mean: Mean accuracy over the folds.
        sd: Standard deviation over the folds.
        rule: What decided, as a sentence.
    """

    role: str
    hyperparameters: Hyperparameters
    mean: float
    sd: float
    rule: str


def combinations(points: Sequence[SweptPoint], baseline: Hyperparameters) -> tuple[Combination, ...]:
    """All combinations that the rule may ask for, in its order: one, and at most one more for each parameter.

    Of equal values the baseline is better, then the smaller one. A parameter without any score stays at the baseline.

    Args:
        points: The sweep, in any order. The baseline stands in the series of each parameter.
        baseline: Where the parameters stand that are not varied.

    Raises:
        StudyError: No point has a mean.
    """
    _best_point(points, baseline)
    ranked = {name: _ranked(points, name, baseline) for name in PARAMETERS}
    best = _put(baseline, *(series[0] for series in ranked.values() if series))
    seconds = [
        (series[0].mean - series[1].mean, PARAMETERS.index(name), series[1])
        for name, series in ranked.items()
        if len(series) > 1 and series[0].mean - series[1].mean <= _spread(series[0].sd)
    ]
    return (
        Combination(role="best value of each parameter", hyperparameters=best),
        *(
            Combination(
                role=f"second-best {hyperparameter(point.parameter).label}, the others best",
                hyperparameters=_put(best, point),
            )
            for _, _, point in sorted(seconds)
        ),
    )


def next_step(
    points: Sequence[SweptPoint], baseline: Hyperparameters, fitted: Mapping[Hyperparameters, Score]
) -> Combination | Choice:
    """Configurations to fit next, or the optimum once nothing more is needed.

    Args:
        points: The sweep, complete, in any order.
        baseline: Where the parameters stand that are not varied.
        fitted: Scores of the combinations that were asked for so far. A failed one has a mean of NaN.

    Raises:
        StudyError: No point has a mean.
    """
    bar = _best_point(points, baseline)
    floor = bar.mean - _spread(bar.sd)
    planned = combinations(points, baseline)
    for combination in planned:
        score = fitted.get(combination.hyperparameters)
        if score is None:
            return combination
        if score.mean >= floor:
            return _accepted(combination, score, bar)
    return _best_of_all(points, baseline, fitted, planned)


def _accepted(combination: Combination, score: Score, bar: SweptPoint) -> Choice:
    entry = hyperparameter(bar.parameter)
    against = f"the best swept point ({entry.label} {entry.text(bar.value)}: {bar.mean:.3f} ± {_spread(bar.sd):.3f})"
    how = "is no worse than" if score.mean >= bar.mean else "is within one standard deviation of"
    return Choice(
        role=combination.role,
        hyperparameters=combination.hyperparameters,
        mean=score.mean,
        sd=score.sd,
        rule=f"The combination ({combination.role}) scores {score.mean:.3f}, which {how} {against}.",
    )


def _best_of_all(
    points: Sequence[SweptPoint],
    baseline: Hyperparameters,
    fitted: Mapping[Hyperparameters, Score],
    planned: Sequence[Combination],
) -> Choice:
    """The highest mean of swept points and combinations; a combination's own score stands for a point that it repeats."""
    found = {_put(baseline, p): ("best swept point", Score(p.mean, p.sd)) for p in _by_merit(points, baseline)}
    found |= {c.hyperparameters: (c.role, fitted[c.hyperparameters]) for c in planned}
    scored = [(values, role, score) for values, (role, score) in found.items() if math.isfinite(score.mean)]
    if not scored:
        raise StudyError("no point of the sweep kept its score: look at why the combinations failed, and run it again")
    values, role, score = max(scored, key=lambda one: one[2].mean)
    return Choice(
        role=role,
        hyperparameters=values,
        mean=score.mean,
        sd=score.sd,
        rule=(
            f"None of {len(planned)} combinations came within one standard deviation of the best swept point: the best of "
            f"everything fitted is taken ({role}, {score.mean:.3f})."
        ),
    )


def _best_point(points: Sequence[SweptPoint], baseline: Hyperparameters) -> SweptPoint:
    ranked = _by_merit(points, baseline)
    if not ranked:
        raise StudyError(
            "no point of the sweep has a mean accuracy: look at the reasons in its table, and run it again"
        )
    return ranked[0]


def _ranked(points: Sequence[SweptPoint], name: str, baseline: Hyperparameters) -> list[SweptPoint]:
    return _by_merit([point for point in points if point.parameter == name], baseline)


def _by_merit(points: Sequence[SweptPoint], baseline: Hyperparameters) -> list[SweptPoint]:
    """Points with a score, the best first; of equals the baseline, then the earlier panel of Fig 3, then the less."""
    return sorted(
        (point for point in points if math.isfinite(point.mean)),
        key=lambda p: (
            -round(p.mean, 9),
            p.value != getattr(baseline, p.parameter),
            PARAMETERS.index(p.parameter),
            hyperparameter(p.parameter).number(p.value),
        ),
    )


def _put(values: Hyperparameters, *points: SweptPoint) -> Hyperparameters:
    return replace_values(values, {point.parameter: point.value for point in points})


def _spread(sd: float) -> float:
    """A standard deviation; none where it is unknown, as over one fold."""
    return sd if math.isfinite(sd) else 0.0
