"""The demo's queries: which files the catalog finds for each, and what is in them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from gigapi_metadata.cli import output
from gigapi_metadata.cli.demo_lake import END, HOUR, MINUTE, SECOND, START

if TYPE_CHECKING:
    from gigapi_metadata.index.sync import Index
    from gigapi_metadata.storage import Storages

RUNS = 2

_TEN = START + 2 * HOUR


class Window(NamedTuple):
    """A query's: both bounds are inclusive."""

    label: str
    after: int
    before: int


WINDOWS = (
    Window("the last ten minutes", END - 10 * MINUTE, END - 1),
    Window("one whole hour", START + HOUR, START + 2 * HOUR - 1),
    Window("two minutes past ten", _TEN, _TEN + 2 * MINUTE - 1),
    Window("around ten o'clock", _TEN - 5 * MINUTE, _TEN + 5 * MINUTE - 1),
    Window("the whole morning", START, END - 1),
)


def find(index: Index[Any], window: Window) -> dict[str, Any]:
    """One query: how many files it finds, how long it takes, and what the folders' names miss."""
    label, after, before = window
    started = time.perf_counter()
    found = index.query(after=after, before=before)
    seconds = time.perf_counter() - started
    hours = [f"/hour={output.iso(at)[11:13]}/" for at in range(after - after % HOUR, before, HOUR)]
    missed = [entry.path for entry in found if not any(hour in entry.path for hour in hours)]
    return {
        "label": label,
        "after": after,
        "before": before,
        "after_iso": output.iso(after),
        "before_iso": output.iso(before),
        "files": len(found),
        "milliseconds": round(seconds * 1000, 3),
        "missed_by_folder_name": missed,
    }


class Answers(NamedTuple):
    """What all queries gave, to be compared, and how each of them went."""

    values: list[Any]
    queries: list[dict[str, Any]]


def answer(index: Index[Any], storages: Storages) -> Answers:
    """Every query from question to answer: its files from the catalog, their rows with DuckDB. The
    best of some runs."""
    import duckdb

    values, queries = [], []
    with duckdb.connect(":memory:") as connection:
        for window in WINDOWS:
            times = []
            for _ in range(RUNS):
                started = time.perf_counter()
                names = list(_names(index, storages, window))
                value = connection.execute(_statement(window), [names]).fetchall()
                times.append(time.perf_counter() - started)
            values.append(value)
            queries.append(
                {
                    "label": window.label,
                    "files": len(names),
                    "rows": sum(row[1] for row in value),
                    "milliseconds": round(min(times) * 1000, 3),
                }
            )
    return Answers(values, queries)


def _names(index: Index[Any], storages: Storages, window: Window) -> Iterator[str]:
    for entry in index.query(after=window.after, before=window.before):
        storage: Any = storages.table(entry.layer, index.database, index.table)
        yield os.fspath(storage.local(entry.path))


def _statement(window: Window) -> str:
    """Exact whatever the rows' order is: no sum of floats."""
    first, end = (output.iso(at) for at in (window.after, window.before + 1))
    assert window.after % SECOND == (window.before + 1) % SECOND == 0
    return (
        "SELECT sensor, count(*), min(temperature), max(temperature) "
        "FROM read_parquet(?, hive_partitioning = false) "
        f"WHERE __timestamp::TIMESTAMPTZ >= '{first}' AND __timestamp::TIMESTAMPTZ < '{end}' "
        "GROUP BY sensor ORDER BY sensor"
    )
