"""What other processes leave: GigAPI's spellings, its older form, fields we don't know, damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fix_stores import SECOND, START_S
from json_lab import (
    HOURS,
    Clock,
    contents,
    data,
    document,
    go_drop,
    go_entry,
    go_writes,
    index,
    made,
    tiers,
)

from gigapi_metadata import CorruptState, JSONDBIndex, JSONKVStore, LeaseLost, StoreError


def test_a_change_by_another_process_is_seen_by_the_next_call(tmp_path: Path) -> None:
    table = index(tmp_path)
    for number in range(1, 20):
        go_writes(data(tmp_path), [go_entry(n) for n in range(number)])
        assert len(table.get_all()) == number
        go_writes(data(tmp_path), [go_entry(n, row_count=n + 1) for n in range(number)])
        assert [each.row_count for each in table.get_all()] == list(range(1, number + 1))
        assert table.get(f"{HOURS[0]}/go0.1.parquet").row_count == 1
    (data(tmp_path) / "metadata.json").unlink()
    assert table.get_all() == []


def test_fields_of_others_are_kept(tmp_path: Path) -> None:
    odd = go_entry(1, checksum="abc", nested={"a": [1, 1e300, 2**63]}, min={"x": 1e16})
    go_writes(data(tmp_path), [odd], comment="mine", wal_sequence=7)
    table = index(tmp_path)
    table.batch([made(1)])
    found = document(tmp_path)
    assert found["files"][0] == odd
    assert (found["comment"], found["wal_sequence"]) == ("mine", 7)
    table.batch(None, [made(1)])
    assert document(tmp_path)["files"] == [odd]


def test_ids_count_up_within_a_folder(tmp_path: Path) -> None:
    go_writes(data(tmp_path), [go_entry(7), go_entry(3)])
    table = index(tmp_path)
    table.batch([made(1), made(2)])
    table.batch([made(1, row_count=5), made(3, HOURS[1])])
    assert [file["id"] for file in document(tmp_path)["files"]] == [7, 3, 8, 9]
    assert [file["id"] for file in document(tmp_path, HOURS[1])["files"]] == [1]
    table.batch(None, [made(2)])
    index(tmp_path).batch([made(4)])
    assert document(tmp_path)["files"][-1]["id"] == 10, "an id is not given twice"


def test_totals_cover_the_files_listed(tmp_path: Path) -> None:
    table = index(tmp_path)
    table.batch([made(n, size_bytes=n, row_count=n * 2) for n in (5, 1, 3)])
    found = document(tmp_path)
    totals = [found[k] for k in ("type", "parquet_size_bytes", "row_count", "wal_sequence")]
    assert totals == ["t", 9, 18, 0]
    assert found["min_time"] == START_S * SECOND + 1
    assert found["max_time"] == START_S * SECOND + 5
    table.batch(None, [made(n) for n in (5, 1, 3)])
    found = document(tmp_path)
    assert [found[k] for k in ("parquet_size_bytes", "row_count", "files")] == [0, 0, []]
    assert len(found["drop_queue"]) == 3
    assert table.paths() == []


def test_both_spellings_of_a_drop_are_read_and_gigapis_is_mended(tmp_path: Path) -> None:
    go, lower, plain = (f"{HOURS[0]}/{name}.1.parquet" for name in ("go", "lower", "plain"))
    item = {"writer_id": "", "layer": "", "database": "db", "table": "t"}
    drops = [go_drop(go, START_S), {**item, "path": lower, "time_s": START_S}, f"/abs/{plain}"]
    go_writes(data(tmp_path), [go_entry(1)], drops)
    table = index(tmp_path)
    assert {p.paths[0] for p in table.plans() if p.kind == "drop"} == {go, lower, plain}
    table.batch([made(1)])
    assert document(tmp_path)["drop_queue"] == [
        {**item, "path": path, "time_s": time_s}
        for path, time_s in ((go, START_S), (lower, START_S), (plain, 0))
    ]
    for path in (plain, go, lower):
        plan = table.get_drop_queue("", "")
        assert plan is not None
        assert plan.path == path
        table.rm_from_drop_queue(plan)
    assert document(tmp_path)["drop_queue"] == []


def test_a_drop_is_held_back_and_outlives_the_process(tmp_path: Path) -> None:
    clock = Clock()
    index(tmp_path, clock=clock).batch([made(1)])
    index(tmp_path, clock=clock).batch(None, [made(1)])
    assert document(tmp_path)["drop_queue"][0]["time_s"] == START_S + 30
    assert index(tmp_path, clock=clock).get_drop_queue("", "") is None
    clock.now_s += 30
    plan = index(tmp_path, clock=clock).get_drop_queue("", "")
    assert plan is not None
    assert document(tmp_path)["drop_queue"], "until it is done"
    index(tmp_path, clock=clock).rm_from_drop_queue(plan)
    assert document(tmp_path)["drop_queue"] == []


def test_a_drop_that_gigapi_has_ended_is_not_handed_out(tmp_path: Path) -> None:
    clock = Clock()
    table = index(tmp_path, clock=clock, drop_grace_s=0)
    table.batch([made(1), made(2)])
    table.batch(None, [made(1)])
    held = table.get_drop_queue("", "", lease_s=5)
    go_writes(data(tmp_path), document(tmp_path)["files"])
    assert not [plan for plan in table.plans() if plan.kind == "drop"]
    clock.now_s += 5
    assert table.get_drop_queue("", "") is None
    assert held is not None
    table.rm_from_drop_queue(held)


# Plans for files of GigAPI


def test_files_of_gigapi_are_planned_when_asked_for(tmp_path: Path) -> None:
    clock = Clock()
    late = (START_S + 100) * SECOND
    files = [go_entry(1), go_entry(2), go_entry(3, chunk_time=late, size_bytes=900)]
    go_writes(data(tmp_path), files)
    table = index(tmp_path, clock=clock)
    shown = [(p.paths, p.due_s, p.size_bytes) for p in table.plans()]
    paths = [file["path"] for file in files]
    assert shown == [(paths[:2], START_S + 10, 200), (paths[2:], START_S + 110, 900)]
    assert table.get_merge_plan("", "", 1) is None
    assert len(contents(tmp_path)) == 1, "looking has written nothing"
    clock.now_s += 10
    plan = table.get_merge_plan("", "", 1)
    assert plan is not None
    assert (plan.id, plan.paths_from) == (table.plans()[1].id, paths[:2])
    assert table.get_merge_plan("", "", 1) is None
    table.complete_merge(plan, made(1, path=plan.path_to))
    assert [p.paths for p in table.plans() if p.kind == "merge"] == [paths[2:]]


def test_files_of_gigapi_are_planned_once(tmp_path: Path) -> None:
    clock = Clock()
    table = index(tmp_path, clock=clock)
    table.batch([made(1)])
    ours = document(tmp_path)["files"]
    go_writes(data(tmp_path), [*ours, go_entry(2)])
    table.batch([made(3)])
    waiting = {path for plan in table.plans() for path in plan.paths}
    assert waiting == {made(1).path, made(3).path, f"{HOURS[0]}/go2.1.parquet"}
    clock.now_s += 10
    handed = []
    while (plan := table.get_merge_plan("", "", 1)) is not None:
        handed += plan.paths_from
        table.end_merge(plan)
    assert sorted(handed) == sorted(waiting)
    assert table.plans() == []
    assert index(tmp_path, clock=clock).get_merge_plan("", "", 1) is None


def test_a_derived_plan_may_be_tried_again_and_given_back(tmp_path: Path) -> None:
    clock = Clock()
    go_writes(data(tmp_path), [go_entry(1)])
    table = index(tmp_path, clock=clock)
    assert table.retry(table.plans()[0])
    plan = table.get_merge_plan("", "", 1)
    assert plan is not None
    table.release(plan, "no")
    again = table.get_merge_plan("", "", 1)
    assert again is not None
    assert (again.id, again.path_to, again.attempts) == (plan.id, plan.path_to, 1)
    with pytest.raises(LeaseLost):
        table.end_merge(plan)


def test_files_of_gigapi_move_when_their_time_is_up(tmp_path: Path) -> None:
    clock = Clock()
    table = index(tmp_path, clock=clock, layers=tiers(tmp_path, 60), merge_configurations=[])
    folder = tmp_path / "hot" / "db" / "t" / "data" / HOURS[0]
    go_writes(folder, [go_entry(1, layer="hot"), go_entry(2, layer="hot")])
    assert table.get_move_plan("", "hot") is None
    clock.now_s += 60
    plan = table.get_move_plan("", "hot")
    assert plan is not None
    assert (plan.path_from, plan.layer_to) == (f"{HOURS[0]}/go1.1.parquet", "cold")
    table.complete_move(plan, made(1, path=plan.path_to, layer="cold"))
    second = table.get_move_plan("", "hot")
    assert second is not None
    assert second.path_from == f"{HOURS[0]}/go2.1.parquet"


def test_gigapi_may_add_and_remove_between_our_calls(tmp_path: Path) -> None:
    clock = Clock()
    table = index(tmp_path, clock=clock)
    table.batch([made(1), made(2)])
    go_writes(data(tmp_path), [document(tmp_path)["files"][1], go_entry(9)])
    assert [each.path for each in table.get_all()] == [made(2).path, f"{HOURS[0]}/go9.1.parquet"]
    clock.now_s += 10
    plan = table.get_merge_plan("", "", 1)
    assert plan is not None
    assert plan.paths_from == [made(2).path], "living files only"
    second = table.get_merge_plan("", "", 1)
    assert second is not None
    assert second.paths_from == [f"{HOURS[0]}/go9.1.parquet"]


def test_a_path_that_gigapi_left_in_two_layers_is_found_once(tmp_path: Path) -> None:
    for layer in ("hot", "cold"):
        folder = tmp_path / layer / "db" / "t" / "data" / HOURS[0]
        go_writes(folder, [go_entry(1, layer=layer)])
    table = index(tmp_path, layers=tiers(tmp_path))
    assert [each.layer for each in table.get_all()] == ["cold"]
    path = f"{HOURS[0]}/go1.1.parquet"
    assert table.get(path, "cold") is not None
    table.batch([made(1, path=path, layer="hot")])
    assert [each.layer for each in table.get_all()] == ["hot"]
    assert [p.kind for p in table.plans()] == ["merge"], "replaced: nothing is to be deleted"
    table.batch(None, [path])
    assert table.get_all() == []


# The older form


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """GigAPI of before `data/`: absolute paths, no layer, drops as plain strings."""
    files = [
        {k: v for k, v in go_entry(n).items() if k in ("id", "size_bytes", "row_count", "range")}
        | {k: v for k, v in go_entry(n).items() if k.endswith("_time") or k == "type"}
        | {"path": f"/old/root/db/t/{HOURS[0]}/go{n}.1.parquet"}
        for n in (1, 2)
    ]
    go_writes(tmp_path / "db" / "t" / HOURS[0], files, [f"/old/root/db/t/{HOURS[0]}/gone.parquet"])
    return tmp_path


def test_the_older_form_is_read(older: Path) -> None:
    table = index(older)
    path = f"{HOURS[0]}/go1.1.parquet"
    assert [each.path for each in table.get_all()] == [path, f"{HOURS[0]}/go2.1.parquet"]
    assert table.get(path) == made(1, path=path)
    assert table.query(before=START_S * SECOND + 1) == [made(1, path=path)]
    assert table.query(folder=HOURS[1]) == []
    assert table.paths() == [HOURS[0]]
    assert JSONDBIndex(older).databases() == ["db"]
    assert JSONDBIndex(older).tables("db") == ["t"]
    assert table.plans() == []
    assert table.get_merge_plan("", "", 1) is None


def test_the_older_form_is_not_written(older: Path) -> None:
    table = index(older)
    path = f"{HOURS[0]}/go1.1.parquet"
    before = contents(older)
    for add, remove in (([made(1, path=path)], []), ([made(5)], [path])):
        with pytest.raises(StoreError, match=r"older form.*only read"):
            table.batch(add, remove)
    assert contents(older) == before
    table.batch([made(5), made(6, HOURS[1])])
    assert [each.path for each in table.get_all()][-2:] == [made(5).path, made(6, HOURS[1]).path]
    assert table.paths() == HOURS[:2]


# Damage

DAMAGE = {
    "empty": b"",
    "cut off": b'{"type":"t","files":[{"path":"x',
    "no object": b"[]",
    "no list": b'{"files":{}}',
    "an entry that is none": b'{"files":[1]}',
    "a path that is none": b'{"files":[{"path":1}]}',
    "a path elsewhere": b'{"files":[{"path":"../../x.parquet"}]}',
    "a path in another folder": b'{"files":[{"path":"date=1/x.parquet"}]}',
    "an evil path": json.dumps({"files": [{"path": f"{HOURS[0]}/.."}]}).encode(),
    "text for a number": json.dumps({"files": [go_entry(1, size_bytes="1")]}).encode(),
    "statistics that are none": json.dumps({"files": [go_entry(1, min=[1])]}).encode(),
    "bad UTF-8": b'{"files":[{"path":"\xff"}]}',
    "too deep": b'{"x":' + b"[" * 200_000,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_and_the_others_go_on(tmp_path: Path, damage: str) -> None:
    table = index(tmp_path, merge_configurations=[[0, 1000, 1]])
    table.batch([made(1), made(2, HOURS[1])])
    file = data(tmp_path) / "metadata.json"
    file.write_bytes(DAMAGE[damage])
    for call in (
        table.get_all,
        lambda: table.query(folder=HOURS[0]),
        lambda: table.get(f"{HOURS[0]}/go1.1.parquet"),
    ):
        with pytest.raises(CorruptState) as caught:
            call()
        assert str(file) in str(caught.value)
    if damage != "statistics that are none":
        with pytest.raises(CorruptState):
            table.batch([made(3), made(4, HOURS[1])])
    assert file.read_bytes() == DAMAGE[damage] or damage == "statistics that are none"
    assert table.get(made(2, HOURS[1]).path) == made(2, HOURS[1])
    assert table.query(folder=HOURS[1]) == [made(2, HOURS[1])]
    table.batch([made(5, HOURS[1]), made(6, HOURS[2])])
    assert table.get(made(6, HOURS[2]).path) is not None
    plan = table.get_merge_plan("", "", 1)
    while plan is not None and HOURS[0] in plan.path_to:
        plan = table.get_merge_plan("", "", 1)
    assert plan is not None
    assert plan.paths_from == [made(2, HOURS[1]).path, made(5, HOURS[1]).path]
    assert HOURS[0] in table.paths()
    assert JSONDBIndex(tmp_path).databases() == ["db"]


def test_our_own_damaged_files_are_named(tmp_path: Path) -> None:
    table = index(tmp_path)
    table.batch([made(1), made(2, HOURS[1])])
    plans = data(tmp_path) / ".gigapi-plans.json"
    plans.write_bytes(b"{")
    with pytest.raises(CorruptState, match="gigapi-plans"):
        table.batch([made(3)])
    with pytest.raises(CorruptState, match="gigapi-plans"):
        table.plans()
    assert len(table.get_all()) == 2
    table.batch([made(4, HOURS[1])])
    plans.unlink()
    table.batch([made(3)])
    assert {path for plan in table.plans() for path in plan.paths} == {
        each.path for each in table.get_all()
    }, "what is lost with the file is derived anew"
    journal = tmp_path / "db" / "t" / ".gigapi" / "journal.json"
    journal.write_bytes(b"{")
    for call in (table.get_all, lambda: table.batch([made(5)])):
        with pytest.raises(CorruptState, match="journal"):
            call()


def test_numbers_keep_every_digit(tmp_path: Path) -> None:
    stats: dict[str, Any] = {
        "int": 2**64 - 1,
        "negative": -(2**63),
        "float": 0.1 + 0.2,
        "tiny": 5e-324,
        "huge": 1.7976931348623157e308,
        "whole": 1e16,
        "zero": -0.0,
        "text": 'ä\u2028"\\/',
        "nested": {"a": [None, True, 1.0, 1]},
    }
    table = index(tmp_path)
    one = made(1, size_bytes=2**63 - 1, row_count=2**53 + 1, min_data=stats, max_data={})
    table.batch([one, made(2, min_data=None, max_data=stats)])
    for _ in range(3):
        table.batch([made(3)])
        found = index(tmp_path).get(one.path)
        assert found == one
        assert repr(found) == repr(one), "floats stay floats"
    found.min_data["int"] = 0
    assert index(tmp_path).get(one.path) == table.get(one.path) == one, "dicts are the caller's"


def test_values_are_an_object_of_base64_texts(tmp_path: Path) -> None:
    file = tmp_path / "kv.json"
    file.write_text('{"a":"AAEC/w==","gone":null}')
    store = JSONKVStore(file)
    assert store.get("a") == b"\x00\x01\x02\xff"
    assert store.get("gone") is None
    store.put("b", b"")
    assert json.loads(file.read_text()) == {"a": "AAEC/w==", "gone": None, "b": ""}
    assert JSONKVStore(file).get("b") == b""
    store.delete("a")
    store.delete("nothing")
    assert json.loads(file.read_text()) == {"gone": None, "b": ""}
    file.write_text('{"a":"*"}')
    with pytest.raises(CorruptState, match=r"kv\.json"):
        store.get("a")
    file.write_text("nonsense")
    with pytest.raises(CorruptState, match=r"kv\.json"):
        store.put("a", b"")


@pytest.mark.parametrize("field", ["size_bytes", "row_count", "min_time", "max_time", "chunk_time"])
def test_a_number_beyond_64_bits_is_damage(tmp_path: Path, field: str) -> None:
    go_writes(data(tmp_path), [go_entry(1, **{field: 2**63})])
    table = index(tmp_path)
    for read in (table.get_all, table.query_arrow, lambda: table.query(after=1)):
        with pytest.raises(CorruptState, match=r"metadata\.json is damaged"):
            read()
