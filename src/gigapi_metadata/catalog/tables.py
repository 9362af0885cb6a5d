"""An open catalog: many tables over one connection, under one configuration."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from gigapi_metadata.errors import InvalidConfiguration
from gigapi_metadata.model import Layer, check_layers, merge_configurations

if TYPE_CHECKING:
    import pyarrow

    from gigapi_metadata.index.aio import AsyncIndex
    from gigapi_metadata.index.base import Family, MergeRows
    from gigapi_metadata.index.sync import Index
    from gigapi_metadata.index.values import AsyncKVStore, KVStore
    from gigapi_metadata.sql import Relation

_SHOWN_TABLES = 50
"""A notebook shows so many tables of a catalog."""


class Settings:
    """What every table of a catalog is opened with."""

    def __init__(
        self,
        layers: Iterable[Layer] | None,
        rows: MergeRows | None,
        lease_s: int,
        drop_grace_s: int,
        durability: str | None,
    ) -> None:
        self.root: str | None = None
        self.layers = list(check_layers(layers))
        self.merge_configurations = list(merge_configurations(rows))
        self._options = {"lease_s": lease_s, "drop_grace_s": drop_grace_s}
        self._durability = durability

    def family(self, module: str, kind: str) -> Family:
        """The classes of a kind of store. Folders have to be known before the first table is."""
        family: Family = getattr(_load(module), kind)
        options: dict[str, Any] = {} if module != "json" else {"layers": self.layers}
        if self._durability is not None:
            options |= _durable(module, self._durability)
        return family._replace(connection=partial(family.connection, **options))

    def open(self, family: Family, connection: Any, database: str, table: str) -> Any:
        return family.table(
            connection,
            database,
            table,
            self.layers,
            self.merge_configurations,
            **self._options,
        )


def _durable(module: str, durability: str) -> dict[str, Any]:
    """What the connection of a kind of store takes for it. JSON folders flush every write."""
    if module == "redis":
        return {"durability": durability}
    if durability not in ("local", "fsynced"):
        raise InvalidConfiguration(
            f"durability must be local or fsynced where the catalog is files, not {durability!r}"
        )
    if module == "sqlite":
        return {"synchronous": "FULL" if durability == "fsynced" else "NORMAL"}
    return {}


class Catalog:
    """A catalog of many tables over one connection, which it closes.

    Tables share its layers and merge configurations; a table's own may be assigned. `root` is the
    folder of the data files when there are no layers: that of the catalog, None for one on a
    server; it may be assigned.
    """

    root: str | None

    def __init__(self, family: Family, address: str, settings: Settings) -> None:
        self._family = family
        self._settings = settings
        self.connection = family.connection(address)
        self._databases = family.databases(self.connection)
        self.root = settings.root
        self.kv: KVStore[Any] = family.values(self.connection)

    @property
    def layers(self) -> list[Layer]:
        """The storage tiers, hottest first."""
        return list(self._settings.layers)

    def table(self, database: str, table: str) -> Index[Any]:
        """The index of one table. Cheap; nothing is written until something is added."""
        index: Index[Any] = self._settings.open(self._family, self.connection, database, table)
        index.root = self.root
        return index

    def sql(self, query: str) -> Relation:
        """A SQL query over the catalog's tables, as a relation of DuckDB. Read-only and lazy: rows
        are read by `fetchall`, `df`, `pl`, `to_arrow_table` and so on.

        Tables are `database.table`, or `table` where one database alone has it. Each mention of
        one is narrowed to the files that its own conditions leave; see docs/sql.md. A file that a
        worker has replaced since is no error, see `gigapi_metadata.sql.Relation`.

        Raises:
            QueryFailed: it is no query, names no table of the catalog, or DuckDB refuses it. The
                message marks the place.
            StorageError: a file can't be read.
            MissingExtra: duckdb is not installed.
        """
        from gigapi_metadata.sql import query as over

        return over(self, query)

    def planned(self) -> list[tuple[str, str]]:
        """(database, table) of those that may hold plans, also when their last file is gone."""
        found: list[tuple[str, str]] = self._databases.planned()
        return found

    def databases(self) -> list[str]:
        """The databases that hold files, sorted."""
        found: list[str] = self._databases.databases()
        return found

    def tables(self, database: str) -> list[str]:
        """The tables of `database` that hold files, sorted."""
        found: list[str] = self._databases.tables(database)
        return found

    def paths(self, database: str, table: str) -> list[str]:
        """The folders of a table that hold files, sorted."""
        found: list[str] = self._databases.paths(database, table)
        return found

    def close(self) -> None:
        """Close the connection. May be called again."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Catalog on {self.connection!r}>"

    def _repr_html_(self) -> str:
        from gigapi_metadata.html import table_html

        names = [
            (database, table) for database in self.databases() for table in self.tables(database)
        ]
        cut = f", the first {_SHOWN_TABLES} shown" if len(names) > _SHOWN_TABLES else ""
        noun = "table" if len(names) == 1 else "tables"
        caption = f"{self!r}: {len(names):,} {noun}{cut}"
        return table_html(("database", "table"), names[:_SHOWN_TABLES], caption)


class AsyncCatalog:
    """As Catalog, awaitable. For one event loop. `root` as there."""

    root: str | None

    def __init__(self, family: Family, address: str, settings: Settings) -> None:
        self._family = family
        self._settings = settings
        self.root = settings.root
        self.connection = family.connection(address)
        self._databases = family.databases(self.connection)
        self.kv: AsyncKVStore[Any] = family.values(self.connection)

    @property
    def layers(self) -> list[Layer]:
        """See `Catalog.layers`."""
        return list(self._settings.layers)

    def table(self, database: str, table: str) -> AsyncIndex[Any]:
        """See `Catalog.table`."""
        index: AsyncIndex[Any] = self._settings.open(self._family, self.connection, database, table)
        index.root = self.root
        return index

    async def sql(self, query: str) -> pyarrow.Table:
        """The rows of a SQL query as a pyarrow table; see `Catalog.sql`. It runs in a thread,
        and is stopped when the task is cancelled. A relation could not be awaited, so there is
        none here."""
        from gigapi_metadata.sql.awaiting import table_of_query

        return await table_of_query(self, query)

    async def planned(self) -> list[tuple[str, str]]:
        """See `Catalog.planned`."""
        found: list[tuple[str, str]] = await self._databases.planned()
        return found

    async def databases(self) -> list[str]:
        """See `Catalog.databases`."""
        found: list[str] = await self._databases.databases()
        return found

    async def tables(self, database: str) -> list[str]:
        """See `Catalog.tables`."""
        found: list[str] = await self._databases.tables(database)
        return found

    async def paths(self, database: str, table: str) -> list[str]:
        """See `Catalog.paths`."""
        found: list[str] = await self._databases.paths(database, table)
        return found

    async def close(self) -> None:
        """Close the connection. May be called again."""
        await self.connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncCatalog on {self.connection!r}>"


def _load(module: str) -> Any:
    return import_module(f"gigapi_metadata.index.{module}")
