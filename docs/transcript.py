"""Run the whole journey on a phantom of two states in a terminal of 80 columns, and keep what is said: tutorial/journey.md.

`make transcript` runs it. What is printed is what the commands said, but for the folder in which they ran.
"""

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

PAGE = Path(__file__).parent / "tutorial" / "journey.md"
COLUMNS = 80
JOURNEY = (
    ("Scans", "phantom --bone TB --out phantom --side 64 --states 2 --specimens A1,A2,A3"),
    ("A study begun", "new TB phantom/scans.csv --slices 8"),
    ("From scans to slices", "prepare phantom/scans.csv --bone TB --crop 64 --size 64 --slices 8"),
    ("What is in the store", "inspect --bone TB"),
    ("What a search would take", "search --bone TB --trials 3 --dry-run"),
    ("The search", "search --bone TB --trials 3 --workers 1"),
    ("Can it be believed?", "audit --bone TB"),
    ("What the network looks at", "explain --bone TB --workers 1"),
    ("Everything on one page", "report --bone TB"),
    ("Promotion, which may be refused", "promote --bone TB"),
    ("Promotion all the same", 'promote --bone TB --force --because "a transcript on a phantom"'),
    ("All studies at a glance", "status"),
    ("A new scan", "predict --bone TB phantom/A1/state_02.tif --out answer"),
)
HEAD = """# The journey, as the terminal shows it

Every command of the way, on a phantom of three specimens and two load states, in a terminal of {columns} columns, as
`make transcript` recorded it. A phantom this small teaches a network
little: what matters here are the words between the steps.
"""


def in_terminal(words: list[str], folder: str) -> str:
    """What a command prints into a terminal, progress left out; its last state is what remains on a screen."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "bonehpo", *words], cwd=folder, env=environment, stdout=writer, stderr=writer
    )
    os.close(writer)
    text = b""
    while True:
        try:
            block = os.read(reader, 1 << 16)
        except OSError:
            break
        if not block:
            break
        text += block
    process.wait()
    lines = [
        re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line.rsplit("\r", 1)[-1])
        for line in text.decode().replace("\r\n", "\n").split("\n")
    ]
    kept = [line.replace(folder, "~").rstrip() for line in lines if "━" not in line and "╸" not in line]
    return "\n".join(
        line for line in kept if not re.match(r"(WARNING|I0000|E0000|\d{4}/\d\d/\d\d .* INFO)", line)
    ).strip("\n")


def main() -> None:
    """Record the journey."""
    page = HEAD.format(columns=COLUMNS)
    with tempfile.TemporaryDirectory(prefix="femur") as folder:
        for title, command in JOURNEY:
            said = in_terminal(shlex.split(command), folder)
            page += f"\n## {title}\n\n```console\n$ bonehpo {command}\n{said}\n```\n"
            print(command, flush=True)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
