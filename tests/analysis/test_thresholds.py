"""A slice exactly on the threshold between pristine and failed."""

import numpy as np
import pytest

from bonehpo.task import DAMAGE

HALF = np.float32(0.5)


@pytest.mark.parametrize("truth", [0, 1], ids=["pristine", "failed"])
def test_a_slice_of_probability_exactly_one_half_is_called_pristine(truth):
    outputs, truths = np.array([HALF]), np.array([truth], np.float32)
    found = DAMAGE.evaluate(outputs, truths, np.array(["XY"]))
    assert found.score == found.score_by_plane["XY"] == DAMAGE.score(outputs, truths) == 1 - truth
    called_right = found.details["accuracy_failed" if truth else "accuracy_pristine"]
    assert called_right == 1 - truth
    above = DAMAGE.evaluate(np.nextafter(outputs, HALF * 2), truths, np.array(["XY"]))
    assert above.score == truth
