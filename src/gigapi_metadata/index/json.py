"""The public classes on folders. Each takes the catalog's root folder, or a connection to share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from gigapi_metadata.index.aio import AsyncIndex
from gigapi_metadata.index.base import Family, MergeRows, table_verbs
from gigapi_metadata.index.databases import AsyncDBIndex, DBIndex
from gigapi_metadata.index.sync import Index
from gigapi_metadata.index.values import AsyncKVStore, KVStore
from gigapi_metadata.index.verbs import TableVerbs
from gigapi_metadata.model import Layer, check_layers
from gigapi_metadata.planning import DEFAULT_DROP_GRACE_S, DEFAULT_LEASE_S, Rules
from gigapi_metadata.stores.json import values
from gigapi_metadata.stores.json.connection import AsyncJSONConnection, JSONConnection
from gigapi_metadata.stores.json.places import Places
from gigapi_metadata.stores.json.store import Clock, JSONStore

PathLike = str | os.PathLike[str]


def _connection(
    root: PathLike | JSONConnection, layers: Iterable[Layer] | None = None
) -> tuple[JSONConnection, bool]:
    """The connection, and whether it was made here."""
    return (
        (root, False) if isinstance(root, JSONConnection) else (JSONConnection(root, layers), True)
    )


def _async_connection(
    root: PathLike | AsyncJSONConnection, layers: Iterable[Layer] | None = None
) -> tuple[AsyncJSONConnection, bool]:
    if isinstance(root, AsyncJSONConnection):
        return root, False
    return AsyncJSONConnection(root, layers), True


def _verbs(
    connection: JSONConnection | AsyncJSONConnection,
    database: str,
    table: str,
    layers: tuple[Layer, ...],
    rows: MergeRows | None,
    lease_s: int,
    drop_grace_s: int,
    clock: Clock,
) -> TableVerbs:
    def rules() -> Rules:
        return verbs.rules

    places = Places(connection.root, layers)
    store = JSONStore(places, clock, rules, broken_off=connection.broken_off)
    verbs = table_verbs(store, database, table, layers, rows, lease_s, drop_grace_s)
    places.table(verbs.ref)  # refuses names that no folder may have, before anything is done
    return verbs


class JSONIndex(Index[JSONConnection]):
    """A table kept in folders as GigAPI keeps it without a Redis: a `metadata.json` in each.

    root: the catalog's folder, made by the first write; or a JSONConnection to share. It holds the
        files of a table without layers; with layers, their own folders do.
    layers, merge_configurations, lease_s, drop_grace_s: as for RedisIndex. Every process must list
        the same layers.
    clock: tells the Unix time in seconds; it decides when plans are due and leases run out.
    """

    def __init__(
        self,
        root: PathLike | JSONConnection,
        database: str,
        table: str,
        layers: Iterable[Layer] | None = None,
        merge_configurations: MergeRows | None = None,
        *,
        lease_s: int = DEFAULT_LEASE_S,
        drop_grace_s: int = DEFAULT_DROP_GRACE_S,
        clock: Clock = time.time,
    ) -> None:
        known = check_layers(layers)
        connection, owned = _connection(root, known)
        rows = merge_configurations
        verbs = _verbs(connection, database, table, known, rows, lease_s, drop_grace_s, clock)
        super().__init__(connection, owned, verbs)


class AsyncJSONIndex(AsyncIndex[AsyncJSONConnection]):
    """As JSONIndex, awaitable: requests run in threads."""

    def __init__(
        self,
        root: PathLike | AsyncJSONConnection,
        database: str,
        table: str,
        layers: Iterable[Layer] | None = None,
        merge_configurations: MergeRows | None = None,
        *,
        lease_s: int = DEFAULT_LEASE_S,
        drop_grace_s: int = DEFAULT_DROP_GRACE_S,
        clock: Clock = time.time,
    ) -> None:
        known = check_layers(layers)
        connection, owned = _async_connection(root, known)
        rows = merge_configurations
        verbs = _verbs(connection, database, table, known, rows, lease_s, drop_grace_s, clock)
        super().__init__(connection, owned, verbs)


class JSONDBIndex(DBIndex[JSONConnection]):
    """What is in a catalog of folders."""

    def __init__(
        self, root: PathLike | JSONConnection, layers: Iterable[Layer] | None = None
    ) -> None:
        connection, owned = _connection(root, layers)
        super().__init__(connection, owned, JSONStore(connection.places))


class AsyncJSONDBIndex(AsyncDBIndex[AsyncJSONConnection]):
    """As JSONDBIndex, awaitable."""

    def __init__(
        self, root: PathLike | AsyncJSONConnection, layers: Iterable[Layer] | None = None
    ) -> None:
        connection, owned = _async_connection(root, layers)
        super().__init__(connection, owned, JSONStore(connection.places))


class JSONKVStore(KVStore[JSONConnection]):
    """Raw bytes in one JSON file: an object of base64 texts.

    path: the file (it is one, or is called *.json), or the catalog's folder.
    """

    def __init__(self, path: PathLike | JSONConnection) -> None:
        connection, owned = _connection(path)
        file = values.file_at(connection.root) if owned else values.file_in(connection.root)
        super().__init__(connection, owned, JSONStore(connection.places, values_file=file))


class AsyncJSONKVStore(AsyncKVStore[AsyncJSONConnection]):
    """As JSONKVStore, awaitable."""

    def __init__(self, path: PathLike | AsyncJSONConnection) -> None:
        connection, owned = _async_connection(path)
        file = values.file_at(connection.root) if owned else values.file_in(connection.root)
        super().__init__(connection, owned, JSONStore(connection.places, values_file=file))


BLOCKING = Family(JSONConnection, JSONIndex, JSONDBIndex, JSONKVStore)
AWAITABLE = Family(AsyncJSONConnection, AsyncJSONIndex, AsyncJSONDBIndex, AsyncJSONKVStore)
