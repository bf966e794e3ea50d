"""Scans to a verified slice store: reading, preparation, folds, and the phantom."""
