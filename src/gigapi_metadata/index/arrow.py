"""Entries as a pyarrow Table, made from columns: no entry is made on the way."""

from __future__ import annotations

from typing import Any

from gigapi_metadata.errors import MissingExtra
from gigapi_metadata.stores.base import ENTRY_NUMBERS, ENTRY_STATS, ENTRY_TEXTS, Columns, TableRef


def as_table(ref: TableRef, columns: Columns) -> Any:
    """`columns` as a pyarrow.Table of a row per entry, by (min_time, path): texts, 64-bit integers
    (times in nanoseconds, sizes in bytes), and `min` and `max` as JSON texts.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError as fault:
        raise MissingExtra(
            "query_arrow needs pyarrow: pip install 'gigapi-metadata[parquet]'"
        ) from fault
    count = len(columns["path"])
    names = ("database", "table")
    arrays = [pa.repeat(pa.scalar(name, pa.string()), count) for name in ref]
    arrays += [pa.array(columns[name], pa.string()) for name in ENTRY_TEXTS]
    arrays += [pa.array(columns[name], pa.int64()) for name in ENTRY_NUMBERS]
    # As they are stored: JSON is UTF-8.
    arrays += [pa.array(columns[name], pa.binary()).cast(pa.string()) for name in ENTRY_STATS]
    schema = pa.schema(
        [pa.field(name, pa.string(), nullable=False) for name in (*names, *ENTRY_TEXTS)]
        + [pa.field(name, pa.int64(), nullable=False) for name in ENTRY_NUMBERS]
        + [pa.field(name, pa.string()) for name in ENTRY_STATS]
    )
    table = pa.Table.from_arrays(arrays, schema=schema)
    return table.sort_by([("min_time", "ascending"), ("path", "ascending")])
