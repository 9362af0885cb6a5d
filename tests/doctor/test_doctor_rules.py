"""The rules of `doctor`: from what was read to findings, without anything to read."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from gigapi_metadata.doctor import Finding, disk, json, layers, redis, sqlite, worst
from gigapi_metadata.doctor.disk import Access, DiskFacts
from gigapi_metadata.doctor.redis_facts import Growth, RedisFacts
from gigapi_metadata.stores.redis.durability import Durability

GOOD_INFO = {
    "redis_version": "7.2.4",
    "role": "master",
    "used_memory": "1000000",
    "maxmemory": "4000000000",
    "maxmemory_policy": "noeviction",
    "aof_enabled": "1",
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "connected_slaves": "1",
    "slave0": "ip=10.0.0.2,port=6379,state=online,offset=1,lag=0",
}
GOOD_CONFIG = {"appendfsync": "everysec", "save": "", "min-replicas-to-write": "1"}
GOOD = RedisFacts(
    GOOD_INFO, GOOD_CONFIG, script="", pings_ms=[0.2, 0.3, 9.0], skew_s=0.1, growth=Growth(10, 900)
)


def levels(found: Iterable[Finding]) -> dict[str, str]:
    """Check -> the worst level it has."""
    by_check: dict[str, list[Finding]] = {}
    for each in found:
        by_check.setdefault(each.check, []).append(each)
    return {check: worst(all_) for check, all_ in by_check.items()}


def with_info(**fields: object) -> RedisFacts:
    info = {**GOOD_INFO, **{name: str(value) for name, value in fields.items()}}
    return msgspec.structs.replace(GOOD, info=info)


def test_a_good_server_has_nothing_but_ok() -> None:
    assert set(levels(redis.findings(GOOD)).values()) == {"ok"}


@pytest.mark.parametrize(
    ("facts", "check", "level", "words"),
    [
        (with_info(redis_version="6.0.16"), "version", "error", "too old"),
        (with_info(redis_version="6.2.0"), "version", "ok", "6.2.0"),
        (with_info(redis_version="x"), "version", "note", "which version"),
        (with_info(maxmemory_policy="allkeys-lru"), "eviction", "error", "deletes parts"),
        (with_info(maxmemory_policy="volatile-ttl"), "eviction", "error", "volatile-ttl"),
        (with_info(evicted_keys=7), "eviction", "error", "7 keys"),
        (with_info(maxmemory=0, total_system_memory=8 << 30), "memory", "note", "not set"),
        (with_info(used_memory=3_700_000_000), "memory", "error", "refused"),
        (with_info(used_memory=3_100_000_000), "memory", "warning", "left"),
        (with_info(aof_last_write_status="err"), "persistence", "error", "AOF"),
        (with_info(rdb_last_bgsave_status="err"), "persistence", "error", "background save"),
        (with_info(loading=1), "persistence", "error", "loading"),
        (with_info(connected_slaves=0), "replicas", "note", "none"),
        (
            with_info(slave0="ip=10.0.0.2,port=6379,state=online,offset=1,lag=60"),
            "replicas",
            "warning",
            "10.0.0.2:6379",
        ),
        (with_info(role="slave", master_link_status="down"), "role", "error", "down"),
        (with_info(redis_mode="sentinel"), "mode", "error", "Sentinel"),
        (with_info(cluster_enabled=1), "mode", "error", "cluster"),
        (with_info(maxclients=100, connected_clients=95), "clients", "warning", "95 of 100"),
        (
            msgspec.structs.replace(GOOD, durability=Durability(replicas=2)),
            "replicas",
            "error",
            "replicated:2 needs 2 replicas, and 1",
        ),
        (
            msgspec.structs.replace(with_info(aof_enabled=0), durability=Durability(fsynced=True)),
            "persistence",
            "error",
            "fsynced needs an AOF",
        ),
        (msgspec.structs.replace(GOOD, script="NOPERM"), "scripts", "error", "NOPERM"),
        (msgspec.structs.replace(GOOD, skew_s=-90.0), "clock", "warning", "behind"),
        (msgspec.structs.replace(GOOD, skew_s=90.0, skew_within_s=89.0), "clock", "ok", ""),
        (msgspec.structs.replace(GOOD, pings_ms=[20.0] * 3), "latency", "note", "20.00 ms"),
        (msgspec.structs.replace(GOOD, pings_ms=[200.0] * 3), "latency", "warning", "200.00"),
        (msgspec.structs.replace(GOOD, growth=Growth(9, 10**9)), "growth", "error", "lasts"),
        (msgspec.structs.replace(GOOD, growth=Growth(9, 2 * 10**8)), "growth", "warning", "20 d"),
        (msgspec.structs.replace(GOOD, growth=Growth(0, 0)), "growth", "note", "not known"),
        (msgspec.structs.replace(GOOD, growth=Growth(9, 9, False)), "growth", "ok", "at least"),
        (
            msgspec.structs.replace(GOOD, local=False, encrypted=True),
            "access",
            "warning",
            "password",
        ),
        (
            msgspec.structs.replace(GOOD, local=False, password=True),
            "access",
            "warning",
            "encrypted",
        ),
        (
            msgspec.structs.replace(GOOD, refused={"CONFIG": "NOPERM"}),
            "access",
            "note",
            "could not be read",
        ),
    ],
)
def test_what_is_wrong_with_a_server(facts: RedisFacts, check: str, level: str, words: str) -> None:
    found = [each for each in redis.findings(facts) if each.check == check]
    assert worst(found) == level
    assert any(words in each.message and each.level == level for each in found)


@pytest.mark.parametrize(
    ("aof", "config", "level", "words"),
    [
        (1, {"appendfsync": "always"}, "ok", "nothing that was acknowledged"),
        (1, {"appendfsync": "everysec"}, "ok", "up to 1 s"),
        (1, {"appendfsync": "no"}, "warning", "up to 30 s"),
        (1, None, "note", "could not be read"),
        (0, {"save": ""}, "error", "loses the whole catalog"),
        (0, {"save": "3600 1 300 100 60 10000"}, "warning", "up to 60 minutes of writes"),
        (0, {"save": "5 1"}, "warning", "up to 5 s of writes"),
        (0, None, "note", "could not be read"),
    ],
)
def test_what_a_crash_may_lose(
    aof: int, config: dict[str, str] | None, level: str, words: str
) -> None:
    facts = msgspec.structs.replace(with_info(aof_enabled=aof, connected_slaves=0), config=config)
    found = [each for each in redis.findings(facts) if each.check == "persistence"]
    assert [each.level for each in found] == [level]
    assert words in found[0].message


def test_eviction_can_be_allowed() -> None:
    facts = with_info(maxmemory_policy="allkeys-lru")
    assert levels(redis.findings(facts, allow_eviction=True))["eviction"] == "note"


def test_a_server_that_says_nothing_is_no_error() -> None:
    found = list(redis.findings(RedisFacts({}, refused={"INFO": "NOPERM", "CONFIG": "NOPERM"})))
    assert worst(found) == "note"


ROOMY = DiskFacts("/lake", "ext4", 50 << 30, 100 << 30, 10**6)


@pytest.mark.parametrize(
    ("facts", "level"),
    [
        (ROOMY, "ok"),
        (msgspec.structs.replace(ROOMY, free=1 << 20), "error"),
        (msgspec.structs.replace(ROOMY, free=500 << 20), "warning"),
        (msgspec.structs.replace(ROOMY, free=40 << 20, total=100 << 20), "error"),
        (msgspec.structs.replace(ROOMY, free_inodes=3), "warning"),
        (msgspec.structs.replace(ROOMY, free_inodes=None), "ok"),
        (msgspec.structs.replace(ROOMY, read_only=True), "error"),
        (msgspec.structs.replace(ROOMY, fault="Stale file handle"), "error"),
    ],
)
def test_space(facts: DiskFacts, level: str) -> None:
    assert worst(disk.space(facts, "space")) == level


@pytest.mark.parametrize(
    ("kind", "level"), [("ext4", "ok"), ("nfs4", "warning"), ("cifs", "warning"), ("", "note")]
)
def test_kinds_of_file_system(kind: str, level: str) -> None:
    facts = msgspec.structs.replace(ROOMY, kind=kind)
    found = list(sqlite.findings(sqlite.SQLiteFacts("/lake/c.db", False, facts)))
    assert levels(found)["file system"] == level


SQLITE = sqlite.SQLiteFacts(
    "/lake/c.db", True, ROOMY, journal_mode="wal", integrity=["ok"], lock=True
)


@pytest.mark.parametrize(
    ("change", "check", "level"),
    [
        ({}, "integrity", "ok"),
        ({"journal_mode": "delete"}, "journal", "warning"),
        ({"wal_bytes": 1 << 30}, "journal", "warning"),
        ({"leftovers": ["/lake/c.db-journal"]}, "journal", "warning"),
        ({"integrity": ["row 1 missing from index"]}, "integrity", "error"),
        ({"lock": False}, "locks", "error"),
        ({"lock": None, "lock_fault": "busy"}, "locks", "note"),
        ({"is_catalog": False}, "file", "error"),
        ({"fault": "file is not a database"}, "file", "error"),
        ({"access": [Access("/lake/c.db", writable=False)]}, "permissions", "warning"),
        ({"access": [Access("/lake/c.db", readable=False)]}, "permissions", "error"),
        ({"access": [Access("/lake/c.db", mode=0o666)]}, "permissions", "warning"),
        ({"access": [Access("/tmp", folder=True, mode=0o1777)]}, "permissions", "ok"),
    ],
)
def test_what_is_wrong_with_a_sqlite_file(
    change: dict[str, object], check: str, level: str
) -> None:
    facts = msgspec.structs.replace(SQLITE, **change)
    assert levels(sqlite.findings(facts))[check] == level


def test_what_is_wrong_with_folders() -> None:
    facts = json.JSONFacts([ROOMY], journals=["db.t"], damaged=["x is damaged"] * 30, lock=True)
    found = list(json.findings(facts))
    assert levels(found)["integrity"] == "error"
    assert levels(found)["journal"] == "note"
    assert len(found) < 30


@pytest.mark.parametrize(
    ("facts", "level"),
    [
        (layers.LayerFacts("hot", "/hot"), "note"),
        (layers.LayerFacts("hot", "/hot", write=""), "ok"),
        (layers.LayerFacts("hot", "/hot", write="access denied"), "error"),
        (layers.LayerFacts("hot", "/hot", read="access denied"), "error"),
        (layers.LayerFacts("hot", "/hot", exists=False), "error"),
    ],
)
def test_layers(facts: layers.LayerFacts, level: str) -> None:
    assert worst(layers.findings(facts)) == level


def test_every_fault_is_one_line_with_what_mends_it() -> None:
    bad = with_info(maxmemory_policy="allkeys-lru", rdb_last_bgsave_status="err", aof_enabled=0)
    for each in redis.findings(bad):
        assert "\n" not in each.line()
        if each.level == "error":
            assert each.line().endswith(f"Mend: {each.remedy}")
            assert each.remedy
