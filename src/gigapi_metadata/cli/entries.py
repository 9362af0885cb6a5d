"""`show` and `rm`: single entries of a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gigapi_metadata.cli import output
from gigapi_metadata.cli.context import open_catalog
from gigapi_metadata.cli.errors import DONE, NothingFound, WrongUsage
from gigapi_metadata.cli.options import add_command, add_table, table_name

if TYPE_CHECKING:
    from gigapi_metadata.model import IndexEntry

_AT_ONCE = 5000

_RM_DESCRIPTION = """\
Take files out of the catalog. Queries stop seeing them at once; 30 seconds later, when readers that
had listed them are done, they are due to be deleted from storage by whoever carries out the drop
plans. Paths that are not there are listed on stderr and have no effect.
"""


def add(commands: Any) -> None:
    """Add the commands."""
    parser = add_command(commands, "show", "show all that is known of a file")
    add_table(parser)
    parser.add_argument("path", metavar="PATH", help="as `files` prints it")
    parser.set_defaults(run=show)
    parser = add_command(commands, "rm", "take files out of the catalog", _RM_DESCRIPTION)
    add_table(parser)
    parser.add_argument(
        "paths", metavar="PATH", nargs="+", help="as `files` prints it; - reads them from stdin"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go, change nothing")
    parser.set_defaults(run=rm)


def show(args: argparse.Namespace) -> int:
    """Show one entry."""
    name = table_name(args)
    path = _checked(args.path)
    with open_catalog(args) as catalog:
        entry = catalog.table(*name).get(path)
    if args.json:
        output.write_json(None if entry is None else output.entry_object(entry))
    elif entry is not None:
        _write_entry(entry)
    if entry is None:
        raise NothingFound(f"{name} has no file {path!r}")
    return DONE


def rm(args: argparse.Namespace) -> int:
    """Remove entries."""
    name = table_name(args)
    paths = list(dict.fromkeys(_checked(path) for path in _wanted(args.paths)))
    removed: list[str] = []
    with open_catalog(args) as catalog:
        index = catalog.table(*name)
        for start in range(0, len(paths), _AT_ONCE):
            there = [path for path in paths[start : start + _AT_ONCE] if index.get(path)]
            if not args.dry_run:
                index.batch((), there)
            removed += there
    gone = set(removed)
    missing = [path for path in paths if path not in gone]
    if args.json:
        output.write_json({"removed": removed, "missing": missing, "dry_run": args.dry_run})
    else:
        for path in removed:
            output.write(output.printable(path))
    for path in missing:
        output.note(f"not in {name}: {path}")
    if not removed:
        raise NothingFound(f"none of {output.count(len(paths), 'path')} is in {name}")
    verb = "would be removed" if args.dry_run else "removed; to be deleted in 30 s"
    output.note(f"{output.count(len(removed), 'file')} {verb}")
    return DONE


def _wanted(paths: list[str]) -> Iterator[str]:
    for path in paths:
        if path == "-":
            yield from filter(None, (line.rstrip("\r\n") for line in sys.stdin))
        else:
            yield path


def _checked(path: str) -> str:
    from gigapi_metadata.errors import InvalidName
    from gigapi_metadata.names import check_path

    try:
        return check_path(path)
    except InvalidName as fault:
        raise WrongUsage(str(fault)) from fault


def _write_entry(entry: IndexEntry) -> None:
    from gigapi_metadata.names import iteration_of

    for label, value in (
        ("table", f"{entry.database}.{entry.table}"),
        ("path", entry.path),
        ("layer", entry.layer),
        ("writer", entry.writer_id),
        ("iteration", str(iteration_of(entry.path))),
        ("size", f"{output.size(entry.size_bytes)} ({entry.size_bytes:,} bytes)"),
        ("rows", f"{entry.row_count:,}"),
        ("from", f"{output.iso(entry.min_time)}  ({entry.min_time})"),
        ("to", f"{output.iso(entry.max_time)}  ({entry.max_time})"),
        ("arrived", f"{output.iso(entry.chunk_time)}  ({entry.chunk_time})"),
    ):
        output.write(f"{label:<10} {output.printable(value) or '-'}")
    lowest, highest = entry.min_data or {}, entry.max_data or {}
    columns = list(dict.fromkeys([*lowest, *highest]))
    if columns:
        output.write("")
        output.write_table(
            "COLUMN MIN MAX",
            ([name, _value(lowest.get(name)), _value(highest.get(name))] for name in columns),
        )


def _value(value: Any) -> str:
    return "-" if value is None else str(value)
