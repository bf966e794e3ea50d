"""What a search says while it runs, and at its end."""

from typing import NamedTuple

from bonehpo.domain import Hyperparameters


class SearchProgress(NamedTuple):
    """Where a search is.

    Attributes:
        trial: Number of the trial at work, from 0; None while the optimum is fitted again.
        n_trials: Trials that the study shall have.
        fit: Fits of it that are finished.
        n_fits: Fits that it takes.
        best: Highest mean accuracy of a complete trial so far; NaN before the first.
        seconds_left: Estimate from the fits trained so far; NaN before the first.
        choice: Its hyperparameters.
    """

    trial: int | None
    n_trials: int
    fit: int
    n_fits: int
    best: float
    seconds_left: float
    choice: Hyperparameters


class SearchOutcome(NamedTuple):
    """How a call of `run_search` ended.

    Attributes:
        n_complete: Trials of the study that are complete.
        n_failed: Trials that failed.
        n_elsewhere: Trials that other drivers are still at; the last of them fits the optimum.
        n_trials: Trials that the study shall have.
        has_optimum: Whether the optimum is fitted again.
        n_stopped: Trials that a race stopped.
    """

    n_complete: int
    n_failed: int
    n_elsewhere: int
    n_trials: int
    has_optimum: bool
    n_stopped: int = 0
