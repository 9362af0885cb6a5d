"""Registering one file: a single statement, with the outcome of a batch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from fix_stores import entry, path_of

from gigapi_metadata import IndexEntry, SQLiteIndex


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SQLiteIndex]:
    with SQLiteIndex(
        tmp_path / "catalog.db", "db", "t", merge_configurations=[[0, 1000, 1]]
    ) as made:
        yield made


def test_a_file_that_joins_a_plan_is_one_statement(index: SQLiteIndex) -> None:
    index.batch([entry(1)])
    index.batch([entry(2)])  # from now on the table's number is known
    (connection,) = index.connection._idle
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    index.batch([entry(3)])
    connection.set_trace_callback(None)
    # Named again for each step of the trigger.
    assert {tuple(each.split()[:3]) for each in statements if not each.startswith("--")} == {
        ("INSERT", "INTO", "arrivals")
    }
    assert [plan.paths for plan in index.plans()] == [[path_of(n) for n in (1, 2, 3)]]


def test_a_file_that_is_there_is_replaced_and_planned_once(index: SQLiteIndex) -> None:
    index.batch([entry(1), entry(2)])
    index.batch([entry(1, row_count=7)])
    found = index.get(path_of(1))
    assert found is not None
    assert found.row_count == 7
    assert [plan.paths for plan in index.plans()] == [[path_of(1), path_of(2)]]


def test_one_by_one_or_at_once_makes_the_same_plans(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    files: list[IndexEntry] = []
    for number in range(150):
        where = path_of(number, draw.choice([1, 1, 2]), draw.choice(["a", "b", ""])).lstrip("/")
        size = draw.choice([0, 1, 99, 100, 101, 350, 1000, 1001, 2**63 - 1])
        writer = draw.choice(["", "w"])
        files.append(entry(number, path=where, size_bytes=size, writer_id=writer))
    rows = [[0, 1000, 1], [0, 2**63 - 1, 2]]
    plans = []
    for at_once in (False, True):
        with SQLiteIndex(tmp_path / f"{at_once}.db", "db", "t", None, rows) as index:
            for batch in [files] if at_once else [[each] for each in files]:
                index.batch(batch)
            plans.append(
                [
                    (plan.dir, plan.writer_id, plan.iteration, plan.paths, plan.size_bytes)
                    for plan in index.plans()
                ]
            )
            assert len(index.get_all()) == 150
    assert plans[0] == plans[1], f"seed {seed}"
