"""Entries as one Parquet file, one row each: for whoever asks about a catalog with SQL.

`min` and `max` are JSON texts, so that every value keeps its type and its digits. Plans have no
place in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import msgspec

from gigapi_metadata.copying.records import Record, bad, checked
from gigapi_metadata.errors import InvalidEntry, MissingExtra
from gigapi_metadata.model import IndexEntry, Stats

_UNIT = "row"
_ROWS_AT_ONCE = 20_000
_TEXTS = ("database", "table", "path", "layer", "writer_id")
_NUMBERS = ("size_bytes", "row_count", "min_time", "max_time", "chunk_time")
_STATS = ("min", "max")
COLUMNS = (*_TEXTS, *_NUMBERS, *_STATS)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Stats | None).decode


class Sink:
    """Writes rows to `file`. Needs pyarrow (MissingExtra)."""

    def __init__(self, file: BinaryIO) -> None:
        pa, pq = _pyarrow()
        self._arrow = pa
        self._schema = pa.schema(
            [pa.field(name, pa.string(), nullable=False) for name in _TEXTS]
            + [pa.field(name, pa.int64(), nullable=False) for name in _NUMBERS]
            + [pa.field(name, pa.string()) for name in _STATS]
        )
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")
        self._waiting: list[IndexEntry] = []

    def entries(self, entries: Sequence[IndexEntry]) -> None:
        """Write entries."""
        self._waiting += entries
        while len(self._waiting) >= _ROWS_AT_ONCE:
            self._write(self._waiting[:_ROWS_AT_ONCE])
            self._waiting = self._waiting[_ROWS_AT_ONCE:]

    def close(self) -> None:
        """Write what is left, and the footer."""
        if self._waiting:
            self._write(self._waiting)
            self._waiting = []
        self._writer.close()

    def _write(self, entries: Sequence[IndexEntry]) -> None:
        columns: dict[str, list[Any]] = {
            name: [getattr(entry, name) for entry in entries] for name in (*_TEXTS, *_NUMBERS)
        }
        for name in _STATS:
            columns[name] = [_text(getattr(entry, name)) for entry in entries]
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))


def read(file: BinaryIO, source: str) -> Iterator[Record]:
    """What the rows of `file` say.

    Raises:
        InvalidEntry: it is no such file; or naming the row that can't be understood.
    """
    pa, pq = _pyarrow()
    try:
        parquet = pq.ParquetFile(file)
        missing = [name for name in COLUMNS if name not in parquet.schema_arrow.names]
        if missing:
            raise InvalidEntry(
                f"{source} is no exported catalog: it has no column {', '.join(missing)}"
            )
        number = 0
        for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=list(COLUMNS)):
            for row in batch.to_pylist():
                number += 1
                yield checked(source, _UNIT, _record(source, number, row))
    except (pa.ArrowException, OSError) as fault:
        raise InvalidEntry(f"{source} is not readable Parquet: {fault}") from fault


def _record(source: str, number: int, row: dict[str, Any]) -> Record:
    for name in (*_TEXTS, *_NUMBERS, *_STATS):
        kind = int if name in _NUMBERS else str
        if type(row[name]) is not kind and not (name in _STATS and row[name] is None):
            found = type(row[name]).__name__
            raise bad(source, _UNIT, number, f"{name} must be {kind.__name__}, not {found}")
    try:
        stats = [None if row[name] is None else _decode(row[name]) for name in _STATS]
    except (msgspec.DecodeError, RecursionError) as fault:
        raise bad(source, _UNIT, number, f"min or max is no JSON object: {fault}") from fault
    fields = {name: row[name] for name in (*_TEXTS, *_NUMBERS)}
    entry = IndexEntry(**fields, min_data=stats[0], max_data=stats[1])
    return Record(number, entry.database, entry.table, entry)


def _text(stats: Stats | None) -> str | None:
    return None if stats is None else _encode(stats).decode()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as fault:
        raise MissingExtra(
            "reading and writing Parquet needs pyarrow: pip install 'gigapi-metadata[parquet]'"
        ) from fault
    return pa, pq
