"""The metadata engine for time-series data lakes of Parquet files.

Which files exist, what time they cover, what to merge, move and delete: on Redis in GigAPI's own
format, or in one SQLite file without any server. Everything public is importable from here; a name
is loaded when it is first used, so that a program pays only for the store it works with.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gigapi_metadata.catalog import AsyncCatalog, Catalog, connect, connect_async
    from gigapi_metadata.errors import (
        Conflict,
        CorruptState,
        FileExists,
        FileMissing,
        InvalidCondition,
        InvalidConfiguration,
        InvalidEntry,
        InvalidName,
        LeaseLost,
        MergeFailed,
        MetadataError,
        MissingExtra,
        OutcomeUnknown,
        QueryFailed,
        SchemaConflict,
        StorageError,
        StoreError,
        Unavailable,
        UnknownLayer,
    )
    from gigapi_metadata.index.aio import AsyncIndex
    from gigapi_metadata.index.json import (
        AsyncJSONDBIndex,
        AsyncJSONIndex,
        AsyncJSONKVStore,
        JSONDBIndex,
        JSONIndex,
        JSONKVStore,
    )
    from gigapi_metadata.index.redis import (
        AsyncRedisDBIndex,
        AsyncRedisIndex,
        AsyncRedisKVStore,
        RedisDBIndex,
        RedisIndex,
        RedisKVStore,
    )
    from gigapi_metadata.index.sqlite import (
        AsyncSQLiteDBIndex,
        AsyncSQLiteIndex,
        AsyncSQLiteKVStore,
        SQLiteDBIndex,
        SQLiteIndex,
        SQLiteKVStore,
    )
    from gigapi_metadata.index.sync import Index
    from gigapi_metadata.index.values import AsyncKVStore, KVStore
    from gigapi_metadata.model import (
        DropPlan,
        IndexEntry,
        Layer,
        MergeConfiguration,
        MergePlan,
        MovePlan,
        QueryOptions,
        QueuedPlan,
    )
    from gigapi_metadata.stores.base import QueueRef
    from gigapi_metadata.stores.json.connection import AsyncJSONConnection, JSONConnection
    from gigapi_metadata.stores.redis.connection import AsyncRedisConnection, RedisConnection
    from gigapi_metadata.stores.redis.documents import RedisIndexEntry
    from gigapi_metadata.stores.sqlite.connection import AsyncSQLiteConnection, SQLiteConnection

_MODULES = {
    "catalog": ("AsyncCatalog", "Catalog", "connect", "connect_async"),
    "errors": (
        "StorageError",
        "SchemaConflict",
        "MergeFailed",
        "FileMissing",
        "FileExists",
        "Conflict",
        "CorruptState",
        "InvalidCondition",
        "InvalidConfiguration",
        "InvalidEntry",
        "InvalidName",
        "LeaseLost",
        "MetadataError",
        "MissingExtra",
        "OutcomeUnknown",
        "QueryFailed",
        "StoreError",
        "Unavailable",
        "UnknownLayer",
    ),
    "index.aio": ("AsyncIndex",),
    "index.json": (
        "AsyncJSONDBIndex",
        "AsyncJSONIndex",
        "AsyncJSONKVStore",
        "JSONDBIndex",
        "JSONIndex",
        "JSONKVStore",
    ),
    "index.redis": (
        "AsyncRedisDBIndex",
        "AsyncRedisIndex",
        "AsyncRedisKVStore",
        "RedisDBIndex",
        "RedisIndex",
        "RedisKVStore",
    ),
    "index.sqlite": (
        "AsyncSQLiteDBIndex",
        "AsyncSQLiteIndex",
        "AsyncSQLiteKVStore",
        "SQLiteDBIndex",
        "SQLiteIndex",
        "SQLiteKVStore",
    ),
    "index.sync": ("Index",),
    "index.values": ("AsyncKVStore", "KVStore"),
    "model": (
        "DropPlan",
        "IndexEntry",
        "Layer",
        "MergeConfiguration",
        "MergePlan",
        "MovePlan",
        "QueryOptions",
        "QueuedPlan",
    ),
    "stores.base": ("QueueRef",),
    "stores.json.connection": ("AsyncJSONConnection", "JSONConnection"),
    "stores.redis.connection": ("AsyncRedisConnection", "RedisConnection"),
    "stores.redis.documents": ("RedisIndexEntry",),
    "stores.sqlite.connection": ("AsyncSQLiteConnection", "SQLiteConnection"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AsyncCatalog",
    "AsyncIndex",
    "AsyncJSONConnection",
    "AsyncJSONDBIndex",
    "AsyncJSONIndex",
    "AsyncJSONKVStore",
    "AsyncKVStore",
    "AsyncRedisConnection",
    "AsyncRedisDBIndex",
    "AsyncRedisIndex",
    "AsyncRedisKVStore",
    "AsyncSQLiteConnection",
    "AsyncSQLiteDBIndex",
    "AsyncSQLiteIndex",
    "AsyncSQLiteKVStore",
    "Catalog",
    "Conflict",
    "CorruptState",
    "DropPlan",
    "FileExists",
    "FileMissing",
    "Index",
    "IndexEntry",
    "InvalidCondition",
    "InvalidConfiguration",
    "InvalidEntry",
    "InvalidName",
    "JSONConnection",
    "JSONDBIndex",
    "JSONIndex",
    "JSONKVStore",
    "KVStore",
    "Layer",
    "LeaseLost",
    "MergeConfiguration",
    "MergeFailed",
    "MergePlan",
    "MetadataError",
    "MissingExtra",
    "MovePlan",
    "OutcomeUnknown",
    "QueryFailed",
    "QueryOptions",
    "QueueRef",
    "QueuedPlan",
    "RedisConnection",
    "RedisDBIndex",
    "RedisIndex",
    "RedisIndexEntry",
    "RedisKVStore",
    "SQLiteConnection",
    "SQLiteDBIndex",
    "SQLiteIndex",
    "SQLiteKVStore",
    "SchemaConflict",
    "StorageError",
    "StoreError",
    "Unavailable",
    "UnknownLayer",
    "connect",
    "connect_async",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
