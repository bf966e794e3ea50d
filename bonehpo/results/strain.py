"""Errors of predicted strains: by state, by specimen, overall, and beside a network that knows nothing.

All is computed from one table, a row for each slice and fold, with the columns `specimen`, `test`, `validation`, `state`,
`strain_percent`, `predicted_percent`. A fold is (test, validation); a test set is a specimen, or a donor where donors are
named. Errors are mean absolute errors in % strain, over the slices of a fold first and then over folds, so that each fold
weighs the same; `sd` is over folds.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from natsort import natsorted

from bonehpo.analysis.comparison import Comparison, compare_by_set
from bonehpo.config import Split, StudyConfig
from bonehpo.domain import ProgressCallback
from bonehpo.engine import Engine
from bonehpo.errors import StudyError
from bonehpo.learning.fits import FitTask
from bonehpo.results.compare import with_split
from bonehpo.results.finished import (
    Configuration,
    Findings,
    FinishedStudy,
    FittedConfiguration,
    fit_configurations,
    parameters_of,
)
from bonehpo.results.heat_maps import Asked, MapTask, SliceKey, explain_slices, read_slices
from bonehpo.search.plan import SearchPlan
from bonehpo.task import STRAIN

FOLD = ["test", "validation"]

CONFIGURATIONS = ("network", "mean of the training strains")


class RegressionLine(NamedTuple):
    """The straight line of predicted against true strain, least squares in each fold, then the mean over folds.

    Attributes:
        slope: 1 is perfect, 0 a network that knows nothing, below 1 one that shrinks towards the middle. NaN where no
            fold has two different strains.
        intercept: What it says at no strain, in % strain; 0 is perfect.
        n_folds: Folds with two different strains.
    """

    slope: float
    intercept: float
    n_folds: int


def errors_by_state(table: pd.DataFrame) -> pd.DataFrame:
    """Error at each load state.

    Returns:
        Columns `state`, `strain_percent` (mean over the specimens that have the state), `error_percent`, `sd` (NaN for one
        fold), `n_slices` (over all folds); in order of state.
    """
    rows = _with_errors(table)
    by_fold = rows.groupby([*FOLD, "state"])["error_percent"].mean().groupby("state")
    return pd.DataFrame(
        {
            "strain_percent": _scans(table).groupby("state").mean(),
            "error_percent": by_fold.mean(),
            "sd": by_fold.std(ddof=1),
            "n_slices": rows.groupby("state").size(),
        }
    ).reset_index()


def errors_by_specimen(table: pd.DataFrame) -> pd.DataFrame:
    """Error on each specimen, or on each donor where donors are named.

    Returns:
        Columns `specimen` (name of the test set), `error_percent`, `sd` (NaN for one fold), `n_folds`; in natural order.
    """
    by_fold = _with_errors(table).groupby(FOLD)["error_percent"].mean().groupby("test")
    found = pd.DataFrame({"error_percent": by_fold.mean(), "sd": by_fold.std(ddof=1), "n_folds": by_fold.size()})
    return found.loc[natsorted(found.index)].rename_axis("specimen").reset_index()


def errors_by_configuration(table: pd.DataFrame) -> pd.DataFrame:
    """Overall error of the network and of the constant that is the mean of the training strains.

    Returns:
        Columns `configuration`, `error_percent`, `sd` (NaN for one fold), `n_folds`; the network first.

    Raises:
        StudyError: The table has no training specimens for some fold.
    """
    configurations = dict(zip(CONFIGURATIONS, (table, constant_predictions(table)), strict=True))
    folds = {
        configuration: _with_errors(rows).groupby(FOLD)["error_percent"].mean()
        for configuration, rows in configurations.items()
    }
    return pd.DataFrame(
        {
            "configuration": configuration,
            "error_percent": errors.mean(),
            "sd": errors.std(ddof=1),
            "n_folds": len(errors),
        }
        for configuration, errors in folds.items()
    )


def constant_predictions(table: pd.DataFrame) -> pd.DataFrame:
    """The table as a network would leave it that always says the mean strain of its training scans.

    Training scans are those of all sets of the table but the fold's two; each counts once, as all scans of a store have
    the same number of slices.

    Raises:
        StudyError: The table has no training specimens for some fold.
    """
    scans = _scans(table).reset_index()
    constants = {}
    for test, validation in table[FOLD].drop_duplicates().itertuples(index=False, name=None):
        training = scans.loc[~scans["test"].isin([test, validation]), "strain_percent"]
        if not len(training):
            raise StudyError(
                f"test {test}, validation {validation}: no third specimen in the table to train on: "
                "complete the folds of at least three specimens"
            )
        constants[test, validation] = float(training.mean())
    folds = zip(table["test"], table["validation"], strict=True)
    return table.assign(predicted_percent=[constants[fold] for fold in folds])


def regression_line(table: pd.DataFrame) -> RegressionLine:
    """Line by which predicted strains follow true ones."""
    lines = []
    for _, rows in table.groupby(FOLD):
        true, said = rows["strain_percent"].to_numpy(float), rows["predicted_percent"].to_numpy(float)
        spread = ((true - true.mean()) ** 2).sum()
        if np.ptp(true) > 0:
            slope = float(((true - true.mean()) * (said - said.mean())).sum() / spread)
            lines.append((slope, float(said.mean() - slope * true.mean())))
    if not lines:
        return RegressionLine(float("nan"), float("nan"), 0)
    slope, intercept = np.mean(lines, axis=0)
    return RegressionLine(slope=float(slope), intercept=float(intercept), n_folds=len(lines))


def _with_errors(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(error_percent=(table["predicted_percent"] - table["strain_percent"]).abs())


def _scans(table: pd.DataFrame) -> "pd.Series[float]":
    """True strain of each scan, by test set, specimen and state."""
    return table.groupby(["test", "specimen", "state"])["strain_percent"].mean()


NAME = "strain"

HARDLY_BETTER = 0.9
"""A network whose error is more than this share of the constant's has not shown that it sees anything."""


def strain_address(finished: FinishedStudy) -> str:
    """Content address of the regression."""
    return finished.address(NAME, _as_strain(finished.plan.config).training.epochs)


def run_strain(finished: FinishedStudy, engine: Engine, progress: ProgressCallback) -> Findings:
    """Cross-validate the optimum's architecture, trained to predict strain, over specimens.

    Args:
        finished: The study.
        engine: Where fits run.
        progress: Told after every fit.

    Raises:
        StoreError: A scan has no strain.
        StudyError: No fit succeeded.
    """
    store = finished.store
    plan = replace(finished.plan, config=_as_strain(finished.plan.config))
    plan = with_split(plan, Split(kind="specimen"), store)
    configuration = Configuration(
        name="strain",
        parameters=parameters_of(finished.choice),
        tasks=tuple(_task(finished, plan, i) for i in range(len(plan.pairs))),
    )
    fitted = fit_configurations([configuration], engine, progress)[configuration.name].whole()
    slices = _slices_table(fitted)
    configurations, line = errors_by_configuration(slices), regression_line(slices)
    network, constant = (float(error) for error in configurations["error_percent"])
    by_specimen = errors_by_specimen(slices)
    by_specimen["constant_error_percent"] = errors_by_specimen(constant_predictions(slices))["error_percent"]
    gain = compare_by_set(
        *(
            dict(zip(by_specimen["specimen"], by_specimen[c], strict=True))
            for c in ("constant_error_percent", "error_percent")
        )
    )
    maps, pictures = _maps(finished, fitted, engine)
    return Findings(
        parameters={**parameters_of(finished.choice), "epochs": plan.config.training.epochs},
        metrics={"error_percent": network, "constant_error_percent": constant, "slope": line.slope, "p": gain.p},
        sentences=[
            f"Mean absolute error {network:.2f} % strain on specimens not seen; a network that always says the mean strain "
            f"of its training scans is off by {constant:.2f}.",
            f"By {plan.split} the network is better by {gain.difference:.2f} % strain ({gain.lower:.2f} to "
            f"{gain.upper:.2f}); p = {gain.p:.4g}, and {gain.n_sets} {plan.split}s allow none below {gain.smallest_p:.4g}.",
            _verdict(network, constant, gain),
            f"Predicted strain rises by {line.slope:.2f} for each unit of true strain.",
        ],
        tables={
            "slices": slices,
            "states": errors_by_state(slices),
            "specimens": by_specimen,
            "configurations": configurations,
            "maps": maps,
        },
        arrays=pictures,
        configurations=[fitted],
    )


def _verdict(network: float, constant: float, gain: Comparison) -> str:
    if network < HARDLY_BETTER * constant and gain.lower > 0:
        return ""
    return "Caution: the network is hardly better than the mean of the training strains: no sign that it sees strain."


def _as_strain(config: StudyConfig) -> StudyConfig:
    """The configuration of the regression beside that of the search."""
    beside = config.task != STRAIN.name
    epochs = config.strain.epochs if beside and config.strain.epochs else config.training.epochs
    return replace(config, task=STRAIN.name, training=replace(config.training, epochs=epochs))


def _task(finished: FinishedStudy, plan: SearchPlan, i: int) -> FitTask:
    """The fit of a pair; the network of the first one is kept, to be explained."""
    task = plan.task(finished.choice, plan.pairs[i])
    return replace(task, network=plan.kept(task.spec.key)) if i == 0 else task


def _slices_table(fitted: FittedConfiguration) -> pd.DataFrame:
    tables = []
    for fit in fitted.fits:
        for i, tested in enumerate(fit.predictions):
            columns = {
                "specimen": tested.specimen,
                "state": tested.state,
                "plane": tested.plane,
                "position": tested.position,
                "test": fit.pair[i],
                "validation": fit.pair[1 - i],
                "strain_percent": tested.truth.astype(float),
                "predicted_percent": tested.output.astype(float),
            }
            tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _maps(
    finished: FinishedStudy, fitted: FittedConfiguration, engine: Engine
) -> tuple[pd.DataFrame, dict[str, npt.NDArray[np.generic]]]:
    """Heat maps for the answer of one network: a middle slice of one of its test specimens at every state."""
    store, first = finished.store, fitted.configuration.tasks[0]
    pair = first.spec.pair
    group = first.spec.sets[pair.first][0]
    at = store.n_slices // 2
    states = [state for state in store.states if store.has(group.specimen, state)]
    keys = [SliceKey(group.specimen, state, group.plane, at) for state in states]
    task = MapTask(
        network=finished.plan.kept(first.spec.key),
        store=first.store,
        store_id=finished.plan.store_id,
        asked=tuple(Asked(key, -1) for key in keys),
    )
    answer = next(engine.run(explain_slices, [task])).result()
    rows = [
        {
            "panel": "states",
            "test": pair.first,
            "validation": pair.second,
            **key._asdict(),
            "strain": store.scan(key.specimen, key.state).strain,
            "label": "loaded",
            "predicted_percent": float(said),
        }
        for key, said in zip(keys, answer.outputs, strict=True)
    ]
    return pd.DataFrame(rows).astype({"strain": float}), {"slices": read_slices(store, keys), "maps": answer.maps}
