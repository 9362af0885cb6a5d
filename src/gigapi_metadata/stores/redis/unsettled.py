"""Writes whose outcome is unknown: the same call, made again soon, is the same write.

Were it a write of its own, a file that has been merged in between would come to life again beside
the result that holds its rows. So it goes under the receipt of the first one: what was carried out
then is answered now, and not carried out again.

A change that had been committed together with others (`submit`) is repeated without them. If the
write of all was carried out, so was this; if it was not, it is made void, lest it arrive late.
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


class Earlier(NamedTuple):
    """What a change that is made now was sent under before. ticket: the change as it is. parts_of:
    writes that it was a part of, made together with others."""

    ticket: Ticket | None = None
    parts_of: tuple[Ticket, ...] = ()

    def __bool__(self) -> bool:
        return self.ticket is not None or bool(self.parts_of)


class _Write(NamedTuple):
    """`paths`: of its files, those of which nobody has asked again."""

    table: TableRef
    change: Change
    paths: frozenset[str]
    ticket: Ticket
    parts_of: tuple[Ticket, ...]
    whole: bool = True

    @property
    def at(self) -> float:
        return min(each.at for each in (self.ticket, *self.parts_of))


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

    def add(
        self,
        table: TableRef,
        change: Change,
        ticket: Ticket,
        parts_of: tuple[Ticket, ...] = (),
    ) -> None:
        """Nobody knows whether the write of this ticket was carried out, nor whether those were
        that it had been a part of."""
        with self._lock:
            self._writes.append(_Write(table, change, _paths(change), ticket, parts_of))
            files = sum(len(write.paths) for write in self._writes)
            while len(self._writes) > 1 and (
                len(self._writes) > REMEMBERED or files > REMEMBERED_FILES
            ):
                files -= len(self._writes.pop(0).paths)

    def knows(self, table: TableRef, change: Change) -> bool:
        """Whether a write that is remembered names one of its files."""
        if not self._writes:
            return False
        paths = _paths(change)
        with self._lock:
            return any(
                write.table == table and not paths.isdisjoint(write.paths) for write in self._writes
            )

    def take(self, table: TableRef, change: Change) -> Earlier:
        """What `change` was sent under before. A change of the same files that is another one shows
        that the caller has gone on: what it would undo is forgotten."""
        found = Earlier()
        if not self._writes:
            return found
        paths = _paths(change)
        oldest = self.clock() - self._most_s
        with self._lock:
            left = []
            for write in self._writes:
                if write.at < oldest:
                    continue
                if write.table != table or paths.isdisjoint(write.paths):
                    left.append(write)
                elif write.whole and write.change == change:
                    found = Earlier(write.ticket, write.parts_of)
                elif paths <= write.paths and _is_part(change, write.change):
                    found = Earlier(None, (*write.parts_of, write.ticket))
                    if others := write.paths - paths:
                        left.append(write._replace(paths=others, whole=False))
            self._writes = left
        return found


def _paths(change: Change) -> frozenset[str]:
    return frozenset(change.remove).union(entry.path for entry in change.add)


def _is_part(change: Change, whole: Change) -> bool:
    """Whether `whole` does all that `change` does."""
    if change.ends is not None or whole.ends is not None:
        return False
    added = {entry.path: entry for entry in whole.add}
    return set(change.remove) <= set(whole.remove) and all(
        added.get(entry.path) == entry for entry in change.add
    )
