"""Worth of heat maps: whether networks agree on where to look, and whether it is where the damage is.

Maps are compared by rank (Spearman) and not by value (Pearson): each Grad-CAM map is scaled to its own maximum, so that only
the order of its pixels means the same in two networks, and one hot pixel shall not decide.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


class Agreement(NamedTuple):
    """Agreement of maps with each other.

    Attributes:
        correlation: Mean Spearman correlation over pairs of maps, −1 to 1; NaN with fewer than two usable maps.
        n_maps: Maps that were used: those that are not constant.
    """

    correlation: float
    n_maps: int


class Energy(NamedTuple):
    """Share of a map that lies on true damage.

    Attributes:
        share: Share of the map's sum that lies on damage, 0 to 1; NaN for a map that is zero everywhere.
        chance: Share of the area that is damaged: what an even map would have.
        gain: share / chance, 1 for an even map; NaN where nothing is damaged, or the map is zero everywhere.
    """

    share: float
    chance: float
    gain: float


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman correlation of two maps (y, x) of one shape, ties at their mean rank; NaN where one of them is constant.

    Examples:
        >>> rank_correlation(np.array([[0.0, 0.1], [0.2, 1.0]]), np.array([[0.0, 0.5], [0.7, 0.9]]))
        1.0
    """
    return agreement(np.stack([a, b])).correlation


def agreement(maps: Floats) -> Agreement:
    """Mean Spearman correlation over all pairs of maps (map, y, x) of one slice by different networks.

    Constant maps have no ranks and are left out; how many were used is part of the answer. Networks that merely both follow
    the bone agree as well: compare with `damage_energy`.
    """
    from scipy import stats

    ranks = stats.rankdata(maps.reshape(len(maps), -1), axis=1)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    norms = np.sqrt((centred**2).sum(axis=1))
    centred = centred[norms > 0] / norms[norms > 0, np.newaxis]
    n = len(centred)
    if n < 2:
        return Agreement(float("nan"), n)
    pairs = (centred @ centred.T)[np.triu_indices(n, k=1)]
    return Agreement(float(np.clip(pairs, -1, 1).mean()), n)


def damage_energy(heat: Floats, damage: Floats) -> Energy:
    """Share of a heat map that lies on true damage, beside what chance would put there.

    Args:
        heat: The map, (y, x), not negative.
        damage: Share of each pixel that is truly damaged, (y, x), 0 to 1.

    References:
        The "energy-based pointing game" of Wang et al., Score-CAM, CVPR Workshops 2020, arXiv:1910.01279.
    """
    total, chance = float(heat.sum(dtype=np.float64)), float(damage.mean(dtype=np.float64))
    share = float((heat.astype(np.float64) * damage).sum()) / total if total > 0 else float("nan")
    return Energy(share=share, chance=chance, gain=share / chance if chance > 0 else float("nan"))
