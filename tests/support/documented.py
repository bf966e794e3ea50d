"""The results documentation as data: which columns it names of each table, and its list of results."""

import re
from dataclasses import fields

from places import DOCS

from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.backbones import BACKBONES, RESNET50
from bonehpo.results.compare import compare_name
from bonehpo.results.result import Result

TEXT = next(path for path in (DOCS / "reference" / "results.md", DOCS / "results.md") if path.exists()).read_text(
    "utf-8"
)


def listed() -> list[str]:
    """The rows of the list of results."""
    rows = re.findall(r"^\| `.*\|$", TEXT, re.MULTILINE)
    return [re.sub(r" +", " ", row) for row in rows]


OTHER_BACKBONES = {compare_name(backbone) for backbone in BACKBONES.values() if backbone != RESNET50}
"""Results that are documented as one, `compare-BACKBONE`, with the tables of `compare`."""


def described(result: str, table: str) -> str:
    """What is written of one table of a result, with what it refers to; empty where that is nothing."""
    result = "compare" if result in OTHER_BACKBONES else result
    section = re.search(rf"^### {result}\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    entry = section and re.search(rf"^- `{table}\.csv`(.*?)(?=^- |\Z)", section[1], re.MULTILINE | re.DOTALL)
    if not entry:
        return ""
    text = " ".join(entry[1].split())
    if "the columns of `detection`" in text:
        text += described("detection", "states")
    if "in `grad-cam`" in text:
        text += described("grad-cam", "slices")
    return text.replace("the hyperparameters", " ".join(field.name for field in fields(Hyperparameters)))


def undocumented(result: Result) -> list[str]:
    """Tables and columns of a result that the documentation does not name."""
    return [
        f"{result.name} {name}.csv {column}"
        for name, table in result.tables.items()
        for text in [described(result.name, name)]
        for column in table.columns
        if not re.search(rf"(?<![\w-]){re.escape(str(column))}(?![\w-])", text)
    ]
