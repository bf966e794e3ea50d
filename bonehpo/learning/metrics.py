"""What the outputs of a network are worth, against the truth."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bonehpo.domain import FAILED, PRISTINE, Task

Floats = npt.NDArray[np.float32]


class Evaluation(NamedTuple):
    """Scores of one network on one set of images; see `FoldScores` for the details. Where there is no image it is NaN."""

    score: float
    score_by_plane: Mapping[str, float]
    details: Mapping[str, float]


def evaluate(task: Task, outputs: Floats, truth: Floats, planes: npt.NDArray[np.str_]) -> Evaluation:
    """Score what a network said of the images of a set.

    A slice is called failed when its probability of *failed* is above 1/2.

    Args:
        task: Of the network.
        outputs: Softmax output for *failed*, or strain in %, (image,).
        truth: 0 pristine or 1 failed, or strain in %, (image,).
        planes: Plane name of each image, (image,).

    Examples:
        >>> truth = np.array([0, 0, 1, 1], np.float32)
        >>> found = evaluate("damage", np.array([0.1, 0.7, 0.8, 0.9], np.float32), truth, np.array(["XY", "XZ", "XY", "XZ"]))
        >>> found.score, found.details["accuracy_pristine"], dict(found.score_by_plane)
        (0.75, 0.5, {'XY': 1.0, 'XZ': 0.5})
    """
    return Evaluation(
        score=score(task, outputs, truth),
        score_by_plane={str(p): score(task, outputs[planes == p], truth[planes == p]) for p in np.unique(planes)},
        details=_damage_details(outputs, truth) if task == "damage" else {"bias_percent": _mean(outputs - truth)},
    )


def score(task: Task, outputs: Floats, truth: Floats) -> float:
    """What is maximised: the accuracy, or minus the mean absolute error in % strain."""
    return _mean((outputs > 0.5) == (truth == FAILED)) if task == "damage" else -_mean(np.abs(outputs - truth))


def loss(task: Task, outputs: Floats, truth: Floats) -> float:
    """Mean cross-entropy in nats, probabilities clipped at 1e-7 as Keras does; or mean squared error in (% strain)²."""
    if task == "strain":
        return _mean((outputs - truth) ** 2)
    p_label = np.where(truth == FAILED, outputs, 1 - outputs)
    return float(-np.log(np.clip(p_label, 1e-7, 1)).mean())


def _damage_details(p_failed: Floats, truth: Floats) -> dict[str, float]:
    pristine, failed = truth == PRISTINE, truth == FAILED
    return {
        "accuracy_pristine": _mean(p_failed[pristine] <= 0.5),
        "accuracy_failed": _mean(p_failed[failed] > 0.5),
        "softmax_pristine": _mean(1 - p_failed[pristine]),
        "softmax_failed": _mean(p_failed[failed]),
    }


def _mean(values: npt.NDArray[np.generic]) -> float:
    return float(values.mean(dtype=np.float64)) if len(values) else float("nan")
