"""Regression of the apparent strain (§4 of the paper): the same family with one linear output, on all load states."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from bonehpo.analysis.comparison import Comparison, compare_by_set
from bonehpo.analysis.strain import (
    calibration,
    constant_predictions,
    errors_by_arm,
    errors_by_specimen,
    errors_by_state,
)
from bonehpo.config import Split, StudyConfig
from bonehpo.domain import ProgressCallback
from bonehpo.engine import Engine
from bonehpo.learning.fits import FitTask
from bonehpo.results.finished import FinishedStudy, parameters_of
from bonehpo.results.fitting import Arm, FittedArm, fit_arms
from bonehpo.results.maps import Asked, MapTask, SliceKey, explain_slices, read_slices
from bonehpo.results.mixed import with_split
from bonehpo.results.record import Result
from bonehpo.search.objective import SearchPlan

NAME = "strain"

HARDLY_BETTER = 0.9
"""A network whose error is more than this share of the constant's has not shown that it sees anything."""


def strain_address(finished: FinishedStudy) -> str:
    """What the regression is made from."""
    return finished.address(NAME, _as_strain(finished.plan.config).training.epochs)


def run_strain(finished: FinishedStudy, engine: Engine, progress: ProgressCallback) -> Result:
    """Cross-validate the optimum's architecture, trained to predict strain, over specimens.

    Raises:
        StoreError: A scan has no strain.
        StudyError: No fit succeeded.
    """
    store = finished.store
    plan = replace(finished.plan, config=_as_strain(finished.plan.config))
    plan = with_split(plan, Split(kind="specimen"), store.specimens, store.planes)
    arm = Arm(
        name="strain",
        parameters=parameters_of(finished.choice),
        tasks=tuple(_task(finished, plan, i) for i in range(len(plan.pairs))),
    )
    fitted = fit_arms([arm], engine, progress)[arm.name].whole()
    slices = _slices_table(fitted)
    arms, line = errors_by_arm(slices), calibration(slices)
    network, constant = (float(error) for error in arms["error_percent"])
    by_specimen = errors_by_specimen(slices)
    by_specimen["constant_error_percent"] = errors_by_specimen(constant_predictions(slices))["error_percent"]
    gain = compare_by_set(
        *(
            dict(zip(by_specimen["specimen"], by_specimen[c], strict=True))
            for c in ("constant_error_percent", "error_percent")
        )
    )
    maps, pictures = _maps(finished, fitted, engine)
    return finished.result(
        NAME,
        "comparison",
        strain_address(finished),
        parameters={**parameters_of(finished.choice), "epochs": plan.config.training.epochs},
        metrics={"error_percent": network, "constant_error_percent": constant, "slope": line.slope, "p": gain.p},
        sentences=[
            f"Mean absolute error {network:.2f} % strain on specimens not seen; a network that always says the mean strain "
            f"of its training scans is off by {constant:.2f}.",
            f"By specimen the network is better by {gain.difference:.2f} % strain ({gain.lower:.2f} to {gain.upper:.2f}); "
            f"p = {gain.p:.4g}, and {gain.n_sets} specimens allow none below {gain.smallest_p:.4g}.",
            _verdict(network, constant, gain),
            f"Predicted strain rises by {line.slope:.2f} for each unit of true strain.",
        ],
        tables={
            "slices": slices,
            "states": errors_by_state(slices),
            "specimens": by_specimen,
            "arms": arms,
            "maps": maps,
        },
        arrays=pictures,
        arms=[fitted],
    )


def _verdict(network: float, constant: float, gain: Comparison) -> str:
    if network < HARDLY_BETTER * constant and gain.lower > 0:
        return ""
    return "Caution: the network is hardly better than the mean of the training strains: no sign that it sees strain."


def _as_strain(config: StudyConfig) -> StudyConfig:
    """The configuration of the regression beside that of the search."""
    epochs = config.strain.epochs if config.task == "damage" and config.strain.epochs else config.training.epochs
    return replace(config, task="strain", training=replace(config.training, epochs=epochs))


def _task(finished: FinishedStudy, plan: SearchPlan, i: int) -> FitTask:
    """The fit of a pair; the network of the first one is kept, to be explained."""
    task = plan.task(finished.choice, plan.pairs[i])
    return replace(task, network=plan.kept(task.spec.key)) if i == 0 else task


def _slices_table(fitted: FittedArm) -> pd.DataFrame:
    tables = []
    for fit in fitted.fits:
        for i, tested in enumerate(fit.predictions):
            columns = {
                "specimen": tested.specimen,
                "state": tested.state,
                "plane": tested.plane,
                "position": tested.position,
                "validation": fit.pair[1 - i],
                "strain_percent": tested.truth.astype(float),
                "predicted_percent": tested.output.astype(float),
            }
            tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _maps(
    finished: FinishedStudy, fitted: FittedArm, engine: Engine
) -> tuple[pd.DataFrame, dict[str, npt.NDArray[np.generic]]]:
    """Heat maps for the answer of one network: a middle slice of one of its test specimens at every state."""
    store, first = finished.store, fitted.arm.tasks[0]
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
