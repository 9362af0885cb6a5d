"""`demo`: see it work on a small lake. The work itself is in demo_run.py, which only it loads."""

from __future__ import annotations

import argparse
from typing import Any

from gigapi_metadata.cli.options import add_command

FOLDER = "demo-lake"

_DESCRIPTION = """\
Write some hundred small Parquet files into FOLDER, as a service would that stores sensor readings,
register them, and show a few queries and the merges that wait. Then merge them, move the older ones
to a second layer and delete what is left over, and show what that does to the queries. Takes some
seconds.

FOLDER may be an earlier demo's, which is made anew; anything else is left alone. The catalog is
FOLDER's own unless --catalog says otherwise (the environment is not asked); its only table is
demo.readings.
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "demo", "see it work on a small lake", _DESCRIPTION)
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        default=FOLDER,
        help=f"where to write (default: {FOLDER})",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo."""
    from gigapi_metadata.cli.demo_run import run as run_demo

    return run_demo(args)
