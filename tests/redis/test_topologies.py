"""Behind sentinels and in a cluster: everything as on one server, and clients go on when a server
dies or a table moves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from fix_redis import RedisServer
from fix_stores import SECOND, START_S, Blocking, entry, path_of
from fix_topologies import Cluster, Sentinels, has_waitaof, wait_for
from moving import Move
from redis.cluster import key_slot

import gigapi_metadata as gm
from gigapi_metadata.copying import Writer, copy_table
from gigapi_metadata.errors import InvalidConfiguration, OutcomeUnknown, StoreError, Unavailable
from gigapi_metadata.stores.base import TableRef
from gigapi_metadata.stores.redis import keys
from gigapi_metadata.stores.redis.attempts import FAILOVER_PAUSES_S

LAYERS = [gm.Layer("file:///hot", "hot", ttl_sec=1), gm.Layer("file:///cold", "cold")]
PLANS = {"merge_configurations": [[0, 10_000, 1]], "layers": LAYERS, "drop_grace_s": 0}


@pytest.fixture(params=["cluster", "sentinels"])
def place(request: pytest.FixtureRequest) -> Cluster | Sentinels:
    """A catalog's servers, empty."""
    found: Cluster | Sentinels = request.getfixturevalue(f"redis_{request.param}")
    return found


@pytest.fixture(params=["sync", "async"])
def catalog(
    request: pytest.FixtureRequest,
    place: Cluster | Sentinels,
    background_loop: asyncio.AbstractEventLoop,
) -> Iterator[Any]:
    """A catalog there, blocking and asyncio."""
    if request.param == "sync":
        with gm.connect(place.url, **PLANS) as made:
            yield made
        return
    made = Blocking(gm.connect_async(place.url, **PLANS), background_loop)
    yield made
    made.close()


@pytest.fixture
def table(catalog: Any, background_loop: asyncio.AbstractEventLoop) -> Any:
    made = catalog.table("db", "t")
    return Blocking(made, background_loop) if isinstance(catalog, Blocking) else made


# As on one server


def test_files_are_registered_found_and_removed(table: Any) -> None:
    table.batch([entry(n, layer="hot") for n in range(1, 9)])
    assert [each.path for each in table.get_all()] == [path_of(n) for n in range(1, 9)]
    assert len(table.query(after=START_S * SECOND, before=START_S * SECOND + 4)) == 4
    table.batch(None, [path_of(1)])
    assert table.get(path_of(1)) is None
    assert table.get(path_of(2)) == entry(2, layer="hot")


def test_plans_are_handed_out_completed_and_given_back(table: Any) -> None:
    table.batch([entry(n, layer="hot") for n in (1, 2)])
    plan = table.get_merge_plan("", "hot", 1)
    table.release(table.renew(plan), error="once more")
    plan = table.get_merge_plan("", "hot", 1)
    assert plan.attempts == 1
    long_ago = {"min_time": SECOND, "max_time": SECOND, "chunk_time": SECOND}
    merged = entry(3, path=plan.path_to, layer="hot", **long_ago)
    table.complete_merge(plan, merged)
    table.complete_merge(plan, merged)
    assert [each.path for each in table.get_all()] == [plan.path_to]
    dropped = {table.get_drop_queue("", "hot").path for _ in range(2)}
    assert dropped == {path_of(1), path_of(2)}
    move = table.get_move_plan("", "hot")
    table.complete_move(move, entry(4, path=move.path_to, layer="cold"))
    assert {each.kind for each in table.plans()} == {"drop"}


def test_a_catalog_lists_what_is_on_all_nodes(catalog: Any, place: Any) -> None:
    names = [f"t{n}" for n in range(12)]
    with gm.connect(place.url, layers=LAYERS) as writer:
        for name in names:
            writer.table("db", name).batch([entry(1, table=name, layer="hot")])
    assert catalog.databases() == ["db"]
    assert catalog.tables("db") == sorted(names)
    assert catalog.planned() == sorted(("db", name) for name in names)
    assert catalog.paths("db", "t3") == ["date=2027-01-15/hour=08"]


def test_values_are_kept_under_their_own_key(catalog: Any, place: Any) -> None:
    values = catalog.kv
    with gm.RedisKVStore(place.url) as other:
        for key in ("a", "{b}c", "}{"):
            other.put(key, key.encode())
            assert other.get(key) == key.encode()
            other.delete(key)
            assert other.get(key) is None
    assert values is not None


def test_scripts_can_be_loaded_ahead_and_flushed(catalog: Any, table: Any, place: Any) -> None:
    with gm.RedisConnection(place.url) as connection:
        connection.load_scripts()
    table.batch([entry(1, layer="hot")])
    place.flush()
    table.batch([entry(2, layer="hot")])
    assert [each.path for each in table.get_all()] == [path_of(2)]


def test_plans_travel_with_a_copy(place: Any, tmp_path: Any) -> None:
    with gm.connect(place.url, **PLANS) as there, gm.connect(tmp_path / "c.db", **PLANS) as source:
        source.table("db", "t").batch([entry(n, layer="hot") for n in (1, 2)])
        for _ in range(2):
            copy_table(source.table("db", "t"), Writer(there))
            for read in ("get_all", "plans"):
                copied = getattr(there.table("db", "t"), read)()
                assert copied == getattr(source.table("db", "t"), read)()


# Keys


def test_a_tables_keys_have_one_hash_tag_and_tables_spread(redis_cluster: Cluster) -> None:
    with gm.connect(redis_cluster.url, **PLANS) as catalog:
        for n in range(16):
            table = catalog.table("db", f"t{n}")
            table.batch([entry(at, table=f"t{n}", layer="hot") for at in (1, 2)])
            plan = table.get_merge_plan("", "hot", 1)
            table.release(plan)
            table.query(after=0)
    found = []
    for server in redis_cluster.masters:
        with server.client() as client:
            found.append([key.decode() for key in client.keys("*")])
    assert all(found), "some node has no table"
    everything = [key for held in found for key in held]
    for n in range(16):
        mine = [key for key in everything if f"{{db:t{n}}}" in key]
        assert len({key_slot(key.encode()) for key in mine}) == 1
        assert f"files:{{db:t{n}}}:date=2027-01-15" in mine
        everything = [key for key in everything if key not in mine]
    assert everything == []


def test_names_with_braces_do_not_split_a_table(redis_cluster: Cluster) -> None:
    names = ["{", "}", "a}b", "{a}", "}{", "%7B", "50%"]
    with gm.connect(redis_cluster.url) as catalog:
        for name in names:
            for database, table in ((name, "t"), ("db", name)):
                index = catalog.table(database, table)
                index.batch([entry(1, database=database, table=table)])
                assert len(index.query(after=0)) == 1
        assert catalog.databases() == sorted([*names, "db"])
        assert catalog.tables("db") == sorted(names)
        assert catalog.tables("}") == ["t"]


def test_without_a_cluster_keys_are_gigapis_to_the_byte() -> None:

    assert keys.files(TableRef("db", "t"), "date=2027-01-15") == "files:db:t:date=2027-01-15"
    clustered = keys.ClusterTable("db", "t")
    assert keys.files(clustered, "date=2027-01-15") == "files:{db:t}:date=2027-01-15"
    for ref in (TableRef, keys.ClusterTable):
        key = keys.folders(ref("db", "t"))
        assert keys.table_of(key, ref) == (ref("db", "t"), "")


# URLs


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://h:1,h:2/",
        "redis+sentinel://h:1,h:2",
        "redis+sentinel://h:1,,h:2/lake",
        "redis+sentinel://h:x/lake",
        "redis+sentinel://h:1/lake/zero",
        "redis+sentinel://user:Zs3cr3tQ/x@h:1,h:2/lake",
        "redis+sentinel://user:Zs3c/r3tQ@h:1,h:2/lake",
        "redis+cluster://user:Zs3cr3tQ@h:1,h:99999",
        "redis+cluster://h:1/3",
        "redis+cluster://h:1?db=3",
        "redis+cluster://h:1?durability=twice",
        "redis+cluster://h:1?durability=replicated:0",
        "redis+cluster://:Zs3cr3tQ@h:1?durability=fsynced&socket_timeout=3",
        "unix+cluster:///socket",
        "redis+magic://h:1",
    ],
)
def test_urls_that_can_not_be_used(url: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        gm.connect(url)
    assert "r3tQ" not in str(caught.value)


@pytest.mark.parametrize("kind", ["redis+sentinel", "rediss+cluster", "valkeys+sentinel"])
def test_passwords_of_many_hosts_are_hidden(kind: str) -> None:
    path = "/lake/0" if "sentinel" in kind else ""
    url = f"{kind}://user:Zs3cr3tQ@h:1,h:2{path}?shared=1"
    url += "&sentinel_password=Zs3cr3tQ" if "sentinel" in kind else ""
    with gm.connect(url) as catalog:
        assert "Zs3cr3tQ" not in repr(catalog)
        assert "h:1,h:2" in repr(catalog)
        assert catalog.connection.shared


def test_nobody_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gigapi_metadata.stores.redis.attempts.FAILOVER_PAUSES_S", (0.01,))
    for url in ("redis+sentinel://127.0.0.1:1,127.0.0.1:2/lake", "redis+cluster://127.0.0.1:1"):
        with gm.connect(url) as catalog, pytest.raises(Unavailable):
            catalog.table("db", "t").batch([entry(1)])


async def test_nobody_there_is_unavailable_to_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gigapi_metadata.stores.redis.attempts.FAILOVER_PAUSES_S", (0.01,))
    for url in ("redis+sentinel://127.0.0.1:1,127.0.0.1:2/lake", "redis+cluster://127.0.0.1:1"):
        async with gm.connect_async(url) as catalog:
            with pytest.raises(Unavailable):
                await catalog.table("db", "t").batch([entry(1)])


def test_a_service_that_no_sentinel_knows(redis_sentinels: Sentinels) -> None:
    url = redis_sentinels.url.replace("/lake/", "/pond/")
    with (
        gm.connect(url) as catalog,
        pytest.raises(StoreError, match=r"pond.*watches lake") as caught,
    ):
        catalog.table("db", "t").batch([entry(1)])
    assert not isinstance(caught.value, Unavailable), "waiting would not help"


async def test_a_sentinels_url_at_a_plain_server(redis_sentinels: Sentinels) -> None:
    url = f"redis+sentinel://127.0.0.1:{redis_sentinels.first.port}/lake/0"
    async with gm.AsyncRedisIndex(url, "db", "t") as index:
        with pytest.raises(StoreError, match="this is no sentinel") as caught:
            await index.get_all()
    assert not isinstance(caught.value, Unavailable)


def test_a_node_of_a_cluster_is_no_server(redis_cluster: Cluster) -> None:
    with (
        gm.connect(redis_cluster.masters[0].url()) as catalog,
        pytest.raises(StoreError, match=r"write redis\+cluster://"),
    ):
        catalog.table("db", "t").batch([entry(1)])


async def test_a_sentinel_that_is_down_is_asked_last(redis_sentinels: Sentinels) -> None:
    url = redis_sentinels.url.replace("://", "://127.0.0.1:1,")

    def order(catalog: Any) -> list[int]:
        manager = catalog.connection.client.connection_pool.sentinel_manager
        return [each.connection_pool.connection_kwargs["port"] for each in manager.sentinels]

    with gm.connect(url) as catalog:
        assert order(catalog)[0] == 1
        catalog.databases()
        assert order(catalog)[:2] == [redis_sentinels.watchers[0].port, 1]
    async with gm.connect_async(url) as catalog_:
        await catalog_.databases()
        assert order(catalog_)[:2] == [redis_sentinels.watchers[0].port, 1]


def test_a_server_is_no_cluster(redis_sentinels: Sentinels) -> None:
    url = redis_sentinels.first.url().replace("redis://", "redis+cluster://").removesuffix("/0")
    with gm.connect(url) as catalog, pytest.raises(StoreError, match="this is no cluster"):
        catalog.table("db", "t").batch([entry(1)])


# Failover, under load


class Load:
    """Threads that register files one by one, each file once, until told to stop."""

    def __init__(self, url: str, tables: list[str], **options: Any) -> None:
        self._url, self._options = url, options
        self.acknowledged: dict[str, set[str]] = {name: set() for name in tables}
        self.unknown: dict[str, set[str]] = {name: set() for name in tables}
        self.errors: list[BaseException] = []
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(name, at))
            for at, name in enumerate(tables * 2)
        ]

    def _write(self, name: str, at: int) -> None:
        with gm.RedisIndex(self._url, "db", name, **self._options) as index:
            number = 0
            while not self._over.is_set():
                number += 1
                path = path_of(at * 100_000 + number)
                try:
                    index.batch([entry(number, table=name, path=path)])
                except OutcomeUnknown:
                    self.unknown[name].add(path)
                except Exception as error:
                    self.errors.append(error)
                    return
                else:
                    self.acknowledged[name].add(path)

    def count(self) -> int:
        return sum(map(len, self.acknowledged.values()))

    def goes_on(self) -> None:
        """Wait until each table has got further files than it has now."""
        before = {name: len(paths) for name, paths in self.acknowledged.items()}
        wait_for(
            lambda: (
                self.errors
                or all(len(paths) > before[name] + 5 for name, paths in self.acknowledged.items())
            ),
            "writers go on",
        )
        assert self.errors == []

    def check(self) -> None:
        """Every acknowledged write is there, once; nothing is that was not sent."""
        assert self.errors == []
        for name, paths in self.acknowledged.items():
            with gm.RedisIndex(self._url, "db", name) as index:
                found = [each.path for each in index.get_all()]
                timed = {each.path for each in index.query(after=0)}
            assert len(found) == len(set(found)) == len(timed)
            assert paths <= set(found), f"{len(paths - set(found))} of {name} are lost"
            assert set(found) <= paths | self.unknown[name]


@contextmanager
def load(url: str, tables: list[str], **options: Any) -> Iterator[Load]:
    made = Load(url, tables, **options)
    for thread in made._threads:
        thread.start()
    try:
        yield made
    finally:
        made._over.set()
        for thread in made._threads:
            thread.join(90)


def test_a_master_is_killed_and_a_replica_takes_over(
    new_sentinels: Callable[..., Sentinels],
) -> None:
    group = new_sentinels()
    with load(group.url, ["t"], durability="replicated:1") as writers:
        writers.goes_on()
        group.first.kill()
        writers.goes_on()
        assert group.master() is not group.first
        writers.goes_on()
    writers.check()


async def test_asyncio_follows_a_master_too(new_sentinels: Callable[..., Sentinels]) -> None:
    group = new_sentinels()
    async with gm.AsyncRedisIndex(group.url, "db", "t", durability="replicated:1") as index:
        await index.batch([entry(1)])
        group.first.kill()
        while True:
            with suppress(OutcomeUnknown):  # the last replica has yet to find its new master
                await index.batch([entry(2)])
                break
        assert [each.path for each in await index.get_all()] == [path_of(1), path_of(2)]


def test_a_master_that_is_told_to_step_down(new_sentinels: Callable[..., Sentinels]) -> None:
    """It goes on acknowledging for a moment, and its other replica goes on confirming. What is safe
    then is what all replicas have."""
    group = new_sentinels()
    with load(group.url, ["t"], durability="replicated:2") as writers:
        writers.goes_on()
        with group.watchers[0].client() as client:
            client.execute_command("SENTINEL FAILOVER", "lake")
        wait_for(lambda: group.master() is not group.first, "a replica takes over")
        writers.goes_on()
    writers.check()


def test_a_node_is_killed_and_its_replica_takes_over(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(3, 1)
    victim = cluster.owner("{db:t0}")
    cluster.add_replica(victim)  # so that the one that takes over has a replica too
    with load(cluster.url, ["t0", "t1", "t2"], durability="replicated:1") as writers:
        writers.goes_on()
        victim.kill()
        cluster.servers.sort(key=lambda server: server is victim)  # ask one that lives
        writers.goes_on()
    writers.check()


async def test_asyncio_follows_a_node_too(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(3, 1)
    cluster.add_replica(cluster.owner("{db:t}"))
    async with (
        gm.AsyncRedisIndex(cluster.url, "db", "t", durability="replicated:1") as durable,
        gm.AsyncRedisIndex(cluster.url, "db", "t") as plain,
        gm.AsyncRedisIndex(cluster.url, "db", "t") as reader,
    ):
        await durable.batch([entry(1)])
        await plain.batch([entry(2)])
        with gm.RedisIndex(cluster.url, "db", "t", durability="replicated:1") as index:
            index.batch([entry(3)])
        assert len(await reader.get_all()) == 3
        cluster.owner("{db:t}").kill()
        assert len(await reader.get_all()) == 3
        while True:
            with suppress(OutcomeUnknown):
                await durable.batch([entry(4)])
                break
        await plain.batch([entry(5)])
        assert [each.path for each in await plain.get_all()] == [path_of(n) for n in range(1, 6)]


# A table moves from one node to another


def said_try_again(server: RedisServer) -> bool:
    with server.client() as client:
        return "errorstat_TRYAGAIN" in client.info("errorstats")


def test_no_script_runs_on_half_a_table(new_cluster: Callable[..., Cluster]) -> None:
    """A query whose declared keys all are here still, but not the cells that they lead to."""
    cluster = new_cluster()
    with gm.RedisIndex(cluster.url, "db", "t") as index:
        index.batch([entry(n) for n in range(1, 9)])
        expected = index.query(after=START_S * SECOND, before=START_S * SECOND + 4)
        move = Move(cluster, "{db:t}")
        for key in move.left():
            if b":cell:" in key:
                move.take(key)
        found: list[Any] = []
        query = threading.Thread(
            target=lambda: found.append(
                index.query(after=START_S * SECOND, before=START_S * SECOND + 4)
            )
        )
        query.start()
        try:
            wait_for(lambda: any(map(said_try_again, cluster.masters)), "it has to wait")
        finally:
            move.finish()
            query.join(60)
    assert found == [expected]
    assert len(expected) == 4


def test_no_script_writes_to_half_a_table(new_cluster: Callable[..., Cluster]) -> None:
    """The keys that a batch declares all are here still, but not the cells that it leads to."""
    cluster = new_cluster()
    with gm.RedisIndex(cluster.url, "db", "t") as index:
        index.batch([entry(n) for n in range(1, 9)])
        move = Move(cluster, "{db:t}")
        for key in move.left():
            if b":cell:" in key:
                move.take(key)
        write = threading.Thread(target=index.batch, args=([entry(9)], [path_of(1)]))
        write.start()
        try:
            wait_for(lambda: any(map(said_try_again, cluster.masters)), "it has to wait")
        finally:
            move.finish()
            write.join(60)
        expected = [path_of(n) for n in range(2, 10)]
        assert [each.path for each in index.get_all()] == expected
        assert [each.path for each in index.query(after=0)] == expected


@pytest.mark.newest_server
@pytest.mark.parametrize("durability", ["local", "fsynced"])
def test_a_table_moves_to_another_node_under_load(
    new_cluster: Callable[..., Cluster], durability: str
) -> None:
    cluster = new_cluster(3, 0, *(("--appendonly", "yes") if durability == "fsynced" else ()))
    if durability == "fsynced" and not has_waitaof(cluster.masters[0]):
        pytest.skip(f"{cluster.source.id} has no WAITAOF")
    with load(cluster.url, ["t0"], durability=durability) as writers:
        for _ in range(4):
            writers.goes_on()
            move = Move(cluster, "{db:t0}")
            for key in move.left():
                move.take(key)
                time.sleep(0.02)  # others write meanwhile
            move.finish()
        writers.goes_on()
    writers.check()
    assert not any(writers.unknown.values())


def test_pauses_outlast_a_failover() -> None:
    assert sum(FAILOVER_PAUSES_S) / 2 > 15


def test_a_table_of_a_cluster_is_not_taken_for_one_of_a_server() -> None:
    plain, clustered = TableRef("db", "t"), keys.ClusterTable("db", "t")
    assert plain != clustered
    assert clustered != plain
    assert len({plain, clustered, keys.ClusterTable("db", "t")}) == 2
