"""Plans held while their job runs: leases renewed in the background, and noticed when lost.

Only the catalog says whether a lease is lost; no clock of ours is compared with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Lock, Thread
from typing import Any

from gigapi_metadata.errors import LeaseLost, MetadataError, OutcomeUnknown, Unavailable
from gigapi_metadata.index.sync import Index
from gigapi_metadata.model import Plan

PAUSES_S = (0.2, 1.0, 4.0)
"""Before a completion is tried again whose answer was lost, or when the store is busy."""


class Cancelled(Exception):
    """The worker is stopping: the job is to be given back."""


class Hold:
    """One plan under its lease. `plan` is replaced by each renewal, so ask for it when needed."""

    def __init__(self, index: Index[Any], plan: Plan, lease_s: int) -> None:
        self.index = index
        self.lease_s = lease_s
        self.on_end: Callable[[], None] = lambda: None
        """Called from another thread once the job must stop: the lease is lost or `cancel` was."""
        self._plan = plan
        self._lock = Lock()  # held for a renewal: a plan must not be used while it is replaced
        self._settled = False
        self._end: Exception | None = None

    @property
    def renew_after_s(self) -> float:
        """Leases end with a whole second, so one of n seconds may last for little over n - 1."""
        return max(self.lease_s - 1, 0.3) / 3

    @property
    def plan(self) -> Plan:
        """The plan as it was last renewed."""
        return self._plan

    def check(self) -> None:
        """Raise why the job must stop, if it must: LeaseLost or Cancelled."""
        if self._end is not None:
            raise self._end

    def cancel(self) -> None:
        """Make the job stop at its next check."""
        self._finish(Cancelled("the worker is stopping"))

    def renew(self) -> None:
        """Make the lease longer, unless the plan is settled. Never raises; `check` tells."""
        with self._lock:
            if self._settled or isinstance(self._end, LeaseLost):
                return
            try:
                self._plan = self.index.renew(self._plan, lease_s=self.lease_s)  # type: ignore[type-var]
                return
            except (Unavailable, OutcomeUnknown):
                return  # tried again soon; if the lease runs out meanwhile, that will tell
            except MetadataError as fault:
                lost = fault if isinstance(fault, LeaseLost) else LeaseLost(str(fault))
        self._finish(lost)

    def confirm(self) -> None:
        """Make sure that the plan is held at this moment.

        Raises:
            LeaseLost: it is not.
            StoreError: it can't be said.
        """
        with self._lock:
            self.check()
            self._plan = self.index.renew(self._plan, lease_s=self.lease_s)  # type: ignore[type-var]

    def settle(self) -> Plan:
        """The plan, to end it or give it back: it is not renewed any more."""
        with self._lock:
            self._settled = True
            return self._plan

    def complete(self, end: Callable[[Any], None], sleep: Callable[[float], None]) -> None:
        """End the plan with `end(plan)`, which is safe to repeat, and is if its answer is lost.

        Raises:
            LeaseLost, Cancelled: the job must stop; nothing was changed.
            Conflict: from `end`.
            OutcomeUnknown: it may have ended.
        """
        self.check()
        plan = self.settle()
        maybe: OutcomeUnknown | None = None
        for pause in (*PAUSES_S, None):
            try:
                end(plan)
                return
            except OutcomeUnknown as fault:
                maybe = fault
            except Unavailable:
                if pause is None and maybe is None:
                    raise
            if pause is not None:
                sleep(pause)
        assert maybe is not None
        raise maybe

    def _finish(self, reason: Exception) -> None:
        if self._end is None or isinstance(reason, LeaseLost):
            self._end = reason
        self.on_end()


class Keeper:
    """Renews the leases of all jobs of a worker, from one thread of its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: dict[Hold, float] = {}
        self._changed = Condition()
        self._closed = False
        self._thread: Thread | None = None

    @contextmanager
    def keep(self, hold: Hold) -> Iterator[Hold]:
        """Renew the lease of `hold` three times before it runs out, while the block runs."""
        with self._changed:
            if self._thread is None:
                self._thread = Thread(target=self._run, name="gigapi-leases", daemon=True)
                self._thread.start()
            self._due[hold] = self._clock() + hold.renew_after_s
            self._changed.notify()
        try:
            yield hold
        finally:
            with self._changed:
                self._due.pop(hold, None)

    def holds(self) -> list[Hold]:
        """What is held at the moment."""
        with self._changed:
            return list(self._due)

    def close(self) -> None:
        """Renew nothing any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                now = self._clock()
                due = [hold for hold, at in self._due.items() if at <= now]
                if not due:
                    pause = min(self._due.values(), default=now + 60) - now
                    self._changed.wait(pause)
                    continue
                for hold in due:
                    self._due[hold] = now + hold.renew_after_s
            for hold in due:
                hold.renew()
