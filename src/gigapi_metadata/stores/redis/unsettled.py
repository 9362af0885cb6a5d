"""Writes whose outcome is unknown, remembered file by file and plan by plan.

Were a repeated write one of its own, a file that has been merged in between would come to life
again beside the result that holds its rows, and a plan that was renewed would seem to be lost. So
before anything is done to such a file or plan, the server is asked by the write's receipt what
became of it (settle.lua), and what it did is not done again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

REMEMBERED = 100_000
"""Of so many files and plans, at most; but of all that the last write named."""

Key: TypeAlias = tuple[Any, ...]
"""What a write is about: a kind of thing, its table, its name."""


class Ticket(NamedTuple):
    """What tells a write from every other: the client, its slot, the write's token; and when it was
    first sent."""

    client: str
    slot: int
    token: str
    at: float


class Write(NamedTuple):
    """What the last write about a key was to do to it."""

    what: Any
    ticket: Ticket


class Unsettled:
    """The memory of one client; its threads share it.

    most_s: how long after its first sending a write is remembered. Its receipt must last longer.
    clock: seconds that only go up.
    """

    def __init__(self, most_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._most_s = most_s
        self._writes: dict[Key, Write] = {}
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._writes)

    def add(self, things: Mapping[Key, Any], ticket: Ticket) -> None:
        """Nobody knows whether the write of this ticket did to `things` what they are mapped to."""
        with self._lock:
            for key, what in things.items():
                self._writes.pop(key, None)
                self._writes[key] = Write(what, ticket)
            self._drop_old(max(REMEMBERED, len(things)))

    def find(self, keys: Iterable[Key]) -> dict[Key, Write]:
        """The writes about those of `keys` that are remembered."""
        with self._lock:
            self._drop_old(len(self._writes))
            return {key: self._writes[key] for key in keys if key in self._writes}

    def _drop_old(self, most: int) -> None:
        oldest = self.clock() - self._most_s
        while self._writes:
            first = next(iter(self._writes))
            if len(self._writes) <= most and self._writes[first].ticket.at >= oldest:
                break
            del self._writes[first]

    def forget(self, keys: Iterable[Key]) -> None:
        """What has become of these is known, or of no interest any more."""
        with self._lock:
            for key in keys:
                self._writes.pop(key, None)

    def forget_write(self, ticket: Ticket) -> None:
        """The write of this ticket was not made, and never will be."""
        with self._lock:
            left = {key: each for key, each in self._writes.items() if each.ticket != ticket}
            self._writes = left
