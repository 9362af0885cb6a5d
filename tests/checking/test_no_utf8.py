"""Names that are no UTF-8, which nobody's program writes: queries say where they are, a check goes
on, a repair takes them out."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import pytest
from check_lab import DAY, Lake

from gigapi_metadata import CorruptState, MetadataError, StoreError
from gigapi_metadata.checking import write_backup
from gigapi_metadata.cli import main
from gigapi_metadata.stores.sqlite.rows import split_path

ODD = b"date=\xff/hour=00"
IDLE = f"merge:db:t:1:{DAY}/hour=00:hot::idle"
ITEM = b'{"id":"x","time_s":1,"paths":["%b"],"size":1}'


def odd_day(lake: Lake) -> None:
    document = lake.client.hvals(f"files:db:t:{DAY}")[0]
    lake.client.hset("folders:db:t", ODD, 1)
    lake.client.hset(b"files:db:t:date=\xff", ODD + b"/a.1.parquet", document)


REDIS: dict[str, Callable[[Lake], Any]] = {
    "folder": lambda lake: lake.client.hset("folders:db:t", DAY.encode() + b"/hour=\xff", 1),
    "day": odd_day,
    "path": lambda lake: lake.client.hset(
        f"files:db:t:{DAY}", DAY.encode() + b"/hour=00/\xff.1.parquet", b'{"path":"\xff"}'
    ),
    "plan": lambda lake: lake.client.rpush(IDLE, ITEM % b"\xff/y.parquet"),
    "queue": lambda lake: lake.client.rpush(b"merge:db:t:1:%b:hot::idle" % ODD, ITEM % b"a/y"),
    "attempts": lambda lake: lake.client.hset("gigapi-metadata:attempts:db:t", b"\xff", b"\xff"),
    "index": lambda lake: lake.client.hset("gigapi-metadata:indexed:db:t", b"\xff", 1),
    "cells": lambda lake: lake.client.zadd("gigapi-metadata:cells:db:t", {b"0:\xff/h": 1}),
    "aside": lambda lake: lake.client.hset("gigapi-metadata:set-aside:db:t", b"\xff", b"\xff"),
}
NAMED = {"folder": "folders:db:t", "day": "folders:db:t", "path": f"files:db:t:{DAY}"}


def reads(lake: Lake) -> dict[str, Callable[[], Any]]:
    index = lake.index
    return {
        "get_all": index.get_all,
        "paths": index.paths,
        "query": lambda: index.query(after=0),
        "query of a folder": lambda: index.query(folder="date="),
        "stream": lambda: list(index.iter_query(after=0)),
        "plans": index.plans,
        "queues": index.queues,
        "tables": lambda: lake.catalog.tables("db"),
        "databases": lake.catalog.databases,
        "planned": lake.catalog.planned,
    }


def assert_told_and_mended(lake: Lake, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Errors of reads are ours; a check and a backup go through; the table is whole in the end."""
    told = []
    for call in reads(lake).values():
        try:
            call()
        except MetadataError as fault:
            told.append(str(fault))
    layers = [word for each in lake.layers for word in ("--layers", f"{each.name}={each.url}")]
    for words in (["files", "db.t"], ["paths", "db.t"], ["check", "db.t"], ["plans", "db.t"]):
        assert main(["--catalog", lake.url, *layers, *words]) in (0, 1)
        assert "Traceback" not in capsys.readouterr().err
    write_backup(lake.raw, str(lake.folder), "now")
    for _ in range(3):
        lake.repair()
    assert lake.kinds() == []
    return told


@pytest.mark.parametrize("name", REDIS)
def test_on_redis(lake: Lake, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if lake.kind != "redis":
        pytest.skip("Redis takes any bytes for a name")
    entries = lake.fill()
    REDIS[name](lake)
    if name in NAMED:
        with pytest.raises(CorruptState, match=NAMED[name]):
            lake.index.get_all()
        assert lake.check().faults
    told = assert_told_and_mended(lake, capsys)
    assert told or name not in NAMED
    for call in reads(lake).values():
        call()
    assert lake.index.get_all() == entries


def test_in_rows(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    if lake.kind != "sqlite":
        pytest.skip("SQLite's rows")
    entries = lake.fill()
    with closing(sqlite3.connect(lake.folder / "catalog.db")) as db, db:
        change = "UPDATE files SET name = CAST(x'FF2E312E70' AS TEXT) WHERE dir = ? AND name = ?"
        assert db.execute(change, split_path(entries[0].path)).rowcount == 1
    for call in reads(lake).values():
        with suppress(MetadataError):
            call()
    with pytest.raises(StoreError, match=r"catalog.db: .*UTF-8 column 'name'"):
        lake.index.get_all()
    assert main(["--catalog", lake.url, "check", "db.t"]) == 1
    assert "UTF-8 column 'name'" in capsys.readouterr().err


def test_in_folders(lake: Lake) -> None:
    if lake.kind != "json":
        pytest.skip("folders of a catalog of JSON")
    entries = lake.fill()
    folder = os.path.join(os.fsencode(lake.folder / "hot" / "db" / "t" / "data"), b"date=\xff")
    os.mkdir(folder)
    with open(os.path.join(folder, b"metadata.json"), "wb") as file:
        file.write(b'{"files":[{"path":"\xff"}]}')
    for call in reads(lake).values():
        with suppress(MetadataError):
            call()
    lake.check()
    assert lake.index.get(entries[0].path) == entries[0]
