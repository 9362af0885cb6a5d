"""The documented users in a cluster, behind sentinels and with durability: what docs/security.md
adds is enough, and what is missing is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from acl_lab import PASSWORD, ROLES, USERS, further
from fix_redis import RedisServer
from fix_stores import entry
from fix_topologies import Cluster, Sentinels, has_waitaof

from gigapi_metadata import Catalog, InvalidConfiguration, Layer, StoreError, connect
from gigapi_metadata.checking import CheckOptions, Footers, check_table, repair_table
from gigapi_metadata.doctor import examine
from gigapi_metadata.storage import Storages

LAYERS = [Layer("file:///hot", "hot")]
MERGE = [[0, 10**9, 1]]


def make_users(servers: list[RedisServer], *rights: str) -> None:
    """The roles of the documentation, with further rights."""
    for server in servers:
        with server.client() as client:
            for line in ROLES.values():
                client.execute_command(*line.split(), *rights)


def open_as(role: str, url: str) -> Catalog:
    return connect(url.replace("://", f"://{role}:{PASSWORD}@"), LAYERS, MERGE, drop_grace_s=0)


def work(url: str) -> None:
    """Everything that the roles are for."""
    with (
        open_as("writer", url) as writer,
        open_as("worker", url) as worker,
        open_as("reader", url) as reader,
    ):
        for name in ("t", "u", "v"):
            table = writer.table("db", name)
            table.batch([entry(n, table=name, layer="hot") for n in (1, 2)])
            table = worker.table("db", name)
            plan = table.get_merge_plan("", "hot", 1)
            assert plan is not None
            merged = entry(3, table=name, path=plan.path_to, layer="hot")
            table.complete_merge(table.renew(plan), merged)
            while drop := table.get_drop_queue("", "hot"):
                table.rm_from_drop_queue(drop)
            found = reader.table("db", name).query(after=0)
            assert [each.path for each in found] == [plan.path_to]
            assert reader.table("db", name).get(plan.path_to) == merged
        assert reader.tables("db") == ["t", "u", "v"]
        writer.kv.put("app:x", b"1")
        assert reader.kv.get("app:x") == b"1"
        writer.kv.delete("app:x")
        with pytest.raises(StoreError, match=r"lacks a right.*security\.md"):
            reader.table("db", "t").batch([entry(9, layer="hot")])
        _mend(worker)
        assert reader.planned() == []


def _mend(catalog: Catalog) -> None:
    table = catalog.table("db", "t")
    storages, options = Storages(LAYERS), CheckOptions(storage=False)
    with Footers(1) as footers:
        for _ in range(2):
            found = check_table(table, storages, footers, options)
            repair_table(table, storages, footers, found, options)
        assert check_table(table, storages, footers, options).faults == []
    table.reindex()


def monitor(url: str) -> None:
    """`doctor` can read everything."""
    with open_as("monitor", url) as catalog:
        found = list(examine(catalog, url))
    assert not [each for each in found if each.check == "access" or "refuse" in each.message]
    assert ("scripts", "ok") in {(each.check, each.level) for each in found}


def test_in_a_cluster(redis_cluster: Cluster) -> None:
    make_users(redis_cluster.masters, *further("On a cluster").split())
    spoil(redis_cluster)
    work(redis_cluster.url)
    for server in redis_cluster.masters:
        with server.client() as client:
            rights = further("`doctor` on a cluster").split()
            client.execute_command("ACL SETUSER", "monitor", *rights)
    monitor(redis_cluster.url)


def spoil(place: Any) -> None:
    """Something for a repair to mend."""
    with place.client() as client:
        key = "move:{db:t}:hot::idle" if isinstance(place, Cluster) else "move:db:t:hot::idle"
        client.rpush(key, "{garbage")


def test_what_is_missing_in_a_cluster_is_named(redis_cluster: Cluster) -> None:
    rights = [each for each in further("On a cluster").split() if each != "+cluster|slots"]
    make_users(redis_cluster.masters, *rights)
    with (
        open_as("writer", redis_cluster.url) as catalog,
        pytest.raises(StoreError, match=r"lacks a right.*\+cluster"),
    ):
        catalog.table("db", "t").batch([entry(1, layer="hot")])


def test_who_may_not_see_slots_move_can_list_all_the_same(redis_cluster: Cluster) -> None:
    rights = [each for each in further("On a cluster").split() if each != "+cluster|nodes"]
    make_users(redis_cluster.masters, *rights)
    with open_as("writer", redis_cluster.url) as catalog:
        catalog.table("db", "t").batch([entry(1, layer="hot")])
        assert catalog.tables("db") == ["t"]


@pytest.fixture
def sentinels_with_users(redis_sentinels: Sentinels) -> Iterator[Sentinels]:
    group = redis_sentinels
    make_users(group.servers[:3], *further("replicated:N").split())
    rights = USERS["client"].split()
    for watcher in group.watchers:
        with watcher.client() as client:
            client.execute_command(*rights)
            more = further("`doctor` behind sentinels").split()
            client.execute_command(*rights[:2], "operator", *rights[3:], *more)
    yield group
    for watcher in group.watchers:
        with watcher.client() as client:
            client.execute_command("ACL DELUSER", "client", "operator")


def test_behind_sentinels_with_replicas_that_confirm(sentinels_with_users: Sentinels) -> None:
    group = sentinels_with_users
    login = f"sentinel_username=client&sentinel_password={PASSWORD}"
    spoil(group)
    work(f"{group.url}?durability=replicated:2&{login}")
    monitor(f"{group.url}?{login.replace('client', 'operator')}")
    with open_as("monitor", f"{group.url}?{login}") as catalog:
        found = [each.line() for each in examine(catalog, group.url) if each.level == "error"]
        found = [line for line in found if "layer" not in line]
    assert len(found) == len(group.watchers)
    assert all("sentinel|master" in line and "docs/security.md" in line for line in found)


def test_a_disk_that_confirms(new_redis_server: Callable[..., RedisServer]) -> None:
    server = new_redis_server("--appendonly", "yes", "--appendfsync", "always")
    if not has_waitaof(server):
        pytest.skip(f"{server.id} has no WAITAOF")
    make_users([server], *further("fsynced").split())
    with server.client() as client:
        client.rpush("move:db:t:hot::idle", "{garbage")
    work(f"{server.url()}?durability=fsynced")


@pytest.mark.parametrize("missing", ["wait", "getex"])
def test_what_is_missing_to_confirm_is_named(
    new_redis_server: Callable[..., RedisServer], missing: str
) -> None:
    """Before anything is written."""
    server = new_redis_server()
    rights = further("replicated:N").split()
    make_users([server], *(each for each in rights if each != f"+{missing}"))
    with open_as("writer", f"{server.url()}?durability=replicated:1") as catalog:
        table = catalog.table("db", "t")
        with pytest.raises(InvalidConfiguration, match=rf"\+{missing}"):
            table.batch([entry(1, layer="hot")])
        assert table.get_all() == []


def test_keys_that_are_not_granted_are_named(
    new_redis_server: Callable[..., RedisServer],
) -> None:
    server = new_redis_server()
    make_users([server])
    with (
        open_as("writer", server.url()) as catalog,
        pytest.raises(StoreError, match=r"lacks a right.*~<pattern>"),
    ):
        catalog.kv.put("elsewhere", b"1")
