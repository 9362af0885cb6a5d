"""A change whose caller did not wait for the end counts once when the same client repeats it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from fix_stores import Backend, OpenIndex, entry, path_of
from interrupts import interrupted_at_steps

from gigapi_metadata import connect, connect_async
from gigapi_metadata.stores import broken_off
from gigapi_metadata.stores.base import Change, TableRef
from gigapi_metadata.stores.broken_off import BrokenOff, Fate

ROWS = [[0, 150, 1]]  # each file is a plan of its own
CODE = {
    "sqlite": ("sqlite/connection", "sqlite/store"),
    "json": ("json/connection", "json/store", "json/journal", "json/lock", "json/files"),
    "redis": ("redis/wire", "redis/connection"),
}


def merge(index: Any, paths: list[str]) -> bool:
    """Whether there was something to merge."""
    merged = False
    while (plan := index.get_merge_plan("", "", 1)) is not None:
        if plan.paths_from[0] in paths:
            index.complete_merge(plan, entry(path=plan.path_to))
            merged = True
    return merged


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a lock left behind is closed late
def test_a_change_that_was_interrupted_anywhere(open_index: OpenIndex, backend: Backend) -> None:
    if backend.loop is not None or backend.kind == "cluster":
        pytest.skip("signals raise in the main thread: a loop gets them as a cancellation")
    index, look = (open_index(merge_configurations=ROWS) for _ in range(2))
    index.batch([entry(9)])
    numbers = iter(range(10, 10_000))
    given: list[int] = []

    def add() -> None:
        given[:] = [next(numbers)]
        index.batch([entry(given[0])])

    code = CODE[backend.kind]
    outcomes = set()
    for where in interrupted_at_steps(add, *code, most=60):
        path = path_of(given[0])
        there = merge(look, [path])  # a server may still have been about it a moment ago
        before = {each.path for each in look.get_all()}
        index.batch([entry(given[0])])
        after = {each.path for each in look.get_all()}
        assert after == (before if there else before | {path}), where
        outcomes.add(there)
        merge(look, [path])
    assert outcomes == {True, False}


@contextmanager
def sqlite_is_busy(url: str) -> Iterator[None]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def json_is_busy(url: str) -> Iterator[None]:
    root = url.removeprefix("json://")
    lock = os.open(f"{root}/db/t/.gigapi/lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@pytest.mark.parametrize(
    ("form", "busy"),
    [("sqlite:///{}/catalog.db", sqlite_is_busy), ("json://{}/catalog", json_is_busy)],
)
async def test_a_change_that_was_cancelled_while_it_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, busy: Callable[[str], Any]
) -> None:
    begun: list[Fate] = []
    begin = Fate.begin
    monkeypatch.setattr(Fate, "begin", lambda fate: [begun.append(fate), begin(fate)][1])
    url = form.format(tmp_path)
    look = connect(url, merge_configurations=ROWS).table("db", "t")
    look.batch([entry(1)])
    async with connect_async(url, merge_configurations=ROWS) as catalog:
        with busy(url):
            add = asyncio.create_task(catalog.table("db", "t").batch([entry(2)], [path_of(1)]))
            while not begun:
                await asyncio.sleep(0.001)
            add.cancel()
            with pytest.raises(asyncio.CancelledError):
                await add
        while look.get(path_of(2)) is None:  # it goes on by itself
            await asyncio.sleep(0.001)
        merge(look, [path_of(2)])
        before = [each.path for each in look.get_all()]
        assert path_of(2) not in before
        index = catalog.table("db", "t")
        await index.batch([entry(2)], [path_of(1)])
        assert [each.path for each in look.get_all()] == before
        await index.batch([entry(2)])  # once it has been settled, it is a change as any other
        assert path_of(2) in [each.path for each in look.get_all()]


@pytest.mark.parametrize("form", ["sqlite:///{}/catalog.db", "json://{}/catalog"])
async def test_a_change_that_was_cancelled_before_it_began(tmp_path: Path, form: str) -> None:
    async with connect_async(form.format(tmp_path)) as catalog:
        index = catalog.table("db", "t")
        release = Event()
        with ThreadPoolExecutor(1) as threads:
            asyncio.get_running_loop().set_default_executor(threads)
            threads.submit(release.wait)
            add = asyncio.create_task(index.batch([entry(1)]))
            await asyncio.sleep(0)
            add.cancel()
            with pytest.raises(asyncio.CancelledError):
                await add
            release.set()
            assert await index.get_all() == []
            await index.batch([entry(1)])
            assert [each.path for each in await index.get_all()] == [path_of(1)]


def test_what_is_remembered_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    memory = BrokenOff(clock=lambda: now[0])
    table = TableRef("db", "t")

    def make(number: int, *, break_off: bool) -> list[str]:
        """The paths that were left to do."""
        done: list[str] = []

        def steps(change: Change, fate: Fate) -> Iterator[None]:
            done.extend(each.path for each in change.add)
            yield
            fate.made = True
            if break_off:
                raise KeyboardInterrupt

        verb = memory.commit(table, Change([entry(number)]), steps, lambda fate: fate)
        answer = None
        with suppress(StopIteration, KeyboardInterrupt):
            while True:
                asked = verb.send(answer)
                answer = asked and asked.wait()
        return done

    assert make(1, break_off=True) == [path_of(1)]
    assert make(2, break_off=True) == [path_of(2)]
    assert make(1, break_off=False) == []
    assert make(1, break_off=False) == [path_of(1)], "settled by then"
    now[0] = broken_off.REPEATABLE_S + 1
    assert make(2, break_off=False) == [path_of(2)], "too long ago"
    monkeypatch.setattr(broken_off, "REMEMBERED", 2)
    for number in (3, 4, 5):
        make(number, break_off=True)
    assert [make(number, break_off=False) for number in (3, 4, 5)] == [[path_of(3)], [], []]
