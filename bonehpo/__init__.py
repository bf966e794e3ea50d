"""Architecture search for damage classification in micro-CT images of bone, under nested cross-validation.

What is listed in `__all__` is for users, and stays as it is; the rest may change. Everything is loaded when it is first
asked for: `import bonehpo` takes milliseconds and loads no TensorFlow. Nothing here prints: progress is told to a callback,
what goes wrong is a `BonehpoError` of one line.

Examples:
    A phantom, searched and explained:

    >>> import bonehpo
    >>> scans = bonehpo.make_phantom(bonehpo.PhantomSpec(bone="TB", side=48), "phantoms/TB")  # doctest: +SKIP
    >>> store = bonehpo.prepare(scans, "studies/TB")  # doctest: +SKIP
    >>> study = bonehpo.Study("studies/TB")  # doctest: +SKIP
    >>> study.search(n_trials=20, workers=4)  # doctest: +SKIP
    >>> study.run("detection").tables["limits"]  # doctest: +SKIP
    >>> study.promote()  # doctest: +SKIP
    >>> bonehpo.predict("bonehpo-TB", "scans/TB13.tif").verdict  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING

from bonehpo.errors import (
    BonehpoError,
    ConfigError,
    EngineError,
    FitError,
    FoldError,
    NetworkError,
    PhantomError,
    PreparationError,
    PromotionRefused,
    ResultMissing,
    ScanError,
    StoreDamaged,
    StoreError,
    StoreMissing,
    StudyError,
    StudyMissing,
    TrackingError,
)

if TYPE_CHECKING:
    from bonehpo.analysis.estimates import Estimates
    from bonehpo.config import StudyConfig
    from bonehpo.domain import Progress
    from bonehpo.hyperparameters import Hyperparameters
    from bonehpo.phantom.spec import PhantomSpec
    from bonehpo.search.study import SearchOutcome, SearchProgress
    from bonehpo.search.summary import RefitOptimum, StudySummary
    from bonehpo.store.recipe import Steps
    from bonehpo.store.store import SliceStore
    from bonehpo.tracking.registry import RegisteredVersion
    from bonehpo.workflow.prediction import Prediction
    from bonehpo.workflow.saved_results import SavedResult, StudyResults
    from bonehpo.workflow.searching import SearchForecast
    from bonehpo.workflow.side_by_side import report_side_by_side
    from bonehpo.workflow.stores import make_phantom, open_store, prepare
    from bonehpo.workflow.study import Study, predict

    __version__: str

__all__ = [
    "BonehpoError",
    "ConfigError",
    "EngineError",
    "Estimates",
    "FitError",
    "FoldError",
    "Hyperparameters",
    "NetworkError",
    "PhantomError",
    "PhantomSpec",
    "Prediction",
    "PreparationError",
    "Progress",
    "PromotionRefused",
    "RefitOptimum",
    "RegisteredVersion",
    "ResultMissing",
    "SavedResult",
    "ScanError",
    "SearchForecast",
    "SearchOutcome",
    "SearchProgress",
    "SliceStore",
    "Steps",
    "StoreDamaged",
    "StoreError",
    "StoreMissing",
    "Study",
    "StudyConfig",
    "StudyError",
    "StudyMissing",
    "StudyResults",
    "StudySummary",
    "TrackingError",
    "__version__",
    "make_phantom",
    "open_store",
    "predict",
    "prepare",
    "report_side_by_side",
]

_HOMES = {
    "Estimates": "bonehpo.analysis.estimates",
    "Hyperparameters": "bonehpo.hyperparameters",
    "PhantomSpec": "bonehpo.phantom.spec",
    "Prediction": "bonehpo.workflow.prediction",
    "Progress": "bonehpo.domain",
    "RefitOptimum": "bonehpo.search.summary",
    "RegisteredVersion": "bonehpo.tracking.registry",
    "SavedResult": "bonehpo.workflow.saved_results",
    "SearchForecast": "bonehpo.workflow.searching",
    "SearchOutcome": "bonehpo.search.study",
    "SearchProgress": "bonehpo.search.study",
    "SliceStore": "bonehpo.store.store",
    "Steps": "bonehpo.store.recipe",
    "Study": "bonehpo.workflow.study",
    "StudyConfig": "bonehpo.config",
    "StudyResults": "bonehpo.workflow.saved_results",
    "StudySummary": "bonehpo.search.summary",
    "make_phantom": "bonehpo.workflow.stores",
    "open_store": "bonehpo.workflow.stores",
    "predict": "bonehpo.workflow.study",
    "prepare": "bonehpo.workflow.stores",
    "report_side_by_side": "bonehpo.workflow.side_by_side",
}
"""Module of each name that is loaded on demand."""

if not TYPE_CHECKING:  # to a type checker, a name that is not in __all__ is none

    def __getattr__(name: str) -> object:
        """Load a public name when it is first asked for."""
        if name == "__version__":
            from importlib.metadata import version

            value: object = version("bonehpo")
        elif name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module 'bonehpo' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """The public names, loaded or not."""
        return sorted({*globals(), *__all__})
