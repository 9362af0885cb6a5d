"""Group commit for the tasks of one event loop; groups.py says what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gigapi_metadata.errors import MetadataError
from gigapi_metadata.index.groups import Waiting, commit, settle
from gigapi_metadata.index.verbs import TableVerbs
from gigapi_metadata.model import IndexEntry
from gigapi_metadata.stores.base import Steps


class TaskCommitter:
    """Commits what the tasks of one event loop submit, in a task of its own.

    run: drives a verb, awaitable.
    """

    def __init__(self, verbs: TableVerbs, run: Callable[[Steps[Any]], Any]) -> None:
        self._verbs = verbs
        self._run = run
        self._waiting: Waiting[asyncio.Future[int]] = Waiting(verbs.in_doubt)
        self._task: asyncio.Task[None] | None = None

    def submit(
        self,
        add_entries: Iterable[IndexEntry] | None,
        rm_entries: Iterable[IndexEntry | str] | None,
    ) -> asyncio.Future[int]:
        """See `AsyncIndex.submit`."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            change = self._verbs.change(add_entries, rm_entries)
        except MetadataError as fault:
            future.set_exception(fault)
            return future
        self._waiting.put(change, future)
        if self._task is None:
            self._task = asyncio.create_task(self._work())
            self._task.add_done_callback(self._ended)
        return future

    async def _work(self) -> None:
        while self._waiting:
            # Whatever is ready to run may have something to submit as well.
            await asyncio.sleep(0)
            changes, futures = self._waiting.take()
            outcomes: Sequence[BaseException | None]
            try:
                outcomes = await self._run(commit(self._verbs, changes))
            except Exception as fault:
                outcomes = [fault] * len(futures)
            except BaseException as fault:
                _settle(futures, [fault] * len(futures))
                raise
            _settle(futures, outcomes)
        self._task = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._task is not task:
            return
        # It was cancelled, as all tasks are when a loop ends: what waits is not made any more.
        self._task = None
        while self._waiting:
            for future in self._waiting.take()[1]:
                future.cancel()

    async def close(self) -> None:
        """Wait until all that was submitted has its outcome."""
        if self._task is not None:
            await asyncio.wait([self._task])


def _settle(
    futures: Sequence[asyncio.Future[int]], outcomes: Sequence[BaseException | None]
) -> None:
    # Whoever waited may have given up: the change was made all the same.
    waited_for = [pair for pair in zip(futures, outcomes, strict=True) if not pair[0].done()]
    settle((future for future, _ in waited_for), (outcome for _, outcome in waited_for))
