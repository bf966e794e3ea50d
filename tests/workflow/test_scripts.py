"""A search from a script that has no `if __name__ == "__main__"`, in which workers are killed and take up again."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from places import PROJECT
from tiny_study import TOML, make_study
from tracked import new_project

SCRIPT = """
from pathlib import Path

import bonehpo

with Path("imported.txt").open("a") as file:
    file.write(f"{__name__}\\n")

study = bonehpo.Study("studies/TB")
outcome = study.search(n_trials=1, workers=2)
Path("outcome.txt").write_text(f"{outcome.n_complete} {outcome.has_optimum}")
"""
PATIENCE_S = 240


def workers_of(process: subprocess.Popen[str]) -> set[int]:
    """Processes that were spawned for it to work."""
    found = set()
    for child in psutil.Process(process.pid).children():
        try:
            if "spawn_main" in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                found.add(child.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_for(happened, process: subprocess.Popen[str]) -> None:
    """Wait until something has happened while a process runs."""
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert process.poll() is None, "it ended before that"
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


@pytest.mark.torture
def test_workers_do_not_run_the_script_again_and_neither_do_those_that_take_their_place(tmp_path):
    root = new_project(tmp_path / "project")
    fits = make_study(root, TOML.replace("epochs = 3", "epochs = 1")).fits
    (root / "search.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "search.py"]
    with subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: any(fits.glob("*.npz")), process)
            killed = workers_of(process)
            assert len(killed) == 2
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: len(workers_of(process) - killed) == 2, process)
            _, said = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert (process.returncode, said) == (0, "")
    assert (root / "imported.txt").read_text() == "__main__\n"
    assert (root / "outcome.txt").read_text() == "1 True"
