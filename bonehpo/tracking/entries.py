"""Records as MLflow keeps them: names, parameters, tags, metrics and files.

A slash in a name makes a group of charts in the user interface. Times of metrics depend on the record alone, so that a
metric logged twice is one metric.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

from mlflow.entities import Metric

from bonehpo.analysis.variance import Variance
from bonehpo.domain import Task, shown
from bonehpo.hyperparameters import HYPERPARAMETERS, Hyperparameters
from bonehpo.learning.fits import Predictions
from bonehpo.search.recorder import ConfigurationRecord, FoldRecord, OptimumRecord, StudyRecord, TrialSummary

_ESTIMATES = (
    "apparent_score",
    "sd",
    "nested_score",
    "nested_score_bound",
    "nested_score_worse_end",
    "nested_score_better_end",
    "bootstrap_score",
    "bootstrap_score_worse_end",
    "bootstrap_score_better_end",
    "gap",
)


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


def trial_metrics(summary: TrialSummary, task: Task) -> list[Metric]:
    """Mean, standard deviation, and mean test score of each set."""
    sets = {f"set/{name}": score for name, score in _by_name(summary.score_by_set, task).items()}
    sd = next(iter(shown({"sd_score": 0.0}, task)))
    return metrics({**shown({"mean_score": summary.mean_score}, task), sd: summary.sd, **sets}, summary.finished)


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


def optimum_metrics(record: OptimumRecord, task: Task) -> list[Metric]:
    """Every estimate of the optimum's score, and where the variance of the scores comes from."""
    values = {name: getattr(record.estimates, name) for name in _ESTIMATES}
    refit = {"refit_score": record.refit_score, "refit_sd": record.refit_sd}
    calibration = asdict(record.calibration) if record.calibration else {}
    return metrics({**shown(values | refit, task), **calibration, **_variance_metrics(record.variance)}, record.chosen)


def _variance_metrics(found: Variance | None) -> dict[str, float]:
    """Components as standard deviations, and what follows from them; what is not known is left out."""
    if found is None:
        return {}
    values = {**asdict(found.components), **{k: v for k, v in asdict(found).items() if k != "components"}}
    return {f"variance/{name}": float(value) for name, value in values.items() if value is not None}


def configuration_metrics(configuration: ConfigurationRecord, task: Task, at: datetime) -> list[Metric]:
    """Mean and standard deviation of a configuration over its folds, whose task may be another than the study's.

    Args:
        configuration: With its folds.
        task: Of the study, for a configuration that has no folds.
        at: Time of the metrics.
    """
    task = configuration.folds[0].task if configuration.folds else task
    sd = next(iter(shown({"sd_score": 0.0}, task)))
    return metrics({**shown({"mean_score": configuration.mean_score}, task), sd: configuration.sd}, at)


def fold_params(fold: FoldRecord) -> dict[str, object]:
    """Parameters of the fit of a fold."""
    return {"seed": fold.seed, "precision": fold.precision, "n_epochs": fold.n_epochs}


def fold_metrics(fold: FoldRecord) -> list[Metric]:
    """Scores, score by plane, CPU time, and the curves with the epoch, from 1, as step."""
    scores = {"test_score": fold.scores.test_score, "validation_score": fold.scores.validation_score}
    planes = {f"plane/{plane}": score for plane, score in _by_name(fold.scores.score_by_plane, fold.task).items()}
    values = {**shown(scores, fold.task), **fold.scores.details, **planes, "cpu_seconds": fold.cpu_seconds}
    start_ms, end_ms = milliseconds(fold.started), milliseconds(fold.finished)
    epochs = [
        _metric(f"epoch/{name}", value, start_ms + (end_ms - start_ms) * epoch // len(curve), epoch)
        for name, curve in shown(fold.curves, fold.task).items()
        for epoch, value in enumerate(curve.tolist(), start=1)
    ]
    return metrics(values, fold.finished) + epochs


def metrics(values: Mapping[str, float], at: datetime) -> list[Metric]:
    """Named numbers of one moment."""
    return [_metric(name, value, milliseconds(at), 0) for name, value in values.items()]


def predictions_csv(predictions: Predictions, task: Task) -> str:
    """One line for each slice of the test set, under a line of names."""
    names = "label,p_failed" if task == "damage" else "strain_percent,predicted_percent"
    rows = zip(
        predictions.specimen.tolist(),
        predictions.state.tolist(),
        predictions.plane.tolist(),
        predictions.position.tolist(),
        predictions.truth.tolist(),
        predictions.output.tolist(),
        strict=True,
    )
    lines = [f"{s},{state},{plane},{at},{truth:.7g},{output:.7g}" for s, state, plane, at, truth, output in rows]
    return "\n".join([f"specimen,state,plane,position,{names}", *lines, ""])


def _by_name(scores: Mapping[str, float], task: Task) -> Mapping[str, float]:
    """Scores of sets or planes as people read them."""
    return shown({"score": scores}, task).popitem()[1]


def clean(name: str) -> str:
    """A name with only those characters that MLflow allows."""
    return re.sub(r"[^\w\-. /]", "_", name)


def _metric(name: str, value: float, at_ms: int, step: int) -> Metric:
    """A metric; infinity becomes NaN, because MLflow would keep it as 1.8e308 and draw that."""
    value = float(value)
    return Metric(clean(name), math.nan if math.isinf(value) else value, at_ms, step)
