"""Figures: of scans, of results and of studies. `draw` finds the figures of a result; each is written as PNG and SVG."""

from bonehpo.report.figures.drawing import draw
from bonehpo.report.figures.scans import middle_slices_figure, montage, prediction_figure
from bonehpo.report.figures.style import Drawn

__all__ = ["Drawn", "draw", "middle_slices_figure", "montage", "prediction_figure"]
