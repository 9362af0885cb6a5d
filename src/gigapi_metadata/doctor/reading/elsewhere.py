"""Another process's view of a file."""

from __future__ import annotations

import subprocess
import sys

TRY_S = 20.0


def try_elsewhere(program: str, path: str) -> str:
    """What `program`, run by another process with `path` as its argument, prints.

    The locks that SQLite takes belong to a process: only another one shows that they hold.
    """
    run = subprocess.run(
        [sys.executable, "-I", "-c", program, path],
        capture_output=True,
        text=True,
        timeout=TRY_S,
        check=False,
    )
    return run.stdout.strip()
