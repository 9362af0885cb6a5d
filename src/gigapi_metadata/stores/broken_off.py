"""Changes whose caller did not wait for the end: cancelled, or interrupted by a signal.

They are made whole or not at all, and the caller can't know which. Were one repeated that was made,
a file that has been merged in between would come to life again beside the result that holds its
rows. So a store whose requests run in this process notes what became of them, and what such a
change has done to a file is not done to it again. (The Redis store asks its server instead.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any, NamedTuple, TypeAlias

from gigapi_metadata.errors import MetadataError
from gigapi_metadata.model import IndexEntry
from gigapi_metadata.stores.base import Change, Steps, TableRef

REPEATABLE_S = 2 * 3600
"""How long after it was given up a change is remembered."""

REMEMBERED = 100_000
"""Of so many files, at most; but of all that the last change named."""


class Fate:
    """What becomes of one request: `made` is true once its changes are there for good.

    A request that is carried out in another thread is handed over first; it then begins there,
    unless it was called off before, and ends.
    """

    def __init__(self) -> None:
        self.made = False
        self._under_way = threading.Lock()
        self._claim = [True]

    def hand_over(self) -> None:
        """It ends elsewhere."""
        self._under_way.acquire()

    def begin(self) -> bool:
        """Whether it is to be carried out; only the first who asks is told so."""
        try:
            return self._claim.pop()
        except IndexError:
            return False

    def begin_anew(self) -> None:
        """The same for another request, after one of which nothing has come."""
        self._claim[:] = [True]

    def call_off(self) -> None:
        """If it has not begun, it never will."""
        if self.begin():
            self.end()

    def end(self) -> None:
        """It is over."""
        self._under_way.release()

    def wait(self) -> bool:
        """Wait for the end; whether it was made."""
        with self._under_way:
            return self.made


_Key: TypeAlias = tuple[TableRef, str]


class _Given(NamedTuple):
    what: IndexEntry | None
    fate: Fate
    at: float


class BrokenOff:
    """The memory of one connection; its threads share it.

    clock: seconds that only go up.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._files: dict[_Key, _Given] = {}
        self._lock = threading.Lock()

    def commit(
        self,
        table: TableRef,
        change: Change,
        make: Callable[[Change, Fate], Steps[None]],
        wait: Callable[[Fate], Any],
    ) -> Steps[None]:
        """`make` the change, but for what is known to have been done already.

        wait: gives a request whose answer is that of `Fate.wait`.
        """
        if change.ends is not None:  # the store remembers for longer what has ended a plan
            yield from make(change, Fate())
            return
        rest = change
        if self._files:
            rest = yield from self._not_done(table, change, wait)
        if rest.add or rest.remove:
            fate = Fate()
            try:
                yield from make(rest, fate)
            except MetadataError:
                raise
            except BaseException:
                self._add(table, rest, fate)
                raise
        if self._files:
            self._forget(_files(table, change))

    def _not_done(
        self, table: TableRef, change: Change, wait: Callable[[Fate], Any]
    ) -> Generator[Any, Any, Change]:
        files = _files(table, change)
        with self._lock:
            self._drop_old(len(self._files))
            known = {key: self._files[key] for key in files if key in self._files}
        made: dict[int, bool] = {}
        for given in known.values():
            if id(given.fate) not in made:
                made[id(given.fate)] = yield wait(given.fate)
        done = {
            path
            for (_, path), given in known.items()
            if made[id(given.fate)] and given.what == files[table, path]
        }
        return Change(
            [entry for entry in change.add if entry.path not in done],
            [path for path in change.remove if path not in done],
        )

    def _add(self, table: TableRef, change: Change, fate: Fate) -> None:
        now = self._clock()
        with self._lock:
            for key, what in _files(table, change).items():
                self._files.pop(key, None)
                self._files[key] = _Given(what, fate, now)
            self._drop_old(max(REMEMBERED, len(change.add) + len(change.remove)))

    def _forget(self, keys: Iterable[_Key]) -> None:
        with self._lock:
            for key in keys:
                self._files.pop(key, None)

    def _drop_old(self, most: int) -> None:
        oldest = self._clock() - REPEATABLE_S
        while self._files:
            first = next(iter(self._files))
            if len(self._files) <= most and self._files[first].at >= oldest:
                break
            del self._files[first]


def _files(table: TableRef, change: Change) -> dict[_Key, IndexEntry | None]:
    files: dict[_Key, IndexEntry | None] = {(table, path): None for path in change.remove}
    files.update(((table, entry.path), entry) for entry in change.add)
    return files


async def in_thread(perform: Callable[[Any], Any], request: Any, fate: Fate | None) -> Any:
    """The answer to a request, carried out in a thread while the event loop goes on. Cancelled, one
    that has begun goes on to its end."""
    import asyncio  # costs a command line 30 ms that has no use for it

    if fate is None:
        return await asyncio.to_thread(perform, request)

    def work() -> Any:
        if not fate.begin():
            return None
        try:
            return perform(request)
        finally:
            fate.end()

    fate.hand_over()
    try:
        return await asyncio.to_thread(work)
    except BaseException:
        fate.call_off()
        raise
