"""`files`: which files have data of a time window."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from gigapi_metadata.cli import output
from gigapi_metadata.cli.context import open_catalog
from gigapi_metadata.cli.errors import DONE, NothingFound, WrongUsage
from gigapi_metadata.cli.options import add_command, add_table, positive, table_name

if TYPE_CHECKING:
    from gigapi_metadata.model import IndexEntry

_DESCRIPTION = """\
The files whose data overlaps a time window, ordered by their first time and path.

A TIME is -1h, -30m or -1h30m (ago), now, 2024-01-15, 2024-01-15T14:00:00.123456789Z (local time
without a zone), or a number of seconds, ms, us or ns since 1970. Both bounds are inclusive.
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "files", "list the files of a table", _DESCRIPTION)
    add_table(parser)
    parser.add_argument("--after", metavar="TIME", help="files with data at or after this")
    parser.add_argument("--before", metavar="TIME", help="files with data at or before this")
    parser.add_argument("--folder", default="", metavar="PREFIX", help="paths that begin so")
    parser.add_argument("--iteration", type=positive, default=0, metavar="N", help="merge level")
    parser.add_argument("--layer", metavar="NAME", help="files in this layer")
    parser.add_argument("--limit", type=positive, metavar="N", help="no more than the first N")
    parser.add_argument("--paths", action="store_true", help="print nothing but paths, one a line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List the files."""
    name = table_name(args)
    if args.paths and args.json:
        raise WrongUsage("argument --paths: not allowed with argument --json")
    after, before = _bounds(args)
    with open_catalog(args) as catalog:
        found = catalog.table(*name).query(
            after=after,
            before=before,
            folder=args.folder,
            iteration=args.iteration,
            layer=args.layer,
        )
    shown = found if args.limit is None else found[: args.limit]
    if args.json:
        output.write_json([output.entry_object(entry) for entry in shown])
    elif args.paths:
        for entry in shown:
            output.write(entry.path)
    elif shown:
        _write_table(shown)
    if not found:
        raise NothingFound(f"{name} has no such files")
    if len(shown) < len(found):
        output.note(f"the first {len(shown):,} of {output.count(len(found), 'file')}")
    return DONE


def _bounds(args: argparse.Namespace) -> tuple[int | None, int | None]:
    from gigapi_metadata.cli.times import parse_time

    now_ns = time.time_ns()
    bounds: list[int | None] = []
    for option, text in (("--after", args.after), ("--before", args.before)):
        try:
            bounds.append(None if text is None else parse_time(text, now_ns))
        except ValueError as fault:
            raise WrongUsage(f"argument {option}: {fault}") from fault
    after, before = bounds
    if after is not None and before is not None and after > before:
        raise WrongUsage(f"--after {args.after} is later than --before {args.before}")
    return after, before


def _write_table(entries: list[IndexEntry]) -> None:
    """Columns that are empty throughout are left out."""
    has_layers = any(entry.layer for entry in entries)
    has_writers = any(entry.writer_id for entry in entries)
    headings = "FROM TO >ROWS >SIZE"
    headings += " LAYER" * has_layers + " WRITER" * has_writers + " PATH"
    output.write_table(
        headings,
        (
            [
                output.iso(entry.min_time),
                output.iso(entry.max_time),
                f"{entry.row_count:,}",
                output.size(entry.size_bytes),
                *([entry.layer] if has_layers else []),
                *([entry.writer_id] if has_writers else []),
                entry.path,
            ]
            for entry in entries
        ),
    )
