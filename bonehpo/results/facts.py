"""A result as a `Recorder` writes it down."""

from bonehpo.config import StudyFolder
from bonehpo.results.record import ArmRecord, Result, result_folder
from bonehpo.search.facts import mean_and_sd, read_folds
from bonehpo.search.recorder import ArmFacts, ResultFacts


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
        finished=result.finished,
    )


def _arm(arm: ArmRecord, folder: StudyFolder) -> ArmFacts:
    folds = read_folds(folder, arm.keys)
    mean, sd = mean_and_sd([fold.scores.test_score for fold in folds])
    return ArmFacts(name=arm.name, parameters=arm.parameters, mean_score=mean, sd=sd, folds=folds, reason=arm.reason)
