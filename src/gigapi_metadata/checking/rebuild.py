"""A catalog from the Parquet files alone.

Day by day over all layers: list, read the footers, decide which files count (overlaps.py), add
them, as if they were new. Killed half-way, it goes on when it is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from gigapi_metadata.checking import overlaps
from gigapi_metadata.checking.digests import told_apart
from gigapi_metadata.checking.files import is_data, is_legal
from gigapi_metadata.checking.footers import Footers
from gigapi_metadata.checking.overlaps import Candidate
from gigapi_metadata.errors import InvalidEntry
from gigapi_metadata.index.sync import Index
from gigapi_metadata.model import IndexEntry
from gigapi_metadata.storage import FileInfo, LocalStorage, S3Storage, Storages

BATCH_SIZE = 5000

_ILLEGAL = "no entry can name it: rename it, and run this again"

Tell = Callable[[int], None]


class BadFile(msgspec.Struct, frozen=True):
    """A file that was not registered, and why."""

    path: str
    layer: str
    reason: str


class RebuildReport(msgspec.Struct):
    """What was found and done in one table. Paths in `known` were in the catalog, and left alone;
    those `leaving` wait to be deleted."""

    database: str
    table: str
    found: int = 0
    registered: int = 0
    rows: int = 0
    known: int = 0
    leaving: int = 0
    left_out: list[BadFile] = []
    bad: list[BadFile] = []
    doubtful: list[str] = []


def tables_in(storages: Storages) -> list[tuple[str, str]]:
    """(database, table) of all that has files in any layer, sorted.

    Raises:
        StorageError: a layer can't be reached: its folder is not there, say.
    """
    for layer in storages.layers:
        storages.reach(layer)
    return sorted({name for layer in storages.layers for name in storages.tables(layer)})


def is_empty(index: Index[Any]) -> bool:
    """Whether the catalog has nothing of a table: no file and no plan."""
    return not index.paths() and not index.plans()


def rebuild_table(
    index: Index[Any],
    storages: Storages,
    footers: Footers,
    *,
    writer_id: str = "",
    dry_run: bool = False,
    tell: Tell = lambda files: None,
) -> RebuildReport:
    """Register the table's files of all layers that count. What the catalog has already stays as it
    is. `chunk_time` is when a file was last changed.

    Raises:
        StorageError: a layer can't be reached or listed; days before have been registered.
        StoreError: the catalog failed; likewise.
    """
    report = RebuildReport(index.database, index.table, left_out=[], bad=[], doubtful=[])
    table = (index.database, index.table)
    for layer in storages.layers:
        storages.reach(layer)
    places = [(layer, storages.table(layer, *table)) for layer in storages.layers]
    leaving = _leaving(index)
    for day in ["", *_days(report, places)]:
        candidates: list[Candidate] = []
        for rank, (layer, storage) in enumerate(places):
            listed = _listed(report, layer, storage, day)
            files = [file for file in listed if not _is_leaving(report, leaving, layer, file)]
            report.found += len(files)
            read = footers.read(storage, table, layer, files, writer_id, raw=True)
            for file, (outcome, footer) in zip(files, read, strict=True):
                tell(1)
                if isinstance(outcome, str):
                    report.bad.append(BadFile(file.path, layer, outcome))
                else:
                    candidates.append(overlaps.candidate(outcome, rank, footer))
        compared, doubtful = told_apart(candidates, dict(places))
        report.doubtful += doubtful
        _register(index, report, overlaps.decide(compared), dry_run)
    return report


def _days(
    report: RebuildReport, places: Sequence[tuple[str, LocalStorage | S3Storage]]
) -> list[str]:
    """The first folders of all layers; those that no entry can name are bad."""
    days: set[str] = set()
    for layer, storage in places:
        for day in filter(_is_plain, storage.folders()):
            if is_legal(day):
                days.add(day)
            else:
                report.bad.append(BadFile(day, layer, _ILLEGAL))
    return sorted(days)


def _listed(
    report: RebuildReport, layer: str, storage: LocalStorage | S3Storage, day: str
) -> list[FileInfo]:
    """A day's data files; those that no entry can name are bad."""
    found = storage.walk(day) if day else storage.list("")
    files = [file for file in found if is_data(file.path)]
    odd = [BadFile(file.path, layer, _ILLEGAL) for file in files if not is_legal(file.path)]
    report.bad += odd
    return [file for file in files if is_legal(file.path)] if odd else files


def _is_plain(day: str) -> bool:
    return not day.startswith((".", "_"))


def _leaving(index: Index[Any]) -> set[tuple[str, str]]:
    plans = index.plans()
    return {(plan.layer, path) for plan in plans if plan.kind == "drop" for path in plan.paths}


def _is_leaving(
    report: RebuildReport, leaving: set[tuple[str, str]], layer: str, file: FileInfo
) -> bool:
    is_leaving = (layer, file.path) in leaving
    report.leaving += is_leaving
    return is_leaving


def _register(
    index: Index[Any], report: RebuildReport, decision: overlaps.Decision, dry_run: bool
) -> None:
    for (path, layer), left in decision.left_out.items():
        report.left_out.append(BadFile(path, layer, left.why))
    report.doubtful += decision.doubtful
    entries = decision.taken
    days = {entry.path.partition("/")[0] for entry in entries if "/" in entry.path}
    there = {entry.path for day in days for entry in index.query(folder=f"{day}/")}
    there |= {each.path for each in entries if "/" not in each.path and index.get(each.path)}
    new = [entry for entry in entries if entry.path not in there]
    report.known += len(entries) - len(new)
    twice: dict[str, IndexEntry] = {}
    for entry in new:
        if entry.path in twice:
            reason = f"{entry.path!r} lies in layer {twice[entry.path].layer!r}, too"
            report.bad.append(BadFile(entry.path, entry.layer, reason))
        else:
            twice[entry.path] = entry
    new = list(twice.values())
    for start in range(0, len(new), BATCH_SIZE):
        _add(index, report, new[start : start + BATCH_SIZE], dry_run)


def _add(
    index: Index[Any], report: RebuildReport, entries: list[IndexEntry], dry_run: bool
) -> None:
    """Add entries; if the store refuses one, halve them until that one stands alone."""
    if not entries:
        return
    try:
        if not dry_run:
            index.batch(entries)
    except InvalidEntry as fault:
        if len(entries) == 1:
            report.bad.append(BadFile(entries[0].path, entries[0].layer, str(fault)))
            return
        middle = len(entries) // 2
        _add(index, report, entries[:middle], dry_run)
        _add(index, report, entries[middle:], dry_run)
    else:
        report.registered += len(entries)
        report.rows += sum(entry.row_count for entry in entries)


def count_files(storages: Storages, tables: Iterable[tuple[str, str]]) -> int:
    """How many data files there are: what a progress bar counts to. As costly as listing them."""
    return sum(
        is_data(file.path)
        for table in tables
        for layer in storages.layers
        for storage in [storages.table(layer, *table)]
        for day in ["", *filter(_is_plain, storage.folders())]
        if is_legal(day or "x")
        for file in (storage.walk(day) if day else storage.list(""))
    )
