"""Entries of a whole table: adding, removing and finding them, folder by folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec

from gigapi_metadata.errors import CorruptState, StoreError
from gigapi_metadata.model import IndexEntry
from gigapi_metadata.names import dir_of, iteration_of
from gigapi_metadata.planning import Rules
from gigapi_metadata.stores.base import Selection
from gigapi_metadata.stores.json import partition, queues
from gigapi_metadata.stores.json.partition import File, Partition
from gigapi_metadata.stores.json.places import Place
from gigapi_metadata.stores.json.queues import Queued
from gigapi_metadata.stores.json.session import Session


def add(session: Session, entries: Sequence[IndexEntry], rules: Rules, now_s: int) -> None:
    """Add entries, or replace them wherever they are. What is new in its layer is queued as
    `rules` say.

    Raises:
        StoreError: one is listed in the older form.
    """
    start = time.time_ns()
    touched: set[tuple[Place, str]] = set()
    new: dict[tuple[Place, str, str, int], list[tuple[int, IndexEntry]]] = {}
    for number, entry in enumerate(entries):
        dir = dir_of(entry.path)
        place = _place(session, entry.layer)
        _refuse_older(session, dir, entry.path)
        known = session.partition(place, dir).files.get(entry.path)
        is_new = known is None or known.bare.layer != entry.layer
        for other in session.places.places:
            if other is not place and entry.path in session.partition(other, dir).files:
                session.edit(other, dir).files.pop(entry.path)
        edited = session.edit(place, dir)
        if (place, dir) not in touched:
            touched.add((place, dir))
            session.set_plans(place, dir, queues.noted(session.plans(place, dir), edited))
        if is_new:
            group = (place, dir, entry.writer_id, iteration_of(entry.path))
            new.setdefault(group, []).append((start + number, entry))
        edited.put(entry)
    for place, dir in touched:
        last_id = session.edit(place, dir).last_id
        plans = msgspec.structs.replace(session.plans(place, dir), last_id=last_id)
        session.set_plans(place, dir, plans)
    for (place, dir, _, _), files in new.items():
        plans = session.plans(place, dir)
        positions, group_entries = zip(*files, strict=True)
        session.set_plans(place, dir, queues.added(plans, group_entries, positions, rules, now_s))


def remove(
    session: Session, paths: Sequence[str], layer: str | None, drop_due_s: int
) -> str | None:
    """Remove what is there; the first path that is not, or, with `layer`, not in that one.

    Raises:
        StoreError: one is listed in the older form.
    """
    start = time.time_ns()
    drops: dict[tuple[Place, str], list[Queued]] = {}
    missing = None
    for number, path in enumerate(paths):
        dir = dir_of(path)
        found = False
        for place in session.places.places:
            file = session.partition(place, dir).files.get(path)
            if file is not None and layer in (None, file.bare.layer):
                edited = session.edit(place, dir)
                del edited.files[path]
                drop = edited.add_drop(file.bare.writer_id, file.bare.layer, path, drop_due_s)
                drops.setdefault((place, dir), []).append(queues.dropped(drop, start + number))
                found = True
        if not found:
            _refuse_older(session, dir, path)
            missing = missing or path
    for (place, dir), queued in drops.items():
        plans = session.plans(place, dir)
        session.set_plans(place, dir, msgspec.structs.replace(plans, queue=(*plans.queue, *queued)))
    return missing


def find(path: str, session: Session) -> IndexEntry | None:
    """The entry of `path`; in several layers, which GigAPI may leave, that of the coldest."""
    dir = dir_of(path)
    for read in (session.partition, session.older_partition):
        for place in reversed(session.places.places):
            here = read(place, dir)
            if path in here.files:
                return _entry(here, here.files[path])
    return None


def select(selection: Selection, session: Session) -> list[IndexEntry]:
    """Every matching entry, once; in no order."""
    found: list[IndexEntry] = []
    after, before = selection.window
    colder: dict[str, list[Partition]] = {}
    for place in reversed(session.places.places):
        for dir in session.dirs(place, selection.folder):
            here = session.partition(place, dir)
            if not here.files:
                continue
            above = colder.setdefault(dir, [])
            if here.overlaps(after, before):
                found += _matching(selection, here, above)
            above.append(here)
    for place in reversed(session.places.places):
        for dir in session.older_dirs(place, selection.folder):
            here = session.older_partition(place, dir)
            found += _matching(selection, here, colder.setdefault(dir, []))
            colder[dir].append(here)
    return found


def _matching(
    selection: Selection, here: Partition, above: list[Partition]
) -> Iterator[IndexEntry]:
    for path, file in here.files.items():
        if selection.matches(file.bare) and not any(path in other.files for other in above):
            yield _entry(here, file)


def folders(session: Session) -> Iterator[str]:
    """The folders that hold files. A damaged one counts: what it held can't be told."""
    for place in session.places.places:
        for dir in session.dirs(place):
            if holds_files(partial(session.partition, place, dir)):
                yield dir
        for dir in session.older_dirs(place):
            if holds_files(partial(session.older_partition, place, dir)):
                yield dir


def any_folder(session: Session) -> bool:
    """Whether any folder holds files."""
    return next(folders(session), None) is not None


def holds_files(ask: Callable[[], bool | Partition]) -> bool:
    """What `ask` says, or True if it meets damage."""
    try:
        found = ask()
    except CorruptState:
        return True
    return found if isinstance(found, bool) else bool(found.files)


def _entry(here: Partition, file: File) -> IndexEntry:
    try:
        return file.entry
    except partition.Fault as error:
        raise partition.damaged(here.source, error) from error


def _place(session: Session, layer: str) -> Place:
    return session.places.place_for(layer)


def _refuse_older(session: Session, dir: str, path: str) -> None:
    for place in session.places.places:
        if path in session.older_partition(place, dir).files:
            raise StoreError(
                f"{place.older(dir)} lists {path!r} in GigAPI's older form, which is only read; "
                "nothing was written"
            )
