"""Which node of a cluster has which slot, as a node says. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from redis.crc import REDIS_CLUSTER_HASH_SLOTS as SLOTS
from redis.crc import key_slot

Address: TypeAlias = tuple[str, int]

LIST_SLOTS = ("CLUSTER", "SLOTS")
"""What to ask for a SlotMap."""

LIST_NODES = ("CLUSTER", "NODES")
"""What to ask for `own_slots`."""


class SlotMap:
    """The masters, their replicas and their slots, by one node's answer to LIST_SLOTS.

    asked: that node; it may leave out its own host, as it does not know how we call it.
    """

    def __init__(self, answer: Sequence[Any], asked: Address) -> None:
        self._owners: list[Address | None] = [None] * SLOTS
        self.masters: list[Address] = []
        self.replicas: list[Address] = []
        for first, last, *members in answer:
            master, *replicas = [_address(member, asked) for member in members]
            if master is None:
                continue
            self._owners[first : last + 1] = [master] * (last + 1 - first)
            _add(self.masters, [master])
            _add(self.replicas, [each for each in replicas if each is not None])

    @property
    def owners(self) -> tuple[Address | None, ...]:
        """The master of each slot."""
        return tuple(self._owners)

    def owner(self, slot: int) -> Address | None:
        """The master of a slot; None if nobody serves it."""
        return self._owners[slot]

    def move(self, slot: int, node: Address) -> None:
        """A node has said that another one has this slot by now."""
        self._owners[slot] = node
        _add(self.masters, [node])


def slot_of(key: str | bytes) -> int:
    """The slot of a key."""
    return int(key_slot(key.encode() if isinstance(key, str) else key))


def own_slots(answer: bytes) -> tuple[str, ...]:
    """By a node's answer to LIST_NODES: its epoch and its slots. One that is on its way to it or
    from it stands in brackets."""
    for line in answer.decode().splitlines():
        fields = line.split()
        if "myself" in fields[2].split(","):
            return (fields[6], *fields[8:])
    return ()


def _address(member: Sequence[Any], asked: Address) -> Address | None:
    host, port = member[:2]
    if host == b"?":  # it has a name, and nobody knows which
        return None
    return (host.decode() if host else asked[0], int(port))


def _add(known: list[Address], found: list[Address]) -> None:
    known += [each for each in found if each not in known]
