"""From catalog to catalog, table by table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from gigapi_metadata.catalog import Catalog
from gigapi_metadata.copying.reading import days_of, entries_of, plans_of
from gigapi_metadata.copying.writer import Writer
from gigapi_metadata.index.sync import Index


class Wanted(NamedTuple):
    """Which tables: all, those of one database, or one. "" means any."""

    database: str = ""
    table: str = ""

    def takes(self, database: str, table: str) -> bool:
        """Whether a table is one of them."""
        return self.database in ("", database) and self.table in ("", table)


ALL = Wanted()


def tables_of(catalog: Catalog, wanted: Wanted = ALL) -> list[tuple[str, str]]:
    """(database, table) of what there is, also of tables that have nothing left but plans."""
    databases = [wanted.database] if wanted.database else catalog.databases()
    found = {(name, table) for name in databases for table in catalog.tables(name)}
    found.update(catalog.planned())
    return sorted(each for each in found if wanted.takes(*each))


def copy_table(
    source: Index[Any], writer: Writer, advance: Callable[[int], None] = lambda days: None
) -> None:
    """Copy one table: its entries, then its plans. `advance` is told of each day that is done."""
    name = (source.database, source.table)
    for day in days_of(source):
        writer.add(*name, entries_of(source, day))
        advance(1)
    writer.add_plans(*name, plans_of(source))
