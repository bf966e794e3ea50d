"""What the predictions of one fold are worth."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bonehpo.domain import FAILED, PRISTINE


class Evaluation(NamedTuple):
    """Accuracies (fractions of images) and mean softmax outputs of one network on one set of images.

    A class or plane without images has NaN.
    """

    accuracy: float
    accuracy_pristine: float
    accuracy_failed: float
    softmax_pristine: float
    softmax_failed: float
    accuracy_by_plane: Mapping[str, float]


def evaluate(
    p_failed: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8], planes: npt.NDArray[np.str_]
) -> Evaluation:
    """Score the probabilities that a network gave.

    An image is called failed when its probability of *failed* is above 1/2.

    Args:
        p_failed: Softmax output for *failed*, (image,).
        labels: 0 pristine or 1 failed, (image,).
        planes: Plane name of each image, (image,).

    Examples:
        >>> labels = np.array([0, 0, 1, 1], np.uint8)
        >>> scores = evaluate(np.array([0.1, 0.7, 0.8, 0.9], np.float32), labels, np.array(["XY", "XZ", "XY", "XZ"]))
        >>> scores.accuracy, scores.accuracy_pristine, dict(scores.accuracy_by_plane)
        (0.75, 0.5, {'XY': 1.0, 'XZ': 0.5})
    """
    right = (p_failed > 0.5) == (labels == FAILED)
    pristine, failed = labels == PRISTINE, labels == FAILED
    return Evaluation(
        accuracy=_mean(right),
        accuracy_pristine=_mean(right[pristine]),
        accuracy_failed=_mean(right[failed]),
        softmax_pristine=_mean(1 - p_failed[pristine]),
        softmax_failed=_mean(p_failed[failed]),
        accuracy_by_plane={str(plane): _mean(right[planes == plane]) for plane in np.unique(planes)},
    )


def cross_entropy(p_failed: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> float:
    """Mean categorical cross-entropy in nats of the probabilities (image,), clipped at 1e-7 as Keras does."""
    p_label = np.where(labels == FAILED, p_failed, 1 - p_failed)
    return float(-np.log(np.clip(p_label, 1e-7, 1)).mean())


def _mean(values: npt.NDArray[np.generic]) -> float:
    return float(values.mean(dtype=np.float64)) if len(values) else float("nan")
