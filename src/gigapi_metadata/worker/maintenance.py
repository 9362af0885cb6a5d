"""A table's whole maintenance at once, told step by step: for the demo and for trying it out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from gigapi_metadata.errors import MetadataError
from gigapi_metadata.index.sync import Index
from gigapi_metadata.model import PlanKind
from gigapi_metadata.storage import LocalStorage, Storages
from gigapi_metadata.worker.columns import literal, quoted
from gigapi_metadata.worker.compact import compact, hurry
from gigapi_metadata.worker.finder import Filter, Selector, Tables
from gigapi_metadata.worker.loop import Options, Worker

QUERY_RUNS = 3


class Snapshot(msgspec.Struct, frozen=True):
    """A table at one moment. `checksum` is of its rows, in whatever order and files they are;
    `query_s` is the best of some runs of a query over all of it. `layers`: name -> files."""

    files: int
    bytes: int
    rows: int
    checksum: int
    query_s: float
    layers: dict[str, int]
    on_disk: int


def snapshot(index: Index[Any], storages: Storages) -> Snapshot:
    """Look at a table whose layers are all local.

    Raises:
        MetadataError: one of them is not.
    """
    import duckdb

    entries = index.get_all()
    names, layers, on_disk = [], {}, 0
    for layer in [each.name for each in index.layers] or [""]:
        storage = storages.table(layer, index.database, index.table)
        if not isinstance(storage, LocalStorage):
            raise MetadataError(f"layer {layer!r} is not local")
        on_disk += sum(1 for _ in storage.folder.rglob("*.parquet"))
        here = [entry for entry in entries if entry.layer == layer]
        layers[layer] = len(here)
        names += [str(storage.local(entry.path)) for entry in here]
    rows, checksum, best = 0, 0, 0.0
    if names:
        source = f"read_parquet([{', '.join(map(literal, names))}], hive_partitioning = false)"
        with duckdb.connect(":memory:") as connection:
            found = connection.execute(f"SELECT count(*), sum(hash(r)) FROM {source} AS r")
            rows, checksum = found.fetchone() or (0, 0)
            column = connection.execute(f"SELECT * FROM {source} LIMIT 0").description[0][0]
            times = []
            for _ in range(QUERY_RUNS):
                started = time.perf_counter()
                connection.execute(f"SELECT min({quoted(column)}), count(*) FROM {source}")
                times.append(time.perf_counter() - started)
            best = min(times)
    size = sum(entry.size_bytes for entry in entries)
    return Snapshot(len(entries), size, int(rows), int(checksum or 0), best, layers, on_disk)


def demo_maintenance(
    catalog: Tables,
    storages: Storages,
    database: str,
    table: str,
    say: Callable[[str, Snapshot], None],
    options: Options | None = None,
) -> tuple[Snapshot, Snapshot]:
    """Compact a table, tier it to its next layer if it has one, and drop what is left over, at
    once instead of after the timeouts. `say(step, snapshot)` after each; the first and the last.

    Raises:
        MetadataError: a job failed, or the rows are not the same as before.
    """
    options = options or Options()
    index = catalog.table(database, table)
    first = snapshot(index, storages)
    say("before", first)
    compact(catalog, storages, database, table, options=options)
    say("compacted", snapshot(index, storages))
    if len(index.layers) > 1:
        _at_once(catalog, storages, index, "move", options)
        say("tiered", snapshot(index, storages))
    _at_once(catalog, storages, index, "drop", options)
    last = snapshot(index, storages)
    say("dropped", last)
    if (first.rows, first.checksum) != (last.rows, last.checksum):
        raise MetadataError("the rows are not the same as before")
    return first, last


def _at_once(
    catalog: Tables, storages: Storages, index: Index[Any], kind: PlanKind, options: Options
) -> None:
    hurry(index, [kind])
    wanted = Filter([Selector(index.database, index.table)], (kind,))
    settings = msgspec.structs.replace(options, wanted=wanted)
    with Worker(catalog, storages, settings) as worker:
        totals = worker.run(once=True)
    if totals["failed"] or totals["set aside"]:
        raise MetadataError(f"a {kind} failed; see the plans of {index.database}.{index.table}")
