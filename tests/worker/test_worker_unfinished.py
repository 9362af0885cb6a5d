"""A result that nobody registers: found and deleted, also when its plan is gone for good."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from worker_lab import (
    Child,
    Lab,
    Tables,
    check_whole,
    finish,
    planned,
    row_count,
    rows_of,
    work,
)

from gigapi_metadata import JSONIndex, Layer
from gigapi_metadata.cli import main
from gigapi_metadata.planning import UNFINISHED
from gigapi_metadata.scan import ScanOptions, scan_table
from gigapi_metadata.worker import Filter, RetryPolicy, Selector

STEPS = ["merge:announced", "merge:merged", "merge:placed", "move:announced", "move:copied"]


def lab_in(folder: Path, step: str = "merge", **options: Any) -> Lab:
    layers = (
        Layer(f"file://{folder}/hot", "hot", "fs", 3600),
        Layer(f"file://{folder}/cold", "cold"),
    )
    merge = ((0, 10**9, 1),) if step.startswith("merge") else ()
    return Lab(folder, layers=layers, merge=merge, **options)


def killed(lab: Lab, step: str, files: int) -> None:
    """A worker dies at `step`; then somebody removes all that it worked on."""
    with Tables(lab) as catalog:
        lab.add(catalog, files)
    child = Child(lab, kill_at=step)
    child.started()
    assert child.join() == -9
    with Tables(lab) as catalog:
        index = catalog.index()
        index.batch((), index.get_all())


@pytest.mark.parametrize(("step", "files"), [("merge:placed", 1), *((step, 4) for step in STEPS)])
def test_the_plans_files_are_removed_after_the_crash(tmp_path: Path, step: str, files: int) -> None:
    lab = lab_in(tmp_path, step)
    killed(lab, step, files)
    work(lab.ahead(1000))
    assert lab.on_disk() == set()


@pytest.mark.one_server
@pytest.mark.parametrize("step", STEPS)
def test_the_plans_files_are_removed_after_the_crash_on_redis(
    tmp_path: Path, redis_url: str, step: str
) -> None:
    lab = lab_in(tmp_path, step, redis=redis_url, lease_s=1)
    killed(lab, step, 4)
    finish(lab)
    assert lab.on_disk() == set()


def test_what_was_registered_leaves_no_drop_behind(tmp_path: Path) -> None:
    lab = lab_in(tmp_path)
    with Tables(lab) as catalog:
        lab.add(catalog, hours=[0, 1])
        outcomes = work(lab)
        assert {outcome.status for outcome in outcomes} == {"done"}
        assert catalog.index().plans() == []


@pytest.mark.parametrize("step", ["merge:announced", "merge:placed", "move:copied"])
def test_nothing_is_deleted_that_may_still_be_registered(tmp_path: Path, step: str) -> None:
    """Even when the worker is slow and the drop's time has come."""
    lab = lab_in(tmp_path, step)
    with Tables(lab) as catalog:
        lab.add(catalog, 3)
    rows = rows_of(lab)
    wanted = Filter([Selector(lab.database, lab.table_name)], ("drop",), writer_id=UNFINISHED)

    def meddle(at: str) -> None:
        if at == step:
            assert work(lab.ahead(1000), wanted=wanted) == [], "given back, which is not told"

    outcomes = work(lab, checkpoint=meddle)
    assert {outcome.status for outcome in outcomes} == {"done"}
    assert rows_of(lab) == rows
    finish(lab.ahead(10_000))
    check_whole(lab, rows)


def test_a_worker_for_one_writer_cleans_up_too(tmp_path: Path) -> None:
    lab = lab_in(tmp_path)
    killed(lab, "merge:placed", 3)
    wanted = Filter([Selector(lab.database, lab.table_name)], writer_id="")
    work(lab.ahead(1000), wanted=wanted)
    assert lab.on_disk() == set()


def test_a_plan_that_was_set_aside_keeps_none(tmp_path: Path) -> None:
    lab = lab_in(tmp_path)
    with Tables(lab) as catalog:
        for file in lab.files(lab.add(catalog, 2)):
            file.write_bytes(b"broken")
        assert work(lab, policy=RetryPolicy(max_attempts=1))[0].status == "set aside"
        index = catalog.index()
        assert len(index.plans()) == 2
        work(lab.ahead(1000))
        assert [plan.kind for plan in index.plans()] == ["merge"]


def test_a_scan_does_not_register_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would double the rows."""
    lab = Lab(tmp_path)
    with Tables(lab) as catalog:
        lab.add(catalog)
    rows = rows_of(lab)
    child = Child(lab, kill_at="merge:placed")
    child.started()
    assert child.join() == -9
    monkeypatch.chdir(tmp_path)
    catalog_url = f"sqlite:///{tmp_path}/catalog.db"
    assert main(["scan", "lake", "--catalog", catalog_url]) == 0
    assert ["leaving", "1"] in [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert rows_of(lab) == rows
    finish(lab.ahead(1000))
    check_whole(lab, rows)


def test_people_see_it_with_all_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = lab_in(tmp_path)
    killed(lab, "merge:placed", 3)
    with Tables(lab) as catalog:
        index = catalog.index()
        (note,) = [plan for plan in index.plans() if plan not in planned(index)]
    assert (note.kind, note.layer, note.writer_id) == ("drop", "hot", UNFINISHED)
    words = ["plans", "db.readings", "--catalog", f"sqlite:///{tmp_path}/catalog.db"]
    assert main(words) == 0
    assert UNFINISHED not in capsys.readouterr().out
    assert main([*words, "--all"]) == 0
    assert UNFINISHED in capsys.readouterr().out


@pytest.mark.parametrize("step", ["merge:placed", "move:copied"])
def test_nor_does_it_where_nothing_can_be_noted(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In JSON folders, and while the worker is still alive: the plan itself says what will come."""
    lab = lab_in(tmp_path, step)
    rows = Counter[str]()
    monkeypatch.chdir(tmp_path)

    def table(catalog: object, database: str, name: str) -> Any:
        merge = [list(row) for row in lab.merge]
        return JSONIndex(f"{tmp_path}/hot", database, name, lab.layers, merge, drop_grace_s=0)

    monkeypatch.setattr(Tables, "table", table)
    with Tables(lab) as catalog:
        lab.add(catalog, 3)
        index = catalog.index()
        rows += row_count(lab.files(index.get_all()))
        reports = []

        def scan(at: str) -> None:
            if at == step:
                for layer in ("hot", "cold"):
                    options = ScanOptions(layer=layer)
                    reports.append(scan_table(index, lab.data_folder(layer), options))
                assert row_count(lab.files(index.get_all())) == rows

        work(lab, checkpoint=scan)
        assert {report.leaving for report in reports} >= {1}
        assert {report.registered for report in reports} == {0}
        assert row_count(lab.files(index.get_all())) == rows
