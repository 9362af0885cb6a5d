"""SQLite: commits, batches, queries and leases beside the bare statements they can't do without.

The floor is a table of (path, JSON document) in WAL with synchronous=NORMAL, in a file of its own
on the same disk, in one statement each; our side plans merges, and leaves every check on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from benchmarks.lake import FILES_AN_HOUR, HOUR_NS, START_NS, entries
from benchmarks.rows import Row, compare
from gigapi_metadata import IndexEntry, Layer, SQLiteIndex

SIZES = (17_280, 200_000, 1_000_000)
BATCH = 17_280
LISTED = 200_000
CHUNK = 5_000
MERGES = [[10, 100 << 20, 1]]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(IndexEntry).decode
_INSERT = "INSERT INTO files (path, document) VALUES (?, ?)"
_GET = "SELECT document FROM files WHERE path = ?"


class Bare:
    """The floor: what someone writes who needs nothing but the documents by their paths."""

    def __init__(self, file: Path) -> None:
        self.db = sqlite3.connect(file, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute("CREATE TABLE files (path TEXT PRIMARY KEY, document TEXT NOT NULL)")

    def add(self, entry: IndexEntry) -> None:
        """Commit one file."""
        self.db.execute(_INSERT, (entry.path, _encode(entry).decode()))

    def add_all(self, batch: Sequence[IndexEntry]) -> None:
        """Commit many in one transaction."""
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany(_INSERT, [(entry.path, _encode(entry).decode()) for entry in batch])
        self.db.execute("COMMIT")

    def get(self, path: str) -> IndexEntry:
        """Read one file."""
        return _decode(self.db.execute(_GET, (path,)).fetchone()[0])

    def get_each(self, paths: Sequence[str]) -> list[IndexEntry]:
        """Read files with a statement each."""
        execute = self.db.execute
        return [_decode(execute(_GET, (path,)).fetchone()[0]) for path in paths]

    def get_in(self, paths: Sequence[str]) -> list[IndexEntry]:
        """Read files with one statement."""
        marks = ",".join("?" * len(paths))
        found = self.db.execute(f"SELECT document FROM files WHERE path IN ({marks})", paths)
        return [_decode(document) for (document,) in found]

    def all(self) -> list[IndexEntry]:
        """Read everything."""
        return [_decode(row[0]) for row in self.db.execute("SELECT document FROM files")]


def _row(
    work: str, size: int, floor: Any, ours: Any, at_most: float | None = None, **how: Any
) -> Row:
    return compare("SQLite", work, size, floor, ours, at_most=at_most, **how)


def _index(file: Path, **options: Any) -> SQLiteIndex:
    options.setdefault("merge_configurations", MERGES)
    return SQLiteIndex(file, "bench", "t", **options)


def single_commits(folder: Path) -> Row:
    """One client that registers file after file."""
    bare, ours = (iter(list(entries(10 * 2001, seed=seed))) for seed in (1, 2))
    floor = Bare(folder / "bare.db")
    with _index(folder / "ours.db") as index:
        return _row(
            "single-file commit", 1,
            lambda: floor.add(next(bare)), lambda: index.batch([next(ours)]),
            2.0, runs=9, repeat=2000,
        )  # fmt: skip


def batches(folder: Path) -> Row:
    """One batch of new entries into an empty catalog."""
    new = list(entries(BATCH))
    numbers = count()
    return _row(
        "batch of new entries", BATCH,
        lambda: Bare(folder / f"bare{next(numbers)}.db").add_all(new),
        lambda: _index(folder / f"ours{next(numbers)}.db").batch(new),
    )  # fmt: skip


def reads(folder: Path, sizes: Sequence[int]) -> Iterator[Row]:
    """One hour, 240 files, out of ever more; one file; and all of them."""
    floor = Bare(folder / "bare.db")
    with _index(folder / "ours.db") as index:
        source, there = entries(max(sizes)), 0
        for size in sizes:
            while there < size:
                batch = list(islice(source, min(CHUNK, size - there)))
                floor.add_all(batch)
                index.batch(batch)
                there += len(batch)
            after = START_NS + size // FILES_AN_HOUR // 2 * HOUR_NS
            yield from _query(floor, index, "query of 1 h", size, after)
            path = index.query(after=after, before=after)[0].path
            yield _row(
                "get", size, lambda path=path: floor.get(path), lambda path=path: index.get(path),
                repeat=2000,
            )  # fmt: skip
            if size == min(sizes):
                with _index(folder / "small.db") as small:
                    small.import_entries(index.get_all())
            elif size == max(sizes):
                yield _flatness(folder / "small.db", min(sizes), index, size)
            if size == LISTED:
                yield _row("list everything", size, floor.all, index.get_all)


def _flatness(file: Path, few: int, index: SQLiteIndex, many: int) -> Row:
    """The same hour out of the smallest catalog and out of the largest, in turn."""
    after = START_NS + few // FILES_AN_HOUR // 2 * HOUR_NS
    hour = {"after": after, "before": after + HOUR_NS - 1}
    with _index(file) as small:
        assert small.query(**hour) == index.query(**hour)
        return _row(
            f"query of 1 h, the floor being {few:,}", many,
            lambda: small.query(**hour), lambda: index.query(**hour), 1.3, repeat=20,
        )  # fmt: skip


def dense_query(folder: Path) -> Iterator[Row]:
    """An hour that lies across two folders, out of a day with a file a second."""
    floor = Bare(folder / "bare.db")
    with _index(folder / "ours.db") as index:
        new = list(entries(86_400, every_s=1))
        for first in range(0, len(new), CHUNK):
            floor.add_all(new[first : first + CHUNK])
            index.batch(new[first : first + CHUNK])
        after = START_NS + 12 * HOUR_NS + HOUR_NS // 3
        yield from _query(floor, index, "query of 1 h, across folders", len(new), after)


def _query(floor: Bare, index: SQLiteIndex, work: str, size: int, after: int) -> Iterator[Row]:
    before = after + HOUR_NS - 1
    wanted = [entry.path for entry in index.query(after=after, before=before)]
    repeat = max(1, 5000 // len(wanted))
    for way, read in (("one by one", floor.get_each), ("by one IN", floor.get_in)):
        yield _row(
            f"{work}, {len(wanted):,} files {way}", size, lambda read=read: read(wanted),
            lambda: index.query(after=after, before=before), 2.0, repeat=repeat,
        )  # fmt: skip


def idle_leases(folder: Path) -> Iterator[Row]:
    """Asking for a move when none is due; the floor waits for the write lock and lets it go."""
    layers = [Layer("file:///hot", "hot", ttl_sec=10**9), Layer("file:///cold", "cold")]
    for waiting in (100, 200_000):
        file = folder / f"moves{waiting}.db"
        with _index(file, layers=layers, merge_configurations=[]) as index:
            source = (msgspec.structs.replace(each, layer="hot") for each in entries(waiting))
            while batch := list(islice(source, CHUNK)):
                index.batch(batch)
            db = sqlite3.connect(file, isolation_level=None)

            def floor(db: sqlite3.Connection = db) -> None:
                db.execute("BEGIN IMMEDIATE")
                db.execute("COMMIT")

            yield _row(
                "lease of a move, none due", waiting, floor, lambda: index.get_move_plan("", "hot"),
                repeat=500,
            )  # fmt: skip
            db.close()


def measure(sizes: Sequence[int] = SIZES) -> list[Row]:
    """Every row, in a folder that is deleted afterwards."""
    rows: list[Row] = []
    for work in (single_commits, batches, dense_query, idle_leases):
        with TemporaryDirectory() as folder:
            found = work(Path(folder))
            rows += [found] if isinstance(found, dict) else list(found)
    with TemporaryDirectory() as folder:
        rows += reads(Path(folder), sizes)
    return rows
