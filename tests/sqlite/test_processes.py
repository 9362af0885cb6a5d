"""Several processes on one file; and kill -9 at any moment."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from fix_stores import entry

from gigapi_metadata import SQLiteIndex

BATCH = 25
WRITER = """
import sys
from gigapi_metadata import IndexEntry, SQLiteIndex
file, number = sys.argv[1], int(sys.argv[2])
def path_of(n):
    return f"date=2027-01-15/hour=08/file{n:04}.1.parquet"
def entries(batch):
    return [IndexEntry("db", "t", path_of(batch * 25 + n), 1, n, n) for n in range(25)]
index = SQLiteIndex(file, "db", "t", merge_configurations=[[0, 10**9, 1]])
first = number
print("ready", flush=True)
while True:
    # Each batch adds its files and takes away those of the one before the last.
    gone = entries(number - 2) if number - 2 >= first else []
    index.batch(entries(number), gone)
    print(number, flush=True)
    if number % 3 == 0:
        plan = index.get_merge_plan("", "", 1)
        if plan is not None:
            index.release(plan)
    number += 1
"""
FORKED = """
import os, sys
from gigapi_metadata import IndexEntry, SQLiteIndex, SQLiteKVStore
def entry(n):
    return IndexEntry("db", "t", f"date=2027-01-15/hour=08/file{n}.1.parquet", 1, n, n)
index, values = SQLiteIndex(sys.argv[1], "db", "t"), SQLiteKVStore(sys.argv[1])
index.batch([entry(1)])
values.put("key", b"parent")
child = os.fork()
if not child:
    index.batch([entry(2)])
    values.put("key", b"child")
    index.close()
    found = index.get_all()
    os._exit(0 if entry(1) in found and entry(2) in found else 1)
index.batch([entry(3)])
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert index.get_all() == [entry(1), entry(2), entry(3)]
assert values.get("key") == b"child"
index.batch(None, [entry(1)])
index.close()
values.close()
"""


@pytest.mark.parametrize("part", range(4))
def test_a_writer_killed_at_any_moment_leaves_whole_batches(
    tmp_path: Path, seed: int, part: int
) -> None:
    draw = random.Random(seed + part)
    file, first = tmp_path / "catalog.db", 0
    acknowledged: list[int] = []
    for kill in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(file), str(first)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0, 0.06))  # the moment of death is what this test is about
        writer.kill()
        acknowledged = [int(line) for line in writer.communicate()[0].splitlines()] or acknowledged
        assert writer.returncode == -signal.SIGKILL
        whole = whole_batches(file, f"seed {seed}, part {part}, kill {kill}")
        if acknowledged:
            last = acknowledged[-1]
            assert last in whole or last + 1 in whole, f"seed {seed}: an acknowledged batch is lost"
            assert whole[-1] in (last, last + 1)
        first = (whole[-1] if whole else first) + 3


def whole_batches(file: Path, when: str) -> list[int]:
    """The batches that are there; none in parts, and all that is kept beside them agrees."""
    with SQLiteIndex(file, "db", "t") as index:
        found = index.get_all()
        numbers = [int(each.path.rpartition("/file")[2].split(".")[0]) for each in found]
        batches: dict[int, int] = {}
        for number in numbers:
            batches[number // BATCH] = batches.get(number // BATCH, 0) + 1
        assert set(batches.values()) <= {BATCH}, f"{when}: half a batch"
        planned = [path for plan in index.plans() if plan.kind == "merge" for path in plan.paths]
        assert len(planned) == len(set(planned)), f"{when}: a file was planned twice"
        assert set(planned) >= {each.path for each in found}
    if found:
        with closing(sqlite3.connect(file)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            (counted,) = db.execute("SELECT count(*) FROM files INDEXED BY files_path").fetchone()
            assert counted == len(found), f"{when}: the two orders of files differ"
    return sorted(batches)


STARTER = """
import sys
from gigapi_metadata import IndexEntry, SQLiteIndex
index = SQLiteIndex(sys.argv[1], "db", "t")
print("ready", flush=True)
sys.stdin.readline()
path = f"date=2027-01-15/hour=08/file{sys.argv[2]}.1.parquet"
index.batch([IndexEntry("db", "t", path, 1, 1, 1)])
"""


@pytest.mark.parametrize("turn", range(4))
def test_processes_that_make_the_catalog_at_once_make_one(tmp_path: Path, turn: int) -> None:
    file = tmp_path / "new" / "catalog.db"
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, str(file), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    for starter in starters:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "ready\n"
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("go\n")
        starter.stdin.flush()
    errors = [starter.communicate(timeout=60)[1] for starter in starters]
    assert [starter.returncode for starter in starters] == [0] * 8, errors
    with SQLiteIndex(file, "db", "t") as index:
        assert len(index.get_all()) == 8


@pytest.mark.parametrize("turn", range(10))
def test_threads_that_make_the_catalog_at_once_make_one(tmp_path: Path, turn: int) -> None:
    barrier = threading.Barrier(8)
    errors: list[Exception] = []
    with SQLiteIndex(tmp_path / "catalog.db", "db", "t") as index:

        def start(number: int) -> None:
            barrier.wait()
            try:
                index.batch([entry(number)])
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert len(index.get_all()) == 8


def test_an_index_survives_a_fork_on_both_sides(tmp_path: Path) -> None:
    file = tmp_path / "catalog.db"
    # In a process of its own: this one has threads.
    command = [sys.executable, "-c", FORKED, str(file)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_who_makes_the_catalog_waits_for_whoever_is_at_it_already(tmp_path: Path) -> None:
    file = tmp_path / "catalog.db"
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # as another process does that makes it
    done = threading.Timer(0.1, other.rollback)
    done.start()
    try:
        with SQLiteIndex(file, "db", "t") as index:
            index.batch([entry(1)])
            assert index.get_all() == [entry(1)]
    finally:
        done.join()
        other.close()
