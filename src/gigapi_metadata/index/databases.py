"""What is in a catalog, blocking and awaitable."""

from __future__ import annotations

from gigapi_metadata.index.base import AsyncConnectionT, AsyncShell, ConnectionT, Shell
from gigapi_metadata.names import check_name
from gigapi_metadata.stores.base import Steps, Store


class CatalogVerbs:
    """What is there: databases, tables, folders."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def planned(self) -> Steps[list[tuple[str, str]]]:
        """See `DBIndex.planned`."""
        found = yield from self.store.planned()
        return [(ref.database, ref.table) for ref in found]

    def databases(self) -> Steps[list[str]]:
        """See `DBIndex.databases`."""
        return (yield from self.store.databases())

    def tables(self, database: str) -> Steps[list[str]]:
        """See `DBIndex.tables`."""
        return (yield from self.store.tables(check_name("database", database)))

    def paths(self, database: str, table: str) -> Steps[list[str]]:
        """See `DBIndex.paths`."""
        ref = self.store.ref(check_name("database", database), check_name("table", table))
        return (yield from self.store.folders(ref))


class DBIndex(Shell[ConnectionT]):
    """Which databases, tables and folders hold files. Read-only."""

    def __init__(self, connection: ConnectionT, owned: bool, store: Store) -> None:
        super().__init__(connection, owned)
        self._verbs = CatalogVerbs(store)

    def planned(self) -> list[tuple[str, str]]:
        """(database, table) of those that may hold plans, also when their last file is gone:
        where a worker looks. Redis scans its keys for it."""
        return self._run(self._verbs.planned())

    def databases(self) -> list[str]:
        """The databases, sorted."""
        return self._run(self._verbs.databases())

    def tables(self, database: str) -> list[str]:
        """The tables of `database`, sorted."""
        return self._run(self._verbs.tables(database))

    def paths(self, database: str, table: str) -> list[str]:
        """The folders of a table, sorted."""
        return self._run(self._verbs.paths(database, table))


class AsyncDBIndex(AsyncShell[AsyncConnectionT]):
    """As DBIndex, awaitable."""

    def __init__(self, connection: AsyncConnectionT, owned: bool, store: Store) -> None:
        super().__init__(connection, owned)
        self._verbs = CatalogVerbs(store)

    async def planned(self) -> list[tuple[str, str]]:
        """See `DBIndex.planned`."""
        return await self._run(self._verbs.planned())

    async def databases(self) -> list[str]:
        """See `DBIndex.databases`."""
        return await self._run(self._verbs.databases())

    async def tables(self, database: str) -> list[str]:
        """See `DBIndex.tables`."""
        return await self._run(self._verbs.tables(database))

    async def paths(self, database: str, table: str) -> list[str]:
        """See `DBIndex.paths`."""
        return await self._run(self._verbs.paths(database, table))
