"""The public classes on SQLite. Each takes the catalog's file, or a connection to share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from gigapi_metadata.index.aio import AsyncIndex
from gigapi_metadata.index.base import Family, MergeRows, table_verbs
from gigapi_metadata.index.databases import AsyncDBIndex, DBIndex
from gigapi_metadata.index.sync import Index
from gigapi_metadata.index.values import AsyncKVStore, KVStore
from gigapi_metadata.model import Layer
from gigapi_metadata.planning import DEFAULT_DROP_GRACE_S, DEFAULT_LEASE_S
from gigapi_metadata.stores.sqlite.connection import (
    AsyncSQLiteConnection,
    SQLiteConnection,
    Synchronous,
)
from gigapi_metadata.stores.sqlite.store import Clock, SQLiteStore

PathLike = str | os.PathLike[str]


def _connection(
    path: PathLike | SQLiteConnection, synchronous: Synchronous = "NORMAL"
) -> tuple[SQLiteConnection, bool]:
    """The connection, and whether it was made here."""
    if isinstance(path, SQLiteConnection):
        return path, False
    return SQLiteConnection(path, synchronous=synchronous), True


def _async_connection(
    path: PathLike | AsyncSQLiteConnection, synchronous: Synchronous = "NORMAL"
) -> tuple[AsyncSQLiteConnection, bool]:
    if isinstance(path, AsyncSQLiteConnection):
        return path, False
    return AsyncSQLiteConnection(path, synchronous=synchronous), True


class SQLiteIndex(Index[SQLiteConnection]):
    """A table of the embedded catalog: one SQLite file, no server, many processes.

    path: the catalog's file, made by the first write; or a SQLiteConnection to share.
    layers, merge_configurations, lease_s, drop_grace_s: as for RedisIndex.
    synchronous: "NORMAL" survives a crash of any process, "FULL" a power cut as well.
    clock: tells the Unix time in seconds; it decides when plans are due and leases run out.
    """

    def __init__(
        self,
        path: PathLike | SQLiteConnection,
        database: str,
        table: str,
        layers: Iterable[Layer] | None = None,
        merge_configurations: MergeRows | None = None,
        *,
        lease_s: int = DEFAULT_LEASE_S,
        drop_grace_s: int = DEFAULT_DROP_GRACE_S,
        synchronous: Synchronous = "NORMAL",
        clock: Clock = time.time,
    ) -> None:
        connection, owned = _connection(path, synchronous)
        verbs = table_verbs(
            SQLiteStore(clock, connection.broken_off),
            database,
            table,
            layers,
            merge_configurations,
            lease_s,
            drop_grace_s,
        )
        super().__init__(connection, owned, verbs)


class AsyncSQLiteIndex(AsyncIndex[AsyncSQLiteConnection]):
    """As SQLiteIndex, awaitable: transactions run in threads."""

    def __init__(
        self,
        path: PathLike | AsyncSQLiteConnection,
        database: str,
        table: str,
        layers: Iterable[Layer] | None = None,
        merge_configurations: MergeRows | None = None,
        *,
        lease_s: int = DEFAULT_LEASE_S,
        drop_grace_s: int = DEFAULT_DROP_GRACE_S,
        synchronous: Synchronous = "NORMAL",
        clock: Clock = time.time,
    ) -> None:
        connection, owned = _async_connection(path, synchronous)
        verbs = table_verbs(
            SQLiteStore(clock, connection.broken_off),
            database,
            table,
            layers,
            merge_configurations,
            lease_s,
            drop_grace_s,
        )
        super().__init__(connection, owned, verbs)


class SQLiteDBIndex(DBIndex[SQLiteConnection]):
    """What is in an embedded catalog."""

    def __init__(self, path: PathLike | SQLiteConnection) -> None:
        connection, owned = _connection(path)
        super().__init__(connection, owned, SQLiteStore())


class AsyncSQLiteDBIndex(AsyncDBIndex[AsyncSQLiteConnection]):
    """As SQLiteDBIndex, awaitable."""

    def __init__(self, path: PathLike | AsyncSQLiteConnection) -> None:
        connection, owned = _async_connection(path)
        super().__init__(connection, owned, SQLiteStore())


class SQLiteKVStore(KVStore[SQLiteConnection]):
    """Raw bytes in the catalog's file."""

    def __init__(self, path: PathLike | SQLiteConnection) -> None:
        connection, owned = _connection(path)
        super().__init__(connection, owned, SQLiteStore())


class AsyncSQLiteKVStore(AsyncKVStore[AsyncSQLiteConnection]):
    """As SQLiteKVStore, awaitable."""

    def __init__(self, path: PathLike | AsyncSQLiteConnection) -> None:
        connection, owned = _async_connection(path)
        super().__init__(connection, owned, SQLiteStore())


BLOCKING = Family(SQLiteConnection, SQLiteIndex, SQLiteDBIndex, SQLiteKVStore)
AWAITABLE = Family(AsyncSQLiteConnection, AsyncSQLiteIndex, AsyncSQLiteDBIndex, AsyncSQLiteKVStore)
