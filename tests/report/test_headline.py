"""What stands at the head of the page, as text and tables."""

from dataclasses import replace

import made_up_study
import pytest

from bonehpo.analysis.comparison import AgainstBaseline
from bonehpo.report.sections import headline_numbers, nested_view, variance_sentences, variance_view


@pytest.mark.parametrize(("task", "bound"), [("damage", "at least"), ("strain", "at most")])
def test_every_estimate_stands_with_an_interval_that_holds_it(task, bound):
    study = made_up_study.study(task=task)
    nested, next_specimen, bootstrapped, *_ = headline_numbers(study)

    def number(text):
        return float(text.split()[0])

    for shown in (nested, bootstrapped):
        low, high = shown.meaning.split("; ")[1].split(" (95")[0].split(" to ")
        assert 0 <= number(low) <= number(shown.value) <= number(high)
    assert bound in nested.meaning
    low, high = next_specimen.value.split(" to ")
    assert 0 <= number(low) <= number(nested.value) <= number(high)
    assert [n.label for n in headline_numbers(study)][1:] == [
        "Next specimen",
        "Bootstrapped",
        "Apparent accuracy" if task == "damage" else "Apparent error",
        "Optimism",
        "Fitted again",
    ]


def test_what_says_nothing_new_is_not_at_the_head():
    study = made_up_study.study()
    chosen_alone = replace(study.estimates, bootstrap_score=study.estimates.apparent_score)
    labels = [n.label for n in headline_numbers(replace(study, estimates=chosen_alone, split="mixed"))]
    assert "Bootstrapped" not in labels
    assert not [label for label in labels if label.startswith("Next")]


@pytest.mark.parametrize(("difference", "is_as_good"), [(0.02, False), (-0.01, True)])
def test_the_baseline_stands_beside_the_nested_accuracy_and_where_it_is_as_good_it_is_offered(difference, is_as_good):
    beside = AgainstBaseline(score=0.8, score_difference=difference, error=0.015, is_better=False)
    [shown] = [n for n in headline_numbers(replace(made_up_study.study(), baseline=beside)) if n.label == "Baseline"]
    assert shown.value == "0.800"
    assert ("+0.020 ± 0.015" if difference > 0 else "−0.010 ± 0.015") in shown.meaning
    assert ('optimum = "baseline"' in shown.meaning) == is_as_good


def test_each_set_says_in_how_many_folds_its_trial_was_chosen():
    study = made_up_study.study()
    for row in nested_view(study).rows:
        assert row[2] == f"{study.estimates.n_agreed_by_set[row[0]]} of 4"


def test_components_of_variance_have_words_and_an_unknown_one_a_dash():
    study = made_up_study.study()
    rows = dict(variance_view(study).rows)
    assert rows["configuration"] == f"{study.variance.components.configuration_sd:.3f}"
    assert rows["of the rest, the seed"] == "–"
    assert variance_sentences(study)[0].startswith("More ")
    known = replace(study.variance, components=replace(study.variance.components, seed_sd=0.0125))
    assert dict(variance_view(replace(study, variance=known)).rows)["of the rest, the seed"] == "0.013"


def test_a_study_of_too_few_trials_says_nothing_of_variance():
    study = replace(made_up_study.study(), variance=None)
    assert variance_view(study) is None
    assert variance_sentences(study) == ()


def test_the_protocol_says_what_it_does_to_the_estimates():
    study = made_up_study.study()
    assert "leaks a little into every estimate" in study.protocol_in_words
    assert "not written down" in replace(study, protocol="strict").protocol_in_words
    fixed = replace(study, protocol="strict", candidates="ab" * 32, n_candidates=24)
    assert fixed.protocol_in_words == (
        "strict protocol: its 24 candidates were fixed before the first score (SHA-256 abababababab)"
    )
