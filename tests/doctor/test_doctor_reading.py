"""`doctor` on real servers, files and folders; and the warning beside a process's first write."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fix_redis import RedisServer
from fix_stores import entry

from gigapi_metadata import Layer, RedisIndex, connect, connect_async
from gigapi_metadata.cli import main
from gigapi_metadata.doctor import Doctor, Finding, examine, worst
from gigapi_metadata.doctor.reading import disk
from gigapi_metadata.stores.redis.health import Watch

NewServer = Callable[..., RedisServer]


def look(
    url: str, doctor: Doctor | None = None, layers: list[Layer] | None = None
) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    with connect(url, layers) as catalog:
        for each in examine(catalog, url, doctor):
            found.setdefault(each.check, []).append(each)
    return found


def test_a_server_that_evicts_and_keeps_nothing(new_redis_server: NewServer) -> None:
    server = new_redis_server("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    found = look(server.url())
    assert worst(found["eviction"]) == "error"
    assert worst(found["persistence"]) == "error"
    assert worst(found["scripts"]) == worst(found["clock"]) == worst(found["memory"]) == "ok"
    assert worst(found["version"]) == "ok"
    assert found["version"][0].message.split()[1].startswith(server.version[:3])
    assert worst(look(server.url(), Doctor(allow_eviction=True))["eviction"]) == "note"


def test_a_server_with_an_aof(new_redis_server: NewServer) -> None:
    server = new_redis_server("--appendonly", "yes", "--maxmemory", "100mb")
    found = look(server.url())
    assert "up to 1 s" in found["persistence"][0].message
    assert worst(each for all_ in found.values() for each in all_) == "note"


def test_a_user_who_may_not_ask_for_anything(new_redis_server: NewServer) -> None:
    server = new_redis_server()
    with server.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-config", "-info", "-memory"
        )
    found = look(f"redis://app:pw@127.0.0.1:{server.port}/0")
    refused = " ".join(each.message for each in found["access"])
    assert "CONFIG could not be read" in refused
    assert "INFO could not be read" in refused
    assert worst(each for all_ in found.values() for each in all_) == "note"


def test_a_server_that_is_not_there(new_redis_server: NewServer) -> None:
    server = new_redis_server()
    server.stop()
    found = look(f"redis://:secret@127.0.0.1:{server.port}/0")
    assert [each.level for each in found["catalog"]] == ["error"]
    assert "secret" not in found["catalog"][0].line()


def test_a_sqlite_catalog(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/catalog.db"
    with connect(url) as catalog:
        catalog.table("db", "t").batch([entry(1)])
    found = look(url)
    assert worst(each for all_ in found.values() for each in all_) in ("ok", "note")
    assert worst(found["locks"]) == worst(found["integrity"]) == worst(found["journal"]) == "ok"


def test_a_sqlite_catalog_in_trouble(tmp_path: Path) -> None:
    file = tmp_path / "catalog.db"
    with connect(f"sqlite://{file}") as catalog:
        catalog.table("db", "t").batch([entry(n) for n in range(500)])
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        page = connection.execute("PRAGMA page_size").fetchone()[0]
    with file.open("r+b") as damaged:
        damaged.seek(4 * page)
        damaged.write(b"\xff" * page)
    file.chmod(0o666)
    found = look(f"sqlite://{file}")
    assert worst(found["journal"]) == "warning"
    assert worst(found["integrity"]) == "error"
    assert worst(found["permissions"]) == "warning"


def test_a_file_that_is_no_catalog(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"not a database, and long enough to be looked at" * 40)
    assert worst(look(f"sqlite://{tmp_path}/catalog.db")["file"]) == "error"
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    assert worst(look(f"sqlite://{tmp_path}/other.db")["file"]) == "error"


def test_a_busy_sqlite_catalog_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "catalog.db"
    with connect(f"sqlite://{file}") as catalog:
        catalog.table("db", "t").batch([entry(1)])
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert worst(look(f"sqlite://{file}")["locks"]) == "note"


def test_folders_and_a_damaged_file(tmp_path: Path) -> None:
    url = f"json://{tmp_path}"
    with connect(url) as catalog:
        catalog.table("db", "t").batch([entry(n) for n in range(3)])
    found = look(url)
    assert worst(found["integrity"]) == worst(found["locks"]) == "ok"
    broken = next(tmp_path.rglob("metadata.json"))
    broken.write_text("{")
    found = look(url)
    assert worst(found["integrity"]) == "error"
    assert str(broken) in found["integrity"][0].message


def test_layers_and_the_probe(tmp_path: Path) -> None:
    hot = tmp_path / "hot"
    hot.mkdir()
    layers = [Layer(f"file://{hot}", "hot"), Layer(f"file://{tmp_path}/cold", "cold")]
    url = f"sqlite://{tmp_path}/catalog.db"
    found = look(url, layers=layers)
    assert worst(found["layer hot"]) == "note"
    assert worst(found["layer cold"]) == "error"
    found = look(url, Doctor(write_probe=True), layers)
    assert worst(found["layer hot"]) == "ok"
    assert list(hot.iterdir()) == []


def test_a_layer_that_can_not_be_written(tmp_path: Path) -> None:
    hot = tmp_path / "hot"
    hot.mkdir()
    (hot / ".gigapi-doctor").write_text("in the way")
    layers = [Layer(f"file://{hot}", "hot")]
    found = look(f"sqlite://{tmp_path}/catalog.db", Doctor(write_probe=True), layers)
    assert worst(found["layer hot"]) == "error"


def test_the_kind_of_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n"
        "2 1 0:5 / /srv/my\\040lake rw shared:1 - nfs4 host:/x rw\n"
        "3 1 0:6 / /srv/my\\040lakes rw - tmpfs t rw\n"
        "nonsense\n"
    )
    assert disk.kind_of("/srv/my lake/db", str(mounts)) == "nfs4"
    assert disk.kind_of("/srv/my lake", str(mounts)) == "nfs4"
    assert disk.kind_of("/srv/my lakes2", str(mounts)) == "ext4"
    assert disk.kind_of("/srv", str(tmp_path / "none")) == ""


def test_the_exit_code_is_for_monitors(
    new_redis_server: NewServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = new_redis_server("--appendonly", "yes", "--maxmemory-policy", "allkeys-lru")
    assert main(["--catalog", server.url(), "doctor", "--json", "--quiet"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert [each["level"] for each in shown] == ["error"]
    assert set(shown[0]) == {"level", "check", "message", "remedy"}
    assert main(["--catalog", server.url(), "doctor", "--allow-eviction"]) == 0
    server.config(maxmemory_policy="noeviction", appendfsync="no")
    assert main(["--catalog", server.url(), "doctor"]) == 0
    assert main(["--catalog", server.url(), "doctor", "--strict"]) == 1


# Beside the first write


@pytest.fixture(autouse=True)
def nothing_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "_looked_at", set())


def test_a_harmful_server_is_warned_of_once(
    new_redis_server: NewServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = new_redis_server("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with RedisIndex(server.url(), "db", "t") as index, RedisIndex(server.url(), "db", "u") as other:
        index.get_all()
        assert not caplog.records
        with server.client() as client:
            asked = client.info("commandstats").get("cmdstat_info", {}).get("calls", 0) + 1
        for n in range(3):
            index.batch([entry(n)])
            other.batch([entry(n, table="u")])
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "allkeys-lru" in caplog.text
    with server.client() as client:
        assert client.info("commandstats")["cmdstat_info"]["calls"] == asked + 1


async def test_asyncio_warns_alike(
    new_redis_server: NewServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = new_redis_server("--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru")
    async with connect_async(server.url()) as catalog:
        await catalog.table("db", "t").batch([entry(1)])
        await catalog.table("db", "t").batch([entry(2)])
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_failed_save_is_warned_of(
    new_redis_server: NewServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = new_redis_server("--stop-writes-on-bgsave-error", "no")
    with server.client() as client:
        client.set("x", 1)
        (server.folder / "dump.rdb").mkdir()  # no file can be put there
        client.bgsave()
        deadline = time.monotonic() + 30
        while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
            assert time.monotonic() < deadline
    with RedisIndex(server.url(), "db", "t") as index:
        index.batch([entry(1)])
    assert "could not save" in caplog.text


def test_a_good_or_a_silent_server_is_not_warned_of(
    new_redis_server: NewServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = new_redis_server("--maxmemory-policy", "allkeys-lru")  # but no maxmemory
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-info")
    for login in ("", "app:pw@"):
        with RedisIndex(f"redis://{login}127.0.0.1:{server.port}", "db", "t") as index:
            assert index.batch([entry(1)]) == 0
    assert not caplog.records
