"""What a file of a catalog holds, whatever its format."""

from __future__ import annotations

from typing import NamedTuple

from gigapi_metadata.errors import InvalidEntry, MetadataError
from gigapi_metadata.model import IndexEntry, QueuedPlan
from gigapi_metadata.names import check_name
from gigapi_metadata.planning import check_queued
from gigapi_metadata.validation import check_entry


class Record(NamedTuple):
    """An entry or a plan, and the line or row that it stands in, counted from 1."""

    line: int
    database: str
    table: str
    value: IndexEntry | QueuedPlan


def checked(source: str, unit: str, record: Record) -> Record:
    """`record` itself if a catalog may hold it.

    Raises:
        InvalidEntry: naming `source` and the line.
    """
    try:
        check_name("database", record.database)
        check_name("table", record.table)
        if isinstance(record.value, IndexEntry):
            check_entry(record.value, record.database, record.table)
        else:
            check_queued(record.value)
    except MetadataError as fault:
        raise bad(source, unit, record.line, str(fault)) from fault
    return record


def bad(source: str, unit: str, line: int, fault: str) -> InvalidEntry:
    """The error of a line that can't be used."""
    return InvalidEntry(f"{source}: {unit} {line}: {fault}")
