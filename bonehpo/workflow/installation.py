"""This installation: versions, processor, accelerator, and whether the folders of a project can be used."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from bonehpo.errors import BonehpoError

PACKAGES = ("tensorflow", "keras", "optuna", "mlflow", "zarr", "scikit-image", "distributed")


class Finding(NamedTuple):
    """One thing that was looked at: what, how it was found, and whether it will do."""

    what: str
    found: str
    good: bool


def examine(root: Path) -> list[Finding]:
    """Look at the installation, the machine, and a project.

    Args:
        root: Folder of the project, which holds `studies/` and `mlruns/`.
    """
    return [
        _python(),
        *map(_package, PACKAGES),
        _processor(),
        _accelerator(),
        _disk(root),
        _tracking(root),
        *_studies(root),
    ]


def _python() -> Finding:
    return Finding("Python", platform.python_version(), sys.version_info >= (3, 11))


def _package(name: str) -> Finding:
    try:
        return Finding(name, version(name), True)
    except PackageNotFoundError:
        return Finding(name, "not installed: run `make install`", False)


def _processor() -> Finding:
    from bonehpo.learning.learners import choose_precision

    return Finding("processor", f"{len(os.sched_getaffinity(0))} cores, trains in {choose_precision('auto')}", True)


def _accelerator() -> Finding:
    from bonehpo.learning.backend import accelerators

    return Finding("accelerator", ", ".join(accelerators()) or "none; fits run on the processor", True)


def _disk(root: Path) -> Finding:
    free = shutil.disk_usage(root).free / 1e9
    return Finding("disk", f"{free:.1f} GB free in {root}", free > 1)


def _tracking(root: Path) -> Finding:
    from bonehpo.tracking.database import open_tracking

    try:
        return Finding("MLflow", open_tracking(root).uri, True)
    except BonehpoError as error:
        return Finding("MLflow", str(error), False)


def _studies(root: Path) -> list[Finding]:
    from bonehpo.config import StudyFolder, load_config
    from bonehpo.store.store import SliceStore

    findings = []
    for path in sorted((root / "studies").glob("*/")):
        folder = StudyFolder(path)
        try:
            load_config(folder.config, folder.name)
            found = SliceStore.open(folder.store).id[:12] if folder.store.exists() else "no store yet"
            findings.append(Finding(f"study {folder.name}", found, True))
        except BonehpoError as error:
            findings.append(Finding(f"study {folder.name}", str(error), False))
    return findings
