"""The one place that knows how keys are named.

GigAPI's keys are as FORMAT.md has them. Keys of our own begin with `OWN`; a GigAPI process never
looks at them, and losing them loses no file and no plan (docs/redis-keys.md).

On a cluster the table in a key stands in braces, `files:{database:table}:day`: all keys of a table
have one hash tag, so they lie on one node and a script may use them together.
"""

from __future__ import annotations

from urllib.parse import unquote

from gigapi_metadata.errors import InvalidName
from gigapi_metadata.stores.base import TableRef

OWN = "gigapi-metadata"

_CATALOG_PREFIXES = ("files:", "folders:", "merge:", "move:", "drop:", OWN + ":")


class ClusterTable(TableRef):
    """A table of a cluster: its keys carry its hash tag. None of them equals a plain TableRef: what
    is remembered of the one must not be taken for the other."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TableRef) and not isinstance(other, ClusterTable):
            return False
        return tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__


# What would end a tag early, and what stands for it; so `unquote` gives a name back.
_ESCAPES = str.maketrans({"%": "%25", "{": "%7B", "}": "%7D"})


def _place(table: TableRef) -> str:
    place = f"{table.database}:{table.table}"
    return f"{{{place.translate(_ESCAPES)}}}" if type(table) is ClusterTable else place


def tables_pattern(kind: str, ref: type[TableRef], database: str | None = None) -> str:
    """What SCAN is to match for all keys of a `kind` that are about tables, or those of one
    database."""
    clustered = ref is ClusterTable
    head = f"{kind}:{{" if clustered else f"{kind}:"
    if database is None:
        return head + "*"
    return head + glob_escape(database.translate(_ESCAPES) if clustered else database) + ":*"


def table_of(key: str, ref: type[TableRef]) -> tuple[TableRef, str] | None:
    """The table that a GigAPI key is about, and what follows; None if it is about none."""
    _, *parts = key.split(":", 3)
    if len(parts) < 2:
        return None
    database, table, rest = parts[0], parts[1], ":".join(parts[2:])
    if ref is ClusterTable:
        if not (database.startswith("{") and table.endswith("}")):
            return None
        database, table = unquote(database[1:]), unquote(table[:-1])
    return ref(database, table), rest


def queues_head(kind: str, table: TableRef) -> str:
    """What the keys of a table's queues of a kind begin with."""
    return f"{kind}:{_place(table)}:"


def never(key: str) -> str:
    """A key that is never there, in the slot of `key`, which belongs to a table of a cluster."""
    return f"{OWN}:never:{key[key.index('{') : key.index('}') + 1]}"


def folders(table: TableRef) -> str:
    """Hash: dir -> number of files."""
    return f"folders:{_place(table)}"


def files(table: TableRef, day: str) -> str:
    """Hash: path -> document."""
    return f"files:{_place(table)}:{day}"


def merge_queue(table: TableRef, iteration: int, dir: str, layer: str, writer_id: str) -> str:
    """A merge queue; `idle` and `processing` name its two lists."""
    return f"merge:{_place(table)}:{iteration}:{dir}:{layer}:{writer_id}"


def move_queue(table: TableRef, layer: str, writer_id: str) -> str:
    """A move queue; `idle` and `processing` name its two lists."""
    return f"move:{_place(table)}:{layer}:{writer_id}"


def drop_queue(table: TableRef, layer: str, writer_id: str) -> str:
    """A drop queue; `idle` and `processing` name its two lists."""
    return f"drop:{_place(table)}:{layer}:{writer_id}"


def idle(queue: str) -> str:
    """List: plans waiting to be handed out."""
    return f"{queue}:idle"


def processing(queue: str) -> str:
    """List: plans that are handed out."""
    return f"{queue}:processing"


def ended(table: TableRef) -> str:
    """Sorted set: leases under which a plan was ended, by the second in which it was."""
    return f"{OWN}:ended:{_place(table)}"


def cells(table: TableRef) -> str:
    """Sorted set: the cells of the time index, by class and first second (lua/index.lua)."""
    return f"{OWN}:cells:{_place(table)}"


def cell(table: TableRef, member: str) -> str:
    """String: the bounds and records of one cell. `member` is its name in `cells`: `{n}:{dir}`."""
    return f"{OWN}:cell:{_place(table)}:{member}"


def full(table: TableRef) -> str:
    """Hash: dir -> number of its cells that are full."""
    return f"{OWN}:full:{_place(table)}"


def seen(table: TableRef) -> str:
    """Hash: dir -> its count in `folders`, as far as the time index accounts for it."""
    return f"{OWN}:seen:{_place(table)}"


def indexed(table: TableRef) -> str:
    """Hash: day -> how many of its files the time index lists; `/cells`, `/folders`, `/noted`."""
    return f"{OWN}:indexed:{_place(table)}"


def noted(table: TableRef) -> str:
    """Hash: `{layer}:{writer}` -> mark of the last item accounted for in that drop queue."""
    return f"{OWN}:noted:{_place(table)}"


def ready(table: TableRef, iteration: int, layer: str, writer_id: str) -> str:
    """Sorted set: dirs that have a merge queue, by a second not after which one may be due."""
    return f"{OWN}:ready:{_place(table)}:{iteration}:{layer}:{writer_id}"


def looked(table: TableRef, iteration: int, layer: str, writer_id: str) -> str:
    """Hash: how far, and when, foreign merge queues were looked for."""
    return f"{OWN}:looked:{_place(table)}:{iteration}:{layer}:{writer_id}"


def dropping(table: TableRef) -> str:
    """Sorted set: `{layer}:{path}` of a removed file, by the second its readers' grace ends."""
    return f"{OWN}:dropping:{_place(table)}"


def attempts(table: TableRef) -> str:
    """Hash: plan id -> its leases that were given up, its attempts and their last error."""
    return f"{OWN}:attempts:{_place(table)}"


def targets(table: TableRef) -> str:
    """Hash: a leased move's path_to -> the path_from that it belongs to."""
    return f"{OWN}:targets:{_place(table)}"


def set_aside(table: TableRef) -> str:
    """Hash: path or list -> a document or item that a repair took out and kept."""
    return f"{OWN}:set-aside:{_place(table)}"


OWN_TYPES = {
    "cells": "ZCARD",
    "seen": "HLEN",
    "indexed": "HLEN",
    "noted": "HLEN",
    "full": "HLEN",
    "ended": "ZCARD",
    "attempts": "HLEN",
    "targets": "HLEN",
    "dropping": "ZCARD",
    "set-aside": "HLEN",
    "cell": "STRLEN",
    "ready": "ZCARD",
    "looked": "HLEN",
}
"""Each kind of key of our own that belongs to a table, and a command that reads its type only."""

_INDEX = ("cells", "cell", "seen", "indexed", "noted", "full")


def own(kind: str, table: TableRef) -> str:
    """The key of a table of a kind in `OWN_TYPES`; of `cell`, `ready` and `looked` the beginning,
    up to a colon that follows."""
    return f"{OWN}:{kind}:{_place(table)}"


def remedy(key: str) -> str:
    """The command that mends a key which holds another type of value than it should. "": none."""
    prefix, _, rest = key.partition(":")
    if prefix != OWN:
        return ""
    command = "reindex" if rest.partition(":")[0] in _INDEX else "check --repair"
    return f"`gigapi-metadata {command}`"


def receipt(table: TableRef, client: str, slot: int) -> str:
    """String: the last write a client made through this slot, and its answer."""
    return f"{OWN}:receipt:{_place(table)}:{client}:{slot}"


def check_value_key(key: str) -> str:
    """`key` itself if the key-value store may use it: any text but the catalog's own keys.

    Raises:
        InvalidName: it is empty, no text, or belongs to the catalog.
    """
    if not isinstance(key, str):
        raise InvalidName(f"a key must be a string, not {type(key).__name__}")
    if not key:
        raise InvalidName("the key is empty")
    if key.startswith(_CATALOG_PREFIXES):
        raise InvalidName(
            f"key {key!r} begins as the catalog's own keys do; choose one that does not begin "
            f"with any of {', '.join(_CATALOG_PREFIXES)}"
        )
    return key


def glob_escape(text: str) -> str:
    """`text` as a SCAN pattern that matches only itself."""
    return "".join("\\" + char if char in "*?[]^\\-" else char for char in text)
