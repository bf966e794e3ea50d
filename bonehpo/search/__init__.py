"""The study: a space, an objective under nested cross-validation, and its storage. The only importer of optuna."""
