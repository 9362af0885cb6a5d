"""`files`: which files may hold what is asked for, and why."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from gigapi_metadata.cli import output
from gigapi_metadata.cli.context import open_catalog
from gigapi_metadata.cli.errors import DONE, NothingFound, WrongUsage
from gigapi_metadata.cli.options import add_command, add_table, positive, table_name

if TYPE_CHECKING:
    from gigapi_metadata.model import IndexEntry
    from gigapi_metadata.pruning import Explanation

_DESCRIPTION = """\
The files whose data overlaps a time window, ordered by their first time and path.

A TIME is -1h, -30m or -1h30m (ago), now, 2024-01-15, 2024-01-15T14:00:00.123456789Z (local time
without a zone), or a number of seconds, ms, us or ns since 1970. Both bounds are inclusive.

--where leaves out files whose statistics prove that none of their rows matches a condition in SQL,
such as "temp > 30 and sensor in ('a', 'b')".
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
    parser.add_argument(
        "--where", metavar="SQL", help="files that may have rows of which this is true"
    )
    parser.add_argument(
        "--time-column", metavar="NAME", help="the column that the catalog's times are of"
    )
    parser.add_argument("--explain", action="store_true", help="show every file's fate, and why")
    parser.add_argument("--limit", type=positive, metavar="N", help="no more than the first N")
    parser.add_argument("--paths", action="store_true", help="print nothing but paths, one a line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List the files."""
    name = table_name(args)
    for one, other in (("paths", "json"), ("explain", "paths"), ("explain", "limit")):
        if getattr(args, one) and getattr(args, other):
            raise WrongUsage(f"argument --{one}: not allowed with argument --{other}")
    after, before = _bounds(args)
    with open_catalog(args) as catalog, _as_wrong_usage():
        index = catalog.table(*name)
        found = index.query(
            after=after,
            before=before,
            folder=args.folder,
            iteration=args.iteration,
            layer=args.layer,
            where=args.where,
            time_column=args.time_column,
            explain=args.explain,
        )
    if args.explain:
        return _explain(args, cast("Explanation", found))
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


@contextmanager
def _as_wrong_usage() -> Iterator[None]:
    from gigapi_metadata.errors import InvalidCondition

    try:
        yield
    except InvalidCondition as fault:
        raise WrongUsage(f"argument --where: {fault}") from fault


def _explain(args: argparse.Namespace, explanation: Explanation) -> int:
    if args.json:
        output.write_json(_explanation_object(explanation))
    else:
        for line in str(explanation).splitlines():
            output.write(output.printable(line))
    if not explanation.decisions:
        raise NothingFound(f"{explanation.table} has no files")
    return DONE


def _explanation_object(explanation: Explanation) -> dict[str, Any]:
    return {
        "table": explanation.table,
        "question": explanation.question,
        "kept": len(explanation.kept),
        "skipped": len(explanation.skipped),
        "kept_bytes": explanation.kept_bytes,
        "skipped_bytes": explanation.skipped_bytes,
        "folders": [
            {
                "folder": folder.path,
                "files": len(folder.decisions),
                "kept": folder.kept,
                "size_bytes": folder.size_bytes,
                "kept_bytes": folder.kept_bytes,
            }
            for folder in explanation.folders
        ],
        "files": [
            {
                "path": decision.entry.path,
                "kept": decision.kept,
                "reason": decision.reason,
                "size_bytes": decision.entry.size_bytes,
            }
            for decision in explanation.decisions
        ],
    }


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
