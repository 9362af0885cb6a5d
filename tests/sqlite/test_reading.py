"""What a query costs, counted in steps of SQLite's machine; folders as prefixes; long answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from fix_stores import entry, path_of

from gigapi_metadata import AsyncSQLiteIndex, IndexEntry, Layer, SQLiteIndex
from gigapi_metadata.stores.base import Selection, aparts, parts
from gigapi_metadata.timerange import Window

LAYERS = [Layer("file:///hot", "hot", ttl_sec=10**6), Layer("file:///cold", "cold")]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SQLiteIndex]:
    with SQLiteIndex(tmp_path / "catalog.db", "db", "t", LAYERS, []) as made:
        yield made


def steps(index: SQLiteIndex, call: Callable[[], object]) -> int:
    """How many instructions SQLite runs for `call`, once the statements are compiled."""
    call()
    (connection,) = index.connection._idle
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    connection.set_progress_handler(count, 1)
    try:
        call()
    finally:
        connection.set_progress_handler(None, 0)
    return counted


def hour(number: int) -> list[IndexEntry]:
    """Twenty files of one folder, each a second long."""
    return [
        entry(
            path=f"date=2027/hour={number:04}/{minute:02}.1.parquet",
            min_time=(number * 20 + minute) * 10**9,
            max_time=(number * 20 + minute + 1) * 10**9 - 1,
            layer="hot",
        )
        for minute in range(20)
    ]


CALLS: dict[str, Callable[[SQLiteIndex], object]] = {
    "a window": lambda index: index.query(after=20 * 10**9, before=60 * 10**9),
    "a folder": lambda index: index.query(folder="date=2027/hour=0003/"),
    "a window and a folder": lambda index: index.query(
        after=20 * 10**9, before=60 * 10**9, folder="date=2027/hour=0001"
    ),
    "one file": lambda index: index.get(hour(3)[5].path),
    "a move when none is due": lambda index: index.get_move_plan("", "hot"),
    "an addition": lambda index: index.batch([hour(3)[5]]),
}


@pytest.mark.parametrize("call", CALLS)
def test_the_cost_does_not_follow_the_files_there_are(index: SQLiteIndex, call: str) -> None:
    index.batch([each for number in range(5) for each in hour(number)])
    before = steps(index, lambda: CALLS[call](index))
    index.batch([each for number in range(5, 100) for each in hour(number)])
    assert steps(index, lambda: CALLS[call](index)) <= before * 1.1


def test_the_cost_of_ending_a_plan_does_not_follow_those_that_wait(tmp_path: Path) -> None:
    with SQLiteIndex(tmp_path / "catalog.db", "db", "t", merge_configurations=[[0, 1, 1]]) as index:
        costs = []
        for first in (0, 1000):
            index.batch([entry(first + n) for n in range(20 if not first else 1000)])
            costs.append(steps(index, lambda: lease_and_end(index)))
        assert costs[1] <= costs[0] * 1.1


def lease_and_end(index: SQLiteIndex) -> None:
    plan = index.get_merge_plan("", "", 1)
    assert plan is not None
    index.end_merge(plan)


def test_the_folders_there_are_take_a_step_each(index: SQLiteIndex) -> None:
    index.batch([entry(number, layer="hot") for number in range(10)])
    before = steps(index, index.paths)
    index.batch([entry(number, layer="hot") for number in range(10, 1000)])
    assert steps(index, index.paths) <= before * 1.1


@pytest.fixture
def mixed(index: SQLiteIndex, seed: int) -> SQLiteIndex:
    """Files whose folders begin alike, of all lengths, many at the same time."""
    draw = random.Random(seed)
    folders = ["", "a", "a/b", "a/b/c", "a b", "a-b", "ab", "ä", "a\U0010ffff", "z/a"]
    index.batch(
        [
            entry(
                path=f"{folder}/{name}.{level}.parquet".lstrip("/"),
                min_time=(first := draw.randrange(-20, 20)),
                max_time=first + draw.choice([0, 1, 5, 1000, 2**40]),
                layer=draw.choice(["hot", "cold"]),
            )
            for folder in folders
            for name in ("a", "b", "b.c", "\U0010ffff")
            for level in (1, 2)
        ]
    )
    return index


PREFIXES = ["a", "a/", "a/b", "a/b/", "a/b/c/", "a/b.", "ä", "b", "/", "/a", "a//", "\U0010ffff"]
PREFIXES += ["a\U0010ffff", "a\U0010ffff/\U0010ffff", "z/a/b.c.1.parquet", "z/a/b.c.1.parquet/"]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("window", [Window(), Window(-5, 7)], ids=["always", "window"])
def test_a_folder_is_a_prefix_of_the_whole_path(
    mixed: SQLiteIndex, prefix: str, window: Window
) -> None:
    wanted = Selection(window, prefix)
    assert mixed.query(folder=prefix, after=window.after, before=window.before) == [
        each for each in mixed.get_all() if wanted.matches(each)
    ]


def stream(index: SQLiteIndex, selection: Selection, size: int) -> Iterator[list[IndexEntry]]:
    verbs = index._verbs
    return parts(verbs.store.stream(verbs.ref, selection, size), index.connection.perform)


SELECTIONS = {
    "everything": Selection(),
    "a window": Selection(Window(-5, 7)),
    "one end": Selection(Window(after=3)),
    "a folder": Selection(folder="a/b"),
    "all of it": Selection(Window(-5, 7), "a", 2, "hot"),
    "nothing": Selection(Window(-500, -400)),
}


class TestLongAnswers:
    @pytest.mark.parametrize("wanted", SELECTIONS)
    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_are_the_same_in_parts(self, mixed: SQLiteIndex, wanted: str, size: int) -> None:
        selection = SELECTIONS[wanted]
        found = list(stream(mixed, selection, size))
        assert [each for part in found for each in part] == [
            each for each in mixed.get_all() if selection.matches(each)
        ]
        assert all(len(part) == size for part in found[:-1])

    def test_are_of_one_moment(self, index: SQLiteIndex) -> None:
        """A merge whose result begins before what was read already must not take rows away."""
        files = [entry(number, layer="cold") for number in range(10)]
        index.batch(files)
        answer = stream(index, Selection(), 4)
        found = next(answer)
        index.batch([msgspec.structs.replace(files[0], path=path_of(0, 2))], files)
        for part in answer:
            found += part
        assert found == files
        assert [each.path for each in index.get_all()] == [path_of(0, 2)]

    def test_give_their_connection_back(self, mixed: SQLiteIndex) -> None:
        for read in (next, list):
            answer = stream(mixed, Selection(), 5)
            read(answer)
            answer.close()
            (connection,) = mixed.connection._idle
            assert not connection.in_transaction
        mixed.batch(None, ["a/a.1.parquet"])

    def test_of_a_catalog_that_is_not_there_are_empty(self, tmp_path: Path) -> None:
        with SQLiteIndex(tmp_path / "none.db", "db", "t") as index:
            assert list(stream(index, Selection(), 5)) == []
            assert not index.connection._idle
        assert not (tmp_path / "none.db").exists()

    def test_of_a_closed_catalog_end_and_leave_nothing_open(self, mixed: SQLiteIndex) -> None:
        answer = stream(mixed, Selection(), 5)
        next(answer)
        mixed.close()
        assert sum(map(len, answer)) == 75
        assert not mixed.connection._idle

    async def test_can_be_awaited_and_left(self, mixed: SQLiteIndex) -> None:
        async with AsyncSQLiteIndex(mixed.connection.path, "db", "t") as index:
            verbs = index._verbs

            def answer() -> object:
                steps = verbs.store.stream(verbs.ref, Selection(), 7)
                return aparts(steps, index.connection.perform)

            found = [each async for part in answer() for each in part]
            assert found == mixed.get_all()
            left = answer()
            await anext(left)
            pending = asyncio.ensure_future(anext(left))
            await asyncio.sleep(0)
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)
            await left.aclose()
            assert await index.get_all() == found
