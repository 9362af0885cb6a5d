"""`doctor` on real servers, files and folders."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fix_redis import RedisServer
from fix_stores import entry
from fix_topologies import CERTIFICATES, TLSServer, with_tls

from gigapi_metadata import Layer, RedisIndex, connect
from gigapi_metadata.cli import main
from gigapi_metadata.doctor import Doctor, Finding, examine, worst
from gigapi_metadata.stores import surroundings

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
    url = f"redis://app:pw@127.0.0.1:{server.port}/0"
    found = look(url)
    faults = [each for all_ in found.values() for each in all_ if each.level == "error"]
    assert [each.message.partition(" (")[0] for each in faults] == ["INFO was refused"]
    assert faults[0].remedy == (f"redis-cli -h 127.0.0.1 -p {server.port} ACL SETUSER app +info")
    assert not found.keys() & {"memory", "persistence", "replicas", "version"}
    assert main(["--catalog", url, "doctor", "--quiet"]) == 1


@pytest.mark.parametrize("command", ["ping", "time", "scan", "memory", "hlen", "config", "evalsha"])
def test_any_question_may_be_refused(new_redis_server: NewServer, command: str) -> None:
    server = new_redis_server("--appendonly", "yes")
    yesterday = time.strftime("date=%Y-%m-%d", time.gmtime(time.time() - 86_400))
    with server.client() as client:
        client.hset(f"files:db:t:{yesterday}", "a", "{}")
        client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", f"-{command}")
    found = look(f"redis://app:pw@127.0.0.1:{server.port}/0")
    refused = [each for all_ in found.values() for each in all_ if f"+{command}" in each.remedy]
    assert len(refused) == 1
    assert "catalog" not in found


def test_no_key_of_a_server_is_changed(new_redis_server: NewServer) -> None:
    server = new_redis_server("--appendonly", "yes")
    with RedisIndex(server.url(), "db", "t") as index:
        index.batch([entry(n) for n in range(3)])
    with server.client() as client:
        before = {key: (client.dump(key), client.ttl(key) > 0) for key in client.scan_iter()}
        client.execute_command("CONFIG RESETSTAT")
        changes = client.info("persistence")["rdb_changes_since_last_save"]
        look(server.url())
        assert {
            key: (client.dump(key), client.ttl(key) > 0) for key in client.scan_iter()
        } == before
        assert client.info("persistence")["rdb_changes_since_last_save"] == changes
        flags = {each["name"]: each["flags"] for each in client.command().values()}
        asked = {
            name.removeprefix("cmdstat_").partition("|")[0] for name in client.info("commandstats")
        }
    assert not [name for name in asked if "write" in flags[name]]


def test_commands_name_the_server_and_speak_as_the_url_does(new_redis_server: NewServer) -> None:
    server = new_redis_server("--maxmemory-policy", "allkeys-lru")
    (fault,) = look(server.socket_url())["eviction"]
    assert fault.remedy.startswith(f"redis-cli -s {server.socket} CONFIG SET maxmemory-policy ")


def test_commands_for_a_server_with_tls_use_it() -> None:
    server = TLSServer(with_tls(), "localhost")
    try:
        authority = CERTIFICATES / "ca.pem"
        found = look(f"rediss://:pw@localhost:{server.port}/0?ssl_ca_certs={authority}")
        assert worst(found["catalog"]) == "error"  # no such password
        found = look(f"rediss://localhost:{server.port}/0?ssl_ca_certs={authority}")
    finally:
        server.close()
    (fault,) = found["persistence"]
    assert fault.remedy.startswith(f"redis-cli --tls -h localhost -p {server.port} CONFIG SET ")


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


def content_of(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def interrupted(folder: Path, journal_mode: str = "WAL") -> str:
    """The URL of a catalog whose writer was killed: with a WAL, or in mid-change without one."""
    url = f"sqlite://{folder}/catalog.db"
    if journal_mode == "DELETE":
        with connect(url) as catalog:
            catalog.table("db", "t").batch([entry(n) for n in range(200)])
        with closing(sqlite3.connect(folder / "catalog.db")) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
        last = """
import sqlite3
db = sqlite3.connect(sys.argv[1].removeprefix("sqlite://"), isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN")
db.execute("DELETE FROM files")
"""
    else:
        last = """
from gigapi_metadata import IndexEntry, connect
entry = IndexEntry("db", "t", "date=2025-01-01/hour=00/a.parquet", 1, 1, 1)
connect(sys.argv[1]).table("db", "t").batch([entry])
"""
    program = f"import os, signal, sys\n{last}\nos.kill(os.getpid(), signal.SIGKILL)"
    ended = subprocess.run([sys.executable, "-c", program, url], check=False)
    assert ended.returncode == -signal.SIGKILL
    return url


def test_a_catalog_whose_writer_was_killed_stays_as_it_is(tmp_path: Path) -> None:
    url = interrupted(tmp_path)
    before = content_of(tmp_path)
    assert set(before) == {"catalog.db", "catalog.db-wal", "catalog.db-shm"}
    found = look(url)
    assert worst(found["integrity"]) == worst(found["locks"]) == worst(found["journal"]) == "ok"
    assert main(["--catalog", url, "doctor"]) == 0
    assert content_of(tmp_path) == before
    (tmp_path / "catalog.db-shm").unlink()
    before = content_of(tmp_path)
    assert "-wal is there without the -shm" in look(url)["integrity"][0].message
    assert content_of(tmp_path) == before


def test_a_change_that_was_cut_off_is_not_taken_back(tmp_path: Path) -> None:
    url = interrupted(tmp_path, "DELETE")
    before = content_of(tmp_path)
    found = look(url)
    assert "-journal holds a change" in found["integrity"][0].message
    assert worst(found["integrity"]) == "warning"
    assert content_of(tmp_path) == before


def test_a_catalog_that_nobody_has_open_stays_as_it_is(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/catalog.db"
    with connect(url) as catalog:
        catalog.table("db", "t").batch([entry(1)])
    tmp_path.chmod(0o500)
    before = content_of(tmp_path)
    found = look(url)
    tmp_path.chmod(0o700)
    assert worst(found["integrity"]) == worst(found["locks"]) == worst(found["journal"]) == "ok"
    assert content_of(tmp_path) == before


@pytest.mark.parametrize("journal_mode", ["WAL", "DELETE"])
def test_a_busy_sqlite_catalog_is_left_alone(tmp_path: Path, journal_mode: str) -> None:
    file = tmp_path / "catalog.db"
    with connect(f"sqlite://{file}") as catalog:
        catalog.table("db", "t").batch([entry(1)])
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO tables (database, name) VALUES ('db', 'u')")
        found = look(f"sqlite://{file}")
        assert worst(found["locks"]) == ("ok" if journal_mode == "WAL" else "note")
        assert worst(found["integrity"]) == "ok"
        locked = pytest.raises(sqlite3.OperationalError, match="locked")
        with closing(sqlite3.connect(file, timeout=0)) as other, locked:
            other.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")


def test_an_index_that_has_lost_rows(tmp_path: Path) -> None:
    file = tmp_path / "catalog.db"
    with connect(f"sqlite://{file}") as catalog:
        catalog.table("db", "t").batch([entry(n) for n in range(20)])
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        (index,) = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE name = 'files_path'"
        ).fetchone()
        connection.execute("DROP INDEX files_path")
        connection.execute(f"{index} WHERE 0")  # has no row
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'files_path'", (index,))
    (fault,) = look(f"sqlite://{file}")["integrity"]
    assert fault.level == "error"
    assert "missing from index files_path" in fault.message
    assert fault.remedy == f"sqlite3 {file} REINDEX"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("REINDEX")
    assert worst(look(f"sqlite://{file}")["integrity"]) == "ok"


def test_an_integrity_check_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(f"sqlite://{tmp_path}/catalog.db") as catalog:
        catalog.table("db", "t").batch([entry(n) for n in range(500)])
    monkeypatch.setattr("gigapi_metadata.doctor.reading.sqlite.INTEGRITY_S", 0.0)
    monkeypatch.setattr("gigapi_metadata.doctor.reading.sqlite._STEPS", 1)
    (found,) = look(f"sqlite://{tmp_path}/catalog.db")["integrity"]
    assert found.level == "note"
    assert "did not come to its end" in found.message


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
    assert surroundings.kind_of("/srv/my lake/db", str(mounts)) == "nfs4"
    assert surroundings.kind_of("/srv/my lake", str(mounts)) == "nfs4"
    assert surroundings.kind_of("/srv/my lakes2", str(mounts)) == "ext4"
    assert surroundings.kind_of("/srv", str(tmp_path / "none")) == ""


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
