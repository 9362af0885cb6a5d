"""Entries and plans as NDJSON: one JSON object a line, told apart by its `type`.

Integers stand as they are, floats in the shortest form that reads back as the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Literal

import msgspec

from gigapi_metadata.copying.records import Record, bad, checked
from gigapi_metadata.model import IndexEntry, PlanKind, QueuedPlan, Stats

_UNIT = "line"
_LINES_AT_ONCE = 1000


class _EntryLine(msgspec.Struct, frozen=True, tag="entry"):
    database: str
    table: str
    path: str
    size_bytes: int
    min_time: int
    max_time: int
    layer: str = ""
    row_count: int = 0
    chunk_time: int = 0
    min: Stats | None = None
    max: Stats | None = None
    writer_id: str = ""


class _PlanLine(msgspec.Struct, frozen=True, tag="plan"):
    database: str
    table: str
    kind: PlanKind
    state: Literal["waiting", "leased"]
    id: str
    layer: str
    writer_id: str
    dir: str
    iteration: int
    paths: list[str]
    size_bytes: int
    due_s: int
    attempts: int = 0
    error: str = ""
    path_to: str = ""
    layer_to: str = ""


_encode = msgspec.json.Encoder().encode_lines
_decode = msgspec.json.Decoder(_EntryLine | _PlanLine).decode


class Sink:
    """Writes lines to `file`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def entries(self, entries: Iterable[IndexEntry]) -> None:
        """Write entries."""
        self._write([_EntryLine(*msgspec.structs.astuple(entry)) for entry in entries])

    def plans(self, database: str, table: str, plans: Iterable[QueuedPlan]) -> None:
        """Write plans of one table."""
        values = (msgspec.structs.astuple(plan) for plan in plans)
        self._write([_PlanLine(database, table, *value) for value in values])

    def close(self) -> None:
        """Nothing is left to be written."""

    def _write(self, lines: list[_EntryLine] | list[_PlanLine]) -> None:
        for start in range(0, len(lines), _LINES_AT_ONCE):
            self._file.write(_encode(lines[start : start + _LINES_AT_ONCE]))


def read(file: BinaryIO, source: str) -> Iterator[Record]:
    """What the lines of `file` say. Blank ones are passed over.

    Raises:
        InvalidEntry: naming `source` and the line that can't be understood.
    """
    for number, text in enumerate(file, 1):
        if text.isspace():
            continue
        try:
            line = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
            raise bad(source, _UNIT, number, f"it is no entry or plan: {fault}") from fault
        yield checked(source, _UNIT, _record(number, line))


def _record(number: int, line: _EntryLine | _PlanLine) -> Record:
    values = msgspec.structs.astuple(line)
    value = IndexEntry(*values) if isinstance(line, _EntryLine) else QueuedPlan(*values[2:])
    return Record(number, line.database, line.table, value)
