"""Checking and mending beside services and workers, killed half-way, and taken back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from check_lab import Lake, queued

from gigapi_metadata import connect
from gigapi_metadata.checking import repair, write_backup
from gigapi_metadata.copying import Writer, load
from gigapi_metadata.index.sync import Index


class Busy:
    """A service and a worker, in threads: files are written, registered, merged, removed."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.over = threading.Event()
        self.rounds = 0
        self.errors: list[BaseException] = []
        self.kept: set[str] = set()
        self._thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        try:
            with connect(self.lake.url, self.lake.layers, [[0, 10**9, 1]]) as catalog:
                index = catalog.table("db", "t")
                while not self.over.is_set():
                    self._round(index)
                    self.rounds += 1
        except BaseException as error:
            self.errors.append(error)

    def _round(self, index: Index[Any]) -> None:
        names = [f"busy{self.rounds}-{n}.1" for n in range(3)]
        entries = [self.lake.entry(self.lake.write(name, 7, young=True)) for name in names]
        index.batch(entries)
        plan = index.get_merge_plan("", "hot", 1)
        if plan is None:
            return
        result = self.lake.write(plan.path_to.rpartition("/")[2].removesuffix(".parquet"), 7)
        index.complete_merge(plan, self.lake.entry(result))
        if self.rounds % 3 == 1:
            index.batch([], [result])
        else:
            self.kept.add(result)

    def __enter__(self) -> Busy:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.over.set()
        self._thread.join()
        assert not self.errors


def wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(6000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come")


def test_beside_a_service_and_a_worker(lake: Lake) -> None:
    """What is right stays, what is wrong is mended, and nothing in motion is taken for damage."""
    entries = lake.fill()
    with Busy(lake) as busy:
        for number in range(4):
            wait_for(lambda least=busy.rounds + 2: busy.rounds >= least or bool(busy.errors))
            lake.file(entries[number].path).unlink()
            lake.repair()
            found = {each.path for each in lake.check().faults if "busy" in each.path}
            assert not found, f"in motion: {found}"
    for _ in range(3):
        lake.repair()
    assert lake.kinds() == []
    there = {each.path for each in lake.index.get_all()}
    assert {each.path for each in entries[4:]} | busy.kept <= there
    assert there == {each.path for each in lake.index.query(after=0)}
    assert not [path for path in lake.folder.rglob("*.orphan") if "busy" in path.name]


def test_an_entry_that_changes_meanwhile_is_left_alone(lake: Lake) -> None:
    entries = lake.fill()
    lake.file(entries[0].path).unlink()
    wrong = lake.check()
    assert [each.kind for each in wrong.faults] == ["missing-file"]
    lake.write("f0.1", 0, rows=50)
    anew = lake.entry(entries[0].path)
    lake.index.batch([anew])
    done = repair.repair_table(lake.index, lake.storages, lake.footers, wrong, lake.options())
    assert not done.mended
    assert lake.index.get(anew.path) == anew


def test_an_orphan_that_is_registered_meanwhile_stays(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between each two steps of taking it away."""
    lake.fill(1, 1)
    for step in range(1, 4):
        path = lake.write(f"late{step}.1", 2)
        entry = lake.entry(path)
        wrong = lake.check()
        looks = 0
        get = type(lake.index).get

        def look(index: Index[Any], path: str, layer: str | None = None) -> Any:
            nonlocal looks
            looks += 1
            if looks == step:  # noqa: B023
                index.batch([entry])  # noqa: B023
            return get(index, path, layer)  # noqa: B023

        with monkeypatch.context() as patch:
            patch.setattr(type(lake.index), "get", look)
            repair.repair_table(lake.index, lake.storages, lake.footers, wrong, lake.options())
        assert lake.file(path).exists()
        assert lake.kinds() == []
    assert not list(lake.folder.rglob("*.orphan"))


class Killed(BaseException):
    """As if the process ended."""


def test_killed_after_any_step_it_is_run_again(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = lake.fill(4, 2)
    lake.file(entries[0].path).unlink()
    lake.index.import_plans([queued(entries[5], "drop", due_s=1), queued(entries[6], id="again")])
    lake.garble(entries[2])
    orphan = lake.write("orphan.1", 3)
    connection = lake.index.connection
    perform = type(connection).perform
    for kill_at in range(1, 60):
        wrong = lake.check()
        if not wrong.faults:
            break
        requests = 0

        def counted(connection: Any, request: Any) -> Any:
            nonlocal requests
            requests += 1
            if requests > kill_at:  # noqa: B023
                raise Killed
            return perform(connection, request)

        with monkeypatch.context() as patch:
            patch.setattr(type(connection), "perform", counted)
            try:
                repair.repair_table(lake.index, lake.storages, lake.footers, wrong, lake.options())
            except Killed:
                continue
    for _ in range(3):
        lake.repair()
    assert lake.kinds() == []
    left = {each.path for each in lake.index.get_all()}
    expected = {each.path for each in entries} - {entries[0].path}
    assert left | {entries[2].path} == expected
    assert not lake.file(orphan).exists()
    assert len(list(lake.folder.rglob("*.orphan"))) >= 1


def test_the_backup_restores_what_a_repair_took(lake: Lake) -> None:
    entries = lake.fill()
    lake.file(entries[0].path).unlink()
    backup = write_backup(lake.raw, str(lake.folder), "now")
    assert backup.raw == ""
    for _ in range(2):
        lake.repair()
    assert len(lake.index.get_all()) == 5
    load(backup.name, "ndjson", Writer(lake.catalog))
    assert lake.index.get_all() == entries


def test_the_backup_of_what_cannot_be_read(lake: Lake) -> None:
    entries = lake.fill()
    lake.garble(entries[0])
    backup = write_backup(lake.raw, str(lake.folder), "now")
    assert backup.raw
    with connect(f"sqlite://{lake.folder}/other.db", lake.layers) as other:
        load(backup.name, "ndjson", Writer(other))
        restored = other.table("db", "t").get_all()
    assert {each.path for each in restored} <= {each.path for each in entries[1:]}
