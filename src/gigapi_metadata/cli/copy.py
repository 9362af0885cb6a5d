"""`copy`, `export`, `import`: a catalog's content into another catalog, into a file and back."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gigapi_metadata.cli import output
from gigapi_metadata.cli.context import open_catalog, settings
from gigapi_metadata.cli.errors import DONE, FAILED, Failed, NothingFound, WrongUsage
from gigapi_metadata.cli.options import Parser, add_command, checked_name, positive
from gigapi_metadata.cli.progress import progress_bar

if TYPE_CHECKING:
    from gigapi_metadata.catalog import Catalog
    from gigapi_metadata.copying import Difference, Format, TableReport, Wanted

LISTED = 100
"""So many differences are listed for people; --json has them all."""

_COPY = """\
Copy entries and plans (merges, moves, drops) from one catalog to another, of any kind: FROM and TO
are URLs as --catalog takes them. What is there already is left alone, so it may be killed and
repeated, and doing it twice changes nothing. Nothing is removed in TO, and nothing planned anew.

With --verify nothing is written: both sides are compared, entry by entry (exit code 1: they
differ).
"""

_EXPORT = """\
Write the catalog into one file: entries and plans as NDJSON, one JSON object a line (*.ndjson,
*.jsonl, or - for stdout); or entries as Parquet, one row each (*.parquet).
"""

_IMPORT = """\
Add what `export` has written to the catalog (- reads NDJSON from stdin). As with copy, what is
there already is left alone, and a line that can't be used ends it; the batches before are kept.
"""


def add(commands: Any) -> None:
    """Add the commands."""
    parser = add_command(commands, "copy", "copy a catalog into another one", _COPY)
    parser.add_argument("source", metavar="FROM", help="the catalog's URL, or its folder")
    parser.add_argument("target", metavar="TO", help="where it goes; made if it is not there")
    _add_wanted(parser)
    parser.add_argument(
        "--to-layers",
        metavar="NAME=URL",
        action="append",
        help="the layers of TO, if they are not those of --layers",
    )
    _add_writing(parser)
    parser.add_argument(
        "--verify", action="store_true", help="compare both sides instead of copying"
    )
    parser.set_defaults(run=run_copy)
    parser = add_command(commands, "export", "write the catalog into one file", _EXPORT)
    _add_file(parser, "the file, replaced when it is complete; - for stdout")
    parser.set_defaults(run=run_export)
    parser = add_command(commands, "import", "add an exported file to the catalog", _IMPORT)
    _add_file(parser, "the file; - for stdin")
    _add_writing(parser)
    parser.set_defaults(run=run_import)


def _add_wanted(parser: Parser) -> None:
    parser.add_argument(
        "wanted", metavar="DB[.TABLE]", nargs="?", help="this database or table only"
    )


def _add_file(parser: Parser, help: str) -> None:
    parser.add_argument("file", metavar="FILE", help=help)
    _add_wanted(parser)
    parser.add_argument(
        "--format", choices=("ndjson", "parquet"), help="by default told by the name's ending"
    )


def _add_writing(parser: Parser) -> None:
    parser.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        default=5000,
        help="entries written at a time (default: 5000)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be written, change nothing"
    )


def run_copy(args: argparse.Namespace) -> int:
    """Copy FROM to TO, or compare the two."""
    from gigapi_metadata.copying import Writer, copy_table, tables_of

    started = time.perf_counter()
    wanted = _wanted(args)
    with _open(args, "FROM", args.source) as source, _open(args, "TO", args.target) as target:
        if _same_place(source, target):
            raise WrongUsage("FROM and TO are the same catalog")
        tables = tables_of(source, wanted)
        if args.verify:
            return _verify(args, source, target, wanted)
        writer = Writer(target, args.batch_size, dry_run=args.dry_run)
        with progress_bar(lambda: _days(source, tables), "copying", "days") as advance:
            for name in tables:
                copy_table(source.table(*name), writer, advance)
    return _report(args, writer.reports, started, "copied")


def run_export(args: argparse.Namespace) -> int:
    """Write the catalog into FILE."""
    from gigapi_metadata.copying import export, tables_of

    started = time.perf_counter()
    wanted, format = _wanted(args), _format(args)
    with open_catalog(args) as catalog:
        tables = tables_of(catalog, wanted)
        with progress_bar(lambda: _days(catalog, tables), "exporting", "days") as advance:
            reports = export(catalog, tables, args.file, format, advance)
    return _report(args, reports, started, "exported")


def run_import(args: argparse.Namespace) -> int:
    """Add what FILE holds to the catalog."""
    from gigapi_metadata.copying import Writer, load

    started = time.perf_counter()
    wanted, format = _wanted(args), _format(args)
    with open_catalog(args, writes=True) as catalog:
        writer = Writer(catalog, args.batch_size, dry_run=args.dry_run)
        with progress_bar(lambda: None, "importing", "records") as advance:
            load(args.file, format, writer, wanted, advance)
    return _report(args, writer.reports, started, "imported")


# What is worked on


def _wanted(args: argparse.Namespace) -> Wanted:
    from gigapi_metadata.copying import Wanted

    if args.wanted is None:
        return Wanted()
    database, dot, table = args.wanted.partition(".")
    checked_name("database", database)
    return Wanted(database, checked_name("table", table) if dot else "")


def _format(args: argparse.Namespace) -> Format:
    from gigapi_metadata.copying import format_of

    found: Format | None = args.format or format_of(args.file)
    if found is None:
        raise WrongUsage(
            f"the name {args.file} tells no format: end it in .ndjson or .parquet, or say --format"
        )
    if args.file == "-" and found == "parquet":
        raise WrongUsage("Parquet needs a file, it can't be streamed; - goes with NDJSON")
    return found


def _open(args: argparse.Namespace, which: str, url: str) -> Catalog:
    """One side of the copy. Only what the command line says of layers counts, or the file or the
    environment; never where these have their own catalog."""
    from gigapi_metadata.catalog import connect, parse
    from gigapi_metadata.errors import InvalidConfiguration

    own: dict[str, Any] = {"catalog": url}
    if which == "TO" and args.to_layers:
        own |= {"layers": args.to_layers, "command_layers": []}
    try:
        found = settings(argparse.Namespace(**vars(args) | own))
        target = parse(url)
        is_read = which == "FROM" or args.verify
        if is_read and target.module != "redis" and not os.path.exists(target.address or "."):
            raise Failed(f"{which}: there is no catalog at {target.address}")
        return connect(url, found.layers, found.merge_configurations)
    except WrongUsage as fault:
        raise WrongUsage(str(fault).replace("argument --catalog", f"argument {which}")) from fault
    except InvalidConfiguration as fault:
        raise WrongUsage(f"argument {which}: {fault}") from fault


def _same_place(source: Catalog, target: Catalog) -> bool:
    """Whether both are the same, as far as their URLs and folders tell."""
    one, other = source.connection, target.connection
    if type(one) is not type(other):
        return False
    if hasattr(one, "places"):
        return bool(one.places.homes & other.places.homes)
    if hasattr(one, "path"):
        return bool(os.path.realpath(one.path) == os.path.realpath(other.path))
    return repr(one) == repr(other)


def _days(catalog: Catalog, tables: Sequence[tuple[str, str]]) -> int:
    from gigapi_metadata.names import day_of

    return sum(len({day_of(dir) for dir in catalog.paths(*name)}) for name in tables)


# What is said about it


def _report(
    args: argparse.Namespace, reports: Sequence[TableReport], started: float, done: str
) -> int:
    summary = _summary(args, reports, time.perf_counter() - started)
    to_stdout = getattr(args, "file", "") == "-" and done == "exported"
    if to_stdout:
        output.note(_headline(summary, done))
    elif args.json:
        output.write_json(summary)
    else:
        _write_text(summary, done)
    if not summary["entries"] and not summary["plans"]:
        raise NothingFound("there are no entries and no plans" + _of(args))
    return DONE


def _of(args: argparse.Namespace) -> str:
    return f" of {args.wanted}" if args.wanted else ""


_COUNTS = ("entries", "written", "plans", "plans_written")


def _summary(
    args: argparse.Namespace, reports: Sequence[TableReport], seconds: float
) -> dict[str, Any]:
    import msgspec

    found = [each for each in reports if each.entries or each.plans]
    totals: dict[str, Any] = {name: sum(getattr(each, name) for each in found) for name in _COUNTS}
    return totals | {
        "tables": [msgspec.structs.asdict(each) for each in found],
        "dry_run": getattr(args, "dry_run", False),
        "seconds": round(seconds, 3),
    }


def _headline(summary: dict[str, Any], done: str) -> str:
    return (
        f"{output.count(summary['entries'], 'file')} and {output.count(summary['plans'], 'plan')} "
        f"of {output.count(len(summary['tables']), 'table')} {done}, "
        f"{output.period(summary['seconds'])}"
    )


def _write_text(summary: dict[str, Any], done: str) -> None:
    remark = " (dry run: nothing was changed)" if summary["dry_run"] else ""
    output.write(_headline(summary, done) + remark)
    for label, total, written in (
        ("entries", summary["entries"], summary["written"]),
        ("plans", summary["plans"], summary["plans_written"]),
    ):
        if total:
            there = f", {total - written:,} were there already" if total > written else ""
            output.write(f"  {label:<8} {written:>9,} written{there}")


# Comparing


def _verify(args: argparse.Namespace, source: Catalog, target: Catalog, wanted: Wanted) -> int:
    from gigapi_metadata.copying import differences, tables_of

    here = tables_of(source, wanted)
    tables = sorted({*here, *tables_of(target, wanted)})
    counts = {"missing": 0, "extra": 0, "different": 0}
    listed: list[dict[str, Any]] = []
    compared = 0

    def days() -> int:
        return _days(source, tables)

    with progress_bar(days, "comparing", "days") as advance:

        def counted(entries: int) -> None:
            nonlocal compared
            compared += entries
            advance(1)

        for name in tables:
            for each in differences(source.table(*name), target.table(*name), counted):
                counts[each.kind] += 1
                if args.json or len(listed) < LISTED:
                    listed.append(_object(each))
    if args.json:
        output.write_json({"compared": compared, **counts, "differences": listed})
    else:
        _write_differences(compared, counts, listed)
    if not compared:
        raise NothingFound("neither side has entries" + _of(args))
    return FAILED if any(counts.values()) else DONE


def _object(found: Difference) -> dict[str, Any]:
    return {
        "database": found.database,
        "table": found.table,
        "path": found.path,
        "difference": found.kind,
        "here": found.here,
        "there": found.there,
    }


def _write_differences(
    compared: int, counts: dict[str, int], listed: Sequence[dict[str, Any]]
) -> None:
    total = sum(counts.values())
    output.write(
        f"{output.count(compared, 'entry').replace('entrys', 'entries')} compared, "
        + (f"{total:,} differ" if total else "all are the same")
    )
    remarks = {
        "missing": "not in TO",
        "extra": "only in TO",
        "different": "not the same in both",
    }
    for kind, number in counts.items():
        if number:
            output.write(f"  {kind:<10} {number:>9,}  {remarks[kind]}")
    for each in listed:
        fields = "; ".join(
            f"{name}: {each['here'][name]!r} here, {each['there'][name]!r} there"
            for name in each["here"]
        )
        place = f"{each['difference']}: {each['database']}.{each['table']} {each['path']}"
        output.note(f"{place}: {fields}" if fields else place)
    if total > len(listed):
        output.note(f"… and {total - len(listed):,} more; --json lists them all")
