"""Which hyperparameters mattered to the score."""

import math

from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from bonehpo.search.objective import SearchPlan
from bonehpo.search.storage import load_study

MIN_TRIALS = 4
"""Fewer trials than hyperparameters say nothing of them."""


def importances(plan: SearchPlan) -> dict[str, float]:
    """Share of the variation of the score between trials that each hyperparameter accounts for, the largest first.

    PED-ANOVA, which needs no other package. With fewer than about 50 trials the shares are rough. Trials that a race stopped
    count with the value that the sampler was told.

    Returns:
        Shares by name, 0 to 1; empty with fewer than `MIN_TRIALS` complete trials, or where nothing varies.

    References:
        Watanabe, Bansal, Hutter, PED-ANOVA, IJCAI 2023, doi:10.24963/ijcai.2023/488.
    """
    study = load_study(plan.storage, plan.folder.name, plan.identity)
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < MIN_TRIALS or len({trial.value for trial in complete}) < 2:
        return {}
    found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {} if any(math.isnan(share) for share in found.values()) else dict(found)
