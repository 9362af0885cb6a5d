"""Group commit: what is submitted at a time goes out together, each change with its own outcome."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import Future
from typing import Any

import pytest
from fix_stores import Backend, OpenIndex, entry, path_of

from gigapi_metadata import (
    AsyncSQLiteIndex,
    InvalidEntry,
    SQLiteIndex,
    StoreError,
    UnknownLayer,
)
from gigapi_metadata.index.groups import MOST_ENTRIES, Waiting, commit
from gigapi_metadata.stores.base import Change, run


def test_a_submitted_change_is_made(open_index: OpenIndex) -> None:
    index = open_index()
    assert index.submit([entry(1)]).result(30) == 0
    assert index.get(path_of(1)) == entry(1)
    assert index.submit([entry(2)], [path_of(1)]).result(30) == 0
    assert index.get_all() == [entry(2)]
    assert index.submit([]).result(30) == 0


def test_each_change_has_its_own_outcome(open_index: OpenIndex) -> None:
    index = open_index()
    futures = [
        index.submit([entry(1)]),
        index.submit([entry(2, size_bytes=-1)]),
        index.submit([entry(3, layer="nowhere")]),
        index.submit([entry(4)], ["/absolute"]),
        index.submit([entry(5)]),
    ]
    outcomes = [future.exception(30) for future in futures]
    assert [type(outcome) for outcome in outcomes] == [
        type(None), InvalidEntry, UnknownLayer, InvalidEntry, type(None),
    ]  # fmt: skip
    assert index.get_all() == [entry(1), entry(5)]


def test_those_of_one_thread_are_made_in_order(open_index: OpenIndex, seed: int) -> None:
    index, dice = open_index(), random.Random(seed)
    expected: dict[str, Any] = {}
    futures = []
    for size in range(100):
        number = dice.randrange(8)
        if dice.random() < 0.3:
            futures.append(index.submit([], [path_of(number)]))
            expected.pop(path_of(number), None)
        else:
            new = entry(number, size_bytes=size)
            futures.append(index.submit([new]))
            expected[new.path] = new
    assert [future.result(60) for future in futures] == [0] * 100
    assert {each.path: each for each in index.get_all()} == expected


def test_threads_submit_and_nothing_is_lost(open_index: OpenIndex) -> None:
    index = open_index()
    faults: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for number in range(20):
                assert index.submit([entry(100 * thread + number)]).result(60) == 0
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert index.get_all() == sorted(
        (entry(100 * thread + number) for thread in range(8) for number in range(20)),
        key=lambda each: (each.min_time, each.path),
    )


def test_closing_waits_for_what_was_submitted(backend: Backend) -> None:
    backend.fresh()
    index = backend.index()
    futures = [index.submit([entry(n)]) for n in range(30)]
    index.close()
    assert [future.result(30) for future in futures] == [0] * 30
    assert len(backend.index().get_all()) == 30


# What goes together


def changes(*named: tuple[list[int], list[int]]) -> Waiting[Any]:
    waiting: Waiting[Any] = Waiting(lambda change: False)
    for position, (add, remove) in enumerate(named):
        change = Change([entry(n) for n in add], [path_of(n) for n in remove])
        waiting.put(change, position)
    return waiting


def test_changes_that_name_one_path_are_never_together() -> None:
    waiting = changes(([1], []), ([2], []), ([], [1]), ([3], []))
    assert waiting.take()[1] == [0, 1]
    assert waiting.take()[1] == [2, 3]
    assert waiting.take() == ([], [])


def test_a_commit_gathers_so_much_and_no_more() -> None:
    most = list(range(MOST_ENTRIES))
    waiting = changes((most, []), ([MOST_ENTRIES], []), ([MOST_ENTRIES + 1], []))
    assert waiting.take()[1] == [0]
    assert waiting.take()[1] == [1, 2]


class Refusing:
    """A store that has something against a path."""

    def __init__(self, bad: str) -> None:
        self.bad = bad
        self.made: list[list[str]] = []

    def commit(self, table: Any, change: Change, rules: Any) -> Any:
        paths = [each.path for each in change.add]
        if self.bad in paths:
            raise StoreError(f"no {self.bad}")
        self.made.append(paths)
        yield


def test_a_commit_that_is_refused_is_made_one_by_one() -> None:
    store = Refusing(path_of(2))

    class Verbs:
        ref = rules = None

    verbs: Any = Verbs()
    verbs.store = store
    found, _ = changes(([1], []), ([2], []), ([3], [])).take()
    outcomes = run(commit(verbs, found), lambda request: None)
    assert [type(outcome) for outcome in outcomes] == [type(None), StoreError, type(None)]
    assert store.made == [[path_of(1)], [path_of(3)]]


def test_the_thread_ends_when_there_is_nothing_to_do(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gigapi_metadata.index import groups

    monkeypatch.setattr(groups, "IDLE_S", 0.01)
    with SQLiteIndex(tmp_path / "lake.db", "db", "t") as index:
        index.submit([entry(1)]).result(30)
        threads = [t for t in threading.enumerate() if t.name == "gigapi-metadata-commit"]
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        index.submit([entry(2)]).result(30)
        assert len(index.get_all()) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_a_thread_of_its_own(tmp_path: Any) -> None:
    with SQLiteIndex(tmp_path / "lake.db", "db", "t") as index:
        index.submit([entry(1)]).result(30)
        gc.collect()
        child = os.fork()
        if child == 0:
            try:
                index.submit([entry(2)]).result(30)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert index.get_all() == [entry(1), entry(2)]


def test_a_callback_that_ends_its_thread_ends_no_other(tmp_path: Any) -> None:
    def leave(future: Future[int]) -> None:
        sys.exit()

    with SQLiteIndex(tmp_path / "lake.db", "db", "t") as index:
        for _ in range(3):
            futures = [index.submit([entry(n)]) for n in range(5)]
            for future in futures:
                future.add_done_callback(leave)
            assert [future.result(30) for future in futures] == [0] * 5


def test_a_callback_may_close_the_index(tmp_path: Any) -> None:
    closed = threading.Event()
    index = SQLiteIndex(tmp_path / "lake.db", "db", "t")

    def close(future: Future[int]) -> None:
        index.close()
        closed.set()

    index.submit([entry(1)]).add_done_callback(close)
    assert closed.wait(30)


def test_a_program_that_ends_has_made_what_it_submitted(tmp_path: Any) -> None:
    program = """
import sys
from gigapi_metadata import IndexEntry, SQLiteIndex
index = SQLiteIndex(sys.argv[1], "db", "t")
for n in range(100):
    path = f"date=2027-01-15/hour=08/{n}.1.parquet"
    index.submit([IndexEntry("db", "t", path, size_bytes=1, min_time=n, max_time=n)])
"""
    lake = tmp_path / "lake.db"
    subprocess.run([sys.executable, "-c", program, lake], check=True, timeout=60)
    with SQLiteIndex(lake, "db", "t") as index:
        assert len(index.get_all()) == 100


def test_tasks_that_are_all_cancelled_leave_nobody_waiting(tmp_path: Any) -> None:
    async def main(turns: int) -> None:
        async with AsyncSQLiteIndex(tmp_path / f"{turns}.db", "db", "t") as index:
            futures = [index.submit([entry(n % 3)]) for n in range(9)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            outcomes = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 30)
            assert any(isinstance(each, asyncio.CancelledError) for each in outcomes)
            assert await index.submit([entry(7)]) == 0

    for turns in range(3):
        asyncio.run(main(turns))


def test_closing_needs_no_server_when_nothing_waits() -> None:
    store = Refusing(path_of(1))

    class Verbs:
        ref = rules = None

    verbs: Any = Verbs()
    verbs.store = store
    assert run(commit(verbs, [Change()]), lambda request: None) == [None]
    assert store.made == []


def test_a_change_that_may_have_been_made_is_not_made_with_others() -> None:
    """Those beside it have not been made."""
    changes = [Change([entry(number)]) for number in range(4)]
    waiting: Waiting[Any] = Waiting(lambda change: change is changes[1])
    for change in changes:
        waiting.put(change, Future())
    assert [waiting.take()[0] for _ in range(3)] == [changes[:1], changes[1:2], changes[2:]]
