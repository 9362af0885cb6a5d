"""What a server says of itself that certainly harms a catalog in it: it is looked at once, beside a
process's first write. All else is the command `doctor`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gigapi_metadata.stores.base import Steps
from gigapi_metadata.stores.redis.scripts import Command
from gigapi_metadata.stores.redis.slots import Address

FULL = 0.9
"""Of maxmemory: soon writes are refused."""


INFO = Command(("INFO",))


class Asked(NamedTuple):
    """A server to ask: of a cluster its name and the node, else the only one."""

    name: str = ""
    node: Address | None = None


def look() -> Steps[list[str]]:
    """Asks what there is to ask, by requests whose answer is None when it is refused. One for most
    servers; two for those without an AOF."""
    info = yield INFO
    if not isinstance(info, Mapping):
        return []
    points = None
    if not info.get("aof_enabled", 1) and not info.get("connected_slaves"):
        answer = yield Command(("CONFIG GET", "save"))
        points = next(iter(answer.values()), None) if isinstance(answer, Mapping) else None
    return [*harms(info, points)]


def harms(info: Mapping[str, Any], save_points: str | bytes | None = None) -> Iterator[str]:
    """What is wrong, by INFO as redis-py has parsed it; fields that are missing are right.
    `save_points`: "" if there are none, None if that is not known."""
    policy = str(info.get("maxmemory_policy", "noeviction"))
    limit = info.get("maxmemory", 0)
    if policy != "noeviction":
        when = "when its memory is full" if limit else "as soon as it is given a maxmemory"
        yield (
            f"deletes keys of the catalog {when} (maxmemory-policy {policy}): set it to noeviction"
        )
    elif limit and info.get("used_memory", 0) > limit * FULL:
        yield "is nearly full: soon it refuses writes (maxmemory)"
    if evicted := info.get("evicted_keys", 0):
        yield (
            f"has deleted {evicted} keys for want of memory since it started; some may have been "
            "the catalog's"
        )
    if save_points is not None and not save_points:
        yield "has neither AOF nor save points: a restart loses the whole catalog"
    if info.get("aof_last_write_status", "ok") != "ok":
        yield "could not write its AOF the last time: what it acknowledges is not on its disk"
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        yield "could not save its data the last time: what it acknowledges is not on its disk"
