"""What a client remembers between its calls: which receipts it uses, which tables it has looked at.

One session belongs to one connection object; its threads share it. With it goes the knowledge which
writes are of unknown outcome.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

from gigapi_metadata.stores.base import TableRef
from gigapi_metadata.stores.redis.unsettled import Ticket, Unsettled

REPEATABLE_S = 2 * 3600
"""How long after it was first sent a client remembers a write whose outcome is unknown."""

RECEIPT_S = REPEATABLE_S + 600
"""How long the server keeps the answer to a write: longer, as clocks are not all alike."""

LEASE_RECEIPT_S = 300
"""The same where plans are asked for and not leased for longer: that answer can be long."""

FULL_CHECK_SHARE = 0.01
FULL_CHECK_EVERY_S = 0.1
"""How often a query checks a whole table for foreign changes: not before so many seconds, and so
that it takes no more than that share of the time."""


class Session:
    """The memory of one client."""

    def __init__(self) -> None:
        self.receipts = Receipts()
        self.full_checks = FullChecks()
        self.unsettled = Unsettled(REPEATABLE_S)


class Receipts:
    """Tells a client's writes apart, so that one whose answer was lost can be sent again.

    A write takes a slot for as long as it is under way. Slots are used again, the last one first,
    so the server keeps no more receipts of a table than the most writes that this client had in
    flight within RECEIPT_S seconds, and one for each write that had to be sent again.
    """

    def __init__(self) -> None:
        self._pid = 0
        self._client = ""
        self._free: list[int] = []
        self._numbers = count()
        self._doubtful: set[str] = set()

    def take(self) -> Ticket:
        """What one write goes under. The slot is to be given back when the write has been answered;
        not after an error, for it may still be on its way, and would overwrite the receipt."""
        if self._pid != os.getpid():
            # After a fork the child must not share its parent's slots.
            self._client = os.urandom(8).hex()
            self._free = []
            self._numbers = count()
            self._pid = os.getpid()
        try:
            slot = self._free.pop()
        except IndexError:
            slot = next(self._numbers)
        return Ticket(self._client, slot, os.urandom(16).hex(), time.monotonic())

    def doubt(self, receipt: str) -> None:
        """The write under the receipt of this key was sent more than once: although it has been
        answered, one of them may still be on its way. Its slot is not used again."""
        self._doubtful.add(receipt)

    def withhold(self, slot: int) -> None:
        """The outcome of a write is unknown after all, although its slot may just have been given
        back: it is not used again."""
        with suppress(ValueError):
            self._free.remove(slot)

    def give_back(self, client: str, slot: int, receipt: str, *, reusable: bool) -> None:
        """The slot is free again, unless it was the parent process's or its receipt is doubted."""
        if receipt in self._doubtful:
            self._doubtful.discard(receipt)
        elif reusable and client == self._client:
            self._free.append(slot)


MENDING_REFUSED_S = 60
"""How long a client that may not write to the time index does not try to: a replica becomes a
master, a user gets more rights."""


class FullChecks:
    """When a query is to check all days and folders of a table, and whether it may mend the time
    index. Per process; threads may share it.

    clock: seconds that only go up.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next: dict[TableRef, float] = {}
        self._refused_until = float("-inf")

    @property
    def may_mend(self) -> bool:
        """Whether mending was not refused of late."""
        return self._clock() >= self._refused_until

    def mending_refused(self) -> None:
        """It was, just now."""
        self._refused_until = self._clock() + MENDING_REFUSED_S

    @contextmanager
    def turn(self, table: TableRef) -> Iterator[bool]:
        """Whether it is time for one; it is made within the block."""
        started = self._clock()
        due = started >= self._next.get(table, started)
        yield due
        if due:
            ended = self._clock()
            pause = max(FULL_CHECK_EVERY_S, (ended - started) / FULL_CHECK_SHARE)
            self._next[table] = ended + pause
