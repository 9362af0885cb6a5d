"""Which of the files that lie in one folder count, when there is no catalog to say so. Pure.

While a file waits to be deleted, its rows lie somewhere else as well: in the file that it was
merged into, or under the name that it was moved to. What can be told from the files alone:

- A file that was only moved, or promoted to the next level, has a twin with the same bytes in
  another layer or at another level: the one in the later layer, of the higher level, counts.
- A merged file of ours notes what it was made of (lineage.py). Anybody can write such a note, so it
  is believed only where the files bear it out: see `_Notes`.
- Results of several attempts at one merge share the first 24 characters of their names, their
  notes, rows and times: one counts.

What the files leave open counts, and is pointed out: rows that count twice can be taken out again.
A file that GigAPI has merged notes nothing. That files of the level below lie within its times may
mean that they are its sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from gigapi_metadata import lineage
from gigapi_metadata.checking.files import stem_of
from gigapi_metadata.model import IndexEntry
from gigapi_metadata.names import dir_of, iteration_of
from gigapi_metadata.parquet_footer import FooterError, parse_footer
from gigapi_metadata.planning import ATTEMPT_STEM_CHARS

Key = tuple[str, str]
"""A file: its path and its layer."""


class Candidate(NamedTuple):
    """A file, and what its footer says. `rank` orders the layers, hottest first. `digest` is of the
    footer, or of the whole file if there are others like it (`alike`)."""

    entry: IndexEntry
    rank: int
    merged_from: frozenset[str]
    digest: bytes

    @property
    def level(self) -> int:
        """The merge level in its name."""
        return iteration_of(self.entry.path)

    @property
    def key(self) -> Key:
        """Which file it is."""
        return self.entry.path, self.entry.layer


class Left(NamedTuple):
    """Why a file does not count, and which one has its rows."""

    why: str
    counting: Key


class Decision(NamedTuple):
    """`doubtful`: sentences about what can't be told. `unclear`: that of each file that a note
    leaves open."""

    taken: list[IndexEntry]
    left_out: dict[Key, Left]
    doubtful: list[str]
    unclear: dict[Key, str]


def candidate(entry: IndexEntry, rank: int, footer: bytes) -> Candidate:
    """A file as it is compared with others; `footer` is its footer's bytes."""
    return Candidate(entry, rank, marks_of(footer), sha256(footer).digest())


def marks_of(footer: bytes) -> frozenset[str]:
    """What a file notes in its footer that it was merged from."""
    try:
        key_values = parse_footer(footer).key_values
    except FooterError:
        return frozenset()
    return lineage.marks_in(key_values.get(lineage.KEY, b""))


def alike(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those that may be the same file as another one, by size and footer. Footers say little of
    what is between: whoever decides has to replace their `digest` by one of all bytes."""
    groups = _same(candidates)
    return [
        each
        for group in groups
        if len({(one.rank, one.level) for one in group}) > 1
        for each in group
    ]


def decide(candidates: Sequence[Candidate]) -> Decision:
    """Which of a day's files, of all layers, count. Equal digests mean equal files."""
    left: dict[Key, Left] = {}
    by_dir: dict[str, list[Candidate]] = {}
    for each in candidates:
        by_dir.setdefault(dir_of(each.entry.path), []).append(each)
    doubtful: list[str] = []
    unclear: dict[Key, str] = {}
    for group in by_dir.values():
        twins = _twins(group)
        for key, best in twins.items():
            why = f"the same file as {best.entry.path} in {best.entry.layer!r}"
            left[key] = Left(why, best.key)
        notes = _Notes(group, twins)
        left |= notes.left
        more, doubts = _attempts(group, left)
        left |= more
        counted = [each for each in group if each.key not in left]
        doubtful += [*notes.doubtful, *doubts, *_overlaps(counted)]
        unclear |= notes.unclear
    taken = [each.entry for each in candidates if each.key not in left]
    return Decision(taken, left, doubtful, unclear)


def is_within(entry: IndexEntry, merged: IndexEntry) -> bool:
    """Whether the rows of `entry` may be among those of `merged`, by level, number and times."""
    return (
        iteration_of(entry.path) < iteration_of(merged.path)
        and entry.row_count <= merged.row_count
        and merged.min_time <= entry.min_time
        and entry.max_time <= merged.max_time
    )


def _same(candidates: Iterable[Candidate]) -> list[list[Candidate]]:
    groups: dict[tuple[str, bytes, int], list[Candidate]] = {}
    for each in candidates:
        key = (dir_of(each.entry.path), each.digest, each.entry.size_bytes)
        groups.setdefault(key, []).append(each)
    return list(groups.values())


def _twins(group: Sequence[Candidate]) -> dict[Key, Candidate]:
    """Files that have a twin which counts in their place -> that one."""
    found = {}
    for twins in _same(group):
        best = max(twins, key=lambda each: (each.rank, each.level, each.entry.path))
        for each in twins:
            if (each.rank, each.level) != (best.rank, best.level):
                found[each.key] = best
    return found


class _Notes:
    """What notes say, as far as the files bear it out.

    Every file that is named and there must be of a lower level, of the same layer or an earlier
    one, and within the times; together they must have as many rows as the merged file. Where some
    are gone, or may be others of that name because they are younger, at most as many. Files that
    went into one which is named as well are counted once.
    """

    def __init__(self, group: Sequence[Candidate], twins: dict[Key, Candidate]) -> None:
        self.left: dict[Key, Left] = {}
        self.doubtful: list[str] = []
        self.unclear: dict[Key, str] = {}
        self._twins = twins
        self._held: dict[Key, set[Key]] = {}
        self._marked: dict[str, list[Candidate]] = {}
        merged = sorted((each for each in group if each.merged_from), key=lambda each: each.level)
        if merged:
            for each in group:
                self._marked.setdefault(lineage.mark(each.entry.path), []).append(each)
        for each in merged:
            if each.key not in twins:
                self._believe(each)

    def _believe(self, merged: Candidate) -> None:
        there = [mark for mark in merged.merged_from if mark in self._marked]
        named = [each for mark in sorted(there) for each in self._marked[mark]]
        if not named:
            return
        complete = len(there) == len(merged.merged_from)
        objection = self._objection(merged, named, complete)
        older = [each for each in named if not _is_younger(each, merged)]
        if len(older) < len(named) and self._rows(named) != merged.entry.row_count:
            objection = self._objection(merged, older, complete=False)
            if not objection:
                younger = [each for each in named if _is_younger(each, merged)]
                self._doubt(merged, younger, "changed since, and the numbers of rows do not tell")
                named = older
        if objection:
            self._doubt(merged, named, objection)
            return
        self._held[merged.key] = {self._counting(each).key for each in named}
        for each in map(self._counting, named):
            late = ", though changed after it" if _is_younger(each, merged) else ""
            self.left[each.key] = Left(f"merged into {merged.entry.path}{late}", merged.key)

    def _objection(self, merged: Candidate, named: Sequence[Candidate], complete: bool) -> str:
        """What speaks against `merged` being made of `named`; "" if nothing does."""
        for each in named:
            if each.rank > merged.rank or self._counting(each) is merged:
                return f"{each.entry.path} lies in a later layer, or is that file itself"
            if not is_within(each.entry, merged.entry):
                return f"{each.entry.path} does not fit by its level, rows or times"
        rows = self._rows(named)
        if rows > merged.entry.row_count or (complete and rows != merged.entry.row_count):
            return f"they have {rows:,} rows and it has {merged.entry.row_count:,}"
        return ""

    def _rows(self, named: Sequence[Candidate]) -> int:
        files = {one.key: one for one in map(self._counting, named)}
        inner = {key for file in files for key in self._held.get(file, ())}
        return sum(one.entry.row_count for key, one in files.items() if key not in inner)

    def _counting(self, each: Candidate) -> Candidate:
        """The file itself, or the twin that counts in its place."""
        return self._twins.get(each.key, each)

    def _doubt(self, merged: Candidate, named: Sequence[Candidate], why: str) -> None:
        first = named[0].entry.path
        which = first if len(named) == 1 else f"{first} and {len(named) - 1} more"
        text = (
            f"{merged.entry.path} says that it was merged from {which}, but that can't be told: "
            f"{why}. All count; should it be so, their rows count twice now"
        )
        self.doubtful.append(text)
        self.unclear |= dict.fromkeys((merged.key, *(each.key for each in named)), text)


def _is_younger(each: Candidate, merged: Candidate) -> bool:
    return each.entry.chunk_time > merged.entry.chunk_time


def _attempts(
    group: Sequence[Candidate], left: dict[Key, Left]
) -> tuple[dict[Key, Left], list[str]]:
    """Of attempts at one merge the newest counts; none if one of them counts elsewhere already."""
    stems: dict[tuple[str, int, str], dict[object, list[Candidate]]] = {}
    for each in group:
        entry = each.entry
        name = entry.path.rpartition("/")[2].partition(".")[0]
        if each.merged_from and len(name) > ATTEMPT_STEM_CHARS:
            alike = (each.merged_from, entry.row_count, entry.min_time, entry.max_time)
            stem = stems.setdefault((stem_of(entry.path), each.level, entry.layer), {})
            stem.setdefault(alike, []).append(each)
    found: dict[Key, Left] = {}
    unclear = []
    for sorts in stems.values():
        for same in sorts.values():
            best = max(
                same, key=lambda each: (each.key in left, each.entry.chunk_time, each.entry.path)
            )
            for each in same:
                if each is not best and each.key not in left:
                    why = f"another attempt at the merge that made {best.entry.path}"
                    found[each.key] = Left(why, best.key)
        counted = [
            each.entry.path
            for same in sorts.values()
            for each in same
            if each.key not in left and each.key not in found
        ]
        if len(counted) > 1:
            unclear.append(
                f"{counted[0]} and {counted[1]} are named as attempts at one merge, but differ in "
                "rows, times or sources. Both count; should they be, rows count twice now"
            )
    return found, unclear


def _overlaps(group: Sequence[Candidate]) -> list[str]:
    sentences = []
    for merged in group:
        if merged.level < 2 or merged.merged_from:
            continue
        entry = merged.entry
        inside = [
            each
            for each in group
            if each.level == merged.level - 1 and is_within(each.entry, entry)
        ]
        if inside:
            first = inside[0].entry.path
            sentences.append(
                f"{entry.path} does not say what it was merged from; {len(inside)} files of "
                f"the level below lie within its times, such as {first}: should they be its "
                "sources, their rows count twice now"
            )
    return sentences
