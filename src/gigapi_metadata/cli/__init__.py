"""The command line. One module per group of commands: parse, call one verb, render.

docs/cli.md describes every command and option. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command (by default that of `sys.argv`); the exit code. Never raises for a fault."""
    try:
        if argv is None:
            # The process is ours, and loading modules leaves little garbage: a tenth of a
            # command's time went into looking for it.
            gc.set_threshold(50_000)
        from gigapi_metadata.cli.app import run

        return run(argv)
    except KeyboardInterrupt:  # before there was anything to interrupt
        return 130
