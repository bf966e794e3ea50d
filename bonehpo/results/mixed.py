"""The mixed split (§2.5, §3.4, Table 1): the optimum where a specimen under test was trained on in its other planes."""

from dataclasses import replace

import pandas as pd

from bonehpo.config import Split
from bonehpo.domain import ProgressCallback
from bonehpo.engine import Engine
from bonehpo.errors import FoldError
from bonehpo.folds import Sets, deal
from bonehpo.results.finished import FinishedStudy, parameters_of
from bonehpo.results.fitting import Arm, FittedArm, fit_arms
from bonehpo.results.record import Result
from bonehpo.search.objective import SearchPlan

NAME = "mixed"

SPLITS = {
    "specimen": Split(kind="specimen"),
    "mixed, published": Split(kind="mixed", dealing="published"),
    "mixed, seeded": Split(kind="mixed", dealing="seeded"),
}


def mixed_address(finished: FinishedStudy) -> str:
    """What the comparison of splits is made from."""
    return finished.address(NAME)


def run_mixed(finished: FinishedStudy, engine: Engine, progress: ProgressCallback) -> Result:
    """The optimum by specimen and in both mixed dealings; the published one where the specimens are the paper's."""
    plans, left_out = {}, ""
    for name, split in SPLITS.items():
        try:
            plans[name] = with_split(finished.plan, split, finished.store.specimens, finished.store.planes)
        except FoldError as error:
            left_out = f"{name} is left out: {error}"
    fitted = fit_arms([_arm(finished, name, plan) for name, plan in plans.items()], engine, progress)
    rows = [
        {"arm": name, "mean": arm.spread.mean, "sd": arm.spread.sd, "n_folds": len(arm.folds), "reason": arm.reason}
        for name, arm in fitted.items()
    ]
    folds = [
        {"arm": name, "test": fold.test, "validation": fold.validation, "accuracy": fold.test_score}
        for name, arm in fitted.items()
        for fold in arm.folds
    ]
    return finished.result(
        NAME,
        "comparison",
        mixed_address(finished),
        parameters={**parameters_of(finished.choice), "seed": SPLITS["mixed, seeded"].seed},
        metrics={f"accuracy/{name}".replace(",", ""): arm.spread.mean for name, arm in fitted.items()},
        sentences=[left_out, *_sentences(fitted)],
        tables={"arms": pd.DataFrame(rows), "folds": pd.DataFrame(folds), "sets": _sets_table(plans)},
        arms=list(fitted.values()),
    )


def with_split(plan: SearchPlan, split: Split, specimens: tuple[str, ...], planes: tuple[str, ...]) -> SearchPlan:
    """The same study, its groups dealt in another way.

    Raises:
        FoldError: They cannot be dealt so.
    """
    sets = deal(split, plan.config.bone, specimens, planes)
    return replace(plan, config=replace(plan.config, split=split), sets=sets)


def _arm(finished: FinishedStudy, name: str, plan: SearchPlan) -> Arm:
    tasks = tuple(plan.task(finished.choice, pair, repeat=1) for pair in plan.pairs)
    return Arm(name=name, parameters={**parameters_of(finished.choice), "split": name}, tasks=tasks)


def _sets_table(plans: dict[str, SearchPlan]) -> pd.DataFrame:
    def words(sets: Sets, name: str) -> str:
        return ", ".join(f"{group.specimen} {group.plane}" for group in sets[name])

    return pd.DataFrame(
        {"arm": arm, "set": name, "groups": words(plan.sets, name)} for arm, plan in plans.items() for name in plan.sets
    )


def _sentences(fitted: dict[str, FittedArm]) -> list[str]:
    specimen = fitted["specimen"].spread
    return [
        f"{name}: {arm.spread.mean:.3f} ± {arm.spread.sd:.3f}, against {specimen.mean:.3f} ± {specimen.sd:.3f} by specimen. "
        "A mixed set is tested by networks that know its specimens from other planes: it answers an easier question."
        for name, arm in fitted.items()
        if name != "specimen" and arm.fits
    ]
