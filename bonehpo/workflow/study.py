"""A study in one's hands: its settings, its slices, what is recorded of it, and all that can be done with it."""

import logging
import os
from collections.abc import Callable, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from bonehpo.config import StudyConfig, StudyFolder, load_config
from bonehpo.domain import ProgressCallback, ignore_progress, of_task
from bonehpo.engine import Workers
from bonehpo.workflow.plan import STUDIES, make_plan

if TYPE_CHECKING:
    import pandas as pd

    from bonehpo.analysis.estimates import Estimates
    from bonehpo.search.plan import SearchPlan
    from bonehpo.search.study import SearchOutcome
    from bonehpo.search.summary import RefitOptimum, StudySummary
    from bonehpo.store.store import SliceStore
    from bonehpo.tracking.registry import RegisteredVersion
    from bonehpo.workflow.prediction import Prediction
    from bonehpo.workflow.saved_results import SavedResult, StudyResults
    from bonehpo.workflow.searching import SearchForecast
    from bonehpo.workflow.stores import Inspection
    from bonehpo.workflow.syncing import Synced

AnyPath = str | PathLike[str]

logger = logging.getLogger(__name__)


class Study:
    """A study: the search of an architecture on the slices of one bone, and everything that was found.

    Nothing is kept in memory: each attribute is read when it is asked for, so that it shows what another process may have
    added meanwhile.

    Attributes:
        folder: Folder of the study, and what lies in it.
        project: Folder that holds `mlruns/`, MLflow's records.

    Examples:
        >>> study = bonehpo.Study("studies/TB")  # doctest: +SKIP
        >>> study.search(n_trials=50, workers=4)  # doctest: +SKIP
        >>> study.trials.sort_values("mean_accuracy").tail()  # doctest: +SKIP
        >>> study.estimates.nested_score  # accuracy on a specimen that nothing has seen  # doctest: +SKIP
    """

    def __init__(self, path: AnyPath, *, storage: str | None = None, project: AnyPath | None = None) -> None:
        """Name a study; nothing is read or written yet.

        Args:
            path: Its folder, `studies/TB`, with `slices.zarr` (see `prepare`) and perhaps a `study.toml`.
            storage: URL of Optuna's storage; None for the file `optuna.db` beside the study folders.
            project: Folder that holds `mlruns/`; None for the working directory. The environment variable
                `MLFLOW_TRACKING_URI` comes first.
        """
        self.folder = StudyFolder(Path(os.path.abspath(path)))  # noqa: PTH100  a link keeps its name
        self.project = Path.cwd() if project is None else Path(project).absolute()
        self._storage = storage

    def __repr__(self) -> str:
        """The call that names it."""
        return f"Study({fspath(self.folder.path)!r})"

    @property
    def name(self) -> str:
        """Name of the study: that of its folder."""
        return self.folder.name

    @property
    def config(self) -> StudyConfig:
        """Settings, from `study.toml`; the paper's settings where there is no such file.

        Raises:
            ConfigError: The file is wrong.
        """
        return load_config(self.folder.config, self.name)

    @property
    def store(self) -> "SliceStore":
        """The slices, and what was measured of each scan.

        Raises:
            StoreError: There is no store, or it cannot be used.
        """
        from bonehpo.workflow.stores import open_store

        return open_store(self.folder.store)

    @property
    def plan(self) -> "SearchPlan":
        """All that is settled before the first trial: configuration, sets, storage.

        Raises:
            StoreError: There is no store, or it cannot be used.
            ConfigError: study.toml is wrong.
            FoldError: The sets cannot be assigned.
        """
        return make_plan(self.folder, self._storage)

    @property
    def summary(self) -> "StudySummary":
        """The study at a glance: trials, optimum, estimates and where the scores vary, as `bonehpo show` prints them.

        Raises:
            StudyMissing: The study has not begun.
        """
        from bonehpo.search.summary import summarise

        return summarise(self.plan)

    @property
    def trials(self) -> "pd.DataFrame":
        """All trials that have begun, a row each, see `tables.trials_of`.

        The index is the number of the trial. Columns are the hyperparameters, `n_parameters`, `n_folds`, `mean_accuracy`,
        `sd`, `accuracy_<set>` for each test set, `state` and `reason`.

        Raises:
            StudyMissing: The study has not begun.
        """
        from bonehpo.workflow.tables import trials_of

        return trials_of(self.summary)

    @property
    def folds(self) -> "pd.DataFrame":
        """The folds of all complete trials, a row each, see `tables.folds_of`.

        Columns are `trial`, `test`, `validation`, `test_accuracy`, `validation_accuracy`, `accuracy_<plane>`, what is known
        of both classes, and the `key` of the fit.

        Raises:
            StudyMissing: The study has not begun.
        """
        from bonehpo.workflow.tables import folds_of

        return folds_of(self.plan)

    @property
    def optimum(self) -> "RefitOptimum | None":
        """The trial that was chosen at the end, and its folds with fresh seeds; None before the search has ended.

        Raises:
            StudyMissing: The study has not begun.
        """
        return self.summary.optimum

    @property
    def estimates(self) -> "Estimates | None":
        """Accuracy of the best trial: apparent and nested, with intervals; None before a trial is complete.

        Raises:
            StudyMissing: The study has not begun.
        """
        return self.summary.estimates

    @property
    def results(self) -> "StudyResults":
        """Comparisons and explanations that were made of the study as it is now, by name.

        Raises:
            StoreError: There is no store, or it cannot be used.
        """
        from bonehpo.workflow.saved_results import StudyResults

        return StudyResults(self.plan)

    @property
    def audits(self) -> "dict[str, SavedResult]":
        """The reports on leaks (`leakage`) and shortcuts (`audit`) that were made of the study as it is now.

        Raises:
            StudyMissing: The study has not begun.
        """
        from bonehpo.workflow.gate import current_audits
        from bonehpo.workflow.saved_results import saved

        plan = self.plan
        return {name: saved(result, plan) for name, result in current_audits(plan).items()}

    def search(
        self,
        n_trials: int,
        *,
        workers: int | None = None,
        scheduler: str | None = None,
        timeout_s: float | None = None,
        n_seeds: int = 1,
        prune: bool = False,
        despite_leaks: bool = False,
        progress: ProgressCallback = ignore_progress,
        note: Callable[[str], None] = logger.info,
    ) -> "SearchOutcome":
        """Search the architecture under full nested cross-validation, from where the study stopped on.

        Whatever is finished is kept: after an interruption the same call goes on. At the end the optimum is fitted again
        with fresh seeds. Works from a script without `if __name__ == "__main__"`, and from a notebook.

        Args:
            n_trials: Trials that the study shall have in all, those of earlier calls included. Trial 0 is the baseline.
            workers: Worker processes; None for one per core, 0 to work in this process.
            scheduler: Address of a running Dask scheduler, `tcp://HOST:8786`, in place of `workers`.
            timeout_s: Stop after this time, within a trial too.
            n_seeds: Sets of fresh seeds with which the optimum is fitted.
            prune: Whether to stop a trial once its folds so far are significantly behind those of the best complete trial.
            despite_leaks: Whether to search even if a set holds slices of another.
            progress: Told of the tasks `leakage`, `search` (as `SearchProgress`, after every fit) and `audit`.
            note: Told in words of leaks, and why something that was asked for is not done. The default logs it.

        Returns:
            How many trials are complete, and whether the optimum is fitted again.

        Raises:
            StudyError: A set holds slices of another; or the storage, the store or the settings do not fit the study.
            NetworkError: The space holds an architecture that cannot be built.
            StoreError: There is no store, or it is damaged.
            EngineError: No scheduler answers at the address.
        """
        from bonehpo.search.study import SearchOptions
        from bonehpo.workflow.searching import search_study

        options = SearchOptions(n_trials=n_trials, timeout_s=timeout_s, n_seeds=n_seeds, prune=prune)
        return search_study(
            self.plan,
            self.project,
            options,
            Workers(workers, scheduler),
            despite_leaks=despite_leaks,
            progress=progress,
            note=note,
        )

    def forecast(self, n_trials: int, *, workers: int | None = None, n_seeds: int = 1) -> "SearchForecast":
        """Reckon what a search would take, from a short training on this machine, and do nothing.

        Args:
            n_trials: Trials of the study.
            workers: Worker processes; None for one per core.
            n_seeds: Sets of fresh seeds with which the optimum is fitted.

        Raises:
            StoreError: There is no store, or it cannot be used.
            NetworkError: The space holds an architecture that cannot be built.
        """
        from bonehpo.workflow.searching import forecast_search

        return forecast_search(self.plan, n_trials, workers=workers, n_seeds=n_seeds)

    def run(
        self,
        name: str,
        *,
        visible_from: int | None = None,
        weights: str = "imagenet",
        scans: AnyPath | None = None,
        states: Sequence[str] = (),
        workers: int | None = None,
        scheduler: str | None = None,
        progress: ProgressCallback = ignore_progress,
    ) -> "SavedResult":
        """Make a result of a study that has its optimum: a comparison or an explanation, with tables and figures.

        A result that was made from the same before is taken as it is. It is recorded in MLflow.

        Args:
            name: One of `sweep`, `best-fold`, `grad-cam`, `detection`, `audit`, `permutation`, `slice-wise`, `pruning`,
                `calibration`, `mixed`, `compare`, `ablation`, `strain`; or `compare-BACKBONE` for another than ResNet-50.
            visible_from: First load state at which a person sees damage, for `detection` and `audit`; None for the truth of
                a phantom, else unknown.
            weights: What the backbone starts from in `compare`: `imagenet`, a file, `study:NAME` or `none`.
            scans: Table of scans, for `ablation`.
            states: Words for the load states, from pristine to failed, where that table has words for them.
            workers: Worker processes; None for one per core, 0 to work in this process.
            scheduler: Address of a running Dask scheduler, in place of `workers`.
            progress: Told of the task of this name.

        Raises:
            StudyError: There is no such result, the study has no optimum yet, or it answers another question.
            NetworkError: The weights cannot be had.
            StoreError: There is no store, or it is damaged.
        """
        from bonehpo.workflow.results import make_results, options_of

        options = options_of([name], visible_from, weights, scans, states, self.project / STUDIES)
        plan = self.plan
        (result,) = make_results(plan, self.project, [name], options, Workers(workers, scheduler), progress)
        return result

    def check_leakage(
        self, *, despite_leaks: bool = False, progress: ProgressCallback = ignore_progress
    ) -> "SavedResult":
        """See that no set of the study holds what another holds, as every search does before it begins.

        Args:
            despite_leaks: Whether to return the report where there is a leak.
            progress: Told of the task `leakage`.

        Raises:
            StudyError: There is a leak.
            StoreError: There is no store, or it is damaged.
        """
        from bonehpo.results.leakage import NAME, prove_no_leak
        from bonehpo.workflow.saved_results import saved

        plan = self.plan
        return saved(prove_no_leak(plan, of_task(progress, NAME), despite_leaks=despite_leaks), plan)

    def audit(
        self, *, visible_from: int | None = None, progress: ProgressCallback = ignore_progress
    ) -> "dict[str, SavedResult]":
        """Ask whether the accuracies can be believed: leaks between the sets, and shortcuts past the damage.

        Args:
            visible_from: First load state at which a person sees damage; None for the truth of a phantom, else unknown.
            progress: Told of the tasks `leakage` and `audit`.

        Returns:
            The results `leakage` and `audit`.

        Raises:
            StudyError: The study has no optimum yet, or predicts strain.
            StoreError: There is no store, or it is damaged.
        """
        leakage = self.check_leakage(despite_leaks=True, progress=progress)
        return {
            leakage.name: leakage,
            "audit": self.run("audit", visible_from=visible_from, workers=0, progress=progress),
        }

    def report(self) -> Path:
        """Write everything recorded of the study as one HTML page that needs nothing else, and log it to MLflow.

        Returns:
            The page, `report.html` in the folder of the study.

        Raises:
            StudyError: The study has not begun, or the page cannot be written.
        """
        from bonehpo.workflow.report import record_report

        return record_report(self.plan, self.project)

    def promote(self, because: str | None = None) -> "RegisteredVersion":
        """Register the optimum's best network, calibrated, as `bonehpo-<bone>`, and move the alias `champion` to it.

        Args:
            because: Why it is promoted although something speaks against it; stands in the model card. None where nothing
                may: then folds that are missing, an accuracy that does not beat chance or the baseline, and what the
                audits warn of are refused.

        Raises:
            PromotionRefused: There is no whole optimum, or something speaks against it.
            TrackingError: MLflow cannot be written.
        """
        from bonehpo.tracking.database import open_tracking
        from bonehpo.workflow.gate import audited
        from bonehpo.workflow.promotion import promote_optimum

        plan, tracking = self.plan, open_tracking(self.project)
        return promote_optimum(plan, tracking, audited(plan), because)

    def predict(self, scan: AnyPath, *, first: AnyPath | None = None) -> "Prediction":
        """Run the champion of this study's bone on a scan, prepared as its training scans were.

        Args:
            scan: A folder of TIFFs, a multipage TIFF, .npy, .zarr or FILE.h5::/dataset; for a store of 2-D slices an image
                or a folder of images.
            first: The first scan of the same specimen, from which it is measured how far the scan lies; None without one.

        Raises:
            TrackingError: There is no champion, or its files cannot be read.
            ScanError: The scan cannot be read, or its intensities cannot be used.
            PreparationError: The scan is smaller than the crop, or its images are not laid out by planes.
        """
        from bonehpo.workflow.prediction import predict_scan

        return predict_scan(f"bonehpo-{self.config.bone}", scan, self.project, first)

    def inspect(self, montage: AnyPath | None = None) -> "Inspection":
        """Draw the specimens of the store, and write down what was measured of its scans.

        Args:
            montage: PNG to write; None for `montage.png` in the folder of the study.

        Raises:
            StoreError: There is no store, or it is damaged.
            StudyError: The folder cannot be written.
        """
        from bonehpo.workflow.stores import inspect_store

        return inspect_store(self.folder, None if montage is None else Path(montage))

    def sync(self, *, relocate: bool = False) -> "Synced":
        """Write into MLflow whatever it lacks of the study. Optuna's storage and the fits are the truth.

        Args:
            relocate: Whether first to adapt MLflow's absolute paths to where the project is now.

        Raises:
            StudyMissing: The study has not begun.
            TrackingError: MLflow cannot be opened.
        """
        from bonehpo.workflow.syncing import sync_study

        return sync_study(self.plan, self.project, relocated=relocate)


def predict(
    model: "str | Study", scan: AnyPath, *, first: AnyPath | None = None, project: AnyPath | None = None
) -> "Prediction":
    """Run a registered network on a scan, prepared as its training scans were.

    Args:
        model: Name of a registered model, `bonehpo-TB`, for its champion; `models:/NAME/VERSION` or `models:/NAME@ALIAS`;
            or a study, for the champion of its bone.
        scan: A folder of TIFFs, a multipage TIFF, .npy, .zarr or FILE.h5::/dataset; for a network that was trained on 2-D
            slices an image or a folder of images.
        first: The first scan of the same specimen, from which it is measured how far the scan lies; None without one.
        project: Folder that holds `mlruns/`; None for the working directory. A study has its own.

    Returns:
        The verdict on the scan, on each plane and on every slice; `write` puts it into a folder.

    Raises:
        TrackingError: There is no such model, or its files cannot be read.
        ScanError: The scan cannot be read, or its intensities cannot be used.
        PreparationError: The scan is smaller than the crop, or its images are not laid out by planes.

    Examples:
        >>> found = bonehpo.predict("bonehpo-TB", "scans/TB13.tif")  # doctest: +SKIP
        >>> found.verdict, found.mean, found.slices  # doctest: +SKIP
    """
    if isinstance(model, Study):
        return model.predict(scan, first=first)
    from bonehpo.workflow.prediction import predict_scan

    return predict_scan(model, scan, Path.cwd() if project is None else Path(project).absolute(), first)
