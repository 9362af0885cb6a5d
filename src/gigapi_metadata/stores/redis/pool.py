"""What a blocking client shares between its threads, made so that an interrupt leaves nothing
locked.

A signal may raise (Ctrl-C: KeyboardInterrupt) between any two steps of Python code, also between
taking a lock and the code that is to give it back; `queue` and `threading.Semaphore` are such code.
`SimpleQueue`, `list.append` and `list.pop` are each one step. A connection or a turn that an
interrupt has hit may still be missing afterwards, so the client makes both anew (connection.py).
"""

from __future__ import annotations

from queue import Empty, Full, SimpleQueue
from typing import Any


class Turns:
    """So many at a time."""

    def __init__(self, most: int) -> None:
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(most):
            self._free.put(None)

    def take(self, timeout_s: float) -> bool:
        """Wait for a turn; False: none was free in time."""
        try:
            self._free.get(timeout=timeout_s)
        except Empty:
            return False
        return True

    def give_back(self) -> None:
        """Somebody else may have it."""
        self._free.put(None)


class Stack:
    """As much of `queue.LifoQueue` as redis-py's BlockingConnectionPool uses."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._filled = Turns(0)
        self.queue: list[Any] = []

    def put_nowait(self, item: Any) -> None:
        """Raises Full."""
        if len(self.queue) >= self._most:
            raise Full
        self.queue.append(item)
        self._filled.give_back()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """What was put last; raises Empty if nothing comes in time."""
        if not self._filled.take(timeout if block and timeout is not None else 0.0):
            raise Empty
        return self.queue.pop()
