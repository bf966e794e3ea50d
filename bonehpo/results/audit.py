"""The shortcut audit: the folds of the network scored by models that cannot see a crack."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from bonehpo.analysis.detection import mean_by_state
from bonehpo.analysis.interventions import Evidence, evidence, evidence_sentence
from bonehpo.analysis.shortcuts import (
    NEAR,
    NETWORK,
    GroupState,
    Values,
    Verdict,
    end_folds,
    flags,
    judge,
    network_sentence,
    network_verdict,
    state_accuracies,
    too_few,
    verdict_sentence,
)
from bonehpo.domain import Group, Progress, ProgressCallback, ignore_progress
from bonehpo.engine import Engine
from bonehpo.errors import StudyError
from bonehpo.folds import Sets
from bonehpo.leakage.features import CEILINGS, KINDS, MOST, MOST_LOADED, scan_features
from bonehpo.preparation.registration import OFFSETS, show_one_place
from bonehpo.results.detection import NAME as DETECTION
from bonehpo.results.detection import first_damaged
from bonehpo.results.finished import Findings, FinishedStudy, current_result
from bonehpo.results.interventions import ask_networks, network_files
from bonehpo.search.records import read_folds
from bonehpo.store.store import SliceStore

NAME = "audit"

VERSION = 3
"""Of models and rule; raised when an audit of before would no longer do."""

MEGAPIXELS_PER_S = 2
"""Slices that are measured a second, about; 3 (of 64 pixels) to 7 (of 200) on one core."""


def audit_address(finished: FinishedStudy, visible_from: int | None) -> str:
    """Content address of the audit, made from study, what is known of damage, and detection limits, if there are any."""
    detection = current_result(finished.plan, finished.optimum, DETECTION)
    return finished.address(NAME, VERSION, visible_state(finished, visible_from), detection and detection.inputs)


def visible_state(finished: FinishedStudy, asked: int | None) -> int | None:
    """First state with damage: as asked, else the truth of a phantom, else as the detection limits were asked for."""
    known = asked or first_damaged(finished.store)
    detection = current_result(finished.plan, finished.optimum, DETECTION)
    said = detection.parameters.get("visible_from", "") if detection else ""
    return known or (int(said) if said.isdigit() else None)


def audit_seconds(store: SliceStore, visible_from: int | None) -> float:
    """About how long an audit takes on one core."""
    loaded = [state for state in store.states[1:-1] if state < (visible_from or 0)]
    per_plane = 2 * min(store.n_slices, MOST) + len(loaded) * min(store.n_slices, MOST_LOADED)
    n_slices = len(store.specimens) * len(store.planes) * per_plane
    return n_slices * store.side**2 / 1e6 / MEGAPIXELS_PER_S


def run_audit(
    finished: FinishedStudy, engine: Engine, progress: ProgressCallback, visible_from: int | None = None
) -> Findings:
    """Score the folds of the optimum by trivial models, and ask its networks where their evidence lies.

    Args:
        finished: The study.
        engine: Where networks are asked.
        progress: Told of each scan that is measured, and of each network.
        visible_from: First state at which a person sees damage; see `visible_state`.

    Raises:
        StoreError: The store is damaged.
        StudyError: Fits of the optimum are gone.
    """
    visible = visible_state(finished, visible_from)
    network, detection = network_folds(finished), current_result(finished.plan, finished.optimum, DETECTION)
    seen = detection.tables["states"] if detection else None
    n_scans, n_networks = len(_scans_asked(finished.store, visible)), len(network_files(finished))
    scored = score_models(
        finished.store, finished.plan.sets, network, visible, seen, _part_of(progress, 0, n_scans + n_networks)
    )
    exchanged = ask_networks(finished, engine, _part_of(progress, n_scans, n_scans + n_networks))
    lies = evidence(exchanged)
    one_place = finished.store.has_damage or show_one_place(finished.plan.folder.path / OFFSETS, finished.store.id)
    said = evidence_sentence(lies, is_truth=finished.store.has_damage, one_place=one_place)
    against = said if lies.undamaged and one_place else ""
    tables = audit_tables(scored, network, visible, seen, against) | {"exchanged": exchanged}
    return Findings(
        parameters={"visible_from": visible or "unknown", "near": NEAR},
        metrics=_metrics(scored.verdicts, tables, lies),
        sentences=[*_sentences(scored.verdicts, tables, visible), "" if against else said],
        tables=tables,
    )


def _part_of(progress: ProgressCallback, before: int, total: int) -> ProgressCallback:
    """Tells of a part of a longer way, of which steps lie before."""
    return lambda at: progress(Progress(before + at.done, total, at.what))


def asked_models(models: pd.DataFrame) -> pd.DataFrame:
    """Of the table `models` those that were asked, without what the sentences tell or only the gate of promotion needs."""
    dropped = ["n_folds", "near", "sees_before", "ceiling", "surely", "unsure"]
    return models[models["reason"] == ""].drop(columns=dropped, errors="ignore")  # audits of before have no ceiling


class Scored(NamedTuple):
    """The network and the trivial models in order, and the accuracies of the latter at each load state."""

    verdicts: list[Verdict]
    states: dict[str, pd.DataFrame]


def score_models(
    store: SliceStore,
    sets: Sets,
    network: pd.DataFrame,
    visible_from: int | None,
    network_states: pd.DataFrame | None = None,
    progress: ProgressCallback = ignore_progress,
) -> Scored:
    """Measure slices, train trivial models on the folds of a study, and judge them against a network.

    Args:
        store: The slices.
        sets: How they are assigned.
        network: Folds of the network: `test`, `validation`, `accuracy`.
        visible_from: First state with damage; None where nobody knows.
        network_states: What detection limits are made from; None where nobody asked the network.
        progress: Told of each scan that is measured.

    Raises:
        StoreError: The store is damaged.
    """
    verdicts, states = [network_verdict(network)], {}
    for model, features in _measure(store, visible_from, progress).items():
        ceiling = CEILINGS.get(model)
        reason = too_few(features) or _not_before(features, ceiling)
        if reason:
            verdicts.append(Verdict(model, float("nan"), float("nan"), 0, reason))
            continue
        states[model] = state_accuracies(features, sets)
        verdicts.append(judge(model, states[model], network, visible_from, network_states, ceiling=ceiling))
    return Scored(verdicts, states)


def _not_before(features: Mapping[GroupState, Values], ceiling: float | None) -> str:
    if ceiling != math.inf or len({key.state for key in features}) > 2:
        return ""
    return "they see cracks, and no loaded state is known to be undamaged"


def network_folds(finished: FinishedStudy) -> pd.DataFrame:
    """The folds of the optimum with fresh seeds: `test`, `validation`, `accuracy`.

    Raises:
        StudyError: A fit is gone.
    """
    scores = [fold.scores for fold in read_folds(finished.plan.folder, list(finished.optimum.keys.values()))]
    if len(scores) < 2 * len(finished.plan.pairs):
        raise StudyError(
            f"fits of the optimum are gone from {finished.plan.folder.fits}: run the same `bonehpo search` again"
        )
    return pd.DataFrame(
        {"test": [s.test for s in scores], "validation": [s.validation for s in scores]}
        | {"accuracy": [s.test_score for s in scores]}
    )


def _scans_asked(store: SliceStore, visible: int | None) -> list[tuple[str, int]]:
    return [
        (scan.specimen, scan.state)
        for scan in store.manifest.scans
        if scan.state in store.ends(scan.specimen) or scan.state < (visible or 0)
    ]


def _measure(
    store: SliceStore, visible: int | None, progress: ProgressCallback
) -> Mapping[str, dict[GroupState, Values]]:
    """The numbers of all slices, for each model: the pristine and failed scans, and loaded ones before damage."""
    scans = _scans_asked(store, visible)
    features: dict[str, dict[GroupState, Values]] = {model: {} for model in KINDS}
    for done, (specimen, state) in enumerate(scans, start=1):
        for model, planes in scan_features(store, specimen, state).items():
            for plane, values in planes.items():
                features[model][GroupState(Group(specimen, plane), store.common_state(specimen, state))] = values
        progress(Progress(done, len(scans), f"{specimen} state {state}"))
    return features


def _flags(
    verdicts: list[Verdict], seen: pd.DataFrame | None, visible: int | None, undamaged_parts: str
) -> pd.DataFrame:
    network = verdicts[0].mean
    before = "" if seen is None else network_sentence(mean_by_state(seen), visible)
    rows = [
        *((v.model, _kind_of_flag(v), verdict_sentence(v, network, visible)) for v in verdicts if v.flagged),
        (NETWORK, "before damage", before),
        (NETWORK, "undamaged parts", undamaged_parts),
    ]
    return pd.DataFrame([row for row in rows if row[-1]], columns=["model", "kind", "sentence"])


def audit_tables(
    scored: Scored,
    network: pd.DataFrame,
    visible_from: int | None,
    network_states: pd.DataFrame | None = None,
    undamaged_parts: str = "",
) -> dict[str, pd.DataFrame]:
    """The tables of the result `audit`, see docs/reference/results.md.

    Args:
        scored: From `score_models`.
        network: As there.
        visible_from: As there.
        network_states: As there.
        undamaged_parts: The sentence that the networks follow undamaged parts, if they do.
    """
    verdicts, states = scored
    folds = pd.concat(
        [network.assign(model=NETWORK), *(end_folds(found).assign(model=model) for model, found in states.items())]
    )[["model", "test", "validation", "accuracy"]]
    return {
        "models": pd.DataFrame(verdicts),
        "folds": folds.reset_index(drop=True),
        "sets": folds.groupby(["model", "test"], sort=False)["accuracy"].mean().reset_index(),
        "states": pd.concat([found.assign(model=model) for model, found in states.items()], ignore_index=True),
        "flags": _flags(verdicts, network_states, visible_from, undamaged_parts),
    }


def _kind_of_flag(verdict: Verdict) -> str:
    if verdict.mean >= verdict.ceiling:
        return "ceiling"
    return "before damage" if verdict.sees_before else "near"


def _metrics(verdicts: list[Verdict], tables: Mapping[str, pd.DataFrame], lies: Evidence) -> dict[str, float]:
    asked = [verdict for verdict in verdicts if not verdict.reason]
    means = {f"accuracy/{verdict.model.replace(' ', '_')}": verdict.mean for verdict in asked}
    before = {f"before_damage/{v.model.replace(' ', '_')}": v.before for v in asked if np.isfinite(v.before)}
    share = {"evidence_in_undamaged_parts": lies.share} if lies.n_sets else {}
    return {**means, **before, **share, "n_flags": float(len(tables["flags"]))}


def _sentences(verdicts: list[Verdict], tables: Mapping[str, pd.DataFrame], visible: int | None) -> list[str]:
    network, *trivial = verdicts
    asked = [verdict for verdict in trivial if not verdict.reason]
    means = ", ".join(f"{verdict.model} {verdict.mean:.2f}" for verdict in asked)
    told = [(v, verdict_sentence(v, network.mean, visible)) for v in asked if not v.flagged]
    cleared = [f"Caution: {sentence}" if v.unsure else sentence for v, sentence in told]
    known = f"load states before {visible}" if visible else "no loaded state is known to be undamaged (--visible-from)"
    left_out = [f"Not asked: {v.model}, as {v.reason}." for v in trivial if v.reason]
    nothing = (
        [] if len(tables["flags"]) else ["No shortcut was found; there may be others than those that were looked for."]
    )
    return [
        *(f"Caution: {sentence}" for sentence in flags(tables)),
        *nothing,
        f"Mean accuracy over the folds: network {network.mean:.2f}, {means}; asked before damage: {known}.",
        *(sentence for sentence in cleared if sentence),
        *left_out,
    ]
