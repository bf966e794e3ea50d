"""Facts computed from recorded folds."""
