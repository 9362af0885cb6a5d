"""`sql`: a query over the catalog's tables. The work is in sql_run.py, which only it loads."""

from __future__ import annotations

import argparse
from typing import Any

from gigapi_metadata.cli.options import add_command

_DESCRIPTION = """\
Run a SQL query over the tables of the catalog, with DuckDB: database.table, or table where one
database alone has it. Only files that may hold rows it asks for are opened. It is read-only.

Without QUERY, it is read from the standard input; at a terminal there is a prompt: \\? explains it.
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "sql", "query the tables with SQL", _DESCRIPTION)
    parser.add_argument("query", metavar="QUERY", nargs="?", help="the query, or - for stdin")
    parser.add_argument("--file", "-f", metavar="FILE", help="the file that holds the query")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--csv", action="store_true", help="print CSV with a line of names")
    output.add_argument("--ndjson", action="store_true", help="print a JSON object a line")
    output.add_argument("--parquet", metavar="FILE", help="write the rows to a Parquet file")
    parser.add_argument(
        "--explain",
        action="store_true",
        help="print which files would be read, and why; run nothing",
    )
    parser.add_argument(
        "--root",
        metavar="FOLDER",
        help="where the files are, if no layers are configured (default: the catalog's folder)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the query, or the prompt."""
    from gigapi_metadata.cli import sql_run

    return sql_run.run(args)
