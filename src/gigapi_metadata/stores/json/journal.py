"""Changing several files in one step, one process at a time.

New versions are written and flushed under `.gigapi/new` first. A change to one file, or to one
folder where the order is enough, is then renamed into place. Any other is listed in the table's
journal: the moment when that is renamed into place, the change has happened. Then the files are,
and the journal is closed. Whoever takes the lock next and finds it open carries it to its end;
names under `new` are never used twice, so that doing so again has no effect.

Readers take no lock. The journal counts the changes, so a reader that finds the same count before
and after has seen none of them by half. While it is open, they read what it lists where that still
is: a reader never waits for a writer, and needs no right to write.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from gigapi_metadata.errors import CorruptState, InvalidConfiguration, OutcomeUnknown
from gigapi_metadata.stores.json import files
from gigapi_metadata.stores.json.partition import Fault, damaged
from gigapi_metadata.stores.json.places import (
    METADATA,
    OWN,
    PLANS,
    Place,
    TablePlaces,
    check_inside,
)

_SOURCE = re.compile(re.escape(OWN) + "/new/[0-9a-f]{32}")


class Write(NamedTuple):
    """A new version of a file beside the data files of `dir`."""

    place: Place
    dir: str
    name: str
    content: bytes

    @property
    def target(self) -> str:
        return self.place.data(self.dir, self.name)


class Pending(msgspec.Struct, frozen=True, array_like=True):
    """A renaming that is due. Both names are relative to the table's folder in `layer`."""

    layer: str
    source: str
    target: str

    def is_ours(self) -> bool:
        """Whether the names are such as `commit` makes: neither leads out of the table's folder."""
        parts = self.target.split("/")
        return (
            _SOURCE.fullmatch(self.source) is not None
            and parts[0] == "data"
            and parts[-1] in (METADATA, PLANS)
            and {"", ".", ".."}.isdisjoint(parts)
        )


class Journal(msgspec.Struct, frozen=True):
    """`sequence` counts the changes; `pending` is empty once the last one is complete."""

    sequence: int = 0
    pending: tuple[Pending, ...] = ()

    def moved(self, places: TablePlaces) -> dict[str, str]:
        """Target -> source of what is due, as full paths.

        Raises:
            CorruptState: a name is none that `commit` makes: somebody else has written it.
            StoreError: a symbolic link leads out of the layer.
        """
        found: dict[str, str] = {}
        folders: set[tuple[str, str]] = set()
        for each in self.pending:
            place = places.place(each.layer)
            if place is None:
                raise InvalidConfiguration(
                    f"{places.journal} holds a change to layer {each.layer!r}, which is not "
                    "among the layers given; open the table with all of them"
                )
            if not each.is_ours():
                raise CorruptState(
                    f"{places.journal} holds a change of {each.target!r} by {each.source!r}, which "
                    "is none of ours; it is not made"
                )
            source, target = (os.path.join(place.folder, p) for p in (each.source, each.target))
            found[target] = source
            folders |= {(place.base, os.path.dirname(path)) for path in (source, target)}
        for base, folder in folders:
            check_inside(base, folder)
        return found


_decode = msgspec.json.Decoder(Journal).decode
_encode = msgspec.json.Encoder().encode


def read(places: TablePlaces) -> Journal:
    """The table's journal.

    Raises:
        CorruptState: it can't be read.
    """
    path = places.journal
    found = files.read(path)
    if found is None:
        return Journal()
    try:
        return _decode(found[1])
    except Fault as error:
        raise damaged(path, error) from error


def recover(places: TablePlaces) -> Journal:
    """Carry an open journal to its end, and clear away what a dead process left. Under the lock."""
    journal = read(places)
    if journal.pending:
        journal = _finish(places, journal)
    for folder in {places.new, *(place.new for place in places.places)}:
        with suppress(FileNotFoundError, NotADirectoryError):
            for name in os.listdir(folder):
                files.remove(os.path.join(folder, name))
    return journal


def commit(
    places: TablePlaces, journal: Journal, writes: Sequence[Write], *, in_order: bool
) -> list[files.Version]:
    """Put new versions into place, all or none. Under the lock.

    in_order: it is enough that they arrive one after the other.

    Raises:
        OSError: nothing has changed.
        OutcomeUnknown: the change is there, or will be as soon as the table is written to again.
    """
    sources: list[str] = []
    versions: list[files.Version] = []
    try:
        for write in writes:
            files.make_folder(os.path.dirname(write.target))
            sources.append(_new_name(write.place.new))
            versions.append(files.write_flushed(sources[-1], write.content))
        if len(writes) == 1 or in_order:
            _rename_in_order(writes, sources)
            return versions
        pending = tuple(
            Pending(
                write.place.layer,
                os.path.relpath(source, write.place.folder),
                os.path.relpath(write.target, write.place.folder),
            )
            for write, source in zip(writes, sources, strict=True)
        )
        opened = Journal(journal.sequence + 1, pending)
        sources.append(_new_name(places.new))
        files.write_flushed(sources[-1], _encode(opened))
        # What the journal names has to be found after a power cut, too.
        for folder in dict.fromkeys(map(os.path.dirname, sources)):
            files.flush_folder(folder)
    except OSError:
        for source in sources:
            with suppress(OSError):
                files.remove(source)
        raise
    # From here on nothing is cleared away: the journal may be there.
    files.rename(sources[-1], places.journal)
    try:
        files.flush_folder(places.home)
        _finish(places, opened)
    except OSError as error:
        raise _unknown(error) from error
    return versions


def has_made(places: TablePlaces, writes: Sequence[Write]) -> bool:
    """Whether a commit that was broken off has been made; it is carried to its end. Under the lock.

    All of it is there once the first file is: the others follow from the journal, or are plans,
    which are made anew for files without one.
    """
    recover(places)
    found = files.read(writes[0].target)
    return found is not None and found[1] == writes[0].content


def _rename_in_order(writes: Sequence[Write], sources: Sequence[str]) -> None:
    files.rename(sources[0], writes[0].target)
    try:
        for source, write in zip(sources[1:], writes[1:], strict=True):
            files.rename(source, write.target)
        for folder in dict.fromkeys(os.path.dirname(write.target) for write in writes):
            files.flush_folder(folder)
    except OSError as error:
        raise _unknown(error) from error


def _finish(places: TablePlaces, journal: Journal) -> Journal:
    moved = journal.moved(places)
    for target, source in moved.items():
        with suppress(FileNotFoundError):
            files.rename(source, target)
    for folder in dict.fromkeys(map(os.path.dirname, moved)):
        files.flush_folder(folder)
    closed = Journal(journal.sequence)
    source = _new_name(places.new)
    files.write_flushed(source, _encode(closed))
    files.rename(source, places.journal)
    return closed


def _unknown(error: OSError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{error.filename}: {error.strerror}; the change was under way and will be completed when "
        "the table is next written to"
    )


def _new_name(folder: str) -> str:
    files.make_folder(folder)
    return os.path.join(folder, uuid.uuid4().hex)
