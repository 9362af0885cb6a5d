"""What a catalog of folders holds, as it is stored, and mending it: see stores/repairing.py.

A repair runs under the table's lock and becomes visible as one change. What is put aside lies under
`.gigapi/aside` of the table's folder, under the path that it had; it is flushed before the change.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence

import msgspec

from gigapi_metadata.errors import CorruptState, InvalidName, StoreError
from gigapi_metadata.model import QueuedPlan
from gigapi_metadata.names import dir_of
from gigapi_metadata.planning import MAX_TIME_S, Rules
from gigapi_metadata.stores.base import Steps, TableRef
from gigapi_metadata.stores.json import files, leases, partition, queues
from gigapi_metadata.stores.json.connection import TableRequest
from gigapi_metadata.stores.json.partition import Fault, Partition
from gigapi_metadata.stores.json.places import (
    MAX_DEPTH,
    METADATA,
    PLANS,
    Place,
    Places,
    check_inside,
    refuse_links,
)
from gigapi_metadata.stores.json.queues import NO_PLANS, Queued
from gigapi_metadata.stores.json.session import Session
from gigapi_metadata.stores.repairing import (
    EntryRepair,
    PlanRepair,
    StoredEntry,
    StoredPlan,
    StoreFault,
)

_NO_RULES = Rules((), ())
_WHOLE = f"{METADATA}-"
_ONE = ".entry-"

_encode = msgspec.json.Encoder().encode
_document = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_texts = msgspec.json.Decoder(list[msgspec.Raw] | None).decode


class JSONRepairs:
    """The ability `Repairable` of JSONStore."""

    _places: Places
    _clock: Callable[[], float]

    # Reading

    def now_s(self) -> Steps[int]:
        """See `Repairable.now_s`."""
        yield from ()
        return int(self._clock())

    def places(self, table: TableRef) -> Steps[list[str]]:
        """See `Repairable.places`: every `metadata.json`, but for those in the older form."""

        def work(session: Session) -> list[str]:
            return sorted(
                place.data(dir, METADATA)
                for place in session.places.places
                for dir in session.dirs(place)
                if files.version_of(place.data(dir, METADATA)) is not None
            )

        found: list[str] = yield TableRequest(self._places.table(table), work)
        return found

    def place_of(self, table: TableRef, path: str, layer: str) -> str:
        """See `Repairable.place_of`."""
        places = self._places.table(table)
        return (places.place(layer) or places.places[0]).data(dir_of(path), METADATA)

    def stored(self, table: TableRef, place: str) -> Steps[list[StoredEntry]]:
        """See `Repairable.stored`."""

        def work(session: Session) -> list[StoredEntry]:
            try:
                here = session.partition(*_where(session, place))
            except CorruptState as fault:
                found = files.read(place)
                content = found[1] if found else b""
                return [StoredEntry(place, "", content, None, str(fault))]
            return [_stored(place, path, file) for path, file in here.files.items()]

        entries: list[StoredEntry] = yield TableRequest(self._places.table(table), work)
        return entries

    def stored_plans(self, table: TableRef) -> Steps[list[StoredPlan]]:
        """See `Repairable.stored_plans`. Without those that are only derived from entries."""

        def work(session: Session) -> list[StoredPlan]:
            return [
                plan
                for place in session.places.places
                for dir in sorted(session.dirs(place))
                for plan in _stored_plans(session, place, dir)
            ]

        plans: list[StoredPlan] = yield TableRequest(self._places.table(table), work)
        return plans

    def counts(self, table: TableRef) -> Steps[dict[str, str] | None]:
        """See `Repairable.counts`: a folder's totals are made anew with each write."""
        yield from ()
        return None

    def set_aside(self, table: TableRef) -> Steps[list[str]]:
        """See `Repairable.set_aside`. A whole folder's file is named by the folder, with a `/`."""

        def work(session: Session) -> list[str]:
            return sorted({name for place in session.places.places for name in _names_aside(place)})

        found: list[str] = yield TableRequest(self._places.table(table), work)
        return found

    def index_faults(self, table: TableRef) -> Steps[list[str]]:
        """See `Repairable.index_faults`: there is no index."""
        yield from ()
        return []

    def store_faults(self, table: TableRef) -> Steps[list[StoreFault]]:
        """See `Repairable.store_faults`: the totals of a folder, which GigAPI's engine reads."""

        def work(session: Session) -> list[StoreFault]:
            return [
                StoreFault("wrong-totals", place.data(dir, METADATA), text)
                for place in session.places.places
                for dir in sorted(session.dirs(place))
                for text in _wrong_totals(session, place, dir)
            ]

        found: list[StoreFault] = yield TableRequest(self._places.table(table), work)
        return found

    # Mending

    def mend_faults(self, table: TableRef, faults: Sequence[StoreFault]) -> Steps[list[bool]]:
        """See `Repairable.mend_faults`. One change."""

        def work(session: Session) -> list[bool]:
            done = []
            for fault in faults:
                where = _where(session, fault.place)
                wrong = any(True for _ in _wrong_totals(session, *where))
                if wrong:
                    session.edit(*where)  # written again, its totals are right
                done.append(wrong)
            return done

        done: list[bool] = yield TableRequest(self._places.table(table), work, writes=True)
        return done

    def mend_entries(self, table: TableRef, repairs: Sequence[EntryRepair]) -> Steps[list[bool]]:
        """See `Repairable.mend_entries`. One change."""

        def work(session: Session) -> list[bool]:
            return [_mend_entry(session, repair) for repair in repairs]

        done: list[bool] = yield TableRequest(self._places.table(table), work, writes=True)
        return done

    def mend_plans(self, table: TableRef, repairs: Sequence[PlanRepair]) -> Steps[list[bool]]:
        """See `Repairable.mend_plans`. One change."""

        def work(session: Session) -> list[bool]:
            return [_mend_plan(session, repair) for repair in repairs]

        done: list[bool] = yield TableRequest(self._places.table(table), work, writes=True)
        return done

    def recount(self, table: TableRef, places: Sequence[str]) -> Steps[None]:
        """See `Repairable.recount`: nothing to do."""
        yield from ()

    def reindex(self, table: TableRef) -> Steps[None]:
        """See `Repairable.reindex`: nothing to do."""
        yield from ()


def _where(session: Session, path: str) -> tuple[Place, str]:
    """The place and dir of a file beside data files."""
    for place in session.places.places:
        head = os.path.join(place.folder, "data", "")
        if path.startswith(head):
            return place, os.path.dirname(path[len(head) :])
    raise StoreError(f"{path} lies in none of the table's layers")


def _wrong_totals(session: Session, place: Place, dir: str) -> Iterator[str]:
    """Which totals of a `metadata.json` are not those of its files, if any: one sentence."""
    try:
        here = session.partition(place, dir)
    except CorruptState:
        return  # what is wrong is said of its entries
    right = here.totals()
    if not here.files:
        right = {name: right[name] for name in ("parquet_size_bytes", "row_count")}
    wrong = [
        f"{name} is {_shown(here.said.get(name))} and should be {right[name]}"
        for name in right
        if not _is_number(here.said.get(name), right[name])
    ]
    if wrong and (here.files or here.said):
        yield f"{place.data(dir, METADATA)}: {'; '.join(wrong)}"


def _shown(text: msgspec.Raw | None) -> str:
    return "missing" if text is None else bytes(text)[:40].decode(errors="replace")


def _is_number(text: msgspec.Raw | None, right: int) -> bool:
    try:
        return text is not None and msgspec.json.decode(text) == right
    except Fault:
        return False


def _stored(place: str, path: str, file: partition.File) -> StoredEntry:
    try:
        return StoredEntry(place, path, bytes(file.text), file.entry)
    except Fault as fault:
        shown = f"{place}: the statistics of {path!r} can't be read: {fault}"
        return StoredEntry(place, path, bytes(file.text), None, shown)


def _stored_plans(session: Session, place: Place, dir: str) -> Iterator[StoredPlan]:
    path = place.data(dir, PLANS)
    try:
        plans = session.plans(place, dir)
    except CorruptState as fault:
        found = files.read(path)
        yield StoredPlan(path, found[1] if found else b"", None, False, fault=str(fault))
        return
    try:
        here = session.partition(place, dir)
    except CorruptState:
        return  # what is wrong is said of its entries
    for queued in queues.queued(plans, here, _NO_RULES):
        due_s = queued.due_s if abs(queued.due_s) <= MAX_TIME_S else None
        held = leases.is_held(queued)
        yield StoredPlan(path, _encode(queued), queued.shown(dir), held, due_s, queued.given_back)


def _mend_entry(session: Session, repair: EntryRepair) -> bool:
    old, new = repair.old, repair.new
    place, dir = _where(session, old.place)
    if not old.name:
        return _salvage(session, place, dir, old.raw)
    try:
        file = session.partition(place, dir).files.get(old.name)
    except CorruptState:
        return False
    if file is None or bytes(file.text) != old.raw:
        return False
    if repair.keep:
        name = old.name.rpartition("/")[2]
        _put_aside(place, dir, f"{name}{_ONE}", old.raw)
    session.edit(place, dir).files.pop(old.name)
    if new is not None:
        target, target_dir = session.places.place_for(new.layer), dir_of(new.path)
        if new.path not in session.partition(target, target_dir).files:
            edited = session.edit(target, target_dir)
            plans = queues.noted(session.plans(target, target_dir), edited)
            edited.put(new)
            # It is not new to the plans, so that nothing is planned for it once more.
            plans = msgspec.structs.replace(plans, last_id=edited.last_id)
            session.set_plans(target, target_dir, plans)
    return True


def _salvage(session: Session, place: Place, dir: str, content: bytes) -> bool:
    """Put a damaged `metadata.json` aside, and keep in its place what of it can be read."""
    path = place.data(dir, METADATA)
    found = files.read(path)
    if found is None or found[1] != content:
        return False
    try:
        session.partition(place, dir)
    except CorruptState:
        pass
    else:
        return False
    _put_aside(place, dir, _WHOLE, content)
    session.replace(place, dir, _readable_part(session, place, dir, content))
    return True


def _readable_part(session: Session, place: Place, dir: str, content: bytes) -> Partition:
    def decoded(fields: dict[str, msgspec.Raw]) -> Partition:
        of = (place.data(dir, METADATA), session.places.ref, place.layer, dir)
        return partition.decode(_encode(fields), *of)

    try:
        fields = _document(content)
    except Fault:
        return Partition(dir)
    kept: dict[str, msgspec.Raw] = {}
    for name in ("files", "drop_queue"):
        try:
            texts = _texts(fields.pop(name, msgspec.Raw(b"null"))) or []
        except Fault:
            continue
        good: list[msgspec.Raw] = []
        for text in texts:
            try:
                decoded({name: msgspec.Raw(b"[%b]" % bytes(text))})
            except (CorruptState, InvalidName, *Fault):
                continue
            good.append(text)
        kept[name] = msgspec.Raw(b"[%b]" % b",".join(map(bytes, good)))
    try:
        return decoded({**fields, **kept})
    except CorruptState:
        return decoded(kept)


def _mend_plan(session: Session, repair: PlanRepair) -> bool:
    old, new = repair.old, repair.new
    place, dir = _where(session, old.place)
    if old.plan is None:
        found = files.read(old.place)
        if found is None or found[1] != old.raw:
            return False
        _put_aside(place, dir, f"{PLANS}-", old.raw)
        session.replace_plans(place, dir, NO_PLANS)
        return True
    plans, here = session.plans(place, dir), session.partition(place, dir)
    queue = queues.queued(plans, here, _NO_RULES)
    queued = next((each for each in queue if _encode(each) == old.raw), None)
    if queued is None:
        return False
    there = {path for path, file in here.files.items() if file.bare.layer == old.plan.layer}
    if not there.issuperset(repair.living) or not there.isdisjoint(repair.dead):
        return False
    if new is not None:
        session.set_plans(place, dir, leases.replaced(plans, queued, _renewed(queued, new)))
        return True
    if queued.kind == "drop":
        here = session.edit(place, dir)
        here.remove_drops({queued.id})
    session.set_plans(place, dir, leases.removed(plans, here, [queued]))
    return True


def _renewed(queued: Queued, new: QueuedPlan) -> Queued:
    waiting = leases.first_in_queue(queued, new.due_s, queued.position)
    return msgspec.structs.replace(
        waiting,
        id=new.id,
        files=tuple(path.rpartition("/")[2] for path in new.paths),
        file_to=new.path_to.rpartition("/")[2],
    )


def _put_aside(place: Place, dir: str, name: str, content: bytes) -> None:
    folder = os.path.join(place.aside, dir) if dir else place.aside
    _check_aside(place, folder)
    files.make_folder(folder)
    target = os.path.join(folder, name + hashlib.sha256(content).hexdigest()[:12])
    if files.version_of(target) is None:
        fresh = f"{target}.{os.urandom(4).hex()}.new"
        files.write_flushed(fresh, content)
        files.rename(fresh, target)
        files.flush_folder(folder)


def _check_aside(place: Place, folder: str) -> None:
    check_inside(place.base, folder)
    refuse_links(place.folder, folder)


def _names_aside(place: Place) -> Iterator[str]:
    top = place.aside
    _check_aside(place, top)
    for folder, folders, names in os.walk(top):
        dir = os.path.relpath(folder, top)
        if dir.count(os.sep) >= MAX_DEPTH:
            folders.clear()  # nothing of ours is deeper
        head = "" if dir == "." else f"{dir}/"
        for name in names:
            if name.startswith(_WHOLE):
                yield head
            elif _ONE in name:
                yield head + name.rpartition(_ONE)[0]
