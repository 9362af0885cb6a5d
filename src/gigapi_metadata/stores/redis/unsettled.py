"""Writes whose outcome is unknown: the same call, made again soon, is the same write.

Were it a write of its own, a file that has been merged in between would come to life again beside
the result that holds its rows. So it goes under the receipt of the first one: what was carried out
then is answered now, and not carried out again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from gigapi_metadata.stores.base import Change, TableRef

REMEMBERED = 64
REMEMBERED_FILES = 100_000
"""Of so many writes of a client, at most, and no more than name so many files; but of the last."""


class Ticket(NamedTuple):
    """What tells a write from every other: the client, its slot, the write's token; and when it was
    first sent."""

    client: str
    slot: int
    token: str
    at: float


class _Write(NamedTuple):
    table: TableRef
    change: Change
    paths: frozenset[str]
    ticket: Ticket


class Unsettled:
    """The memory of one client; its threads share it.

    most_s: how long after its first sending a write is remembered. Its receipt must last longer.
    clock: seconds that only go up.
    """

    def __init__(self, most_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._most_s = most_s
        self._writes: list[_Write] = []
        self._lock = threading.Lock()

    def add(self, table: TableRef, change: Change, ticket: Ticket) -> None:
        """Nobody knows whether the write of this ticket was carried out."""
        with self._lock:
            self._writes.append(_Write(table, change, _paths(change), ticket))
            files = sum(len(write.paths) for write in self._writes)
            while len(self._writes) > 1 and (
                len(self._writes) > REMEMBERED or files > REMEMBERED_FILES
            ):
                files -= len(self._writes.pop(0).paths)

    def take(self, table: TableRef, change: Change) -> Ticket | None:
        """The ticket that `change` was sent under before. A change of the same files that is
        another one shows that the caller has gone on: what it would undo is forgotten."""
        if not self._writes:
            return None
        found = None
        paths = _paths(change)
        oldest = self.clock() - self._most_s
        with self._lock:
            left = []
            for write in self._writes:
                if write.ticket.at < oldest:
                    continue
                if write.table != table or paths.isdisjoint(write.paths):
                    left.append(write)
                elif write.change == change:
                    found = write.ticket
            self._writes = left
        return found


def _paths(change: Change) -> frozenset[str]:
    return frozenset(change.remove).union(entry.path for entry in change.add)
