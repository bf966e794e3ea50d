"""How a study ends: its optimum is chosen among the complete trials, and what was fitted again is written down."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import optuna
import pandas as pd

from bonehpo.analysis.estimates import choose_optimum
from bonehpo.domain import Hyperparameters
from bonehpo.learning.architecture import count_parameters
from bonehpo.learning.fits import FitResult
from bonehpo.search.facts import optimum_facts
from bonehpo.search.objective import SearchPlan, fold_facts
from bonehpo.search.optimum import Optimum, folds_table, hyperparameters, read_optimum
from bonehpo.search.protocol import is_done
from bonehpo.search.recorder import Recorder
from bonehpo.search.storage import OPTIMUM


class Chosen(NamedTuple):
    """The trial that ends a study: its number and choice, the folds of all trials that it was chosen from."""

    trial: int
    choice: Hyperparameters
    folds: pd.DataFrame


def choose_trial(study: optuna.Study, plan: SearchPlan) -> Chosen | None:
    """The optimum among the complete trials; None without any, and of a strict study before all candidates have ended."""
    folds = folds_table(study)
    if folds.empty or not is_done(study, plan):
        return None
    trials = study.get_trials(deepcopy=False)
    choices = {int(number): hyperparameters(trials[int(number)].params) for number in folds["trial"].unique()}
    sizes = {number: count_parameters(c.layers, c.kernel, plan.side) for number, c in choices.items()}
    number = choose_optimum(folds, plan.config.search.optimum, sizes)
    return Chosen(number, choices[number], folds)


def n_seeds_known(study: optuna.Study, trial: int) -> int:
    """With how many sets of fresh seeds a trial was fitted as the optimum before: a later call with fewer loses none."""
    known = read_optimum(study)
    return 0 if known is None or known.trial != trial else 1 + len(known.repeats)


def write_optimum(
    study: optuna.Study,
    plan: SearchPlan,
    recorder: Recorder,
    chosen: Chosen,
    refits: Sequence[Mapping[str, FitResult]],
) -> None:
    """Write an optimum into the study's storage and the record, and delete the networks of former ones.

    Args:
        study: The study.
        plan: Of it.
        recorder: Who writes it down.
        chosen: Which trial.
        refits: Its fits with each set of fresh seeds, by the label of the pair; the networks of the first are kept.
    """
    first, *repeats = ({label: result.key for label, result in results.items()} for results in refits)
    optimum = Optimum(
        trial=chosen.trial,
        rule=plan.config.search.optimum,
        trials=tuple(sorted(int(number) for number in chosen.folds["trial"].unique())),
        keys=first,
        chosen=datetime.now().astimezone().isoformat(timespec="seconds"),
        repeats=tuple(repeats),
    )
    known = read_optimum(study)
    if known is not None and dataclasses.replace(known, chosen=optimum.chosen) == optimum:
        optimum = known
    else:
        study.set_user_attr(OPTIMUM, json.dumps(dataclasses.asdict(optimum)))
    folds = [[f for pair in plan.pairs for f in fold_facts(results[pair.label])] for results in refits]
    recorder.optimum(optimum_facts(optimum, chosen.choice, chosen.folds, folds[0], folds[1:]), folds[0])
    for path in plan.folder.optimum.glob("*.keras"):  # of former optima
        if path.stem not in optimum.keys.values():
            path.unlink()
