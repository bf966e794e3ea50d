"""What a newcomer reads: the README, the docs site, the files about the project."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from places import PROJECT

from bonehpo.cli import main

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))


def pages_of(nav: object) -> list[str]:
    """All pages in a navigation, from the top."""
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(part)]


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", PROJECT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
    return folder


def test_every_page_stands_once_in_the_navigation():
    nav = pages_of(yaml.load((PROJECT / "mkdocs.yml").read_text("utf-8"), yaml.BaseLoader)["nav"])
    written = {str(path.relative_to(PROJECT / "docs")) for path in PROJECT.glob("docs/**/*.md")}
    written |= {str(path.relative_to(PROJECT)) for path in PROJECT.glob("studies/**/*.md")}
    assert sorted(nav) == sorted(written | {"contributing.md", "changelog.md"})


def test_the_readme_is_short():
    assert len((PROJECT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_links_of_the_readme_lead_to_files():
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (PROJECT / "README.md").read_text("utf-8"))
    assert len(targets) > 10
    assert [target for target in targets if not (PROJECT / target).exists()] == []


def loaded_by(page: Path) -> list[str]:
    """Addresses of what a page loads as it opens: scripts, pictures, style sheets."""
    tags = re.findall(r"<(?:script|img|iframe|link)\s[^>]*>", page.read_text("utf-8"))
    tags = [tag for tag in tags if not re.search(r'rel="(?:next|prev|canonical)"', tag)]
    return [address for tag in tags for address in re.findall(r'\s(?:src|href)="([^"]+)"', tag)]


def test_the_site_loads_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        for address in loaded_by(page):
            base = site if address.startswith("/") else page.parent
            assert (base / address.lstrip("/").partition("?")[0]).is_file(), (page, address)
    for sheet in site.rglob("*.css"):
        assert re.findall(r"url\(\W?(?:https?:)?//", sheet.read_text("utf-8")) == [], sheet


def test_style_sheets_find_their_fonts(site):
    sheet = site / "assets" / "css" / "site.css"
    fonts = re.findall(r"url\(\"([^\"]+)\"\)", sheet.read_text("utf-8"))
    assert len(fonts) == 3
    assert all((sheet.parent / font).is_file() for font in fonts)


def test_pages_with_a_diagram_load_mermaid_and_others_do_not(site):
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        assert ('class="mermaid"' in text) == ("mermaid.min.js" in text), page


def test_the_reference_has_every_command_with_its_options(site):
    text = (site / "reference" / "cli.html").read_text("utf-8")
    for name, command in main.commands.items():
        assert f'id="bonehpo-{name}"' in text
        for option in command.params:
            hidden = getattr(option, "hidden", False) or not getattr(option, "help", None)
            assert hidden or option.opts[0] in text, (name, option.name)


def test_a_percent_script_becomes_a_page(hooks, tmp_path):
    script = tmp_path / "wide.py"
    script.write_text(
        "# ---\n# jupyter: {}\n# ---\n# %% [markdown]\n# # Wide\n#\n# A [word](../docs/glossary.md).\n# ![](a/wide_1.png)\n"
        "# %%\nx = 1\n\nprint(x)\n# %%\n"
    )
    script.with_suffix(".txt").write_text("1\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "wide_1.png").touch()
    (tmp_path / "wide_2.svg").touch()
    page = hooks.example_page(script)
    assert page.startswith("# Wide\n\nA [word](../docs/glossary.md).")
    assert "```python\nx = 1\n\nprint(x)\n```" in page
    assert "```text\n1\n```" in page
    assert page.count("wide_1.png") == 1
    assert "![wide_2.svg](wide_2.svg)" in page


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("how-to/audit.md", "../explanation/phantom.md", "../explanation/phantom.md"),
        ("how-to/audit.md", "../../studies/TB/README.md", "../studies/TB/README.md"),
        ("studies/TB/README.md", "../../docs/glossary.md", "../../glossary.md"),
        ("contributing.md", "docs/architecture.md#floors", "architecture.md#floors"),
        ("reference/api.md", "../../README.md", "../index.md"),
        ("index.md", "../examples/own_scans.py", "examples/own_scans.md"),
        ("index.md", "https://doi.org/10.1016/j", "https://doi.org/10.1016/j"),
    ],
)
def test_links_are_written_as_on_disk(hooks, page, link, expected):
    made = hooks.LINK.sub(lambda match: hooks.link_between_pages(match, hooks.source_of(page), page), f"[x]({link})")
    assert made == f"[x]({expected})"


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == PYPROJECT["project"]["version"]
    assert citation["license"] == PYPROJECT["project"]["license"]
    assert [reference["doi"] for reference in citation["references"]] == ["10.1016/j.jmbbm.2021.104761"]


def test_everything_that_is_installed_is_pinned():
    needed = [*PYPROJECT["project"]["dependencies"]]
    needed += [name for extra in PYPROJECT["project"]["optional-dependencies"].values() for name in extra]
    names = {re.match(r"[\w-]+", need)[0].lower().replace("_", "-") for need in needed} - {"bonehpo"}
    pinned = re.findall(r"^([\w.-]+)==", (PROJECT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    assert names - {name.lower().replace("_", "-") for name in pinned} == set()


def test_docs_that_the_code_names_are_there():
    files = [path for folder in ("bonehpo", "tests", "benchmarks") for path in (PROJECT / folder).rglob("*.py")]
    files += [PROJECT / name for name in ("Makefile", "CHANGELOG.md", "pyproject.toml")]
    named = {name for path in files for name in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text("utf-8"))}
    assert len(named) > 3
    assert {name for name in named if not (PROJECT / name).exists()} == set()
