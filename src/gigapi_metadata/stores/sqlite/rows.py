"""Rows of the table `files`, as entries and back."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from gigapi_metadata.errors import CorruptState
from gigapi_metadata.model import IndexEntry, Stats
from gigapi_metadata.stores.base import TableRef

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Stats).decode

COLUMNS = (
    "path, size_bytes, min_time, max_time, layer, row_count, chunk_time, min_data, max_data, "
    "writer_id"
)
INSERT = f"""
    INSERT INTO files ({COLUMNS}, span, table_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING
"""


def span_of(min_time: int, max_time: int) -> int:
    """The smallest n with max_time - min_time < 2^n: which range of files_time a file lies in."""
    return (max_time - min_time).bit_length()


def row_of(entry: IndexEntry, table_id: int) -> tuple[object, ...]:
    """What INSERT takes."""
    return (
        entry.path,
        entry.size_bytes,
        entry.min_time,
        entry.max_time,
        entry.layer,
        entry.row_count,
        entry.chunk_time,
        None if entry.min_data is None else _encode(entry.min_data).decode(),
        None if entry.max_data is None else _encode(entry.max_data).decode(),
        entry.writer_id,
        span_of(entry.min_time, entry.max_time),
        table_id,
    )


def entry_of(table: TableRef, row: Sequence[Any]) -> IndexEntry:
    """The entry of a row of COLUMNS. Or CorruptState."""
    path, size, min_time, max_time, layer, rows, chunk_time, min_data, max_data, writer = row
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
        None if min_data is None else _stats(table, path, min_data),
        None if max_data is None else _stats(table, path, max_data),
        writer,
    )


def _stats(table: TableRef, path: str, text: Any) -> Stats:
    try:
        return _decode(text)
    except (msgspec.DecodeError, TypeError, ValueError) as fault:
        raise CorruptState(
            f"the statistics of {path!r} in {table.database}.{table.table} can't be read: {fault}"
        ) from fault


def find_table(db: sqlite3.Connection, table: TableRef) -> int | None:
    """The table's number, if anything was ever written to it."""
    row = db.execute("SELECT id FROM tables WHERE database = ? AND name = ?", table).fetchone()
    return None if row is None else int(row[0])


def end_of_prefix(prefix: str) -> str | None:
    """The first text after all that begin with `prefix`, as SQLite sorts; None if there is none."""
    for length in range(len(prefix), 0, -1):
        following = ord(prefix[length - 1]) + 1
        if following == 0xD800:
            following = 0xE000  # there are no characters in between
        if following <= sys.maxunicode:
            return prefix[: length - 1] + chr(following)
    return None
