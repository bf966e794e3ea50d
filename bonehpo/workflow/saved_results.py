"""Results of a study as they lie on disk, as far as they are of its store and its optimum."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

from bonehpo.errors import ResultMissing, StudyMissing
from bonehpo.results.result import Result, result_folder
from bonehpo.search.plan import SearchPlan
from bonehpo.search.records import Optimum, read_study
from bonehpo.workflow.kinds import RESULT_KINDS


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedResult(Result):
    """A result on disk: what it says in `sentences`, `metrics` and `tables`, and where its figures are.

    Attributes:
        folder: Where it lies: its tables as CSV, its figures as PNG and SVG.

    Examples:
        >>> study = bonehpo.Study("studies/TB")  # doctest: +SKIP
        >>> limits = study.results["detection"]  # doctest: +SKIP
        >>> limits.tables["limits"].head()  # doctest: +SKIP
        >>> IPython.display.Image(limits.figures["detection"])  # doctest: +SKIP
    """

    folder: Path

    @property
    def figures(self) -> dict[str, Path]:
        """The PNG of each figure by its name; an SVG of the same name lies beside it."""
        return {path.stem: path for path in sorted(self.folder.glob("*.png"))}


def saved(result: Result, plan: SearchPlan) -> SavedResult:
    """A result of a study, with the folder in which it lies."""
    contents = {field.name: getattr(result, field.name) for field in fields(Result)}
    return SavedResult(**contents, folder=result_folder(plan.folder, result.name))


class StudyResults(Mapping[str, SavedResult]):
    """The results of a study by name, as they are on disk now; see `docs/reference/results.md` for names and tables.

    A result of another store, or of an optimum that the study has no more, is not among them.
    """

    def __init__(self, plan: SearchPlan) -> None:
        """The results of the study that a plan is of; `Study.results` makes this."""
        self._plan = plan

    def __getitem__(self, name: str) -> SavedResult:
        """The result of this name.

        Raises:
            ResultMissing: There is none that is current; a `KeyError` too.
        """
        found = self._current(name)
        if found is None:
            raise ResultMissing(
                f"study {self._plan.folder.name} has no current result {name!r}: make it with Study.run({name!r}); "
                f"there are {', '.join(self) or 'none'}"
            )
        return saved(found, self._plan)

    def __iter__(self) -> Iterator[str]:
        """Names in the order of the report."""
        return (name for name in RESULT_KINDS if self._current(name) is not None)

    def __len__(self) -> int:
        """Number of them."""
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        """Their names."""
        return f"<results of {self._plan.folder.name}: {', '.join(self) or 'none'}>"

    def _current(self, name: str) -> Result | None:
        kind = RESULT_KINDS.get(name)
        return None if kind is None else kind.current(self._plan, self._optimum)

    @cached_property
    def _optimum(self) -> Optimum | None:
        try:
            return read_study(self._plan).optimum
        except StudyMissing:
            return None
