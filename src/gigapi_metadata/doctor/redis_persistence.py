"""What a Redis or Valkey server would lose, by its own words. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gigapi_metadata.doctor.finding import Finding, error, note, ok, seconds, warning
from gigapi_metadata.doctor.redis_facts import CONFIG_SET, RedisFacts

_AOF_ON = f"{CONFIG_SET} appendonly yes && redis-cli CONFIG REWRITE"


def findings(facts: RedisFacts) -> Iterator[Finding]:
    """What is lost when the server, or its machine, stops."""
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
    yield from _fsynced(facts)
    yield from _aof(facts) if facts.number("aof_enabled") else _snapshots(facts)


def _fsynced(facts: RedisFacts) -> Iterator[Finding]:
    if facts.durability.fsynced and not facts.number("aof_enabled"):
        yield error(
            "persistence",
            "durability fsynced needs an AOF, and there is none: writes are refused",
            _AOF_ON,
        )


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
            f"{CONFIG_SET} appendfsync everysec",
        )
    else:
        yield note("persistence", "AOF is on; appendfsync could not be read (everysec loses 1 s)")


def _snapshots(facts: RedisFacts) -> Iterator[Finding]:
    changes = facts.number("rdb_changes_since_last_save")
    points = facts.setting("save")
    unsaved = f"{changes} changes are not saved now"
    if points is None:
        yield note(
            "persistence",
            f"AOF is off; the save points could not be read; {unsaved}",
            _AOF_ON,
        )
        return
    rules = save_points(points)
    if not rules and facts.member == "replica":
        yield warning(
            "persistence",
            "neither AOF nor save points: once it is the master, a restart loses the whole catalog",
            _AOF_ON,
        )
        return
    if not rules:
        say = warning if facts.number("connected_slaves") else error
        yield say(
            "persistence",
            f"neither AOF nor save points: a restart loses the whole catalog ({unsaved})",
            _AOF_ON,
        )
        return
    longest = max(rules)
    others = "; ".join(f"{each[1]} changes within {seconds(each[0])}" for each in sorted(rules))
    yield warning(
        "persistence",
        f"snapshots only: a crash loses up to {seconds(longest[0])} of writes, less if there are "
        f"many (saved after {others}); {unsaved}",
        _AOF_ON,
    )


def save_points(text: str) -> list[tuple[int, int]]:
    """[(seconds, changes), ...] of the setting `save`."""
    numbers = [int(word) for word in text.split() if word.isdecimal()]
    return list(zip(numbers[::2], numbers[1::2], strict=False))
