"""`scan`: register a tree of Parquet files."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING, Any

from gigapi_metadata.cli import output
from gigapi_metadata.cli.context import open_catalog
from gigapi_metadata.cli.errors import DONE, FAILED, NothingFound, WrongUsage
from gigapi_metadata.cli.options import add_command, checked_name, checked_table, positive
from gigapi_metadata.cli.progress import progress_bar

if TYPE_CHECKING:
    from gigapi_metadata.catalog import Catalog
    from gigapi_metadata.scan import BadFile, ScanOptions, TableFolder, TableReport

LISTED = 100
"""So many bad or vanished files are listed for people; --json has them all."""

_DESCRIPTION = """\
Register the Parquet files below ROOT, which is laid out as ROOT/DATABASE/TABLE/data/…; or, with
--database and --table, is the data folder of that one table.

May be run again and again, beside whoever else uses the catalog, and killed at any point: unchanged
files are skipped. Bad files do not stop the rest; they are listed at the end (exit code 1).
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "scan", "register a tree of Parquet files", _DESCRIPTION)
    parser.add_argument("root", metavar="ROOT", help="the folder")
    parser.add_argument("--database", metavar="DB", help="the database; goes with --table")
    parser.add_argument("--table", metavar="TABLE", help="ROOT is this table's data folder")
    parser.add_argument(
        "--time-column",
        metavar="NAME",
        help="the time column (default: the first there is of __timestamp, time, timestamp, ts)",
    )
    parser.add_argument("--layer", metavar="NAME", help="the layer that ROOT is the folder of")
    parser.add_argument("--writer-id", metavar="NAME", default="", help="whose files they are")
    parser.add_argument(
        "--jobs", type=positive, metavar="N", help="processes that read files (default: the CPUs)"
    )
    parser.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        default=5000,
        help="files committed at a time (default: 5000)",
    )
    parser.add_argument(
        "--prune", action="store_true", help="remove entries of which the file is gone"
    )
    parser.add_argument(
        "--reread", action="store_true", help="read files again that seem unchanged"
    )
    parser.add_argument(
        "--follow-links",
        action="store_true",
        help="register what lies behind symbolic links too; the worker leaves that alone",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, change nothing"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Scan ROOT."""
    from gigapi_metadata.scan import Tree, scan_table, strays_below

    started = time.perf_counter()
    if "://" in args.root:
        raise WrongUsage(f"{output.printable(args.root)} is a URL; ROOT must be a local folder")
    if not os.path.isdir(args.root):
        reason = "is not a folder" if os.path.lexists(args.root) else "does not exist"
        raise WrongUsage(f"ROOT {args.root} {reason}")
    tables, bad, links = _tables(args)
    with open_catalog(args, args.root, writes=True) as catalog:
        options = _options(args, catalog)

        def files() -> int:
            trees = (Tree(each.folder, follow_links=args.follow_links) for each in tables)
            return sum(tree.count() for tree in trees)

        with progress_bar(files) as advance:
            reports = [
                scan_table(catalog.table(each.database, each.table), each.folder, options, advance)
                for each in tables
            ]
        if args.table is None:
            gone = [
                scan_table(catalog.table(each.database, each.table), each.folder, options)
                for each in _gone(catalog, args.root, tables)
            ]
            reports += [report for report in gone if report.vanished]
    outside = strays_below(args.root) if args.table is None else 0
    seconds = time.perf_counter() - started
    summary = summarize(reports, bad, links, args.dry_run, seconds, outside)
    if args.json:
        output.write_json(summary)
    else:
        _write_text(summary)
    if not summary["found"] and not summary["vanished"] and not summary["bad"]:
        raise NothingFound(_nothing(args, tables))
    return FAILED if summary["bad"] or summary["prune_refused"] else DONE


def _tables(args: argparse.Namespace) -> tuple[list[TableFolder], list[BadFile], list[str]]:
    """What to scan, what can't be, and the links passed over on the way there."""
    from pathlib import Path

    from gigapi_metadata.scan import BadFile, TableFolder, tables_below

    if (args.database is None) != (args.table is None):
        raise WrongUsage("--database and --table go together")
    if args.table is not None:
        name = checked_table(args.database, args.table)
        return [TableFolder(*name, Path(args.root))], [], []
    tables, faults, links = tables_below(args.root, follow_links=args.follow_links)
    return tables, [BadFile(*fault) for fault in faults], links


def _gone(catalog: Catalog, root: str, tables: list[TableFolder]) -> list[TableFolder]:
    """The tables of the catalog of which not even the data folder is there."""
    from pathlib import Path

    from gigapi_metadata.scan import TableFolder, Tree

    there = {(each.database, each.table) for each in tables}
    named = [
        TableFolder(database, table, Path(root, database, table, "data"))
        for database in catalog.databases()
        for table in catalog.tables(database)
        if (database, table) not in there
    ]
    return [each for each in named if Tree(each.folder).is_gone("")]


def _options(args: argparse.Namespace, catalog: Catalog) -> ScanOptions:
    from gigapi_metadata.scan import ScanOptions

    if args.writer_id:
        checked_name("writer", args.writer_id)
    layers = [layer.name for layer in catalog.layers]
    if args.layer is None and len(layers) > 1:
        raise WrongUsage(f"say with --layer whose folder ROOT is: {', '.join(layers)}")
    if args.layer not in (None, *(layers or [""])):
        known = ", ".join(layers) or "there are none; name it with --layers"
        raise WrongUsage(f"argument --layer: {args.layer!r} is not one of the layers: {known}")
    return ScanOptions(
        time_column=args.time_column,
        layer=args.layer,
        writer_id=args.writer_id,
        jobs=args.jobs or cpus(),
        batch_size=args.batch_size,
        prune=args.prune,
        reread=args.reread,
        dry_run=args.dry_run,
        follow_links=args.follow_links,
    )


def cpus() -> int:
    """How many processors we may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_COUNTS = ("found", "registered", "updated", "unchanged", "leaving", "pruned")


def summarize(
    reports: list[TableReport],
    bad: list[BadFile],
    links: list[str],
    dry_run: bool,
    seconds: float,
    outside: int = 0,
) -> dict[str, Any]:
    """The whole scan as JSON has it."""
    tables = [
        {"database": each.database, "table": each.table, "root": _text(each.root)}
        | {name: getattr(each, name) for name in _COUNTS}
        | {"vanished": len(each.vanished), "bad": len(each.bad)}
        for each in reports
    ]
    totals = {name: sum(getattr(each, name) for each in reports) for name in _COUNTS}
    return totals | {
        "vanished": [
            {"database": each.database, "table": each.table, "path": path}
            for each in reports
            for path in each.vanished
        ],
        "bad": [_bad_object(None, None, fault) for fault in bad]
        + [_bad_object(each.database, each.table, fault) for each in reports for fault in each.bad],
        "links": [_link(None, None, path) for path in links]
        + [_link(each.database, each.table, path) for each in reports for path in each.links],
        "prune_refused": any(each.prune_refused for each in reports),
        "outside": outside,
        "tables": tables,
        "dry_run": dry_run,
        "seconds": round(seconds, 3),
        "files_per_second": round(totals["found"] / seconds) if seconds else 0,
    }


def _bad_object(database: str | None, table: str | None, fault: BadFile) -> dict[str, Any]:
    """A bad file."""
    path = _text(fault.path)
    reason = fault.reason.replace("time_column=...", "--time-column")
    return {"database": database, "table": table, "path": path, "reason": reason}


def _link(database: str | None, table: str | None, path: str) -> dict[str, Any]:
    """A symbolic link that was passed over."""
    return {"database": database, "table": table, "path": _text(path)}


def _text(path: str) -> str:
    """`path`, with what of it is no Unicode text as escapes: JSON can't hold it."""
    return path.encode(errors="backslashreplace").decode()


def _write_text(summary: dict[str, Any]) -> None:
    found, bad, vanished = summary["found"], summary["bad"], summary["vanished"]
    seconds = summary["seconds"]
    output.write(
        f"{output.count(found, 'file')} in {output.count(len(summary['tables']), 'table')}, "
        f"{output.period(seconds)}, {summary['files_per_second']:,} files/s"
        + (" (dry run: nothing was changed)" if summary["dry_run"] else "")
    )
    for label, number, remark in (
        ("registered", summary["registered"], ""),
        ("updated", summary["updated"], ""),
        ("unchanged", summary["unchanged"], ""),
        ("leaving", summary["leaving"], "not in the catalog any more, waiting to be deleted"),
        ("vanished", len(vanished), _vanished_remark(summary)),
        ("bad", len(bad), ""),
    ):
        if number or label == "registered":
            output.write(f"  {label:<11} {number:>9,}" + (f"  {remark}" if remark else ""))
    _list("vanished", [f"{each['database']}.{each['table']} {each['path']}" for each in vanished])
    _list("bad", [_bad_line(each) for each in bad])
    if links := summary["links"]:
        _list("link", [_where(each) for each in links])
        output.note(
            f"{output.count(len(links), 'symbolic link')} passed over, as by the worker; "
            "--follow-links registers what lies behind"
        )
    if outside := summary["outside"]:
        lie, were = ("lies", "was") if outside == 1 else ("lie", "were")
        output.note(
            f"{output.count(outside, 'Parquet file')} {lie} outside <db>/<table>/data and {were} "
            "not registered"
        )


def _vanished_remark(summary: dict[str, Any]) -> str:
    if summary["prune_refused"] and summary["pruned"]:
        return (
            f"{summary['pruned']:,} removed from the catalog; NOT the others: their table has no "
            "file at all, is its storage mounted?"
        )
    if summary["prune_refused"]:
        return "NOT removed: there is no file at all, is the storage mounted?"
    if summary["pruned"]:
        return f"{summary['pruned']:,} removed from the catalog"
    return "in the catalog but not on disk; --prune removes them"


def _bad_line(fault: dict[str, Any]) -> str:
    return f"{_where(fault)}: {fault['reason']}"


def _where(fault: dict[str, Any]) -> str:
    table = f"{fault['database']}.{fault['table']} " if fault["database"] else ""
    return f"{table}{fault['path']}"


def _list(label: str, lines: list[str]) -> None:
    for line in lines[:LISTED]:
        output.note(f"{label}: {line}")
    if len(lines) > LISTED:
        output.note(f"{label}: … and {len(lines) - LISTED:,} more; --json lists them all")


def _nothing(args: argparse.Namespace, tables: list[TableFolder]) -> str:
    if tables:
        return f"{args.root} holds no Parquet files"
    return (
        f"{args.root} has no DATABASE/TABLE/data folders; if it is one table's data folder, name "
        "that with --database and --table"
    )
