"""Group commit: small changes that come in while another is on its way are made in one.

What belongs into one commit is decided here, without I/O; `ThreadCommitter` drives it for
threads, groups_aio.py for asyncio. Each change gets its own outcome: when a commit of several is
refused, nothing of it was written, and its changes are made one by one.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gigapi_metadata.errors import MetadataError, OutcomeUnknown, StoreError, Unavailable
from gigapi_metadata.index.verbs import TableVerbs
from gigapi_metadata.model import IndexEntry
from gigapi_metadata.stores.base import Change, Steps

if TYPE_CHECKING:
    import asyncio

MOST_ENTRIES = 2000
"""How many entries a commit gathers; a change that is larger goes alone."""

IDLE_S = 1.0
"""How long the thread that commits stays when there is nothing to do."""

FutureT = TypeVar("FutureT", "Future[int]", "asyncio.Future[int]")


class Waiting(Generic[FutureT]):
    """Changes that wait for their commit, in the order in which they came."""

    def __init__(self) -> None:
        self._changes: deque[tuple[Change, FutureT]] = deque()

    def __len__(self) -> int:
        return len(self._changes)

    def put(self, change: Change, future: FutureT) -> None:
        """`future` gets the outcome of `change`."""
        self._changes.append((change, future))

    def take(self) -> tuple[list[Change], list[FutureT]]:
        """The next changes that can be made in one commit: none names a path that another has.

        One after the other they could do something else: a file that is added and then removed is
        to be dropped, one that never was there is not.
        """
        changes: list[Change] = []
        futures: list[FutureT] = []
        named: set[str] = set()
        waiting = self._changes
        while waiting:
            change, future = waiting[0]
            if changes and len(named) + len(change.add) + len(change.remove) > MOST_ENTRIES:
                break
            paths = [entry.path for entry in change.add]
            paths += change.remove
            if changes and not named.isdisjoint(paths):
                break
            named.update(paths)
            waiting.popleft()
            changes.append(change)
            futures.append(future)
        return changes, futures


def commit(verbs: TableVerbs, changes: Sequence[Change]) -> Steps[list[MetadataError | None]]:
    """Make `changes` in one commit, or one by one when that is refused: the outcome of each."""
    together = Change(
        [entry for change in changes for entry in change.add],
        [path for change in changes for path in change.remove],
    )
    try:
        if together.add or together.remove:
            yield from verbs.store.commit(verbs.ref, together, verbs.rules)
        return [None] * len(changes)
    except (OutcomeUnknown, Unavailable) as fault:
        return [fault] * len(changes)
    except StoreError as fault:
        if len(changes) == 1:
            return [fault]
    outcomes: list[MetadataError | None] = []
    for change in changes:
        outcomes += yield from commit(verbs, [change])
    return outcomes


def settle(futures: Iterable[Any], outcomes: Iterable[BaseException | None]) -> None:
    """Give each future the outcome of its change. What a callback of one raises to end its thread
    (`sys.exit()`) is ignored, for this thread is of use to others too."""
    for future, outcome in zip(futures, outcomes, strict=True):
        with suppress(SystemExit, KeyboardInterrupt, GeneratorExit):
            if outcome is None:
                future.set_result(0)
            else:
                future.set_exception(outcome)


class ThreadCommitter:
    """Commits what threads submit, in a thread of its own that ends when nobody needs it.

    run: drives a verb.
    """

    def __init__(self, verbs: TableVerbs, run: Callable[[Steps[Any]], Any]) -> None:
        self._verbs = verbs
        self._run = run
        self._start_anew()
        _committers.add(self)

    def _start_anew(self) -> None:
        self._pid = os.getpid()
        # Taken by itself: an interrupt in a Condition's own `with` may leave it locked.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._idle = False
        self._waiting: Waiting[Future[int]] = Waiting()
        self._thread: threading.Thread | None = None

    def submit(
        self,
        add_entries: Iterable[IndexEntry] | None,
        rm_entries: Iterable[IndexEntry | str] | None,
    ) -> Future[int]:
        """See `Index.submit`."""
        future: Future[int] = Future()
        try:
            change = self._verbs.change(add_entries, rm_entries)
        except MetadataError as fault:
            future.set_exception(fault)
            return future
        if self._pid != os.getpid():
            # The thread stayed behind in the parent process, with what waits there.
            self._start_anew()
        # It can't be cancelled any more: it may be under way.
        future.set_running_or_notify_cancel()
        with self._lock:
            self._waiting.put(change, future)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="gigapi-metadata-commit", daemon=True
                )
                self._thread.start()
            if self._idle:
                self._changed.notify()
        return future

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._idle = True
                    self._changed.wait(IDLE_S)
                    self._idle = False
                if not self._waiting:
                    self._thread = None
                    return
            self._let_others_join()
            with self._lock:
                changes, futures = self._waiting.take()
            outcomes: Sequence[BaseException | None]
            try:
                outcomes = self._run(commit(self._verbs, changes))
            except BaseException as fault:
                outcomes = [fault] * len(futures)
            settle(futures, outcomes)

    def _let_others_join(self) -> None:
        """Threads that have just got their outcome are about to submit their next change: as long
        as more come, one commit for all of them is cheaper than two."""
        before = 0
        while before < len(self._waiting) < MOST_ENTRIES:
            before = len(self._waiting)
            time.sleep(0)

    def close(self) -> None:
        """Wait until all that was submitted has its outcome; in a callback of a future, which runs
        in the thread that commits, don't wait."""
        thread = self._thread
        if thread is None or thread is threading.current_thread() or self._pid != os.getpid():
            return
        last: Future[int] = Future()
        with self._lock:
            if self._thread is None:
                return
            self._waiting.put(Change(), last)
            self._changed.notify()
        last.exception()  # what became of others is told by their own futures


_committers: weakref.WeakSet[ThreadCommitter] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """A program that ends without `close` leaves nothing behind that it has submitted."""
    for committer in list(_committers):
        committer.close()
