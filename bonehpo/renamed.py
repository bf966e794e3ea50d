"""Old names and their new ones, so that files and commands of before the renaming are still read.

CHANGELOG.md has the whole table, with flags, tags and metrics. New files have new names alone.
"""

from collections.abc import Mapping
from typing import Any

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
