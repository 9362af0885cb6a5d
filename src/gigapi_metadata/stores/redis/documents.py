"""An entry as Redis holds it (FORMAT, "An entry in Redis").

Ours are written once, by msgspec, and never re-encoded, so that every integer keeps its digits.
Reading also takes what the Go engine's cjson made of an entry: floats where integers stood, escaped
slashes, fields in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from gigapi_metadata.errors import CorruptState
from gigapi_metadata.model import DOCUMENT_NAMES, IndexEntry, Int64, Stats
from gigapi_metadata.stores.base import ENTRY_NUMBERS, ENTRY_TEXTS, Columns
from gigapi_metadata.timerange import INT64_MAX, INT64_MIN


class _Document(msgspec.Struct):
    # `layer` and `writer_id` come first so that a script finds them without parsing JSON.
    layer: str
    writer_id: str
    database: str
    table: str
    path: str
    size_bytes: int
    row_count: int
    min: Stats | None
    max: Stats | None
    str_min_time: str
    str_max_time: str
    str_chunk_time: str
    min_time: int = 0
    max_time: int = 0
    chunk_time: int = 0
    cmd: str = "ADD"


class _ForeignDocument(msgspec.Struct):
    """The same, as lenient as FORMAT.md asks a reader to be."""

    database: str
    table: str
    path: str
    layer: str | None = ""
    writer_id: str | None = ""
    size_bytes: int | float | None = 0
    row_count: int | float | None = 0
    min: Any = None
    max: Any = None
    str_min_time: str | None = ""
    str_max_time: str | None = ""
    str_chunk_time: str | None = ""
    min_time: int | float | None = 0
    max_time: int | float | None = 0
    chunk_time: int | float | None = 0


FAULTS = (ValueError, TypeError, OverflowError, RecursionError, msgspec.DecodeError)
"""What taking JSON apart raises when somebody else has made it."""


class Row(msgspec.Struct, gc=False, rename=DOCUMENT_NAMES):
    """A document of which nothing is kept but what `columns` need: statistics stay JSON."""

    path: str
    size_bytes: Int64
    min_time: Int64
    max_time: Int64
    layer: str = ""
    row_count: Int64 = 0
    chunk_time: Int64 = 0
    min_data: msgspec.Raw = msgspec.Raw(b"null")
    max_data: msgspec.Raw = msgspec.Raw(b"null")
    writer_id: str = ""


_encode = msgspec.json.Encoder().encode
_decode_rows = msgspec.json.Decoder(list[Row], strict=False).decode
# Not strict: times are numbers that stand in strings.
_decode = msgspec.json.Decoder(IndexEntry, strict=False).decode
_decode_list = msgspec.json.Decoder(list[IndexEntry], strict=False).decode
_decode_foreign = msgspec.json.Decoder(_ForeignDocument).decode


def encode(entry: IndexEntry) -> str:
    """The document of `entry`, as it is stored."""
    return _encode(_document(entry, "ADD")).decode()


def decode(document: bytes, key: str) -> IndexEntry:
    """The entry of a stored document, whoever wrote it; `key` is named when it can't be read.

    Raises:
        CorruptState: it is no JSON, lacks database, table, path or its times, or a number of it is
            beyond 64 bits.
    """
    try:
        return _decode(document)
    except FAULTS:
        return _decode_leniently(document, key)


def decode_all(documents: Sequence[bytes], key: str) -> list[IndexEntry]:
    """The entries of documents stored under `key`, in their order; as `decode`, at once."""
    try:
        entries = _decode_list(b"[%b]" % b",".join(documents))
    except FAULTS:
        entries = []
    if len(entries) != len(documents):
        # One of them is none of ours, or none at all.
        return [decode(document, key) for document in documents]
    return entries


def decode_rows(documents: Sequence[bytes], key: str) -> list[Row]:
    """As `decode_all`, for columns."""
    try:
        rows = _decode_rows(b"[%b]" % b",".join(documents))
        if len(rows) == len(documents):
            return rows
    except FAULTS:
        pass
    return [_row(decode(document, key)) for document in documents]


def _row(entry: IndexEntry) -> Row:
    low, high = (msgspec.Raw(_encode(stats)) for stats in (entry.min_data, entry.max_data))
    return Row(
        entry.path,
        entry.size_bytes,
        entry.min_time,
        entry.max_time,
        entry.layer,
        entry.row_count,
        entry.chunk_time,
        low,
        high,
        entry.writer_id,
    )


def columns_of(rows: Sequence[Row]) -> Columns:
    """Rows, column by column."""
    names = (*ENTRY_TEXTS, *ENTRY_NUMBERS)
    columns: Columns = {name: [getattr(row, name) for row in rows] for name in names}
    columns["min"] = [_none_if_null(row.min_data) for row in rows]
    columns["max"] = [_none_if_null(row.max_data) for row in rows]
    return columns


def _none_if_null(stats: msgspec.Raw) -> bytes | None:
    text = bytes(stats)
    if text[:1] == b"{":
        return text
    return None if text == b"null" else b"{}"  # as _stats has it


def _decode_leniently(document: bytes, key: str) -> IndexEntry:
    try:
        found = _decode_foreign(document)
        return IndexEntry(
            database=found.database,
            table=found.table,
            path=found.path,
            size_bytes=_int64(found.size_bytes or 0),
            min_time=_time(found.str_min_time, found.min_time),
            max_time=_time(found.str_max_time, found.max_time),
            layer=found.layer or "",
            row_count=_int64(found.row_count or 0),
            chunk_time=_time(found.str_chunk_time, found.chunk_time),
            min_data=_stats(found.min),
            max_data=_stats(found.max),
            writer_id=found.writer_id or "",
        )
    except FAULTS as fault:
        start = document[:120].decode(errors="replace")
        raise CorruptState(f"{key} holds an entry that can't be read ({fault}): {start}") from fault


def _time(exact: str | None, rounded: float | None) -> int:
    return _int64(int(exact) if exact else rounded or 0)


def _int64(value: float) -> int:
    """A number as GigAPI can have written it: not beyond 64 bits, but for the rounding of cjson."""
    if value == INT64_MAX + 1 and isinstance(value, float):
        return INT64_MAX
    if not INT64_MIN <= value <= INT64_MAX:
        raise ValueError("a number is beyond 64 bits")
    return int(value)


def _stats(value: Any) -> Stats | None:
    # Lua can't tell an empty list from an empty map; either means "nothing known".
    if isinstance(value, dict):
        return value
    return None if value is None else {}


class RedisIndexEntry(msgspec.Struct, frozen=True):
    """An entry together with what is to be done with it: "ADD", or "DELETE" in a request."""

    entry: IndexEntry
    cmd: Literal["ADD", "DELETE"] = "ADD"

    def to_dict(self) -> dict[str, Any]:
        """The document as Redis holds it."""
        document: dict[str, Any] = msgspec.structs.asdict(_document(self.entry, self.cmd))
        return document


def _document(entry: IndexEntry, cmd: str) -> _Document:
    return _Document(
        entry.layer,
        entry.writer_id,
        entry.database,
        entry.table,
        entry.path,
        entry.size_bytes,
        entry.row_count,
        entry.min_data,
        entry.max_data,
        str(entry.min_time),
        str(entry.max_time),
        str(entry.chunk_time),
        0,
        0,
        0,
        cmd,
    )
