"""Tiers on S3: local to S3 and back, merges there, while the network misbehaves."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from fix_stores import SEED
from s3_lab import Fault, S3Lab, s3, s3_server
from worker_lab import Child, Lab, Tables, finish, row_count, work

from gigapi_metadata import IndexEntry, Layer
from gigapi_metadata.storage import s3 as s3_module
from gigapi_metadata.worker import Outcome, RetryPolicy

__all__ = ["s3", "s3_server"]


def lab_in(folder: Path, lab: S3Lab) -> Lab:
    layers = (
        Layer(f"file://{folder}/hot", "hot", "fs", 3600),
        Layer(lab.url(), "cold", "s3", 3600),
        Layer(f"file://{folder}/archive", "archive"),
    )
    return Lab(folder, layers=layers, merge=((10**6, 10**9, 1),))


def read(lab: Lab, folder: Path) -> Counter[str]:
    """The rows that a reader of the catalog finds, wherever they are."""
    folder.mkdir(exist_ok=True)
    files = []
    with Tables(lab) as catalog:
        entries: list[IndexEntry] = catalog.index().get_all()
    for number, entry in enumerate(entries):
        file = folder / f"{number}.parquet"
        lab.storages().table(entry.layer, lab.database, lab.table_name).get(entry.path, file)
        assert file.stat().st_size == entry.size_bytes
        files.append(file)
    found = row_count(files)
    for file in files:
        file.unlink()
    folder.rmdir()
    return found


def everything(lab: Lab) -> set[tuple[str, str]]:
    """What lies in all layers' folders."""
    return {
        (layer.name, info.path)
        for layer in lab.layers
        for info in lab.storages()
        .table(layer.name, lab.database, lab.table_name)
        .list("date=2024-01-15/hour=00")
    }


def check_whole(lab: Lab, rows: Counter[str], folder: Path) -> None:
    assert read(lab, folder) == rows
    with Tables(lab) as catalog:
        assert {(e.layer, e.path) for e in catalog.index().get_all()} == everything(lab)


def test_to_s3_and_back(tmp_path: Path, s3: S3Lab) -> None:
    lab = lab_in(tmp_path, s3)
    with Tables(lab) as catalog:
        lab.add(catalog)
    rows = read(lab, tmp_path / "read")
    layers = set()

    def look(step: str) -> None:
        if step in ("move:copied", "move:completed"):
            assert read(lab, tmp_path / "read") == rows
            with Tables(lab) as catalog:
                layers.update(entry.layer for entry in catalog.index().get_all())

    work(lab, checkpoint=look)
    assert layers == {"hot", "cold", "archive"}
    finish(lab)
    check_whole(lab, rows, tmp_path / "read")


@pytest.mark.parametrize("count", [1, 5])
def test_merges_on_s3(tmp_path: Path, s3: S3Lab, count: int) -> None:
    """A single file is promoted by a copy within S3, several are merged."""
    lab = Lab(tmp_path, layers=(Layer(s3.url(), "cold", "s3"),), merge=((0, 10**9, 1),))
    fill(lab, tmp_path, count)
    rows = read(lab, tmp_path / "read")
    outcomes = finish(lab)
    assert [each.kind for each in outcomes] == ["merge"] + ["drop"] * count
    check_whole(lab, rows, tmp_path / "read")
    assert list((tmp_path / "temporary").iterdir()) == []


def fill(lab: Lab, folder: Path, count: int) -> None:
    """Files that were written to S3 by somebody."""
    local = Lab(folder / "source", layers=(Layer(f"file://{folder}/source", "cold"),))
    local.folder.mkdir()
    with Tables(local) as made, Tables(lab) as catalog:
        entries = local.add(made, count)
        storage = lab.storages().table("cold", lab.database, lab.table_name)
        for entry, file in zip(entries, local.files(entries), strict=True):
            storage.put(entry.path, file)
        catalog.index().batch(entries)


@pytest.mark.parametrize(
    "step",
    [
        *(f"merge:{step}" for step in ("announced", "fetched", "verified", "placed", "completed")),
        *(f"move:{step}" for step in ("announced", "fetched", "copied", "completed")),
        *(f"drop:{step}" for step in ("checked", "deleted")),
    ],
)
@pytest.mark.parametrize("first", ["s3", "local"])
def test_killed_at_every_step(tmp_path: Path, s3: S3Lab, step: str, first: str) -> None:
    """Merges on S3 and moves from there, or moves to it."""
    layers = [Layer(s3.url(), "cold", "s3", 3600), Layer(f"file://{tmp_path}/hot", "hot")]
    if first == "local":
        layers = [Layer(f"file://{tmp_path}/hot", "hot", "fs", 3600), Layer(s3.url(), "cold", "s3")]
    lab = Lab(tmp_path, layers=tuple(layers), merge=((0, 10**9, 1),))
    if first == "s3":
        fill(lab, tmp_path, 3)
    else:
        with Tables(lab) as catalog:
            lab.add(catalog, 3)
    rows = read(lab, tmp_path / "read")
    child = Child(lab, kill_at=step)
    child.started()
    assert child.join() == -9
    assert read(lab, tmp_path / "read") == rows
    finish(lab.ahead(1000))
    check_whole(lab, rows, tmp_path / "read")


def test_faults_at_random(tmp_path: Path, s3: S3Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs get over them or fail and are tried again; the rows are there all the time."""
    monkeypatch.setattr(s3_module, "READ_TIMEOUT_S", 0.3)
    monkeypatch.setattr(s3_module, "RETRIES", 0)
    monkeypatch.setattr(s3_module, "TRANSFERS", 1)
    dice = random.Random(SEED)
    lab = lab_in(tmp_path, s3)
    with Tables(lab) as catalog:
        lab.add(catalog)
    rows = read(lab, tmp_path / "read")
    outcomes: list[Outcome] = []
    for _ in range(3):
        s3.faults += [
            Fault(dice.choice(["503", "reset", "lost", "cut", "silent"]), method)
            for method in ("PUT", "GET", "HEAD", "DELETE")
            for _ in range(dice.randint(2, 4))
        ]
        # Not again in the same round, however long that takes: five failures set a plan aside.
        outcomes += work(lab, policy=RetryPolicy(first_s=1000, factor=1))
        s3.faults.clear()
        assert read(lab, tmp_path / "read") == rows
        lab = lab.ahead(10_000)
    outcomes += finish(lab)
    assert "failed" in {outcome.status for outcome in outcomes}
    check_whole(lab, rows, tmp_path / "read")


def test_a_broken_layer_holds_nothing_else_up(tmp_path: Path, s3: S3Lab) -> None:
    """Moves to it fail, are set aside after five times with their reason, and merges go on."""
    url = s3.url().replace(s3.bucket, "no-such-bucket")
    lab = Lab(
        tmp_path,
        layers=(Layer(f"file://{tmp_path}/hot", "hot", "fs", 3600), Layer(url, "cold", "s3")),
    )
    with Tables(lab) as catalog:
        lab.add(catalog)
    outcomes = []
    for _ in range(5):
        outcomes += work(lab)
        lab = lab.ahead(100)
    moves = [outcome for outcome in outcomes if outcome.kind == "move"]
    assert [move.status for move in moves] == ["failed"] * 4 + ["set aside"]
    assert {o.status for o in outcomes if o.kind == "merge"} == {"done"}
    assert work(lab.ahead(10_000_000)) == []
    with Tables(lab) as catalog:
        (plan,) = catalog.index().plans()
        assert plan.attempts == 5
        assert "no-such-bucket" in plan.error or "cold" in plan.error
        assert "secret" not in plan.error
        assert catalog.index().retry(plan)
    assert [outcome.status for outcome in work(lab)] == ["failed"]
