"""Figures and pages. The only importer of matplotlib and jinja2."""
