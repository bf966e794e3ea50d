"""Heat maps of kept networks, one task a network, for an engine.

Beyond the paper: whether the fold models agree on where to look; whether maps change when what was learnt is taken out of
a network (Adebayo et al. 2018); and, on phantoms, whether they lie on the true damage.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from bonehpo.analysis.heat_maps import agreement, damage_energy, rank_correlation
from bonehpo.domain import FoldScores, Group, HoldoutPair, Progress, ProgressCallback
from bonehpo.engine import Engine
from bonehpo.learning.architecture import n_weighted_layers
from bonehpo.learning.fits import StateAnswers
from bonehpo.results.best_fold import ranked
from bonehpo.results.finished import Findings, FinishedStudy, FittedConfiguration, fit_configurations
from bonehpo.store.images import open_expected
from bonehpo.store.store import SliceStore
from bonehpo.task import FAILED, PRISTINE


class SliceKey(NamedTuple):
    """One slice of a store."""

    specimen: str
    state: int
    plane: str
    position: int


class Asked(NamedTuple):
    """A slice, and the class that is explained: 0 pristine, 1 failed; -1 for a network that predicts strain."""

    key: SliceKey
    target: int


@dataclass(frozen=True, kw_only=True)
class MapTask:
    """Heat maps of one network.

    Attributes:
        network: Its file.
        store: Folder of the slice store.
        store_id: The store that is meant.
        asked: What to explain.
        n_randomised: Layers, from the output on, whose weights are drawn anew first; see `gradcam.randomise_top`.
        seed: Of those weights.
    """

    network: Path
    store: Path
    store_id: str
    asked: tuple[Asked, ...]
    n_randomised: int = 0
    seed: int = 0


class MapAnswer(NamedTuple):
    """Outputs of a network on the slices of its task, and its heat maps.

    Attributes:
        maps: Heat maps (slice, y, x), the largest value of each 1; one may be 0 everywhere.
        outputs: Softmax output for *failed*, or strain in %, (slice,).
        layer: Whose output was looked at.
        weighted: Layers with weights, from the output on.
    """

    maps: npt.NDArray[np.float32]
    outputs: npt.NDArray[np.float32]
    layer: str
    weighted: tuple[str, ...]

    def of(self, task: MapTask, asked: Asked) -> npt.NDArray[np.float32]:
        """The map (y, x) of one slice of the task."""
        found: npt.NDArray[np.float32] = self.maps[task.asked.index(asked)]
        return found


def explain_slices(task: MapTask) -> MapAnswer:
    """Compute the heat maps of a task.

    Raises:
        NetworkError: There is no such network.
        StoreError: The store is another one, or damaged.
    """
    from bonehpo.learning.gradcam import default_layer, grad_cam, normalise_maps, randomise_top, weighted_layers
    from bonehpo.learning.learners import predict
    from bonehpo.learning.networks import load_network

    network = load_network(task.network)
    layer, names = default_layer(network), weighted_layers(network)
    if task.n_randomised:
        network = randomise_top(network, task.n_randomised, task.seed)
    pixels = read_slices(open_expected(task.store, task.store_id), [asked.key for asked in task.asked])
    targets = np.array([asked.target for asked in task.asked])
    maps = np.zeros(pixels.shape, np.float32)
    for target in np.unique(targets):
        chosen = targets == target
        maps[chosen] = grad_cam(network, pixels[chosen], target=None if target < 0 else int(target), layer=layer)
    return MapAnswer(normalise_maps(maps), predict(network, pixels), layer, names)


def read_slices(store: SliceStore, slices: Sequence[SliceKey]) -> npt.NDArray[np.uint8]:
    """8-bit slices (slice, y, x); each group is read once."""
    groups = {key[:3]: store.group(*key[:3]) for key in slices}
    return np.stack([groups[key[:3]][key.position] for key in slices])


def read_damage(store: SliceStore, slices: Sequence[SliceKey]) -> npt.NDArray[np.float32]:
    """True damage (slice, y, x) of a phantom's slices, as the share of each pixel, 0 to 1."""
    groups = {key[:3]: store.damage(*key[:3]) for key in slices}
    damage = np.stack([groups[key[:3]][key.position] for key in slices])
    return damage.astype(np.float32) / np.float32(255)


NAME = "grad-cam"

N_CHECKED = 10
"""Slices of each plane, evenly spaced, on which maps are compared with the truth."""


LITTLE_GAIN = 1.2
"""Maps have to lie on damage by more than so many times what chance, or a map of dark or bright pixels, does."""


def heat_maps_address(finished: FinishedStudy) -> str:
    """Content address of the heat maps."""
    return finished.address(NAME, N_CHECKED)


class Shown(NamedTuple):
    """A slice that is drawn: in which panel (`classes`, `states`), and what is asked of it."""

    panel: str
    asked: Asked


@dataclass(frozen=True, kw_only=True, eq=False)
class _Explained:
    """All fold models of the optimum, asked about slices of their own held-out sets."""

    finished: FinishedStudy
    tasks: Mapping[HoldoutPair, MapTask]
    answers: Mapping[HoldoutPair, MapAnswer]

    def map(self, pair: HoldoutPair, asked: Asked) -> npt.NDArray[np.float32]:
        return self.answers[pair].of(self.tasks[pair], asked)

    def output(self, pair: HoldoutPair, asked: Asked) -> float:
        return float(self.answers[pair].outputs[self.tasks[pair].asked.index(asked)])

    def folds(self) -> Iterator[tuple[HoldoutPair, str, str]]:
        """Pair, test and validation set of every fold."""
        for pair in self.tasks:
            yield pair, pair.first, pair.second
            yield pair, pair.second, pair.first


def run_heat_maps(finished: FinishedStudy, engine: Engine, progress: ProgressCallback) -> Findings:
    """Heat maps of the best fold model, and the checks on all fold models.

    Args:
        finished: The study.
        engine: Where fits run.
        progress: Told after every fit.

    Raises:
        NetworkError: A network of the optimum is gone.
    """
    configuration = fit_configurations([finished.optimum_configuration()], engine, progress)["optimum"]
    best, states = ranked(configuration)[0], configuration.states()
    best_pair = _pair(best)
    shown = _shown(finished, best, states[best_pair])
    tasks = {pair: _task(finished, configuration, pair, shown if pair == best_pair else ()) for pair in states}
    randomised = _randomised(finished, tasks[best_pair], best.test)
    found = _run([*tasks.values(), *randomised], engine, progress)
    explained = _Explained(finished=finished, tasks=tasks, answers={pair: found[task] for pair, task in tasks.items()})
    tables = {
        "slices": _slices_table(explained, best, shown),
        "agreement": _agreement_table(explained),
        "sanity": _sanity_table(tasks[best_pair], randomised, found),
    }
    keys = [one.asked.key for one in shown]
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "slices": read_slices(finished.store, keys),
        "maps": np.stack([explained.map(best_pair, one.asked) for one in shown]),
    }
    if finished.store.has_damage:
        tables["energy"] = _energy_table(explained)
        arrays["damage"] = read_damage(finished.store, keys)
    return Findings(
        parameters={"layer": explained.answers[best_pair].layer, "test": best.test, "validation": best.validation},
        metrics=_metrics(tables),
        sentences=_sentences(tables, finished.store.has_damage),
        tables=tables,
        arrays=arrays,
    )


def _run(tasks: Sequence[MapTask], engine: Engine, progress: ProgressCallback) -> dict[MapTask, MapAnswer]:
    found: dict[MapTask, MapAnswer] = {}
    for outcome in engine.run(explain_slices, tasks):
        found[outcome.task] = outcome.result()
        progress(Progress(len(found), len(tasks), "heat maps"))
    return found


def _pair(fold: FoldScores) -> HoldoutPair:
    first, second = sorted((fold.test, fold.validation))
    return HoldoutPair(first, second)


def _surest(answers: StateAnswers, group: Group, state: int) -> int:
    """The position of the slice of a group that a network is surest of that it is failed."""
    mine = (answers.specimen == group.specimen) & (answers.plane == group.plane) & (answers.state == state)
    return int(answers.position[mine][np.argmax(answers.output[mine])])


def _shown(finished: FinishedStudy, best: FoldScores, answers: StateAnswers) -> tuple[Shown, ...]:
    """Slices that are drawn, of the test specimen of the best fold model.

    Of each plane the failed slice that the model is surest of, and the same one pristine, each explained by its own class;
    and that of the first plane at every load state, explained by *failed*.
    """
    store, groups = finished.store, finished.plan.sets[best.test]
    ends = {group: store.ends(group.specimen) for group in groups}
    at = {group: _surest(answers, group, ends[group][-1]) for group in groups}
    classes = [
        Shown("classes", Asked(SliceKey(group.specimen, state, group.plane, at[group]), target))
        for group in groups
        for state, target in zip(ends[group], (PRISTINE, FAILED), strict=True)
    ]
    one = groups[0]
    states = [
        Shown("states", Asked(SliceKey(one.specimen, state, one.plane, at[one]), FAILED))
        for state in store.states
        if store.has(one.specimen, state)
    ]
    return (*classes, *states)


def _checked(finished: FinishedStudy, name: str) -> list[Asked]:
    """Failed slices of a set on which maps are checked, `N_CHECKED` of each plane, evenly spaced."""
    n = finished.store.n_slices
    positions = sorted({round(at) for at in np.linspace(0, n - 1, min(n, N_CHECKED))})
    return [
        Asked(SliceKey(group.specimen, finished.store.ends(group.specimen)[-1], group.plane, at), FAILED)
        for group in finished.plan.sets[name]
        for at in positions
    ]


def _task(
    finished: FinishedStudy, configuration: FittedConfiguration, pair: HoldoutPair, shown: Sequence[Shown]
) -> MapTask:
    fit = next(task for task in configuration.configuration.tasks if task.spec.pair == pair)
    wanted = [asked for name in pair for asked in _checked(finished, name)] + [one.asked for one in shown]
    return MapTask(
        network=finished.plan.network(fit.spec.key).absolute(),
        store=fit.store,
        store_id=finished.plan.store_id,
        asked=tuple(dict.fromkeys(wanted)),
    )


def _randomised(finished: FinishedStudy, task: MapTask, test: str) -> list[MapTask]:
    """The best fold model with ever more layers of random weights, asked about its test set."""
    asked = tuple(_checked(finished, test))
    n_weighted = n_weighted_layers(finished.choice)
    return [replace(task, asked=asked, n_randomised=n, seed=1) for n in range(1, n_weighted + 1)]


def _slices_table(explained: _Explained, best: FoldScores, shown: Sequence[Shown]) -> pd.DataFrame:
    store, pair = explained.finished.store, _pair(best)
    rows = [
        {
            "panel": panel,
            "test": best.test,
            "validation": best.validation,
            "specimen": asked.key.specimen,
            "state": asked.key.state,
            "strain": store.scan(asked.key.specimen, asked.key.state).strain,
            "plane": asked.key.plane,
            "position": asked.key.position,
            "label": store.label(asked.key.specimen, asked.key.state),
            "p_failed": explained.output(pair, asked),
        }
        for panel, asked in shown
    ]
    return pd.DataFrame(rows).astype({"strain": float})


def _agreement_table(explained: _Explained) -> pd.DataFrame:
    """For each failed slice that was checked, how alike the maps are of all networks that were tested on its set."""
    rows = []
    for name in explained.finished.plan.sets:
        pairs = [pair for pair, test, _ in explained.folds() if test == name]
        for asked in _checked(explained.finished, name):
            found = agreement(np.stack([explained.map(pair, asked) for pair in pairs]))
            key = asked.key
            n_blank = len(pairs) - found.n_maps
            rows.append((key.specimen, key.state, key.plane, len(pairs), n_blank, found.correlation))
    groups = ["specimen", "state", "plane"]
    table = pd.DataFrame(rows, columns=[*groups, "n_networks", "n_blank", "correlation"]).groupby(groups, sort=False)
    return table.agg(
        n_networks=("n_networks", "max"),
        n_maps=("n_networks", "sum"),
        n_blank=("n_blank", "sum"),
        correlation=("correlation", "mean"),
    ).reset_index()


def _sanity_table(trained: MapTask, randomised: Sequence[MapTask], found: Mapping[MapTask, MapAnswer]) -> pd.DataFrame:
    """Rank correlation of the maps of the trained network with those after cascading randomisation."""
    layers = found[trained].weighted
    rows = [{"randomised": 0, "layer": "", "correlation": 1.0, "sd": 0.0, "n_slices": len(randomised[0].asked)}]
    for task in randomised:
        values = np.array(
            [rank_correlation(found[trained].of(trained, one), found[task].of(task, one)) for one in task.asked]
        )
        values = values[np.isfinite(values)]  # a map that is 0 everywhere has no ranks
        rows.append(
            {
                "randomised": task.n_randomised,
                "layer": layers[task.n_randomised - 1],
                "correlation": float(values.mean()) if len(values) else math.nan,
                "sd": float(values.std(ddof=1)) if len(values) > 1 else math.nan,
                "n_slices": len(values),
            }
        )
    return pd.DataFrame(rows)


def _energy_table(explained: _Explained) -> pd.DataFrame:
    """Share of each fold model's maps that lies on true damage, over the failed slices of its test set by plane.

    Beside chance stand two maps that anyone could draw: how dark, and how bright, each pixel is.
    """
    rows = []
    for pair, test, validation in explained.folds():
        asked = _checked(explained.finished, test)
        keys = [one.key for one in asked]
        damage, slices = read_damage(explained.finished.store, keys), read_slices(explained.finished.store, keys)
        maps = np.stack([explained.map(pair, one) for one in asked])
        groups = [(one.key.specimen, one.key.state, one.key.plane) for one in asked]
        for group in dict.fromkeys(groups):
            mine = [i for i, other in enumerate(groups) if other == group]
            truth, intensity = (np.concatenate(values[mine]).astype(np.float32) for values in (damage, slices))
            found = damage_energy(np.concatenate(maps[mine]), truth)
            trivial = (damage_energy(255 - intensity, truth).share, damage_energy(intensity, truth).share)
            rows.append((test, validation, *group, *found, *trivial))
    names = ["test", "validation", "specimen", "state", "plane", "share", "chance", "gain", "dark", "bright"]
    return pd.DataFrame(rows, columns=names)


def _metrics(tables: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    metrics = {
        "agreement": float(tables["agreement"]["correlation"].mean()),
        "correlation_randomised": float(tables["sanity"]["correlation"].iloc[-1]),
        "blank": float(tables["agreement"]["n_blank"].sum() / tables["agreement"]["n_maps"].sum()),
    }
    if "energy" in tables:
        names = ("share", "chance", "dark", "bright")
        metrics |= {f"energy_{name}": float(tables["energy"][name].mean()) for name in names}
        metrics["energy_gain"] = metrics["energy_share"] / metrics["energy_chance"]
    return metrics


def _sentences(tables: Mapping[str, pd.DataFrame], has_damage: bool) -> list[str]:
    found = _metrics(tables)
    n_maps, n_blank = (int(tables["agreement"][name].sum()) for name in ("n_maps", "n_blank"))
    sentences = []
    if n_blank:
        sentences.append(
            f"Caution: {n_blank} of {n_maps} maps of failed slices are blank: in the last layer nothing speaks for "
            "*failed*. "
            + ("There is nothing to compare." if n_blank == n_maps else "They are left out of what follows.")
        )
    if np.isfinite(found["agreement"]):
        sentences.append(
            "Maps of networks that were tested on the same slices agree by a rank correlation of "
            f"{found['agreement']:.2f}."
        )
    if np.isfinite(found["correlation_randomised"]):
        sentences.append(
            "With all weights random, maps still resemble the trained network's by "
            f"{found['correlation_randomised']:.2f}: near 1 would mean that they show edges, whatever was learnt."
        )
    if has_damage and np.isfinite(found["energy_share"]):
        gain = found["energy_gain"]
        trivial = max(found[f"energy_{name}"] for name in ("chance", "dark", "bright"))
        caution = "" if found["energy_share"] > LITTLE_GAIN * trivial else "Caution: "
        sentences.append(
            f"{caution}{found['energy_share']:.0%} of the maps lies on true damage, which fills "
            f"{found['energy_chance']:.0%} of the slices: {gain:.1f} times chance. Of a map of dark pixels alone it "
            f"would be {found['energy_dark']:.0%}, of bright ones {found['energy_bright']:.0%}."
        )
    return sentences
