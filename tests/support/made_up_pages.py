"""Both pages about made-up studies: contents with their figures, drawn once."""

from dataclasses import replace
from pathlib import Path

import made_up_results as made_up
import made_up_study

from bonehpo.report.page import Report
from bonehpo.report.side_by_side import Sides
from bonehpo.workflow.kinds import RESULT_KINDS

DRAWN = ("sweep", "best-fold", "detection", "calibration", "compare")


def side(world: made_up.World, folder: Path, name: str, without: tuple[str, ...] = ()) -> Report:
    """Contents of one study, with the figures of a few results.

    Args:
        world: That it is made up in.
        folder: Where figures go.
        name: Of the study.
        without: Results that it has not.
    """
    results = [made_up.MAKERS[kind](world) for kind in made_up.REPRODUCED if kind not in without]
    return Report(
        study=replace(made_up_study.study(world), name=name),
        record=replace(made_up_study.record(world), name=name),
        kinds=tuple(RESULT_KINDS.values()),
        results=results,
        drawn={r.name: made_up.draw(r, folder / name) for r in results if r.name in DRAWN},
        made=made_up_study.MADE,
    )


def two_bones(folder: Path) -> Sides:
    """CB, of scans with awkward names, and TB, of phantoms, that lacks the sweep."""
    return Sides(side(made_up.SCANS, folder, "CB"), side(made_up.PHANTOM, folder, "TB", without=("sweep",)))
