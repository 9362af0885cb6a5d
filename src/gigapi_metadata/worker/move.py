"""A move: a file goes to the next layer, or, after the last one, its entry goes.

Every attempt copies the same bytes to the same name, so that it does not matter whose copy stays.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec

from gigapi_metadata.errors import Conflict, LeaseLost, MetadataError, StorageError
from gigapi_metadata.model import IndexEntry, MovePlan
from gigapi_metadata.storage import LocalStorage, S3Storage
from gigapi_metadata.worker.jobs import Job, check_size, clear_leftovers
from gigapi_metadata.worker.unfinished import announce, registered


def move(job: Job) -> None:
    """Carry out the move that `job` holds. The source is dropped after the grace, by a drop.

    Raises:
        LeaseLost, Cancelled, Conflict: to be given back.
        MetadataError: it failed. The copy may be there; the next attempt replaces it.
    """
    plan = job.hold.plan
    assert isinstance(plan, MovePlan)
    entry = job.index.get(plan.path_from, plan.layer_from)
    if entry is None:
        raise Conflict(f"{plan.path_from!r} was removed after the plan was handed out")
    job.work.path, job.work.layer_to = plan.path_from, plan.layer_to or "(expired)"
    job.work.files_in, job.work.bytes_in = 1, entry.size_bytes
    job.work.rows = entry.row_count
    if plan.layer_to == "":
        job.hold.complete(lambda held: job.index.complete_move(held, None), job.tools.sleep)
        job.step("completed")
        return
    source, target = job.storage(plan.layer_from), job.storage(plan.layer_to)
    clear_leftovers(job, target, plan.path_to, temporary=True)
    try:
        moved = _copy(job, plan, entry, source, target)
        job.step("verified")
        job.hold.complete(lambda held: job.index.complete_move(held, moved), job.tools.sleep)
        registered(job)
    except (LeaseLost, Conflict):
        _discard(job, plan, target)
        raise
    job.step("completed")


def _copy(
    job: Job,
    plan: MovePlan,
    entry: IndexEntry,
    source: LocalStorage | S3Storage,
    target: LocalStorage | S3Storage,
) -> IndexEntry:
    """Put the file into its new place; its entry there."""
    there = source.head(plan.path_from)
    check_size(source, entry, there.size)
    announce(job, plan.layer_to, plan.path_to)
    job.step("announced")
    if isinstance(source, LocalStorage):
        job.step("fetched")
        made = target.put(plan.path_to, source.local(plan.path_from))
    else:
        with job.tools.workspace.folder_for_job() as folder:
            file = folder / "moved"
            source.get(plan.path_from, file)
            job.step("fetched")
            made = target.put(plan.path_to, file)
    job.step("copied")
    if made.size != there.size:
        raise StorageError(
            f"{plan.path_from!r} has {there.size} bytes, its copy in layer {plan.layer_to!r} has "
            f"{made.size}"
        )
    job.work.bytes_out = made.size
    return msgspec.structs.replace(
        entry, path=plan.path_to, layer=plan.layer_to, size_bytes=made.size
    )


def _discard(job: Job, plan: MovePlan, target: LocalStorage | S3Storage) -> None:
    """Delete our copy if nobody will ever register it: not while the file may still be moved by
    the plan's next holder, whose copy has the same name."""
    with suppress(MetadataError):
        if (
            job.index.get(plan.path_from, plan.layer_from) is None
            and job.index.get(plan.path_to) is None
        ):
            target.delete(plan.path_to)
