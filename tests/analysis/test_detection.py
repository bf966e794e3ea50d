"""Detection limits are found where the curve was made to cross, and what is seen before damage is named."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonehpo.analysis.detection import accuracies_by_state, anomalies, anomaly_warning, detection_limits, mean_by_state
from bonehpo.errors import StudyError

SETS = ("TB5", "TB6", "TB9", "TB11", "TB12")


def table_of(curves, strain_of=lambda _, state: 0.01 * (state - 1)):
    """Folds of sets with the same accuracies in each of their folds; curves: {set: {state: accuracy}}."""
    rows = [
        (test, validation, state, strain_of(test, state), 1.0, 2 * accuracy - 1, accuracy)
        for test, curve in curves.items()
        for validation in SETS
        if validation != test
        for state, accuracy in {1: 0.5, **curve}.items()
    ]
    columns = ["test", "validation", "state", "strain", "accuracy_pristine", "accuracy_loaded", "accuracy"]
    return pd.DataFrame(rows, columns=columns)


def step_at(first_detected, n_states=15):
    return {state: 1.0 if state >= first_detected else 0.5 for state in range(2, n_states + 1)}


def limit_of(table, of="all", axis="state", **options):
    limits = detection_limits(table, **options).set_index(["of", "axis"])
    return limits.loc[(of, axis)]


outputs = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40).map(lambda p: np.array(p, np.float32))


@settings(deadline=None)
@given(pristine=outputs)
def test_at_the_pristine_state_the_accuracy_is_one_half_whatever_the_network_says(pristine):
    first = accuracies_by_state({1: pristine}).iloc[0]
    assert first["accuracy"] == pytest.approx(0.5)
    assert first["accuracy_loaded"] == pytest.approx(1 - first["accuracy_pristine"])


@settings(deadline=None)
@given(pristine=outputs, loaded=outputs, seed=st.integers(0, 999))
def test_accuracies_are_shares_of_slices_in_any_order(pristine, loaded, seed):
    found = accuracies_by_state({7: loaded, 1: pristine})
    rng = np.random.default_rng(seed)
    pd.testing.assert_frame_equal(
        accuracies_by_state({1: rng.permutation(pristine), 7: rng.permutation(loaded)}), found
    )
    last = found.iloc[1]
    assert last["state"] == 7
    assert last["n_slices"] == len(loaded)
    assert last["accuracy_loaded"] == sum(p > 0.5 for p in loaded) / len(loaded)
    assert last["accuracy_pristine"] == sum(p <= 0.5 for p in pristine) / len(pristine)
    assert last["accuracy"] == pytest.approx((last["accuracy_loaded"] + last["accuracy_pristine"]) / 2)


@pytest.mark.parametrize(("p_failed", "missing"), [({}, "any state"), ({1: np.array([]), 2: np.ones(3)}, "state 1")])
def test_states_without_predictions_are_refused(p_failed, missing):
    with pytest.raises(StudyError, match=f"no predictions for {missing}"):
        accuracies_by_state(p_failed)


def test_the_pristine_state_is_the_lowest_whatever_its_number():
    found = accuracies_by_state({0: np.zeros(4), 1: np.ones(4), 2: np.ones(4)})
    assert found["accuracy"].tolist() == [0.5, 1.0, 1.0]
    table = table_of({name: step_at(12) for name in SETS})
    moved = detection_limits(table.assign(state=table["state"] - 1)).set_index(["of", "axis"])
    assert moved.loc[("all", "state"), "limit"] == pytest.approx(limit_of(table)["limit"] - 1)
    table = table_of({name: dict.fromkeys(range(2, 16), 0.9) for name in SETS})
    lowest = detection_limits(table.assign(state=table["state"] - 1)).set_index(["of", "axis"])
    assert lowest.loc[("all", "state"), "limit"] == 1


def test_a_step_is_found_half_way_for_all_sets_and_each():
    table = table_of({name: step_at(12) for name in SETS})
    limits = detection_limits(table)
    assert limits["of"].tolist() == ["all", "all", *[name for name in SETS for _ in range(2)]]
    by_axis = limits.groupby("axis")["limit"]
    assert by_axis.get_group("state").tolist() == pytest.approx([11.5] * 6)
    assert by_axis.get_group("strain").tolist() == pytest.approx([0.105] * 6)
    assert limit_of(table)[["lower", "upper"]].tolist() == pytest.approx([11.5, 11.5])
    assert limits[limits["of"] != "all"][["lower", "upper"]].isna().all(axis=None)
    assert set(limits["threshold"]) == {0.75}


@settings(deadline=None, max_examples=8)
@given(low=st.floats(0, 0.74), high=st.floats(0.76, 1), threshold=st.floats(0.745, 0.755), at=st.integers(2, 13))
def test_between_two_states_the_limit_lies_on_the_straight_line(low, high, threshold, at):
    curve = {state: low if state <= at else high for state in range(2, 15)}
    table = table_of({"TB5": curve}, lambda _, state: (state / 20) ** 2)
    way = (threshold - low) / (high - low)
    found = limit_of(table, of="TB5", threshold=threshold)
    assert found["limit"] == pytest.approx(at + way)
    strain = limit_of(table, of="TB5", axis="strain", threshold=threshold)
    assert strain["limit"] == pytest.approx((at / 20) ** 2 * (1 - way) + ((at + 1) / 20) ** 2 * way)


def test_coming_from_failure_the_first_crossing_counts_and_not_what_lies_below():
    curve = {**step_at(10), 3: 0.99, 4: 0.98}
    assert limit_of(table_of(dict.fromkeys(SETS, curve)))["limit"] == pytest.approx(9.5)


def test_the_threshold_itself_is_not_below_it():
    curve = {**dict.fromkeys(range(2, 10), 0.5), **dict.fromkeys(range(10, 16), 0.75)}
    assert limit_of(table_of(dict.fromkeys(SETS, curve)))["limit"] == pytest.approx(10)
    assert limit_of(table_of(dict.fromkeys(SETS, dict.fromkeys(range(2, 16), 0.75))))["limit"] == 2


def test_a_network_that_does_not_even_see_failure_has_no_limit():
    curve = {**step_at(10), 15: 0.6}
    for axis in ("state", "strain"):
        assert (
            limit_of(table_of(dict.fromkeys(SETS, curve)), axis=axis)[["limit", "lower", "upper"]].tolist()
            == [math.inf] * 3
        )


def test_a_network_that_calls_every_loaded_state_failed_has_the_first_of_them():
    table = table_of(dict.fromkeys(SETS, step_at(2)))
    assert limit_of(table)[["limit", "lower", "upper"]].tolist() == [2] * 3
    assert limit_of(table, axis="strain")["limit"] == pytest.approx(0.01)


def test_the_interval_of_the_limit_spans_what_other_specimens_could_have_shown():
    table = table_of(dict(zip(SETS, map(step_at, (6, 8, 10, 12, 14)), strict=True)))
    found = limit_of(table)
    assert 5.5 <= found["lower"] < found["limit"] < found["upper"] <= 13.5
    again = limit_of(table, seed=0)
    assert found.tolist() == again.tolist()


def test_resamples_that_never_cross_count_as_no_limit():
    blind = dict.fromkeys(range(2, 16), 0.5)
    curves = dict(zip(SETS, [step_at(8), step_at(8), step_at(8), step_at(8), blind], strict=True))
    found = limit_of(table_of(curves))
    assert found["limit"] < 8
    assert found["upper"] == math.inf
    assert limit_of(table_of(curves), of="TB12")["limit"] == math.inf


def test_the_interval_covers_the_limit_of_the_population_about_as_often_as_it_claims():
    """Sets whose steps are drawn from 3 to 14: the population's mean curve crosses 3/4 at half of them, 8.5."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(25):
        names = [f"S{i}" for i in range(12)]
        found.append(
            limit_of(
                table_of({name: step_at(int(rng.integers(4, 15))) for name in names}).drop_duplicates(["test", "state"])
            )
        )
    covered = [row["lower"] <= 8.5 <= row["upper"] for row in found]
    assert np.mean(covered) >= 0.8
    assert np.mean([row["limit"] for row in found]) == pytest.approx(8.5, abs=0.8)


def test_the_interval_leaves_out_one_resample_in_forty_at_its_lower_end():
    """Three of eight sets see damage: 3.6 % of resamples hold six or more of them, enough for a threshold of 0.86."""
    blind = dict.fromkeys(range(2, 16), 0.5)
    table = table_of({f"S{i}": step_at(8) if i < 3 else blind for i in range(8)})
    found = limit_of(table, threshold=0.86)
    assert 7 < found["lower"] < 8
    assert found["limit"] == found["upper"] == math.inf


uneven = st.integers(0, 2**32 - 1).map(
    lambda seed: table_of(
        {
            name: dict(enumerate(np.random.default_rng([seed, i]).uniform(0.4, 1, 8), start=2))
            for i, name in enumerate(SETS)
        }
    )
)


@settings(deadline=None, max_examples=10)
@given(table=uneven, seed=st.integers(0, 999))
def test_the_order_of_folds_does_not_matter(table, seed):
    shuffled = table.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(mean_by_state(shuffled), mean_by_state(table))
    pd.testing.assert_frame_equal(detection_limits(shuffled), detection_limits(table))


def test_means_are_over_folds_first_and_then_over_sets():
    table = table_of({"TB5": {2: 0.9}, "TB6": {2: 0.7}})
    extra = table[(table["test"] == "TB5") & (table["state"] == 2)]
    heavy = pd.concat([table, extra, extra])
    found = mean_by_state(heavy).set_index("state").loc[2]
    assert found["accuracy"] == pytest.approx(0.8)
    assert found["n_sets"] == 2
    # Student's t with one degree of freedom: 12.7 standard errors of 0.1, cut
    assert (found["lower"], found["upper"]) == (0, 1)


def test_the_interval_over_sets_is_students():
    table = table_of(dict(zip(SETS, [{2: a} for a in (0.70, 0.72, 0.74, 0.76, 0.78)], strict=True)))
    found = mean_by_state(table).set_index("state")
    half = 2.77645 * np.std([0.70, 0.72, 0.74, 0.76, 0.78], ddof=1) / np.sqrt(5)
    assert (found.loc[2, "lower"], found.loc[2, "upper"]) == pytest.approx((0.74 - half, 0.74 + half), abs=1e-6)
    assert found.loc[1, ["accuracy", "lower", "upper"]].tolist() == [0.5] * 3
    assert list(mean_by_state(table).columns) == [
        "state", "strain", "accuracy", "lower", "upper", "accuracy_loaded", "accuracy_pristine", "n_sets",
    ]  # fmt: skip


def test_sets_may_lack_states():
    curves = {name: step_at(10, n_states=12) for name in SETS}
    del curves["TB5"][9], curves["TB5"][10]
    for name in SETS:
        del curves[name][4]
    table = table_of(curves)
    mean = mean_by_state(table).set_index("state")
    assert 4 not in mean.index
    assert mean.loc[[8, 9, 10], "n_sets"].tolist() == [5, 4, 4]
    assert limit_of(table)["limit"] == pytest.approx(9.5)
    assert limit_of(table, of="TB5")["limit"] == pytest.approx(9.5)  # between states 8 and 11


def test_states_are_in_order_whichever_sets_lack_some():
    curves = {name: step_at(10) for name in SETS}
    for name in SETS[:-1]:
        del curves[name][4]  # "TB11" comes first as a word
    assert mean_by_state(table_of(curves))["state"].tolist() == list(range(1, 16))


def test_without_strain_there_is_a_limit_in_states_alone():
    table = table_of(dict.fromkeys(SETS, step_at(12)), lambda *_: math.nan)
    assert set(detection_limits(table)["axis"]) == {"state"}
    assert mean_by_state(table)["strain"].isna().all()
    some = table_of(dict.fromkeys(SETS, step_at(12)), lambda test, state: math.nan if test == "TB5" else state / 100)
    limits = detection_limits(some)
    assert limits[limits["of"] == "TB5"]["axis"].tolist() == ["state"]
    assert limit_of(some, axis="strain")["limit"] == pytest.approx(0.115)


def test_folds_without_a_score_are_left_out():
    table = table_of(dict.fromkeys(SETS, step_at(12)))
    failed = table.assign(accuracy=table["accuracy"].where(table["validation"] != "TB9"))
    pd.testing.assert_frame_equal(mean_by_state(failed), mean_by_state(table))
    pd.testing.assert_frame_equal(detection_limits(failed), detection_limits(table))


def test_scans_of_pristine_bone_alone_have_no_limit_to_look_for():
    table = table_of({"TB5": {}})
    with pytest.raises(StudyError, match="no loaded state has an accuracy"):
        detection_limits(table)
    with pytest.raises(StudyError, match="no loaded state has an accuracy"):
        anomalies(mean_by_state(table))


def test_a_table_without_any_score_is_refused():
    table = table_of(dict.fromkeys(SETS, step_at(12))).assign(accuracy=math.nan)
    for look in (mean_by_state, detection_limits):
        with pytest.raises(StudyError, match="no fold has an accuracy"):
            look(table)


def test_one_set_has_a_limit_without_interval():
    found = limit_of(table_of({"TB5": step_at(12)}))
    assert found["limit"] == pytest.approx(11.5)
    assert found[["lower", "upper"]].isna().all()


def paper_trabecular(rng):
    """As Fig 6b is described: falls when fractures are no longer visible, rises again, near perfect at states 3 and 4."""
    curve = {
        2: 0.75,
        3: 0.99,
        4: 0.98,
        5: 0.76,
        6: 0.57,
        7: 0.55,
        8: 0.55,
        9: 0.56,
        10: 0.9,
        **dict.fromkeys(range(11, 16), 1.0),
    }
    return {state: min(1, accuracy + rng.normal(0, 0.01)) for state, accuracy in curve.items()}


def test_the_states_that_the_paper_wondered_at_are_named():
    rng = np.random.default_rng(0)
    mean = mean_by_state(table_of({name: paper_trabecular(rng) for name in SETS}))
    found = anomalies(mean, visible_from=10)
    assert [a.state for a in found] == [2, 3, 4, 5]
    assert [a.state for a in found if a.near_perfect] == [3, 4]
    assert all(a.lower > 0.5 and a.strain == pytest.approx(0.01 * (a.state - 1)) for a in found)
    sentence = anomaly_warning(found, visible_from=10)
    assert sentence.startswith(
        "Caution: accuracy is near perfect at states 3 and 4 and high at states 2 and 5, before damage"
    )
    assert "uses something else than damage" in sentence
    assert "(state 10)" in sentence
    assert [a.state for a in anomalies(mean)] == [2, 3, 4, 5]
    assert "below the detection limit" in anomaly_warning(anomalies(mean))
    assert [a.state for a in anomalies(mean, visible_from=4)] == [2, 3]


def test_a_state_is_an_anomaly_from_six_tenths_on_and_near_perfect_from_95_percent_on():
    curve = {2: 0.5999, 3: 0.6, 4: 0.9499, 5: 0.95, 6: 0.5, 7: 1.0}
    mean = mean_by_state(table_of(dict.fromkeys(SETS, curve)))
    mean["accuracy"] = mean["accuracy"].round(9)  # no rounding of the mean over folds
    found = anomalies(mean, visible_from=7)
    assert [(a.state, a.near_perfect) for a in found] == [(3, False), (4, False), (5, True)]
    assert anomaly_warning(found[2:], 7).startswith("Caution: accuracy is near perfect at state 5, before")
    assert "is high at states 3 and 4, below the detection limit" in anomaly_warning(found[:2])
    three = [found[0]._replace(state=state) for state in (2, 3, 4)]
    assert "is high at states 2, 3 and 4, below" in anomaly_warning(three)
    chance = mean.assign(lower=0.5)
    assert anomalies(chance, visible_from=7) == ()


def test_a_network_that_sees_damage_alone_has_no_anomaly():
    mean = mean_by_state(table_of(dict.fromkeys(SETS, step_at(12))))
    assert anomalies(mean) == anomalies(mean, visible_from=12) == ()
    assert anomaly_warning(()) == ""


def test_states_that_rise_to_the_limit_are_damage_as_it_begins_and_no_anomaly():
    rise = {**dict.fromkeys(range(2, 11), 0.5), 11: 0.61, 12: 0.65, 13: 0.70, 14: 0.74, 15: 0.95}
    mean = mean_by_state(table_of(dict.fromkeys(SETS, rise)))
    assert anomalies(mean) == ()
    assert [a.state for a in anomalies(mean, visible_from=15)] == [11, 12, 13, 14]
    bump = mean_by_state(table_of({name: {**rise, 5: 0.62, 6: 0.7} for name in SETS}))
    assert [a.state for a in anomalies(bump)] == [5, 6]
    first = mean_by_state(table_of({name: {2: 0.6, 3: 0.7, 4: 0.9} for name in SETS}))
    assert anomalies(first) == ()
    falling = mean_by_state(table_of({name: {2: 0.95, 3: 0.9, 4: 0.8} for name in SETS}))
    assert anomalies(falling) == ()  # the limit is the first loaded state: nothing lies before it
    low = {2: 0.5, 3: 0.5, 4: 0.7, 5: 0.65, 6: 0.9}
    dip = mean_by_state(table_of(dict.fromkeys(SETS, low)))
    assert [a.state for a in anomalies(dip)] == [4]


def test_a_plateau_below_the_limit_is_an_anomaly():
    plateau = {**dict.fromkeys(range(2, 15), 0.7), 15: 0.95}
    mean = mean_by_state(table_of(dict.fromkeys(SETS, plateau)))
    assert [a.state for a in anomalies(mean)] == list(range(2, 14))


def test_one_specimen_that_differs_is_no_anomaly():
    curves = {name: step_at(12) for name in SETS}
    curves["TB5"][3] = 1.0
    mean = mean_by_state(table_of(curves))
    assert mean.set_index("state").loc[3, "accuracy"] == pytest.approx(0.6)
    assert anomalies(mean, visible_from=12) == ()
    alone = mean_by_state(table_of({"TB5": curves["TB5"]}))
    assert anomalies(alone, visible_from=12) == ()


def test_a_network_blind_to_failure_can_still_have_anomalies_but_never_at_failure():
    curve = dict.fromkeys(range(2, 16), 0.7)
    mean = mean_by_state(table_of(dict.fromkeys(SETS, curve)))
    assert [a.state for a in anomalies(mean)] == list(range(2, 15))


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_network_that_guesses_is_rarely_called_anomalous(seed):
    rng = np.random.default_rng(seed)
    rows = [
        accuracies_by_state({state: rng.random(200) for state in range(1, 8)}).assign(
            test=test, validation="-", strain=0.0
        )
        for test in SETS
    ]
    mean = mean_by_state(pd.concat(rows))
    assert anomalies(mean, visible_from=8) == ()
    assert mean["accuracy"].to_numpy() == pytest.approx(0.5, abs=0.08)
