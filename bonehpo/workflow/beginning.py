"""The beginning of a study: its scans looked over, a preparation proposed, its settings written with comments."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from bonehpo.config import StudyConfig, StudyFolder
from bonehpo.domain import Progress, ProgressCallback, ignore_progress, independent, of_task
from bonehpo.errors import NetworkError, StudyError
from bonehpo.files import write_durably
from bonehpo.folds import assign_sets
from bonehpo.preparation.planning import Plan, plan_preparation
from bonehpo.scans.table import DONORS_UNKNOWN, ScanTable, read_scans
from bonehpo.search.plan import SearchPlan
from bonehpo.search.space import check_space
from bonehpo.store.manifest import is_phantom
from bonehpo.store.recipe import Steps

if TYPE_CHECKING:
    from bonehpo.workflow.searching import SearchForecast

FEW_SPECIMENS = 3
"""Fewer cannot be searched: one set is tested, one validates, the others train."""

N_TRIALS = 50
"""Trials of the search whose time is estimated."""


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """Contents of a table of scans, and what its preparation would keep and take.

    Attributes:
        table: The scans.
        plan: Their preparation.
        n_images: Slices in the store.
        gigabytes: Size of the store, unpacked.
        cautions: What the user should know before, one sentence each.
    """

    table: ScanTable
    plan: Plan
    n_images: int
    gigabytes: float
    cautions: tuple[str, ...]


def look_over(
    scans: Path, steps: Steps, states: Sequence[str] = (), progress: ProgressCallback = ignore_progress
) -> Beginning:
    """Look a table of scans over: every header is read, and the voxels of the reference scan.

    Args:
        scans: The table.
        steps: What is asked of the preparation.
        states: Words for the load states, from pristine to failed, where the table has words for them.
        progress: Told of each scan.

    Raises:
        ScanError: The table or a scan cannot be used.
        PreparationError: A step asks for more than the scans hold.
    """
    table = read_scans(scans, states)
    plan = plan_preparation(table, steps, progress=of_task(progress, "new"))
    recipe = plan.recipe
    n_images = len(table.scans) * len(recipe.planes) * recipe.n_slices
    return Beginning(
        table=table,
        plan=plan,
        n_images=n_images,
        gigabytes=n_images * recipe.side**2 / 1e9,
        cautions=(*_cautions(table), *_too_small(recipe.side)),
    )


def _cautions(table: ScanTable) -> list[str]:
    n, found = len(independent(table.specimens, table.donors)), []
    counted = f"{n} {'donors' if table.donors else 'specimens'}"
    if n < FEW_SPECIMENS:
        found.append(f"{counted} are too few to search: one is tested, one validates, the others train. Add some.")
    elif n < 5:
        found.append(f"{counted} say little of the next one: with so few, no difference can be significant.")
    if not (table.donors or is_phantom(table.csv)):
        found.append(DONORS_UNKNOWN)
    if len(table.states) == 2:
        found.append("Two load states: from which load on damage is seen cannot be asked.")
    if all(scan.strain is None for scan in table.scans):
        found.append("The table gives no strain: detection limits are told in load states alone.")
    return found


def _too_small(side: int) -> list[str]:
    """The refusal of the paper's space for slices of this size, where it is one."""
    try:
        check_space(StudyConfig(bone=""), side)
    except NetworkError as error:
        return [
            f"The paper's space does not fit: {error}. Take the largest numbers out of space.layers in study.toml; once the "
            "scans are prepared, `bonehpo search --dry-run` says how long a search takes."
        ]
    return []


def estimate_search(found: Beginning, progress: ProgressCallback = ignore_progress) -> "SearchForecast | None":
    """Estimate of a search of `N_TRIALS` with the paper's settings, from a few seconds of training on this machine.

    Args:
        found: The scans.
        progress: Told before and after the training.

    Returns:
        What `search --dry-run` would say once the scans are prepared; None where they cannot be searched so.
    """
    table, side = found.table, found.plan.recipe.side
    if len(independent(table.specimens, table.donors)) < FEW_SPECIMENS or _too_small(side):
        return None
    from bonehpo.workflow.searching import forecast_search

    told = of_task(progress, "new")
    told(Progress(0, 1, "training for a few seconds, to estimate the time of a search"))
    estimate = forecast_search(search_plan(found), N_TRIALS)
    told(Progress(1, 1, "estimated"))
    return estimate


def search_plan(found: Beginning) -> SearchPlan:
    """The plan of a search with the paper's settings, as far as it is known without a store."""
    table, recipe, config = found.table, found.plan.recipe, StudyConfig(bone="")
    sets = assign_sets(config.split, config.bone, table.specimens, recipe.planes, table.donors)
    return SearchPlan(
        folder=StudyFolder(table.csv.parent),
        config=config,
        store_id="",
        side=recipe.side,
        sets=sets,
        n_images={name: 2 * len(groups) * recipe.n_slices for name, groups in sets.items()},  # pristine and failed
        ran_on="phantom" if is_phantom(table.csv) else "scans",
        storage="",
        by_donor=bool(table.donors),
    )


def begin(folder: StudyFolder, bone: str, *, overwrite: bool = False) -> Path:
    """Write the settings of a study, the paper's, with comments.

    Args:
        folder: Of the study.
        bone: Names the registered model.
        overwrite: Whether to replace settings that are there.

    Returns:
        The file.

    Raises:
        StudyError: There are settings already, or they cannot be written.
    """
    if folder.config.exists() and not overwrite:
        raise StudyError(f"{folder.config} is there already: change it by hand, or give --overwrite to begin it anew")
    text = files("bonehpo.workflow").joinpath("study.toml").read_text(encoding="utf-8")
    write_durably(
        folder.config,
        text.replace(
            'bone = "TB"     # names the registered model bonehpo-TB;',
            f'bone = "{bone}" # names the registered model bonehpo-{bone};',
        ).encode(),
    )
    return folder.config
