"""What a server says of itself that certainly harms a catalog in it. Pure, and little: it is looked
at once, beside a process's first write. All else is the command `doctor`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from gigapi_metadata.stores.redis.scripts import Command

log = logging.getLogger("gigapi_metadata.redis")

INFO = Command(("INFO",))
"""What to ask."""

_HINT = "; `gigapi-metadata doctor` says more"


def harms(info: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong, by INFO as redis-py has parsed it; fields that are missing are right."""
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction" and info.get("maxmemory", 0):
        yield (
            f"deletes keys of the catalog when its memory is full (maxmemory-policy {policy}): set "
            "it to noeviction"
        )
    if info.get("aof_last_write_status", "ok") != "ok":
        yield "could not write its AOF the last time: what it acknowledges is not on its disk"
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        yield "could not save its data the last time: what it acknowledges is not on its disk"


class Watch:
    """Says once in a process what harms the catalog on a server. Never raises, never repeats.

    Logging and not `warnings`: it is the operator who can mend it, not the code that calls us, and
    a write must not fail where warnings are made errors.
    """

    _looked_at: ClassVar[set[str]] = set()

    def __init__(self, shown_url: str) -> None:
        self._url = shown_url

    @property
    def due(self) -> bool:
        """Whether nobody in this process has looked yet."""
        return self._url not in self._looked_at

    def begin(self) -> None:
        """It is being looked at: nobody else needs to."""
        self._looked_at.add(self._url)

    def say(self, info: Mapping[str, Any]) -> None:
        """Log what is wrong."""
        for text in harms(info):
            log.warning("%s %s%s", self._url, text, _HINT)
