"""The command line: parse, compose, one call, print. Heavy imports stand inside the commands."""

import contextlib
import errno
import logging
import signal
from types import FrameType
from typing import Any

import click

from bonehpo.cli.audit import audit
from bonehpo.cli.console import say
from bonehpo.cli.models import predict, promote, ui
from bonehpo.cli.projects import new, status
from bonehpo.cli.reproduction import report, reproduce
from bonehpo.cli.results import ablate, compare, explain, strain, sweep
from bonehpo.cli.scans import inspect, phantom, prepare, verify
from bonehpo.cli.studies import doctor, network, search, show, sync
from bonehpo.errors import BonehpoError

ENVIRONMENT_ERRORS = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT, errno.EFBIG)

RESUMABLE = ("search", "sweep", "explain", "compare", "ablate", "strain", "reproduce")
"""Commands that fit networks: each finished fit is kept, whatever becomes of the rest."""

HELP = """Search CNN architectures that tell failed from pristine bone in micro-CT slices.

\b
Own scans:      new → prepare → search → show → promote → predict
Without scans:  phantom → prepare → search → …
The paper:      prepare → search → reproduce, which does one after the other
                what sweep, explain, compare, ablate, strain and report do

Every command works on a study folder: --bone TB means studies/TB. `bonehpo COMMAND --help` says more of each.
"""


class _Program(click.Group):
    """Ends every refusal with one line: exit code 1 for what failed, 130 for what was interrupted."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click calls it so
        """The commands in the order in which they are used."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except BonehpoError as error:
            say(f"Error: {error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            goes_on = " What is finished is kept; the same command goes on from there."
            say(f"Interrupted.{goes_on if ctx.invoked_subcommand in RESUMABLE else ''}", err=True)
            ctx.exit(130)
        except OSError as error:
            if error.errno not in ENVIRONMENT_ERRORS:
                raise
            say(f"Error: {error.filename or 'a file'} cannot be written: {error.strerror}", err=True)
            ctx.exit(1)


@click.group(cls=_Program, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--verbose", is_flag=True, help="Say more of what is done.")
@click.version_option(package_name="bonehpo")
def main(verbose: bool) -> None:
    """Set up logging, and take SIGTERM for Ctrl-C; `HELP` is what a person reads."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")
    with contextlib.suppress(ValueError):  # not in the main thread: the host program keeps its handlers
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(_signum: int, _frame: FrameType | None) -> None:
    """SIGTERM is an interruption like Ctrl-C."""
    raise KeyboardInterrupt


for command in (
    new,
    status,
    phantom,
    prepare,
    inspect,
    verify,
    network,
    search,
    show,
    audit,
    reproduce,
    sweep,
    explain,
    compare,
    ablate,
    strain,
    report,
    promote,
    predict,
    ui,
    sync,
    doctor,
):
    main.add_command(command)
