"""What a person reads who asks for help."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable

import pytest
from click.testing import CliRunner
from places import PROJECT

from bonehpo.cli import RESUMABLE, main

WRITTEN = [PROJECT / "README.md", *sorted(PROJECT.glob("docs/**/*.md"))]


def help_of(*words: str) -> str:
    answer = CliRunner().invoke(main, [*words, "--help"], terminal_width=80)
    assert answer.exit_code == 0
    return answer.output


def test_the_way_through_the_commands_is_drawn_as_it_was_written():
    text = help_of()
    assert "  Own scans:      new → prepare → search → show → promote → predict\n" in text
    listed = re.findall(r"^  ([a-z]+)  ", text.partition("Commands:")[2], re.MULTILINE)
    assert listed == list(main.commands)
    assert listed.index("search") < listed.index("reproduce") < listed.index("promote")


@pytest.mark.parametrize("words", [(), *((name,) for name in main.commands)])
def test_help_is_plain_text_that_fits_a_terminal(words):
    text = help_of(*words)
    assert "\\" not in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", main.commands)
def test_help_ends_with_an_example_that_is_a_call_of_the_command(name):
    command = main.commands[name]
    program, called, *words = shlex.split(command.epilog.removeprefix("Example: "))
    assert (program, called) == ("bonehpo", name)
    command.make_context(name, words, resilient_parsing=False)
    assert help_of(name).rstrip().endswith(" ".join(command.epilog.split()[-2:]))


@pytest.mark.parametrize(
    ("words", "index", "expected"), [("bonehpo show --bone T", 3, ["TB"]), ("bonehpo sea", 1, ["search"])]
)
def test_names_are_completed_in_a_shell(tmp_path, words, index, expected):
    (tmp_path / "studies" / "TB").mkdir(parents=True)
    (tmp_path / "studies" / "CB").mkdir()
    environment = {**os.environ, "_BONEHPO_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index)}
    script = "import sys; sys.argv[0] = 'bonehpo'; from bonehpo.cli import main; main(prog_name='bonehpo')"
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert [line.partition(",")[2] for line in answer.stdout.splitlines()] == expected


def test_commands_that_go_on_after_an_interruption_are_commands():
    assert set(RESUMABLE) <= set(main.commands)


def options_of(names: Iterable[str]) -> set[str]:
    return {option for name in names for p in main.commands[name].params for option in p.opts} | {"--help"}


def wrong_options(text: str) -> list[str]:
    """Options that are of no command, and those that stand behind a command that has them not.

    Those that make hands to a benchmark, ARGS="…", are none of these.
    """
    text = re.sub(r'ARGS=("[^"]*"|\S+)', "", text)
    unknown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) - options_of(main.commands) - {"--env-manager"}
    after = re.findall(rf"(?:bonehpo |`)({'|'.join(main.commands)}) ([^`#|\n]*)", text)
    named = [(name, option) for name, words in after for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", words)]
    return sorted(unknown) + [f"{name} {option}" for name, option in named if option not in options_of([name])]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(PROJECT)))
def test_options_that_the_docs_name_are_options_of_that_command(path):
    assert wrong_options(path.read_text("utf-8")) == []


def test_a_wrong_option_is_seen():
    assert wrong_options("bonehpo search --bone TB --colour\n`show --trials 3`") == [
        "--colour",
        "search --colour",
        "show --trials",
    ]
