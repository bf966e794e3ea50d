"""study.toml: what a study searches, as frozen dataclasses that are checked once.

Flags of the command line say *how* to run; *what* is searched stands here alone. Unknown keys are refused, with the nearest
known one. A missing key takes the value of the paper (Shen et al. 2021, §2.2 and §3.2).
"""

import dataclasses
import difflib
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec
import tomlkit

from bonehpo.errors import ConfigError
from bonehpo.hyperparameters import HYPERPARAMETERS, Hyperparameters, Range, Space, searched
from bonehpo.schema import SETTINGS, with_new_names


class StudyFolder(NamedTuple):
    """The folder of a study, `studies/<name>`, and what lies in it."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.path.name

    @property
    def config(self) -> Path:
        """Settings of the study; committed."""
        return self.path / "study.toml"

    @property
    def store(self) -> Path:
        """The slice store."""
        return self.path / "slices.zarr"

    @property
    def fits(self) -> Path:
        """Results of fits, one file each."""
        return self.path / "fits"

    @property
    def optimum(self) -> Path:
        """Networks of the optimum, fitted again."""
        return self.path / "optimum"

    @property
    def networks(self) -> Path:
        """Networks that comparisons and explanations keep."""
        return self.path / "networks"

    @property
    def results(self) -> Path:
        """Comparisons and explanations, a folder each."""
        return self.path / "results"

    @property
    def trials_csv(self) -> Path:
        """All trials, a row each, for R and Excel."""
        return self.path / "trials.csv"

    @property
    def folds_csv(self) -> Path:
        """The folds of all complete trials, a row each."""
        return self.path / "folds.csv"

    @property
    def drivers(self) -> Path:
        """Locks by which drivers of the study know of each other."""
        return self.path / "drivers"


SamplerName = Literal["tpe", "random", "quasi-random", "grid", "sweep"]

PrunerName = Literal["none", "signed-rank", "paired-t"]
"""The pruners of `search.pruners`, where each is described."""

Protocol = Literal["adaptive", "strict"]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Definition of a set.

    Attributes:
        kind: "specimen": a set is a specimen. "mixed": three (specimen, plane) groups are assigned together.
        assignment: For "mixed": "seeded" assigns at random, "published" as Table 1 of the paper.
        seed: Of the seeded assignment.
    """

    kind: Literal["specimen", "mixed"] = "specimen"
    assignment: Literal["seeded", "published"] = "seeded"
    seed: int = 0


MOST_RESTARTS = 5
"""Other seeds that a stuck fit may be offered: a choice that is stuck with six is no matter of luck."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Training of every network of the study.

    Attributes:
        epochs: Passes over the training images.
        flip: Mirror each image left to right with probability 1/2.
        shear_deg: Largest angle of the random shear along x, in degrees. 0 turns it off.
        checkpoint: "last": the network after the last epoch. "best": after the epoch that was best on the validation set.
        precision: "auto" takes bfloat16 where the hardware is faster with it.
        restarts: Other seeds that a fit is offered, one after the other, while it is stuck, see `fits.is_stuck`.
    """

    epochs: int = 20
    flip: bool = True
    shear_deg: float = 10.0
    checkpoint: Literal["last", "best"] = "last"
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    restarts: int = 0


@dataclass(frozen=True, kw_only=True)
class Search:
    """Proposal of candidates, and choice of the optimum.

    Attributes:
        sampler: "tpe" and "random" propose one trial after another; "quasi-random" (Sobol), "grid" and "sweep" (the
            paper's one-at-a-time variation) have a list that is fixed before any score.
        protocol: "strict": the whole list of candidates is fixed and hashed before any score. "adaptive": what is tried may
            depend on scores that were seen, which leaks a little into every estimate. "auto": strict for samplers that have
            a fixed list, else adaptive.
        seed: Of the sampler and of every training.
        optimum: "best": the highest mean accuracy. "one-se": the smallest network within one standard error of it.
            "baseline": the baseline, where the search has not found better.
        pruner: Who stops trials that fall behind. "none" stops nothing, unless a search is asked to prune (`--prune`).
    """

    sampler: SamplerName = "tpe"
    protocol: Literal["auto", "adaptive", "strict"] = "auto"
    seed: int = 0
    optimum: Literal["best", "one-se", "baseline"] = "best"
    pruner: PrunerName = "none"


@dataclass(frozen=True, kw_only=True)
class Strain:
    """The regression of strain beside a search for damage (`bonehpo strain`).

    Attributes:
        epochs: Passes over the slices of all load states; 0 takes `training.epochs`. There are as many times more slices as
            there are pairs of load states.
    """

    epochs: int = 0


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """The whole of study.toml.

    Attributes:
        bone: Names the registered model `bonehpo-<bone>`.
        task: "damage" tells failed from pristine slices; "strain" predicts the apparent strain of slices of all load states.
        split: What a set is.
        space: What may be chosen.
        baseline: The first trial, and what the one-at-a-time sweep varies.
        training: How networks are trained.
        search: How candidates are proposed and the optimum is chosen.
        strain: How strain is learnt beside a search for damage.
    """

    bone: str
    task: str = "damage"
    split: Split = Split()
    space: Space = field(default_factory=Space)
    baseline: Hyperparameters = field(default_factory=Hyperparameters)
    training: Training = Training()
    search: Search = Search()
    strain: Strain = Strain()

    @property
    def protocol(self) -> Protocol:
        """Protocol by which candidates come about, see `Search.protocol`."""
        if self.search.protocol != "auto":
            return self.search.protocol
        return "adaptive" if self.search.sampler in ("tpe", "random") else "strict"


def load_config(path: Path, bone: str) -> StudyConfig:
    """Read a study.toml.

    Args:
        path: The file. One that does not exist means the paper's settings.
        bone: Taken where the file does not name the bone.

    Raises:
        ConfigError: Not TOML, an unknown key, a value of the wrong kind, or one that cannot be meant.
    """
    if not path.exists():
        return StudyConfig(bone=bone)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors of Windows mark it
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    return parse_config({"bone": bone, **table}, str(path))


def parse_config(table: dict[str, Any], where: str) -> StudyConfig:
    """Turn nested tables into a checked `StudyConfig`; `where` stands in front of every complaint.

    Raises:
        ConfigError: As `load_config`.
    """
    if isinstance(table.get("split"), dict):
        table = {**table, "split": with_new_names(table["split"], SETTINGS)}
    _refuse_unknown(table, StudyConfig, where, "")
    try:
        config = msgspec.convert(table, StudyConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {str(error).replace('`', '')}") from error
    _check_values(config, where)
    _check_pruner(config, where)
    return config


def _refuse_unknown(table: dict[str, Any], kind: Any, where: str, prefix: str) -> None:
    known = {f.name: f.type for f in dataclasses.fields(kind)}
    for key, value in table.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f'did you mean "{close[0]}"?' if close else f"known are {', '.join(known)}"
            raise ConfigError(f'{where}: unknown key "{prefix}{key}": {hint}')
        if get_origin(known[key]) is Literal and value not in get_args(known[key]):
            raise ConfigError(f"{where}: {prefix}{key} is {_quoted(value)}: write {_choices(known[key])}")
        if dataclasses.is_dataclass(known[key]) and not isinstance(value, dict):
            raise ConfigError(
                f"{where}: {prefix}{key} is {_quoted(value)}, but a table: {_keys(known[key], key, value)}"
            )
        tables = [kind for kind in (known[key], *get_args(known[key])) if dataclasses.is_dataclass(kind)]
        if tables and isinstance(value, dict):
            _refuse_unknown(value, tables[0], where, f"{prefix}{key}.")


def _quoted(value: object) -> str:
    return json.dumps(value, default=str)


def _choices(kind: Any) -> str:
    return " or ".join(map(_quoted, get_args(kind)))


def _keys(table: Any, name: str, value: object) -> str:
    """The way to write a table, for a refusal: what was meant where one of its keys takes the value, else all keys."""
    fields = {f.name: f.type for f in dataclasses.fields(table)}
    for key, kind in fields.items():
        if get_origin(kind) is Literal and (value in get_args(kind) or isinstance(value, str)):
            meant = value if value in get_args(kind) else get_args(kind)[0]
            return f"write {name}.{key} = {_quoted(meant)}; it may be {_choices(kind)}"
    return f"write [{name}], and below it {', '.join(fields)}"


def _check_values(config: StudyConfig, where: str) -> None:
    _check_task(config.task, where)
    space, training = config.space, config.training
    for entry in HYPERPARAMETERS:
        complaint = space.complaint(entry.name)
        if complaint:
            raise ConfigError(f"{where}: space.{entry.name} {complaint}")
        value = getattr(config.baseline, entry.name)
        if not space.holds(entry.name, value):
            raise ConfigError(
                f"{where}: baseline.{entry.name} is {value}, which space.{entry.name} does not hold: "
                "add it there, or choose another"
            )
    if training.epochs < 1:
        raise ConfigError(f"{where}: training.epochs must be at least 1, but got {training.epochs}")
    if config.strain.epochs < 0:
        raise ConfigError(f"{where}: strain.epochs must be at least 1, or 0 for training.epochs")
    if not 0 <= training.shear_deg < 60:
        raise ConfigError(f"{where}: training.shear_deg must be from 0 to below 60, but got {training.shear_deg}")
    if not 0 <= training.restarts <= MOST_RESTARTS:
        raise ConfigError(
            f"{where}: training.restarts must be from 0 to {MOST_RESTARTS}, but got {training.restarts}: "
            "it is how many other seeds a stuck fit is offered"
        )
    if config.search.sampler == "tpe" and config.search.protocol == "strict":
        raise ConfigError(
            f"{where}: sampler tpe looks at scores, and protocol strict fixes the candidates before any: "
            'write sampler = "quasi-random" (or "random", "grid", "sweep"), or protocol = "adaptive"'
        )
    for entry in searched(space):
        if isinstance(space.of(entry.name), Range) and config.search.sampler in ("grid", "sweep"):
            raise ConfigError(
                f"{where}: sampler {config.search.sampler} needs a list of values, not a range: write {entry.name} = "
                f"[{', '.join(f'{value:g}' for value in entry.examples)}]"
            )


def _check_task(name: str, where: str) -> None:
    from bonehpo.task import task_named  # imports numpy, which takes a tenth of a second

    try:
        task_named(name)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _check_pruner(config: StudyConfig, where: str) -> None:
    """A study whose trials must all be whole names no pruner."""
    reasons = {
        "protocol strict fixes what is tried before any score": config.protocol == "strict",
        "optimum one-se may choose a trial that is behind": config.search.optimum == "one-se",
    }
    for reason, holds in reasons.items():
        if holds and config.search.pruner != "none":
            raise ConfigError(
                f'{where}: search.pruner is "{config.search.pruner}", which stops trials by their scores, and {reason}: '
                'write pruner = "none", or change the other'
            )


def config_to_toml(config: StudyConfig) -> str:
    """The whole configuration, defaults included, as TOML that `parse_config` reads back to the same value.

    Examples:
        >>> config = StudyConfig(bone="TB")
        >>> parse_config(tomllib.loads(config_to_toml(config)), "here") == config
        True
    """
    return tomlkit.dumps(plain(config))


def plain(config: StudyConfig) -> dict[str, Any]:
    """The whole configuration as nested tables of plain values."""
    tables: dict[str, Any] = msgspec.to_builtins(dataclasses.asdict(config))
    return tables
