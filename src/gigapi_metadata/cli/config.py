"""`config`: what is in force, and where each value came from."""

from __future__ import annotations

import argparse
from typing import Any

from gigapi_metadata.cli import output
from gigapi_metadata.cli.context import configured_url, settings
from gigapi_metadata.cli.errors import DONE
from gigapi_metadata.cli.options import add_command

_DESCRIPTION = """\
Print every setting, its value and where that came from: an argument, the environment, the file
given with --config, or the default. Passwords and keys are hidden.
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "config", "print the settings in force", _DESCRIPTION)
    parser.set_defaults(run=config)


def config(args: argparse.Namespace) -> int:
    """Print the settings."""
    found = settings(args)
    url = configured_url(found)
    if args.json:
        output.write_json(
            [{"key": each.key, "value": each.value, "source": each.source} for each in found.shown]
        )
    else:
        rows = [[each.key, _shown(each.value), each.source] for each in found.shown]
        output.write_table("setting value from", rows)
    if not url:
        output.note("no catalog is named: commands use the SQLite catalog of the folder worked on")
    for name in found.unknown:
        output.note(f"unknown, and not used: {name}")
    return DONE


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)
