"""Estimates, checks and decisions computed from recorded folds."""
