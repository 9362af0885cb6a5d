"""The one place that knows how keys are named.

GigAPI's keys are as FORMAT.md has them. Keys of our own begin with `OWN`; a GigAPI process never
looks at them, and losing them loses no file and no plan (docs/redis-keys.md).
"""

from __future__ import annotations

from gigapi_metadata.errors import InvalidName
from gigapi_metadata.stores.base import TableRef

OWN = "gigapi-metadata"

_CATALOG_PREFIXES = ("files:", "folders:", "merge:", "move:", "drop:", OWN + ":")


def folders(table: TableRef) -> str:
    """Hash: dir -> number of files."""
    return f"folders:{table.database}:{table.table}"


def files(table: TableRef, day: str) -> str:
    """Hash: path -> document."""
    return f"files:{table.database}:{table.table}:{day}"


def merge_queue(table: TableRef, iteration: int, dir: str, layer: str, writer_id: str) -> str:
    """A merge queue; `idle` and `processing` name its two lists."""
    return f"merge:{table.database}:{table.table}:{iteration}:{dir}:{layer}:{writer_id}"


def move_queue(table: TableRef, layer: str, writer_id: str) -> str:
    """A move queue; `idle` and `processing` name its two lists."""
    return f"move:{table.database}:{table.table}:{layer}:{writer_id}"


def drop_queue(table: TableRef, layer: str, writer_id: str) -> str:
    """A drop queue; `idle` and `processing` name its two lists."""
    return f"drop:{table.database}:{table.table}:{layer}:{writer_id}"


def idle(queue: str) -> str:
    """List: plans waiting to be handed out."""
    return f"{queue}:idle"


def processing(queue: str) -> str:
    """List: plans that are handed out."""
    return f"{queue}:processing"


def ended(table: TableRef) -> str:
    """Sorted set: leases under which a plan was ended, by the second in which it was."""
    return f"{OWN}:ended:{table.database}:{table.table}"


def cells(table: TableRef) -> str:
    """Sorted set: the cells of the time index, by class and first second (lua/index.lua)."""
    return f"{OWN}:cells:{table.database}:{table.table}"


def cell(table: TableRef, member: str) -> str:
    """String: the bounds and records of one cell. `member` is its name in `cells`: `{n}:{dir}`."""
    return f"{OWN}:cell:{table.database}:{table.table}:{member}"


def full(table: TableRef) -> str:
    """Hash: dir -> number of its cells that are full."""
    return f"{OWN}:full:{table.database}:{table.table}"


def seen(table: TableRef) -> str:
    """Hash: dir -> its count in `folders`, as far as the time index accounts for it."""
    return f"{OWN}:seen:{table.database}:{table.table}"


def indexed(table: TableRef) -> str:
    """Hash: day -> how many of its files the time index lists; `/cells`, `/folders`, `/noted`."""
    return f"{OWN}:indexed:{table.database}:{table.table}"


def noted(table: TableRef) -> str:
    """Hash: `{layer}:{writer}` -> mark of the last item accounted for in that drop queue."""
    return f"{OWN}:noted:{table.database}:{table.table}"


def ready(table: TableRef, iteration: int, layer: str, writer_id: str) -> str:
    """Sorted set: dirs that have a merge queue, by a second not after which one may be due."""
    return f"{OWN}:ready:{table.database}:{table.table}:{iteration}:{layer}:{writer_id}"


def looked(table: TableRef, iteration: int, layer: str, writer_id: str) -> str:
    """Hash: how far, and when, foreign merge queues were looked for."""
    return f"{OWN}:looked:{table.database}:{table.table}:{iteration}:{layer}:{writer_id}"


def dropping(table: TableRef) -> str:
    """Sorted set: `{layer}:{path}` of a removed file, by the second its readers' grace ends."""
    return f"{OWN}:dropping:{table.database}:{table.table}"


def attempts(table: TableRef) -> str:
    """Hash: plan id -> its leases that were given up, its attempts and their last error."""
    return f"{OWN}:attempts:{table.database}:{table.table}"


def targets(table: TableRef) -> str:
    """Hash: a leased move's path_to -> the path_from that it belongs to."""
    return f"{OWN}:targets:{table.database}:{table.table}"


def set_aside(table: TableRef) -> str:
    """Hash: path or list -> a document or item that a repair took out and kept."""
    return f"{OWN}:set-aside:{table.database}:{table.table}"


def receipt(table: TableRef, client: str, slot: int) -> str:
    """String: the last write a client made through this slot, and its answer."""
    return f"{OWN}:receipt:{table.database}:{table.table}:{client}:{slot}"


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
