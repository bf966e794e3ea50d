"""Pages that the docs site makes from the project itself, and the links between them.

MkDocs calls the functions `on_…` (mkdocs.yml, `hooks`). Nothing here needs a network.

- Studies, examples, CONTRIBUTING.md and CHANGELOG.md become pages where they lie. All links are written as on disk.
- The command line reference comes from the commands, the Python reference from `bonehpo.__all__`.
- Mermaid is copied from the pinned package `mermaidx`, and loaded by the pages that draw something.
"""

import hashlib
import importlib
import importlib.util
import inspect
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PROJECT = Path(__file__).parents[1]
ROOT_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files in the project's root, and the pages that stand for them."""

MERMAID = "assets/mermaid.min.js"
MERMAID_SHA256 = "74d7c46dabca328c2294733910a8aa1ed0c37451776e8d5295da38a2b758fb9b"
"""Of mermaid.min.js as Mermaid 11.16.0 has it on npm; mermaidx 0.10.1 ships the same bytes."""

EXAMPLES = sorted((PROJECT / "examples").glob("*.py"))
COMMANDS_GO_HERE = "<!-- commands -->"
NAMES_GO_HERE = "<!-- names -->"
EXAMPLES_GO_HERE = "<!-- examples -->"
LINK = re.compile(r"(?P<open>\]\()(?P<target>[^)#\s:]+)(?P<rest>#[^)\s]*)?\)")
"""A link to a file. Those with a colon, as in https:, lead out of the site."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Import bonehpo from this checkout, not from another one that is installed; list all examples under Examples."""
    sys.path.insert(0, str(PROJECT))
    for section in config.nav or ():
        if "Examples" in section:
            section["Examples"] += [page_of(f"examples/{path.name}") for path in EXAMPLES]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that do not lie in docs/."""
    for name, page in ROOT_PAGES.items():
        if name != "README.md":
            files.append(File.generated(config, page, content=(PROJECT / name).read_text("utf-8")))
    for path in sorted((PROJECT / "studies").glob("**/*")):
        if path.suffix in {".md", ".png"} and is_committed(path):
            files.append(File.generated(config, path.relative_to(PROJECT).as_posix(), abs_src_path=str(path)))
    for path in EXAMPLES:
        files.append(File.generated(config, page_of(f"examples/{path.name}"), content=example_page(path)))
    for path in sorted((PROJECT / "examples").glob("**/*.[ps][nv]g")):
        files.append(File.generated(config, path.relative_to(PROJECT).as_posix(), abs_src_path=str(path)))
    files.append(File.generated(config, MERMAID, content=mermaid()))
    return files


def is_committed(path: Path) -> bool:
    """True for a study's README, its pictures and figures; False for what use makes beside them."""
    parts = path.relative_to(PROJECT / "studies").parts
    return path.name != "montage.png" and (len(parts) <= 2 or (len(parts) == 3 and parts[1] == "figures"))


def mermaid() -> bytes:
    """The library that draws diagrams, as it was published.

    Raises:
        PluginError: It is not installed, or another one than is pinned.
    """
    spec = importlib.util.find_spec("mermaidx")
    if spec is None or spec.origin is None:
        raise PluginError("mermaidx is not installed: `make docs` does that")
    content = (Path(spec.origin).parent / "assets" / "mermaid.js").read_bytes()
    if hashlib.sha256(content).hexdigest() != MERMAID_SHA256:
        raise PluginError("mermaidx ships another Mermaid than docs/hooks.py names: install the pinned one")
    return content


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Fill the reference pages, and turn links between files into links between pages."""
    if COMMANDS_GO_HERE in markdown:
        markdown = markdown.replace(COMMANDS_GO_HERE, commands_in_words())
    if NAMES_GO_HERE in markdown:
        markdown = markdown.replace(NAMES_GO_HERE, public_names())
    if EXAMPLES_GO_HERE in markdown:
        markdown = markdown.replace(EXAMPLES_GO_HERE, list_of_examples())
    source = source_of(page.file.src_uri)
    return LINK.sub(lambda match: link_between_pages(match, source, page.file.src_uri), markdown)


def source_of(page: str) -> str:
    """Path of the file that a page is made from, from the project's root: docs/glossary.md for glossary.md."""
    for name, made in ROOT_PAGES.items():
        if made == page and name != "README.md":
            return name
    for source in (page, page.removesuffix(".md") + ".py"):
        if source.startswith(("studies/", "examples/")) and (PROJECT / source).exists():
            return source
    return f"docs/{page}"


def page_of(source: str) -> str:
    """The page, or picture, that a file becomes; examples/own_scans.md for examples/own_scans.py."""
    if source in ROOT_PAGES:
        return ROOT_PAGES[source]
    if source.startswith("examples/") and source.endswith(".py"):
        return source.removesuffix(".py") + ".md"
    return source.removeprefix("docs/")


def link_between_pages(match: re.Match[str], source: str, page: str) -> str:
    """A link as the site needs it, from one as it stands in the file."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match["target"]))
    relative = posixpath.relpath(page_of(target), posixpath.dirname(page) or ".")
    return f"{match['open']}{relative}{match['rest'] or ''})"


def example_page(path: Path) -> str:
    """A script in jupytext's percent format as a page: text cells as text, code cells as code.

    Beside `NAME.py` may lie `NAME.txt`, which it printed, and figures `NAME*.png` or `NAME*.svg`. Those that the text shows
    itself are not shown again.
    """
    parts = []
    for kind, lines in cells(path.read_text("utf-8")):
        if kind == "markdown":
            parts.append("\n".join(line.removeprefix("#").removeprefix(" ") for line in lines).strip())
        elif text := "\n".join(lines).strip("\n"):
            parts.append(f"```python\n{text}\n```")
    page = "\n\n".join(part for part in parts if part)
    if (printed := path.with_suffix(".txt")).exists():
        page += f"\n\n## Printed\n\n```text\n{printed.read_text('utf-8').rstrip()}\n```"
    figures = [p for s in ("png", "svg") for p in sorted(path.parent.glob(f"**/{path.stem}*.{s}"))]
    beside = [p.relative_to(path.parent).as_posix() for p in figures if p.name not in page]
    if beside:
        page += "\n\n## Drawn\n\n" + "\n\n".join(f"![{name}]({name})" for name in beside)
    return f"{page}\n\nThis page is `examples/{path.name}`, a script that runs as it is.\n"


def list_of_examples() -> str:
    """A line for each example: its title, as a link, and the file."""
    titles = ((path, re.search(r"^# # (.+)$", path.read_text("utf-8"), re.MULTILINE)) for path in EXAMPLES)
    lines = [
        f"- [{title[1] if title else path.stem}](../../examples/{path.name}): `examples/{path.name}`"
        for path, title in titles
    ]
    return "\n".join(lines) or "There are none yet."


def cells(script: str) -> list[tuple[str, list[str]]]:
    """Cells of a percent script, `markdown` or `code`, in order. A header of jupytext is left out."""
    script = re.sub(r"\A# ---\n(#.*\n)*?# ---\n", "", script)
    found: list[tuple[str, list[str]]] = [("code", [])]
    for line in script.splitlines():
        if line.startswith("# %%"):
            found.append(("markdown" if "[markdown]" in line else "code", []))
        else:
            found[-1][1].append(line)
    return found


def commands_in_words() -> str:
    """All commands with their usage, help and options, as their `--help` has them."""
    main = importlib.import_module("bonehpo.cli").main
    context = click.Context(main, info_name="bonehpo", **main.context_settings)
    names = main.list_commands(context)
    rows = [f"| [`{name}`](#bonehpo-{name}) | {escaped(first_sentence(main.commands[name]))} |" for name in names]
    overview = "\n".join(["| command | |", "|---|---|", *(" ".join(row.split()) for row in rows)])
    whole = command_in_words(main, context, heading="## bonehpo")
    return "\n\n".join(
        [overview, whole]
        + [
            command_in_words(c, click.Context(c, context, name), f"## bonehpo {name}")
            for name, c in main.commands.items()
        ]
    )


def first_sentence(command: click.Command) -> str:
    """The first paragraph of a command's help, on one line."""
    return " ".join((command.help or "").partition("\n\n")[0].split())


def escaped(text: str) -> str:
    """Help in a cell or a paragraph of Markdown: <bone> is no tag, and | ends no cell."""
    return text.replace("<", "&lt;").replace("|", "\\|")


def command_in_words(command: click.Command, context: click.Context, heading: str) -> str:
    """One command: heading, usage, help, a table of its options."""
    usage = " ".join(command.collect_usage_pieces(context))
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1]:
            rows.append(f"| `{record[0]}` | {escaped(record[1])} |")
    paragraphs = (command.help or "").strip().split("\n\n")
    text = "\n\n".join(f"```text\n{p[2:]}\n```" if p.startswith("\b\n") else escaped(p) for p in paragraphs)
    table = "\n".join(["| option | |", "|---|---|", *rows])
    return f"{heading}\n\n```text\n{context.command_path} {usage}\n```\n\n{text}\n\n{table}"


def public_names() -> str:
    """The public names of the package: studies, functions, other classes as blocks for mkdocstrings; errors as a table."""
    package = importlib.import_module("bonehpo")
    values = {name: getattr(package, name) for name in getattr(package, "__all__", ())}
    errors = {name: value for name, value in values.items() if inspect.isclass(value) and issubclass(value, Exception)}
    classes = {name: value for name, value in values.items() if inspect.isclass(value) and name not in errors}
    functions = {name: value for name, value in values.items() if inspect.isroutine(value)}
    study = {name: value for name, value in classes.items() if name == "Study"}
    shown = study | functions | classes
    blocks = [f"::: {value.__module__}.{value.__qualname__}" for value in shown.values()]
    blocks += [f"## `{name}`\n\n`{value!r}`" for name, value in values.items() if name not in shown | errors]
    rows = [f"| `{name}` | {escaped((value.__doc__ or '').partition(chr(10))[0])} |" for name, value in errors.items()]
    blocks += ["## Errors", "\n".join(["| | |", "|---|---|", *rows])] if rows else []
    return "\n\n".join(blocks) or "This version exports no names."


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Load Mermaid where there is a diagram."""
    if 'class="mermaid"' not in output:
        return output
    up = posixpath.relpath(MERMAID, posixpath.dirname(page.file.dest_uri) or ".")
    return output.replace("</body>", f'<script src="{up}"></script></body>')
