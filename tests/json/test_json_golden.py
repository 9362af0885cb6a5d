"""The recorded cases of GigAPI's engine, read and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fix_golden import entry, golden_cases, layers, load

from gigapi_metadata import JSONDBIndex, JSONIndex
from gigapi_metadata.index.repairs import TableRepairs

CASES = golden_cases("json_")


def opened(case: dict[str, Any], root: Path) -> JSONIndex:
    given = case["open"]
    return JSONIndex(root, given["database"], given["table"], layers(given, root), given["merge"])


def restored(case: dict[str, Any], root: Path) -> JSONIndex:
    for name, text in case["files"].items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return opened(case, root)


@pytest.mark.parametrize("case", CASES)
def test_what_gigapi_wrote_is_read(case: str, tmp_path: Path) -> None:
    golden = load(case)
    index = restored(golden, tmp_path)
    added = {each["path"]: entry(each) for op in golden["ops"] for each in op["add"]}
    assert {each.path: each for each in index.get_all()} == {
        path: added[path] for path in golden["live"]
    }
    for path, each in added.items():
        assert index.get(path) == (each if path in golden["live"] else None)
    for query in golden["queries"]:
        found = index.query(after=query["after"], before=query["before"])
        assert sorted(each.path for each in found) == sorted(query["paths"])
    names = JSONDBIndex(tmp_path, layers(golden["open"], tmp_path))
    database, table = golden["open"]["database"], golden["open"]["table"]
    assert names.databases() == [database]
    assert names.tables(database) == [table]
    assert names.paths(database, table) == sorted({p.rpartition("/")[0] for p in golden["live"]})


@pytest.mark.parametrize("case", CASES)
def test_reading_writes_nothing(case: str, tmp_path: Path) -> None:
    golden = load(case)
    index = restored(golden, tmp_path)
    index.get_all(), index.plans(), index.queues(), index.paths()
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert files == set(golden["files"])


@pytest.mark.parametrize("case", CASES)
def test_what_gigapi_wrote_is_whole(case: str, tmp_path: Path) -> None:
    assert TableRepairs(restored(load(case), tmp_path)).store_faults() == []


@pytest.mark.parametrize("case", CASES)
def test_what_gigapi_wants_deleted_is_handed_out(case: str, tmp_path: Path) -> None:
    golden = load(case)
    index = restored(golden, tmp_path)
    waiting = {
        (item["Layer"], item["WriterID"], item["Path"]): item["TimeS"]
        for text in golden["files"].values()
        for item in json.loads(text)["drop_queue"]
    }
    shown = [plan for plan in index.plans() if plan.kind == "drop"]
    assert {(p.layer, p.writer_id, p.paths[0]): p.due_s for p in shown} == waiting
    due_s = max(waiting.values())
    later = JSONIndex(
        tmp_path,
        golden["open"]["database"],
        golden["open"]["table"],
        layers(golden["open"], tmp_path),
        clock=lambda: due_s,
    )
    for layer, writer in {key[:2] for key in waiting}:
        while (plan := later.get_drop_queue(writer, layer)) is not None:
            assert plan.time_s == waiting.pop((layer, writer, plan.path))
            later.rm_from_drop_queue(plan)
    assert waiting == {}
    assert not [plan for plan in index.plans() if plan.kind == "drop"]


@pytest.mark.parametrize("case", CASES)
def test_what_we_write_is_what_gigapi_would(case: str, tmp_path: Path) -> None:
    golden = load(case)
    index = opened(golden, tmp_path)
    for op in golden["ops"]:
        index.batch(map(entry, op["add"]), map(entry, op["rm"]))
    written = {
        str(file.relative_to(tmp_path)): file.read_text()
        for file in tmp_path.rglob("metadata.json")
    }
    assert set(written) == set(golden["files"])
    for name, text in golden["files"].items():
        expected, found = json.loads(text), json.loads(written[name])
        assert list(found) == list(expected), "the same fields in the same order"
        assert [list(file) for file in found["files"]] == [list(f) for f in expected["files"]]
        for content in (expected, found):
            content["files"] = {file["path"]: {**file, "id": 0} for file in content["files"]}
            content["drop_queue"] = sorted(map(_drop, content["drop_queue"]))
        assert found == expected


@pytest.mark.parametrize("case", CASES)
def test_what_others_wrote_is_written_again_to_the_letter(case: str, tmp_path: Path) -> None:
    golden = load(case)
    index = restored(golden, tmp_path)
    name, text = next(iter(golden["files"].items()))
    first = json.loads(text)["files"][0]
    beside = entry({k: v for k, v in first.items() if k not in ("id", "range", "type")})
    path = beside.path.rpartition("/")[0] + "/beside.1.parquet"
    index.batch([type(beside)(**{**_fields(beside), "path": path})])
    index.batch(None, [path])
    again = (tmp_path / name).read_text()
    assert again.split('"files":')[1] == text.split('"files":')[1]


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__}


def _drop(item: dict[str, Any]) -> tuple[str, ...]:
    """A drop in either spelling, but for its time."""
    lower = {"writer_id", "layer", "database", "table", "path"}
    if lower <= set(item):
        assert set(item) == lower | {"time_s"}, "what GigAPI reads, and no more"
        return tuple(item[name] for name in sorted(lower))
    names = {"writer_id": "WriterID"}
    return tuple(item[names.get(name, name.capitalize())] for name in sorted(lower))
