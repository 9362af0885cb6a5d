"""SQL and data frames over a catalog, with DuckDB: only the files that matter are opened.

`query` is what `catalog.sql` calls, `frames` what a table's `to_arrow` and its like do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gigapi_metadata.sql.engine import engine_for
from gigapi_metadata.sql.names import Names
from gigapi_metadata.sql.plan import Plan, Planner, Scanned
from gigapi_metadata.sql.relation import Query, Relation

if TYPE_CHECKING:
    from gigapi_metadata.catalog import Catalog

__all__ = ["Plan", "Relation", "Scanned", "query"]


def query(catalog: Catalog, text: str) -> Relation:
    """See `Catalog.sql`."""
    planner = Planner(engine_for(catalog), Names(catalog), catalog.table)
    return Relation(Query(planner, text))
