"""What a Redis or Valkey server's own words say about a catalog in it. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from gigapi_metadata.doctor.finding import (
    Finding,
    error,
    note,
    ok,
    seconds,
    size,
    warning,
)

OLDEST = (6, 2)
LAG_S = 10
SKEW_S = 2.0
SLOW_MS, VERY_SLOW_MS = 10.0, 100.0
FULL, NEARLY_FULL = 0.9, 0.75
SOON_DAYS, LATER_DAYS = 7, 30
_CLI = "redis-cli CONFIG SET"


class Growth(msgspec.Struct, frozen=True):
    """What yesterday's files take in memory: bytes of their `files:` hashes, and how many entries.

    `complete` is False when not all keys could be looked at in the time there was.
    """

    entries: int
    bytes: int
    complete: bool = True


class ClusterFacts(msgspec.Struct, frozen=True):
    """A cluster as one node sees it. alone: masters without a replica."""

    state: str
    masters: int
    alone: int


class RedisFacts(msgspec.Struct, frozen=True):
    """What was read. None: it could not be; `refused` then says why, by the name of what was asked.

    info: INFO, all sections. config: CONFIG GET, as far as the server lets us.
    script: "" if a script can be called, else the error. pings_ms: of some PINGs, one by one.
    skew_s: the server's clock less ours; known to within half a round trip, `skew_within_s`.
    local: the server is on this machine. encrypted: TLS, or a socket. password: one was given.
    """

    info: Mapping[str, str]
    config: Mapping[str, str] | None = None
    refused: Mapping[str, str] = {}
    script: str | None = None
    pings_ms: Sequence[float] = ()
    skew_s: float | None = None
    skew_within_s: float = 0.0
    growth: Growth | None = None
    local: bool = True
    encrypted: bool = False
    password: bool = False
    cluster: ClusterFacts | None = None

    def number(self, name: str) -> int:
        """A number from INFO; 0 where the server has none."""
        text = self.info.get(name, "0")
        return int(text) if text.lstrip("-").isdecimal() and len(text) < 20 else 0

    def setting(self, name: str) -> str | None:
        """A value from CONFIG; None where it could not be read."""
        return None if self.config is None else self.config.get(name)


def findings(facts: RedisFacts, *, allow_eviction: bool = False) -> Iterator[Finding]:
    """All that can be said."""
    yield from _version(facts)
    yield from _mode(facts)
    yield from _role(facts)
    yield from _eviction(facts, allow_eviction)
    yield from _memory(facts)
    yield from _persistence(facts)
    yield from _replicas(facts)
    yield from _scripts(facts)
    yield from _clock(facts)
    yield from _latency(facts)
    yield from _clients(facts)
    yield from _access(facts)
    for what, why in facts.refused.items():
        yield note("access", f"{what} could not be read ({why}): what needs it was not checked")


def _version(facts: RedisFacts) -> Iterator[Finding]:
    text = facts.info.get("redis_version", "")
    name = f"Valkey {v}" if (v := facts.info.get("valkey_version")) else f"Redis {text}"
    parts = [int(part) for part in text.split(".")[:2] if part.isdecimal()]
    if len(parts) < 2:
        yield note("version", "the server does not say which version it is")
    elif tuple(parts) < OLDEST:
        yield error("version", f"{name} is too old", "upgrade the server to Redis 6.2 or newer")
    else:
        yield ok("version", name)


def _mode(facts: RedisFacts) -> Iterator[Finding]:
    if facts.info.get("redis_mode") == "sentinel":
        yield error("mode", "this is a Sentinel, not a server with data", "name the server itself")
    elif facts.number("cluster_enabled"):
        yield note("mode", "the server is a node of a cluster: the other nodes are not looked at")
    if facts.cluster is None:
        return
    if facts.cluster.state != "ok":
        yield error("cluster", "not all slots are served", "redis-cli --cluster check HOST:PORT")
    if facts.cluster.alone:
        yield warning(
            "cluster",
            f"{facts.cluster.alone} of {facts.cluster.masters} masters have no replica: the tables "
            "of one that is lost are",
            "redis-cli --cluster add-node HOST:PORT HOST:PORT --cluster-slave",
        )
    elif facts.cluster.state == "ok":
        yield ok("cluster", f"{facts.cluster.masters} masters, each with a replica")


def _role(facts: RedisFacts) -> Iterator[Finding]:
    if facts.info.get("role") != "slave":
        return
    master = f"{facts.info.get('master_host', '?')}:{facts.info.get('master_port', '?')}"
    yield warning("role", f"this is a replica of {master}: writes are refused", "name the master")
    if facts.info.get("master_link_status") != "up":
        yield error("role", f"the link to {master} is down: what is read here is old")


def _eviction(facts: RedisFacts, allowed: bool) -> Iterator[Finding]:
    evicted = facts.number("evicted_keys")
    if evicted:
        yield error(
            "eviction",
            f"{evicted} keys were deleted for want of memory since the server started; some may "
            "have been the catalog's",
            "gigapi-metadata check DB.TABLE",
        )
    policy = facts.info.get("maxmemory_policy") or facts.setting("maxmemory-policy")
    if policy is None:
        yield note("eviction", "the policy could not be read; it must be noeviction")
    elif policy == "noeviction":
        yield ok("eviction", "noeviction")
    elif allowed:
        yield note("eviction", f"{policy}, allowed by --allow-eviction")
    else:
        when = "" if facts.number("maxmemory") else ", as soon as there is a maxmemory"
        yield error(
            "eviction",
            f"maxmemory-policy is {policy}: a full server deletes parts of the catalog{when}",
            f"{_CLI} maxmemory-policy noeviction",
        )


def _memory(facts: RedisFacts) -> Iterator[Finding]:
    used, limit = facts.number("used_memory"), facts.number("maxmemory")
    whose = "maxmemory"
    if not limit:
        limit, whose = facts.number("total_system_memory"), "the machine's memory"
        yield note(
            "memory",
            "maxmemory is not set: the kernel decides what happens when memory runs out",
            f"{_CLI} maxmemory {limit * 6 // 10 >> 20 or 4096}mb",
        )
    if not limit:
        return
    left = max(limit - used, 0)
    text = f"{size(used)} used of {size(limit)} ({whose}), {size(left)} left"
    if used > limit * FULL:
        yield error("memory", f"{text}: soon writes are refused", f"{_CLI} maxmemory <more>")
    elif used > limit * NEARLY_FULL:
        yield warning("memory", text, f"{_CLI} maxmemory <more>")
    else:
        yield ok("memory", text)
    yield from _growth(facts.growth, left)


def _growth(growth: Growth | None, left: int) -> Iterator[Finding]:
    if growth is None:
        return
    if not growth.entries:
        yield note("growth", "no files of yesterday are in the catalog, so growth is not known")
        return
    days = left / max(growth.bytes, 1)
    part = "" if growth.complete else "at least "
    text = (
        f"yesterday's {growth.entries} entries still take {part}{size(growth.bytes)} (their hashes "
        f"only, without queues and our index): at that rate memory lasts {seconds(days * 86_400)}"
    )
    if days < SOON_DAYS:
        yield error("growth", text, f"{_CLI} maxmemory <more>")
    elif days < LATER_DAYS:
        yield warning("growth", text, f"{_CLI} maxmemory <more>")
    else:
        yield ok("growth", text)


def _persistence(facts: RedisFacts) -> Iterator[Finding]:
    if facts.number("loading"):
        yield error("persistence", "the server is loading its data: it answers nothing else")
    if facts.info.get("aof_last_write_status", "ok") != "ok":
        yield error(
            "persistence", "the last write to the AOF has failed", "free disk space; see its log"
        )
    if facts.info.get("rdb_last_bgsave_status", "ok") != "ok":
        yield error(
            "persistence",
            "the last background save has failed; writes may be refused until one succeeds",
            "see the server's log, then redis-cli BGSAVE",
        )
    if facts.info.get("aof_last_bgrewrite_status", "ok") != "ok":
        yield warning(
            "persistence", "the last rewrite of the AOF has failed", "redis-cli BGREWRITEAOF"
        )
    yield from _aof(facts) if facts.number("aof_enabled") else _snapshots(facts)


def _aof(facts: RedisFacts) -> Iterator[Finding]:
    when = facts.setting("appendfsync")
    losses = {
        "always": "nothing that was acknowledged is lost by a crash",
        "everysec": "a crash of the machine loses up to 1 s of writes (2 s on a busy disk), a kill "
        "of the server none",
    }
    if when in losses:
        yield ok("persistence", f"AOF, appendfsync {when}: {losses[when]}")
    elif when == "no":
        yield warning(
            "persistence",
            "AOF, appendfsync no: a crash of the machine loses what the kernel has not flushed, "
            "mostly up to 30 s",
            f"{_CLI} appendfsync everysec",
        )
    else:
        yield note("persistence", "AOF is on; appendfsync could not be read (everysec loses 1 s)")


def _snapshots(facts: RedisFacts) -> Iterator[Finding]:
    remedy = f"{_CLI} appendonly yes && redis-cli CONFIG REWRITE"
    changes = facts.number("rdb_changes_since_last_save")
    points = facts.setting("save")
    unsaved = f"{changes} changes are not saved now"
    if points is None:
        yield note(
            "persistence",
            f"AOF is off; the save points could not be read; {unsaved}",
            remedy,
        )
        return
    rules = save_points(points)
    if not rules:
        say = warning if facts.number("connected_slaves") else error
        yield say(
            "persistence",
            f"neither AOF nor save points: a restart loses the whole catalog ({unsaved})",
            remedy,
        )
        return
    longest = max(rules)
    others = "; ".join(f"{each[1]} changes within {seconds(each[0])}" for each in sorted(rules))
    yield warning(
        "persistence",
        f"snapshots only: a crash loses up to {seconds(longest[0])} of writes, less if there are "
        f"many (saved after {others}); {unsaved}",
        remedy,
    )


def save_points(text: str) -> list[tuple[int, int]]:
    """[(seconds, changes), ...] of the setting `save`."""
    numbers = [int(word) for word in text.split() if word.isdecimal()]
    return list(zip(numbers[::2], numbers[1::2], strict=False))


def _replicas(facts: RedisFacts) -> Iterator[Finding]:
    if facts.info.get("role") == "slave":
        return
    count = facts.number("connected_slaves")
    if not count:
        yield note("replicas", "none is connected: if this machine is lost, its disk must not be")
        return
    late = []
    for number in range(count):
        text = facts.info.get(f"slave{number}", "")
        fields = dict(part.partition("=")[::2] for part in text.split(","))
        lag = fields.get("lag", "0")
        if fields.get("state") != "online" or (lag.isdecimal() and int(lag) > LAG_S):
            late.append(f"{fields.get('ip')}:{fields.get('port')} ({fields.get('state')}, {lag} s)")
    if late:
        yield warning("replicas", f"behind or not online: {', '.join(late)}", "see their logs")
    else:
        yield ok("replicas", f"{count} online")
    if facts.setting("min-replicas-to-write") == "0":
        yield note(
            "replicas",
            "writes are acknowledged without any replica: a failover loses what was not sent yet",
            f"{_CLI} min-replicas-to-write 1",
        )


def _scripts(facts: RedisFacts) -> Iterator[Finding]:
    if facts.script == "":
        yield ok("scripts", "EVALSHA works")
    elif facts.script is not None:
        yield error(
            "scripts",
            f"scripts can't be called: {facts.script}",
            "redis-cli ACL SETUSER <user> +evalsha +eval +script|load (docs/security.md)",
        )


def _clock(facts: RedisFacts) -> Iterator[Finding]:
    if facts.skew_s is None:
        return
    off = max(abs(facts.skew_s) - facts.skew_within_s, 0)
    ahead = "ahead of" if facts.skew_s > 0 else "behind"
    if off > SKEW_S:
        yield warning(
            "clock",
            f"the server's clock is {seconds(off)} {ahead} ours: plans come due by its clock, "
            "files move on by the times that writers give them",
            "timedatectl set-ntp true (on both machines)",
        )
    else:
        yield ok("clock", f"within {SKEW_S:.0f} s of ours")


def _latency(facts: RedisFacts) -> Iterator[Finding]:
    if not facts.pings_ms:
        return
    median = statistics.median(facts.pings_ms)
    text = f"{median:.2f} ms for a PING (median of {len(facts.pings_ms)})"
    if median > VERY_SLOW_MS:
        yield warning("latency", text, "redis-cli --latency-history; redis-cli SLOWLOG GET")
    elif median > SLOW_MS:
        yield note("latency", text)
    else:
        yield ok("latency", text)


def _clients(facts: RedisFacts) -> Iterator[Finding]:
    most = facts.number("maxclients")
    now = facts.number("connected_clients")
    if most and now > most * FULL:
        yield warning("clients", f"{now} of {most} connections", f"{_CLI} maxclients <more>")


def _access(facts: RedisFacts) -> Iterator[Finding]:
    if facts.local:
        return
    if not facts.password:
        yield warning(
            "access",
            "the server takes commands over the network without a password",
            "redis-cli ACL SETUSER … (docs/security.md)",
        )
    if not facts.encrypted:
        yield warning(
            "access", "traffic is not encrypted", "turn on TLS, and write rediss:// for redis://"
        )
