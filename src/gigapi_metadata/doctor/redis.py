"""What a Redis or Valkey server's own words say about a catalog in it. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from gigapi_metadata.doctor import redis_persistence
from gigapi_metadata.doctor.finding import (
    Finding,
    error,
    note,
    ok,
    seconds,
    size,
    warning,
)
from gigapi_metadata.doctor.redis_facts import (
    CONFIG_SET,
    Growth,
    RedisFacts,
    Silent,
    answers_again,
)

OLDEST = (6, 2)
LAG_S = 10
SKEW_S = 2.0
SLOW_MS, VERY_SLOW_MS = 10.0, 100.0
FULL, NEARLY_FULL = 0.9, 0.75
SOON_DAYS, LATER_DAYS = 7, 30


def findings(facts: RedisFacts, *, allow_eviction: bool = False) -> Iterator[Finding]:
    """All that can be said."""
    yield from _version(facts)
    if not facts.member:
        yield from _mode(facts)
    yield from _role(facts)
    yield from _eviction(facts, allow_eviction)
    yield from _memory(facts)
    yield from redis_persistence.findings(facts)
    yield from _replicas(facts)
    yield from _scripts(facts)
    yield from _clock(facts)
    yield from _latency(facts)
    yield from _clients(facts)
    yield from _access(facts)
    for what, why in facts.refused.items():
        yield note("access", f"{what} could not be read ({why}): what needs it was not checked")


def silent(facts: Silent) -> Iterator[Finding]:
    """What is to be said of a server that could not be read."""
    say = warning if facts.member == "replica" else error
    yield say("server", f"it {facts.why}", answers_again(facts.why))


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
        yield error(
            "mode",
            "this is a Sentinel, not a server with data",
            "write redis+sentinel:// and the service (docs/redis-topologies.md), or name the "
            "server itself",
        )
    elif facts.number("cluster_enabled"):
        yield error(
            "mode",
            "this is a node of a cluster: it refuses the tables of the others",
            "write redis+cluster:// for redis://",
        )


def _role(facts: RedisFacts) -> Iterator[Finding]:
    if facts.info.get("role") != "slave":
        return
    master = f"{facts.info.get('master_host', '?')}:{facts.info.get('master_port', '?')}"
    if not facts.member:
        yield warning(
            "role", f"this is a replica of {master}: writes are refused", "name the master"
        )
    if facts.info.get("master_link_status") != "up":
        since = facts.number("master_link_down_since_seconds")
        yield error(
            "role",
            f"the link to {master} is down{f' for {seconds(since)}' if since > 0 else ''}: what is "
            "here is old",
            "see the server's log; redis-cli INFO replication",
        )


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
            f"{CONFIG_SET} maxmemory-policy noeviction",
        )


def _memory(facts: RedisFacts) -> Iterator[Finding]:
    used, limit = facts.number("used_memory"), facts.number("maxmemory")
    whose = "maxmemory"
    if not limit:
        limit, whose = facts.number("total_system_memory"), "the machine's memory"
        yield note(
            "memory",
            "maxmemory is not set: the kernel decides what happens when memory runs out",
            f"{CONFIG_SET} maxmemory {limit * 6 // 10 >> 20 or 4096}mb",
        )
    if not limit:
        return
    left = max(limit - used, 0)
    text = f"{size(used)} used of {size(limit)} ({whose}), {size(left)} left"
    if used > limit * FULL:
        yield error("memory", f"{text}: soon writes are refused", f"{CONFIG_SET} maxmemory <more>")
    elif used > limit * NEARLY_FULL:
        yield warning("memory", text, f"{CONFIG_SET} maxmemory <more>")
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
        yield error("growth", text, f"{CONFIG_SET} maxmemory <more>")
    elif days < LATER_DAYS:
        yield warning("growth", text, f"{CONFIG_SET} maxmemory <more>")
    else:
        yield ok("growth", text)


def _replicas(facts: RedisFacts) -> Iterator[Finding]:
    if facts.info.get("role") == "slave":
        return
    count = facts.number("connected_slaves")
    late = []
    for number in range(count):
        text = facts.info.get(f"slave{number}", "")
        fields = dict(part.partition("=")[::2] for part in text.split(","))
        lag = fields.get("lag", "0")
        if fields.get("state") != "online" or (lag.isdecimal() and int(lag) > LAG_S):
            late.append(f"{fields.get('ip')}:{fields.get('port')} ({fields.get('state')}, {lag} s)")
    needed = facts.durability.replicas
    if count - len(late) < needed:
        yield error(
            "replicas",
            f"durability {facts.durability} needs {needed} replicas, and {count - len(late)} are "
            "in step: writes are not confirmed",
            "start the replicas, or ask for less (?durability=…)",
        )
    if late:
        yield warning("replicas", f"behind or not online: {', '.join(late)}", "see their logs")
    elif count:
        yield ok("replicas", f"{count} online")
    elif not facts.member:  # of a group, its own rules say it
        yield note("replicas", "none is connected: if this machine is lost, its disk must not be")
    if count and facts.setting("min-replicas-to-write") == "0" and not needed:
        yield note(
            "replicas",
            "writes are acknowledged without any replica: a failover loses what was not sent yet",
            f"{CONFIG_SET} min-replicas-to-write 1, or ?durability=replicated:N",
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
        yield warning("clients", f"{now} of {most} connections", f"{CONFIG_SET} maxclients <more>")


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
