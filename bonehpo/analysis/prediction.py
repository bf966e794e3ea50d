"""What a network says of one new scan: slice by slice, plane by plane, and of the whole."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bonehpo.domain import CLASS_NAMES, FAILED, PRISTINE


@dataclass(frozen=True, kw_only=True)
class PlaneVerdict:
    """All slices of one plane.

    Attributes:
        plane: Its name.
        n_slices: Slices looked at.
        share_failed: Share of slices whose p(failed) is above 1/2.
        mean: Mean p(failed).
        verdict: "failed" when the mean is above 1/2, else "pristine".
    """

    plane: str
    n_slices: int
    share_failed: float
    mean: float
    verdict: str


@dataclass(frozen=True, kw_only=True, eq=False)
class ScanVerdict:
    """One scan.

    Attributes:
        slices: A row each, with `plane`, `position`, `p_pristine`, `p_failed`, `verdict`.
        planes: In the order of the recipe.
        mean: Mean p(failed) over planes, each plane weighing the same.
        verdict: "failed" when the mean is above 1/2, else "pristine".
    """

    slices: pd.DataFrame
    planes: tuple[PlaneVerdict, ...]
    mean: float
    verdict: str


def summarise_scan(
    p_failed: Mapping[str, npt.NDArray[np.float32]], positions: Mapping[str, npt.NDArray[np.float64]]
) -> ScanVerdict:
    """Sum up the softmax outputs for *failed* of a scan's slices.

    Args:
        p_failed: For each plane, (slice,).
        positions: For each plane, where its slices were cut, (slice,).
    """
    slices = pd.concat(
        [
            pd.DataFrame({"plane": plane, "position": positions[plane], "p_pristine": 1 - p, "p_failed": p})
            for plane, p in p_failed.items()
        ],
        ignore_index=True,
    )
    slices["verdict"] = np.where(slices["p_failed"] > 0.5, CLASS_NAMES[FAILED], CLASS_NAMES[PRISTINE])
    planes = tuple(
        PlaneVerdict(
            plane=plane,
            n_slices=len(p),
            share_failed=float((p > 0.5).mean()),
            mean=float(p.mean()),
            verdict=_verdict(float(p.mean())),
        )
        for plane, p in p_failed.items()
    )
    mean = float(np.mean([plane.mean for plane in planes]))
    return ScanVerdict(slices=slices, planes=planes, mean=mean, verdict=_verdict(mean))


def _verdict(mean: float) -> str:
    return CLASS_NAMES[FAILED if mean > 0.5 else PRISTINE]
