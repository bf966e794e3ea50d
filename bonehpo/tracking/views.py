"""Views of a study that are stored with its experiment, as MLflow's user interface stores those that people save.

The interface keeps a view as a tag of the experiment, `mlflow.sharedViewState.<key>`, and opens it from a link that names
the key. Read off the interface of MLflow 3.17: its documentation says nothing of this, and an interface that does not know
a part of a view leaves it out.
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from bonehpo.errors import TrackingError
from bonehpo.hyperparameters import HYPERPARAMETERS
from bonehpo.search.recorder import StudyRecord
from bonehpo.task import task_named
from bonehpo.tracking.database import Tracking
from bonehpo.tracking.entries import CURVE_SUFFIXES, curve_names, milliseconds, spread_names

TRIALS, FOLDS = "bonehpo-trials", "bonehpo-folds"
"""Keys of the two views: one row for each trial, and trials with their folds."""


class Link(NamedTuple):
    """A page of the user interface: what it shows, and its address."""

    what: str
    address: str


_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Without it the interface takes an experiment for one on language models, and opens it in that mode."""

_MADE = {"deleted": False, "isGenerated": False}

_NAMES = {TRIALS: "Trials", FOLDS: "Trials and folds"}


def experiment_tags(record: StudyRecord) -> dict[str, str]:
    """Tags of a study's experiment: its kind, and the two views."""
    states = {TRIALS: _trials(record), FOLDS: _folds(record)}
    return _KIND | {
        f"mlflow.sharedViewState.{key}": _stored(_NAMES[key], record, state) for key, state in states.items()
    }


def links(tracking: Tracking, study: str, address: str) -> list[Link]:
    """Links that open the views of a study, that of its trials first.

    Args:
        tracking: Where it is recorded.
        study: Name of the study.
        address: Of MLflow's server, `http://HOST:PORT`.

    Raises:
        TrackingError: It is not recorded, or was by a version that stored no views.
    """
    experiment = tracking.client.get_experiment_by_name(f"bonehpo/{study}")
    if experiment is None or any(_tag(key) not in experiment.tags for key in _NAMES):
        lacks = "no study" if experiment is None else "no views of study"
        raise TrackingError(f"MLflow has {lacks} {study}: run `bonehpo sync --bone {study}`, or search first")
    page = f"{address}/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey="
    return [Link(f"{name} of {study}", page + key) for key, name in _NAMES.items()]


def _tag(key: str) -> str:
    return f"mlflow.sharedViewState.{key}"


def _stored(name: str, record: StudyRecord, state: dict[str, object]) -> str:
    at = milliseconds(record.started)
    return json.dumps({"name": name, "createdAt": at, "updatedAt": at, "state": json.dumps(state)})


def _trials(record: StudyRecord) -> dict[str, object]:
    """One row for each trial, the best first, and charts of what was searched."""
    measure = task_named(record.task).measure
    mean, sd = spread_names(measure)
    searched = [entry.name for entry in HYPERPARAMETERS if entry.name in record.space]
    charts = {
        "Hyperparameters": [_parallel(searched, mean), *(_scatter(name, mean) for name in searched)],
        "Learning curves": [_line(name) for name in curve_names(measure)],
    }
    spread = [f"{name}{suffix}" for name in curve_names(measure) for suffix in CURVE_SUFFIXES if suffix]
    return {
        **_rows(f"tags.`bonehpo.level` = 'trial' and tags.`bonehpo.study_id` = '{record.study_id}'"),
        "orderByKey": f"metrics.`{mean}`",
        "orderByAsc": measure.sign < 0,
        **_columns([mean, sd], searched),
        **_charts(charts, left_out=spread),
    }


def _folds(record: StudyRecord) -> dict[str, object]:
    """Trials by their start, under each its folds: the interface nests runs in this order alone."""
    measure = task_named(record.task).measure
    searched = [entry.name for entry in HYPERPARAMETERS if entry.name in record.space]
    return {
        **_rows(f"tags.`bonehpo.key` LIKE '{record.study_id}/trial/%'"),
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        **_columns([*spread_names(measure), f"test_{measure.name}", f"validation_{measure.name}"], searched),
    }


def _rows(search: str) -> dict[str, object]:
    return {
        "searchFilter": search,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
    }


def _columns(metrics: Iterable[str], params: Iterable[str]) -> dict[str, object]:
    names = [
        *(f"metrics.`{name}`" for name in metrics),
        *(f"params.`{name}`" for name in params),
        "params.`n_parameters`",
        "tags.`bonehpo.state`",
        "attributes.`Dataset`",
    ]
    return {"selectedColumns": names, "columnOrder": names}


def _charts(sections: Mapping[str, Sequence[dict[str, object]]], left_out: Sequence[str]) -> dict[str, object]:
    """Charts of all runs in the table.

    Args:
        sections: Charts by the heading that they stand under.
        left_out: Metrics without a chart; the interface makes one for every metric that has none, not even a deleted one.
    """
    placed = [(heading, chart) for heading, charts in sections.items() for chart in charts]
    deleted = [(next(iter(sections)), {**_line(metric), "deleted": True}) for metric in left_out]
    return {
        "runsHiddenMode": "SHOW_ALL",
        "isAccordionReordered": True,  # ours come first
        "compareRunSections": [
            {"uuid": _id(heading), "name": heading, "display": True, "isReordered": True} | _MADE
            for heading in sections
        ],
        "compareRunCharts": [
            _MADE | chart | {"uuid": _id(f"chart {n}"), "metricSectionId": _id(heading)}
            for n, (heading, chart) in enumerate([*placed, *deleted])
        ],
    }


def _parallel(params: Sequence[str], metric: str) -> dict[str, object]:
    return {"type": "PARALLEL", "selectedParams": list(params), "selectedMetrics": [metric], "showAllRuns": True}


def _scatter(param: str, metric: str) -> dict[str, object]:
    axes = {"xaxis": {"key": param, "type": "PARAM"}, "yaxis": {"key": metric, "type": "METRIC"}}
    return {"type": "SCATTER", **axes, "runsCountToCompare": 100}


def _line(metric: str) -> dict[str, object]:
    """Chart of a metric by epoch; the interface wants every setting told, also those that are its own."""
    return {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "runsCountToCompare": 100,
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "lineSmoothness": 0,
        "range": {},
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"bonehpo/{name}"))
