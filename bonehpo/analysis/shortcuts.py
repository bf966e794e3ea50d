"""Shortcuts: how far models come that hardly see a crack, on the folds of a network, and what that says of the network.

Logistic regression on a handful of numbers for each slice (`leakage.features`) is trained and tested on the folds of the
network. That it does well does not prove a shortcut: damage changes intensity levels too. Two questions decide. Does it come
*near the network*? And, where it is known which load states are not damaged yet: does it tell those from pristine bone? What
it sees there cannot be damage; and what sees nothing there came with the damage. A difference of the failed scans alone
never shows there: models that damage hardly concerns have a ceiling, and what reaches it tells scans apart and not damage.

Nothing is flagged on a mean alone. Test sets are the unit, as everywhere, and the interval of the model's accuracy over them
has to lie above chance; where the mean is over a limit and the interval is not, sets are too few or too unlike to tell: a
caution.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from bonehpo.analysis.comparison import compare_by_set
from bonehpo.analysis.detection import accuracies_by_state, anomalies, mean_by_state
from bonehpo.analysis.intervals import mean_interval
from bonehpo.domain import Group
from bonehpo.folds import Sets, holdout_pairs
from bonehpo.task import DAMAGE

Values = npt.NDArray[np.float64]

NETWORK = "network"
"""The name under which the network stands among the models."""

NEAR = 0.75
"""Share of the network's margin over chance from which on a trivial model is near it. Measured: 1.2 to 1.4 on porcine slices
whose contrast gives the class away, and 0.9 to 1.1 (if the network had 0.95) on unprepared phantoms with a shortcut; on
clean trabecular phantoms 0.3 to 0.56. On clean cortical ones noise inside bone has 0.9, as cracks change the histogram that
is matched: no share tells these apart, but undamaged load states do, see `judge`."""

ENOUGH = 0.5
"""Share of slices of each group that must have pixels for a model to be asked."""

SEES_CRACKS = ("intensity levels", "random filters")
"""Models that look at all pixels, those of cracks among them."""

DOES_NOT_SHOW = "the network's accuracy does not show that it sees damage"


class GroupState(NamedTuple):
    """Slices of one group in one load state."""

    group: Group
    state: int


def state_accuracies(features: Mapping[GroupState, Values], sets: Sets) -> pd.DataFrame:
    """Train a model on the first and the last state of the training sets of each fold, and ask it about all states.

    Both folds of a holdout pair come from one model, as with networks. Numbers are standardised by the training slices; what
    is missing in a slice counts as their mean.

    Args:
        features: For each group and state the numbers of its slices (slice, feature).
        sets: How groups are assigned.

    Returns:
        Columns `test`, `validation`, `state`, `strain` (NaN), `accuracy_pristine`, `accuracy_loaded`, `accuracy`,
        `n_slices`.
    """
    tables = []
    for pair in holdout_pairs(list(sets)):
        model = _fit(features, [group for name in sets if name not in pair for group in sets[name]])
        for test, validation in (pair, tuple(reversed(pair))):
            mine = {key: values for key, values in features.items() if key.group in sets[test]}
            answers = {
                state: model.p_failed(np.concatenate([v for k, v in mine.items() if k.state == state]))
                for state in sorted({key.state for key in mine})
            }
            found = accuracies_by_state(answers)
            tables.append(found.assign(test=test, validation=validation, strain=np.nan))
    columns = ["test", "validation", "state", "strain", "accuracy_pristine", "accuracy_loaded", "accuracy", "n_slices"]
    return pd.concat(tables, ignore_index=True)[columns]


class _Model(NamedTuple):
    """A fitted logistic regression: the means and deviations of its numbers (feature,), weights (feature,), and offset."""

    means: Values
    deviations: Values
    weights: Values
    offset: float

    def p_failed(self, values: Values) -> npt.NDArray[np.float32]:
        logits = _standardised(values, self.means, self.deviations) @ self.weights + self.offset
        return (1 / (1 + np.exp(-np.clip(logits, -500, 500)))).astype(np.float32)


def _fit(features: Mapping[GroupState, Values], train: Sequence[Group]) -> _Model:
    from sklearn.linear_model import LogisticRegression

    states = sorted({key.state for key in features})
    ends = [(features[GroupState(group, state)], state) for group in train for state in (states[0], states[-1])]
    values = np.concatenate([rows for rows, _ in ends])
    truth = np.concatenate([np.full(len(rows), state == states[-1]) for rows, state in ends])
    known = np.isfinite(values)
    n_known = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, values, 0).sum(axis=0) / n_known
    deviations = np.sqrt(np.where(known, (values - means) ** 2, 0).sum(axis=0) / n_known)
    deviations[deviations < 1e-9] = 1
    fitted = LogisticRegression(max_iter=5000).fit(_standardised(values, means, deviations), truth)
    return _Model(means, deviations, np.asarray(fitted.coef_[0]), float(fitted.intercept_[0]))


def _standardised(values: Values, means: Values, deviations: Values) -> Values:
    return np.asarray(np.nan_to_num((values - means) / deviations))


def too_few(features: Mapping[GroupState, Values]) -> str:
    """Reason why a model cannot be asked: a group of which half of the slices have no numbers; empty where it can."""
    for key, values in features.items():
        share = float(np.isfinite(values).all(axis=1).mean())
        if share < ENOUGH:
            group = key.group
            return (
                f"only {share:.0%} of the slices of {group.specimen} state {key.state} {group.plane} have such pixels"
            )
    return ""


class Verdict(NamedTuple):
    """A row of the table of models. For the network itself only the first five are known.

    Attributes:
        model: A key of `leakage.features.KINDS`, or `NETWORK`.
        mean: Mean accuracy over the folds, pristine against failed.
        sd: Standard deviation of the same.
        n_folds: How many.
        reason: Why the model could not be asked, or empty.
        share: (mean - chance) / (the network's - chance); NaN where the network is not above chance.
        difference: Mean over test sets of the model's accuracy minus the network's.
        lower: Lower end of its 95 % interval over test sets.
        upper: Upper end.
        p: Of the sign-flip test over test sets.
        smallest_p: The smallest that could have come out.
        before: Highest mean accuracy at any loaded state before damage; NaN where no such state is known.
        ceiling: Mean that damage alone does not reach; NaN of models that see it.
        surely: Lower end of the 95 % interval of the model's own mean over test sets.
        near: Whether `share` is at least `NEAR`, of models that see damage.
        sees_before: Whether a loaded state before damage is told from pristine bone, see `detection.anomalies`.
        flagged: Whether the network's accuracy does not show that it sees damage.
        unsure: Whether it would be flagged if `surely` were above chance, or if not all loaded states were damaged.
    """

    model: str
    mean: float
    sd: float
    n_folds: int
    reason: str = ""
    share: float = float("nan")
    difference: float = float("nan")
    lower: float = float("nan")
    upper: float = float("nan")
    p: float = float("nan")
    smallest_p: float = float("nan")
    before: float = float("nan")
    ceiling: float = float("nan")
    surely: float = float("nan")
    near: bool = False
    sees_before: bool = False
    flagged: bool = False
    unsure: bool = False


def network_verdict(folds: pd.DataFrame) -> Verdict:
    """The network among the models; folds have the columns `test`, `validation`, `accuracy`."""
    return Verdict(NETWORK, float(folds["accuracy"].mean()), float(folds["accuracy"].std(ddof=1)), len(folds))


def judge(
    model: str,
    states: pd.DataFrame,
    network: pd.DataFrame,
    visible_from: int | None,
    network_states: pd.DataFrame | None = None,
    *,
    ceiling: float | None = None,
) -> Verdict:
    """Judge whether a trivial model makes the network's accuracy worthless as evidence of damage.

    A model is flagged that tells pristine bone from loaded bone before there is damage, unless it is known that the network
    does not. One that comes near the network is flagged too where nobody knows which states are damaged; where all loaded
    ones are known to be, damage may be what it sees, and nothing is sure; where one is not, and it sees nothing there, fine.
    One that damage hardly concerns if it reaches its ceiling, whatever the network. Both only if the interval of its
    accuracy over test sets is above chance.

    Args:
        model: Its name.
        states: From `state_accuracies`.
        network: Folds of the network: `test`, `validation`, `accuracy`.
        visible_from: First state with damage; None where nobody knows.
        network_states: What detection limits are made from, of the network; None where nobody asked it.
        ceiling: Mean accuracy that damage alone does not reach; None of a model that sees damage, infinite of one that
            sees it as well as a network.
    """
    folds = end_folds(states)
    mean, best = float(folds["accuracy"].mean()), float(network["accuracy"].mean())
    own, others = (found.groupby("test")["accuracy"].mean() for found in (folds, network))
    by_set = compare_by_set(*({str(k): float(v) for k, v in of.items()} for of in (own, others)))
    surely = mean_interval(own.to_numpy(np.float64)).lower
    curve = mean_by_state(states)
    before = curve[(curve["state"] > curve["state"].min()) & (curve["state"] < (visible_from or 0))]
    sees_before = bool(visible_from and anomalies(curve, visible_from))
    margin = mean - DAMAGE.chance
    near = ceiling is None and margin > 0 and margin >= NEAR * (best - DAMAGE.chance)
    undecided = near and not len(before)
    over = (undecided and visible_from is None) or (ceiling is not None and mean >= ceiling)
    seen_before = sees_before and not _is_blind(network_states, visible_from)
    return Verdict(
        model=model,
        mean=mean,
        sd=float(folds["accuracy"].std(ddof=1)),
        n_folds=len(folds),
        share=(mean - DAMAGE.chance) / (best - DAMAGE.chance) if best > DAMAGE.chance else float("nan"),
        difference=by_set.difference,
        lower=by_set.lower,
        upper=by_set.upper,
        p=by_set.p,
        smallest_p=by_set.smallest_p,
        before=float(before["accuracy"].max()) if len(before) else float("nan"),
        ceiling=float("nan") if ceiling is None or not np.isfinite(ceiling) else ceiling,
        surely=surely,
        near=near,
        sees_before=sees_before,
        flagged=seen_before or (over and surely > DAMAGE.chance),
        unsure=(undecided or over) and not (seen_before or (over and surely > DAMAGE.chance)),
    )


def _is_blind(states: pd.DataFrame | None, visible_from: int | None) -> bool:
    """True if a network was asked about load states before damage, and tells none of them from pristine bone."""
    return states is not None and visible_from is not None and not anomalies(mean_by_state(states), visible_from)


def end_folds(states: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each fold on pristine against failed slices: `test`, `validation`, `accuracy`."""
    last: pd.DataFrame = states[states["state"] == states["state"].max()]
    return last[["test", "validation", "accuracy"]].reset_index(drop=True)


def verdict_sentence(found: Verdict, network: float, visible_from: int | None) -> str:
    """Verdict of a trivial model on the network, in one sentence; empty where it says nothing.

    Of models that look at all pixels it says that those of cracks count among them: that they come near is then no proof.

    Args:
        found: Of the model.
        network: Mean accuracy of the network.
        visible_from: As in `judge`.
    """
    alone = f"A model of {found.model} alone"
    counted = ", among which crack pixels count," if found.model in SEES_CRACKS else ""
    if found.unsure:
        return _unsure(f"{alone}{counted}", found, network)
    if found.mean >= found.ceiling:
        return (
            f"{alone} tells failed from pristine slices with {found.mean:.2f}, and damage would not let it come to "
            f"{found.ceiling:.2f}: scans differ by more than damage, and {DOES_NOT_SHOW}."
        )
    if found.sees_before:
        return _seen_before(alone, found, visible_from)
    if found.flagged:
        return f"{alone}{counted} reaches {found.mean:.2f} where the network has {network:.2f}: {DOES_NOT_SHOW}."
    if found.near:
        return (
            f"{alone}{counted} reaches {found.mean:.2f} where the network has {network:.2f}, but sees nothing (at most "
            f"{found.before:.2f}) before damage is visible: what it sees comes with the damage."
        )
    return ""


def _unsure(alone: str, found: Verdict, network: float) -> str:
    if found.surely > DAMAGE.chance:
        return (
            f"{alone} reaches {found.mean:.2f} where the network has {network:.2f}, and every loaded state is damaged: it "
            "may see damage, or another difference of the scans."
        )
    return (
        f"{alone} reaches {found.mean:.2f}, but its interval over test sets begins at {found.surely:.2f}: they cannot tell "
        "whether scans differ by more than damage."
    )


def _seen_before(alone: str, found: Verdict, visible_from: int | None) -> str:
    what = f"{alone} tells loaded from pristine bone (accuracy up to {found.before:.2f}) before damage is visible"
    if not found.flagged:
        return f"{what}, but the network does not: scans differ by more than damage, and it has learnt none of that."
    return f"{what} (state {visible_from}): scans differ by more than damage, and {DOES_NOT_SHOW}."


def network_sentence(mean: pd.DataFrame, visible_from: int | None) -> str:
    """Verdict of detection limits on the network: that it sees something before damage; empty where it does not.

    Args:
        mean: Of `detection.mean_by_state`, of the network.
        visible_from: As in `judge`; None takes what lies below the final rise of the curve.
    """
    found = anomalies(mean, visible_from)
    if not found:
        return ""
    when = "below its detection limit" if visible_from is None else f"before damage is visible (state {visible_from})"
    highest = max(found, key=lambda anomaly: anomaly.accuracy)
    return (
        f"The network itself tells loaded from pristine bone {when}, with an accuracy of {highest.accuracy:.2f} at state "
        f"{highest.state}: {DOES_NOT_SHOW}."
    )


def flags(tables: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    """Warnings of the audit, one sentence each, from the tables of the result `audit`; empty where of nothing."""
    return tuple(str(sentence) for sentence in tables["flags"]["sentence"])
