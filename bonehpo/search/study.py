"""The search: trials until a study has enough of them, then its optimum again with fresh seeds.

What was finished is in Optuna's storage and among the fits before anything else is told. A search that was stopped, by a
signal or a power cut, goes on with the same call at the first missing pair of the trial that it was at.

Ctrl-C and SIGTERM are held back while something is written down: an exception that comes out of a signal handler in the
middle of a database transaction leaves the database locked by the process that is about to say goodbye to it.
"""

import dataclasses
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any, NamedTuple

import optuna
from filelock import Timeout
from optuna.trial import FrozenTrial, TrialState

from bonehpo.domain import Progress
from bonehpo.engine import DeadlinePassed, Engine, Outcome
from bonehpo.errors import EngineError, FitError, StudyError
from bonehpo.hyperparameters import Hyperparameters, in_words
from bonehpo.learning.fits import FitResult, FitTask
from bonehpo.learning.fitting import find_fit, run_fit
from bonehpo.search.dashboard import describe_study, describe_trial
from bonehpo.search.plan import REFIT_ATTEMPTS, FinishedPair, SearchPlan, fold_records, objective
from bonehpo.search.pruners import Pruner
from bonehpo.search.pruning import (
    TrialPruning,
    begin_pruning,
    complete_trials,
    mark_pruned,
    pruner_of,
    record_stop,
    stopped_trials,
)
from bonehpo.search.recorder import Recorder
from bonehpo.search.records import (
    best_score,
    choose_trial,
    n_seeds_known,
    replay_trial,
    study_record,
    trial_summary,
    write_optimum,
)
from bonehpo.search.space import check_space, make_sampler, settle_candidates, suggest
from bonehpo.search.storage import (
    REASON,
    Driver,
    finished_pairs,
    open_storage,
    open_study,
    record_pair,
    storage_errors,
)

logger = logging.getLogger(__name__)


class HeldInterrupts:
    """A context manager in which SIGINT and SIGTERM raise `KeyboardInterrupt` only inside `window()`.

    A second signal raises at once, wherever the program is. Outside the main thread, where no handler can be set, signals
    are left alone.
    """

    def __init__(self) -> None:
        self._former: dict[signal.Signals, Any] = {}
        self._is_open = False
        self._is_pending = False

    def __enter__(self) -> "HeldInterrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    @contextmanager
    def window(self) -> Iterator[None]:
        """Let an interruption come inside the block. One that came before comes now.

        Raises:
            KeyboardInterrupt: SIGINT or SIGTERM was received.
        """
        if self._is_pending:
            raise KeyboardInterrupt
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_open or self._is_pending:
            raise KeyboardInterrupt
        self._is_pending = True


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Extent and manner of a search; what is searched stands in study.toml alone.

    Attributes:
        n_trials: Trials that the study shall have in all, those of earlier calls included.
        timeout_s: Stop after this time; within a trial too. The next call goes on.
        n_seeds: Sets of fresh seeds with which the optimum is fitted; networks of the first are kept.
        prune: Whether to stop trials that fall behind although study.toml names no pruner, see `search.pruning.pruner_of`.
    """

    n_trials: int
    timeout_s: float | None = None
    n_seeds: int = 1
    prune: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchProgress(Progress):
    """Progress of a search; steps are fits.

    Attributes:
        trial: Number of the trial at work, from 0; None while the optimum is fitted again.
        n_trials: Trials that the study shall have.
        fit: Fits of it that are finished.
        n_fits: Fits that it takes.
        best: Apparent score of the trial that would be chosen now, as `show` tells it; NaN before one is complete.
        choice: Its hyperparameters.
    """

    trial: int | None
    n_trials: int
    fit: int
    n_fits: int
    best: float
    choice: Hyperparameters


class SearchOutcome(NamedTuple):
    """Outcome of a call of `run_search`.

    Attributes:
        n_complete: Trials of the study that are complete.
        n_failed: Trials that failed.
        n_elsewhere: Trials that other drivers are still at; the last of them fits the optimum.
        n_trials: Trials that the study shall have.
        has_optimum: Whether the optimum is fitted again.
        n_stopped: Trials that pruning stopped.
    """

    n_complete: int
    n_failed: int
    n_elsewhere: int
    n_trials: int
    has_optimum: bool
    n_stopped: int = 0


def run_search(
    plan: SearchPlan,
    engine: Engine,
    recorder: Recorder,
    options: SearchOptions,
    progress: Callable[[SearchProgress], None] = lambda _: None,
) -> SearchOutcome:
    """Search until the study has as many trials as it shall, then fit the optimum again with fresh seeds.

    Args:
        plan: What is searched, on what.
        engine: Where fits run.
        recorder: Who writes down what is found.
        options: How far it goes, and how.
        progress: Told after every fit.

    Raises:
        StudyError: Storage or store do not fit, the candidates were fixed otherwise, or the disk is full.
        NetworkError: The space holds an architecture that cannot be built.
        StoreError: The store is damaged.
    """
    check_space(plan.config, plan.side)
    storage = open_storage(plan.storage)
    with HeldInterrupts() as interrupts, storage_errors(), Driver(plan.folder) as driver:
        with driver.alone():
            study = open_study(storage, plan.folder.name, plan.identity)
            n_trials = settle_candidates(study, plan, options.n_trials)
            describe_study(study, plan)
        pruner = pruner_of(plan.config, prune=options.prune)
        if pruner.needs_incumbent:
            mark_pruned(study)
        search = _Search(
            plan=plan,
            study=study,
            driver=driver,
            engine=engine,
            recorder=recorder,
            interrupts=interrupts,
            options=dataclasses.replace(options, n_trials=n_trials),
            pruner=pruner,
            tell=progress,
        )
        recorder.study(study_record(plan, study))
        try:
            for trial in study.get_trials(deepcopy=False):
                if trial.state.is_finished() and trial.params:  # killed between storage and record, or MLflow was out
                    replay_trial(plan, trial, recorder)
            has_optimum = search.run()
        except BaseException:
            recorder.interrupted()
            raise
        states = [trial.state for trial in study.get_trials(deepcopy=False)]
        return SearchOutcome(
            n_complete=len(complete_trials(study)),
            n_stopped=len(stopped_trials(study)),
            n_failed=states.count(TrialState.FAIL),
            n_elsewhere=driver.others_at_work(study),
            n_trials=n_trials,
            has_optimum=has_optimum,
        )


@dataclass(kw_only=True)
class _Search:
    """The state of one call of `run_search`.

    Attributes:
        n_trained: Fits that were trained, and not found.
        first_began_s: When the first of them began, in seconds since 1970.
        n_complete: Trials that were complete when `best` was worked out.
        best: Score of the best trial.
        n_seeds: Sets of fresh seeds that the optimum is to have.
        sets_left: Those of them that are still to be fitted.
    """

    plan: SearchPlan
    study: optuna.Study
    driver: Driver
    engine: Engine
    recorder: Recorder
    interrupts: HeldInterrupts
    options: SearchOptions
    pruner: Pruner
    tell: Callable[[SearchProgress], None]
    started: float = field(default_factory=time.monotonic)
    n_trained: int = 0
    first_began_s: float = math.inf
    n_complete: int = 0
    best: float = math.nan
    n_seeds: int = field(init=False)
    sets_left: int = field(init=False)

    def __post_init__(self) -> None:
        self.n_seeds = self.sets_left = self.options.n_seeds

    @property
    def deadline(self) -> float | None:
        """End of the time, by the monotonic clock; None without a limit."""
        return None if self.options.timeout_s is None else self.started + self.options.timeout_s

    def run(self) -> bool:
        """Trials until there are enough, then the optimum. False when time ran out, or others are still at work."""
        try:
            while (trial := self.next_trial()) is not None:
                self.run_trial(trial)
            with self.driver.alone("optimum", timeout_s=0):
                return not self.driver.others_at_work(self.study) and self.fit_optimum()
        except DeadlinePassed:
            self.recorder.interrupted()
            return False
        except Timeout:  # another driver is fitting it
            return False

    def next_trial(self) -> optuna.Trial | None:
        """See `Driver.next_trial`."""
        return self.driver.next_trial(self.study, self.options.n_trials, lambda n: make_sampler(self.plan.config, n))

    def run_trial(self, trial: optuna.Trial) -> None:
        """Fit the missing pairs of a trial, and tell Optuna its value or why it has none."""
        choice = suggest(trial, self.plan.config.space)
        number = trial.number
        frozen = self.study.get_trials(deepcopy=False)[number]
        done = finished_pairs(frozen)
        replay_trial(self.plan, frozen, self.recorder)
        pruning = begin_pruning(self.plan, self.study, trial, self.pruner)
        tasks = [self.plan.task(choice, pair) for pair in pruning.pairs if pair.label not in done]
        self._report(number, choice, len(done))

        def keep(task: FitTask, result: FitResult) -> None:
            done[task.spec.pair.label] = FinishedPair.of(result)
            record_pair(trial, task.spec.pair, done[task.spec.pair.label], self.plan.pairs.index(task.spec.pair))
            for fold in fold_records(result):
                self.recorder.fold(number, fold)
            self._report(number, choice, len(done))

        try:
            self._fit(tasks, keep, lambda: pruning.stop(done) is not None)
        except DeadlinePassed:
            raise
        except (FitError, EngineError) as error:
            trial.set_user_attr(REASON, str(error))
            frozen = self.study.tell(trial, state=TrialState.FAIL)
        else:
            frozen = self._tell(trial, pruning, done)
        self.recorder.trial_finished(number, trial_summary(frozen, [f for pair in done.values() for f in pair.folds]))

    def _tell(self, trial: optuna.Trial, pruning: TrialPruning, done: Mapping[str, FinishedPair]) -> FrozenTrial:
        """Tell Optuna the value of a trial that has all its folds, or that pruning has stopped."""
        stop = pruning.stop(done)
        describe_trial(trial, [fold for pair in done.values() for fold in pair.folds], self.plan.config.task)
        if stop is not None:
            record_stop(trial, stop)
            return self.study.tell(trial, stop.score)
        return self.study.tell(trial, objective([fold for pair in self.plan.pairs for fold in done[pair.label].folds]))

    def _fit(
        self,
        tasks: Sequence[FitTask],
        keep: Callable[[FitTask, FitResult], None],
        is_enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take what is among the fits, train the rest; hand each result to `keep` as it comes, until it is enough."""
        missing = []
        for task in tasks:
            if is_enough():
                return
            found = find_fit(task)
            if found is not None:
                keep(task, found)
            else:
                missing.append(task)
        with closing(self.engine.run(run_fit, missing, self.deadline)) as outcomes:
            while not is_enough() and (outcome := self._next(outcomes)) is not None:
                result = outcome.result()
                self.n_trained += 1
                self.first_began_s = min(self.first_began_s, result.started_s)
                keep(outcome.task, result)

    def _next(self, outcomes: Iterator[Outcome[FitTask, FitResult]]) -> Outcome[FitTask, FitResult] | None:
        with self.interrupts.window():
            return next(outcomes, None)

    def fit_optimum(self) -> bool:
        """Choose the optimum and fit it again with fresh seeds, keeping its networks. False when there is none to choose."""
        chosen = choose_trial(self.study, self.plan)
        if chosen is None:
            return False
        self.n_seeds = max(self.n_seeds, n_seeds_known(self.study, chosen.trial))
        refits = self._refit(chosen.trial, chosen.choice)
        write_optimum(self.study, self.plan, self.recorder, chosen, refits)
        return True

    def _refit(self, number: int, choice: Hyperparameters) -> list[dict[str, FitResult]]:
        """Fit a trial with sets of fresh seeds, with others where one diverges. Results of each by the label of the pair."""
        found: list[dict[str, FitResult]] = []
        for repeat in range(1, REFIT_ATTEMPTS + self.n_seeds):
            self.sets_left = self.n_seeds - len(found)
            if self.sets_left == 0 or (repeat > REFIT_ATTEMPTS and not found):
                break
            try:
                found.append(self._fit_repeat(choice, repeat, is_kept=not found))
            except FitError as error:
                logger.warning("The optimum, trial %d, was not fitted with fresh seeds %d: %s", number, repeat, error)
        if not found:
            raise StudyError(
                f"the optimum, trial {number}, diverges with {REFIT_ATTEMPTS} sets of fresh seeds: its accuracy was luck; "
                "search more trials"
            )
        return found

    def _fit_repeat(self, choice: Hyperparameters, repeat: int, is_kept: bool) -> dict[str, FitResult]:
        results: dict[str, FitResult] = {}

        def keep(task: FitTask, result: FitResult) -> None:
            results[task.spec.pair.label] = result
            self._report(None, choice, len(results))

        self._report(None, choice, 0)
        self._fit([self.plan.task(choice, pair, repeat=repeat, keep=is_kept) for pair in self.plan.pairs], keep)
        return results

    def _report(self, trial: int | None, choice: Hyperparameters, fit: int) -> None:
        n_fits = len(self.plan.pairs)
        n_trials = max(self.options.n_trials, 0 if trial is None else trial + 1)
        n_before = n_trials + self.n_seeds - self.sets_left if trial is None else trial
        later = self.sets_left - 1 if trial is None else max(n_trials - trial - 1, 0) + self.n_seeds
        best = self._best_score()
        name = "optimum, fresh seeds" if trial is None else f"trial {trial + 1}/{n_trials}"
        so_far = "" if math.isnan(best) else f", best {abs(best):.3f}"
        begun = "" if self.n_trained or fit else "starting workers: "
        self.tell(
            SearchProgress(
                done=n_before * n_fits + fit,
                total=(n_trials + self.n_seeds) * n_fits,
                what=f"{begun}{name}, fit {fit}/{n_fits}{so_far} ({in_words(choice)})",
                task="search",
                seconds_left=self._seconds_a_fit() * (later * n_fits + n_fits - fit),
                trial=trial,
                n_trials=n_trials,
                fit=fit,
                n_fits=n_fits,
                best=best,
                choice=choice,
            )
        )

    def _seconds_a_fit(self) -> float:
        """Mean time from fit to fit since the first began, the start of the workers left out; NaN before one ended."""
        return (time.time() - self.first_began_s) / self.n_trained if self.n_trained else math.nan

    def _best_score(self) -> float:
        """See `best_score`; worked out again only when a trial has been completed."""
        n_complete = len(complete_trials(self.study))
        if n_complete != self.n_complete:
            self.best, self.n_complete = best_score(self.study, self.plan), n_complete
        return self.best
