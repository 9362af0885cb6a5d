"""SQL and data frames over a catalog, with DuckDB: only the files that matter are opened.

`query` is what `catalog.sql` calls, `frames` what a table's `to_arrow` and its like do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gigapi_metadata.sql.engine import engine_for
from gigapi_metadata.sql.names import Names
from gigapi_metadata.sql.plan import Plan, Planner, Scanned
from gigapi_metadata.sql.relation import Query, Relation

if TYPE_CHECKING:
    from collections.abc import Callable

    from gigapi_metadata.catalog import Catalog

__all__ = ["Plan", "Relation", "Scanned", "query", "table_of"]


def query(catalog: Catalog, text: str) -> Relation:
    """See `Catalog.sql`."""
    planner = Planner(engine_for(catalog.layers, catalog.root), Names(catalog), catalog.table)
    return Relation(Query(planner, text))


async def table_of(opened: Callable[[], Catalog], text: str) -> Any:
    """See `AsyncCatalog.sql`. `opened` opens the catalog, in the thread that uses it."""
    import asyncio

    running: list[Relation] = []

    def work() -> Any:
        with opened() as catalog:
            running.append(query(catalog, text))
            return running[0].to_arrow_table()

    try:
        return await asyncio.to_thread(work)
    except asyncio.CancelledError:
        for relation in running:
            relation.interrupt()
        raise
