"""What stands at the head of the page, as text and tables."""

from dataclasses import replace

import made_up_study
import pytest

from bonehpo.report.sections import headline_numbers, nested_view, variance_sentences, variance_view


@pytest.mark.parametrize(("task", "bound"), [("damage", "at least"), ("strain", "at most")])
def test_every_estimate_stands_with_an_interval_that_holds_it(task, bound):
    study = made_up_study.study(task=task)
    nested, bootstrapped, *_ = headline_numbers(study)

    def number(text):
        return float(text.split()[0])

    for shown in (nested, bootstrapped):
        low, high = shown.meaning.split("; ")[1].split(" (95")[0].split(" to ")
        assert 0 <= number(low) <= number(shown.value) <= number(high)
    assert bound in nested.meaning
    assert [n.label for n in headline_numbers(study)][1:] == [
        "Bootstrapped",
        "Apparent accuracy" if task == "damage" else "Apparent error",
        "Optimism",
        "Fitted again",
    ]


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
