"""Entries as rows of `files`, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gigapi_metadata.errors import CorruptState
from gigapi_metadata.model import IndexEntry, Stats
from gigapi_metadata.stores.base import Columns, TableRef

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Stats).decode

COLUMNS = (
    "size_bytes, min_time, max_time, layer, row_count, chunk_time, min_data, max_data, writer_id"
)
"""What is read of a row, before its dir and name."""

INSERT = f"""
    INSERT INTO files ({COLUMNS}, span, table_id, dir, name)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
"""Takes a row of `row_of`; writes none if the path is there."""

ARRIVE = f"""
    INSERT INTO arrivals ({COLUMNS}, span, table_id, dir, name, iteration, max_size)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
"""Takes a row of `row_of`, its iteration and the size of a merge."""

REPLACE = f"""
    UPDATE files SET {", ".join(f"{column} = ?" for column in COLUMNS.split(", "))}, span = ?
    WHERE table_id = ? AND dir = ? AND name = ?
"""
"""Takes a row of `row_of`, whose path must be there."""


def split_path(path: str) -> tuple[str, str]:
    """A path as it is kept: its dir and the file's name."""
    dir, _, name = path.rpartition("/")
    return dir, name


def join_path(dir: str, name: str) -> str:
    """The path that `split_path` was given."""
    return f"{dir}/{name}" if dir else name


def span_of(min_time: int, max_time: int) -> int:
    """The smallest n with max_time - min_time < 2^n: which range of `files` a file lies in."""
    return (max_time - min_time).bit_length()


def row_of(entry: IndexEntry, table_id: int) -> tuple[Any, ...]:
    """The row of an entry, its dir and name last."""
    dir, _, name = entry.path.rpartition("/")
    min_time, max_time = entry.min_time, entry.max_time
    min_data, max_data = entry.min_data, entry.max_data
    return (
        entry.size_bytes,
        min_time,
        max_time,
        entry.layer,
        entry.row_count,
        entry.chunk_time,
        None if min_data is None else _encode(min_data).decode(),
        None if max_data is None else _encode(max_data).decode(),
        entry.writer_id,
        span_of(min_time, max_time),
        table_id,
        dir,
        name,
    )


def entry_of(table: TableRef, row: Sequence[Any]) -> IndexEntry:
    """The entry of a row: COLUMNS, dir, name.

    Raises:
        CorruptState: its statistics are no JSON object; the message names it.
    """
    size, min_time, max_time, layer, rows, chunk_time, low, high, writer, dir, name = row
    path = f"{dir}/{name}" if dir else name
    try:
        # The cheapest way to see that these are texts and those integers: SQLite keeps anything.
        "".join((path, layer, writer))
        _ = size | min_time | max_time | rows | chunk_time
    except TypeError as fault:
        raise CorruptState(
            f"the entry of {path!r} in {table.database}.{table.table} can't be read: {fault}"
        ) from fault
    return IndexEntry(
        table.database,
        table.table,
        path,
        size,
        min_time,
        max_time,
        layer,
        rows,
        chunk_time,
        None if low is None else _stats(table, path, low),
        None if high is None else _stats(table, path, high),
        writer,
    )


def _stats(table: TableRef, path: str, text: Any) -> Stats:
    try:
        return _decode(text)
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError) as fault:
        raise CorruptState(
            f"the statistics of {path!r} in {table.database}.{table.table} can't be read: {fault}"
        ) from fault


def columns_of(rows: Sequence[Sequence[Any]]) -> Columns:
    """Rows as `entry_of` takes them, column by column. Statistics are as stored."""
    turned = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(11)]
    size, min_time, max_time, layer, row_count, chunk_time, low, high, writer, dirs, names = turned
    return {
        "path": [f"{dir}/{name}" if dir else name for dir, name in zip(dirs, names, strict=True)],
        "layer": layer,
        "writer_id": writer,
        "size_bytes": size,
        "row_count": row_count,
        "min_time": min_time,
        "max_time": max_time,
        "chunk_time": chunk_time,
        "min": [None if text is None else text.encode() for text in low],
        "max": [None if text is None else text.encode() for text in high],
    }
