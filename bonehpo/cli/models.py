"""Commands on models: promote, predict, ui."""

import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import click

from bonehpo.cli.console import (
    complete_study,
    json_option,
    memory_option,
    print_json,
    print_next,
    print_table,
    say,
    storage_option,
    study_option,
)
from bonehpo.config import StudyFolder
from bonehpo.errors import PromotionRefused
from bonehpo.workflow.plan import flag
from bonehpo.workflow.study import Study


@click.command(epilog="Example: bonehpo promote --bone TB")
@study_option
@storage_option
@click.option("--force", is_flag=True, help="Promote although something speaks against it; needs --because.")
@click.option("--because", metavar="REASON", help="Why; stands in the model card.")
@json_option
def promote(folder: StudyFolder, storage: str | None, force: bool, because: str | None, as_json: bool) -> None:
    """Register the optimum's best network, calibrated, as bonehpo-<bone> and move the alias `champion` to it.

    Refused when folds are missing; when the nested accuracy does not beat chance, or is below the baseline trial by more
    than chance; or when the audit raises a flag. The last three give way to --force --because REASON.
    """
    if force != bool(because and because.strip()):
        raise click.UsageError("--force and --because REASON belong together: give both or neither")
    study = Study(folder.path, storage=storage)
    try:
        version = study.promote(because)
    except PromotionRefused as refusal:
        say(f"Error: {refusal}", err=True)
        print_next(study, flag(folder, storage), "promote", err=True)
        raise SystemExit(1) from refusal
    if as_json:
        print_json({name: getattr(version, name) for name in ("name", "version", "uri")})
        return
    note = " It was trained on phantoms: it knows nothing of real bone." if version.ran_on == "phantom" else ""
    say(f"{version.name} version {version.version} is the champion: {version.uri}.{note}")
    say(f"Next: bonehpo predict {flag(folder)} SCAN  (judges a new scan)", len("Next: "))
    serve = f"mlflow models serve -m {version.uri} --env-manager local"
    click.echo(f"Or:   MLFLOW_TRACKING_URI={version.tracking_uri} {serve}")


@click.command(epilog="Example: bonehpo predict --bone TB new-scan/")
@study_option
@click.argument("scan", metavar="SCAN")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for CSV and picture.  [default: where you are]")
@click.option("--first", metavar="SCAN", help="First scan of the same specimen: say how far SCAN lies from it.")
@memory_option
@json_option
def predict(folder: StudyFolder, scan: str, out: Path | None, first: str | None, as_json: bool) -> None:
    """Run the champion on SCAN, prepared as its training scans were.

    SCAN is a volume in any format that prepare reads, as FILE.h5::/dataset; for a store of 2-D slices an image or a
    folder of images. Writes the probability of every slice as CSV, and a picture. Where training scans were registered,
    SCAN is laid on the one of --first.
    """
    study = Study(folder.path)
    found = study.predict(scan, first=first)
    csv, picture = found.write(out or Path.cwd())
    if as_json:
        print_json(
            {
                "verdict": found.verdict,
                "model": f"{found.model} version {found.version}",
                "ran_on": found.ran_on,
                "p_failed": found.mean,
                "planes": found.planes,
                "registration": found.registration,
                "csv": str(csv),
                "picture": str(picture),
            }
        )
        return
    print_table(
        ["plane", "slices", "called failed", "mean p(failed)", "verdict"],
        [[p.plane, str(p.n_slices), f"{p.share_failed:.2f}", f"{p.mean:.3f}", p.verdict] for p in found.planes],
    )
    say(f"Scan: {found.verdict} (mean p(failed) {found.mean:.3f}), by {found.model} version {found.version}")
    if found.ran_on == "phantom":
        say("Caution: that network was trained on phantoms; it knows nothing of real bone.")
    if found.registration:
        say(found.registration)
    click.echo(f"Slices: {csv}\nPicture: {picture}")
    print_next(study, flag(folder), "predict")


@click.command(epilog="Example: bonehpo ui --bone TB")
@click.option(
    "--bone",
    "studies",
    metavar="NAME",
    multiple=True,
    shell_complete=complete_study,
    help="Open the trials of studies/NAME; may be given again.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Port to listen on.")
@click.option(
    "--open/--no-open", "opens", default=None, help="Open the first page in a browser.  [default: on a desktop]"
)
def ui(studies: tuple[str, ...], port: int, opens: bool | None) -> None:
    """Open the MLflow UI on the recorded runs, for this machine alone. Ctrl-C ends it.

    With --bone TB two pages: one row for each trial with its hyperparameters and its accuracy, the best first, and charts of
    them; and trials by their start, under each its folds.
    """
    from bonehpo.tracking.ui import serve_project

    def announce(pages: Sequence[tuple[str, str]]) -> None:
        for what, address in pages:
            click.echo(f"{what}: {address}")
        if _has_desktop() if opens is None else opens:
            webbrowser.open(pages[0][1])

    serve_project(Path.cwd(), port, announce, studies)


def _has_desktop() -> bool:
    """True if a browser would open in a window: one for terminals would take the terminal over."""
    has_windows = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return has_windows and sys.stdout.isatty()
