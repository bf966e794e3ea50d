"""Figures: of scans, of results and of studies. `draw` finds the figures of a result; each is written as PNG and SVG."""

from bonehpo.report.figures.scans import montage, prediction_figure

__all__ = ["montage", "prediction_figure"]
