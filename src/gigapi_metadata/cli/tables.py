"""Whether a table that somebody names is there, and which one may have been meant."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import TYPE_CHECKING

from gigapi_metadata.cli.errors import NothingFound
from gigapi_metadata.cli.output import PROGRAM

if TYPE_CHECKING:
    from gigapi_metadata.catalog import Catalog


def known_tables(catalog: Catalog) -> list[tuple[str, str]]:
    """(database, table) of all that hold files or plans, sorted."""
    found = {(name, table) for name in catalog.databases() for table in catalog.tables(name)}
    return sorted(found.union(catalog.planned()))


def check_table(known: Collection[tuple[str, str]], database: str, table: str) -> None:
    """Refuse a table, or with table "" a database, that is not among the `known` ones.

    Raises:
        NothingFound: naming those that are spelled like it.
    """
    if table:
        if (database, table) in known:
            return
        name, names = f"{database}.{table}", [".".join(each) for each in known]
    else:
        name, names = database, sorted({each[0] for each in known})
        if name in names:
            return
    similar = get_close_matches(name, names, 3)
    kind = "table" if table else "database"
    if similar:
        hint = f"did you mean {' or '.join(similar)}?"
    elif any(each[0] == database for each in known):
        hint = f"`{PROGRAM} tables {database}` lists those that hold files"
    else:
        hint = f"`{PROGRAM} databases` lists those that hold files"
    raise NothingFound(f"the catalog has no {kind} {name}; {hint}")
