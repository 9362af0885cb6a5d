"""`doctor` on a cluster and behind sentinels: the rules, then real servers, some of them down."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress

import msgspec
import pytest
from fix_redis import RedisServer
from fix_topologies import Cluster, Sentinels, wait_for
from redis.exceptions import ResponseError

from gigapi_metadata import connect
from gigapi_metadata.cli import main
from gigapi_metadata.doctor import Finding, cluster, examine, sentinels, worst
from gigapi_metadata.doctor.cluster import ClusterFacts
from gigapi_metadata.doctor.finding import ok, warning
from gigapi_metadata.doctor.reading import groups
from gigapi_metadata.doctor.sentinels import Sentinel
from gigapi_metadata.doctor.together import together
from gigapi_metadata.stores.redis import common
from gigapi_metadata.stores.redis.attempts import Attempts

# What several servers say


def test_what_all_say_alike_is_one_line_with_the_range_of_its_numbers() -> None:
    found = {
        f"10.0.0.{n}:6379": [
            ok("version", "Redis 7.2.4"),
            ok("memory", f"{n}.5 MiB used of 8 GiB"),
            ok("scripts", "work"),
        ]
        for n in (1, 2, 3)
    }
    assert [each.message for each in together(found)] == [
        "Redis 7.2.4",
        "1.5 to 3.5 MiB used of 8 GiB",
        "work",
    ]


def test_who_differs_is_named_and_so_is_its_command() -> None:
    bad = warning("eviction", "lru", "redis-cli CONFIG SET x && redis-cli CONFIG REWRITE")
    found = {"a:1": [bad], "[::1]:2": [bad], "c:3": [ok("eviction", "noeviction")]}
    first, second = together(found, "redis-cli --cluster call a:1 ")
    assert first.message == "a:1, [::1]:2: lru"
    assert first.remedy == f"on each of them: {bad.remedy}"
    assert second.message == "c:3: noeviction"
    (alone,) = together({"[::1]:2": [bad]})
    assert alone.remedy.startswith("redis-cli -h ::1 -p 2 CONFIG SET x && redis-cli -h ::1 -p 2")
    (all_,) = together({"a:1": [bad], "b:2": [bad]}, "redis-cli --cluster call a:1 ")
    assert all_.remedy.startswith("redis-cli --cluster call a:1 CONFIG SET x")
    assert len(list(together({str(n): [bad] for n in range(9)} | {"c": [ok("eviction", "")]}))) == 2


# A cluster

A, B, C, D = "a" * 40, "b" * 40, "c" * 40, "d" * 40
NODES = f"""\
{A} 10.0.0.1:7000@17000 myself,master - 0 1 1 connected 0-5460 [93->-{B}]
{B} 10.0.0.2:7000@17000,host2 master - 0 1 2 connected 5461-10922
{C} 10.0.0.3:7000@17000 master - 0 1 3 connected 10923-16382 16383
{D} 10.0.0.4:7000@17000 slave {A} 0 1 1 connected
"""


def of_cluster(text: str = NODES, **facts: object) -> list[Finding]:
    nodes = cluster.parse(text, "asked")
    states = {node.name: "ok" for node in nodes if not node.fails}
    return list(cluster.findings(ClusterFacts(nodes, **{"states": states, **facts})))  # type: ignore[arg-type]


def level_of(found: Iterable[Finding], words: str) -> str:
    return worst(each for each in found if words in f"{each.message} {each.remedy}")


def test_nodes_are_read() -> None:
    first, second, third, replica = cluster.parse(NODES, "asked")
    assert (first.name, first.slots, first.moving) == ("10.0.0.1:7000", [(0, 5460)], [93])
    assert (second.host, third.slot_count) == ("10.0.0.2", 5461)
    assert (replica.is_master, replica.master_id) == (False, A)
    assert cluster.parse(f"{A} :7000@1 myself,master - 0 0 0 connected", "asked")[0].host == "asked"


def test_what_is_wrong_with_a_cluster() -> None:
    assert level_of(of_cluster(), "2 of 3 masters have no replica") == "warning"
    gone = NODES.replace("5461-10922", "5461-5500")
    assert level_of(of_cluster(gone), "5422 slots have no node (5501-10922)") == "error"
    dead = NODES.replace("myself,master", "master,fail")
    assert level_of(of_cluster(dead), "master with 5461 slots, is down") == "error"
    assert level_of(of_cluster(dead), "-h 10.0.0.4 -p 7000 CLUSTER FAILOVER TAKEOVER") == "error"
    dead = NODES.replace("slave", "slave,fail?")
    assert level_of(of_cluster(dead), f"del-node 10.0.0.1:7000 {D}") == "warning"
    assert level_of(of_cluster(dead), "3 of 3 masters have no replica") == "warning"
    passed = NODES.replace(f"slave {A}", "master,fail -")
    assert level_of(of_cluster(passed), "a master without slots, is down") == "warning"
    unread = {"10.0.0.4:7000": "does not answer: refused"}
    assert (
        level_of(of_cluster(unread=unread), "a replica of 10.0.0.1:7000, does not answer: refused")
        == "warning"
    )
    assert level_of(of_cluster(silent={"old:1": "refused"}), "take it out of the URL") == "warning"
    assert level_of(of_cluster(states={"10.0.0.2:7000": "fail"}), "cluster is down") == "error"
    assert level_of(of_cluster(moving=[93, 94]), "2 slots are on their way") == "note"
    two = NODES.replace("5461-10922", "5461-16383").replace("10923-16382 16383", "")
    assert level_of(of_cluster(two), "2 masters: when one is lost") == "warning"
    nobody = list(cluster.findings(ClusterFacts(silent={"a:1": "refused"})))
    assert [each.level for each in nobody] == ["error"]


# Sentinels

SENTINEL = Sentinel(
    "s1:26379",
    master="10.0.0.1:6379",
    flags="master",
    quorum=2,
    verdict="OK 3 usable Sentinels",
    replicas={"10.0.0.2:6379": "slave"},
    others={"s2:26379": "sentinel", "s3:26379": "sentinel"},
)


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({}, "ok", "quorum 2 of 3, 1 replicas"),
        ({"name": "s0:1", "master": "", "fault": "refused"}, "error", "s0:1 does not answer"),
        ({"master": "", "refused": "NOAUTH"}, "error", "sentinel_password"),
        ({"master": ""}, "error", "know no service 'lake'"),
        ({"flags": "master,s_down,o_down"}, "error", "the master 10.0.0.1:6379 is down"),
        ({"verdict": "NOQUORUM 1 usable"}, "error", "SENTINEL SET lake quorum"),
        ({"others": {"s2:26379": "sentinel"}}, "warning", "there are 2"),
        (
            {"others": {"s2:26379": "sentinel", "s3:26379": "sentinel,s_down"}},
            "warning",
            "s3:26379 is down",
        ),
        ({"replicas": {}}, "warning", "none is there that could take over"),
        ({"replicas": {"r:1": "slave", "r:2": "slave,disconnected"}}, "warning", "r:2 is down"),
    ],
)
def test_what_is_wrong_with_sentinels(change: dict[str, object], level: str, words: str) -> None:
    found = list(sentinels.findings("lake", [msgspec.structs.replace(SENTINEL, **change)]))
    assert level_of(found, words) == level
    assert worst(found) == level


def test_sentinels_that_disagree() -> None:
    other = msgspec.structs.replace(SENTINEL, name="s2:26379", master="10.0.0.2:6379")
    found = list(sentinels.findings("lake", [SENTINEL, other]))
    assert level_of(found, "they do not agree") == "error"
    silent = Sentinel("s3:26379", fault="refused")
    assert level_of(sentinels.findings("lake", [SENTINEL, silent]), "s3:26379 does") == "warning"


# Real servers


def look(url: str) -> list[Finding]:
    with connect(url) as catalog:
        return list(examine(catalog, url))


def test_every_node_of_a_cluster_is_examined_also_beside_dead_ones(
    new_cluster: Callable[..., Cluster], capsys: pytest.CaptureFixture[str]
) -> None:
    cluster_ = new_cluster(3, 1)
    found = look(cluster_.url)
    assert level_of(found, "3 masters, each with a replica; all slots are served") == "ok"
    checks = [each.check for each in found]
    assert checks.count("version") == checks.count("clock") == checks.count("scripts") == 1
    assert worst(each for each in found if each.check == "scripts") == "ok"
    second, third = cluster_.masters[1:]
    second.config(maxmemory_policy="allkeys-lru")
    found = look(cluster_.url)
    fault = next(each for each in found if each.check == "eviction" and each.level == "error")
    assert fault.message.startswith(f"127.0.0.1:{second.port}: ")
    assert fault.remedy == (
        f"redis-cli -h 127.0.0.1 -p {second.port} CONFIG SET maxmemory-policy noeviction"
    )
    # Dead: the first host of the URL, with its replica; of another master the replica.
    first, replicas = cluster_.masters[0], cluster_.servers[3:]
    for server in (replicas[0], replicas[2], first):
        server.kill()
    wait_for(lambda: level_of(look(cluster_.url), "cluster is down") == "error", "others notice it")
    found = look(cluster_.url)
    assert level_of(found, f"{first.port}, a master with 5461 slots, ") == "error"
    whose = f"{replicas[2].port}, a replica of 127.0.0.1:{third.port}, "
    assert level_of(found, whose) == "warning"
    assert level_of(found, f"127.0.0.1:{second.port}: maxmemory-policy is") == "error"
    assert main(["--catalog", cluster_.url, "doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)


def test_a_node_that_hangs_is_named_and_the_others_are_examined(
    new_cluster: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "PATIENCE_S", 0.5)
    cluster_ = new_cluster(3, 1)
    hung = cluster_.masters[0]
    hung.pause()
    found = look(cluster_.url)
    assert [each for each in found if f":{hung.port}" in each.message and each.level == "error"]
    assert {each.check for each in found} >= {"version", "memory"}


def test_a_server_that_hangs_is_given_up_soon(
    new_redis_server: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked once: with the patience of other calls it would be asked for 25 seconds."""
    monkeypatch.setattr(groups, "PATIENCE_S", 0.5)
    attempts: list[Attempts] = []

    class Noted(Attempts):
        def failed(self, error: Exception) -> float:
            attempts.append(self)
            return super().failed(error)

    monkeypatch.setattr(common, "Attempts", Noted)
    server = new_redis_server()
    server.pause()
    (fault,) = [each for each in look(server.url()) if each.check == "catalog"]
    assert len(attempts) == 1
    assert "can't be reached" in fault.message
    assert "socket_timeout" not in fault.message


def test_sentinels_that_are_down_and_a_quorum_that_can_not_be_reached(
    new_sentinels: Callable[..., Sentinels],
) -> None:
    group = new_sentinels()
    found = look(group.url)
    assert level_of(found, "quorum 2 of 3, 2 replicas") == "ok"
    assert not [each for each in found if each.check == "role"]
    for dead in group.watchers[1:]:
        dead.kill()
    group.replicas[0].kill()
    wait_for(lambda: level_of(look(group.url), "no failover is possible") == "error", "noticed")
    wait_for(
        lambda: level_of(look(group.url), f"{group.replicas[0].port} is down") == "warning",
        "the replica is missed",
    )
    found = look(group.url)
    for dead in group.watchers[1:]:
        assert level_of(found, f"127.0.0.1:{dead.port} does not answer") == "warning"
    assert level_of(found, "EVALSHA works") == "ok"
    group.watchers[0].kill()
    found = look(group.url)
    assert {each.level for each in found} == {"error"}
    assert len(found) == 3


def test_a_login_that_is_refused_is_an_error(redis_sentinels: Sentinels) -> None:
    group = redis_sentinels
    url = group.url.replace("://", "://nobody:pw@")
    found = look(url)
    assert level_of(found, f"{group.first.port}: it refuses the login") == "error"
    replica = group.replicas[0].port
    assert level_of(found, f"127.0.0.1:{replica}") == "warning"
    direct = group.first.url().replace("://", "://nobody:pw@")
    assert worst(look(direct)) == "error"


def test_a_cluster_of_which_one_node_does_not_know_the_user_and_nobody_has_some_slots(
    new_cluster: Callable[..., Cluster],
) -> None:
    cluster_ = new_cluster(3, 0)
    for server in cluster_.masters[:2]:
        with server.client() as client:
            rights = ("+@all", "-cluster", "+cluster|nodes", "+cluster|slots")
            client.execute_command("ACL SETUSER", "app", "on", ">pw", "~*", *rights)
    found = look(cluster_.url.replace("://", "://app:pw@"))
    other = cluster_.masters[2].port
    assert level_of(found, f"{other}, a master with 5462 slots, refuses the login") == "error"
    assert level_of(found, "give the URL the user") == "error"
    assert level_of(found, "CLUSTER INFO could not be read") == "note"
    found = look(cluster_.url.replace("redis+", "rediss+") + "?socket_timeout=0.2")
    assert [each.level for each in found] == ["error"] * 3
    assert level_of(found, f"{other} does not speak TLS") == "error"

    def take_away() -> bool:
        # Again: a node that has not heard of it tells the others that the slots are its own.
        for server in cluster_.masters:
            for slot in (7, 8, 12000):
                with server.client() as client, suppress(ResponseError):
                    client.execute_command("CLUSTER DELSLOTS", slot)
        return level_of(look(cluster_.url), "3 slots have no node (7-8, 12000)") == "error"

    wait_for(take_away, "nobody has them")
