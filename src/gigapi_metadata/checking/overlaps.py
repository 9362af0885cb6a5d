"""Which of the files that lie in one folder count, when there is no catalog to say so. Pure.

While a file waits to be deleted, its rows lie somewhere else as well: in the file that it was
merged into, or under the name that it was moved to. What can be told from the files alone:

- A merged file of ours notes what it was made of (lineage.py): those files don't count.
- Results of several attempts at one merge share the first 24 characters of their names: one counts.
- A file that was only moved, or promoted to the next level, has a twin with the same bytes in
  another layer or at another level: the one in the later layer, of the higher level, counts.

A file that GigAPI has merged notes nothing. That older files of the level below lie within its
times may mean that they are its sources: that can only be pointed out.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from gigapi_metadata import lineage
from gigapi_metadata.checking.files import stem_of
from gigapi_metadata.model import IndexEntry
from gigapi_metadata.names import dir_of, iteration_of
from gigapi_metadata.parquet_footer import FooterError, parse_footer
from gigapi_metadata.worker.jobs import STEM_CHARS


class Candidate(NamedTuple):
    """A file, and what its footer says. `rank` orders the layers, hottest first."""

    entry: IndexEntry
    rank: int
    merged_from: frozenset[str]
    digest: bytes

    @property
    def level(self) -> int:
        """The merge level in its name."""
        return iteration_of(self.entry.path)


class Decision(NamedTuple):
    """`left_out`: path and layer -> why. `doubtful`: sentences about what can't be told."""

    taken: list[IndexEntry]
    left_out: dict[tuple[str, str], str]
    doubtful: list[str]


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


def decide(candidates: Sequence[Candidate]) -> Decision:
    """Which of a day's files, of all layers, count."""
    left: dict[tuple[str, str], str] = {}
    by_dir: dict[str, list[Candidate]] = {}
    for each in candidates:
        by_dir.setdefault(dir_of(each.entry.path), []).append(each)
    doubtful: list[str] = []
    for group in by_dir.values():
        for rule in (_sources, _attempts, _twins):
            counted = [each for each in group if _key(each) not in left]
            left |= rule(counted)
        doubtful += _overlaps([each for each in group if _key(each) not in left])
    taken = [each.entry for each in candidates if _key(each) not in left]
    return Decision(taken, left, doubtful)


def _key(each: Candidate) -> tuple[str, str]:
    return each.entry.path, each.entry.layer


def _sources(group: Sequence[Candidate]) -> dict[tuple[str, str], str]:
    made: dict[str, IndexEntry] = {}
    for each in sorted(group, key=lambda each: each.level):
        made |= dict.fromkeys(each.merged_from, each.entry)
    found = {}
    for each in group:
        into = made.get(lineage.mark(each.entry.path))
        # One that is younger was written anew under the name of one that was merged.
        if into is not None and each.entry.chunk_time <= into.chunk_time:
            found[_key(each)] = f"merged into {into.path}"
    return found


def _attempts(group: Sequence[Candidate]) -> dict[tuple[str, str], str]:
    stems: dict[tuple[str, int, str], list[Candidate]] = {}
    for each in group:
        name = each.entry.path.rpartition("/")[2].partition(".")[0]
        if each.merged_from and len(name) > STEM_CHARS:
            key = (stem_of(each.entry.path), each.level, each.entry.layer)
            stems.setdefault(key, []).append(each)
    found = {}
    for same in stems.values():
        best = max(same, key=lambda each: (each.entry.chunk_time, each.entry.path))
        for each in same:
            if each is not best:
                found[_key(each)] = f"another attempt at the merge that made {best.entry.path}"
    return found


def _twins(group: Sequence[Candidate]) -> dict[tuple[str, str], str]:
    same: dict[tuple[bytes, int], list[Candidate]] = {}
    for each in group:
        same.setdefault((each.digest, each.entry.size_bytes), []).append(each)
    found = {}
    for twins in same.values():
        best = max(twins, key=lambda each: (each.rank, each.level, each.entry.path))
        for each in twins:
            if (each.rank, each.level) != (best.rank, best.level):
                found[_key(each)] = f"the same file as {best.entry.path} in {best.entry.layer!r}"
    return found


def _overlaps(group: Sequence[Candidate]) -> list[str]:
    sentences = []
    for merged in group:
        if merged.level < 2 or merged.merged_from:
            continue
        entry = merged.entry
        inside = [
            each
            for each in group
            if each.level == merged.level - 1
            and each.entry.chunk_time <= entry.chunk_time
            and entry.min_time <= each.entry.min_time
            and each.entry.max_time <= entry.max_time
        ]
        if inside:
            first = inside[0].entry.path
            sentences.append(
                f"{entry.path} does not say what it was merged from; {len(inside)} older files of "
                f"the level below lie within its times, such as {first}: should they be its "
                "sources, their rows count twice now"
            )
    return sentences
