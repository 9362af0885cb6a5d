"""From a catalog to one file, and back: which format, and that no file is left half-written."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Literal, NamedTuple

from gigapi_metadata.catalog import Catalog
from gigapi_metadata.copying import ndjson, parquet
from gigapi_metadata.copying.catalogs import ALL, Wanted
from gigapi_metadata.copying.reading import days_of, entries_of, plans_of
from gigapi_metadata.copying.records import Record
from gigapi_metadata.copying.writer import TableReport, Writer
from gigapi_metadata.errors import InvalidEntry
from gigapi_metadata.model import IndexEntry, QueuedPlan

Format = Literal["ndjson", "parquet"]

STREAM = "-"
"""The name that means stdin or stdout."""

_ENDINGS: dict[str, Format] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
}


def format_of(name: str) -> Format | None:
    """The format that a file's name tells, None when it tells none."""
    if name == STREAM:
        return "ndjson"
    return _ENDINGS.get(os.path.splitext(name)[1].lower())


def export(
    catalog: Catalog,
    tables: Iterable[tuple[str, str]],
    name: str,
    format: Format,
    advance: Callable[[int], None] = lambda days: None,
) -> list[TableReport]:
    """Write the entries of `tables`, and as NDJSON their plans as well, to the file `name`.

    The file appears when it is complete, in the place of one that was there.
    """
    reports: list[TableReport] = []
    with opened(name) as file, _sink(file, format) as sink:
        for database, table in tables:
            index = catalog.table(database, table)
            report = TableReport(database, table)
            reports.append(report)
            for day in days_of(index):
                entries = entries_of(index, day)
                sink.entries(entries)
                report.entries += len(entries)
                advance(1)
            if isinstance(sink, ndjson.Sink):
                plans = plans_of(index)
                sink.plans(database, table, plans)
                report.plans += len(plans)
    for report in reports:
        report.written, report.plans_written = report.entries, report.plans
    return reports


def load(
    name: str,
    format: Format,
    writer: Writer,
    wanted: Wanted = ALL,
    advance: Callable[[int], None] = lambda records: None,
) -> None:
    """Write what the file `name` holds into the writer's catalog, in batches of one table each.

    Raises:
        InvalidEntry: a line can't be understood or kept. The message names file and line; nothing
            of its batch has been written, the batches before it have.
    """
    batch = _Batch(writer, "stdin" if name == STREAM else name, format)
    for record in _records(name, format):
        advance(1)
        if wanted.takes(record.database, record.table):
            batch.add(record)
    batch.flush()


def _records(name: str, format: Format) -> Iterator[Record]:
    if name == STREAM:
        yield from ndjson.read(sys.stdin.buffer, "stdin")
        return
    with open(name, "rb") as file:
        yield from (parquet if format == "parquet" else ndjson).read(file, name)


class _Batch:
    """Records of one kind and table, on their way to the writer."""

    def __init__(self, writer: Writer, source: str, format: Format) -> None:
        self._writer = writer
        self._where = f"{source}: {'row' if format == 'parquet' else 'line'}"
        self._records: list[Record] = []

    def add(self, record: Record) -> None:
        first = self._records[0] if self._records else record
        if _kind(first) != _kind(record) or len(self._records) >= self._writer.batch_size:
            self.flush()
        self._records.append(record)

    def flush(self) -> None:
        if not self._records:
            return
        records, self._records = self._records, []
        name = (records[0].database, records[0].table)
        entries = [each.value for each in records if isinstance(each.value, IndexEntry)]
        plans = [each.value for each in records if isinstance(each.value, QueuedPlan)]
        try:
            self._writer.add(*name, entries)
            self._writer.add_plans(*name, plans)
        except InvalidEntry as fault:
            line = next((each.line for each in records if _name(each) in str(fault)), None)
            if line is None:
                raise
            raise InvalidEntry(f"{self._where} {line}: {fault}") from fault


def _kind(record: Record) -> tuple[object, ...]:
    return type(record.value), record.database, record.table


def _name(record: Record) -> str:
    """What an error calls the record."""
    value = record.value
    return repr(value.path) if isinstance(value, IndexEntry) else repr(value.id)


@contextmanager
def _sink(file: BinaryIO, format: Format) -> Iterator[ndjson.Sink | parquet.Sink]:
    sink = parquet.Sink(file) if format == "parquet" else ndjson.Sink(file)
    try:
        yield sink
    except BaseException:
        with suppress(Exception):
            sink.close()  # it must not touch the file later on
        raise
    sink.close()


class _Temporary(NamedTuple):
    file: BinaryIO
    name: str


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """A file that takes its name when all has been written to it."""
    if name == STREAM:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    name = os.path.realpath(name)
    if os.path.exists(name) and not os.path.isfile(name):
        with open(name, "wb") as device:  # such as a pipe: there is nothing to be replaced
            yield device
        return
    temporary = _temporary(name)
    try:
        with temporary.file as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary.name, name)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary.name)
        raise


def _temporary(name: str) -> _Temporary:
    folder, base = os.path.split(os.path.abspath(name))
    handle, path = tempfile.mkstemp(prefix=f".{base}.", suffix=".tmp", dir=folder)
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(path, 0o666 & ~umask)
    return _Temporary(os.fdopen(handle, "wb"), path)
