"""The gate of promotion, the model card, and the probabilities of a promoted network."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import call, refusal
from made_up_folds import folds_of
from scipy.special import expit, logit
from tiny_study import LONG_ENOUGH, make_study

from bonehpo.analysis.estimates import nested_accuracy
from bonehpo.config import StudyFolder
from bonehpo.errors import PromotionRefused
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.learners import predict
from bonehpo.learning.networks import build_network, load_network, reset_weights, save_calibrated, standardise
from bonehpo.tracking.database import open_tracking, relocate
from bonehpo.tracking.registry import load_registered
from bonehpo.workflow.gate import Audited, check_folds, objections
from bonehpo.workflow.plan import make_plan
from bonehpo.workflow.promotion import promote_optimum


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folds: folds.iloc[:-1], "trial 0 has 19 of 20 folds"),
        (lambda folds: folds.assign(test_score=folds["test_score"].where(folds.index != 3)), "no finite number"),
        (lambda folds: folds.assign(validation_score=np.inf), "no finite number"),
    ],
)
def test_an_optimum_with_broken_folds_is_refused(spoil, reason):
    folds = folds_of(np.full((1, 5), 0.9))
    check_folds(folds, 0, 20)
    with pytest.raises(PromotionRefused, match=reason):
        check_folds(spoil(folds), 0, 20)


def of_baseline_and_best(baseline: float, best: float) -> pd.DataFrame:
    return folds_of(np.repeat([[baseline], [best]], 5, axis=1))


def test_the_gate_is_open_for_what_beats_chance_and_the_baseline():
    assert objections(of_baseline_and_best(0.7, 0.9), 1, 0, ()) == ()
    assert objections(folds_of(np.full((1, 5), 0.9)), 0, 0, ()) == (), "the baseline itself may be the optimum"
    assert objections(folds_of(np.full((1, 5), 0.9)), 0, None, ()) == ()


@pytest.mark.parametrize(
    ("folds", "reason"),
    [
        (of_baseline_and_best(0.4, 0.5), "does not beat chance: nested accuracy 0.500"),
        (folds_of(np.array([[0.0, 0.7, 0.7, 0.7, 0.7]])), "does not beat chance: nested accuracy 0.560"),
    ],
)
def test_what_does_not_beat_chance_is_objected_to(folds, reason):
    assert reason in objections(folds, 0, None, ())[0]


def favourites(fails_with: float) -> pd.DataFrame:
    """A baseline of 0.8, and for each specimen a trial of 0.9 that fails on it: the choice by validation never pays."""
    return folds_of(np.array([[0.8] * 5, *(np.where(np.eye(5)[i], fails_with, 0.9) for i in range(5))]))


def test_a_search_that_does_worse_than_the_baseline_is_objected_to():
    _, found = objections(favourites(0.3), 1, 0, ())
    assert re.match(r"the search has not paid: its nested accuracy 0\.600 is 0\.200 ± 0\.106 .*trial 0; optimum", found)
    assert len(objections(favourites(0.3), 0, 0, ())) == 1, "the baseline is the optimum: nothing was searched in vain"


def test_a_search_that_is_below_the_baseline_by_less_than_chance_is_not_objected_to():
    assert nested_accuracy(favourites(0.6)).mean == pytest.approx(0.75)
    assert objections(favourites(0.6), 1, 0, ()) == ()


def test_a_network_that_guesses_alike_on_every_specimen_does_not_beat_chance():
    """37 of 72 slices right in each of three: the spread between specimens is 0, and says nothing."""
    folds = folds_of(np.full((1, 5), 37 / 72))
    assert objections(folds, 0, None, ()) == (), "were there no end of slices"
    [found] = objections(folds.assign(n_slices=72.0), 0, None, ())
    assert found.startswith("it does not beat chance: nested accuracy 0.514")


def test_what_the_audit_warns_of_is_objected_to():
    assert objections(of_baseline_and_best(0.7, 0.9), 1, 0, ("A shortcut.",)) == ("A shortcut",)


def test_a_calibrated_network_divides_its_logits(tmp_path):
    network = build_network(Hyperparameters(layers=1, kernel=3), side=16)
    reset_weights(network, 3)
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16), np.uint8)
    standardise(network, images, np.arange(len(images)))
    before = predict(network, images)
    save_calibrated(network, 2.5, tmp_path / "mended.keras")
    after = predict(load_network(tmp_path / "mended.keras"), images)
    assert after == pytest.approx(expit(logit(before.astype(float)) / 2.5), abs=1e-5)
    assert np.abs(after - before).max() > 0.01
    assert predict(network, images) == pytest.approx(before), "the network itself stays as it was"


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A project whose search is finished."""
    root = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        make_study(root, LONG_ENOUGH)
        call("search", "--bone", "TB", "--trials", 2, "--workers", 0)
    return root


def copy(project: Path, to: Path) -> Path:
    root = Path(shutil.copytree(project, to))
    relocate(root)
    return root


def test_promotion_against_an_objection_needs_a_reason_that_the_card_keeps(searched, monkeypatch, tmp_path):
    root = copy(searched, tmp_path / "copy")
    monkeypatch.chdir(root)
    plan, tracking = make_plan(StudyFolder(root / "studies" / "TB")), open_tracking(root)
    with pytest.raises(PromotionRefused, match=r"is not promoted: intensity levels do as well.*--force --because"):
        promote_optimum(plan, tracking, Audited(("intensity levels do as well",)))
    audited = Audited(("intensity levels do as well",), ("Noise reaches 0.60.",))
    promote_optimum(plan, tracking, audited, because="stripes are what we want to find")
    card = load_registered(tracking, "bonehpo-TB").card
    assert (
        "- intensity levels do as well\n\n**Promoted nevertheless, because:** stripes are what we want to find" in card
    )
    assert card.endswith("- Noise reaches 0.60.\n")
    assert "By specimen: TB5 " in card
    temperature = re.search(r"divided by (\d+\.\d+)", card)
    assert temperature is not None
    made = tracking.client.get_model_version_by_alias("bonehpo-TB", "champion")
    assert made.tags["bonehpo.forced"] == "stripes are what we want to find"
    assert float(made.tags["bonehpo.temperature"]) == pytest.approx(float(temperature[1]), abs=0.01)


def test_the_card_of_an_open_gate_has_the_words_of_the_audit(searched, monkeypatch, tmp_path):
    root = copy(searched, tmp_path / "copy")
    monkeypatch.chdir(root)
    plan, tracking = make_plan(StudyFolder(root / "studies" / "TB")), open_tracking(root)
    promote_optimum(plan, tracking, Audited((), ("Intensity levels reach 0.60.", "Caution: noise reaches 0.78.")))
    card = load_registered(tracking, "bonehpo-TB").card
    assert (
        "It raised no flag; the network beats chance, and the baseline is not better by more than chance.\n\n" in card
    )
    assert card.endswith("- Intensity levels reach 0.60.\n- Caution: noise reaches 0.78.\n")
    assert "bonehpo.forced" not in tracking.client.get_model_version_by_alias("bonehpo-TB", "champion").tags


def test_force_and_because_belong_together(searched, monkeypatch):
    monkeypatch.chdir(searched)
    for words in (["--force"], ["--because", "why not"], ["--force", "--because", " "]):
        assert "belong together" in call("promote", "--bone", "TB", *words, code=2).stderr


def test_a_lost_network_is_named(searched, monkeypatch, tmp_path):
    root = copy(searched, tmp_path / "copy")
    monkeypatch.chdir(root)
    shutil.rmtree(root / "studies" / "TB" / "optimum")
    assert "is missing: run the same `bonehpo search` again" in refusal(
        "promote", "--bone", "TB", "--force", "--because", "a test"
    )
