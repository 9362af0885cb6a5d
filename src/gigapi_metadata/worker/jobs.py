"""What every job has at hand, and how one is carried out from lease to outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from gigapi_metadata.errors import Conflict, LeaseLost, MetadataError
from gigapi_metadata.index.sync import Index
from gigapi_metadata.model import Plan, QueuedPlan
from gigapi_metadata.names import dir_of
from gigapi_metadata.storage import Storages
from gigapi_metadata.storage.base import TEMP_PREFIX, TEMP_SUFFIX, Storage
from gigapi_metadata.worker.lease import Cancelled, Hold, Keeper
from gigapi_metadata.worker.outcome import Outcome, Status, Work, kind_of, layer_of
from gigapi_metadata.worker.policy import RetryPolicy
from gigapi_metadata.worker.workspace import Workspace

STEM_CHARS = 24
"""Of a UUID: what all attempts at a plan have in common in their files' names."""


class Tools(msgspec.Struct, frozen=True):
    """What jobs work with.

    memory: bytes that one job may take. threads: for one job.
    time_column: what merged files are sorted by; None: as `entry_from_parquet` finds it.
    checkpoint: called with the name of each step that a job has made; for tests that stop there.
    """

    storages: Storages
    workspace: Workspace
    keeper: Keeper
    memory: int
    threads: int
    lease_s: int
    policy: RetryPolicy = RetryPolicy()
    time_column: str | None = None
    checkpoint: Callable[[str], None] = lambda step: None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


class Later(Exception):
    """It is too early for this plan: to be given back, and had again in `delay_s` seconds."""

    def __init__(self, reason: str, delay_s: int) -> None:
        super().__init__(reason)
        self.delay_s = delay_s


class Job(msgspec.Struct, frozen=True):
    """A plan being carried out. `notes`: drops of what it may leave behind, see unfinished.py."""

    tools: Tools
    index: Index[Any]
    hold: Hold
    work: Work
    notes: list[QueuedPlan] = []

    def step(self, name: str) -> None:
        """A step is made. Raises if the job must stop."""
        self.tools.checkpoint(f"{kind_of(self.hold.plan)}:{name}")
        self.hold.check()

    def storage(self, layer: str) -> Any:
        """The table's files in `layer`."""
        return self.tools.storages.table(layer, self.index.database, self.index.table)


def carry_out(tools: Tools, index: Index[Any], plan: Plan, run: Callable[[Job], None]) -> Outcome:
    """Run a job under its lease and say what became of it. Gives back what was not done.

    Raises nothing that is the job's fault.
    """
    started = tools.clock()
    hold = Hold(index, plan, tools.lease_s)
    job = Job(tools, index, hold, Work())
    status: Status = "done"
    error, attempts, delay_s = "", plan.attempts, 0
    try:
        with tools.keeper.keep(hold):
            job.step("leased")
            run(job)
    except LeaseLost as fault:
        status, error = "lost", str(fault)
    except (Conflict, Cancelled, Later) as fault:
        status, error = "given back", str(fault)
        delay_s = fault.delay_s if isinstance(fault, Later) else 0
        if not _release(hold, None, delay_s):
            status = "lost"
    except Exception as fault:  # whatever it is, it must not end the worker
        reason = describe(fault)
        attempts += 1
        verdict = tools.policy.after(attempts, fault)
        status = "set aside" if verdict.set_aside else "failed"
        error, delay_s = reason, verdict.delay_s
        if not _release(hold, reason, verdict.delay_s):
            status = "lost"
    return Outcome(
        kind_of(plan),
        plan.database,
        plan.table,
        layer_of(plan),
        plan.writer_id,
        plan.id,
        status,
        tools.clock() - started,
        job.work,
        error,
        attempts,
        delay_s,
    )


def describe(fault: BaseException) -> str:
    """The reason that is kept with a plan: one line."""
    text = " ".join(str(fault).split()) or type(fault).__name__
    return text[:1000] if isinstance(fault, MetadataError) else f"{type(fault).__name__}: {text}"


def _release(hold: Hold, error: str | None, delay_s: int) -> bool:
    """Give the plan back; False if it was not ours any more, or the store does not answer (then it
    comes back when its lease has run out)."""
    try:
        hold.index.release(hold.settle(), error, delay_s=delay_s)
    except MetadataError:
        return False
    return True


def clear_leftovers(job: Job, storage: Storage, path_to: str, *, temporary: bool) -> int:
    """Delete what earlier attempts at a plan have left where `path_to` goes; how many files.

    `temporary`: unfinished files only.

    Raises:
        LeaseLost: the plan is not held any more; nothing was deleted.
    """
    folder = dir_of(path_to)
    stem = path_to[len(folder) + 1 if folder else 0 :][:STEM_CHARS]
    found = []
    for file in storage.list(folder):
        name = file.path[len(folder) + 1 if folder else 0 :]
        unfinished = name.startswith(TEMP_PREFIX + stem) and name.endswith(TEMP_SUFFIX)
        finished = not temporary and name.startswith(stem)
        if unfinished or (finished and job.index.get(file.path) is None):
            found.append(file.path)
    if found:
        # Still ours after the listing: so all that was listed is of attempts before this one, which
        # will be refused, and stays unregistered however long we take from here.
        job.hold.confirm()
    return sum(storage.delete(path) for path in found)


def attempt_path(path_to: str, token: str) -> str:
    """The name of one attempt's result: `path_to`, a UUID, with its last twelve digits replaced.

    Every attempt writes a file of its own, so that a worker which has lost its lease, and does not
    know it yet, can't touch what the next one has registered; what they have in common tells the
    next one what to remove.
    """
    folder = dir_of(path_to)
    name = path_to[len(folder) + 1 if folder else 0 :]
    stem, dot, rest = name.partition(".")
    named = f"{stem[:STEM_CHARS]}{token}{dot}{rest}"
    return f"{folder}/{named}" if folder else named
