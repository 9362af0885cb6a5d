"""Entries -> the files that DuckDB is to open, and their text in SQL."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from gigapi_metadata.model import IndexEntry
from gigapi_metadata.sql.engine import Engine, literal
from gigapi_metadata.sql.schemas import DataFile, is_special, pattern
from gigapi_metadata.storage import LocalStorage, S3Storage


def locate(engine: Engine, entries: Iterable[IndexEntry]) -> list[DataFile]:
    """Where the files of `entries` are, in the same order. Local ones are looked at.

    Raises:
        FileMissing: one is not there.
        StorageError: one is a link, or behind one, or its folder can't be read.
        UnknownLayer: one is in a layer whose place is not known.
    """
    found: list[DataFile] = []
    remote: list[str] = []
    for (layer, database, table), group in groupby(entries, _place):
        here = list(group)
        storage = engine.storages.table(layer, database, table)
        if isinstance(storage, LocalStorage) and not is_special(os.path.realpath(storage.folder)):
            names: Iterable[str] = storage.locate([entry.path for entry in here])
        else:
            # DuckDB takes a folder of such a name for a pattern, which it is not allowed to read.
            where = f"{database}/{table}"
            names = [
                engine.remote.name(storage, layer, where, entry.path, entry.size_bytes)
                for entry in here
            ]
            remote += names if isinstance(storage, S3Storage) else []
        found += [DataFile(name, entry) for name, entry in zip(names, here, strict=True)]
    engine.remote.read_ahead(remote)
    return found


def _place(entry: IndexEntry) -> tuple[str, str, str]:
    return entry.layer, entry.database, entry.table


def arguments(connection: Any, engine: Engine, files: Sequence[DataFile]) -> str:
    """What `read_parquet` is called with for the rows of `files`, of which there is at least
    one."""
    names = ", ".join(literal(pattern(file.name)) for file in files)
    differ = len(files) > 1 and len(set(engine.schemas.fingerprints(connection, files))) > 1
    by_name = ", union_by_name = true" if differ else ""
    return f"[{names}], hive_partitioning = false{by_name}"
