"""The load states of one specimen: strain, stress, and how far its damage has come."""

from typing import NamedTuple

import numpy as np

from bonehpo.data.phantom.spec import FACTS, Bone, PhantomSpec

STRAIN_AT_FAILURE = (0.060, 0.070)
PEAK_STRESS_MPA: dict[Bone, tuple[float, float]] = {"CB": (120.0, 170.0), "TB": (4.0, 16.0)}
RESIDUAL_STRESS: dict[Bone, float] = {"CB": 0.35, "TB": 0.65}
"""Stress at failure over peak stress: cortical bone breaks, trabecular bone softens towards a plateau."""


class LoadState(NamedTuple):
    """One load state.

    Attributes:
        number: From 1, pristine, to the number of states, failed.
        strain: Apparent compressive strain, dimensionless, positive.
        stress_mpa: Apparent compressive stress.
        damage: 0 before the first damage, 1 at failure.
    """

    number: int
    strain: float
    stress_mpa: float
    damage: float


def load_states(spec: PhantomSpec, index: int, rng: np.random.Generator) -> tuple[LoadState, ...]:
    """Lay out the load states of the specimen at `index`.

    Strain rises by nearly equal steps from 0 to 6–7 %. Damage begins at one of the states at which the paper first sees
    it and grows to failure, slowly at first.
    """
    n = spec.n_states
    onset = first_damaged_state(spec, rng)
    steps = rng.uniform(0.9, 1.1, n - 1)
    strains = np.concatenate([[0.0], np.cumsum(steps)]) / steps.sum() * rng.uniform(*STRAIN_AT_FAILURE)
    numbers = np.arange(1, n + 1)
    damages = np.clip((numbers - onset + 1) / (n - onset + 1), 0, 1) ** 1.2
    low, high = PEAK_STRESS_MPA[spec.bone]
    peak = low + (high - low) * (index % 5 + rng.uniform(0, 1)) / 5
    stresses = peak * relative_stress(strains, float(strains[onset - 2]), RESIDUAL_STRESS[spec.bone])
    return tuple(
        LoadState(int(number), round(float(strain), 5), round(float(stress), 3), float(damage))
        for number, strain, stress, damage in zip(numbers, strains, stresses, damages, strict=True)
    )


def first_damaged_state(spec: PhantomSpec, rng: np.random.Generator) -> int:
    """Draw the state at which damage begins; a shorter series has it at the same fraction of its length."""
    facts = FACTS[spec.bone]
    onset = int(rng.choice(facts.onsets))
    scaled = 1 + round((onset - 1) * (spec.n_states - 1) / (facts.n_states - 1))
    return max(2, scaled)


def relative_stress(strains: np.ndarray, strain_at_peak: float, residual: float) -> np.ndarray:
    """Stress over peak stress: a toe, a linear rise, yielding, and softening towards `residual`.

    Args:
        strains: Rising from 0.
        strain_at_peak: Strain of the last undamaged state.
        residual: What is left at the last strain.
    """
    strain_at_peak = max(strain_at_peak, 0.5 * float(strains[-1]))
    rise = np.clip(strains / strain_at_peak, 0, 1)
    toe_then_line = rise**2 / (rise + 0.12) * 1.12
    yielding = 1 - np.exp(-2.2 * toe_then_line)
    fall = np.clip((strains - strain_at_peak) / (strains[-1] - strain_at_peak), 0, 1)
    softening = 1 - (1 - residual) * fall**1.3
    return np.asarray(yielding / (1 - np.exp(-2.2)) * softening)
