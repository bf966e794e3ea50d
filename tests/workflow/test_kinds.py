"""The registry of results is whole: a kind that lacks something of what every result has does not get past these tests."""

import ast
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import made_up_results as made_up
import made_up_study
import pytest
from commands import call
from documented import OTHER_BACKBONES, described, listed, undocumented
from places import DOCS
from tiny_study import finish, make_study, plan_of

from bonehpo.cli import main
from bonehpo.config import StudyFolder
from bonehpo.domain import ignore_progress
from bonehpo.engine import open_engine
from bonehpo.folds import specimen_sets
from bonehpo.report.figures.style import draw_figure, words
from bonehpo.report.sections import missing_results, result_sections
from bonehpo.results.kind import FromPlan, ResultKind, ResultOptions
from bonehpo.results.result import save_result
from bonehpo.search.recorder import NullRecorder, ResultRecord
from bonehpo.store.store import SliceStore
from bonehpo.workflow import kinds
from bonehpo.workflow.kinds import RESULT_KINDS, STEPS, names_made_by
from bonehpo.workflow.results import ResultBuilder

PACKAGE = Path(kinds.__file__).parents[1]
every_kind = pytest.mark.parametrize("kind", RESULT_KINDS.values(), ids=RESULT_KINDS)


def makers(path: Path) -> set[str]:
    """Public functions of a module that make a result or what goes into one."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            calls = {c.func.id for c in ast.walk(node) if isinstance(c, ast.Call) and isinstance(c.func, ast.Name)}
            if node.returns is not None and (ast.unparse(node.returns) == "Findings" or "Result" in calls):
                found.add(f"{path.stem}.{node.name}")
    return found


def test_every_function_that_makes_a_result_is_registered():
    made = set().union(*(makers(path) for path in (PACKAGE / "results").glob("*.py")))
    registry = ast.parse((PACKAGE / "workflow" / "kinds.py").read_text("utf-8"))
    assert len(made) == len(RESULT_KINDS.keys() - OTHER_BACKBONES)  # one function compares all backbones
    assert made - {ast.unparse(node) for node in ast.walk(registry) if isinstance(node, ast.Attribute)} == set()


def test_no_two_kinds_share_a_name_or_a_heading():
    assert len(RESULT_KINDS) == len(kinds._KINDS)
    assert len({kind.heading for kind in kinds._KINDS}) == len(kinds._KINDS)


def test_every_kind_has_a_made_up_result_for_the_tests_of_figures_and_pages():
    assert list(made_up.MAKERS) == list(RESULT_KINDS)


@every_kind
def test_the_command_that_makes_a_result_exists_with_its_flags(kind: ResultKind):
    name, *words = kind.command.split()
    text = call(name, "--help").output
    assert all(word in text for word in words)
    assert set(kind.commands) <= set(main.commands)


@every_kind
def test_every_printed_table_is_a_table_of_the_result(kind: ResultKind):
    result = made_up.MAKERS[kind.name](made_up.SCANS)
    for name, printed in kind.tables.items():
        assert printed.caption
        assert len(printed.choose(result.tables[name]).columns) > 1


@every_kind
def test_every_table_and_column_is_documented(kind: ResultKind):
    result = made_up.MAKERS[kind.name](made_up.PHANTOM)
    assert undocumented(result) == []
    assert described(kind.name, next(iter(result.tables)))


def test_a_column_that_is_not_documented_is_seen():
    result = made_up.sweep()
    points = result.tables["points"].assign(luck=1)
    assert undocumented(replace(result, tables={"points": points, "lucks": points[["luck"]]})) == [
        "sweep points.csv luck",
        "sweep lucks.csv luck",
    ]


def test_the_documentation_lists_every_result_with_its_command_level_and_place_in_the_paper():
    rows = [
        f"| `{kind.name}` | {', '.join(f'`bonehpo {c}`' for c in (kind.command, *kind.also_by))} | {kind.level} "
        f"| {kind.paper or ''} |".replace("|  |", "| |")
        for kind in RESULT_KINDS.values()
        if kind.name not in OTHER_BACKBONES
    ]
    others = "| `compare-BACKBONE` | `bonehpo compare --backbone BACKBONE` | comparison | |"
    rows.insert(rows.index(next(row for row in rows if row.startswith("| `compare`"))) + 1, others)
    assert listed() == rows


def test_a_place_in_the_paper_is_a_figure_a_table_or_a_part_of_it():
    places = [kind.paper for kind in RESULT_KINDS.values() if kind.paper is not None]
    assert all(re.match(r"(Figs? \d|Table \d|§\d|Appendix [A-Z])", place) for place in places)


def test_commands_make_the_results_of_the_paper_in_its_order():
    assert names_made_by("explain") == ("best-fold", "grad-cam", "detection", "audit", "by-plane", "calibration")
    assert names_made_by("compare") == ("mixed", "compare")
    assert STEPS[0] == "search"
    assert STEPS[-1] == "report"
    assert [*STEPS[1:-1]] == [name for name in RESULT_KINDS if name in STEPS]
    said = call("reproduce", "--bone", "TB", "--only", "audits", code=2).output
    assert all(f"'{step}'" in said for step in STEPS)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return plan_of(tmp_path_factory.mktemp("kinds"))


@pytest.mark.parametrize("kind", [kind for kind in RESULT_KINDS.values() if isinstance(kind.made, FromPlan)])
def test_a_result_that_needs_no_optimum_is_current_as_long_as_its_inputs_are(plan, kind: ResultKind):
    assert kind.current(plan, None) is None
    result = kind.made.run(plan, ignore_progress)
    assert (result.name, result.level, result.inputs) == (kind.name, kind.level, kind.made.address(plan))
    assert undocumented(result) == []
    save_result(result, plan.folder)
    assert kind.current(plan, None).inputs == result.inputs
    drawn = kind.draw(result, plan.folder)
    assert all(figure.paper for figure in drawn)
    assert bool(drawn) == bool(kind.store_figures)
    assert kind.current(replace(plan, store_id="0" * 64), None) is None


def test_a_report_on_leaks_between_other_sets_is_not_that_of_the_study(plan):
    kind = RESULT_KINDS["leakage"]
    save_result(kind.made.run(plan, ignore_progress), plan.folder)
    assert kind.current(plan, None) is not None
    store = SliceStore.open(plan.folder.store)
    fewer = specimen_sets(store.specimens[:2], store.planes)
    assert kind.current(replace(plan, sets=fewer), None) is None


class Listed(NullRecorder):
    """Names of the results that are recorded."""

    def __init__(self) -> None:
        self.results: list[str] = []

    def result(self, record: ResultRecord) -> None:
        self.results.append(record.name)


def how_to() -> tuple[ModuleType, ResultKind]:
    """The result that the how-to adds: its module, and its entry in the registry."""
    page = (DOCS / "how-to" / "add-a-result.md").read_text("utf-8")
    module, figure, entry = re.findall(r"```python title=.*?\n(.*?)```", page, re.DOTALL)
    spread = ModuleType("spread")
    exec(module, vars(spread))
    figures = {"words": words, "draw_figure": draw_figure}
    exec(figure, figures)
    return spread, eval(entry, {**vars(kinds), "spread": spread, "spread_figure": figures["spread_figure"]})


def test_the_result_of_the_how_to_is_made_once_drawn_recorded_and_shown(plan, monkeypatch):
    spread, kind = how_to()
    monkeypatch.setitem(RESULT_KINDS, kind.name, kind)
    finished, recorder = finish(plan), Listed()
    with open_engine(0) as engine:
        builder = ResultBuilder(finished=finished, engine=engine, recorder=recorder)
        first, second = (builder.make(kind.name, ResultOptions()) for _ in range(2))
    assert first.finished == second.finished
    assert first.metrics["widest"] >= 0
    assert recorder.results == ["spread", "spread"]
    assert kind.current(plan, finished.optimum).inputs == spread.spread_address(finished)
    drawn = {kind.name: kind.draw(first, plan.folder)}
    study = replace(made_up_study.study(), store_id=plan.store_id, name="TB")
    every = (*RESULT_KINDS.values(),)
    (section,) = result_sections(study, every, [first], drawn, 1)
    assert (section.heading, len(section.figures), len(section.tables)) == ("Spread over folds", 1, 1)
    assert not any("Spread" in missing.heading for missing in missing_results(study, every, [first], drawn))
    assert ("Spread over folds", "bonehpo explain --bone TB") in missing_results(study, every, [], {})
    assert undocumented(first) == ["spread sets.csv test", "spread sets.csv min", "spread sets.csv max"]


def test_figures_of_a_store_are_written_beside_the_result(tmp_path):
    folder = make_study(tmp_path)
    drawn = RESULT_KINDS["specimens"].draw(made_up.specimens(), StudyFolder(folder.path))
    assert {figure.png.parent for figure in drawn} == {folder.results / "specimens"}
    assert [figure.name for figure in drawn] == ["specimens", "middle-slices"]
