"""The phantom to be made: the paper's ten specimens, their load states, strains and stresses, and the side of a volume."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from bonehpo.errors import PhantomError
from bonehpo.phantom.shortcuts import Shortcut, parse_shortcut

Bone = Literal["CB", "TB"]

FIELD_OF_VIEW_UM = 1950.0
"""Edge of every volume: 300 voxels of 6.5 µm, as in the paper. Smaller sides have larger voxels."""

SMALLEST_SIDE, LARGEST_SIDE = 32, 600
SMALLEST_N_STATES = 2


class BoneProperties(NamedTuple):
    """Specimens, states and measures of one bone type, as the paper reports them.

    Attributes:
        specimens: Names.
        n_states: Load states of each specimen, pristine and failed included.
        onsets: The states among which the first damage is seen.
        volume_fractions: Bone volume over total volume of each specimen, in the order of the names.
    """

    specimens: tuple[str, ...]
    n_states: int
    onsets: tuple[int, int]
    volume_fractions: tuple[float, ...]


PROPERTIES: dict[Bone, BoneProperties] = {
    "CB": BoneProperties(("CB5", "CB6", "CB8", "CB12", "CB22"), 20, (12, 13), (0.965, 0.966, 0.970, 0.969, 0.966)),
    "TB": BoneProperties(("TB5", "TB6", "TB9", "TB11", "TB12"), 15, (11, 12), (0.128, 0.164, 0.215, 0.263, 0.309)),
}


@dataclass(frozen=True, kw_only=True)
class PhantomSpec:
    """One phantom, complete: the same values give the same voxels on any number of workers.

    Attributes:
        bone: "CB" for cortical, "TB" for trabecular bone.
        side: Voxels along each edge of a volume.
        shortcut: What tells some scans apart and is no damage, `KIND[:STRENGTH][@pristine|@failed|@loaded]`, of
            `shortcuts.KINDS`: "hot-pixels" in pristine scans is the trap of the paper's Appendix A. Empty for none.
        seed: Start of every random draw.
        specimens: Names; the paper's five for this bone if empty.
        n_states: Load states of each specimen; the paper's number if 0. The first damage keeps its place in the series.
        structure: A scan whose sub-volumes become the pristine specimens; None for a synthetic structure.

    Raises:
        PhantomError: A value that cannot be made into a phantom.
    """

    bone: Bone
    side: int = 96
    shortcut: str = ""
    seed: int = 0
    specimens: tuple[str, ...] = ()
    n_states: int = 0
    structure: Path | None = None

    def __post_init__(self) -> None:
        if self.bone not in PROPERTIES:
            raise PhantomError(f"Bone {self.bone!r} has no phantom: choose CB or TB")
        object.__setattr__(self, "specimens", self.specimens or PROPERTIES[self.bone].specimens)
        object.__setattr__(self, "n_states", self.n_states or PROPERTIES[self.bone].n_states)
        if not SMALLEST_SIDE <= self.side <= LARGEST_SIDE:
            raise PhantomError(
                f"Side {self.side} of the phantom is out of range: choose {SMALLEST_SIDE} to {LARGEST_SIDE} voxels"
            )
        if self.n_states < SMALLEST_N_STATES:
            raise PhantomError(f"{self.n_states} load states are too few: ask for a pristine and a failed one at least")
        if self.seed < 0:
            raise PhantomError(f"Seed {self.seed} of the phantom is negative: choose 0 or more")
        self._check_names()
        object.__setattr__(self, "shortcut", str(self.planted or ""))

    @property
    def planted(self) -> Shortcut | None:
        """The shortcut, read; None where there is none."""
        return parse_shortcut(self.shortcut) if self.shortcut else None

    def _check_names(self) -> None:
        if len(set(self.specimens)) < len(self.specimens):
            raise PhantomError(f"Specimens {', '.join(self.specimens)} hold a name twice: give each its own")
        for name in self.specimens:
            plain = all(letter.isalnum() or letter in "-_" for letter in name)
            if not name or not plain or name == "truth":
                raise PhantomError(
                    f"Specimen name {name!r} cannot name a folder: use letters, digits, - and _, and not 'truth'"
                )

    @property
    def voxel_um(self) -> float:
        """Edge of a voxel of a synthetic structure, in µm."""
        return FIELD_OF_VIEW_UM / self.side

    @property
    def margin(self) -> int:
        """Voxels that a structure has beyond the volume on every side, so that displacements find material there."""
        return 4 + round(0.09 * self.side)

    def volume_fraction(self, index: int) -> float:
        """Bone volume over total volume that the synthetic specimen at `index` gets."""
        fractions = PROPERTIES[self.bone].volume_fractions
        return fractions[index % len(fractions)]


STRAIN_AT_FAILURE = (0.060, 0.070)
PEAK_STRESS_MPA: dict[Bone, tuple[float, float]] = {"CB": (120.0, 170.0), "TB": (4.0, 16.0)}
RESIDUAL_STRESS: dict[Bone, float] = {"CB": 0.35, "TB": 0.65}
"""Stress at failure over peak stress: cortical bone breaks, trabecular bone softens towards a plateau."""


class PhantomState(NamedTuple):
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


def load_states(spec: PhantomSpec, index: int, rng: np.random.Generator) -> tuple[PhantomState, ...]:
    """Lay out the load states of the specimen at `index`.

    Strain rises by nearly equal steps from 0 to 6–7 %. Damage begins at one of the states at which the paper first sees
    it and grows to failure, slowly at first.

    Args:
        spec: Of the phantom.
        index: Of the specimen, from 0.
        rng: Source of random numbers.
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
        PhantomState(int(number), round(float(strain), 5), round(float(stress), 3), float(damage))
        for number, strain, stress, damage in zip(numbers, strains, stresses, damages, strict=True)
    )


def first_damaged_state(spec: PhantomSpec, rng: np.random.Generator) -> int:
    """Draw the state at which damage begins; a shorter series has it at the same fraction of its length."""
    properties = PROPERTIES[spec.bone]
    onset = int(rng.choice(properties.onsets))
    scaled = 1 + round((onset - 1) * (spec.n_states - 1) / (properties.n_states - 1))
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
