"""A table's whole maintenance at once, told step by step: for the demo and for trying it out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gigapi_metadata.errors import MetadataError
from gigapi_metadata.index.sync import Index
from gigapi_metadata.model import PlanKind, QueuedPlan
from gigapi_metadata.storage import LocalStorage, Storages
from gigapi_metadata.timerange import Window
from gigapi_metadata.worker.columns import literal, quoted
from gigapi_metadata.worker.compact import ALWAYS, compact
from gigapi_metadata.worker.finder import Filter, Selector, Tables
from gigapi_metadata.worker.loop import Options, Worker

QUERY_RUNS = 3


class Snapshot(msgspec.Struct, frozen=True):
    """A table at one moment. `checksum` is of its rows, in whatever order and files they are;
    `query_s` is the best of some runs of a query over all of it. `layers`: name -> files.
    `step_s` is how long it took to get here from the step before."""

    files: int
    bytes: int
    rows: int
    checksum: int
    query_s: float
    layers: dict[str, int]
    on_disk: int
    step_s: float = 0.0


def snapshot(index: Index[Any], storages: Storages) -> Snapshot:
    """Look at a table whose layers are all local.

    Raises:
        MetadataError: one of them is not.
    """
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
    rows, checksum, best = _read(names) if names else (0, 0, 0.0)
    size = sum(entry.size_bytes for entry in entries)
    return Snapshot(len(entries), size, rows, checksum, best, layers, on_disk)


def _read(names: Sequence[str]) -> tuple[int, int, float]:
    """The rows of these files, their checksum, and how long a query over all of them takes."""
    import duckdb

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
    return int(rows), int(checksum or 0), min(times)


def demo_maintenance(
    catalog: Tables,
    storages: Storages,
    database: str,
    table: str,
    say: Callable[[str, Snapshot], None],
    options: Options | None = None,
    *,
    tiered: Window = ALWAYS,
) -> tuple[Snapshot, Snapshot]:
    """Compact a table, tier it to its next layer if it has one, and drop what is left over, at
    once instead of after the timeouts. `say(step, snapshot)` after each; the first and the last.

    With `tiered` only files that overlap it move on at once. Of `options.wanted` the writer counts,
    for moves and drops.

    Raises:
        MetadataError: a job failed, or the rows are not the same as before.
    """
    at = _Place(catalog, storages, catalog.table(database, table), options or Options())
    first = snapshot(at.index, storages)
    say("before", first)
    say("compacted", _after(at, first, lambda: _compact(at)))
    if len(at.index.layers) > 1:
        say("tiered", _after(at, first, lambda: _at_once(at, "move", tiered)))
    last = _after(at, first, lambda: _at_once(at, "drop", ALWAYS))
    say("dropped", last)
    return first, last


class _Place(msgspec.Struct, frozen=True):
    """What is worked on, and with what."""

    catalog: Tables
    storages: Storages
    index: Index[Any]
    options: Options

    @property
    def name(self) -> str:
        return f"{self.index.database}.{self.index.table}"


def _after(at: _Place, first: Snapshot, step: Callable[[], None]) -> Snapshot:
    """The table after `step`, which must not have changed its rows."""
    started = time.perf_counter()
    step()
    seconds = time.perf_counter() - started
    found = msgspec.structs.replace(snapshot(at.index, at.storages), step_s=seconds)
    if (first.rows, first.checksum) != (found.rows, found.checksum):
        raise MetadataError(f"the rows of {at.name} are not the same as before")
    return found


def _compact(at: _Place) -> None:
    outcomes = compact(
        at.catalog, at.storages, at.index.database, at.index.table, options=at.options
    )
    _check("merge", at, [each.status for each in outcomes])


def _at_once(at: _Place, kind: PlanKind, window: Window) -> None:
    """Carry out the plans of a kind, those that are due and then the others. Drops leave readers no
    grace."""
    wanted = Filter(
        [Selector(at.index.database, at.index.table)],
        (kind,),
        at.options.wanted.writer_id,
        window=window,
    )
    _work(at, kind, wanted)
    if sum(at.index.retry(plan) for plan in at.index.plans() if _passes(at.index, plan, wanted)):
        _work(at, kind, wanted)


def _work(at: _Place, kind: PlanKind, wanted: Filter) -> None:
    settings = msgspec.structs.replace(at.options, wanted=wanted)
    with Worker(at.catalog, at.storages, settings) as worker:
        totals = worker.run(once=True)
    _check(kind, at, list(totals))


def _passes(index: Index[Any], plan: QueuedPlan, wanted: Filter) -> bool:
    if plan.kind not in wanted.kinds or wanted.writer_id not in (None, plan.writer_id):
        return False
    return _overlaps(index, plan, wanted.window)


def _overlaps(index: Index[Any], plan: QueuedPlan, window: Window) -> bool:
    if window.unbounded:
        return True
    entries = (index.get(path) for path in plan.paths)
    return any(e is not None and window.overlaps(e.min_time, e.max_time) for e in entries)


def _check(kind: PlanKind, at: _Place, statuses: Sequence[str]) -> None:
    if "failed" in statuses or "set aside" in statuses:
        raise MetadataError(f"a {kind} failed; see the plans of {at.name}")
