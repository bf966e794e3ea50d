"""From which load state on a network sees damage, and where it sees what cannot be there (Fig 5b, 6b).

All is computed from one table, a row for each fold and load state, with the columns `test`, `validation`, `state`, `strain`
(fraction, NaN where unknown), `accuracy_pristine`, `accuracy_loaded` (slices of the state that are called failed) and
`accuracy`, the mean of both. Means are over the folds of a test set first and then over sets, which are the unit of
independence. The lowest state is the pristine one, which every specimen of a slice store has; of the others a test set may
lack some. At the pristine state the loaded slices *are* the pristine ones, so that the accuracy is 1/2 whatever the network
says.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from natsort import natsorted

from bonehpo.analysis.intervals import mean_interval
from bonehpo.errors import StudyError
from bonehpo.task import DAMAGE

Values = npt.NDArray[np.float64]

THRESHOLD = 0.75
"""Half-way between chance and perfect."""

N_RESAMPLES = 2_000

HIGH, NEAR_PERFECT = 0.6, 0.95
"""Mean accuracies from which on a state is worth a word before there is damage, and a loud one."""


class Curve(NamedTuple):
    """Accuracy over the loaded states that were looked at, in their order, each (state,)."""

    states: Values
    strains: Values
    accuracies: Values


class Limit(NamedTuple):
    """Crossing of a curve with the threshold, on both axes; infinite where even failure is below it.

    The strain is NaN where it is not known.
    """

    state: float
    strain: float


class Anomaly(NamedTuple):
    """A load state that the network tells from pristine bone although nothing is broken yet.

    Attributes:
        state: Its number.
        strain: Mean over sets, a fraction; NaN where unknown.
        accuracy: Mean over sets.
        lower: Lower end of its 95 % interval.
        near_perfect: Whether the accuracy is at least `NEAR_PERFECT`.
    """

    state: int
    strain: float
    accuracy: float
    lower: float
    near_perfect: bool


def accuracies_by_state(p_failed: Mapping[int, npt.NDArray[np.floating]]) -> pd.DataFrame:
    """Accuracies of one network on one test set at each load state, all slices of that state labelled failed.

    Args:
        p_failed: For each load state, the pristine one among them, the softmax output for *failed* of its slices, (slice,).
            A slice is called failed above 1/2.

    Returns:
        Columns `state`, `accuracy_pristine` (the same in each row), `accuracy_loaded`, `accuracy`, `n_slices`.

    Raises:
        StudyError: There is no state, or slices of some state are missing.
    """
    empty = [state for state in sorted(p_failed) if not len(p_failed[state])]
    if empty or not p_failed:
        missing = f"state {empty[0]}" if empty else "any state"
        raise StudyError(f"no predictions for {missing}: detection limits need slices of the pristine and each state")
    accuracy_pristine = float((p_failed[min(p_failed)] <= 0.5).mean())
    rows = []
    for state in sorted(p_failed):
        loaded = float((p_failed[state] > 0.5).mean())
        rows.append((state, accuracy_pristine, loaded, (accuracy_pristine + loaded) / 2, len(p_failed[state])))
    return pd.DataFrame(rows, columns=["state", "accuracy_pristine", "accuracy_loaded", "accuracy", "n_slices"])


def mean_by_state(table: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracies at each state.

    Returns:
        Columns `state`, `strain` (mean over the sets that have it), `accuracy`, `lower` and `upper` (Student's 95 % interval
        over sets, cut at 0 and 1; NaN for one set), `accuracy_loaded`, `accuracy_pristine`, `n_sets`; in order of state.

    Raises:
        StudyError: No state has an accuracy.
    """
    rows = []
    for state, sets in _by_set(table).groupby("state", sort=True):
        accuracies = sets["accuracy"].to_numpy(np.float64)
        lower, upper = np.clip(mean_interval(accuracies), 0, 1)
        rows.append(
            {
                "state": state,
                "strain": sets["strain"].mean(),
                "accuracy": accuracies.mean(),
                "lower": lower,
                "upper": upper,
                "accuracy_loaded": sets["accuracy_loaded"].mean(),
                "accuracy_pristine": sets["accuracy_pristine"].mean(),
                "n_sets": len(sets),
            }
        )
    return pd.DataFrame(rows)


def detection_limits(table: pd.DataFrame, threshold: float = THRESHOLD, seed: int = 0) -> pd.DataFrame:
    """State and strain from which on the accuracy stays at the threshold or above.

    Coming from failure downwards, the limit is where the curve first falls below the threshold, on the straight line
    between the two states; what it does further below says nothing of damage (see `anomalies`). A curve that is below even
    at failure has no limit: infinity. One that never falls below has the first loaded state.

    The interval of the mean curve is the 95 % percentile bootstrap over test sets (`N_RESAMPLES` resamples). A resample
    without limit counts as infinity, the worst, and one that is above everywhere as the first loaded state. With few sets
    it is too narrow: of 150 simulated studies with five sets it covered the truth in 89 %. With one set there is none.

    Returns:
        Columns `of` ("all" or a test set), `axis` ("state" or "strain"), `limit`, `lower`, `upper` (NaN for single sets),
        `threshold`. There is no row for the strain where no strain is known.

    Raises:
        StudyError: No loaded state has an accuracy.
    """
    by_set = _loaded(_by_set(table))
    names = natsorted(by_set["test"].unique())
    grids = [by_set.pivot(index="test", columns="state", values=name).loc[names] for name in ("strain", "accuracy")]
    strains, accuracies = (grid.to_numpy(np.float64) for grid in grids)
    n = len(names)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES)
    weights = np.vstack([np.ones((1, n)), np.eye(n), draws])  # all sets, each alone, and the resamples
    curves = zip(_weighted_means(strains, weights), _weighted_means(accuracies, weights), strict=True)
    states = grids[0].columns.to_numpy(np.float64)
    limits = np.array([curve_limit(_known(Curve(states, *curve)), threshold) for curve in curves])
    lowers = np.quantile(limits[n + 1 :], 0.025, axis=0, method="lower")
    uppers = np.quantile(limits[n + 1 :], 0.975, axis=0, method="higher")
    if n == 1:
        lowers = uppers = np.full(2, np.nan)
    has_strain = [not np.isnan(strains).all(), *~np.isnan(strains).all(axis=1)]
    rows = [
        (of, axis, limits[i, j], *((lowers[j], uppers[j]) if i == 0 else (math.nan, math.nan)), threshold)
        for i, of in enumerate(["all", *names])
        for j, axis in enumerate(Limit._fields)
        if axis == "state" or has_strain[i]
    ]
    return pd.DataFrame(rows, columns=["of", "axis", "limit", "lower", "upper", "threshold"])


def curve_limit(curve: Curve, threshold: float = THRESHOLD) -> Limit:
    """First crossing of one curve with the threshold, coming from failure downwards; see `detection_limits`."""
    below = np.flatnonzero(curve.accuracies < threshold)
    if not below.size:
        return Limit(float(curve.states[0]), float(curve.strains[0]))
    last = int(below[-1])
    if last == len(curve.states) - 1:
        return Limit(math.inf, math.inf)
    low, high = curve.accuracies[last], curve.accuracies[last + 1]
    way = float((threshold - low) / (high - low))
    at = [float(axis[last] * (1 - way) + axis[last + 1] * way) for axis in (curve.states, curve.strains)]
    return Limit(*at)


def mean_curve(mean: pd.DataFrame) -> Curve:
    """The loaded states of a table of `mean_by_state`."""
    rows = _loaded(mean).sort_values("state")
    return Curve(*(rows[name].to_numpy(np.float64) for name in ("state", "strain", "accuracy")))


def anomalies(mean: pd.DataFrame, visible_from: float | None = None) -> tuple[Anomaly, ...]:
    """Loaded states before visible damage that are told from pristine bone: the paper's states 3 and 4 of trabecular bone.

    A state counts when its mean accuracy is at least `HIGH` and the lower end of its interval is above chance; with one
    test set there is no interval, and so no anomaly.

    Args:
        mean: From `mean_by_state`.
        visible_from: First state with visible damage, from the truth of a phantom or from who looked at the scans. None
            takes the foot of the rise to the detection limit of the mean curve or, where there is none, to the last state:
            states from which the accuracy rises to the limit without a break may show damage as it begins. A network that
            calls every loaded state failed has its limit at the first of them, so that without `visible_from` nothing is
            left to find: only a look at the scans, or the ablation, tells.

    Raises:
        StudyError: There is no loaded state.
    """
    curve = mean_curve(mean)
    if visible_from is None:
        visible_from = _foot_of_rise(curve)
    before = _loaded(mean)
    before = before[(before["state"] < visible_from) & (before["accuracy"] >= HIGH) & (before["lower"] > DAMAGE.chance)]
    return tuple(
        Anomaly(int(state), float(strain), float(accuracy), float(lower), bool(accuracy >= NEAR_PERFECT))
        for state, strain, accuracy, lower in before.sort_values("state")[
            ["state", "strain", "accuracy", "lower"]
        ].to_numpy()
    )


def _foot_of_rise(curve: Curve) -> float:
    """The state at which the last rise of a curve to its limit begins; see `anomalies`."""
    limit = min(curve_limit(curve).state, float(curve.states[-1]))
    foot = int(np.searchsorted(curve.states, limit))
    while foot > 0 and curve.accuracies[foot - 1] < curve.accuracies[foot]:
        foot -= 1
    return float(curve.states[foot])


def anomaly_warning(found: Sequence[Anomaly], visible_from: float | None = None) -> str:
    """One sentence on anomalies that begins with "Caution"; empty where there are none.

    Args:
        found: From `anomalies`.
        visible_from: As it was given there.
    """
    if not found:
        return ""
    kinds = (
        ("near perfect", [a.state for a in found if a.near_perfect]),
        ("high", [a.state for a in found if not a.near_perfect]),
    )
    where = " and ".join(f"{kind} at {_states(states)}" for kind, states in kinds if states)
    when = "below the detection limit" if visible_from is None else f"before damage is visible (state {visible_from:g})"
    return (
        f"Caution: accuracy is {where}, {when}: high accuracy before damage shows that the network uses something else than "
        "damage, such as an artefact of the scans, or deformation that has broken nothing yet."
    )


def _states(states: Sequence[int]) -> str:
    if len(states) == 1:
        return f"state {states[0]}"
    return f"states {', '.join(map(str, states[:-1]))} and {states[-1]}"


def _by_set(table: pd.DataFrame) -> pd.DataFrame:
    """Means over the folds of each test set; folds without a score are left out."""
    values = ["strain", "accuracy_pristine", "accuracy_loaded", "accuracy"]
    scored = table[table["accuracy"].notna()]
    if not len(scored):
        raise StudyError("no fold has an accuracy at any load state: look at why its fits failed, and run them again")
    return scored.groupby(["test", "state"], sort=True)[values].mean().reset_index()


def _loaded(table: pd.DataFrame) -> pd.DataFrame:
    rows: pd.DataFrame = table[table["state"] > table["state"].min()]
    if not len(rows):
        raise StudyError(
            "no loaded state has an accuracy: detection limits need scans of the states after the pristine one"
        )
    return rows


def _weighted_means(values: Values, weights: Values) -> Values:
    """Means over sets of what is known, (set, state) and (mean, set) to (mean, state); NaN where nothing is."""
    known = ~np.isnan(values)
    counts = weights @ known
    sums = weights @ np.where(known, values, 0)
    means: Values = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return means.round(12)  # the threshold itself is not missed by rounding


def _known(curve: Curve) -> Curve:
    """A curve without the states that none of its sets has."""
    kept = ~np.isnan(curve.accuracies)
    return Curve(*(values[kept] for values in curve))
