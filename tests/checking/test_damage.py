"""Each kind of damage on each store: made by hand, found, mended, found clean."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from check_lab import BASE_NS, DAY, Lake, queued

from gigapi_metadata import IndexEntry, LeaseLost
from gigapi_metadata.planning import UNFINISHED
from gigapi_metadata.stores.sqlite.rows import split_path


def changed(entry: IndexEntry, **fields: Any) -> IndexEntry:
    return msgspec.structs.replace(entry, **fields)


TO = f"{DAY}/hour=04/target.1.parquet"


def assert_mended(lake: Lake, *kinds: str, **options: Any) -> None:
    """All of `kinds` is found, and nothing else; a repair mends it; it is found clean."""
    assert lake.kinds(**options) == sorted(kinds)
    repaired = lake.repair(**options)
    assert not repaired.errors
    assert lake.kinds(**options) == []
    assert lake.repair(**options).mended == [], "again, it has no effect"


def assert_tidied(lake: Lake, *kinds: str, **options: Any) -> None:
    """As `assert_mended`, of what is left over and does not fail a check."""
    assert (lake.kinds(**options), lake.notes(**options)) == ([], sorted(kinds))
    repaired = lake.repair(**options)
    assert not repaired.errors
    assert (lake.kinds(**options), lake.notes(**options)) == ([], [])
    assert lake.repair(**options).mended == [], "again, it has no effect"


def test_a_whole_table_is_clean(lake: Lake) -> None:
    lake.fill()
    checked = lake.check(deep=True)
    assert (checked.entries, checked.files, checked.findings) == (6, 6, [])
    assert checked.plans == 2


def test_nothing_at_all(lake: Lake) -> None:
    checked = lake.check()
    assert (checked.entries, checked.plans, checked.files, checked.findings) == (0, 0, 0, [])
    assert lake.repair().mended == []


# Against storage


def test_an_entry_without_a_file(lake: Lake) -> None:
    entries = lake.fill()
    lake.file(entries[0].path).unlink()
    # When the entry is gone, the plan that names it is the next finding.
    assert lake.kinds() == ["missing-file"]
    lake.repair()
    assert_tidied(lake, "dead-file-in-plan")
    assert [each.path for each in lake.index.get_all()] == [each.path for each in entries[1:]]
    assert not [plan for plan in lake.index.plans() if plan.kind == "drop"], (
        "if the file comes back, it is not deleted"
    )
    assert lake.index.query(after=0, before=2**62) == lake.index.get_all()


def test_no_file_at_all_is_rather_not_mounted(lake: Lake) -> None:
    for entry in lake.fill():
        lake.file(entry.path).unlink()
    assert lake.kinds() == ["no-files"]
    lake.repair()
    assert len(lake.index.get_all()) == 6


def test_most_of_a_layer_is_not_thrown_out(lake: Lake) -> None:
    """The catalog was lost, or is another one; another disk is mounted."""
    paths = [lake.write(f"lost{n}.1") for n in range(14)]
    assert "no-entries" in lake.kinds()
    lake.repair()
    assert all(lake.file(path).exists() for path in paths)
    entries = [lake.entry(path) for path in paths]
    lake.index.batch(entries)
    for path in paths[:11]:
        lake.file(path).unlink()
    assert "no-files" in lake.kinds()
    lake.repair()
    assert len(lake.index.get_all()) == 14
    for _ in range(2):
        lake.repair(force=True)
    assert lake.kinds() == []
    assert len(lake.index.get_all()) == 3


def test_links_are_left_alone(lake: Lake) -> None:
    entries = lake.fill(2, 2)
    elsewhere = lake.folder / "elsewhere"
    lake.file(entries[0].path).rename(elsewhere)
    lake.file(entries[0].path).symlink_to(elsewhere)
    assert lake.kinds() == []
    lake.repair()
    assert len(lake.index.get_all()) == 4


def test_an_orphan_goes_to_quarantine_and_is_deleted_when_it_is_old(lake: Lake) -> None:
    entries = lake.fill()
    path = lake.write("orphan.1", 1)
    content = lake.file(path).read_bytes()
    assert_mended(lake, "orphan")
    assert not lake.file(path).exists()
    (kept,) = lake.folder.rglob("*.orphan")
    assert kept.read_bytes() == content
    assert str(kept).endswith(f"/{path}.orphan")
    assert not list(lake.folder.rglob("*orphan*.parquet"))
    assert [each.kind for each in lake.check().findings] == ["quarantined"]
    in_a_week = {"quarantine_age_s": 7 * 86_400, "clock": lambda: time.time() + 7 * 86_400 + 60}
    lake.repair(quarantine_age_s=7 * 86_400)
    assert kept.exists()
    lake.repair(**in_a_week)
    assert not kept.exists()
    assert len(lake.index.get_all()) == len(entries)
    assert all(lake.file(entry.path).exists() for entry in entries)


def test_an_orphan_is_adopted(lake: Lake) -> None:
    entries = lake.fill()
    path = lake.write("orphan.1", 1)
    assert lake.kinds(adopt=True) == ["orphan"]
    lake.repair(adopt=True)
    assert lake.kinds() == []
    assert lake.index.get(path) == lake.entry(path)
    assert len(lake.index.get_all()) == len(entries) + 1
    planned = [p for plan in lake.index.plans() for p in plan.paths]
    assert sorted(planned) == sorted([path, *(entry.path for entry in entries)])


def test_files_that_belong_to_somebody_are_no_orphans(lake: Lake) -> None:
    entries = lake.fill()
    lake.write("young.1", young=True)
    lake.index.batch([], [entries[0]])
    (bare, *_) = lake.bare()
    lake.index.import_plans([queued(bare, id="held", due_s=0)])
    hour = lake.file(bare.path).parent
    (hour / "metadata-of-somebody.json").write_text("{}")
    (hour / "_temporary.parquet").write_text("")
    lake.age(hour / "_temporary.parquet")
    merge = lake.index.get_merge_plan("", "hot", 1)
    assert merge is not None
    # A result of the plan that is under way, and its draft.
    result = merge.path_to.rpartition("/")[2]
    for name in (result, f".gigapi-{result}-0011.tmp"):
        (hour / name).write_bytes(b"x")
        lake.age(hour / name)
    found = {each.kind for each in lake.check().findings if each.path.endswith((".tmp", "parquet"))}
    assert not found & {"orphan", "leftover", "missing-file"}


def test_a_draft_of_a_killed_worker(lake: Lake) -> None:
    entries = lake.fill()
    draft = lake.file(entries[0].path).with_name(".gigapi-0123456789abcdef0123-00.tmp")
    draft.write_bytes(b"x")
    assert lake.kinds() == []
    lake.age(draft)
    assert_mended(lake, "leftover")
    assert not draft.exists()


def test_an_entry_that_says_a_wrong_size(lake: Lake) -> None:
    entries = lake.fill()
    right = entries[2]
    lake.index.import_entries([changed(right, size_bytes=1, row_count=99)])
    assert_mended(lake, "wrong-size")
    assert lake.index.get(right.path) == right


def test_rows_and_times_are_looked_at_with_deep(lake: Lake) -> None:
    entries = lake.fill()
    moved = changed(entries[0], min_time=1, max_time=2, writer_id="w")
    lake.index.import_entries([changed(entries[3], row_count=11), moved])
    assert lake.kinds() == []
    assert_mended(lake, "wrong-rows", "wrong-times", deep=True)
    assert lake.index.get(entries[3].path) == entries[3]
    assert lake.index.get(entries[0].path) == changed(entries[0], writer_id="w")
    # Whatever finds files by time knows of it.
    assert lake.index.query(after=0, before=10) == []
    assert {e.path for e in lake.index.query(after=BASE_NS)} == {e.path for e in entries}


def test_a_file_that_is_no_parquet(lake: Lake) -> None:
    entries = lake.fill()
    content = b"x" * entries[0].size_bytes
    lake.file(entries[0].path).write_bytes(content)
    assert lake.kinds() == []
    assert lake.kinds(deep=True) == ["unreadable-file"]
    lake.repair(deep=True)
    assert lake.index.get(entries[0].path) is not None, "nobody but you can say what to do with it"


def test_layers_that_nobody_configured(lake: Lake) -> None:
    if lake.kind == "json":
        pytest.skip("a JSON catalog has no place for other layers")
    entries = lake.fill()
    lake.index.import_entries([changed(entries[0], layer="warm")])
    lake.index.import_plans([queued(changed(entries[0], layer="tepid"), id="other")])
    found = lake.check()
    kinds = {each.kind for each in found.faults}
    assert {"unknown-layer", "plan-in-unknown-layer"} <= kinds
    assert all(each.mend is None for each in found.faults if "unknown" in each.kind)
    lake.repair()
    entry = lake.index.get(entries[0].path)
    assert entry is not None
    assert entry.layer == "warm"


# The catalog against itself


def test_an_entry_that_cannot_be_read_is_made_anew_from_its_file(lake: Lake) -> None:
    entries = lake.fill()
    lake.garble(entries[1])
    with pytest.raises(Exception, match=r"read|damaged"):
        lake.index.get_all()
    found = lake.check().faults
    assert {each.kind for each in found} == {"unreadable-entry"}
    assert lake.kind == "json" or entries[1].path in found[0].detail
    lake.repair()
    if lake.kind == "json":
        # Of the folder's file, what can be read is kept; the rest can be adopted.
        assert len(lake.index.get_all()) == 5
        assert "unregistered" in {each.kind for each in lake.check().findings}
        lake.repair()
        assert lake.file(entries[1].path).exists(), "what was put aside is no orphan"
        lake.repair(adopt=True)
    assert lake.kinds() == []
    lake.repair()
    again = {each.path: each for each in lake.index.get_all()}
    assert again == {entry.path: entry for entry in entries}
    assert lake.raw.set_aside()


@pytest.mark.parametrize("planned", [True, False])
def test_an_entry_made_anew_keeps_its_writer(lake: Lake, planned: bool) -> None:
    """Told by what is left of it, or by the queue that it waits in."""
    if lake.kind == "json" and not planned:
        pytest.skip("nothing tells it there")
    entry = changed(lake.entry(lake.write("of-w.1")), writer_id="w")
    other = lake.entry(lake.write("other.1", 1))
    if planned:
        lake.index.batch([entry, other])
    else:
        lake.index.import_entries([entry, other])
    lake.garble(entry)
    if lake.kind == "redis" and not planned:
        lake.client.hset(
            f"files:db:t:{DAY}", entry.path, '{"layer":"hot","writer_id":"w","database":"d'
        )
    for _ in range(2):
        lake.repair()
        lake.repair(adopt=True)
    assert lake.kinds() == []
    assert lake.index.get(entry.path) == entry


def test_an_unreadable_entry_without_a_file_is_put_aside(lake: Lake) -> None:
    entries = lake.fill()
    lake.garble(entries[1])
    lake.file(entries[1].path).unlink()
    lake.repair()
    lake.repair()
    assert lake.kinds() == []
    assert len(lake.index.get_all()) == 5
    assert lake.raw.set_aside()


def test_plans_that_name_dead_files(lake: Lake) -> None:
    entries = lake.fill()
    lake.forget(entries[0])
    for entry in entries[3:]:
        lake.forget(entry)
    also = {"redis": ["wrong-count"], "json": ["wrong-totals"]}
    assert lake.kinds(storage=False) == also.get(lake.kind, [])
    assert lake.notes(storage=False) == ["dead-file-in-plan", "dead-plan"]
    lake.repair(storage=False)
    assert lake.kinds(storage=False) == lake.notes(storage=False) == []
    (plan,) = lake.index.plans()
    assert plan.paths == [entries[1].path, entries[2].path]


def test_a_dead_plan_that_somebody_holds_is_left_to_its_holder(lake: Lake) -> None:
    (entry,) = lake.bare(1)
    lake.index.import_plans([queued(entry, "move", layer_to="cold", path_to=TO)])
    plan = lake.index.get_move_plan("", "hot")
    assert plan is not None
    lake.forget(entry)
    held = [each for each in lake.check(storage=False).findings if each.kind == "held"]
    assert len(held) == 1
    lake.repair(storage=False)
    lake.index.renew(plan)


def test_a_file_in_two_plans(lake: Lake) -> None:
    entries = lake.fill()
    lake.index.import_plans([queued(entries[0], id="again", paths=[e.path for e in entries[:2]])])
    assert_tidied(lake, "planned-twice")
    planned = sorted(path for plan in lake.index.plans() for path in plan.paths)
    assert planned == sorted(entry.path for entry in entries)


def test_a_drop_of_a_living_file(lake: Lake) -> None:
    entries = lake.fill()
    lake.index.import_plans([queued(entries[0], "drop", due_s=1)])
    assert_tidied(lake, "drop-of-living-file")
    assert lake.index.get_drop_queue("", "hot") is None


def test_what_a_worker_noted_of_a_result_that_is_registered_by_now(lake: Lake) -> None:
    entries = lake.fill()
    lake.index.import_plans([queued(entries[0], "drop", writer_id=UNFINISHED, due_s=1)])
    assert not lake.kinds()
    assert lake.index.get_drop_queue(UNFINISHED, "hot") is None


def test_a_lease_without_an_end(lake: Lake) -> None:
    entries = lake.bare()
    lake.index.import_plans([queued(entries[0], "move", layer_to="cold", path_to=TO)])
    held = lake.index.get_move_plan("", "hot", lease_s=10**9)
    assert held is not None
    lake.index.import_plans([queued(entries[1], due_s=10**11)])
    assert [each.kind for each in lake.check().faults] == ["endless-lease", "endless-lease"]
    assert_mended(lake, "endless-lease")
    again = lake.index.get_move_plan("", "hot")
    assert again is not None
    assert again.path_from == held.path_from
    merge = lake.index.get_merge_plan("", "hot", 1)
    assert merge is not None
    with pytest.raises(LeaseLost):
        lake.index.end_move(held)


def test_plans_with_the_same_target(lake: Lake) -> None:
    moves = [
        queued(entry, "move", id=f"m{n}", layer_to="cold", path_to=TO)
        for n, entry in enumerate(lake.bare())
    ]
    lake.index.import_plans(moves)
    assert_mended(lake, "shared-target")
    assert len({plan.path_to for plan in lake.index.plans()}) == 2


def test_files_in_no_plan_are_a_note(lake: Lake) -> None:
    entries = lake.fill(1, 1)
    other = lake.entry(lake.write("unplanned.1", 1))
    lake.index.import_entries([other])
    notes = [each for each in lake.check().findings if each.kind == "not-planned"]
    assert [other.path in each.detail for each in notes] == [True]
    assert lake.kinds() == []
    assert len(entries) == 1


# What only one store can have


def redis_only(lake: Lake) -> None:
    if lake.kind != "redis":
        pytest.skip("kept by Redis only")


def test_counts(lake: Lake) -> None:
    redis_only(lake)
    entries = lake.fill()
    dir = f"{DAY}/hour=00"
    lake.client.hset("folders:db:t", mapping={dir: 7, f"{DAY}/hour=05": 2, "gone=1/x": -1})
    lake.client.hdel("folders:db:t", f"{DAY}/hour=01")
    assert_mended(lake, "wrong-count")
    assert lake.index.paths() == sorted({e.path.rpartition("/")[0] for e in entries})
    assert len(lake.index.query(after=0)) == 6


def test_an_entry_under_a_wrong_field_key_or_name(lake: Lake) -> None:
    redis_only(lake)
    entries = lake.fill()
    key = f"files:db:t:{DAY}"
    document = lake.client.hget(key, entries[0].path)
    assert document is not None
    lake.client.hdel(key, entries[0].path)
    lake.client.hset("files:db:t:date=2024-01-16", entries[0].path, document)
    lake.client.hset(key, f"{DAY}/hour=00/other.1.parquet", lake.client.hget(key, entries[1].path))
    lake.client.hdel(key, entries[1].path)
    raw = json.loads(lake.client.hget(key, entries[2].path) or "")
    lake.client.hset(key, entries[2].path, json.dumps({**raw, "table": "other"}))
    assert "misplaced-entry" in lake.kinds()
    lake.repair()
    lake.repair()
    assert lake.kinds() == []
    assert sorted(e.path for e in lake.index.get_all()) == sorted(e.path for e in entries)
    assert lake.index.get(entries[0].path) == entries[0]
    assert {e.table for e in lake.index.get_all()} == {"t"}
    assert len(lake.index.query(after=0)) == 6


def test_times_that_are_reversed(lake: Lake) -> None:
    entries = lake.fill()
    first, last = entries[0].min_time, entries[0].max_time
    if lake.kind == "redis":
        raw = json.loads(lake.client.hget(f"files:db:t:{DAY}", entries[0].path) or "")
        raw |= {"str_min_time": str(last), "str_max_time": str(first)}
        lake.client.hset(f"files:db:t:{DAY}", entries[0].path, json.dumps(raw))
    elif lake.kind == "sqlite":
        lake.sql(
            "UPDATE files SET min_time = ?, max_time = ? WHERE dir = ? AND name = ?",
            last,
            first,
            *split_path(entries[0].path),
        )
    else:
        file = lake.document(entries[0].path)
        content = json.loads(file.read_bytes())
        content["files"][0] |= {"min_time": last, "max_time": first}
        file.write_text(json.dumps(content))
    # Redis lists files with their times in an index, which has the old ones.
    assert_mended(lake, "invalid-entry", *(["wrong-index"] if lake.kind == "redis" else []))
    assert lake.index.get(entries[0].path) == entries[0]


def test_a_path_that_leads_out_of_its_layer_is_put_aside(lake: Lake) -> None:
    redis_only(lake)
    entries = lake.fill()
    raw = json.loads(lake.client.hget(f"files:db:t:{DAY}", entries[0].path) or "")
    secret = lake.folder / "secret.parquet"
    secret.write_bytes(b"x")
    path = f"{DAY}/../../../../../secret.parquet"
    lake.client.hset(f"files:db:t:{DAY}", path, json.dumps({**raw, "path": path}))
    assert "invalid-entry" in lake.kinds(deep=True)
    lake.repair(deep=True)
    lake.repair(deep=True)
    assert lake.kinds() == []
    assert secret.exists()
    assert lake.raw.set_aside() == [path]


def test_items_that_are_garbage(lake: Lake) -> None:
    redis_only(lake)
    lake.fill(1, 1)
    idle = f"merge:db:t:1:{DAY}/hour=00:hot::idle"
    lake.client.rpush(idle, "{garbage", '["no", "plan"]', '{"id":"x","paths":7}')
    lake.client.rpush(
        "drop:db:t:hot::processing", '{"id":"d","time_s":"never","path":"a/b.parquet"}'
    )
    assert lake.kinds() == ["no-due-time", "unreadable-plan"]
    lake.repair()
    assert lake.kinds() == []
    (merge, drop) = lake.index.plans()
    assert (merge.kind, drop.kind, drop.id, drop.state) == ("merge", "drop", "d", "waiting")
    assert "#" in "".join(lake.raw.set_aside())


def test_totals_that_are_wrong(lake: Lake) -> None:
    if lake.kind != "json":
        pytest.skip("kept by JSON folders only")
    entries = lake.fill()
    file = lake.document(entries[0].path)
    right = json.loads(file.read_bytes())
    for wrong in (
        {"row_count": 7},
        {"parquet_size_bytes": "many", "min_time": 0},
        {"max_time": None},
    ):
        content = {**right, **wrong}
        file.write_text(json.dumps(content))
        (found,) = lake.check().faults
        assert (found.kind, found.place) == ("wrong-totals", str(file))
        assert all(name in found.detail for name in wrong)
        assert_mended(lake, "wrong-totals")
        assert json.loads(file.read_bytes()) == right
    del right["min_time"]
    file.write_text(json.dumps(right))
    assert_mended(lake, "wrong-totals")
    lake.index.batch([], entries)
    assert lake.kinds() == [], "a folder without files has totals, too"


def test_spans_that_are_wrong(lake: Lake) -> None:
    if lake.kind != "sqlite":
        pytest.skip("SQLite's time index")
    lake.fill()
    lake.sql("UPDATE files SET span = 0")
    assert_mended(lake, "wrong-index")
    assert len(lake.index.query(after=BASE_NS + 5 * 10**9, before=BASE_NS + 6 * 10**9)) == 3


def test_rows_under_a_wrong_name(lake: Lake) -> None:
    if lake.kind != "sqlite":
        pytest.skip("SQLite's rows")
    entries = lake.fill()
    for path in (entries[0].path, entries[1].path):
        dir, name = split_path(path)
        parent, hour = split_path(dir)
        at = "WHERE dir = ? AND name = ?"
        lake.sql(f"UPDATE files SET dir = ?, name = ? {at}", parent, f"{hour}/{name}", dir, name)
    # Of the second, somebody has added the right one.
    lake.index.import_entries([entries[1]])
    assert [each.kind for each in lake.check(storage=False).faults].count("misplaced-entry") == 2
    lake.repair()
    assert lake.kinds() == []
    assert lake.index.get_all() == entries
    assert lake.raw.set_aside() == [entries[1].path]
    assert lake.index.get(entries[0].path) == entries[0]
