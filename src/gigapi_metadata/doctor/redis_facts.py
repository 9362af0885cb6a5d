"""What is read of one Redis or Valkey server, for the rules to judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from gigapi_metadata.stores.redis.durability import LOCAL, Durability

CONFIG_SET = "redis-cli CONFIG SET"
"""What most remedies begin with."""


Member = Literal["", "master", "replica"]
"""What a server is within the group that the URL names; "" for one that it names itself."""


class Growth(msgspec.Struct, frozen=True):
    """What yesterday's files take in memory: bytes of their `files:` hashes, and how many entries.

    `complete` is False when not all keys could be looked at in the time there was.
    """

    entries: int
    bytes: int
    complete: bool = True


class RedisFacts(msgspec.Struct, frozen=True):
    """What was read. None: it could not be; `refused` then says why, by the name of what was asked.

    info: INFO, all sections. config: CONFIG GET, as far as the server lets us.
    script: "" if a script can be called, else the error. pings_ms: of some PINGs, one by one.
    skew_s: the server's clock less ours; known to within half a round trip, `skew_within_s`.
    local: the server is on this machine. encrypted: TLS, or a socket. password: one was given.
    durability: what the catalog's writes are to survive.
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
    member: Member = ""
    durability: Durability = LOCAL

    def number(self, name: str) -> int:
        """A number from INFO; 0 where the server has none."""
        text = self.info.get(name, "0")
        return int(text) if text.lstrip("-").isdecimal() and len(text) < 20 else 0

    def setting(self, name: str) -> str | None:
        """A value from CONFIG; None where it could not be read."""
        return None if self.config is None else self.config.get(name)


class Silent(msgspec.Struct, frozen=True):
    """A server of a group that could not be read. why: a clause that has the server as subject."""

    why: str
    member: Member = ""


def answers_again(why: str) -> str:
    """What mends a server that is silent, by why it is."""
    if why.startswith("refuses"):
        return "give the URL the user and password of a user with the rights of docs/security.md"
    return "start it, and see its log"
