"""The folders of a project, and the plan of a search from the folder of its study."""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from bonehpo.config import StudyFolder, load_config
from bonehpo.errors import ConfigError

if TYPE_CHECKING:
    from bonehpo.search.plan import SearchPlan

STUDIES = Path("studies")
"""Folder of the studies, in the folder of the project."""

STUDY_NAME = re.compile(r"\w([\w .+-]{0,98}[\w.+-])?")
"""Names that `--bone` takes: a study of another name is told by its folder."""


def flag(folder: StudyFolder, storage: str | None = None) -> str:
    """Name a study for the command that is proposed next, and its storage where that is not the usual one."""
    is_usual = folder.path.parent == STUDIES.absolute() and STUDY_NAME.fullmatch(folder.name)
    words = ["--bone", folder.name] if is_usual else ["--study", str(folder.path)]
    return shlex.join([*words, *(["--storage", storage] if storage else [])])


def make_plan(folder: StudyFolder, storage: str | None = None) -> "SearchPlan":
    """Read configuration and store of a study, and assign its sets.

    Args:
        folder: Of the study.
        storage: URL of Optuna's storage; None for the file beside the study folders.

    Raises:
        StoreError: There is no store, or it cannot be used.
        ConfigError: study.toml is wrong.
        FoldError: The sets cannot be assigned.
    """
    from bonehpo.folds import assign_sets
    from bonehpo.search.plan import SearchPlan
    from bonehpo.search.storage import default_storage
    from bonehpo.store.images import count_images
    from bonehpo.store.store import SliceStore
    from bonehpo.task import task_named

    if folder.path.exists() and not folder.path.is_dir():
        raise ConfigError(f"{folder.path} is a file, not a study folder: give the folder")
    config = load_config(folder.config, folder.name)
    store, task = SliceStore.open(folder.store), task_named(config.task)
    sets = assign_sets(config.split, config.bone, store.specimens, store.planes, store.donors)
    return SearchPlan(
        folder=folder,
        config=config,
        store_id=store.id,
        side=store.side,
        sets=sets,
        n_images={name: count_images(store, task, groups) for name, groups in sets.items()},
        ran_on="phantom" if store.is_phantom else "scans",
        storage=storage or default_storage(folder),
        by_donor=bool(store.donors),
    )
