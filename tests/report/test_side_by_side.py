"""Two studies on one page: what stands in its columns, and where it is written."""

import shutil
from dataclasses import replace
from itertools import pairwise

import made_up_results as made_up
import made_up_study
import pytest
from commands import call, refusal
from made_up_pages import two_bones
from read_page import Page, requests
from selenium.webdriver.common.by import By
from tiny_study import TOML, make_study
from tracked import new_project

import bonehpo
from bonehpo.errors import StudyError
from bonehpo.report.side_by_side import Sides, paper_parts, render_side_by_side, write_side_by_side
from bonehpo.workflow.kinds import RESULT_KINDS

WINDOW = "1400,900"
"""Of the browser, in pixels."""


@pytest.fixture(scope="module")
def sides(tmp_path_factory) -> Sides:
    return two_bones(tmp_path_factory.mktemp("figures"))


@pytest.fixture(scope="module")
def page(sides) -> Page:
    return Page(render_side_by_side(sides))


def cells(sides: Sides, name: str):
    """The rows of figures of one kind of result."""
    return next(part.rows for part in paper_parts(sides) if part.name == name)


def test_it_is_one_file_that_asks_for_nothing(page):
    assert not {"script", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert all(str(image["src"]).startswith("data:image/") for image in page.all("img"))
    assert all(str(anchor["href"]).startswith("#") for anchor in page.all("a"))


def test_headings_tables_and_links_make_sense_without_the_layout(page):
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3")]
    assert levels.count(1) == 1
    assert all(low <= high + 1 for high, low in pairwise(levels))
    assert all(cell["scope"] in ("col", "row") for cell in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) == 2
    ids = [str(attrs["id"]) for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {str(anchor["href"])[1:] for anchor in page.all("a")} <= set(ids)


def test_figures_of_the_paper_stand_in_pairs_in_its_order(sides):
    parts = paper_parts(sides)
    assert [part.name for part in parts] == ["specimens", "sweep", "best-fold", "grad-cam", "detection", "compare"]
    assert "calibration" in sides.left.drawn, "which the paper has not"
    shown = {part.name: [[cell.figure and cell.figure.name for cell in row] for row in part.rows] for part in parts}
    assert shown["best-fold"] == [["architecture"] * 2, ["best-fold"] * 2]
    assert shown["compare"] == [["compare"] * 2, ["compare-detection"] * 2]
    assert shown["detection"] == [["detection-best-fold"] * 2, ["detection-slices"] * 2]
    views = [cell.figure for part in parts for row in part.rows for cell in row if cell.figure]
    assert [view.number for view in views] == list(range(1, len(views) + 1))
    assert all(view.paper.startswith("Fig") for view in views)


def test_a_figure_that_a_study_lacks_is_named_with_its_command(sides, page):
    ((left, right),) = cells(sides, "sweep")
    assert left.figure is not None
    assert (right.why, right.commands) == ("Not made yet:", ("bonehpo sweep --bone TB",))
    assert "Not made yet: bonehpo sweep --bone TB" in page.text
    assert [[cell.commands for cell in row] for row in cells(sides, "specimens")] == [
        [("bonehpo inspect --bone CB",), ("bonehpo inspect --bone TB",)]
    ]


def test_before_an_optimum_the_search_comes_first(sides):
    study = replace(sides.right.study, optimum=None, name="two words")
    right = replace(sides.right, study=study, results=[], drawn={})
    ((_, cell), *_) = cells(Sides(sides.left, right), "best-fold")
    assert cell.commands == ("bonehpo search --bone 'two words' --trials 24", "bonehpo explain --bone 'two words'")
    assert "--trials 24, then bonehpo explain" in Page(render_side_by_side(Sides(sides.left, right))).text
    ((_, cell), *_) = cells(Sides(sides.left, right), "specimens")
    assert cell.commands == ("bonehpo inspect --bone 'two words'",), "which needs no search"


def test_a_figure_that_cannot_be_drawn_says_so(sides):
    drawn = {**sides.right.drawn, "compare": sides.right.drawn["compare"][:1]}
    _, (left, right) = cells(Sides(sides.left, replace(sides.right, drawn=drawn)), "compare")
    assert left.figure is not None
    assert (right.why, right.commands) == ("What it would show is not known of this study.", ())


def test_headline_numbers_have_bounds_and_the_number_of_specimens(sides, page):
    head = page.text.partition("Headline numbers")[2].partition("What was run")[0]
    for side in sides:
        found = side.study.estimates
        for text in (
            f"{found.nested_score:.3f}",
            f"{found.nested_score_worse_end:.3f} to {found.nested_score_better_end:.3f}",
            f"{found.nested_score_bound:.3f}",
            f"{found.apparent_score:.3f} ± {found.sd:.3f} (sd over 20 folds)",
            f"{side.study.optimum.refit_score:.3f} ± 0.021",
            f"n\u00a0=\u00a05: {', '.join(side.record.n_images)}",
        ):
            assert text in head
    assert head.index("nested accuracy") < head.index("apparent accuracy")


def test_cautions_and_checks_that_were_not_made_stand_under_the_numbers(sides, page):
    doubts = page.text.partition("fitted again")[2].partition("What was run")[0]
    assert doubts.count("accuracy is high at states 3 and 4") == 2
    assert doubts.count("Not made yet: Leaks between sets; The same on labels that mean nothing.") == 2
    bare = Sides(
        sides.left, replace(sides.right, results=[], study=replace(made_up_study.study(n_trials=0), name="TB"))
    )
    text = Page(render_side_by_side(bare)).text
    assert "No trial is complete yet." in text
    calm = replace(sides.right, results=[made_up.leakage()])
    assert "Nothing to warn of in: Leaks between sets." in Page(render_side_by_side(Sides(sides.left, calm))).text
    assert "From which load on damage is seen" in text.partition("No trial is complete")[2].partition("What was run")[0]


def test_the_banner_names_the_study_that_ran_on_phantoms(sides, page):
    assert "All of TB ran on synthetic bone" in page.text
    assert "(phantom)" in page.text.partition("bonehpo report")[0]
    scans = Page(render_side_by_side(Sides(sides.left, replace(sides.left))))
    assert "synthetic" not in scans.text
    mixed = replace(sides.left, study=replace(sides.left.study, split="mixed"))
    assert "In CB a specimen under test was trained on" in Page(render_side_by_side(Sides(mixed, sides.right))).text


def test_names_and_sentences_are_text_and_never_markup(sides):
    evil = f"Caution: {made_up.HOSTILE}"
    left = replace(sides.left, results=[replace(made_up.sweep(), sentences=(evil,))])
    left = replace(left, study=replace(left.study, name=made_up.HOSTILE))
    html = render_side_by_side(Sides(left, sides.right))
    assert "<script" not in html
    assert evil in Page(html).text


def test_studies_of_two_tasks_are_refused(sides, tmp_path):
    right = replace(sides.right, study=made_up_study.study(task="strain"))
    with pytest.raises(StudyError, match=r"CB is of damage and TB is of strain: report each on its own page"):
        write_side_by_side(Sides(sides.left, right), tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_two_studies_of_strain_have_what_such_studies_have(sides):
    study, record = made_up_study.study(task="strain"), made_up_study.record(task="strain")
    side = replace(sides.right, study=study, record=record, results=[], drawn={})
    text = Page(render_side_by_side(Sides(side, replace(side, study=replace(study, name="CB"))))).text
    assert "nested error" in text
    assert "at most (one-sided 95\u00a0%)" in text
    assert "bonehpo inspect --bone TB" in text
    assert "Beside ResNet-50" not in text
    assert "Nothing to warn of in" not in text
    assert "Not made yet: Leaks" not in text


def test_a_browser_shows_it_without_a_request_or_a_complaint(browser, sides, tmp_path):
    path = write_side_by_side(sides, tmp_path / "CB-TB.html")
    requests(browser)
    browser.get(path.as_uri())
    assert {url for url in requests(browser) if not url.startswith("data:")} == {path.as_uri()}
    assert browser.get_log("browser") == []
    images = browser.find_elements(By.TAG_NAME, "img")
    assert len(images) == 13
    assert all(image.get_property("complete") and image.get_property("naturalWidth") > 0 for image in images)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Two studies of one project, each with a trial and its optimum; the store of both is of bone type TB."""
    root = new_project(tmp_path_factory.mktemp("two"))
    toml = TOML.replace("epochs = 3", "epochs = 1")
    shutil.move(make_study(root, toml).path, root / "studies" / "CB")
    make_study(root, toml)
    found = [bonehpo.Study(root / "studies" / name, project=root) for name in ("CB", "TB")]
    for study in found:
        study.search(1, workers=0)
    return found


@pytest.fixture
def here(studies, monkeypatch):
    monkeypatch.chdir(studies[0].project)


@pytest.mark.usefixtures("here")
def test_the_command_writes_it_beside_the_studies(studies, tmp_path):
    said = call("report", "--bone", "CB", "--bone", "TB").stdout
    usual = studies[0].project / "studies" / "CB-TB.html"
    assert said == f"Report: {usual}\n"
    page = Page(usual.read_text("utf-8"))
    assert all(f"{study.estimates.nested_score:.3f}" in page.text for study in studies)
    assert "bonehpo sweep --bone CB" in page.text
    assert len(page.all("img")) == 4, "specimens and middle slices of both"
    assert not (studies[0].folder.path / "report.html").exists()
    words = [word for study in reversed(studies) for word in ("--study", study.folder.path)]
    call("report", *words, "--out", tmp_path / "new" / "page.html")
    assert "Studies TB and CB side by side" in (tmp_path / "new" / "page.html").read_text("utf-8")


def test_from_python_it_is_the_same_page(studies, tmp_path):
    assert bonehpo.report_side_by_side(*studies) == studies[0].project / "studies" / "CB-TB.html"
    path = tmp_path / "page.html"
    assert bonehpo.report_side_by_side(*studies, path) == path
    assert "Studies CB and TB side by side" in path.read_text("utf-8")


@pytest.mark.usefixtures("here")
def test_what_makes_no_page_is_refused(studies, tmp_path):
    both = ("--bone", "CB", "--bone", "TB")
    assert "or two side by side, but 3 were named" in call("report", *both, "--bone", "XB", code=2).stderr
    assert "give --bone or --study, not both" in call("report", *both, "--study", tmp_path, code=2).stderr
    assert "which study?" in call("report", code=2).stderr
    assert "--out is of two studies" in call("report", "--bone", "CB", "--out", "x.html", code=2).stderr
    assert "--figures draws those of one study" in call("report", *both, "--figures", tmp_path, code=2).stderr
    assert "CB cannot stand beside itself" in refusal("report", "--bone", "CB", "--bone", "CB")
    (studies[0].project / "studies" / "new").mkdir(exist_ok=True)
    assert "new" in refusal("report", "--bone", "CB", "--bone", "new")


def test_every_kind_with_a_figure_of_the_paper_is_on_it():
    parts = [kind.name for kind in RESULT_KINDS.values() if (kind.paper or "").startswith("Fig")]
    assert parts == ["specimens", "sweep", "best-fold", "grad-cam", "detection", "compare"]
