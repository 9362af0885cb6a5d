"""What the footer of a file says that is to be merged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from gigapi_metadata.errors import MergeFailed
from gigapi_metadata.worker.columns import Source

_GLOB = frozenset("*?[]{}")


class Input(NamedTuple):
    """A file to be merged: its path in the catalog, for messages, and where to read it."""

    path: str
    file: Path


def read_source(given: Input) -> Source:
    """Read one footer.

    Raises:
        MergeFailed: the file is not readable Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(given.file) as file:
            footer, schema = file.metadata, file.schema_arrow
            physical = {file.schema.column(n).physical_type for n in range(footer.num_columns)}
    except (pa.ArrowException, OSError) as fault:
        raise MergeFailed(f"{given.path!r} can't be read: {first_line(fault)}") from fault
    special = "INT96" if "INT96" in physical else ""
    if not _GLOB.isdisjoint(os.fspath(given.file)):
        special = "pattern"  # DuckDB would look for files like it
    return Source(
        given.path,
        schema,
        footer.num_rows,
        footer.metadata or {},
        special,
        lambda column: _bounds(footer, column),
    )


def _bounds(footer: Any, column: str) -> tuple[int, int] | None:
    """Smallest and largest value of an integer column by its statistics; None when unknown."""
    found: list[tuple[int, int]] = []
    for group in range(footer.num_row_groups):
        for number in range(footer.num_columns):
            chunk = footer.row_group(group).column(number)
            if chunk.path_in_schema != column:
                continue
            stats = chunk.statistics
            if stats is None or not (stats.has_min_max or stats.null_count == chunk.num_values):
                return None
            if stats.has_min_max:
                found.append((stats.min, stats.max))
    if not found:
        return (0, 0)
    return min(low for low, _ in found), max(high for _, high in found)


def first_line(fault: BaseException) -> str:
    """What a library's error says, on one line."""
    return (str(fault).strip() or type(fault).__name__).splitlines()[0]
