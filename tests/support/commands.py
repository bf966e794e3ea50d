"""The commands, as a person types them."""

from click.testing import CliRunner, Result

from bonehpo.cli import main


def call(*words: object, code: int = 0) -> Result:
    """Run `bonehpo WORDS` in this process, and see that it ends with this exit status."""
    answer = CliRunner().invoke(main, [str(word) for word in words])
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    assert answer.exit_code == code, answer.output
    return answer


def refusal(*words: object) -> str:
    """The one line by which a call is refused."""
    answer = call(*words, code=1)
    lines = [line for line in answer.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, answer.output
    assert "Traceback" not in answer.output
    return lines[0]
