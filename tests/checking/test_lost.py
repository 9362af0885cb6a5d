"""Entries that were lost, while something still shows that their files were registered; and stray
documents of files that are gone from the catalog for good."""

from __future__ import annotations

import shutil

import pyarrow.parquet as pq
import pytest
from check_lab import DAY, Lake

from gigapi_metadata.cli import main
from gigapi_metadata.lineage import KEY, note
from gigapi_metadata.planning import UNFINISHED
from gigapi_metadata.stores.repairing import PlanRepair

MERGE = ("--merge", "0s,1GiB")


def compact(lake: Lake) -> None:
    words = ["--catalog", lake.url]
    for layer in lake.layers:
        words += ["--layers", f"{layer.name}={layer.url}"]
    assert main(["compact", "db.t", *words, *MERGE]) == 0


def repair(lake: Lake, **changes: object) -> list[str]:
    """Repair as the command does, in rounds; the errors of the last one."""
    for _ in range(3):
        errors = lake.repair(**changes).errors
    return errors


def paths(lake: Lake) -> set[str]:
    return {entry.path for entry in lake.index.get_all()}


def quarantined(lake: Lake) -> int:
    return sum(1 for _ in lake.folder.rglob("*.orphan"))


def drop_plans(lake: Lake) -> None:
    for stored in lake.raw.stored_plans():
        assert lake.raw.mend_plans([PlanRepair(stored, None)]) == [True]


def test_a_file_that_a_plan_names_is_registered_again(lake: Lake) -> None:
    if lake.kind == "json":
        pytest.skip("plans of new files are derived from their entries there")
    entries = lake.fill(3, 2)
    for entry in entries[:3]:
        lake.forget(entry)
    assert "unregistered" in lake.kinds()
    assert repair(lake) == []
    assert paths(lake) == {entry.path for entry in entries}
    assert (lake.kinds(), lake.notes(), quarantined(lake)) == ([], [], 0)


@pytest.mark.parametrize("sources", ["gone", "living"])
def test_the_result_of_a_merge_may_be_all_there_is(lake: Lake, sources: str) -> None:
    entries = lake.fill(2, 1)
    compact(lake)
    (merged,) = lake.index.get_all()
    drop_plans(lake)
    lake.bare(2)
    lake.forget(merged)
    lake.age(lake.file(merged.path))
    if sources == "living":  # it is what an attempt has left
        lake.index.import_entries(entries)
        lake.raw.recount(lake.raw.places())
        assert repair(lake) == []
        assert (merged.path in paths(lake), quarantined(lake)) == (False, 1)
        return
    for entry in entries:
        lake.file(entry.path).unlink()
    repair(lake)
    assert "unregistered" in lake.kinds()
    assert quarantined(lake) == 0
    assert repair(lake, adopt=True) == []
    assert merged.path in paths(lake)
    assert lake.kinds() == []


def test_a_count_keeps_files_from_quarantine(lake: Lake) -> None:
    """It may be wrong, so it is no proof either: somebody has to say what it is."""
    if lake.kind != "redis":
        pytest.skip("only Redis counts")
    entries = [*lake.fill(1, 1), *lake.bare(2)]
    lake.forget(entries[1])
    repair(lake)
    assert quarantined(lake) == 0
    assert lake.kinds() == ["unregistered", "wrong-count"]
    repair(lake, adopt=True)
    assert paths(lake) == {entry.path for entry in entries}
    assert lake.kinds() == []
    drop_plans(lake)
    lake.forget(entries[1])
    repair(lake, force=True)
    assert (lake.kinds(), quarantined(lake)) == ([], 1)


def test_a_folder_of_json_that_was_cut_off_is_made_anew(lake: Lake) -> None:
    if lake.kind != "json":
        pytest.skip("folders of a catalog of JSON")
    entries = lake.fill(3, 2)
    compact(lake)
    late = lake.entry(lake.write("late.1"))
    lake.index.batch([late])
    before = paths(lake)
    document = lake.document(entries[0].path)
    document.write_bytes(document.read_bytes()[:100])
    errors = repair(lake)
    assert paths(lake) == before
    # What waited to be deleted has lost its drops: its rows are in the merged file.
    assert len(errors) == 3
    assert all("merged into" in error for error in errors)
    assert "unregistered" in lake.kinds()


def test_the_worker_s_own_notes_are_no_finding(lake: Lake) -> None:
    if lake.kind == "json":
        pytest.skip("the worker asks itself there")
    entries = lake.fill(2, 1)
    compact(lake)
    assert UNFINISHED in {plan.writer_id for plan in lake.index.plans()}
    found = lake.check(min_age_s=10**6)
    assert {each.kind for each in found.findings} == set()
    assert len(paths(lake)) < len(entries)


@pytest.mark.parametrize("told_by", ["drop", "note"])
def test_a_stray_document_of_a_merged_file_stays_out(lake: Lake, told_by: str) -> None:
    if lake.kind != "redis":
        pytest.skip("documents are named twice on Redis only")
    entries = lake.fill(2, 1)
    key = f"files:db:t:{DAY}"
    document = lake.client.hget(key, entries[0].path)
    assert isinstance(document, bytes)
    compact(lake)
    if told_by == "note":
        drop_plans(lake)
    merged = paths(lake)
    lake.client.hset(key, f"{DAY}/hour=00/other.1.parquet", document)
    lake.repair(min_age_s=10**6)
    assert paths(lake) == merged
    assert len(lake.raw.set_aside()) == 1


def test_what_a_note_leaves_open_is_left(lake: Lake) -> None:
    """Somebody's note names more rows than its file has."""
    named = [lake.write(f"n{number}.1") for number in range(3)]
    evil = lake.file(lake.write("evil.2", rows=1))
    lake.index.batch([lake.entry(lake.write("good.1"))])
    table = pq.read_table(evil).replace_schema_metadata({KEY: note(named)})
    pq.write_table(table, evil)
    lake.age(evil)
    errors = lake.repair(adopt=True).errors
    assert len(errors) == 4
    assert all("that can't be told" in error for error in errors)
    assert len(paths(lake)) == 1
    assert quarantined(lake) == 0


def test_a_file_whose_copy_is_registered_is_not_adopted(lake: Lake) -> None:
    """It was moved, and its drop was lost."""
    (moved,) = (lake.entry(lake.write("moved.1", layer="cold"), "cold"),)
    lake.index.batch([moved])
    left = lake.file(f"{DAY}/hour=00/left.1.parquet")
    left.parent.mkdir(parents=True)
    shutil.copy2(lake.file(moved.path, "cold"), left)
    (error,) = lake.repair(adopt=True, force=True).errors
    assert "the same file as" in error
    assert paths(lake) == {moved.path}
