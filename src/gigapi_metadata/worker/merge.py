"""A merge: several files of one folder become one of the next level.

The result is put in place under a name of this attempt's own, then registered; a crash before that
leaves a file that no catalog names, and the next attempt removes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from gigapi_metadata.errors import (
    Conflict,
    InvalidEntry,
    MergeFailed,
    MetadataError,
    OutcomeUnknown,
)
from gigapi_metadata.model import IndexEntry, MergePlan
from gigapi_metadata.names import dir_of
from gigapi_metadata.parquet import entry_from_parquet
from gigapi_metadata.storage import LocalStorage, S3Storage
from gigapi_metadata.worker.jobs import Job, attempt_path, check_size, clear_leftovers
from gigapi_metadata.worker.rewrite import Interrupt, Limits, Merged, merge_files
from gigapi_metadata.worker.sources import Input
from gigapi_metadata.worker.unfinished import announce, registered

DOWNLOADS = 4
"""How many sources of one merge are fetched at once."""


def merge(job: Job) -> None:
    """Carry out the merge that `job` holds.

    Raises:
        LeaseLost, Cancelled, Conflict: to be given back; nothing is left of it.
        MetadataError: it failed; nothing is left of it, but for a result whose registration may
            have happened (OutcomeUnknown).
    """
    plan = job.hold.plan
    assert isinstance(plan, MergePlan)
    job.work.path = f"{dir_of(plan.path_to)}/"
    sources = _sources(job, plan)
    job.work.files_in = len(sources)
    job.work.bytes_in = sum(source.size_bytes for source in sources)
    storage = job.storage(plan.layer)
    clear_leftovers(job, storage, plan.path_to, temporary=False)
    path = attempt_path(plan.path_to, os.urandom(6).hex())
    announce(job, plan.layer, path)
    job.step("announced")
    # What is registered must stay, and so must what may be.
    keep = False
    try:
        if len(sources) == 1:
            entry = _promote(job, storage, sources[0], path)
        else:
            entry = _rewrite(job, storage, plan, sources, path)
        job.work.rows, job.work.bytes_out = entry.row_count, entry.size_bytes
        job.work.path = path
        job.step("placed")

        def end(held: MergePlan) -> None:
            nonlocal keep
            keep = True
            try:
                named = msgspec.structs.replace(held, path_to=path)
                job.index.complete_merge(named, entry)
            except OutcomeUnknown:
                raise
            except MetadataError:
                keep = False
                raise

        job.hold.complete(end, job.tools.sleep)
        registered(job)
        job.step("completed")
    finally:
        if not keep:
            with suppress(MetadataError):
                storage.delete(path)


def _sources(job: Job, plan: MergePlan) -> list[IndexEntry]:
    found = []
    for path in plan.paths_from:
        entry = job.index.get(path, plan.layer)
        if entry is None:
            raise Conflict(f"{path!r} was removed after the plan was handed out")
        found.append(entry)
    return found


def _promote(
    job: Job, storage: LocalStorage | S3Storage, source: IndexEntry, path: str
) -> IndexEntry:
    """One file needs no merging: the same bytes go to the next level."""
    check_size(storage, source, storage.head(source.path).size)
    made = storage.copy(source.path, path)
    return msgspec.structs.replace(source, path=path, size_bytes=made.size)


def _rewrite(
    job: Job,
    storage: LocalStorage | S3Storage,
    plan: MergePlan,
    sources: Sequence[IndexEntry],
    path: str,
) -> IndexEntry:
    tools = job.tools
    with tools.workspace.folder_for_job() as folder, _draft(storage, path, folder) as draft:
        inputs = _inputs(job, storage, sources, folder)
        job.step("fetched")
        interrupt = Interrupt(job.hold.check)
        job.hold.on_end = interrupt.stop
        limits = Limits(tools.memory, tools.threads, folder / "spill")
        merged = merge_files(inputs, draft, limits, interrupt, tools.time_column)
        job.step("merged")
        entry = _entry(job, plan, sources, draft, merged)
        if entry.min_data is not None:
            _check_times(job, plan, entry, sources, inputs)
        entry = msgspec.structs.replace(entry, path=path)
        if merged.parts > 1:
            job.work.note = f"memory ran out, done in {merged.parts} parts"
        job.step("verified")
        job.hold.confirm()
        if isinstance(storage, LocalStorage):
            made = storage.place(draft, path)
        else:
            made = storage.put(path, draft)
        if made.size != entry.size_bytes:
            raise MergeFailed(f"{path!r} has {made.size} bytes, {entry.size_bytes} were written")
    return entry


@contextmanager
def _draft(storage: LocalStorage | S3Storage, path: str, folder: Path) -> Iterator[Path]:
    """Where to write the result: beside its place if that is local. Gone after the block."""
    if not isinstance(storage, LocalStorage):
        yield folder / "merged"
        return
    with storage.draft(path) as draft:
        yield draft


def _inputs(
    job: Job, storage: LocalStorage | S3Storage, sources: Sequence[IndexEntry], folder: Path
) -> list[Input]:
    if isinstance(storage, LocalStorage):
        return [Input(source.path, storage.local(source.path)) for source in sources]
    inputs = [
        Input(source.path, folder / f"{number}.parquet") for number, source in enumerate(sources)
    ]

    def fetch(each: Input) -> None:
        job.hold.check()
        storage.get(each.path, each.file)

    with ThreadPoolExecutor(DOWNLOADS) as pool:
        for _ in pool.map(fetch, inputs):
            pass
    return inputs


def _entry(
    job: Job, plan: MergePlan, sources: Sequence[IndexEntry], draft: Path, merged: Merged
) -> IndexEntry:
    """The entry of the merged file, once it has been found to be what it must be."""
    given = [source.row_count for source in sources]
    job.work.rows = merged.rows
    if all(given) and sum(given) != merged.rows:
        job.work.note = f"the catalog said {sum(given)} rows"
    entry = _read_entry(job, plan, draft, max(source.chunk_time for source in sources))
    if entry is not None:
        return entry
    # No time column, or nothing in it: then the catalog knows more than the file does.
    return IndexEntry(
        plan.database,
        plan.table,
        plan.path_to,
        draft.stat().st_size,
        min(source.min_time for source in sources),
        max(source.max_time for source in sources),
        plan.layer,
        merged.rows,
        max(source.chunk_time for source in sources),
        None,
        None,
        plan.writer_id,
    )


def _read_entry(job: Job, plan: MergePlan, file: Path, chunk_time: int) -> IndexEntry | None:
    """The entry of a file by its footer; None when that has no times."""
    try:
        return entry_from_parquet(
            file,
            root=file.parent,
            database=plan.database,
            table=plan.table,
            time_column=job.tools.time_column,
            layer=plan.layer,
            writer_id=plan.writer_id,
            chunk_time=chunk_time,
        )
    except InvalidEntry:
        return None


def _check_times(
    job: Job, plan: MergePlan, entry: IndexEntry, sources: Sequence[IndexEntry], inputs: list[Input]
) -> None:
    """The result covers what its sources cover: by the catalog, or, where its bounds are not those
    of the files, by the files."""
    if _span(sources) == (entry.min_time, entry.max_time):
        return
    read = [_read_entry(job, plan, each.file, 0) for each in inputs]
    found = [each for each in read if each is not None]
    if not found or _span(found) != (entry.min_time, entry.max_time):
        raise MergeFailed("the merged file covers another time range than its sources")


def _span(entries: Sequence[IndexEntry]) -> tuple[int, int]:
    return min(each.min_time for each in entries), max(each.max_time for each in entries)
