"""`rebuild`: a catalog from the Parquet files alone."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from gigapi_metadata.cli import output
from gigapi_metadata.cli.context import open_catalog
from gigapi_metadata.cli.errors import DONE, FAILED, Failed, NothingFound
from gigapi_metadata.cli.options import add_command, checked_name, positive
from gigapi_metadata.cli.progress import progress_bar
from gigapi_metadata.cli.scan import cpus
from gigapi_metadata.cli.storages import storages_of

if TYPE_CHECKING:
    from gigapi_metadata.checking import RebuildReport
    from gigapi_metadata.checking.rebuild import BadFile

LISTED = 100
"""So many files are listed for people; --json has them all."""

_DESCRIPTION = """\
Make the catalog anew from the Parquet files of all layers, after it was lost. Files that were
merged into others, or moved, and only wait to be deleted are left out as far as the files tell.

Refuses a table of which the catalog knows something, but with --force: then what is there stays,
and what is missing is added. So a rebuild that was killed goes on.
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "rebuild", "make a catalog from the files alone", _DESCRIPTION)
    parser.add_argument(
        "wanted",
        metavar="DB[.TABLE]",
        nargs="?",
        help="this database or table only; split at the first dot",
    )
    parser.add_argument(
        "--database",
        metavar="DB",
        help="this database only, if its name holds a dot; the argument is then a table of it",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="add to tables that are not empty; what they have stays",
    )
    parser.add_argument("--dry-run", action="store_true", help="read and decide, change nothing")
    parser.add_argument("--writer-id", metavar="NAME", default="", help="whose files they are")
    parser.add_argument(
        "--root", metavar="FOLDER", help="where the files are, if the catalog has no layers"
    )
    parser.add_argument("--time-column", metavar="NAME", help="as for scan")
    parser.add_argument(
        "--jobs", type=positive, metavar="N", help="processes that read files (default: the CPUs)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Rebuild the tables."""
    from gigapi_metadata.checking import (
        Footers,
        count_files,
        is_empty,
        rebuild_table,
        tables_in,
    )

    started = time.perf_counter()
    if args.writer_id:
        checked_name("writer", args.writer_id)
    database, table = _wanted(args)
    with open_catalog(args, writes=True) as catalog:
        storages = storages_of(args, catalog)
        tables = [
            name
            for name in tables_in(storages)
            if database in ("", name[0]) and table in ("", name[1])
        ]
        full = [name for name in tables if not is_empty(catalog.table(*name))]
        if full and not args.force:
            raise Failed(
                f"the catalog is not empty: it knows of {'.'.join(full[0])}; nothing was changed. "
                "--force adds what is missing, check compares it with the files"
            )
        with (
            Footers(args.jobs or cpus(), args.time_column) as footers,
            progress_bar(lambda: count_files(storages, tables), "rebuilding") as advance,
        ):
            reports = [
                rebuild_table(
                    catalog.table(*name),
                    storages,
                    footers,
                    writer_id=args.writer_id,
                    dry_run=args.dry_run,
                    tell=advance,
                )
                for name in tables
            ]
    summary = _summary(args, reports, time.perf_counter() - started)
    if args.json:
        output.write_json(summary)
    else:
        _write_text(summary, reports)
    if not summary["found"]:
        dotted = args.wanted is not None and "." in args.wanted and args.database is None
        hint = "; a database whose name holds a dot goes with --database" if dotted else ""
        raise NothingFound(f"the layers hold no Parquet files of such a table{hint}")
    return FAILED if summary["bad"] else DONE


def _wanted(args: argparse.Namespace) -> tuple[str, str]:
    """The database and the table to rebuild, "" for all."""
    database, dot, table = (args.wanted or "").partition(".")
    if args.database is not None:
        database, table = args.database, args.wanted or ""
        dot = "." if args.wanted is not None else ""
    if args.wanted is not None or args.database is not None:
        checked_name("database", database)
    if dot:
        checked_name("table", table)
    return database, table


_COUNTS = ("found", "registered", "rows", "known", "leaving")
_LISTS = ("left_out", "bad", "doubtful")


def _summary(
    args: argparse.Namespace, reports: list[RebuildReport], seconds: float
) -> dict[str, Any]:
    totals = {name: sum(getattr(each, name) for each in reports) for name in _COUNTS}
    lists = {name: sum(len(getattr(each, name)) for each in reports) for name in _LISTS}
    return {
        **totals,
        **lists,
        "tables": [_object(each) for each in reports],
        "dry_run": args.dry_run,
        "seconds": round(seconds, 3),
    }


def _object(report: RebuildReport) -> dict[str, Any]:
    import msgspec

    return {
        **msgspec.structs.asdict(report),
        **{
            name: [
                {"path": output.utf8(each.path), "layer": each.layer, "reason": each.reason}
                for each in getattr(report, name)
            ]
            for name in ("left_out", "bad")
        },
    }


def _write_text(summary: dict[str, Any], reports: list[RebuildReport]) -> None:
    output.write(
        f"{output.count(summary['found'], 'file')} in {output.count(len(reports), 'table')}, "
        f"{output.period(summary['seconds'])}"
        + (" (dry run: nothing was changed)" if summary["dry_run"] else "")
    )
    for label, remark in (
        ("registered", f"{summary['rows']:,} rows"),
        ("known", "in the catalog already, left as they are"),
        ("leaving", "wait to be deleted, by the catalog"),
        ("left_out", "their rows are in other files as well"),
        ("bad", ""),
        ("doubtful", "rows may count twice"),
    ):
        number = summary[label]
        if number or label == "registered":
            shown = label.replace("_", " ")
            output.write(f"  {shown:<11} {number:>9,}" + (f"  {remark}" if remark else ""))
    for report in reports:
        name = f"{report.database}.{report.table}"
        _list("left out", [_line(name, each) for each in report.left_out])
        _list("bad", [_line(name, each) for each in report.bad])
        _list("doubtful", [f"{name}: {each}" for each in report.doubtful])


def _line(table: str, file: BadFile) -> str:
    layer = f"[{file.layer}] " if file.layer else ""
    return f"{table} {layer}{file.path}: {file.reason}"


def _list(label: str, lines: list[str]) -> None:
    for line in lines[:LISTED]:
        output.note(f"{label}: {line}")
    if len(lines) > LISTED:
        output.note(f"{label}: … and {len(lines) - LISTED:,} more; --json lists them all")
