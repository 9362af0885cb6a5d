"""The command line. One module per group of commands: parse, call one verb, render.

docs/cli.md describes every command and option. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command (by default that of `sys.argv`); the exit code. Never raises for a fault."""
    from gigapi_metadata.cli.app import run

    return run(argv)
