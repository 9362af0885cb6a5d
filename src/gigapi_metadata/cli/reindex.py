"""`reindex`: what queries by time find files with, made anew."""

from __future__ import annotations

import argparse
from typing import Any

from gigapi_metadata.cli import output
from gigapi_metadata.cli.context import open_catalog
from gigapi_metadata.cli.errors import DONE
from gigapi_metadata.cli.options import add_command, add_table, table_name

_DESCRIPTION = """\
Make the index anew that queries by time use, from the entries. Only Redis catalogs keep one beside
their entries. It notices by itself what GigAPI changes; this is for when somebody has changed its
keys by hand (check finds out). May run beside everybody else.
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "reindex", "make a table's time index anew", _DESCRIPTION)
    add_table(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the index anew."""
    from gigapi_metadata.cli.tables import check_table, known_tables
    from gigapi_metadata.index.base import Reindexable

    name = table_name(args)
    with open_catalog(args) as catalog:
        check_table(known_tables(catalog), *name)
        index = catalog.table(*name)
        if has_index := isinstance(index, Reindexable):
            index.reindex()
    if args.json:
        output.write_json({"database": name.database, "table": name.table, "reindexed": has_index})
    elif has_index:
        output.note(f"{name}: the time index is made anew")
    else:
        output.note(f"{name}: nothing to do, this catalog keeps no index beside its entries")
    return DONE
