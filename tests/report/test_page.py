import re
from dataclasses import replace
from itertools import pairwise
from math import nan
from pathlib import Path

import made_up_results as made_up
import made_up_study
import pandas as pd
import pytest
from made_up_results import draw
from read_page import Page, requests
from selenium.webdriver.common.by import By

from bonehpo.errors import StudyError
from bonehpo.leakage.features import KINDS as FEATURE_KINDS
from bonehpo.report.figures.studies import importance_figure, learning_curves_figure, trials_figure
from bonehpo.report.page import STUDY_FIGURES, Report, commands, render_page, write_page
from bonehpo.report.sections import result_sections
from bonehpo.results.result import Drawn
from bonehpo.workflow.kinds import RESULT_KINDS

KINDS = tuple(RESULT_KINDS.values())
WINDOW = "1200,900"
"""Of the browser, in pixels."""


@pytest.fixture(scope="module")
def drawings(tmp_path_factory) -> dict[str, tuple[Drawn, ...]]:
    """Figures of a few results and of the study, drawn once."""
    folder = tmp_path_factory.mktemp("figures")
    of_study = (
        trials_figure(made_up_study.study(), folder),
        learning_curves_figure(made_up_study.learnt(20), "phantom", folder),
        importance_figure({"layers": 0.6, "batch": 0.4}, 22, "phantom", folder),
    )
    return {
        STUDY_FIGURES: tuple(drawn for drawn in of_study if drawn),
        **{r.name: draw(r, folder) for r in (made_up.sweep(), made_up.grad_cam(), made_up.detection())},
    }


def phantom_report(drawings: dict[str, tuple[Drawn, ...]]) -> Report:
    return Report(
        study=made_up_study.study(),
        record=made_up_study.record(),
        kinds=KINDS,
        results=made_up.everything(),
        drawn=drawings,
        made=made_up_study.MADE,
    )


def scans_report() -> Report:
    return Report(
        study=made_up_study.study(made_up.SCANS),
        record=made_up_study.record(made_up.SCANS),
        kinds=KINDS,
        results=made_up.awkward(),
        drawn={},
        made=made_up_study.MADE,
    )


@pytest.fixture(scope="module")
def html(drawings) -> str:
    return render_page(phantom_report(drawings))


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def test_the_page_is_one_file_that_asks_for_nothing(html, page):
    assert len(html) < 10_000_000
    assert not page.all("script")
    assert not page.all("iframe")
    assert not page.all("object")
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert all(str(image["src"]).startswith("data:image/") for image in page.all("img"))
    assert all(str(anchor["href"]).startswith("#") for anchor in page.all("a"))
    assert not re.search(r"url\(|@import|https?://", html.partition("<style>")[2].partition("</style>")[0])
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'")


def test_the_table_of_models_has_those_that_were_asked():
    report = scans_report()
    sections = {section.name: section for section in result_sections(report.study, report.kinds, report.results, {}, 1)}
    models, exchanged = sections["audit"].tables
    asked = [model for model in FEATURE_KINDS if model not in ("noise inside bone", "random filters")]
    assert [row[0] for row in models.rows] == ["network", *asked]
    assert not {"reason", "near", "seen before"} & set(models.columns)
    assert "flagged" in models.columns
    assert list(exchanged.columns) == ["test", "contrast", "share"]
    assert exchanged.rows


def test_every_drawing_is_there_once_with_words_for_those_who_do_not_see_it(page, drawings):
    n_drawn = sum(map(len, drawings.values()))
    assert len(page.all("img")) == len(page.all("figcaption")) == n_drawn
    assert all(len(str(image["alt"])) > 20 for image in page.all("img"))
    assert re.findall(r"Figure (\d+)\. ", page.text) == [str(i + 1) for i in range(n_drawn)]
    assert all(int(str(image["width"])) > 600 and int(str(image["height"])) > 100 for image in page.all("img"))


def test_headings_tables_and_links_make_sense_without_the_layout(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(low <= high + 1 for high, low in pairwise(levels))
    assert all(cell["scope"] in ("col", "row") for cell in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) > 8
    ids = [str(attrs["id"]) for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {str(anchor["href"])[1:] for anchor in page.all("a")} <= set(ids)
    assert page.all("html") == [{"lang": "en"}]


def test_a_page_about_phantoms_warns_at_its_top_and_one_about_scans_does_not(page):
    assert page.text.index("Everything on this page ran on synthetic bone") < page.text.index("What was run")
    assert "(phantom)" in page.text.partition("bonehpo report")[0]
    scans = Page(render_page(scans_report()))
    assert "synthetic" not in scans.text
    assert "scans of real specimens" in scans.text


def test_the_four_accuracies_stand_side_by_side(page):
    study = made_up_study.study()
    found, optimum = study.estimates, study.optimum
    assert found is not None
    assert optimum is not None
    assert f"Nested accuracy{found.nested_score:.3f}" in page.text
    assert f"at least {found.nested_score_bound:.3f}" in page.text
    assert f"Apparent accuracy{found.apparent_score:.3f} ± {found.sd:.3f}" in page.text
    assert f"Optimism{found.gap:+.3f}" in page.text
    assert f"Fitted again{optimum.refit_score:.3f} ± {optimum.refit_sd:.3f}" in page.text


def test_strain_is_told_as_errors_that_are_small_when_good(drawings):
    study = made_up_study.study(task="strain")
    report = replace(phantom_report(drawings), study=study, record=made_up_study.record(task="strain"))
    text = Page(render_page(report)).text
    assert study.estimates is not None
    assert f"Nested error{-study.estimates.nested_score:.2f} %" in text
    assert f"at most {-study.estimates.nested_score_bound:.2f} %" in text
    assert "accuracy" not in text.partition("Trials:")[0].lower()


def test_a_study_of_strain_lacks_nothing_that_only_networks_that_see_damage_have():
    study = made_up_study.study(task="strain")
    text = Page(render_page(replace(scans_report(), study=study, results=[]))).text
    missing = text.rpartition("What is missing")[2].partition("How to reproduce it")[0]
    assert missing.split() == ["The", "specimens:", "bonehpo", "inspect", "--bone", "TB"]
    assert "Leaks and shortcuts" not in text


def test_names_are_text_and_never_markup():
    html = render_page(scans_report())
    assert "<script" not in html
    assert "&lt;script&gt;alert(&#39;bone&#39;)&lt;/script&gt;&amp;amp;" in html
    assert made_up.HOSTILE in Page(html).text


def test_a_hostile_caption_or_sentence_is_text_too(drawings):
    evil = "Caution: <img src=x onerror=alert(1)>"
    drawn = {"sweep": [replace(drawings["sweep"][0], title='"><b>', caption=evil)]}
    report = replace(phantom_report(drawings), results=[replace(made_up.sweep(), sentences=(evil,))], drawn=drawn)
    page = Page(render_page(report))
    assert len(page.all("img")) == 1
    assert not page.all("b")
    assert page.text.count(evil) == 2


def test_warnings_stand_out_and_come_first(html):
    detection = html.partition('<section id="detection"')[2]
    caution, _, rest = detection.partition('<p class="caution" role="note">Caution: accuracy is high at states 3 and 4')
    assert "<p" not in caution
    assert "Damage is seen from state 10 on." in rest.partition("</section>")[0]


def test_every_result_has_its_section_in_the_order_of_the_contract(page):
    ids = [str(attrs["id"]) for attrs in page.all("section")]
    own = ["what", "accuracy", "trials", "optimum"]
    assert ids == [*own, *made_up.REPRODUCED, "shortcuts", "missing", "again"]


def test_what_is_missing_is_named_with_the_command_that_makes_it(drawings, page):
    assert "The specimens: bonehpo inspect --bone TB" in page.text
    assert "ResNet-50: bonehpo" not in page.text
    report = phantom_report(drawings)
    nothing = replace(report, results=[], drawn={}, study=replace(report.study, optimum=None, name="two words"))
    text = Page(render_page(nothing)).text
    assert "The optimum, fitted again: bonehpo search --bone 'two words' --trials 24" in text
    assert "What preparation is for: bonehpo ablate SCANS.csv --bone 'two words'" in text
    assert "bonehpo sweep" not in text.partition("How to reproduce it")[2].partition("How to reproduce it")[2]


def test_of_the_specimens_the_measures_at_rest_are_printed(drawings):
    scans = pd.DataFrame(
        {"specimen": "TB5", "state": [1, 2], "trabecular_thickness_um": [143.25, 99.5], "stress_mpa": nan}
    )
    specimens = made_up.PHANTOM.result("specimens", {"scans": scans})
    text = Page(render_page(replace(phantom_report(drawings), results=[specimens]))).text
    assert "trabecular thickness (µm)" in text
    assert "143.250" in text
    assert "99.5" not in text
    assert "MPa" not in text.partition("How to reproduce it")[0]


def test_the_audit_repeats_every_warning_and_names_what_was_not_looked_at(drawings, page):
    def audit(text):
        return text.rpartition("Leaks and shortcuts")[2].partition("What is missing")[0]

    assert "From which load on damage is seen (whether loaded bone is told" in audit(page.text)
    assert "accuracy is high at states 3 and 4" in audit(page.text)
    assert "Damage is seen from state 10 on." not in audit(page.text)
    assert "What preparation is for (what networks learn" in audit(page.text)
    assert audit(page.text).count("not made") == 2
    assert "Leaks between sets: not made" in audit(page.text)
    alone = audit(Page(render_page(replace(phantom_report(drawings), results=[], drawn={}))).text)
    assert alone.count("not made, so that it is not known") == 6


def test_a_result_from_another_slice_store_is_called_stale(drawings, page):
    assert "not from that of this study" not in page.text
    stale = replace(made_up.sweep(), store_id="cd" * 32)
    text = Page(render_page(replace(phantom_report(drawings), results=[stale]))).text
    assert "Caution: made from the slice store cdcdcdcdcdcd, not from that of this study" in text


COMMANDS = ("sweep", "explain", "audit", "compare", "ablate SCANS.csv", "strain")


def test_the_page_says_how_to_make_it_again(page):
    record = made_up_study.record()
    again = page.text[page.text.rindex("How to reproduce it") :]
    assert record.git_commit in again
    assert record.config_toml.strip() in again
    assert all(f"{name} {version}" in again for name, version in record.versions.items())
    lines = [line for line in again.splitlines() if line.startswith("bonehpo ") and "--bone" in line]
    assert lines == [
        "bonehpo search --bone TB --trials 24",
        *(f"bonehpo {command} --bone TB" for command in COMMANDS),
        "bonehpo report --bone TB",
    ]
    assert record.store_id in page.text


def test_options_that_a_result_was_made_with_stand_in_its_command():
    weighed = made_up.PHANTOM.result("compare", {}, parameters={"weights": "study:my bone"})
    looked = made_up.SCANS.result("detection", {}, parameters={"visible_from": "12"})
    known = replace(looked, ran_on="phantom")
    report = replace(scans_report(), results=[weighed, looked])
    assert "bonehpo compare --bone TB --weights 'study:my bone'" in commands(report)
    assert "bonehpo explain --bone TB --visible-from 12" in commands(report)
    assert "bonehpo explain --bone TB" in commands(replace(report, results=[known]))


def test_trials_that_failed_say_why_and_the_best_is_marked(html, page):
    study = made_up_study.study()
    assert "failed: the loss became NaN" in page.text
    assert html.count('<tr class="marked">') == 1
    assert study.estimates is not None
    marked = Page(html.partition('<tr class="marked">')[2].partition("</tr>")[0])
    assert marked.text.strip().startswith(str(study.estimates.trial))


def test_a_study_without_a_complete_trial_still_has_a_page():
    study = made_up_study.study(n_trials=0)
    report = Report(
        study=study,
        record=made_up_study.record(),
        kinds=KINDS,
        results=[],
        drawn={STUDY_FIGURES: ()},
        made=made_up_study.MADE,
    )
    assert "no trial is complete yet" in Page(render_page(report)).text
    assert trials_figure(study, Path("nowhere")) is None


def test_the_page_is_written_whole_or_refused_in_one_line(drawings, tmp_path):
    report = phantom_report(drawings)
    path = write_page(report, tmp_path / "new" / "report.html")
    assert path.read_text("utf-8") == render_page(report)
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]
    (tmp_path / "file").touch()
    with pytest.raises(StudyError, match=r"report\.html cannot be written: .*: make room there") as refusal:
        write_page(report, tmp_path / "file" / "report.html")
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("ran_on", ["phantom", "scans"])
def test_a_browser_shows_the_page_without_a_request_or_a_complaint(browser, drawings, tmp_path, ran_on):
    report = phantom_report(drawings) if ran_on == "phantom" else replace(scans_report(), drawn=drawings)
    path = write_page(report, tmp_path / "report.html")
    requests(browser)
    browser.get(path.as_uri())
    assert {url for url in requests(browser) if not url.startswith("data:")} == {path.as_uri()}
    assert browser.get_log("browser") == []
    images = browser.find_elements(By.TAG_NAME, "img")
    assert len(images) == sum(map(len, drawings.values()))
    assert all(image.get_property("complete") and image.get_property("naturalWidth") > 0 for image in images)


def test_the_page_tells_stuck_fits_where_there_are_any(drawings):
    whole = phantom_report(drawings)
    assert "stuck" not in render_page(whole)
    trials = [replace(row, n_stuck=3 if row.trial == 7 else 0) for row in whole.study.trials]
    page = render_page(replace(whole, study=replace(whole.study, trials=tuple(trials))))
    assert "complete; 3 of 10 fits stuck" in page
    assert "3 of 10 fits of trial 7 are stuck: their training loss stayed at ln 2, or the same answer was given" in page
