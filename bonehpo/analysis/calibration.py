"""Calibration of p(failed), and the verdict on a new scan that is made of it.

Networks that are trained to the end are surer than they are right. One number mends most of it, the *temperature*: logits
are divided by it, so that no verdict changes, only how sure it is. It is fitted on what the networks of all holdout pairs
say of the sets that they were not trained on; what it is worth is judged on each set with the temperature of the others.

References:
    Guo, Pleiss, Sun and Weinberger, On calibration of modern neural networks, ICML (2017), arXiv:1706.04599.
    Brier, Monthly Weather Review 78 (1950) 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from bonehpo.task import DAMAGE, FAILED, PRISTINE

Values = npt.NDArray[np.floating]

N_BINS = 10

COOLEST, HOTTEST = 0.05, 20.0
"""Temperatures that are looked at. A validation set without an error would ask for 0."""

_EPSILON = 1e-7
"""Softmax outputs are float32: nearer to 0 and 1 they hold no information."""

CHANCE_BRIER = 0.25
"""Of always saying 1/2."""


class Answers(NamedTuple):
    """Outputs of the network of one fold on its test set.

    Attributes:
        test: Name of the test set.
        validation: Name of the validation set.
        truth: 0 pristine, 1 failed, (slice,).
        p_failed: Softmax output for *failed*, (slice,).
    """

    test: str
    validation: str
    truth: Values
    p_failed: Values


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Worth of temperatures on the folds of one configuration.

    Attributes:
        brier: Mean Brier score over folds, as trained.
        brier_calibrated: The same with the temperature of the other sets.
        overconfidence: Mean over folds of how much surer a network is than it is right, as trained.
        overconfidence_calibrated: The same with the temperature of the other sets.
        temperature: Of all folds together.
    """

    brier: float
    brier_calibrated: float
    overconfidence: float
    overconfidence_calibrated: float
    temperature: float


def brier_score(truth: Values, p_failed: Values) -> float:
    """Mean of (p − truth)² over slices: 0 is perfect, `CHANCE_BRIER` that of a network that always says 1/2.

    Args:
        truth: 0 pristine, 1 failed, (slice,).
        p_failed: The probability of failed, (slice,).
    """
    return float(np.mean((np.asarray(p_failed, float) - truth) ** 2))


def with_temperature(p_failed: Values, temperature: float) -> npt.NDArray[np.float64]:
    """Probabilities (slice,) whose logits are divided by a temperature; 1 leaves them as they are."""
    return np.asarray(expit(_logits(p_failed) / temperature), np.float64)


def fit_temperature(truth: Values, p_failed: Values) -> float:
    """The temperature with the smallest cross-entropy on some slices, from `COOLEST` to `HOTTEST`.

    Above 1 the network was too sure of itself. One sign of all logits cannot be mended: where they carry nothing, the
    temperature goes to `HOTTEST` and every probability towards 1/2.

    Args:
        truth: 0 pristine, 1 failed, (slice,).
        p_failed: What the network said, (slice,).
    """
    signed = _logits(p_failed) * (2 * np.asarray(truth, float) - 1)  # how far on the right side

    def cross_entropy(log_temperature: float) -> float:
        return float(np.logaddexp(0, -signed / np.exp(log_temperature)).mean())

    found = minimize_scalar(cross_entropy, bounds=(np.log(COOLEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def overconfidence(truth: Values, p_failed: Values) -> float:
    """Mean probability of the verdicts less the share of right ones: above 0 a network is surer than it is right.

    Args:
        truth: 0 pristine, 1 failed, (slice,).
        p_failed: What the network said, (slice,).
    """
    p = np.asarray(p_failed, float)
    return float(np.mean(np.maximum(p, 1 - p)) - np.mean((p > 0.5) == (np.asarray(truth) > 0.5)))


def study_temperature(answers: Sequence[Answers]) -> float:
    """The temperature of all folds together: each network told on the sets that it was not trained on.

    That of one network on its own two sets is too low where it was chosen as the best on them.

    Args:
        answers: Of folds.
    """
    return fit_temperature(
        np.concatenate([fold.truth for fold in answers]), np.concatenate([fold.p_failed for fold in answers])
    )


def calibrated_folds(answers: Sequence[Answers]) -> pd.DataFrame:
    """Fit the temperature for each test set on the folds of all other sets, and apply it.

    Args:
        answers: Of folds, of two test sets or more.

    Returns:
        A row for each slice of each test set: `test`, `validation`, `truth`, `p_failed`, `temperature`, `p_calibrated`.
    """
    temperatures = {
        name: study_temperature([fold for fold in answers if fold.test != name])
        for name in dict.fromkeys(fold.test for fold in answers)
    }
    found = [
        pd.DataFrame(
            {
                "test": fold.test,
                "validation": fold.validation,
                "truth": np.asarray(fold.truth, float),
                "p_failed": np.asarray(fold.p_failed, float),
                "temperature": temperatures[fold.test],
                "p_calibrated": with_temperature(fold.p_failed, temperatures[fold.test]),
            }
        )
        for fold in answers
    ]
    return pd.concat(found, ignore_index=True)


def fold_scores(calibrated: pd.DataFrame) -> pd.DataFrame:
    """Brier score and over-confidence of each fold.

    Args:
        calibrated: See `calibrated_folds`.

    Returns:
        Columns `test`, `validation`, `temperature`, `brier`, `brier_calibrated`, `overconfidence`,
        `overconfidence_calibrated`.
    """
    rows = []
    for (test, validation), slices in calibrated.groupby(["test", "validation"], sort=False):
        truth, trained, after = (slices[name].to_numpy() for name in ("truth", "p_failed", "p_calibrated"))
        rows.append(
            {
                "test": test,
                "validation": validation,
                "temperature": float(slices["temperature"].iloc[0]),
                "brier": brier_score(truth, trained),
                "brier_calibrated": brier_score(truth, after),
                "overconfidence": overconfidence(truth, trained),
                "overconfidence_calibrated": overconfidence(truth, after),
            }
        )
    return pd.DataFrame(rows)


def calibrate(answers: Sequence[Answers]) -> Calibration | None:
    """Calibrate over folds, and measure what that is worth on sets left out; None where there are fewer than two sets."""
    if len({fold.test for fold in answers}) < 2:
        return None
    folds = fold_scores(calibrated_folds(answers))
    return Calibration(
        brier=float(folds["brier"].mean()),
        brier_calibrated=float(folds["brier_calibrated"].mean()),
        overconfidence=float(folds["overconfidence"].mean()),
        overconfidence_calibrated=float(folds["overconfidence_calibrated"].mean()),
        temperature=study_temperature(answers),
    )


def calibration_in_words(found: Calibration) -> str:
    """One sentence."""
    before, after = (
        f"{value:+.3f}".replace("-", "−") for value in (found.overconfidence, found.overconfidence_calibrated)
    )
    return (
        f"Brier score {found.brier:.3f} as trained and {found.brier_calibrated:.3f} with the temperature of the other sets "
        f"({found.temperature:.2f} of all), over-confidence {before} and {after}; Brier 0 is perfect, {CHANCE_BRIER} is "
        "what always saying 1/2 gets."
    )


def reliability(calibrated: pd.DataFrame) -> pd.DataFrame:
    """Share of slices that were failed, by what was said of them.

    Args:
        calibrated: See `calibrated_folds`.

    Returns:
        A row for each bin that holds slices, in `N_BINS` equal bins: `p` ("as trained" or "calibrated"), `lower`, `upper`,
        `mean_p` (of its slices), `failed` (share of its slices that failed), `sd` (of that share over test sets; NaN for
        one), `n_slices`, `n_sets`.
    """
    edges = np.linspace(0, 1, N_BINS + 1)
    rows = []
    for name, column in (("as trained", "p_failed"), ("calibrated", "p_calibrated")):
        bins = np.clip(np.digitize(calibrated[column], edges) - 1, 0, N_BINS - 1)
        for i, part in calibrated.groupby(bins, sort=True):
            by_set = part.groupby("test")["truth"].mean()
            rows.append(
                {
                    "p": name,
                    "lower": edges[int(str(i))],
                    "upper": edges[int(str(i)) + 1],
                    "mean_p": float(part[column].mean()),
                    "failed": float(part["truth"].mean()),
                    "sd": float(by_set.std(ddof=1)),
                    "n_slices": len(part),
                    "n_sets": len(by_set),
                }
            )
    return pd.DataFrame(rows)


def _logits(p_failed: Values) -> npt.NDArray[np.float64]:
    return np.asarray(logit(np.clip(np.asarray(p_failed, np.float64), _EPSILON, 1 - _EPSILON)), np.float64)


@dataclass(frozen=True, kw_only=True)
class PlaneVerdict:
    """All slices of one plane.

    Attributes:
        plane: Its name.
        n_slices: Slices looked at.
        share_failed: Share of slices whose p(failed) is above 1/2.
        mean: Mean p(failed).
        verdict: "failed" when the mean is above 1/2, else "pristine".
    """

    plane: str
    n_slices: int
    share_failed: float
    mean: float
    verdict: str


@dataclass(frozen=True, kw_only=True, eq=False)
class ScanVerdict:
    """One scan.

    Attributes:
        slices: A row each, with `plane`, `position`, `p_pristine`, `p_failed`, `verdict`.
        planes: In the order of the recipe.
        mean: Mean p(failed) over planes, each plane weighing the same.
        verdict: "failed" when the mean is above 1/2, else "pristine".
    """

    slices: pd.DataFrame
    planes: tuple[PlaneVerdict, ...]
    mean: float
    verdict: str


def summarise_scan(
    p_failed: Mapping[str, npt.NDArray[np.float32]], positions: Mapping[str, npt.NDArray[np.float64]]
) -> ScanVerdict:
    """Sum up the softmax outputs for *failed* of a scan's slices.

    Args:
        p_failed: For each plane, (slice,).
        positions: For each plane, where its slices were cut, (slice,).
    """
    slices = pd.concat(
        [
            pd.DataFrame({"plane": plane, "position": positions[plane], "p_pristine": 1 - p, "p_failed": p})
            for plane, p in p_failed.items()
        ],
        ignore_index=True,
    )
    slices["verdict"] = np.where(slices["p_failed"] > 0.5, DAMAGE.labels[FAILED], DAMAGE.labels[PRISTINE])
    planes = tuple(
        PlaneVerdict(
            plane=plane,
            n_slices=len(p),
            share_failed=float((p > 0.5).mean()),
            mean=float(p.mean()),
            verdict=_verdict(float(p.mean())),
        )
        for plane, p in p_failed.items()
    )
    mean = float(np.mean([plane.mean for plane in planes]))
    return ScanVerdict(slices=slices, planes=planes, mean=mean, verdict=_verdict(mean))


def _verdict(mean: float) -> str:
    return DAMAGE.labels[FAILED if mean > 0.5 else PRISTINE]
