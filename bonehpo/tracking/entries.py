"""Records as MLflow keeps them: names, parameters, tags, metrics and files.

A slash in a name makes a group of charts in the user interface. Times of metrics depend on the record alone, so that a
metric logged twice is one metric.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime

import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

from bonehpo.analysis.variance import Variance
from bonehpo.hyperparameters import HYPERPARAMETERS, Hyperparameters
from bonehpo.learning.fits import Predictions
from bonehpo.search.recorder import (
    ConfigurationRecord,
    FoldRecord,
    OptimumRecord,
    StepImage,
    StudyRecord,
    TrialSummary,
    n_stuck,
)
from bonehpo.task import Measure, Task, task_named

_ESTIMATES = (
    "apparent_score",
    "sd",
    "nested_score",
    "nested_score_bound",
    "nested_score_worse_end",
    "nested_score_better_end",
    "next_score_worse_end",
    "next_score_better_end",
    "bootstrap_score",
    "bootstrap_score_worse_end",
    "bootstrap_score_better_end",
    "gap",
)

CURVE_SUFFIXES = ("", "_less_sd", "_plus_sd")
"""What stands behind the name of a mean learning curve, and of those one standard deviation away from it."""


def milliseconds(at: datetime) -> int:
    """Milliseconds since 1970, as MLflow counts time; a time without a zone is local."""
    return round(at.timestamp() * 1000)


def study_params(record: StudyRecord) -> dict[str, object]:
    """Parameters of a study, which never change: they cannot be overwritten in MLflow."""
    return {
        "bone": record.bone,
        "task": record.task,
        "split": record.split,
        "sampler": record.sampler,
        "protocol": record.protocol,
        "seed": record.seed,
        "n_sets": record.n_sets,
        **{f"n_images/{clean(name)}": n for name, n in record.n_images.items()},
        **{f"space/{clean(name)}": values for name, values in record.space.items()},
    }


def study_tags(record: StudyRecord) -> dict[str, str]:
    """Tags of a study, which may change when it goes on: versions and commit, and the description in the user interface."""
    warning = "\n\n**Ran on phantoms: says nothing about bone.**" if record.ran_on == "phantom" else ""
    return {
        **{f"bonehpo.version.{name}": version for name, version in record.versions.items()},
        "bonehpo.pruned": str(record.pruned).lower(),
        "mlflow.source.git.commit": record.git_commit,
        "mlflow.note.content": f"Bone {record.bone}, {record.split} split, {record.protocol} protocol, "
        f"slice store `{record.store_id}`.{warning}",
    }


def candidates_tag(record: StudyRecord) -> dict[str, str]:
    """On every run of a strict study, the SHA-256 of the candidates that were fixed before any score."""
    return {} if record.candidates is None else {"candidates": record.candidates}


def slices_used(record: StudyRecord) -> DatasetInput:
    """The slice store as the data set of a run; its digest is the beginning of the store's id."""
    return DatasetInput(
        Dataset(
            name=f"{record.name} slices",
            digest=record.store_id[:8],
            source_type="local",
            source=json.dumps({"uri": f"studies/{record.name}/slices.zarr", "store_id": record.store_id}),
            profile=json.dumps({"ran_on": record.ran_on, "n_images": dict(record.n_images)}),
        ),
        [InputTag("mlflow.data.context", "cross-validation")],
    )


def trial_metrics(summary: TrialSummary, measure: Measure) -> list[Metric]:
    """Mean, standard deviation, and mean test score of each set."""
    sets = {f"set/{name}": measure.sign * score for name, score in summary.score_by_set.items()}
    return metrics({**_spread(summary.mean_score, summary.sd, measure), **sets}, summary.finished)


def trial_curves(folds: Sequence[FoldRecord], measure: Measure) -> list[Metric]:
    """Mean over folds of each learning curve, and that less and plus one standard deviation, with the epoch as step.

    Curves of the test sets are left out: each fit is told as two folds that swap test and validation set, so that their mean
    is that of the validation sets.

    Args:
        folds: Of a trial; curves that are longer than others are cut.
        measure: Of the study.
    """
    if not folds:
        return []
    n_epochs = min(fold.n_epochs for fold in folds)
    start_ms, end_ms = milliseconds(min(f.started for f in folds)), milliseconds(max(f.finished for f in folds))
    told = []
    for name in curve_names(measure):
        curves = np.array([measure.shown(fold.curves)[name.removeprefix("epoch/")][:n_epochs] for fold in folds], float)
        mean, sd = curves.mean(axis=0), curves.std(axis=0, ddof=1)
        for suffix, values in zip(CURVE_SUFFIXES, (mean, mean - sd, mean + sd), strict=True):
            told += [
                _metric(f"{name}{suffix}", value, start_ms + (end_ms - start_ms) * epoch // n_epochs, epoch)
                for epoch, value in enumerate(values.tolist(), start=1)
            ]
    return told


def curve_names(measure: Measure) -> list[str]:
    """Names of the learning curves of a trial."""
    return [f"epoch/{part}_{what}" for what in ("loss", measure.name) for part in ("train", "validation")]


def spread_names(measure: Measure) -> tuple[str, str]:
    """Names of the mean and of the standard deviation of scores over folds."""
    mean, sd = _spread(0.0, 0.0, measure)
    return mean, sd


def choice_params(choice: Hyperparameters, study: StudyRecord) -> dict[str, object]:
    """A choice as parameters: what its study searches."""
    return {e.name: getattr(choice, e.name) for e in HYPERPARAMETERS if e.is_always_told or e.name in study.space}


def optimum_params(record: OptimumRecord, study: StudyRecord) -> dict[str, object]:
    """Parameters of the optimum: its trial, the rule, its hyperparameters."""
    return {
        "trial": record.estimates.trial,
        "rule": record.rule,
        "n_trials": record.n_trials,
        **choice_params(record.hyperparameters, study),
    }


def optimum_metrics(record: OptimumRecord, measure: Measure) -> list[Metric]:
    """Every estimate of the optimum's score, with the number of trials as step those so far, and components of variance."""
    values = {name: getattr(record.estimates, name) for name in _ESTIMATES}
    refit = {"refit_score": record.refit_score, "refit_sd": record.refit_sd}
    calibration = asdict(record.calibration) if record.calibration else {}
    shown = measure.shown(values | refit)
    so_far = [
        _metric(f"so_far/{name}", value, milliseconds(record.chosen), row.n_trials)
        for row in record.estimates.so_far
        for name, value in measure.shown(
            {"apparent_score": row.apparent_score, "nested_score": row.nested_score}
        ).items()
    ]
    return [*metrics({**shown, **calibration, **_variance_metrics(record.variance)}, record.chosen), *so_far]


def _variance_metrics(found: Variance | None) -> dict[str, float]:
    """Components as standard deviations, and what follows from them; what is not known is left out."""
    if found is None:
        return {}
    values = {**asdict(found.components), **{k: v for k, v in asdict(found).items() if k != "components"}}
    return {f"variance/{name}": float(value) for name, value in values.items() if value is not None}


def configuration_metrics(configuration: ConfigurationRecord, measure: Measure, at: datetime) -> list[Metric]:
    """Mean and standard deviation of a configuration over its folds, whose task may be another than the study's.

    Args:
        configuration: With its folds.
        measure: Of the study, for a configuration that has no folds.
        at: Time of the metrics.
    """
    measure = task_named(configuration.folds[0].task).measure if configuration.folds else measure
    return metrics(_spread(configuration.mean_score, configuration.sd, measure), at)


def _spread(mean_score: float, sd: float, measure: Measure) -> dict[str, float]:
    return {**measure.shown({"mean_score": mean_score}), f"sd_{measure.name}": sd}


def fold_params(fold: FoldRecord) -> dict[str, object]:
    """Parameters of the fit of a fold; the number of its restarts where there were any."""
    restarts = {"restarts": fold.restarts} if fold.restarts else {}
    return {"seed": fold.seed, "precision": fold.precision, "n_epochs": fold.n_epochs, **restarts}


def fold_metrics(fold: FoldRecord) -> list[Metric]:
    """Scores, score by plane, CPU time, and the curves with the epoch, from 1, as step."""
    scores = {"test_score": fold.scores.test_score, "validation_score": fold.scores.validation_score}
    measure = task_named(fold.task).measure
    planes = {f"plane/{plane}": measure.sign * score for plane, score in fold.scores.score_by_plane.items()}
    values = {**measure.shown(scores), **fold.scores.details, **planes, "cpu_seconds": fold.cpu_seconds}
    start_ms, end_ms = milliseconds(fold.started), milliseconds(fold.finished)
    epochs = [
        _metric(f"epoch/{name}", value, start_ms + (end_ms - start_ms) * epoch // len(curve), epoch)
        for name, curve in measure.shown(fold.curves).items()
        for epoch, value in enumerate(curve.tolist(), start=1)
    ]
    return metrics(values, fold.finished) + epochs


def stuck_metrics(folds: Sequence[FoldRecord], at: datetime) -> list[Metric]:
    """Number of fits that are stuck, where there are any.

    Args:
        folds: Of a trial, or of the optimum.
        at: Time of the metric.
    """
    n = n_stuck(folds)
    return metrics({"n_stuck": n}, at) if n else []


def metrics(values: Mapping[str, float], at: datetime) -> list[Metric]:
    """Named numbers of one moment."""
    return [_metric(name, value, milliseconds(at), 0) for name, value in values.items()]


def opened_at_once(images: Sequence[StepImage]) -> list[StepImage]:
    """Pictures with, for each series, its first at step 0 too.

    The slider of the user interface stands at 0 when a page opens, and shows nothing where there is no such step.
    """
    first: dict[str, StepImage] = {}
    for image in images:
        if image.series not in first or image.step < first[image.series].step:
            first[image.series] = image
    return [*(replace(image, step=0) for image in first.values() if image.step > 0), *images]


def predictions_csv(predictions: Predictions, task: Task) -> str:
    """One line for each slice of the test set, under a line of names."""
    said = [predictions.output] if predictions.output.ndim == 1 else list(predictions.output.T)
    rows = zip(
        predictions.specimen.tolist(),
        predictions.state.tolist(),
        predictions.plane.tolist(),
        predictions.position.tolist(),
        *(column.tolist() for column in (predictions.truth, *said)),
        strict=True,
    )
    lines = [
        ",".join([str(s), str(state), str(plane), str(at), *(f"{number:.7g}" for number in numbers)])
        for s, state, plane, at, *numbers in rows
    ]
    names = ",".join(task.prediction_columns)
    return "\n".join([f"specimen,state,plane,position,{names}", *lines, ""])


def clean(name: str) -> str:
    """A name with only those characters that MLflow allows; others by their code, so that names that differ stay so.

    >>> clean("F3+"), clean("F3#")
    ('F3_2b', 'F3_23')
    """
    return re.sub(r"[^\w\-. /]", lambda found: f"_{ord(found[0]):x}", name)


def _metric(name: str, value: float, at_ms: int, step: int) -> Metric:
    """A metric; infinity becomes NaN, because MLflow would keep it as 1.8e308 and draw that."""
    value = float(value)
    return Metric(clean(name), math.nan if math.isinf(value) else value, at_ms, step)
