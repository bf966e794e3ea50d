"""The study: a space, an objective under nested cross-validation, and its storage. The only importer of optuna."""

import contextlib
import importlib
import warnings

with warnings.catch_warnings(), contextlib.suppress(ImportError):
    warnings.simplefilter("ignore")
    importlib.import_module(
        "tqdm.auto"
    )  # Optuna's; in a notebook without ipywidgets it warns when it is first imported
