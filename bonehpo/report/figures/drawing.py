"""Which figures belong to which result."""

from collections.abc import Callable, Mapping
from pathlib import Path

from bonehpo.report.figures.best_fold import architecture_figure, best_fold_figure, calibration_figure
from bonehpo.report.figures.comparisons import (
    ablation_figure,
    audit_figure,
    compare_detection_figure,
    compare_figure,
    mixed_figure,
)
from bonehpo.report.figures.detection import best_fold_detection_figure, detection_figure, limit_slices_figure
from bonehpo.report.figures.heat_maps import checks_figure, classes_figure, states_figure
from bonehpo.report.figures.strain import strain_figure, strain_maps_figure
from bonehpo.report.figures.studies import sweep_figure
from bonehpo.report.figures.style import Drawn
from bonehpo.results.result import Result

FIGURES: Mapping[str, tuple[Callable[[Result, Path], Drawn | None], ...]] = {
    "sweep": (sweep_figure,),
    "best-fold": (architecture_figure, best_fold_figure),
    "grad-cam": (classes_figure, states_figure, checks_figure),
    "detection": (best_fold_detection_figure, detection_figure, limit_slices_figure),
    "audit": (audit_figure,),
    "calibration": (calibration_figure,),
    "mixed": (mixed_figure,),
    "compare": (compare_figure, compare_detection_figure),
    "ablation": (ablation_figure,),
    "strain": (strain_figure, strain_maps_figure),
}
"""By name of the result, in the order of the paper; a figure whose pictures or states are missing is left out."""


def draw(result: Result, folder: Path) -> tuple[Drawn, ...]:
    """Draw all figures of a result.

    Args:
        result: One of `docs/reference/results.md`; any other has no figures.
        folder: Where to write them, as PNG and SVG.
    """
    figures = (figure(result, folder) for figure in FIGURES.get(result.name, ()))
    return tuple(drawn for drawn in figures if drawn is not None)
