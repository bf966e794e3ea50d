"""Both pages as a browser shows them: in the dark, on a phone, on paper."""

import base64
import re

import pytest
from made_up_pages import two_bones
from selenium.webdriver.common.by import By

from bonehpo.report.page import write_page
from bonehpo.report.side_by_side import write_side_by_side

WINDOW = "1400,900"
"""Of the browser, in pixels."""

A4_PT = (595, 842)

LOWEST_CONTRAST = """
const numbers = color => color.match(/[\\d.]+/g).map(Number);
const light = color => {
  const [r, g, b] = numbers(color).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const under = element => {
  for (let e = element; e; e = e.parentElement) {
    const color = getComputedStyle(e).backgroundColor;
    if ((numbers(color)[3] ?? 1) > 0) return color;
  }
  return "rgb(255, 255, 255)";
};
const told = [...document.body.querySelectorAll("*")].filter(
  e => [...e.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.textContent.trim()));
return Math.min(...told.map(e => {
  const [low, high] = [light(getComputedStyle(e).color), light(under(e))].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}));
"""
"""Of all text against what lies under it, as WCAG 2 measures it: 1 for none, 21 for black on white."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Both pages by the number of studies on them."""
    folder = tmp_path_factory.mktemp("pages")
    sides = two_bones(folder / "figures")
    return {1: write_page(sides.left, folder / "report.html"), 2: write_side_by_side(sides, folder / "CB-TB.html")}


@pytest.fixture(params=[1, 2], ids=["one study", "two studies"])
def n_studies(request):
    return request.param


@pytest.fixture
def show(browser, pages):
    """Opens a page as readers see it who prefer light or dark, on a screen or on paper; all as usual after the test."""

    def shown(n_studies, scheme="light", media="screen"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        browser.get(pages[n_studies].as_uri())
        return browser

    yield shown
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


WHITE = "rgba(255, 255, 255, 1)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read_in_the_light_and_in_the_dark(show, n_studies, scheme):
    browser = show(n_studies, scheme)
    background = browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    assert (background == WHITE) == (scheme == "light")
    assert browser.execute_script(LOWEST_CONTRAST) >= 4.5


def test_in_the_dark_figures_lie_on_white_cards(show, n_studies):
    images = show(n_studies, "dark").find_elements(By.TAG_NAME, "img")
    assert images
    for image in images:
        assert image.value_of_css_property("background-color") == WHITE
        for name in ("padding-top", "border-top-left-radius"):
            assert float(image.value_of_css_property(name).removesuffix("px")) > 5


def test_nothing_sticks_out_of_a_phone_but_what_can_be_scrolled(show, browser, n_studies):
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    assert show(n_studies).execute_script("return document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_printed_on_a4(show, n_studies, scheme):
    answer = show(n_studies, scheme, media="").execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    boxes = set(re.findall(rb"/MediaBox ?\[0 0 ([\d.]+) ([\d.]+)\]", base64.b64decode(answer["data"])))
    expected = A4_PT if n_studies == 1 else A4_PT[::-1]
    assert [[float(side) for side in box] for box in boxes] == [pytest.approx(expected, abs=1)]


def test_on_paper_the_dark_is_white_and_figures_and_tables_stay_whole(show, n_studies):
    browser = show(n_studies, "dark", media="print")
    assert browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color") == WHITE
    assert browser.execute_script(LOWEST_CONTRAST) >= 4.5
    whole = browser.find_elements(By.CSS_SELECTOR, "figure, table, pre, tr, .pair")
    assert {element.value_of_css_property("break-inside") for element in whole} == {"avoid"}
    sheet_px = 178 / 25.4 * 96 if n_studies == 1 else 271 / 25.4 * 96
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": round(sheet_px), "height": 1000, "deviceScaleFactor": 1, "mobile": False},
    )
    assert browser.execute_script("return document.documentElement.scrollWidth") <= round(sheet_px)


def test_two_studies_stand_in_two_columns_where_there_is_room(show):
    pairs = show(2).find_elements(By.CSS_SELECTOR, "div.pair")
    assert len(pairs) > 5
    for pair in pairs:
        left, right = (cell.rect for cell in pair.find_elements(By.XPATH, "./div"))
        assert left["x"] + left["width"] < right["x"]
        assert left["y"] == right["y"]
