"""SQL and frames for asyncio: the work is done in a thread, the catalog is asked in the event loop.

The answer is a whole table, for a relation reads rows whenever it is asked to, and can't be
awaited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from gigapi_metadata.sql.engine import engine_for
from gigapi_metadata.sql.frames import Asked, read
from gigapi_metadata.sql.names import Names
from gigapi_metadata.sql.plan import Planner
from gigapi_metadata.sql.relation import Query, Relation

if TYPE_CHECKING:
    from gigapi_metadata.catalog import AsyncCatalog
    from gigapi_metadata.index.aio import AsyncIndex
    from gigapi_metadata.model import IndexEntry, Layer

T = TypeVar("T")


async def table_of_query(catalog: AsyncCatalog, text: str) -> Any:
    """See `AsyncCatalog.sql`."""
    wait = _waiter()

    def relation() -> Relation:
        engine = engine_for(catalog)
        names = Names(_Catalog(catalog, wait))
        planner = Planner(engine, names, lambda *name: _Index(catalog.table(*name), wait))
        return Relation(Query(planner, text))

    return await _in_thread(relation, lambda found: found.to_arrow_table())


async def rows_of_table(index: AsyncIndex[Any], asked: Asked, finish: Callable[[Relation], T]) -> T:
    """What `finish` makes of the rows, in the thread. See `AsyncIndex.to_arrow`."""
    wait = _waiter()
    return await _in_thread(lambda: read(_Index(index, wait), asked), finish)


async def _in_thread(make: Callable[[], Relation], finish: Callable[[Relation], T]) -> T:
    """What `finish` makes of a relation. Cancelled, it stops the query."""
    running: list[Relation] = []

    def work() -> T:
        running.append(make())
        return finish(running[0])

    try:
        return await asyncio.to_thread(work)
    except asyncio.CancelledError:
        for relation in running:
            relation.interrupt()
        raise


Wait = Callable[[Coroutine[Any, Any, Any]], Any]


def _waiter() -> Wait:
    """What lets another thread wait for this event loop."""
    loop = asyncio.get_running_loop()

    def wait(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    return wait


class _Catalog:
    """The names of a catalog, for a thread."""

    def __init__(self, catalog: AsyncCatalog, wait: Wait) -> None:
        self._catalog = catalog
        self._wait = wait

    def databases(self) -> list[str]:
        found: list[str] = self._wait(self._catalog.databases())
        return found

    def tables(self, database: str) -> list[str]:
        found: list[str] = self._wait(self._catalog.tables(database))
        return found


class _Index:
    """The entries of a table, for a thread."""

    def __init__(self, index: AsyncIndex[Any], wait: Wait) -> None:
        self._index = index
        self._wait = wait
        self.database = index.database
        self.table = index.table
        self.layers: list[Layer] = index.layers
        self.root = index.root
        self.connection: Any = index.connection

    def query(self, **options: Any) -> list[IndexEntry]:
        found: list[IndexEntry] = self._wait(self._index.query(**options))
        return found

    def get_all(self) -> list[IndexEntry]:
        found: list[IndexEntry] = self._wait(self._index.get_all())
        return found

    def paths(self) -> list[str]:
        found: list[str] = self._wait(self._index.paths())
        return found
