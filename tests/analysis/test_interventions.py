"""Where the evidence of a network lies: slices put together crosswise, and what is made of the answers."""

import numpy as np
import pandas as pd
import pytest

from bonehpo.analysis.intervals import mean_interval
from bonehpo.analysis.interventions import (
    MARGIN,
    VISIBLE,
    crossed,
    evidence,
    evidence_sentence,
    shares_by_set,
    visible_damage,
)


def slices():
    """Two pristine slices, the failed ones, brighter and with a crack, and where that is."""
    pristine = np.full((2, 40, 40), 100, np.uint8)
    failed = np.full((2, 40, 40), 140, np.uint8)
    failed[:, 18:20] = 20
    return pristine, failed, (failed == 20).astype(np.float32)


def test_slices_are_cut_along_damage_and_put_together_crosswise():
    pristine, failed, damage = slices()
    found = crossed(pristine, failed, damage)
    assert (found.damaged_part[:, 18:20] < 40).all()
    assert (found.damaged_part[:, :10] == 100).all()
    assert (found.undamaged_part[:, 18:20] > 90).all()
    assert (found.undamaged_part[:, :10] == 140).all()
    assert found.area == pytest.approx((2 + 2 * MARGIN) / 40)
    steps = np.abs(np.diff(crossed(pristine, failed, np.where(damage, 0, damage)).damaged_part.astype(int), axis=1))
    assert steps.max() == 0, "nothing is cut where nothing is damaged"


def test_visible_damage_is_where_slices_differ_whatever_their_contrast():
    rng = np.random.default_rng(0)
    pristine = rng.integers(80, 160, (3, 60, 60)).astype(np.uint8)
    failed = np.clip(pristine * 1.2 + 10, 0, 255).astype(np.uint8)
    failed[:, 25:30] = 20
    found = visible_damage(pristine, failed)
    assert found.mean() == pytest.approx(VISIBLE, abs=0.01)
    assert found[:, 26:29].mean() > 0.95
    assert found[:, :18].sum() == found[:, 37:].sum() == 0


def answers(damaged_part, undamaged_part, spread=0.0):
    """Mean outputs of a network that calls failed slices failed, on five sets; those of crossed ones as given."""
    rows = [
        (name, 10, 0.1, 0.9, damaged_part + spread * (k - 2), undamaged_part - spread * (k - 2))
        for k, name in enumerate("ABCDE")
    ]
    return pd.DataFrame(rows, columns=["test", "n_slices", "pristine", "failed", "damaged_part", "undamaged_part"])


@pytest.mark.parametrize(("parts", "share"), [((0.9, 0.1), 0), ((0.1, 0.9), 1), ((0.9, 0.9), 0.5), ((0.3, 0.7), 0.75)])
def test_a_part_gets_its_mean_over_both_orders(parts, share):
    found = evidence(answers(*parts))
    assert found.share == pytest.approx(share)
    assert found.undamaged == (share >= 0.5)
    said = evidence_sentence(found, is_truth=True, one_place=True)
    assert ("does not show that it sees damage" in said) == (share >= 0.5)
    elsewhere = evidence_sentence(found, is_truth=False, one_place=False)
    assert "does not show that it sees damage" not in elsewhere
    assert elsewhere.startswith("Caution: ") == ("--register" in elsewhere) == (share >= 0.5)


def test_sets_that_differ_too_much_are_a_caution_and_no_flag():
    outputs = answers(0.3, 0.7, spread=0.5)
    found = evidence(outputs)
    assert found[1:3] == pytest.approx(mean_interval(shares_by_set(outputs)["share"].to_numpy()))
    assert found.share > 0.5
    assert found.lower < 0
    assert not found.undamaged
    assert evidence_sentence(found, is_truth=False, one_place=True).startswith("Caution: ")
    assert "10% of pixels that differ most" in evidence_sentence(found, is_truth=False, one_place=True)


def test_sets_that_a_network_does_not_tell_apart_have_no_evidence():
    outputs = answers(0.9, 0.1)
    outputs.loc[outputs["test"] == "A", "failed"] = 0.15
    assert evidence(outputs).n_sets == 4
    nothing = evidence(outputs[:0])
    assert (nothing.n_sets, nothing.undamaged) == (0, False)
    assert "is not known" in evidence_sentence(nothing, is_truth=True, one_place=True)
