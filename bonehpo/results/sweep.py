"""The paper's search (§3.2, Fig 3): one parameter at a time around the baseline, then the best values together."""

from collections.abc import Mapping, Sequence

import pandas as pd

from bonehpo.analysis.sweep import Choice, Score, SweptPoint, next_step
from bonehpo.domain import ProgressCallback
from bonehpo.engine import Engine
from bonehpo.hyperparameters import Hyperparameters, Space, hyperparameter, in_words, row_of
from bonehpo.learning.architecture import count_parameters
from bonehpo.results.finished import (
    Configuration,
    Findings,
    FinishedStudy,
    FittedConfiguration,
    fit_configurations,
    parameters_of,
)
from bonehpo.search.space import SweepPoint, sweep_points

NAME = "sweep"


def sweep_address(finished: FinishedStudy) -> str:
    """Content address of the sweep of this study."""
    return finished.address(NAME, finished.choice)


def run_sweep(finished: FinishedStudy, engine: Engine, progress: ProgressCallback) -> Findings:
    """Fit every point of the sweep, choose as the paper did, and set that beside the optimum of the search.

    Points that the search has fitted are taken as they are. Combinations are fitted with fresh seeds: the score of a swept
    point was also what was maximised.

    Args:
        finished: The study.
        engine: Where fits run.
        progress: Told after every fit.

    Raises:
        StudyError: No point could be fitted.
    """
    points = sweep_points(finished.plan.config)
    choices = tuple(dict.fromkeys(choice for _, choice in points))
    fitted = fit_configurations([_configuration(finished, choice, 0) for choice in choices], engine, progress)
    by_choice = {choice: fitted[_name(choice, 0)] for choice in choices}
    swept = [
        SweptPoint(parameter, getattr(choice, parameter), *by_choice[choice].spread) for parameter, choice in points
    ]
    together: dict[Hyperparameters, FittedConfiguration] = {}
    roles: dict[Hyperparameters, str] = {}
    baseline, space = finished.plan.config.baseline, finished.plan.config.space
    scores: dict[Hyperparameters, Score] = {}
    while not isinstance(step := next_step(swept, baseline, scores), Choice):
        configuration = _configuration(finished, step.hyperparameters, 1)
        together[step.hyperparameters] = fit_configurations([configuration], engine, progress)[configuration.name]
        scores[step.hyperparameters] = Score(*together[step.hyperparameters].spread)
        roles[step.hyperparameters] = step.role
    search = fit_configurations([finished.optimum_configuration()], engine, progress)["optimum"]
    return Findings(
        parameters={**parameters_of(step.hyperparameters), "n_points": len(choices)},
        metrics={
            "sweep_accuracy": step.mean,
            "sweep_sd": step.sd,
            "search_accuracy": search.spread.mean,
            "search_sd": search.spread.sd,
        },
        sentences=_sentences(step, search, finished),
        tables={
            "points": _points_table(points, by_choice, space),
            "combinations": _combinations_table(together, roles, step, by_choice, space),
            "optima": _optima_table(step, search, finished, by_choice | together),
        },
        configurations=[*by_choice.values(), *together.values()],
    )


def _configuration(finished: FinishedStudy, choice: Hyperparameters, repeat: int) -> Configuration:
    tasks = tuple(finished.plan.task(choice, pair, repeat=repeat) for pair in finished.plan.pairs)
    parameters = {name: str(value) for name, value in row_of(choice, finished.plan.config.space).items()}
    return Configuration(name=_name(choice, repeat), parameters=parameters, tasks=tasks)


def _name(choice: Hyperparameters, repeat: int) -> str:
    return f"{'together: ' if repeat else ''}{in_words(choice)}"


def _row(choice: Hyperparameters, configuration: FittedConfiguration, space: Space) -> dict[str, object]:
    spread = configuration.spread
    return {
        **row_of(choice, space),
        "mean": spread.mean,
        "sd": spread.sd,
        "n_folds": len(configuration.folds),
        "reason": configuration.reason,
    }


def _points_table(
    points: Sequence[SweepPoint], fitted: Mapping[Hyperparameters, FittedConfiguration], space: Space
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "parameter": parameter,
            "value": hyperparameter(parameter).number(getattr(choice, parameter)),
            **_row(choice, fitted[choice], space),
        }
        for parameter, choice in points
    )


def _combinations_table(
    together: Mapping[Hyperparameters, FittedConfiguration],
    roles: Mapping[Hyperparameters, str],
    chosen: Choice,
    swept: Mapping[Hyperparameters, FittedConfiguration],
    space: Space,
) -> pd.DataFrame:
    rows = [
        {"role": roles[choice], **_row(choice, configuration, space), "chosen": choice == chosen.hyperparameters}
        for choice, configuration in together.items()
    ]
    if chosen.hyperparameters not in together:
        row = _row(chosen.hyperparameters, swept[chosen.hyperparameters], space)
        rows.append({"role": chosen.role, **row, "chosen": True})
    return pd.DataFrame(rows)


def _optima_table(
    chosen: Choice,
    search: FittedConfiguration,
    finished: FinishedStudy,
    fitted: Mapping[Hyperparameters, FittedConfiguration],
) -> pd.DataFrame:
    found = (
        ("sweep", chosen.hyperparameters, fitted[chosen.hyperparameters], chosen.rule),
        ("search", finished.choice, search, _search_rule(finished)),
    )
    return pd.DataFrame(
        {
            "by": by,
            **_row(choice, configuration, finished.plan.config.space),
            "n_parameters": count_parameters(choice, finished.plan.side),
            "rule": rule,
        }
        for by, choice, configuration, rule in found
    ).drop(columns="reason")


def _search_rule(finished: FinishedStudy) -> str:
    return f"{finished.optimum.rule} of {len(finished.optimum.trials)} trials, fitted again with fresh seeds"


def _sentences(chosen: Choice, search: FittedConfiguration, finished: FinishedStudy) -> list[str]:
    same = chosen.hyperparameters == finished.choice
    which = "the same network as" if same else "another network than"
    return [
        chosen.rule,
        f"The sweep chooses {which} the search: {chosen.mean:.3f} ± {chosen.sd:.3f} against {search.spread.mean:.3f} ± "
        f"{search.spread.sd:.3f}, both with fresh seeds where combinations were fitted.",
    ]
