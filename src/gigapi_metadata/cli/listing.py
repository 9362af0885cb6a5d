"""`databases`, `tables`, `paths`: what a catalog holds, one name a line."""

from __future__ import annotations

import argparse
from typing import Any

from gigapi_metadata.cli import output
from gigapi_metadata.cli.context import open_catalog
from gigapi_metadata.cli.errors import DONE, NothingFound
from gigapi_metadata.cli.options import add_command, add_table, checked_name, table_name


def add(commands: Any) -> None:
    """Add the commands."""
    parser = add_command(commands, "databases", "list the databases that hold files")
    parser.set_defaults(run=databases)
    parser = add_command(commands, "tables", "list the tables of a database that hold files")
    parser.add_argument("database", metavar="DB", help="the database")
    parser.set_defaults(run=tables)
    parser = add_command(commands, "paths", "list the folders of a table that hold files")
    add_table(parser)
    parser.set_defaults(run=paths)


def databases(args: argparse.Namespace) -> int:
    """List the databases."""
    with open_catalog(args) as catalog:
        names = catalog.databases()
    return _write(args, names, "the catalog holds no files")


def tables(args: argparse.Namespace) -> int:
    """List the tables of a database."""
    database = checked_name("database", args.database)
    with open_catalog(args) as catalog:
        names = catalog.tables(database)
    return _write(args, names, f"database {database} has no tables that hold files")


def paths(args: argparse.Namespace) -> int:
    """List the folders of a table."""
    name = table_name(args)
    with open_catalog(args) as catalog:
        names = catalog.paths(*name)
    return _write(args, names, f"{name} has no files")


def _write(args: argparse.Namespace, names: list[str], otherwise: str) -> int:
    output.write_names(names, args.json)
    if not names:
        raise NothingFound(otherwise)
    return DONE
