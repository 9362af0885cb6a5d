"""Many processes and threads on one table: nothing is lost, and nobody sees half of a change."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from interrupts import interrupted_at_steps
from json_lab import HOURS, data, document, go_entry, go_writes, index, made, tiers

from gigapi_metadata import JSONIndex, JSONKVStore, Unavailable
from gigapi_metadata.stores.json import connection, files, lock

PROCESSES = 8


def _start(root: Path, what: str, number: int, count: int) -> subprocess.Popen[str]:
    here = Path(__file__).parent
    return subprocess.Popen(
        [sys.executable, str(here / "busy_process.py"), str(root), what, str(number), str(count)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])},
    )


def _all(root: Path, what: str, count: int) -> list[str]:
    processes = [_start(root, what, number, count) for number in range(PROCESSES)]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    return [line for text in said for line in text.splitlines()]


def test_eight_processes_add_to_the_same_folders(tmp_path: Path) -> None:
    _all(tmp_path, "add", 15)
    table = JSONIndex(tmp_path, "db", "t", tiers(tmp_path))
    expected = {
        made(number * 1000 + n, dir).path
        for number in range(PROCESSES)
        for n in range(15)
        for dir in HOURS[n % 4 :][:2]
    }
    assert {each.path for each in table.get_all()} == expected
    planned = [path for plan in table.plans() for path in plan.paths]
    assert sorted(planned) == sorted(expected), "each once"
    for dir in HOURS:
        written = document(tmp_path / "hot", dir)
        ids = [file["id"] for file in written["files"]]
        assert sorted(ids) == list(range(1, len(ids) + 1))


def test_eight_processes_are_handed_each_plan_once(tmp_path: Path) -> None:
    table = JSONIndex(tmp_path, "db", "t", tiers(tmp_path), [[0, 0, 1]])
    table.batch([made(n, HOURS[n % 4], layer="hot") for n in range(80)])
    handed = [line.split() for line in _all(tmp_path, "lease", 0)]
    assert len({id for id, _ in handed}) == len(handed) == 80
    assert {path for _, path in handed} == {made(n, HOURS[n % 4]).path for n in range(80)}


def test_a_reader_never_sees_half_a_batch(tmp_path: Path) -> None:
    table = JSONIndex(tmp_path, "db", "t", tiers(tmp_path))
    writers = [_start(tmp_path, "flip", number, 60) for number in range(2)]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        rows = [each.row_count for each in table.get_all()]
        assert len(rows) in (0, 3)
        assert len(set(rows)) <= 1, f"half a batch: {rows}"
        seen.update(rows)
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(seen) > 20, "the reader has been looking while they wrote"
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.close()


def test_a_reader_waits_when_changes_come_too_fast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = JSONIndex(tmp_path, "db", "t", tiers(tmp_path))
    table.batch([made(1, layer="hot")])
    rounds = 0
    real = connection.Session

    def busy(*args: object) -> object:
        nonlocal rounds
        rounds += 1
        if rounds <= 5:
            with monkeypatch.context() as patch:
                patch.setattr(connection, "Session", real)
                other = JSONIndex(tmp_path, "db", "t", tiers(tmp_path))
                other.batch(
                    [made(rounds + 1, layer="hot"), made(rounds + 1, HOURS[1], layer="hot")]
                )
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(connection, "Session", busy)
    assert len(table.get_all()) == 11
    assert rounds == 6


def test_threads_share_an_index(tmp_path: Path) -> None:
    table = index(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: table.batch([made(n, HOURS[n % 2])]), range(64)))
        found = list(pool.map(lambda _: len(table.get_all()), range(8)))
    assert found == [64] * 8


def test_a_lock_that_is_not_released_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOCK_TIMEOUT_S", 0.2)
    table = index(tmp_path)
    table.batch([made(1)])
    with (tmp_path / "db/t/.gigapi/lock").open() as held_by_another:
        fcntl.flock(held_by_another, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match=r"\.gigapi/lock"):
            table.batch([made(2)])
        assert table.get_all() == [made(1)], "readers don't wait"
    table.batch([made(2)])


def test_a_fork_does_not_keep_its_parents_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOCK_TIMEOUT_S", 5)
    path = str(tmp_path / "lock")
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with lock.exclusive(path):
            held.set()
            forked.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    release, child_waits = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(release, 1)
        os._exit(0)
    try:
        forked.set()
        holder.join()
        with lock.exclusive(path):
            pass
    finally:
        os.write(child_waits, b"x")
        assert os.waitpid(child, 0)[1] == 0
        os.close(release)
        os.close(child_waits)


def test_a_child_goes_on_with_its_parents_index(tmp_path: Path) -> None:
    table = index(tmp_path)
    table.batch([made(1)])
    child = os.fork()
    if child == 0:
        try:
            table.batch([made(2)])
            os._exit(0 if len(table.get_all()) in (2, 3) else 1)
        finally:
            os._exit(2)
    table.batch([made(3)])
    assert os.waitpid(child, 0)[1] == 0
    assert len(table.get_all()) == 3


def test_a_folder_deleted_under_a_waiting_writer(tmp_path: Path) -> None:
    table = index(tmp_path)
    table.batch([made(1)])
    home = tmp_path / "db" / "t" / ".gigapi"
    with ThreadPoolExecutor(1) as pool:
        with lock.exclusive(str(home / "lock")):
            waiting = pool.submit(table.batch, [made(2)])
            (home / "lock").unlink()
        assert waiting.result(30) == 0
    assert len(table.get_all()) == 2


def test_unchanged_files_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(tmp_path).batch([made(1), made(2, HOURS[1])])
    for dir in HOURS[:2]:
        os.utime(data(tmp_path, dir) / "metadata.json", ns=(1, 1))
    table = index(tmp_path)
    table.get_all()
    read = _reads(monkeypatch)
    assert len(table.get_all()) == 2
    table.query(after=0, before=1)
    assert read == []
    go_writes(data(tmp_path, HOURS[1]), [go_entry(5, HOURS[1])])
    assert [each.path for each in table.get_all()] == [made(1).path, f"{HOURS[1]}/go5.1.parquet"]
    assert read == [str(data(tmp_path, HOURS[1]) / "metadata.json")]


def test_what_was_written_here_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = index(tmp_path)
    table.batch([made(1)])
    read = _reads(monkeypatch)
    table.batch([made(2)])
    assert len(table.get_all()) == 2
    assert read == []


def _reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files of folders that are read from now on."""
    read: list[str] = []
    real: Callable[[str], object] = files.read

    def noted(path: str) -> object:
        if not path.endswith("journal.json"):
            read.append(path)
        return real(path)

    monkeypatch.setattr(files, "read", noted)
    return read


def test_threads_share_a_value_store(tmp_path: Path) -> None:
    store = JSONKVStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.put(f"k{n}", b"%d" % n), range(40)))
    assert [store.get(f"k{n}") for n in range(40)] == [b"%d" % n for n in range(40)]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # what is left behind is closed late
@pytest.mark.parametrize("way", [lock.exclusive, lock.shared])
def test_an_interrupt_leaves_the_lock_to_others(tmp_path: Path, way: Callable[[str], Any]) -> None:
    file = tmp_path / "lock"
    file.touch()

    def use() -> None:
        with way(str(file)):
            pass

    for where in interrupted_at_steps(use, "json/lock.py"):
        with file.open() as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pytest.fail(f"still held after an interrupt at {where}")


def test_a_lock_left_behind_does_not_stop_its_thread(tmp_path: Path) -> None:
    left = lock.exclusive(str(tmp_path / "lock"))
    left.__enter__()  # and no signal lets it come to its end
    with lock.exclusive(str(tmp_path / "lock")), (tmp_path / "lock").open() as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        left.__exit__(None, None, None)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
