"""A result: what a comparison or an explanation found, on disk whole or not there at all.

`docs/reference/results.md` lists results, tables and columns. Figures are drawn from these files alone, and lie beside them.
"""

import json
import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from bonehpo.config import StudyFolder
from bonehpo.errors import StudyError
from bonehpo.files import content_address, writing
from bonehpo.schema import COLUMNS, NUMBERS, RESULTS, TABLES, old_name, with_new_names
from bonehpo.search.recorder import ConfigurationRecord, ResultRecord, StepImage
from bonehpo.search.records import mean_and_sd, read_folds

logger = logging.getLogger(__name__)

HEAD, ARRAYS = "result.json", "arrays.npz"

Level = Literal["comparison", "explanation"]
"""Two sorts of results: of configurations that are set side by side, and of what one of them does."""


@dataclass(frozen=True, kw_only=True)
class ConfigurationEntry:
    """One configuration that was cross-validated for a result.

    Attributes:
        name: Unique within the result.
        parameters: What it was made with, for the columns of MLflow.
        keys: Content addresses of its fits; none where it failed.
        reason: Why it failed, or empty.
    """

    name: str
    parameters: Mapping[str, str]
    keys: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """Findings of a comparison or an explanation.

    Attributes:
        name: As in `docs/reference/results.md`; unique within a study.
        level: Which of the two it is.
        inputs: Content address of everything that it was made from: the same inputs give the same result.
        study: Name of the study.
        bone: Bone type.
        store_id: Of the slice store.
        ran_on: Whether the store was made from phantoms or from scans.
        parameters: What it was made with.
        metrics: Its numbers, by name.
        sentences: What it says in words; warnings begin with "Caution".
        tables: By name.
        arrays: Pictures, in the order of the rows of a table.
        configurations: What was cross-validated for it.
        finished: When it was done.
    """

    name: str
    level: Level
    inputs: str
    study: str
    bone: str
    store_id: str
    ran_on: Literal["phantom", "scans"]
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    sentences: tuple[str, ...]
    tables: Mapping[str, pd.DataFrame]
    arrays: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    configurations: tuple[ConfigurationEntry, ...] = ()
    finished: datetime


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure on disk.

    Attributes:
        name: Of its files, without suffix.
        title: What it shows in a few words; also what a screen reader says of it.
        caption: What is in it: n, what error bars are, what it ran on. Plain text.
        png: For the screen.
        svg: For print; pictures in it are bitmaps.
        paper: Where Shen et al. 2021 show, or ask for, the same; empty where they do not.
    """

    name: str
    title: str
    caption: str
    png: Path
    svg: Path
    paper: str = ""


_IN_HEAD = tuple(f.name for f in fields(Result) if f.name not in ("tables", "arrays", "configurations"))


def result_folder(folder: StudyFolder, name: str) -> Path:
    """Folder of a result: under its name, or under its old one where it was made before the renaming."""
    place, before = folder.results / name, folder.results / old_name(name, RESULTS)
    return before if before.exists() and not place.exists() else place


def save_result(result: Result, folder: StudyFolder) -> Path:
    """Write a result in place of the last one of its name.

    Returns:
        Its folder, `studies/<study>/results/<name>`.

    Raises:
        StudyError: The folder cannot be written.
    """
    place, before = folder.results / result.name, result_folder(folder, result.name)
    with writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{result.name}-") as made:
            new = Path(made) / "new"
            new.mkdir()
            _write(result, new)
            if before.exists():
                before.rename(Path(made) / "old")
            new.rename(place)
    return place


def load_result(folder: StudyFolder, name: str) -> Result | None:
    """Read a result; None where there is none that can be read."""
    place = result_folder(folder, name)
    if not (place / HEAD).exists():
        return None
    try:
        return _read(place)
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s cannot be read (%s) and will be made again", place, error)
        return None


def is_made(folder: StudyFolder, name: str, inputs: str) -> bool:
    """True if the result is there, made from these inputs.

    Args:
        folder: Of the study.
        name: Of the result.
        inputs: Its content address.
    """
    found = load_result(folder, name)
    return found is not None and found.inputs == inputs


def made_once(folder: StudyFolder, name: str, inputs: str, make: Callable[[], Result]) -> Result:
    """The saved result that was made from some inputs; made and saved where there is none.

    Args:
        folder: Of the study.
        name: Of the result.
        inputs: Content address of what it is made from.
        make: Makes it.

    Raises:
        StudyError: It cannot be written, and no other driver of the study has just written it.
    """
    found = load_result(folder, name)
    if found is not None and found.inputs == inputs:
        return found
    result = make()
    try:
        save_result(result, folder)
    except StudyError:
        if not is_made(folder, name, inputs):
            raise
    return result


def address_of(*parts: object) -> str:
    """Content address of plain values, dataclasses among them; for `Result.inputs`."""
    return content_address(parts)


_KINDS = {"b": "bool", "i": "int64", "u": "int64", "f": "float64"}


def _write(result: Result, place: Path) -> None:
    head = {name: getattr(result, name) for name in _IN_HEAD}
    head["metrics"] = {key: float(v) if math.isfinite(v) else None for key, v in result.metrics.items()}
    head["finished"] = result.finished.isoformat()
    head["configurations"] = [asdict(configuration) for configuration in result.configurations]
    head["tables"] = {
        name: {str(column): _KINDS.get(table[column].dtype.kind, "str") for column in table}
        for name, table in result.tables.items()
    }
    for name, table in result.tables.items():
        table.to_csv(place / f"{name}.csv", index=False)
    if result.arrays:
        np.savez_compressed(place / ARRAYS, allow_pickle=False, **result.arrays)
    (place / HEAD).write_text(json.dumps(head, indent=2, ensure_ascii=False), encoding="utf-8")


def _read(place: Path) -> Result:
    head = with_new_names(json.loads((place / HEAD).read_text(encoding="utf-8")), TABLES)
    head["name"] = RESULTS.get(head["name"], head["name"])
    tables = with_new_names(
        {name: _read_table(place / f"{name}.csv", kinds) for name, kinds in head.pop("tables").items()}, TABLES
    )
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    if (place / ARRAYS).exists():
        with np.load(place / ARRAYS, allow_pickle=False) as file:
            arrays = dict(file)
    metrics = with_new_names(head["metrics"], NUMBERS)
    head["metrics"] = {key: math.nan if value is None else value for key, value in metrics.items()}
    head["finished"] = datetime.fromisoformat(head["finished"])
    head["sentences"] = tuple(head["sentences"])
    head["configurations"] = tuple(
        ConfigurationEntry(**{**configuration, "keys": tuple(configuration["keys"])})
        for configuration in head["configurations"]
    )
    return Result(**head, tables=tables, arrays=arrays)


def _read_table(path: Path, kinds: Mapping[str, str]) -> pd.DataFrame:
    """A table as it was written: names stay text, empty text stays empty, an empty number is NaN."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False).rename(columns=dict(COLUMNS))
    for column, kind in with_new_names(kinds, COLUMNS).items():
        if kind == "bool":
            table[column] = table[column] == "True"
        elif kind != "str":
            table[column] = pd.to_numeric(table[column], errors="coerce").astype(np.dtype(kind))
    return table


def result_record(result: Result, folder: StudyFolder) -> ResultRecord:
    """A saved result with its configurations, and with all files of its folder."""
    files = sorted(path for path in result_folder(folder, result.name).iterdir() if path.is_file())
    return ResultRecord(
        level=result.level,
        name=result.name,
        inputs=result.inputs,
        parameters=result.parameters,
        metrics=result.metrics,
        sentences=result.sentences,
        files=files,
        configurations=tuple(_configuration(configuration, folder) for configuration in result.configurations),
        images=tuple(_images(result)),
        finished=result.finished,
    )


def _images(result: Result) -> Iterator[StepImage]:
    """Each slice that was explained beside its heat map, with the load state as step."""
    maps, slices = result.arrays.get("maps"), result.arrays.get("slices")
    if maps is None or slices is None:
        return
    rows = result.tables["maps" if "maps" in result.tables else "slices"].to_dict("records")
    for row, intensity, heat in zip(rows, slices, maps, strict=True):
        words = (row.get("variant", ""), row["specimen"], row["plane"], row["position"], row["panel"])
        pixels = np.hstack([intensity, np.rint(255 * heat)]).astype(np.uint8)
        yield StepImage(series=" ".join(str(word) for word in words if word != ""), step=row["state"], pixels=pixels)


def _configuration(configuration: ConfigurationEntry, folder: StudyFolder) -> ConfigurationRecord:
    folds = read_folds(folder, configuration.keys)
    mean, sd = mean_and_sd([fold.scores.test_score for fold in folds])
    return ConfigurationRecord(
        name=configuration.name,
        parameters=configuration.parameters,
        mean_score=mean,
        sd=sd,
        folds=folds,
        reason=configuration.reason,
    )
