"""`doctor`: whether a catalog is safe where it stands."""

from __future__ import annotations

import argparse
from typing import Any

from gigapi_metadata.cli import output
from gigapi_metadata.cli.context import configured_url, open_catalog, settings
from gigapi_metadata.cli.errors import DONE, FAILED
from gigapi_metadata.cli.options import add_command

_DESCRIPTION = """\
Look at the catalog's server or files, and at the storage of each layer: one line for each check,
what is wrong and the command that mends it. Changes nothing.

The exit code is for monitors: 0 when there is no error, 1 when there is one; with --strict a
warning counts as well.
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "doctor", "say what is wrong with the catalog's surroundings", _DESCRIPTION
    )
    parser.add_argument(
        "--allow-eviction",
        action="store_true",
        help="a Redis that deletes keys when memory is full is no error",
    )
    parser.add_argument(
        "--write-probe",
        action="store_true",
        help="also write a small file into each layer, and delete it",
    )
    parser.add_argument("--root", metavar="FOLDER", help="where files are, without layers")
    parser.add_argument("--strict", action="store_true", help="warnings make the exit code 1, too")
    parser.add_argument("--quiet", action="store_true", help="warnings and errors only")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Examine, print, and tell by the exit code."""
    from gigapi_metadata.doctor import Doctor, examine, worst

    url = configured_url(settings(args))
    wanted = Doctor(args.allow_eviction, args.write_probe, args.root)
    with open_catalog(args) as catalog:
        found = list(examine(catalog, url, wanted))
    bad = [each for each in found if each.level in ("warning", "error")]
    shown = bad if args.quiet else found
    if args.json:
        output.write_json(shown)
    else:
        for each in shown:
            output.write(output.printable(each.line()))
    fails = ("error", "warning") if args.strict else ("error",)
    return FAILED if worst(found) in fails else DONE
