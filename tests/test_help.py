"""What a person reads who asks for help."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from bonehpo.cli import RESUMABLE, main

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def help_of(*words: str) -> str:
    answer = CliRunner().invoke(main, [*words, "--help"], terminal_width=80)
    assert answer.exit_code == 0
    return answer.output


def test_the_way_through_the_commands_is_drawn_as_it_was_written():
    text = help_of()
    assert "  Own scans:      prepare → search → show → promote → predict\n" in text
    listed = re.findall(r"^  ([a-z]+)  ", text.partition("Commands:")[2], re.MULTILINE)
    assert listed == list(main.commands)
    assert listed.index("search") < listed.index("reproduce") < listed.index("promote")


@pytest.mark.parametrize("words", [(), *((name,) for name in main.commands)])
def test_help_is_plain_text_that_fits_a_terminal(words):
    text = help_of(*words)
    assert "\\" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_commands_that_go_on_after_an_interruption_are_commands():
    assert set(RESUMABLE) <= set(main.commands)


def test_options_that_the_readme_names_are_options_of_some_command():
    known = {option for command in main.commands.values() for p in command.params for option in p.opts} | {"--help"}
    of_bonehpo = [line for line in README.splitlines() if "bonehpo " in line and "mlflow models" not in line]
    named = {option for line in of_bonehpo for option in re.findall(r"(?<![\w-])--[a-z-]+", line)}
    assert named - known == set()
