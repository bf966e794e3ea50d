"""Figures: of scans, of results and of studies, as PNG and SVG; `workflow.kinds` says which belong to which."""

from bonehpo.report.figures.scans import middle_slices_figure, montage, prediction_figure

__all__ = ["middle_slices_figure", "montage", "prediction_figure"]
