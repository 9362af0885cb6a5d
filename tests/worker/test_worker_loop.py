"""The loop: what it takes, what it reports, how it fails and how it stops."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from worker_lab import (
    BASE_NS,
    PATIENCE_S,
    Lab,
    Tables,
    check_whole,
    finish,
    planned,
    readings,
    row_count,
    rows_of,
    work,
)

from gigapi_metadata import (
    InvalidConfiguration,
    Layer,
    SQLiteIndex,
    Unavailable,
    UnknownLayer,
)
from gigapi_metadata.errors import MetadataError, MissingExtra, SchemaConflict
from gigapi_metadata.storage import Storages
from gigapi_metadata.timerange import Window
from gigapi_metadata.worker import (
    Filter,
    Options,
    Outcome,
    RetryPolicy,
    Selector,
    Worker,
    compact,
    demo_maintenance,
)
from gigapi_metadata.worker.dry_run import plan_groups, unplanned
from gigapi_metadata.worker.workspace import Workspace

HOUR_NS = 3_600_000_000_000


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_a_merged_file_is_sorted_and_described(lab: Lab) -> None:
    with Tables(lab) as catalog:
        added = lab.add(catalog)
        rows = rows_of(lab)
        newest = msgspec.structs.replace(added[0], chunk_time=added[0].chunk_time + 7)
        catalog.index().batch([newest])
        (outcome,) = work(lab, wanted=Filter(kinds=("merge",)))
        (entry,) = catalog.index().get_all()
    (file,) = lab.files([entry])
    times = pq.read_table(file).column("__timestamp").to_pylist()
    assert times == sorted(times)
    assert entry.row_count == sum(rows.values()) == 240
    assert entry.chunk_time == newest.chunk_time
    assert (entry.min_time, entry.max_time) == (times[0], times[-1])
    assert entry.min_data is not None
    assert entry.min_data["count"] == 1
    assert entry.size_bytes == file.stat().st_size == outcome.work.bytes_out
    assert (outcome.work.files_in, outcome.work.rows) == (6, 240)
    assert outcome.work.bytes_in == sum(each.size_bytes for each in added)
    assert {pq.ParquetFile(file).metadata.row_group(0).column(0).compression} == {"ZSTD"}
    for part in ("merge done", "6 files", "240 rows", entry.path):
        assert part in outcome.line()
    assert outcome.as_dict()["bytes_out"] == entry.size_bytes


def test_a_single_file_is_promoted_byte_by_byte(lab: Lab) -> None:
    with Tables(lab) as catalog:
        (added,) = lab.add(catalog, 1)
        content = lab.files([added])[0].read_bytes()
        finish(lab)
        (entry,) = catalog.index().get_all()
    assert lab.files([entry])[0].read_bytes() == content
    assert entry.path.endswith(".2.parquet")
    assert msgspec.structs.replace(entry, path=added.path) == added


def test_levels_are_merged_until_nothing_is_due(tmp_path: Path) -> None:
    lab = Lab(tmp_path, merge=((0, 6000, 1), (0, 20000, 2), (0, 10**9, 3)))
    with Tables(lab) as catalog:
        lab.add(catalog, 12)
        rows = rows_of(lab)
        finish(lab)
        assert {e.path.split(".", 1)[1] for e in catalog.index().get_all()} == {"4.parquet"}
    check_whole(lab, rows)


def mixed(number: int) -> pa.Table:
    """Every third file has text where the others have numbers."""
    table = readings(0, number, 10)
    if number % 3:
        return table
    texts = [str(value) for value in table.column("count").to_pylist()]
    return table.set_column(3, "count", pa.array(texts))


def test_a_conflict_is_set_aside_and_the_rest_goes_on(lab: Lab) -> None:
    with Tables(lab) as catalog:
        lab.add(catalog, table=mixed)
        lab.add(catalog, hours=[1, 2])
        rows = rows_of_each(catalog, lab)
        outcomes = work(lab, wanted=Filter(kinds=("merge",)))
        assert [o.status for o in outcomes] == ["set aside", "done", "done"]
        assert "column 'count'" in outcomes[0].error
        assert rows_of_each(catalog, lab) == rows
        (plan,) = [each for each in catalog.index().plans() if each.kind == "merge"]
        assert plan.error == outcomes[0].error
        groups = plan_groups(catalog.index(), Filter(kinds=("merge",)), time.time())
        assert [group.state for group in groups] == ["set aside"]
        assert work(lab.ahead(10**6), wanted=Filter(kinds=("merge",))) == []
        assert catalog.index().retry(plan)
        assert [o.status for o in work(lab, wanted=Filter(kinds=("merge",)))] == ["set aside"]


def rows_of_each(catalog: Tables, lab: Lab) -> int:
    return sum(row_count([file]).total() for file in lab.files(catalog.index().get_all()))


def test_failures_are_tried_again_ever_later_then_set_aside(lab: Lab) -> None:
    with Tables(lab) as catalog:
        added = lab.add(catalog, 3)
    lab.files(added)[1].write_bytes(b"no parquet")
    policy = RetryPolicy(first_s=10, factor=4, jitter=lambda: 0.5)
    outcomes: list[Outcome] = []
    for _ in range(5):
        (outcome,) = work(lab, policy=policy)
        outcomes.append(outcome)
        assert work(lab.ahead(outcome.delay_s - 3), policy=policy) == []
        lab = lab.ahead(outcome.delay_s + 1) if outcome.status == "failed" else lab
    assert [o.delay_s for o in outcomes[:4]] == [10, 40, 160, 640]
    assert [o.status for o in outcomes] == ["failed"] * 4 + ["set aside"]
    assert [o.attempts for o in outcomes] == [1, 2, 3, 4, 5]
    assert lab.on_disk() == set(lab.files(added))


def test_the_policy() -> None:
    policy = RetryPolicy(jitter=lambda: 1.0)
    assert policy.after(1, OSError()).delay_s == round(10 * 1.25)
    assert not policy.after(4, OSError()).set_aside
    assert policy.after(5, OSError()).set_aside
    assert policy.after(1, SchemaConflict("x")).set_aside
    for ours in (MissingExtra("x"), UnknownLayer("x")):
        assert not policy.after(99, ours).set_aside
        assert policy.after(99, ours).delay_s == 600


def test_tables_are_found_as_they_come(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    with Tables(lab) as catalog:
        lab.add(catalog, 2)
        other = msgspec.structs.replace
        index = catalog.table("db", "other")
        source = lab.files(catalog.index().get_all())
        target = lab.root / "db" / "other" / "data" / "date=2024-01-15" / "hour=00"
        target.mkdir(parents=True)
        entries = []
        for entry, file in zip(catalog.index().get_all(), source, strict=True):
            (target / file.name).write_bytes(file.read_bytes())
            entries.append(other(entry, table="other"))
        index.batch(entries)
        outcomes = work(lab, wanted=Filter(kinds=("merge",)))
        assert {o.table for o in outcomes} == {"readings", "other"}
        assert {o.table for o in work(lab, wanted=Filter([Selector("db", "other")]))} == {"other"}
        assert work(lab, wanted=Filter([Selector("elsewhere")])) == []


def test_filters_leave_plans_to_others(tmp_path: Path) -> None:
    lab = Lab(tmp_path, merge=((0, 10**9, 1), (0, 10**9, 2)))
    window = Window(BASE_NS + HOUR_NS, BASE_NS + 2 * HOUR_NS - 1)
    with Tables(lab) as catalog:
        lab.add(catalog, 2, hours=[0, 1, 2])
        lab.add(catalog, 9, hours=[3])
        merges = Filter(kinds=("merge",))

        def taken(**only: Any) -> list[str]:
            outcomes = work(lab, wanted=msgspec.structs.replace(merges, **only))
            return sorted(outcome.work.path[16:23] for outcome in outcomes)

        assert taken(writer_id="nobody") == []
        assert taken(levels=(2,)) == []
        assert taken(max_input_bytes=10) == []
        assert taken(kinds=("move",)) == []
        assert {plan.state for plan in catalog.index().plans()} == {"waiting"}
        assert taken(window=window, levels=(1,)) == ["hour=01"]
        assert taken(max_input_bytes=10_000, levels=(1,)) == ["hour=00", "hour=02"]
        assert taken(levels=(1,)) == ["hour=03"]
        assert len(taken()) == 4
    with pytest.raises(InvalidConfiguration, match="'merges' is no kind"):
        work(lab, wanted=Filter(kinds=("merges",)))  # type: ignore[arg-type]


def test_jobs_run_side_by_side(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    with Tables(lab) as catalog:
        lab.add(catalog, 3, hours=range(4))
    rows = rows_of(lab)
    together = threading.Barrier(3, timeout=PATIENCE_S)

    def meet(step: str) -> None:
        if step == "merge:merged" and not together.broken:
            try:
                together.wait(5)
            except threading.BrokenBarrierError:
                return

    outcomes = work(lab, checkpoint=meet, concurrency=3)
    assert sum(outcome.kind == "merge" for outcome in outcomes) == 4
    finish(lab)
    check_whole(lab, rows)


def test_stopping_gives_back_what_runs(lab: Lab) -> None:
    with Tables(lab) as catalog:
        lab.add(catalog)
        before = lab.on_disk()
        outcomes: list[Outcome] = []
        arrived = threading.Event()
        stopped = threading.Event()

        def block(step: str) -> None:
            if step == "merge:fetched":
                arrived.set()
                assert stopped.wait(PATIENCE_S)

        options = Options(checkpoint=block, temporary=lab.temporary, patience_s=0.1)
        with Worker(catalog, lab.storages(), options, report=outcomes.append) as worker:
            running = threading.Thread(target=worker.run)
            running.start()
            assert arrived.wait(PATIENCE_S)
            worker.stop()
            running.join(0.3)  # beyond its patience
            stopped.set()
            running.join(PATIENCE_S)
            assert not running.is_alive()
        assert [outcome.status for outcome in outcomes] == ["given back"]
        assert lab.on_disk() == before
        (plan,) = planned(catalog.index())
        assert (plan.state, plan.attempts) == ("waiting", 0)


def test_a_job_that_hangs_is_given_back_too(lab: Lab) -> None:
    """And its late result has no effect."""
    with Tables(lab) as catalog:
        lab.add(catalog)
        rows = rows_of(lab)
        arrived, let_go, late = threading.Event(), threading.Event(), threading.Event()
        outcomes: list[Outcome] = []

        def block(step: str) -> None:
            if step == "merge:placed":
                arrived.set()
                assert let_go.wait(PATIENCE_S)

        def report(outcome: Outcome) -> None:
            outcomes.append(outcome)
            late.set()

        options = Options(checkpoint=block, temporary=lab.temporary, patience_s=0.1)
        with Worker(catalog, lab.storages(), options, report=report) as worker:
            running = threading.Thread(target=worker.run)
            running.start()
            assert arrived.wait(PATIENCE_S)
            worker.stop()
            running.join(PATIENCE_S)
            (plan,) = planned(catalog.index())
            assert plan.state == "waiting"
            finish(lab)
            let_go.set()
            assert late.wait(PATIENCE_S)
        assert outcomes[0].status == "lost"
        check_whole(lab, rows)


def test_running_again_finds_what_is_new(lab: Lab) -> None:
    """At once, although queues are looked for now and then only."""
    with Tables(lab) as catalog:
        options = Options(Filter(kinds=("merge",)), temporary=lab.temporary, rescan_s=1000)
        with Worker(catalog, lab.storages(), options) as worker:
            assert worker.run(once=True) == {}
            lab.add(catalog)
            assert worker.run(once=True) == {"done": 1}


def test_a_store_that_hangs_does_not_hold_up_the_end(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A plan that can't be given back now comes back when its lease has run out."""
    with Tables(lab) as catalog:
        lab.add(catalog)
        arrived, over, late = threading.Event(), threading.Event(), threading.Event()

        def block(step: str) -> None:
            if step == "merge:fetched":
                arrived.set()
                assert over.wait(PATIENCE_S)

        def hang(*args: object, **options: object) -> None:
            assert over.wait(PATIENCE_S)

        monkeypatch.setattr(SQLiteIndex, "release", hang)
        options = Options(checkpoint=block, temporary=lab.temporary, patience_s=0.1)
        reported: list[Outcome] = []

        def report(outcome: Outcome) -> None:
            reported.append(outcome)
            late.set()

        with Worker(catalog, lab.storages(), options, report=report) as worker:
            running = threading.Thread(target=worker.run)
            running.start()
            assert arrived.wait(PATIENCE_S)
            worker.stop()
            running.join(PATIENCE_S / 2)  # before anything is let go
            assert not running.is_alive()
            over.set()
            assert late.wait(PATIENCE_S)
        assert "could not be given back in time" in caplog.text
        assert [outcome.status for outcome in reported] == ["given back"]


@pytest.mark.parametrize("kind", ["merge", "move"])
def test_a_file_that_was_cut_off_goes_nowhere(tmp_path: Path, kind: str) -> None:
    """Neither a promotion nor a move reads a file, but its end must be that of a Parquet file."""
    layers = (
        Layer(f"file://{tmp_path}/hot", "hot", "fs", 3600),
        Layer(f"file://{tmp_path}/cold", "cold"),
    )
    merge = ((0, 10**9, 1),) if kind == "merge" else ()
    lab = Lab(tmp_path, layers=layers, merge=merge)
    with Tables(lab) as catalog:
        (entry,) = lab.add(catalog, 1)
        (file,) = lab.files([entry])
        file.write_bytes(file.read_bytes()[:900])
        before = lab.on_disk()
        (outcome,) = work(lab)
        assert (outcome.kind, outcome.status) == (kind, "failed")
        assert f"has 900 bytes, the catalog says {entry.size_bytes}" in outcome.error
        assert catalog.index().get_all() == [entry]
        assert lab.on_disk() == before


def test_a_store_that_is_away_for_a_while_is_waited_for(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    with Tables(lab) as catalog:
        lab.add(catalog)

        class Away(Tables):
            calls = 0

            def planned(self) -> list[tuple[str, str]]:
                Away.calls += 1
                if Away.calls < 3:
                    raise Unavailable("away")
                return super().planned()

        done = threading.Event()
        with Away(lab) as away:
            options = Options(Filter(kinds=("merge",)), temporary=lab.temporary, poll_s=0.01)
            with Worker(away, lab.storages(), options, report=lambda outcome: done.set()) as worker:
                running = threading.Thread(target=worker.run)
                running.start()
                assert done.wait(PATIENCE_S)
                worker.stop()
                running.join(PATIENCE_S)
            Away.calls = 0
            with (
                Worker(away, lab.storages(), options) as worker,
                pytest.raises(Unavailable, match="away"),
            ):
                worker.run(once=True)
    assert "away" in caplog.text


def test_a_lost_answer_to_the_completion_is_asked_for_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gigapi_metadata import OutcomeUnknown, SQLiteIndex
    from gigapi_metadata.worker import lease

    monkeypatch.setattr(lease, "PAUSES_S", (0.01, 0.01))
    real, calls = SQLiteIndex.complete_merge, []

    def losing(self: Any, *args: Any) -> None:
        real(self, *args)
        calls.append(args)
        if len(calls) == 1:
            raise OutcomeUnknown("lost")

    with Tables(lab) as catalog:
        lab.add(catalog)
    rows = rows_of(lab)
    with monkeypatch.context() as patch:
        patch.setattr(SQLiteIndex, "complete_merge", losing)
        assert {outcome.status for outcome in work(lab)} == {"done"}
    assert len(calls) == 2
    finish(lab)
    check_whole(lab, rows)


def test_a_file_that_was_added_again_is_not_dropped(lab: Lab) -> None:
    with Tables(lab) as catalog:
        added = lab.add(catalog, 2)
        catalog.index().batch(None, added)

        def add_again(step: str) -> None:
            if step == "drop:leased":
                catalog.index().batch(added)

        wanted = Filter([Selector("db", "readings")], kinds=("drop",))
        outcomes = work(lab, wanted=wanted, checkpoint=add_again)
        assert outcomes[0].work.note.startswith("kept")
        assert all(file.exists() for file in lab.files(added))


def test_a_folder_without_a_time_column_is_merged_all_the_same(lab: Lab) -> None:
    with Tables(lab) as catalog:
        added = lab.add(catalog, 3)
        for file in lab.files(added):
            table = pq.read_table(file)
            pq.write_table(table.rename_columns(["moment", "host", "value", "count"]), file)
        (outcome,) = work(lab, wanted=Filter(kinds=("merge",)))
        assert outcome.status == "done"
        (entry,) = catalog.index().get_all()
        assert entry.min_time == min(each.min_time for each in added)
        assert entry.max_time == max(each.max_time for each in added)
        assert entry.row_count == 120


def test_compact_does_not_wait(tmp_path: Path) -> None:
    lab = Lab(tmp_path, merge=((10**6, 6000, 1), (10**6, 10**9, 2), (10**6, 10**9, 3)))
    with Tables(lab) as catalog:
        lab.add(catalog, 8, hours=[0, 1])  # two files a plan
        lab.add(catalog, 1, hours=[2])
        rows = rows_of(lab)
        assert work(lab) == []
        options = Options(temporary=lab.temporary)
        window = Window(BASE_NS, BASE_NS + HOUR_NS - 1)

        def run(**only: Any) -> list[Outcome]:
            return compact(catalog, lab.storages(), "db", "readings", options=options, **only)

        def levels() -> list[str]:
            entries = catalog.index().get_all()
            return sorted(e.path[21:23] + e.path[-10:-8] for e in entries if "=02" not in e.path)

        run(until_level=2, window=window)
        assert {level for level in levels() if level.startswith("00")} == {"00.2"}
        assert {level for level in levels() if level.startswith("01")} == {"01.1"}
        run()
        assert levels() == ["00.3", "01.3"]
        assert run() == []  # what waits alone goes on waiting
    assert rows_of(lab) == rows


def test_dry_run_tells_what_is_planned_and_what_is_not(tmp_path: Path) -> None:
    layers = (Layer(f"file://{tmp_path}/hot", "hot", "fs", 50), Layer(f"{tmp_path}/cold", "cold"))
    lab = Lab(tmp_path, layers=layers, merge=((100, 10**9, 1), (0, 10**9, 2)))
    with Tables(lab) as catalog:
        lab.add(catalog, 9)
        index = catalog.index()
        groups = plan_groups(index, Filter(), time.time())
        assert [(g.kind, g.state, g.plans, g.files) for g in groups] == [("move", "due", 9, 9)]
        (left,) = unplanned(index)
        assert (left.files, left.level, left.layer) == (9, 1, "hot")
        assert "they move on after 50 s" in left.why
        work(lab)
        assert unplanned(index) == []
        index.merge_configurations = []
        index.end_merge(lab_ahead_plan(lab))
        (left,) = unplanned(index)
        assert (left.layer, left.why[:39]) == ("cold", "merges are configured up to level 0; th")


def lab_ahead_plan(lab: Lab) -> Any:
    """The merge that waits, leased: to be ended without a result."""
    with Tables(lab.ahead(1000)) as catalog:
        return catalog.index().get_merge_plan("", "cold", 1)


def test_the_demos_maintenance(tmp_path: Path) -> None:
    layers = (
        Layer(f"file://{tmp_path}/hot", "hot", "fs", 10**9),
        Layer(f"{tmp_path}/cold", "cold"),
    )
    lab = Lab(tmp_path, layers=layers, merge=((10**6, 10**9, 1),), drop_grace_s=10**6)
    steps = []
    with Tables(lab) as catalog:
        lab.add(catalog, 6, hours=[0, 1])
        first, last = demo_maintenance(
            catalog,
            lab.storages(),
            "db",
            "readings",
            lambda step, found: steps.append(step),
            Options(temporary=lab.temporary),
        )
    assert steps == ["before", "compacted", "tiered", "dropped"]
    assert (first.files, last.files, last.on_disk) == (12, 2, 2)
    assert (first.rows, first.checksum) == (last.rows, last.checksum)
    assert last.layers == {"hot": 0, "cold": 2}


def test_temporary_folders_of_the_dead_are_removed(tmp_path: Path) -> None:
    with Workspace(tmp_path) as living:
        (living.folder / "data").write_text("x")
        dead = tmp_path / "worker-dead"
        dead.mkdir()
        (dead / "data").write_text("x")
        with Workspace(tmp_path) as other:
            assert other.folder.exists()
            assert not dead.exists()
            assert (living.folder / "data").exists()
    assert list(tmp_path.iterdir()) == []


def test_options_are_checked(lab: Lab) -> None:
    with Tables(lab) as catalog:
        for options in (Options(concurrency=0), Options(lease_s=0)):
            with pytest.raises(MetadataError):
                Worker(catalog, Storages(), options)
