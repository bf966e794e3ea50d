"""The command line: parse, compose, one call, print. Heavy imports stand inside the commands."""

import contextlib
import errno
import logging
import signal
from types import FrameType
from typing import Any

import click

from bonehpo.cli.models import predict, promote, ui
from bonehpo.cli.reproduction import report, reproduce
from bonehpo.cli.results import ablate, compare, explain, strain, sweep
from bonehpo.cli.scans import inspect, phantom, prepare, verify
from bonehpo.cli.studies import doctor, network, search, show, sync
from bonehpo.errors import BonehpoError

ENVIRONMENT_ERRORS = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT, errno.EFBIG)


class _Program(click.Group):
    """Ends every refusal with one line: exit code 1 for what failed, 130 for what was interrupted."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except BonehpoError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            goes_on = " What is finished is kept; the same command goes on from there."
            click.echo(f"Interrupted.{goes_on if ctx.invoked_subcommand == 'search' else ''}", err=True)
            ctx.exit(130)
        except OSError as error:
            if error.errno not in ENVIRONMENT_ERRORS:
                raise
            click.echo(f"Error: {error.filename or 'a file'} cannot be written: {error.strerror}", err=True)
            ctx.exit(1)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--verbose", is_flag=True, help="Say more of what is done.")
@click.version_option(package_name="bonehpo")
def main(verbose: bool) -> None:
    r"""Search CNN architectures that tell failed from pristine bone in micro-CT slices.

    \b
    The way of one's own scans:   prepare → search → show → promote → predict
    The way without scans:        phantom → prepare → search → show → promote → predict

    Every command works on a study folder: --bone TB means studies/TB.
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")
    with contextlib.suppress(ValueError):  # not in the main thread: the host program keeps its handlers
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(_signum: int, _frame: FrameType | None) -> None:
    """SIGTERM is an interruption like Ctrl-C."""
    raise KeyboardInterrupt


for command in (
    phantom,
    prepare,
    inspect,
    verify,
    network,
    search,
    show,
    sweep,
    explain,
    compare,
    ablate,
    strain,
    report,
    reproduce,
    promote,
    predict,
    ui,
    sync,
    doctor,
):
    main.add_command(command)
