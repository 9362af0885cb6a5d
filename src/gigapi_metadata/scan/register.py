"""Comparing a table's files with its catalog and adding what is new.

Made to be run again and again, beside services and workers that use the same catalog, and to be
killed at any point: entries are committed in batches as they fill, and the next scan goes on from
there. What the catalog says rightly is never written again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from gigapi_metadata.errors import InvalidEntry
from gigapi_metadata.index.sync import Index
from gigapi_metadata.model import IndexEntry
from gigapi_metadata.planning import unregistered
from gigapi_metadata.scan.reading import Outcome, Readers, Source
from gigapi_metadata.scan.walk import Found, Tree

Progress = Callable[[int], None]
"""Told how many more files have been dealt with."""


class ScanOptions(msgspec.Struct, frozen=True):
    """How to scan.

    time_column: see `IndexEntry.from_parquet`.
    layer: where the files are. None: new entries get the table's first layer, others keep theirs.
    writer_id: what new entries get.
    jobs: how many processes read files.
    batch_size: how many entries are committed at a time.
    prune: remove entries whose file is gone.
    reread: read files again that seem unchanged.
    dry_run: look, compare and report, write nothing.
    follow_links: register what lies behind symbolic links too. The worker does not touch it.
    """

    time_column: str | None = None
    layer: str | None = None
    writer_id: str = ""
    jobs: int = 1
    batch_size: int = 5000
    prune: bool = False
    reread: bool = False
    dry_run: bool = False
    follow_links: bool = False


class BadFile(NamedTuple):
    """A file that could not be registered."""

    path: str
    reason: str


@dataclass
class TableReport:
    """What a scan of one table found and did. Paths are relative to `root`."""

    database: str
    table: str
    root: str
    found: int = 0
    registered: int = 0
    updated: int = 0
    unchanged: int = 0
    leaving: int = 0
    """Files that have left the catalog and wait to be deleted: they must not come back."""
    vanished: list[str] = field(default_factory=list)
    pruned: int = 0
    prune_refused: bool = False
    """There was no file at all, as when the storage is not mounted: nothing was pruned."""
    bad: list[BadFile] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    """Symbolic links that were passed over."""


class _Addition(NamedTuple):
    entry: IndexEntry
    is_new: bool


def scan_table(
    index: Index[Any],
    root: str | os.PathLike[str],
    options: ScanOptions,
    progress: Progress | None = None,
) -> TableReport:
    """Register the Parquet files below `root`, the data folder of the table that `index` is of.

    A file is new if the catalog does not name its path. It is read again if its size differs or it
    is newer than its entry's `chunk_time`; the entry is replaced if it then says something else.
    An entry of the layer whose file is gone has vanished. A file that has left the catalog
    (removed, or merged into another) and waits to be deleted is let go.

    Raises:
        MissingExtra: pyarrow is not installed.
        StoreError: the catalog failed; what was committed before stays.
    """
    with Readers(options.jobs) as readers:
        scan = _Scan(index, os.fspath(root), options, readers, progress or _tell_nobody)
        return scan.run()


def _tell_nobody(files: int) -> None: ...


class _Scan:
    def __init__(
        self, index: Index[Any], root: str, options: ScanOptions, readers: Readers, tell: Progress
    ) -> None:
        self.index = index
        self.options = options
        self.tree = Tree(root, follow_links=options.follow_links)
        self.report = TableReport(index.database, index.table, root)
        self._readers = readers
        self._tell = tell
        layers = index.layers
        self._source = Source(
            root,
            index.database,
            index.table,
            options.time_column,
            options.layer or (layers[0].name if layers else ""),
            options.writer_id,
            None if options.follow_links else (),
        )
        self._batch: list[_Addition] = []
        self._vanished: dict[str, None] = {}

    def run(self) -> TableReport:
        groups: set[str] = set()
        for group, files in self.tree.groups():
            groups.add(group)
            self._compare(group, files)
        self._commit()
        # Days of which no file is left.
        for group in sorted({dir.partition("/")[0] for dir in self.index.paths()} - groups):
            self._note_vanished(self._entries(group))
        # That there is no root at all is no fault: all that the catalog has of it has vanished.
        faults = [fault for fault in self.tree.faults if fault.path or not self.tree.is_gone("")]
        self.report.bad += [BadFile(*fault) for fault in faults]
        self.report.links = list(self.tree.links)
        self.report.vanished = list(self._vanished)
        if self.options.prune and not self.options.dry_run:
            self._prune()
        return self.report

    def _entries(self, group: str) -> list[IndexEntry]:
        """What the catalog has of a first folder; "" is for files without one."""
        if group:
            return self.index.query(folder=f"{group}/")
        return [entry for entry in self.index.get_all() if "/" not in entry.path]

    def _compare(self, group: str, files: list[Found]) -> None:
        """Deal with the files of one first folder. The catalog is asked after the disk was, so a
        file that its writer is registering just now is seen as known."""
        known = {entry.path: entry for entry in self._entries(group)}
        doubtful: list[tuple[Found, IndexEntry | None]] = []
        for file in files:
            entry = known.pop(file.path, None)
            if entry is None or not self._is_settled(file, entry):
                doubtful.append((file, entry))
        self._note_vanished(known.values())
        if any(entry is None for _, entry in doubtful):
            leaving, coming = self._leaving_and_coming()
            staying = [
                (file, entry)
                for file, entry in doubtful
                if entry or not (file.path in leaving or file.path.startswith(coming))
            ]
            self.report.leaving += len(doubtful) - len(staying)
        else:
            staying = doubtful
        self.report.found += len(files)
        self.report.unchanged += len(files) - len(doubtful)
        self._tell(len(files) - len(staying))
        outcomes = self._readers.read(self._source, [file.path for file, _ in staying])
        for (file, entry), outcome in zip(staying, outcomes, strict=True):
            self._take(file, entry, outcome)
            self._tell(1)

    def _is_settled(self, file: Found, entry: IndexEntry) -> bool:
        """Whether there is no reason to read the file again."""
        return (
            entry.size_bytes == file.size_bytes
            and entry.chunk_time >= file.mtime_ns
            and self.options.layer in (None, entry.layer)
            and not self.options.reread
        )

    def _leaving_and_coming(self) -> tuple[set[str], tuple[str, ...]]:
        """Paths that were removed or merged into others, and wait for their file to be deleted; and
        how the paths begin of what workers write and have not registered, or were killed over.
        Either would double rows."""
        plans = self.index.plans()
        leaving = {path for plan in plans if plan.kind == "drop" for path in plan.paths}
        return leaving, tuple(filter(None, map(unregistered, plans)))

    def _take(self, file: Found, entry: IndexEntry | None, outcome: Outcome) -> None:
        """Put what was read into the batch, if it is news."""
        if isinstance(outcome, str):
            if self.tree.is_gone(file.path):  # since we listed it: merged or deleted, all is well
                self.report.found -= 1
            else:
                self.report.bad.append(BadFile(file.path, outcome))
            return
        if entry is not None:
            layer = entry.layer if self.options.layer is None else self.options.layer
            outcome = msgspec.structs.replace(outcome, layer=layer, writer_id=entry.writer_id)
            if self._says_the_same(entry, outcome):
                self.report.unchanged += 1
                return
        self._batch.append(_Addition(outcome, entry is None))
        if len(self._batch) >= self.options.batch_size:
            self._commit()

    def _says_the_same(self, entry: IndexEntry, read: IndexEntry) -> bool:
        """GigAPI notes no statistics; that they are missing is no reason to touch its entries."""
        stats = self.options.reread and entry.min_data
        return (
            entry.size_bytes == read.size_bytes
            and entry.row_count == read.row_count
            and entry.min_time == read.min_time
            and entry.max_time == read.max_time
            and entry.layer == read.layer
            and (not stats or (entry.min_data, entry.max_data) == (read.min_data, read.max_data))
        )

    def _commit(self) -> None:
        batch, self._batch = self._batch, []
        self._add(batch)

    def _add(self, batch: Sequence[_Addition]) -> None:
        """Commit `batch`. If the store refuses an entry, halve it until that one stands alone."""
        if not batch:
            return
        try:
            if not self.options.dry_run:
                self.index.batch([addition.entry for addition in batch])
        except InvalidEntry as fault:
            if len(batch) == 1:
                path = batch[0].entry.path
                reason = str(fault).removeprefix(f"entry {path!r}: ")
                self.report.bad.append(BadFile(path, reason))
                return
            middle = len(batch) // 2
            self._add(batch[:middle])
            self._add(batch[middle:])
        else:
            new = sum(addition.is_new for addition in batch)
            self.report.registered += new
            self.report.updated += len(batch) - new

    def _note_vanished(self, entries: Iterable[IndexEntry]) -> None:
        for entry in entries:
            if entry.layer == self._source.layer and self.tree.is_gone(entry.path):
                self._vanished[entry.path] = None

    def _prune(self) -> None:
        """Remove the entries of vanished files, unless it looks as if the storage were not there:
        the removals would delete the files once it is back."""
        paths = [path for path in self._vanished if self.tree.is_gone(path)]
        if paths and self.report.found == 0:
            self.report.prune_refused = True
            return
        for start in range(0, len(paths), self.options.batch_size):
            part = paths[start : start + self.options.batch_size]
            self.index.batch((), part)
            self.report.pruned += len(part)
