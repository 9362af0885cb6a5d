"""Folders that somebody hostile can write to: what lies outside the layer is neither read, nor
written, nor deleted, whatever a journal, a link or a `metadata.json` says."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from fix_stores import entry

from gigapi_metadata import JSONIndex, MetadataError, StoreError
from gigapi_metadata.cli import main
from gigapi_metadata.index.repairs import TableRepairs
from gigapi_metadata.stores.repairing import EntryRepair

DIR = "date=2024-01-15/hour=00"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder beside the catalog, with files of the names that are aimed at."""
    folder = tmp_path / "victim"
    folder.mkdir()
    for name in ("metadata.json", ".gigapi-plans.json", "secret.1.parquet", "0" * 32):
        (folder / name).write_text(json.dumps({"files": [], "type": name}))
    return folder


def state(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.iterdir()
    }


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The table's folder, with one file in the catalog."""
    with JSONIndex(tmp_path / "lake", "db", "t") as index:
        index.batch([entry(1)])
    return tmp_path / "lake" / "db" / "t"


def try_all(lake: Path) -> list[MetadataError]:
    """Read and write as a user would; the errors."""
    found = []
    with JSONIndex(lake, "db", "t") as index:
        for attempt in (
            index.get_all,
            lambda: index.batch([entry(2)]),
            lambda: index.batch([], [entry(1)]),
            lambda: index.get_drop_queue("", ""),
            index.plans,
        ):
            try:
                attempt()
            except MetadataError as fault:
                found.append(fault)
    return found


OUTSIDE = "../../../victim"


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (f"{OUTSIDE}/{'0' * 32}", f"data/{DIR}/metadata.json"),
        (f".gigapi/new/../../{OUTSIDE}/{'0' * 32}", f"data/{DIR}/metadata.json"),
        (".gigapi/new/" + "0" * 32, f"{OUTSIDE}/metadata.json"),
        (".gigapi/new/" + "0" * 32, f"data/../{OUTSIDE}/metadata.json"),
        (".gigapi/new/" + "0" * 32, f"data/{DIR}/secret.1.parquet"),
        (".gigapi/new/" + "0" * 32, f"data/{DIR}//metadata.json"),
        ("{victim}/metadata.json", f"data/{DIR}/metadata.json"),
        (".gigapi/new/" + "0" * 32, "{victim}/metadata.json"),
        (".gigapi/new/" + "0" * 32, "data/link/metadata.json"),
    ],
)
def test_a_journal_can_not_name_what_lies_outside(
    tmp_path: Path, table: Path, victim: Path, source: str, target: str
) -> None:
    (table / "data" / "link").symlink_to(victim)
    (table / ".gigapi" / "new").mkdir(exist_ok=True)
    (table / ".gigapi" / "new" / ("0" * 32)).write_text('{"files":[]}')
    source, target = (text.replace("{victim}", str(victim)) for text in (source, target))
    (table / ".gigapi" / "journal.json").write_text(
        json.dumps({"sequence": 7, "pending": [["", source, target]]})
    )
    before = state(victim)
    faults = try_all(tmp_path / "lake")
    assert faults
    for fault in faults:
        assert isinstance(fault, StoreError)
        assert re.search("none of ours|leads out", str(fault))
    assert state(victim) == before


@pytest.mark.parametrize("place", ["", "data", ".gigapi", ".gigapi/new", "data/date=2024-01-15"])
def test_a_link_does_not_lead_outside(
    tmp_path: Path, table: Path, victim: Path, place: str
) -> None:
    before = state(victim)
    linked = table / place
    if linked.exists():
        linked.rename(tmp_path / "aside")
    linked.symlink_to(victim)
    assert all(isinstance(fault, StoreError) for fault in try_all(tmp_path / "lake"))
    assert state(victim) == before
    assert not list(victim.glob("*/*"))


@pytest.mark.parametrize("name", ["metadata.json", ".gigapi-plans.json"])
def test_a_file_that_is_a_link_is_not_read(
    tmp_path: Path, table: Path, victim: Path, name: str
) -> None:
    before = state(victim)
    folder = next(table.rglob("metadata.json")).parent
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(victim / name)
    assert try_all(tmp_path / "lake")
    assert state(victim) == before


def test_what_is_removed_is_in_no_linked_folder(tmp_path: Path, table: Path) -> None:
    """Also when it lies in the layer: all files in `.gigapi/new` are leftovers, and are removed."""
    other = table.parent / "other" / "data"
    other.mkdir(parents=True)
    (other / "a.1.parquet").write_text("data")
    new = table / ".gigapi" / "new"
    new.rename(tmp_path / "aside")
    new.symlink_to(other)
    assert try_all(tmp_path / "lake")
    assert os.listdir(other) == ["a.1.parquet"]


@pytest.mark.parametrize("place", ["aside", "aside/{day}"])
def test_a_repair_puts_nothing_aside_outside(
    tmp_path: Path, table: Path, victim: Path, place: str
) -> None:
    day = next((table / "data").iterdir()).name
    linked = table / ".gigapi" / place.format(day=day)
    linked.parent.mkdir(exist_ok=True)
    linked.symlink_to(victim)
    (victim / "metadata.json-0").touch()
    next(table.rglob("metadata.json")).write_text("of the attacker")
    before = state(victim)
    with JSONIndex(tmp_path / "lake", "db", "t") as index:
        repairs = TableRepairs(index)
        stored = [each for where in repairs.places() for each in repairs.stored(where)]
        with pytest.raises(StoreError, match="symbolic link"):
            repairs.mend_entries([EntryRepair(each, None, keep=True) for each in stored])
        if place == "aside":
            with pytest.raises(StoreError, match="symbolic link"):
                repairs.set_aside()
    assert state(victim) == before


def test_a_worker_on_hostile_folders(
    tmp_path: Path, table: Path, victim: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = next(table.rglob("metadata.json"))
    document = json.loads(file.read_text())
    paths = [
        f"{OUTSIDE}/../victim/secret.1.parquet",
        f"{file.parent.relative_to(table / 'data')}/../../../{OUTSIDE}/secret.1.parquet",
        f"{victim}/secret.1.parquet",
        "..",
        "",
        "x\x00y",
        "x" * 5000,
    ]
    document["drop_queue"] = [
        {"writer_id": "", "layer": "", "database": "db", "table": "t", "path": path, "time_s": 1}
        for path in paths
    ] + paths
    document["files"] += [{**document["files"][0], "path": path, "id": 9} for path in paths]
    file.write_text(json.dumps(document))
    before = state(victim)
    for command in (["worker", "--once"], ["worker", "--dry-run"], ["files", "db.t"]):
        assert main(["--catalog", f"json://{tmp_path}/lake", *command]) in (0, 1, 3)
    assert "Traceback" not in capsys.readouterr().err
    assert state(victim) == before
