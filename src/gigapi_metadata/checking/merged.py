"""Files without an entry that seem to have had one, by the notes in merged files' footers.

The sources of a merge leave the catalog when its result enters it. So a result was registered if
its sources are not; unless it went into another merge, or an attempt left it and they have been
moved or removed since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from gigapi_metadata.checking import overlaps
from gigapi_metadata.checking.footers import Footers
from gigapi_metadata.lineage import mark
from gigapi_metadata.names import dir_of, iteration_of
from gigapi_metadata.storage import FileInfo, LocalStorage, S3Storage


def were_registered(
    suspects: Iterable[str],
    registered: Collection[str],
    storage: LocalStorage | S3Storage,
    layer: str,
    table: tuple[str, str],
    footers: Footers,
) -> set[str]:
    """Those of `suspects`, paths in `layer`, that seem to have had an entry. `registered`: the
    paths of the layer's entries. Reads the merged files of the suspects' folders.

    Raises:
        StorageError: a folder can't be listed.
    """
    merged = {path for path in suspects if iteration_of(path) > 1}
    if not merged:
        return set()
    dirs = {dir_of(path) for path in merged}
    named = {path for path in registered if dir_of(path) in dirs}
    files = [
        file
        for dir in sorted(dirs)
        for file in storage.list(dir)
        if file.path in merged or (file.path in named and iteration_of(file.path) > 1)
    ]
    marks = _marks(files, storage, layer, table, footers)
    living = {mark(path) for path in named}
    gone_on = {each for path in named for each in marks.get(path, ())}
    return {
        path
        for path in merged
        if marks.get(path) and living.isdisjoint(marks[path]) and mark(path) not in gone_on
    }


def _marks(
    files: list[FileInfo],
    storage: LocalStorage | S3Storage,
    layer: str,
    table: tuple[str, str],
    footers: Footers,
) -> Mapping[str, frozenset[str]]:
    read = footers.read(storage, table, layer, files, raw=True)
    return {
        file.path: overlaps.marks_of(footer) for file, (_, footer) in zip(files, read, strict=True)
    }
