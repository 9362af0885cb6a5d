"""The rows of a query as text, CSV, JSON or Parquet; and what a query reads."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gigapi_metadata.cli import output
from gigapi_metadata.cli.errors import WrongUsage

if TYPE_CHECKING:
    from gigapi_metadata.catalog import Catalog
    from gigapi_metadata.sql import Plan, Relation, Scanned

Writer = Callable[["Relation"], None]

_MOST_ROWS = 40
"""A table for people shows so many, and says how many there are."""

_BATCH = 10_000


def writer(args: argparse.Namespace) -> Writer:
    """How the rows are to be written.

    Raises:
        WrongUsage: in two ways at once.
    """
    wanted = {"--csv": args.csv, "--ndjson": args.ndjson, "--parquet": args.parquet}
    given = [option for option, value in wanted.items() if value]
    if args.json and given:
        raise WrongUsage(f"argument {given[0]}: not allowed with argument --json")
    if args.explain and given:
        raise WrongUsage(f"argument {given[0]}: not allowed with argument --explain")
    if args.parquet:
        return lambda relation: write_parquet(relation, args.parquet)
    if args.json:
        return write_json
    if args.csv:
        return write_csv
    return write_ndjson if args.ndjson else write_table


def write_table(relation: Relation) -> None:
    """A table as DuckDB draws it; what EXPLAIN says as it is."""
    if relation.plan.statement.explain:
        for row in relation.fetchall():
            output.write(row[1].rstrip("\n"))
    else:
        output.write(_box(relation))


def _box(relation: Relation) -> str:
    width = 0
    if sys.stdout.isatty():
        with suppress(OSError):
            width = os.get_terminal_size(sys.stdout.fileno()).columns
    box: str = relation._box(max_rows=_MOST_ROWS, max_width=width or 10_000)
    return box.rstrip("\n")


def write_csv(relation: Relation) -> None:
    """CSV: a line of names, then the values as DuckDB writes them; NULL is empty."""
    import csv

    names = list(relation.columns)
    lines = csv.writer(sys.stdout, lineterminator="\n")
    rows = relation.project("CAST(COLUMNS(*) AS VARCHAR)").iter_rows(_BATCH)
    lines.writerow(names)
    lines.writerows(rows)


def write_json(relation: Relation) -> None:
    """A JSON array, one row a line."""
    separator = "[\n"
    for line in _objects(relation):
        sys.stdout.write(separator + line)
        separator = ",\n"
    output.write("[]" if separator == "[\n" else "\n]")


def write_ndjson(relation: Relation) -> None:
    """A JSON object a line."""
    for line in _objects(relation):
        output.write(line)


def _objects(relation: Relation) -> Iterator[str]:
    """Each row as a JSON object. What JSON has no number for (NaN, infinity) is null."""
    columns = zip(relation.columns, relation.types, strict=True)
    floats = [name.replace('"', '""') for name, kind in columns if str(kind) in ("DOUBLE", "FLOAT")]
    rows = relation
    if floats:
        finite = ", ".join(f'CASE WHEN isfinite("{n}") THEN "{n}" END AS "{n}"' for n in floats)
        rows = relation.project(f"* REPLACE ({finite})")
    rows = rows.set_alias("answer").project("CAST(to_json(answer) AS VARCHAR)")
    for (text,) in rows.iter_rows(_BATCH):
        yield text


def write_parquet(relation: Relation, name: str) -> None:
    """A Parquet file, which replaces another of that name once it is complete."""
    import pyarrow.parquet as pq

    unfinished = f"{name}.{os.getpid()}.tmp"
    reader = relation.to_arrow_reader(_BATCH * 10)
    count = 0
    try:
        with pq.ParquetWriter(unfinished, reader.schema, compression="zstd") as file:
            for batch in reader:
                file.write_batch(batch)
                count += batch.num_rows
        os.replace(unfinished, name)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(unfinished)
        raise
    output.note(f"{output.count(count, 'row')} in {name}")


# What a query reads


def write_plan(catalog: Catalog, plan: Plan, as_json: bool) -> None:
    """For each mention of a table: the files that are read, and why others are not."""
    if as_json:
        output.write_json([_plan_object(catalog, table) for table in plan.tables])
        return
    for number, table in enumerate(plan.tables):
        if number:
            output.write("")
        _write_scanned(catalog, table)
    if not plan.tables:
        output.note("it reads no files")


def _write_scanned(catalog: Catalog, table: Scanned) -> None:
    entries = [file.entry for file in table.files]
    everything = catalog.table(table.database, table.table).get_all()
    outside = len(everything) - len(entries) - len(table.refuted)
    size = output.size(sum(entry.size_bytes for entry in entries))
    of = output.size(sum(entry.size_bytes for entry in everything))
    output.write(f"{table.database}.{table.table}")
    output.write(
        f"  reads      {len(entries):,} of {output.count(len(everything), 'file')}, {size} of {of}"
    )
    output.write(f"  condition  {output.printable(str(table.condition))}")
    if not table.window.unbounded:
        output.write(
            f"  time       {table.time_column} from {output.iso(table.window.after)} "
            f"to {output.iso(table.window.before)}"
        )
    output.write(f"  left out   {outside:,} by time, {len(table.refuted):,} by statistics")
    for entry in entries:
        output.write(f"  read       {output.printable(entry.path)}")
    for entry in table.refuted:
        reason = table.condition.why_not(entry, table.time_column) or ""
        output.write(f"  left out   {output.printable(f'{entry.path}: {reason}')}")


def _plan_object(catalog: Catalog, table: Scanned) -> dict[str, Any]:
    everything = catalog.table(table.database, table.table).get_all()
    condition = table.condition
    return {
        "database": table.database,
        "table": table.table,
        "condition": str(condition),
        "time_column": table.time_column,
        "after": None if table.window.unbounded else table.window.after,
        "before": None if table.window.unbounded else table.window.before,
        "files": len(everything),
        "by_time": len(everything) - len(table.files) - len(table.refuted),
        "read": [output.entry_object(file.entry) for file in table.files],
        "left_out": [
            {"path": entry.path, "reason": condition.why_not(entry, table.time_column)}
            for entry in table.refuted
        ],
    }
