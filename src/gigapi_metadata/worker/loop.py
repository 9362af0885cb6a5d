"""The worker: finds plans that are due and carries them out, several at once, until stopped.

    with Worker(catalog, Storages(catalog.layers, root)) as worker:
        worker.run(once=True)

Jobs run in threads. A worker may be stopped from a signal handler: `stop` lets what runs finish
for `patience_s` seconds and gives back the rest.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Self

import msgspec

from gigapi_metadata.errors import InvalidConfiguration, MetadataError
from gigapi_metadata.model import Plan
from gigapi_metadata.storage import Storages
from gigapi_metadata.worker.drop import drop
from gigapi_metadata.worker.finder import Filter, Finder, Found, Tables
from gigapi_metadata.worker.jobs import Tools, carry_out
from gigapi_metadata.worker.lease import Hold, Keeper
from gigapi_metadata.worker.merge import merge
from gigapi_metadata.worker.move import move
from gigapi_metadata.worker.outcome import Outcome, Status, kind_of
from gigapi_metadata.worker.policy import RetryPolicy
from gigapi_metadata.worker.unfinished import worth_telling
from gigapi_metadata.worker.workspace import Workspace

log = logging.getLogger("gigapi_metadata.worker")

RUNNERS = {"merge": merge, "move": move, "drop": drop}

DEFAULT_MEMORY = 2_000_000_000
LEAST_MEMORY = 64_000_000
"""Bytes that a job must have."""

STOP_PATIENCE_S = 8.0
"""How long what runs may go on after `stop`; another second or two goes into giving it back."""


class Options(msgspec.Struct, frozen=True):
    """How a worker works.

    concurrency: jobs at once. memory: bytes for all of them together, LEAST_MEMORY or more for each
    of them. lease_s: for how many seconds
    a plan is leased at a time; it is renewed while its job runs, and free for others so long after
    a crash. poll_s: between two looks for due plans when there are none. patience_s: see above.
    temporary: where downloads and spilled data go. checkpoint: see Tools.
    """

    wanted: Filter = Filter()
    concurrency: int = 1
    memory: int = DEFAULT_MEMORY
    lease_s: int = 120
    poll_s: float = 1.0
    rescan_s: float = 10.0
    patience_s: float = STOP_PATIENCE_S
    time_column: str | None = None
    temporary: Path | None = None
    policy: RetryPolicy = RetryPolicy()
    checkpoint: Callable[[str], None] = lambda step: None

    def check(self) -> None:
        """Refuse what can't be meant (InvalidConfiguration)."""
        if self.concurrency < 1:
            raise InvalidConfiguration(f"concurrency must be 1 or more, not {self.concurrency}")
        if self.lease_s < 1:
            raise InvalidConfiguration(f"lease_s must be 1 or more, not {self.lease_s}")
        if self.memory < self.concurrency * LEAST_MEMORY:
            jobs = "a job needs" if self.concurrency == 1 else f"{self.concurrency} jobs need"
            raise InvalidConfiguration(
                f"memory is {self.memory} bytes; {jobs} at least {self.concurrency * LEAST_MEMORY}"
            )


class Worker:
    """Carries out plans. `report` is called with each outcome, from the thread of its job.

    clock: tells seconds, from any start; only differences count.
    """

    def __init__(
        self,
        catalog: Tables,
        storages: Storages,
        options: Options | None = None,
        *,
        report: Callable[[Outcome], None] = lambda outcome: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        options = options or Options()
        options.check()
        self.options = options
        self.totals: Counter[Status] = Counter()
        self._report = report
        self._clock = clock
        self._keeper = Keeper()
        self._stopping = Event()
        self._state = Condition()
        self._idle = 0
        self._finished = False
        self._finder = Finder(
            catalog,
            options.wanted,
            options.lease_s,
            clock=clock,
            rescan_s=options.rescan_s,
            warn=log.warning,
        )
        self._workspace = Workspace(options.temporary)
        self._tools = Tools(
            storages,
            self._workspace,
            self._keeper,
            options.memory // options.concurrency,
            max((os.cpu_count() or 1) // options.concurrency, 1),
            options.lease_s,
            options.policy,
            options.time_column,
            options.checkpoint,
            self._sleep,
            clock,
        )

    def run(self, *, once: bool = False) -> Counter[Status]:
        """Work until stopped; with `once` until nothing is due any more. How many jobs ended how.

        Raises:
            MetadataError: the catalog can't be read, or parts of it; with `once` only, and after
                everything else is done. Otherwise it is tried again.
        """
        self._finished, self._idle = False, 0
        self._finder.look_again()
        faults: list[BaseException] = []
        threads = [
            Thread(target=self._work, args=(once, faults), name=f"gigapi-job-{n}", daemon=True)
            for n in range(self.options.concurrency)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and not self._stopping.is_set():
            for thread in threads:
                thread.join(0.1)
        self._wind_up(threads)
        if faults:
            raise faults[0]
        if once and self._finder.fault is not None:
            raise self._finder.fault
        return self.totals

    def stop(self) -> None:
        """Take no more plans; `run` returns within some ten seconds. May be called from a signal
        handler, and again."""
        self._stopping.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called, or a fault has stopped it."""
        return self._stopping.is_set()

    @property
    def running(self) -> list[Plan]:
        """The plans that are being carried out at this moment."""
        return [hold.plan for hold in self._keeper.holds()]

    def close(self) -> None:
        """Remove temporary files. Plans are all given back by now."""
        self._keeper.close()
        self._workspace.close()

    def _wind_up(self, threads: list[Thread]) -> None:
        """Wait for what runs; after the patience, make it stop; at last, give back its plans."""
        deadline = time.monotonic() + self.options.patience_s
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0))
        for hold in self._keeper.holds():
            hold.cancel()
        deadline += 1.0
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0))
        # What still holds one hangs in something that can't be interrupted. Its result has a name
        # of its own and will not be registered. A store that does not answer would be asked for
        # minutes: then the plans come back when their leases have run out.
        holds = self._keeper.holds()
        giving = [Thread(target=_give_back, args=(hold,), daemon=True) for hold in holds]
        for thread in giving:
            thread.start()
        deadline = time.monotonic() + 0.5
        for hold, thread in zip(holds, giving, strict=True):
            thread.join(max(deadline - time.monotonic(), 0))
            if thread.is_alive():
                log.warning("plan %s could not be given back in time", hold.plan.id)

    def _sleep(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def _work(self, once: bool, faults: list[BaseException]) -> None:
        try:
            while not self._stopping.is_set():
                found = self._look(once)
                if found is not None:
                    self._carry_out(found)
                elif not self._rest(once):
                    return
        except Exception as fault:  # run() raises it; the other threads must not wait for ever
            faults.append(fault)
            self.stop()

    def _look(self, once: bool) -> Found | None:
        try:
            return self._finder.next()
        except MetadataError as fault:
            if once:
                raise
            log.warning("no plan could be had: %s", fault)
            self._stopping.wait(self.options.poll_s * 5)
            return None

    def _carry_out(self, found: Found) -> None:
        runner = RUNNERS[kind_of(found.plan)]
        outcome = carry_out(self._tools, found.table, found.plan, runner)
        self._finder.changed(found.table)
        with self._state:
            if worth_telling(outcome):
                self.totals[outcome.status] += 1
                self._report(outcome)
            self._state.notify_all()

    def _rest(self, once: bool) -> bool:
        """Wait for something to do; False when, with `once`, everything is done."""
        with self._state:
            self._idle += 1
            try:
                if once and self._idle == self.options.concurrency:
                    self._finished = True
                    self._state.notify_all()
                if self._finished:
                    return False
                self._state.wait(self.options.poll_s)
                return not self._finished
            finally:
                self._idle -= 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _give_back(hold: Hold) -> None:
    try:
        hold.index.release(hold.settle())
    except MetadataError as fault:
        log.warning("plan %s could not be given back: %s", hold.plan.id, fault)
