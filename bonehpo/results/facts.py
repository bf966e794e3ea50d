"""A result as a `Recorder` writes it down."""

from collections.abc import Iterator

import numpy as np

from bonehpo.config import StudyFolder
from bonehpo.results.record import ArmRecord, Result, result_folder
from bonehpo.search.facts import mean_and_sd, read_folds
from bonehpo.search.recorder import ArmFacts, ResultFacts, StepImage


def result_facts(result: Result, folder: StudyFolder) -> ResultFacts:
    """A saved result with its arms, and with all files of its folder."""
    files = sorted(path for path in result_folder(folder, result.name).iterdir() if path.is_file())
    return ResultFacts(
        level=result.level,
        name=result.name,
        inputs=result.inputs,
        parameters=result.parameters,
        metrics=result.metrics,
        sentences=result.sentences,
        files=files,
        arms=tuple(_arm(arm, folder) for arm in result.arms),
        images=tuple(_images(result)),
        finished=result.finished,
    )


def _images(result: Result) -> Iterator[StepImage]:
    """Each slice that was explained beside its heat map, with the load state as step."""
    maps, slices = result.arrays.get("maps"), result.arrays.get("slices")
    if maps is None or slices is None:
        return
    rows = result.tables["maps" if "maps" in result.tables else "slices"].to_dict("records")
    for row, grey, heat in zip(rows, slices, maps, strict=True):
        words = (row.get("variant", ""), row["specimen"], row["plane"], row["position"], row["panel"])
        pixels = np.hstack([grey, np.rint(255 * heat)]).astype(np.uint8)
        yield StepImage(series=" ".join(str(word) for word in words if word != ""), step=row["state"], pixels=pixels)


def _arm(arm: ArmRecord, folder: StudyFolder) -> ArmFacts:
    folds = read_folds(folder, arm.keys)
    mean, sd = mean_and_sd([fold.scores.test_score for fold in folds])
    return ArmFacts(name=arm.name, parameters=arm.parameters, mean_score=mean, sd=sd, folds=folds, reason=arm.reason)
