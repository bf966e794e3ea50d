"""Names and keys that outlive a version: what addresses are made of, and old names by which files are still read.

A key that exists since schema 1 is always in. One that was added later is left out where it has its default, and that
default never changes: what was made without the key stays what it is, and a study goes on with a bonehpo that has more
settings. Whoever adds a field to a settings dataclass gives it a default, and needs nothing else.

Tables of names give the new name by the old one. CHANGELOG.md has all, with flags, tags and metrics; new files have new
names alone.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

SCHEMA = 2
"""Of identities and addresses: in schema 1 every key was in. Raised when that rule changes, not with each key."""

SCHEMA_1: Mapping[str, tuple[str, ...]] = {
    "FitSpec": ("store_id", "sets", "pair", "hyperparameters", "training", "seed", "task", "transfer"),
    "Hyperparameters": ("layers", "learning_rate", "kernel", "batch"),
    "Range": ("low", "high"),
    "Search": ("sampler", "seed"),
    "Space": ("layers", "learning_rate", "kernel", "batch"),
    "Split": ("kind", "assignment", "seed"),
    "Steps": ("cropped", "crop", "match", "median", "n_slices", "side", "reference", "standardise"),
    "StudyConfig": ("task", "split", "space", "baseline", "training", "search"),
    "Training": ("epochs", "flip", "shear_deg", "checkpoint", "precision"),
    "Transfer": ("mode", "weights"),
}
"""Keys of schema 1 that identities and addresses hold, by the name of the dataclass. Never changed, but for a renaming."""


def stable(value: object) -> Any:
    """Plain form of a value, for a content address, an identity or a comparison.

    Args:
        value: Plain values, sequences and mappings of them, and dataclasses, which become mappings of their keys: those of
            schema 1, and later ones where they are not at their default.

    Examples:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Range:
        ...     low: float
        ...     high: float
        ...     base: int = 10
        >>> stable(Range(1, 2)), stable(Range(1, 2, base=2))
        ({'low': 1, 'high': 2}, {'low': 1, 'high': 2, 'base': 2})
    """
    if is_dataclass(value) and not isinstance(value, type):
        first = {key for kind in type(value).__mro__ for key in SCHEMA_1.get(kind.__name__, ())}
        held = {field: getattr(value, field.name) for field in fields(value)}
        return {field.name: stable(v) for field, v in held.items() if field.name in first or not _is_default(field, v)}
    if isinstance(value, Mapping):
        return {key: stable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [stable(item) for item in value]
    return value


def _is_default(field: Field[Any], value: object) -> bool:
    if field.default is not MISSING:
        return bool(value == field.default)
    return field.default_factory is not MISSING and bool(value == field.default_factory())


RESULTS: Mapping[str, str] = {"null": "permutation", "race": "pruning"}
"""Results, and the folders that they lie in."""

TABLES: Mapping[str, str] = {"arms": "configurations", "twins": "near-duplicates"}
"""Tables of results."""

COLUMNS: Mapping[str, str] = {
    "arm": "configuration",
    "leader": "incumbent",
    "leader_accuracy": "incumbent_accuracy",
}
"""Columns of tables, and keys of what is stopped."""

NUMBERS: Mapping[str, str] = {"paper_accuracy": "apparent_accuracy"}
"""Metrics of results."""

SETTINGS: Mapping[str, str] = {"dealing": "assignment"}
"""Keys of `[split]` in study.toml."""

ATTRIBUTES: Mapping[str, str] = {
    "raced": "pruned",
    "race:leader": "pruning:incumbent",
    "race:stopped": "pruning:stopped",
}
"""Attributes of studies and trials in Optuna's storage."""


def with_new_names(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Values under their new names, in the same order.

    Args:
        values: By old or new name.
        names: New name by old.

    Examples:
        >>> with_new_names({"arm": "cnn", "mean": 0.9}, COLUMNS)
        {'configuration': 'cnn', 'mean': 0.9}
    """
    return {names.get(name, name): value for name, value in values.items()}


def old_name(name: str, names: Mapping[str, str]) -> str:
    """Name that something had before; the same name where that has not changed."""
    return next((old for old, new in names.items() if new == name), name)


def find_attribute(attributes: Mapping[str, Any], name: str) -> Any:
    """Value of an attribute of a study or trial under its new or its old name; None where it has neither."""
    return attributes.get(name, attributes.get(old_name(name, ATTRIBUTES)))
