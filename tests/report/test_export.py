"""What a paper takes over: figures in the width and format of a journal, the methods, references, the table of trials."""

import csv
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import made_up_study
import markdown
import pytest
import tifffile
from commands import call
from PIL import Image
from tiny_study import TOML, make_study
from tracked import new_project

import bonehpo
from bonehpo.report.figures.studies import trials_figure
from bonehpo.report.figures.style import PAGE_MM, Export, Words, draw_figure, exported
from bonehpo.report.methods import references_bib

FORMATS = ("pdf", "svg", "png", "tiff")


def size_mm(file):
    """Width and height of a figure on paper, as a reader of the format finds it."""
    match file.suffix:
        case ".pdf":
            box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", file.read_bytes())
            return tuple(float(side) / 72 * 25.4 for side in box.groups())
        case ".svg":
            root = ElementTree.parse(file).getroot()
            return tuple(float(root.get(side).removesuffix("pt")) / 72 * 25.4 for side in ("width", "height"))
        case ".png":
            with Image.open(file) as image:
                return tuple(n / dpi * 25.4 for n, dpi in zip(image.size, image.info["dpi"], strict=True))
        case ".tiff":
            with tifffile.TiffFile(file) as image:
                tags = image.pages[0].tags
                height, width = image.pages[0].shape[:2]
                per_inch = [tags[name].value[0] / tags[name].value[1] for name in ("XResolution", "YResolution")]
                return width / per_inch[0] * 25.4, height / per_inch[1] * 25.4
    raise AssertionError(file)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("width", [85, 180])
def test_a_figure_has_the_width_that_is_asked_for(tmp_path, suffix, width):
    with exported(Export(folder=tmp_path / "figures", width_mm=width, suffix=suffix, dpi=300)):
        drawn = trials_figure(made_up_study.study(), tmp_path / "elsewhere")
    assert size_mm(drawn.png)[0] == pytest.approx(width, abs=0.3)
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]
    again = trials_figure(made_up_study.study(), tmp_path / "page")
    assert size_mm(again.png)[0] == pytest.approx(PAGE_MM, abs=0.3)


def test_legends_fit_a_column(tmp_path):
    seen = []

    def paint(figure):
        axes = figure.subplots()
        for n in range(7):
            axes.plot([0, 1], [n, n], label=f"a rather long name, {n}")
        figure.legend(loc="outside upper center", ncols=7)
        seen.append(figure)

    with exported(Export(folder=tmp_path, width_mm=85, suffix="png", dpi=300)):
        draw_figure(paint, Words(name="wide", title="", caption=""), tmp_path, height_mm=70)
    ((legend,), width) = seen[0].legends, seen[0].bbox.width
    assert legend.get_window_extent().width <= width
    assert len(legend.get_texts()) == 7


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = new_project(tmp_path_factory.mktemp("paper"))
    folder = make_study(root, TOML.replace("epochs = 3", "epochs = 1"))
    study = bonehpo.Study(folder.path, project=root)
    study.search(2, workers=0)
    return study


@pytest.fixture
def here(study, monkeypatch):
    monkeypatch.chdir(study.project)


@pytest.mark.usefixtures("here")
def test_the_command_draws_every_figure_into_the_folder(tmp_path):
    said = call(
        "report", "--bone", "TB", "--figures", tmp_path, "--width-mm", 85, "--format", "png", "--dpi", 150
    ).stdout
    files = [line.removeprefix("Figure: ") for line in said.splitlines()]
    assert sorted(files) == sorted(str(path) for path in tmp_path.iterdir())
    assert {"audit.png", "learning-curves.png", "trials.png"} <= {path.name for path in tmp_path.iterdir()}


def test_the_methods_have_the_numbers_of_the_study(study):
    study.report()
    text = (study.folder.path / "methods.md").read_text("utf-8")
    found = study.estimates
    for part in (
        "from 3 specimens at 2 load states",
        "16 × 16 pixels",
        "for 1 epochs",
        "all 6 ordered pairs",
        f"nested accuracy, in which the trial is chosen without the set under test: {found.nested_score:.3f}",
        f"bonehpo {bonehpo.__version__}",
        "- [x] Separation of training and test data, leakage: looked for",
        "- [ ] Validation on new specimens: **open, for the authors**",
    ):
        assert part in text, part
    assert "{" not in text
    assert "other seeds" not in text
    page = (study.folder.path / "report.html").read_text("utf-8")
    assert "Methods, for a paper" in page


def test_the_methods_of_a_study_of_strain_speak_of_strain(tmp_path):
    text = TOML.replace('bone = "TB"', 'bone = "TB"\ntask = "strain"').replace("epochs = 3", "epochs = 1\nrestarts = 2")
    study = bonehpo.Study(make_study(tmp_path, text, (0, 0.5, 1)).path, project=new_project(tmp_path / "records"))
    study.search(1, workers=0)
    study.report()
    told = (study.folder.path / "methods.md").read_text("utf-8")
    assert "labelled with the apparent strain of their scan" in told
    assert "; fits that never learnt were offered other seeds, at most 2. Their hyperparameters" in told
    assert f"under test: {-study.estimates.nested_score:.3f} % (95 % interval" in told
    assert "pristine" not in told.partition("## Checklist")[0].replace("pristine scan", "")


@pytest.mark.usefixtures("here")
def test_options_that_would_do_nothing_are_refused(study):
    assert "--format is of --figures" in call("report", "--bone", "TB", "--format", "png", code=2).stderr
    assert "--width-mm, --dpi" in call("report", "--bone", "TB", "--dpi", 300, "--width-mm", 85, code=2).stderr
    assert "exclude each other" in call("show", "--bone", "TB", "--format", "csv", "--json", code=2).stderr


def test_references_are_bibtex():
    text = references_bib("0.1.0", 2026)
    assert re.findall(r"^@(\w+)\{(\w+),", text, re.MULTILINE) == [("article", "shen2021deep"), ("software", "bonehpo")]
    assert text.count("{") == text.count("}")
    assert "doi     = {10.1016/j.jmbbm.2021.104761}" in text


class Cells(HTMLParser):
    """The rows of a table in HTML."""

    def __init__(self, html):
        super().__init__()
        self.rows = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1] and data.strip():
            self.rows[-1][-1] += data


@pytest.mark.usefixtures("here")
def test_the_table_of_trials_is_the_same_in_every_format(study):
    told = {form: call("show", "--bone", "TB", "--format", form).stdout for form in ("csv", "markdown", "latex")}
    rows = list(csv.reader(io.StringIO(told["csv"])))
    assert len(rows) == 3
    assert rows[0][-3:] == ["accuracy, mean", "sd over folds", "state"]
    assert rows[1][rows[0].index("n folds")] == "6"
    assert float(rows[1][-3]) == pytest.approx(study.trials["mean_accuracy"][0], abs=5e-4)
    assert Cells(markdown.markdown(told["markdown"], extensions=["tables"])).rows == rows
    body = re.findall(r"^(.*) \\\\$", told["latex"], re.MULTILINE)
    assert [[cell.strip() for cell in row.split("&")] for row in body] == rows
    assert all(rule in told["latex"] for rule in ("\\toprule", "\\midrule", "\\bottomrule"))
