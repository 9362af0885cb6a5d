"""A read that goes on over many requests, and sees the catalog as it was when it began."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import msgspec


class Reading:
    """Rows read one part after the other, in a read transaction on a connection of its own.

    While it is open, SQLite's log can't be taken over into the file and grows with each commit:
    read on, or close it. Closing never waits: what another thread is reading then is the last.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        rows: Iterator[tuple[Any, ...]],
        give_back: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._rows = rows
        self._give_back: Callable[[], None] | None = give_back
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._closed = False

    def fetch(self, size: int) -> list[tuple[Any, ...]]:
        """The next `size` rows, fewer at the end."""
        with self._lock:
            rows = [] if self._closed else list(islice(self._rows, size))
        if self._closed:
            self.close()
        return rows

    def close(self) -> None:
        """End the transaction and give the connection back. May be called again."""
        self._closed = True
        if self._pid != os.getpid():  # the connection is the parent's
            return
        if self._lock.acquire(blocking=False):
            try:
                if self._give_back is not None:
                    give_back, self._give_back = self._give_back, None
                    self._rows = iter(())
                    self._connection.rollback()
                    give_back()
            finally:
                self._lock.release()


class Begin(msgspec.Struct, frozen=True):
    """A request for a Reading of the rows that `work` returns, which may read on lazily."""

    work: Callable[[Any], Iterator[tuple[Any, ...]]]


class Fetch(msgspec.Struct, frozen=True):
    """A request for the next rows of a Reading."""

    reading: Reading
    size: int
