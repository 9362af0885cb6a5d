"""Files that are there before the catalog names them: noted first, so that none is left over.

Whoever is killed before a result is registered leaves a file. The plan's next attempt removes it,
but there is none when the plan's own files were all removed meanwhile. So a drop of the result is
queued before the file appears. A result that was registered makes its drop void: stores don't hand
out a drop of a living file. Nor does a scan register a file that waits to be dropped.

These drops stand in a queue of their own, for a writer that GigAPI never asks for: it would delete
a file without looking whether the catalog names it.
"""

from __future__ import annotations

import os
from contextlib import suppress

from gigapi_metadata.errors import FileMissing, MetadataError
from gigapi_metadata.index.json import JSONIndex
from gigapi_metadata.model import DropPlan, QueuedPlan
from gigapi_metadata.names import dir_of
from gigapi_metadata.planning import UNFINISHED
from gigapi_metadata.storage import Storage
from gigapi_metadata.worker.jobs import Job, Later, clear_leftovers
from gigapi_metadata.worker.outcome import Outcome


def announce(job: Job, layer: str, path: str) -> None:
    """Queue a drop of `path`, which is about to be written in `layer`. Durable as the catalog is.

    Not on JSON folders, where GigAPI keeps all drops of a folder in one list.
    """
    if isinstance(job.index, JSONIndex):
        return
    plan = job.hold.plan
    id = f"{plan.id}/{os.urandom(6).hex()}"
    note = QueuedPlan(
        "drop", "waiting", id, layer, UNFINISHED, dir_of(path), 0, [path], 0, plan.lease_s
    )
    job.index.import_plans([note])
    job.notes.append(note)


def registered(job: Job) -> None:
    """What was announced is registered: its drop is due, and so thrown away at the next look."""
    for note in job.notes:
        with suppress(MetadataError):  # it is void all the same
            job.index.retry(note)


def settle(job: Job, note: DropPlan) -> None:
    """Delete the file of a note, finished or not, unless its plan may still register it.

    Raises:
        Later: it may.
    """
    storage = job.storage(note.layer)
    owner_id = note.id.rpartition("/")[0]
    owner = next((p for p in job.index.plans() if p.id == owner_id and p.kind != "drop"), None)
    if owner is not None and owner.state == "waiting" and not _is_there(storage, note.path):
        return  # the attempt has cleared up after itself
    if owner is not None:
        raise Later(f"plan {owner_id} may still register it", job.tools.lease_s)
    # In this order: a plan that has ended registers nothing any more.
    if job.index.get(note.path) is not None:
        return
    found = clear_leftovers(job, storage, note.path, temporary=True)
    if _is_there(storage, note.path):
        found += storage.delete(note.path)
    job.work.files_in, job.work.note = int(found), "was never registered"


def worth_telling(outcome: Outcome) -> bool:
    """Whether people want to know: of these drops only if there was something to delete."""
    return (
        outcome.writer_id != UNFINISHED
        or outcome.work.files_in > 0
        or outcome.status in ("failed", "set aside")
    )


def _is_there(storage: Storage, path: str) -> bool:
    try:
        storage.head(path)
    except FileMissing:
        return False
    return True
