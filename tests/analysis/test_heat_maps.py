"""Heat maps are compared by rank, and with true damage."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from bonehpo.analysis.heat_maps import agreement, damage_energy, rank_correlation

seeds = st.integers(0, 2**32 - 1)


def random_maps(seed, n=4, levels=None):
    """Maps (n, 6, 7) from 0 to 1; with ties where there are few levels."""
    values = np.random.default_rng(seed).random((n, 6, 7))
    return (values if levels is None else np.floor(values * levels) / levels).astype(np.float32)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, levels=st.sampled_from([None, 2, 5]))
def test_the_rank_correlation_is_spearmans(seed, levels):
    a, b = random_maps(seed, 2, levels)
    assume(np.ptp(a) > 0 and np.ptp(b) > 0)
    assert rank_correlation(a, b) == pytest.approx(stats.spearmanr(a.ravel(), b.ravel()).statistic)
    assert rank_correlation(b, a) == pytest.approx(rank_correlation(a, b))


@settings(deadline=None, max_examples=30)
@given(seed=seeds)
def test_agreement_is_the_mean_over_pairs_in_any_order_of_maps_and_pixels(seed):
    maps = random_maps(seed)
    rng = np.random.default_rng(seed)
    found = agreement(maps)
    pairs = [rank_correlation(maps[i], maps[j]) for i in range(4) for j in range(i)]
    assert found == pytest.approx((np.mean(pairs), 4))
    assert agreement(rng.permutation(maps)) == pytest.approx(found)
    pixels = rng.permutation(42)
    assert agreement(maps.reshape(4, 42)[:, pixels].reshape(4, 7, 6)) == pytest.approx(found)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, power=st.sampled_from([0.5, 2, 3]))
def test_networks_that_rank_pixels_alike_agree_whatever_their_scale(seed, power):
    heat = random_maps(seed, 1)[0]
    assume(len(np.unique(heat**power)) == heat.size)
    assert agreement(np.stack([heat, heat**power, 0.1 * heat])).correlation == pytest.approx(1)
    assert rank_correlation(heat, -(heat**power)) == pytest.approx(-1)  # 1 − x would make ties of the smallest


def test_no_correlation_is_beyond_one_by_rounding_nor_lost_in_the_smallest_maps():
    maps = random_maps(0, 200)
    assert max(rank_correlation(heat, heat) for heat in maps) == 1
    assert min(rank_correlation(heat, -heat) for heat in maps) == -1
    assert agreement(np.array([[[0.0, 1.0]], [[0.5, 0.7]]])) == pytest.approx((1, 2))


def test_networks_that_look_anywhere_do_not_agree():
    maps = np.random.default_rng(0).random((10, 40, 40))
    assert abs(agreement(maps).correlation) < 0.02


def test_constant_maps_are_left_out_and_too_few_maps_have_no_agreement():
    maps = random_maps(1, 3)
    with_flat = np.concatenate([maps, np.zeros((1, 6, 7), np.float32)])
    assert agreement(with_flat) == pytest.approx(agreement(maps))
    for few, n_maps in ((maps[:1], 1), (with_flat[2:], 1), (with_flat[3:], 0)):
        assert np.isnan(agreement(few).correlation)
        assert agreement(few).n_maps == n_maps
    assert np.isnan(rank_correlation(maps[0], np.ones((6, 7))))


@settings(deadline=None, max_examples=30)
@given(seed=seeds)
def test_energy_is_blind_to_the_order_of_pixels_and_the_scale_of_the_map(seed):
    heat, damage = random_maps(seed, 2)
    pixels = np.random.default_rng(seed).permutation(42)
    found = damage_energy(heat, damage)
    assert damage_energy(7 * heat.ravel()[pixels][None], damage.ravel()[pixels][None]) == pytest.approx(found)
    assert damage_energy(0.001 * heat, damage) == pytest.approx(found)
    assert 0 <= found.share <= 1
    assert found.gain == pytest.approx(found.share / found.chance)


def test_a_map_on_the_damage_alone_has_it_all_and_one_beside_it_has_none():
    damage = np.zeros((6, 8), np.float32)
    damage[2:4, 2:5] = 1
    assert damage_energy(damage, damage) == (1, 6 / 48, 8)
    assert damage_energy(1 - damage, damage) == (0, 6 / 48, 0)


def test_sums_of_large_maps_in_single_precision_are_exact():
    heat = np.random.default_rng(0).random((300, 300), dtype=np.float32)
    assert damage_energy(heat, np.ones_like(heat)) == (1, 1, 1)
    assert damage_energy(heat, heat).chance == pytest.approx(heat.astype(np.float64).mean(), rel=1e-12)


def test_an_even_map_has_what_chance_has():
    damage = random_maps(5, 1)[0]
    found = damage_energy(np.full((6, 7), 0.3, np.float32), damage)
    assert found.share == pytest.approx(found.chance)
    assert found.gain == pytest.approx(1)
    rng = np.random.default_rng(0)
    gains = [damage_energy(rng.random((40, 40)), rng.random((40, 40)) < 0.1).gain for _ in range(50)]
    assert np.mean(gains) == pytest.approx(1, abs=0.03)


def test_what_cannot_be_said_is_not_a_number():
    heat, nothing = random_maps(5, 1)[0], np.zeros((6, 7), np.float32)
    assert damage_energy(heat, nothing)[:2] == (0, 0)
    assert np.isnan(damage_energy(heat, nothing).gain)
    assert np.isnan(damage_energy(nothing, heat)[::2]).all()
    assert damage_energy(nothing, heat).chance == pytest.approx(heat.mean())
