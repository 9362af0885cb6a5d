"""Several Parquet files -> one, sorted by time. Local files only; knows no catalog.

DuckDB does it where it keeps every type (columns.py), spilling to disk when memory is short;
otherwise pyarrow. If memory runs out all the same, the work is halved until it fits: then the
result is sorted in each of its parts, not throughout.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from gigapi_metadata import lineage
from gigapi_metadata.errors import MergeFailed, MissingExtra
from gigapi_metadata.model import TIME_COLUMNS
from gigapi_metadata.worker.columns import (
    ARROW_SCHEMA,
    Layout,
    Source,
    literal,
    plan_layout,
    quoted,
    select_list,
)
from gigapi_metadata.worker.sources import Input, first_line, read_source

ROW_GROUP_ROWS = 122_880
ROW_GROUP_BYTES = 128 * 1024 * 1024
_BATCH_ROWS = 64 * 1024


class Limits(NamedTuple):
    """What a merge may take. `spill` is a folder of its own for temporary files."""

    memory: int
    threads: int
    spill: Path


class Merged(NamedTuple):
    """What was written. `parts` is 1, or how many pieces the work was halved into."""

    rows: int
    layout: Layout
    parts: int


class Interrupt:
    """Stops a merge from another thread: `stop` makes whatever runs raise soon."""

    def __init__(self, check: Callable[[], None]) -> None:
        self.check = check
        self._connection: Any = None

    def watch(self, connection: Any) -> None:
        """What `stop` has to interrupt from now on; None for nothing."""
        self._connection = connection

    def stop(self) -> None:
        """Interrupt the query that runs. Whoever catches its error asks `check` why."""
        connection = self._connection
        if connection is not None:
            connection.interrupt()


def merge_files(
    inputs: Sequence[Input],
    output: Path,
    limits: Limits,
    interrupt: Interrupt,
    time_column: str | None = None,
) -> Merged:
    """Write the rows of all `inputs` to `output`, sorted by the time column if there is one.

    Every row once, every value and type as it was. `output` is not flushed to disk yet, and may be
    left unfinished by an error.

    Raises:
        SchemaConflict: the columns don't go together.
        MergeFailed: a file can't be read, or the result is not what it must be.
        MissingExtra: duckdb or pyarrow is not installed.
    """
    duckdb, pa = _libraries()
    try:
        sources = [read_source(each) for each in inputs]
        layout = plan_layout(sources)
        notes = (each.metadata.get(lineage.KEY, b"") for each in sources)
        layout.metadata[lineage.KEY] = lineage.note([each.path for each in inputs], notes)
        order = _order_column(layout.schema.names, time_column)
        job = _Job(list(zip(inputs, sources, strict=True)), layout, order, limits, interrupt)
        parts = _merge_or_halve(job, output)
        _verify(output, layout, sum(source.rows for source in sources))
    except (duckdb.Error, pa.ArrowException, OSError) as fault:
        interrupt.check()
        raise MergeFailed(f"merging failed: {first_line(fault)}") from fault
    return Merged(sum(source.rows for source in sources), layout, parts)


def _libraries() -> tuple[Any, Any]:
    try:
        import duckdb
        import pyarrow
        import pyarrow.parquet
    except ImportError as fault:
        raise MissingExtra(
            "merging needs duckdb and pyarrow; pip install 'gigapi-metadata[worker]'"
        ) from fault
    return duckdb, pyarrow


class _Job(NamedTuple):
    files: list[tuple[Input, Source]]
    layout: Layout
    order: str | None
    limits: Limits
    interrupt: Interrupt


def _order_column(names: Sequence[str], wanted: str | None) -> str | None:
    for name in TIME_COLUMNS if wanted is None else (wanted,):
        if list(names).count(name) == 1:
            return name
    return None


def _merge_or_halve(job: _Job, output: Path) -> int:
    """Write `output`; the number of pieces it took."""
    import duckdb

    try:
        if job.layout.engine == "duckdb":
            if _by_duckdb(job, output):
                return 1
            job = job._replace(layout=job.layout._replace(engine="arrow"))
        _by_arrow(job, output)
        return 1
    except (MemoryError, duckdb.OutOfMemoryException):
        job.interrupt.check()
        if len(job.files) == 1:
            _stream(job, [job.files[0][0].file], output)
            return 1
    middle = len(job.files) // 2
    pieces, parts = [], 0
    for number, half in enumerate((job.files[:middle], job.files[middle:])):
        piece = output.with_name(f"{output.name}.{number}")
        pieces.append(piece)
        try:
            parts += _merge_or_halve(job._replace(files=half), piece)
        except BaseException:
            _remove(pieces)
            raise
    try:
        _stream(job, pieces, output)
    finally:
        _remove(pieces)
    return parts


# DuckDB


def _by_duckdb(job: _Job, output: Path) -> bool:
    """Write `output` with DuckDB; False when it would not have kept the schema after all."""
    import duckdb
    import pyarrow.parquet as pq

    limits = job.limits
    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{max(limits.memory // 1_000_000, 64)}MB",
            "threads": limits.threads,
            "temp_directory": os.fspath(limits.spill),
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
        },
    )
    with connection:
        job.interrupt.watch(connection)
        try:
            job.interrupt.check()
            connection.execute(_copy_statement(job, output))
        finally:
            job.interrupt.watch(None)
    job.interrupt.check()
    return bool(pq.read_schema(output).remove_metadata().equals(job.layout.schema))


def _copy_statement(job: _Job, output: Path) -> str:
    order = f" ORDER BY {quoted(job.order)}" if job.order else ""
    options = [
        "FORMAT parquet",
        "COMPRESSION zstd",
        f"ROW_GROUP_SIZE {_row_group_rows(job)}",
        "USE_TMP_FILE false",
    ]
    keys = _text_metadata(job.layout.metadata)
    if keys:
        pairs = ", ".join(f"{literal(key)}: {literal(value)}" for key, value in keys.items())
        options.append(f"KV_METADATA {{{pairs}}}")
    query = f"SELECT * FROM ({_query(job)}){order}"
    return f"COPY ({query}) TO {literal(os.fspath(output))} ({', '.join(options)})"


def _query(job: _Job) -> str:
    if job.layout.uniform:
        return f"SELECT * FROM {_read([each for each, _ in job.files])}"
    groups: list[tuple[Any, list[Input]]] = []
    for each, source in job.files:
        for schema, members in groups:
            if schema.equals(source.schema):
                members.append(each)
                break
        else:
            groups.append((source.schema, [each]))
    return " UNION ALL ".join(
        f"SELECT {select_list(schema, job.layout.schema)} FROM {_read(members)}"
        for schema, members in groups
    )


def _read(inputs: Sequence[Input]) -> str:
    files = ", ".join(literal(os.fspath(each.file)) for each in inputs)
    # A folder called date=... must not become a column.
    return f"read_parquet([{files}], hive_partitioning = false, union_by_name = false)"


def _text_metadata(metadata: dict[bytes, bytes]) -> dict[str, str]:
    found = {}
    for key, value in metadata.items():
        try:
            found[key.decode()] = value.decode()
        except UnicodeDecodeError:
            continue
    return found


def _row_group_rows(job: _Job) -> int:
    """As many rows as make a row group of a sensible size, also when rows are wide."""
    size = sum(each.file.stat().st_size for each, _ in job.files)
    rows = sum(source.rows for _, source in job.files)
    return min(ROW_GROUP_ROWS, max(2048, ROW_GROUP_BYTES * rows // max(size * 4, 1)))


# pyarrow


def _by_arrow(job: _Job, output: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = 0
    for each, _ in job.files:
        footer = pq.read_metadata(each.file)
        size += sum(footer.row_group(n).total_byte_size for n in range(footer.num_row_groups))
    if job.order is None or size > job.limits.memory // 4:
        _stream(job, [each.file for each, _ in job.files], output)
        return
    batches = _batches(job, [each.file for each, _ in job.files])
    table = pa.Table.from_batches(batches, job.layout.schema)
    with suppress(pa.ArrowNotImplementedError):  # some types can't be reordered
        table = table.sort_by(job.order)
    with _writer(job, output) as writer:
        writer.write_table(table, row_group_size=_row_group_rows(job))


def _stream(job: _Job, files: Sequence[Path], output: Path) -> None:
    """Write the rows of one file after the other, with little memory."""
    with _writer(job, output) as writer:
        for batch in _batches(job, files):
            writer.write_batch(batch, row_group_size=_row_group_rows(job))


def _batches(job: _Job, files: Sequence[Path]) -> Iterator[Any]:
    """The rows of `files` under the layout's schema."""
    import pyarrow.parquet as pq

    schema = job.layout.schema
    for name in files:
        with pq.ParquetFile(name) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                job.interrupt.check()
                yield _conformed(batch, schema)


def _conformed(batch: Any, schema: Any) -> Any:
    """`batch` with the columns and types of `schema`."""
    import pyarrow as pa

    if batch.schema.equals(schema):
        return batch.replace_schema_metadata(None)
    for field in schema:
        if field.name not in batch.schema.names:
            batch = batch.append_column(field, pa.nulls(len(batch), field.type))
    if batch.schema.names != schema.names:
        batch = batch.select(schema.names)
    return batch.cast(schema)


def _writer(job: _Job, output: Path) -> Any:
    import pyarrow.parquet as pq

    layout = job.layout
    metadata = {key: value for key, value in layout.metadata.items() if key != ARROW_SCHEMA}
    return pq.ParquetWriter(
        output,
        layout.schema.with_metadata(metadata or None),
        compression="zstd",
        store_schema=ARROW_SCHEMA in layout.metadata,
    )


# Afterwards


def _verify(output: Path, layout: Layout, rows: int) -> None:
    """What DuckDB or pyarrow says it has written is read back before it counts."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(output) as file:
        found, schema = file.metadata.num_rows, file.schema_arrow
    if found != rows:
        raise MergeFailed(f"the merged file has {found} rows, its sources have {rows}")
    if not schema.remove_metadata().equals(layout.schema):
        raise MergeFailed("the merged file has other columns or types than its sources")


def _remove(files: Sequence[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
