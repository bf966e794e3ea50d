"""Detection limits (Fig 5b, 5c, 6b, 6c): from which load state on networks see damage, and what they see before it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from bonehpo.analysis.detection import (
    THRESHOLD,
    accuracies_by_state,
    anomalies,
    anomaly_warning,
    detection_limits,
    mean_by_state,
)
from bonehpo.domain import ProgressCallback
from bonehpo.engine import Engine
from bonehpo.errors import ConfigError
from bonehpo.folds import Sets
from bonehpo.learning.fits import StateAnswers
from bonehpo.results.best_fold import ranked
from bonehpo.results.finished import Findings, FinishedStudy, FittedConfiguration, fit_configurations
from bonehpo.results.result import Result
from bonehpo.store.store import SliceStore

NAME = "detection"

N_SLICES = 5
"""States around the limit of which a slice is shown, as in Fig 5c."""


def detection_address(finished: FinishedStudy, visible_from: int | None) -> str:
    """Content address of the detection limits."""
    return finished.address(NAME, visible_from)


def run_detection(
    finished: FinishedStudy, engine: Engine, progress: ProgressCallback, visible_from: int | None = None
) -> Findings:
    """Accuracy of every fold model of the optimum at every load state of its own test set.

    Args:
        finished: The study.
        engine: Where missing fits run.
        progress: Told of each.
        visible_from: First state at which a person sees damage; None takes the truth of a phantom, where there is one.

    Raises:
        ConfigError: `visible_from` is no loaded state.
    """
    states = finished.store.states
    if visible_from is not None and not states[0] < visible_from <= states[-1]:
        raise ConfigError(
            f"--visible-from {visible_from} is no loaded state: give one from {states[1]} to {states[-1]}"
        )
    configuration = fit_configurations([finished.optimum_configuration()], engine, progress)["optimum"]
    table = state_table(configuration, finished.store, finished.plan.sets)
    best = ranked(configuration)[0]
    table["best"] = (table["test"] == best.test) & (table["validation"] == best.validation)
    mean, limits = mean_by_state(table), detection_limits(table)
    visible = visible_from or first_damaged(finished.store)
    slices, pictures = _slices_around(finished, best.test, limits)
    row = limits[(limits["of"] == "all") & (limits["axis"] == "state")].iloc[0]
    return Findings(
        parameters={"threshold": THRESHOLD, "visible_from": visible or "unknown", "best_test": best.test},
        metrics={
            f"limit_{axis}": float(limits[(limits["of"] == "all") & (limits["axis"] == axis)]["limit"].iloc[0])
            for axis in limits["axis"].unique()
        }
        | {
            f"accuracy/state_{int(state):02d}": value
            for state, value in zip(mean["state"], mean["accuracy"], strict=True)
        },
        sentences=[_limit_sentence(row, finished.store.states[1]), anomaly_warning(anomalies(mean, visible), visible)],
        tables={"states": table, "mean": mean, "limits": limits, "slices": slices},
        arrays={"slices": pictures},
    )


def visible_option(result: Result) -> str:
    """The option by which detection limits were told from when on damage is visible; phantoms know it themselves."""
    state = result.parameters.get("visible_from", "")
    return f" --visible-from {state}" if state.isdigit() and result.ran_on == "scans" else ""


def state_table(configuration: FittedConfiguration, store: SliceStore, sets: Sets) -> pd.DataFrame:
    """Accuracies of every fold of a configuration at every load state of its test set; all columns but `best`.

    Failed scans count in the last state of all, also where a specimen failed before it.

    Args:
        configuration: Whose tasks kept their answers to all load states.
        store: The slices.
        sets: That were held out.
    """
    rows = []
    for pair, own in configuration.states().items():
        answers = _with_common_states(own, store)
        for test, validation in (pair, tuple(reversed(pair))):
            found = accuracies_by_state(answers.p_failed(pair, test))
            found["strain"] = [_strain(store, sets, test, int(state)) for state in found["state"]]
            rows.append(found.assign(test=test, validation=validation))
    columns = ["test", "validation", "state", "strain", "accuracy_pristine", "accuracy_loaded", "accuracy", "n_slices"]
    return pd.concat(rows, ignore_index=True)[columns]


def _with_common_states(answers: StateAnswers, store: SliceStore) -> StateAnswers:
    state = answers.state.copy()
    for specimen in map(str, np.unique(answers.specimen)):
        failed = store.ends(specimen)[1]
        state[(answers.specimen == specimen) & (state == failed)] = store.common_state(specimen, failed)
    return answers._replace(state=state)


def first_damaged(store: SliceStore) -> int | None:
    """On phantoms the first state in which any specimen is truly damaged; None where nobody knows."""
    if not store.has_damage:
        return None
    found = [store.first_damaged_state(specimen) for specimen in store.specimens]
    return min((state for state in found if state is not None), default=None)


def _strain(store: SliceStore, sets: Sets, name: str, state: int) -> float:
    """Mean strain of the specimens of a set at a state; NaN where none is known."""
    specimens = {group.specimen for group in sets[name]}
    scans = [scan for scan in store.manifest.scans if scan.specimen in specimens]
    strains = [scan.strain for scan in scans if store.common_state(scan.specimen, scan.state) == state]
    known = [strain for strain in strains if strain is not None]
    return float(np.mean(known)) if known else float("nan")


def _limit_sentence(row: "pd.Series[float]", first_loaded: int) -> str:
    if not np.isfinite(row["limit"]):
        return f"Even at failure the mean accuracy is below {THRESHOLD}: there is no detection limit."
    if np.isnan(row["lower"]):
        interval = ""
    else:
        upper = f"{row['upper']:.1f}" if np.isfinite(row["upper"]) else "no limit at all"
        interval = f" (95 % bootstrap over test sets {row['lower']:.1f} to {upper})"
    if row["limit"] == first_loaded:
        return f"The mean accuracy is at least {THRESHOLD} from the first loaded state on{interval}: see the cautions."
    return f"The mean accuracy rises above {THRESHOLD} for good at load state {row['limit']:.1f}{interval}."


def _slices_around(
    finished: FinishedStudy, test: str, limits: pd.DataFrame
) -> tuple[pd.DataFrame, npt.NDArray[np.uint8]]:
    """A middle slice of the best fold's specimen at the states around its limit."""
    store, group = finished.store, finished.plan.sets[test][0]
    of = limits[(limits["axis"] == "state") & (limits["of"] == test)]["limit"]
    states = [state for state in store.states if store.has(group.specimen, state)]
    wanted = _around(states, float(of.iloc[0]))
    at = store.n_slices // 2
    rows = [
        {
            "specimen": group.specimen,
            "state": state,
            "strain": store.scan(group.specimen, state).strain,
            "plane": group.plane,
            "position": at,
        }
        for state in wanted
    ]
    table = pd.DataFrame(rows).astype({"strain": float})
    return table, np.stack([store.group(group.specimen, state, group.plane)[at] for state in wanted])


def _around(states: Sequence[int], limit: float) -> Sequence[int]:
    """`N_SLICES` states about a limit; the last ones where there is none."""
    centre = int(np.argmin([abs(state - limit) for state in states])) if np.isfinite(limit) else len(states) - 1
    start = min(max(centre - N_SLICES // 2, 0), max(len(states) - N_SLICES, 0))
    return states[start : start + N_SLICES]
