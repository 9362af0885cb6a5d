"""The plans for the files of one folder: what GigAPI's form has no place for.

They lie beside the `metadata.json`, in a file of our own; these are its structure and its rules,
without I/O. Each function takes `Plans` and gives back others.

- Merges and moves are queued here when a file is added. Files that a GigAPI process has added
  behind our back are told by their ids, which count up: those above `last_id` are new to us. Plans
  for them are derived when asked for, under the asking index's rules, due at `chunk_time` + timeout
  as GigAPI has it, and written down with the first one that is handed out.
- Drops stand in `metadata.json`, where GigAPI looks for them. What it has no field for is kept here
  (order, leases, attempts), and counts for as long as the drop is there.

`position` orders a queue over all folders: nanoseconds of the moment when the plan joined it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

import msgspec

from gigapi_metadata.errors import InvalidConfiguration
from gigapi_metadata.model import IndexEntry, PlanKind, QueuedPlan
from gigapi_metadata.names import iteration_of, new_id
from gigapi_metadata.planning import (
    MergeQueue,
    MoveQueue,
    Rules,
    merge_due_s,
    move_due_s,
    move_target,
    pack,
)
from gigapi_metadata.stores.base import QueueRef
from gigapi_metadata.stores.json.partition import Drop, Fault, Partition, damaged
from gigapi_metadata.timerange import INT64_MAX

_IDS = uuid.UUID("0f7c1d1e-4c55-5a53-9d5c-0a3f4f6a7b10")


VERSION = 1
"""Of the file of plans."""


class Queued(msgspec.Struct, frozen=True, omit_defaults=True):
    """A plan in its queue. `files` are names in the folder, as queued: some may be gone."""

    kind: PlanKind
    id: str
    layer: str
    writer_id: str
    files: tuple[str, ...]
    due_s: int
    position: int
    iteration: int = 0
    size_bytes: int = 0
    file_to: str = ""
    layer_to: str = ""
    leased: bool = False
    given_back: bool = False
    """Leased to nobody: held back until `due_s`."""
    waited_s: int = 0
    """`due_s` of before the plan was first handed out."""
    used_leases: tuple[int, ...] = ()
    """Until when leases ran that were given up before their time, and could come again."""
    attempts: int = 0
    error: str = ""

    @property
    def queue(self) -> QueueRef:
        """The queue that the plan is asked from."""
        return QueueRef(self.kind, self.layer, self.writer_id, self.iteration)

    def shown(self, dir: str) -> QueuedPlan:
        """The plan as people see it."""
        return QueuedPlan(
            kind=self.kind,
            state="leased" if self.leased and not self.given_back else "waiting",
            id=self.id,
            layer=self.layer,
            writer_id=self.writer_id,
            dir=dir,
            iteration=self.iteration,
            paths=[path_in(dir, name) for name in self.files],
            size_bytes=min(self.size_bytes, INT64_MAX),
            due_s=self.due_s,
            attempts=self.attempts,
            error=self.error,
            path_to=path_in(dir, self.file_to) if self.file_to else "",
            layer_to=self.layer_to,
        )


class Ended(msgspec.Struct, frozen=True, array_like=True):
    """A lease under which a plan was ended or completed, so that doing it again has no effect."""

    kind: PlanKind
    id: str
    lease_s: int
    at_s: int
    complete: bool


class Plans(msgspec.Struct, frozen=True, omit_defaults=True):
    """What our file beside a `metadata.json` holds. `unplanned` are ids up to `last_id` of files
    that others have added, which were met when files of our own were."""

    version: int
    last_id: int = 0
    unplanned: tuple[int, ...] = ()
    queue: tuple[Queued, ...] = ()
    ended: tuple[Ended, ...] = ()


NO_PLANS = Plans(VERSION)
"""What a folder without our file has."""

Heads = dict[QueueRef, list[Queued]]
"""Of each queue what may be handed out next."""

_decode = msgspec.json.Decoder(Plans).decode
encode = msgspec.json.Encoder().encode


def decode(content: bytes, source: str) -> Plans:
    """The plans in a file's text.

    Raises:
        CorruptState: naming `source`.
        InvalidConfiguration: a newer version of this package has made it.
    """
    try:
        plans = _decode(content)
    except Fault as error:
        raise damaged(source, error) from error
    if plans.version > VERSION:
        raise InvalidConfiguration(
            f"{source} was made by a newer gigapi-metadata (version {plans.version}); upgrade this "
            "one"
        )
    return plans


# Joining a queue


def noted(plans: Plans, partition: Partition) -> Plans:
    """`plans` that know of all files there, without having planned for those of others."""
    new = [file.id for file in partition.files.values() if file.id > plans.last_id]
    if not new:
        return plans
    return msgspec.structs.replace(
        plans, last_id=max(new), unplanned=(*plans.unplanned, *sorted(new))
    )


def added(
    plans: Plans,
    files: Sequence[IndexEntry],
    positions: Sequence[int],
    rules: Rules,
    now_s: int,
) -> Plans:
    """`plans` with new files of one layer, writer and iteration in the queue the rules say."""
    first = files[0]
    queue = rules.queue_for(first.layer, iteration_of(first.path))
    if isinstance(queue, MergeQueue):
        return _merges_added(plans, files, positions, queue, now_s)
    if isinstance(queue, MoveQueue):
        moves = (
            _move(file, queue, new_id(), position)
            for file, position in zip(files, positions, strict=True)
        )
        return msgspec.structs.replace(plans, queue=(*plans.queue, *moves))
    return plans


def _merges_added(
    plans: Plans,
    files: Sequence[IndexEntry],
    positions: Sequence[int],
    queue: MergeQueue,
    now_s: int,
) -> Plans:
    first = files[0]
    ref = QueueRef("merge", first.layer, first.writer_id, queue.iteration)
    waiting = [each for each in plans.queue if each.queue == ref and not each.leased]
    last = max(waiting, key=lambda each: each.position, default=None)
    sizes = [file.size_bytes for file in files]
    joined = list(plans.queue)
    for opens, indices in pack(last.size_bytes if last else None, sizes, queue.max_size):
        names = tuple(_name(files[index].path) for index in indices)
        size = sum(sizes[index] for index in indices)
        if opens or last is None:
            due_s = merge_due_s(now_s, queue.timeout_s)
            joined.append(_merge(ref, new_id(), names, size, due_s, positions[indices[0]]))
        else:
            joined[joined.index(last)] = msgspec.structs.replace(
                last, files=last.files + names, size_bytes=last.size_bytes + size
            )
    return msgspec.structs.replace(plans, queue=tuple(joined))


def _merge(
    ref: QueueRef, id: str, names: tuple[str, ...], size: int, due_s: int, position: int
) -> Queued:
    return Queued(
        "merge",
        id,
        ref.layer,
        ref.writer_id,
        names,
        due_s,
        position,
        iteration=ref.iteration,
        size_bytes=size,
    )


def _move(file: IndexEntry, queue: MoveQueue, id: str, position: int) -> Queued:
    return Queued(
        "move",
        id,
        file.layer,
        file.writer_id,
        (_name(file.path),),
        move_due_s(file, queue.ttl_s),
        position,
        file_to=_name(move_target(file.path, id)),
        layer_to=queue.layer_to,
    )


# What waits


def queued(plans: Plans, partition: Partition, rules: Rules) -> list[Queued]:
    """Every plan of the folder: those written down, those derived, and the drops."""
    known = [each for each in plans.queue if each.kind != "drop"]
    return [*known, *_derived(plans, partition, rules), *_drops(plans, partition)]


def heads(plans: Iterable[Queued]) -> Heads:
    """The head of those that wait in each queue, and all that do not."""
    found: Heads = {}
    first: dict[QueueRef, Queued] = {}
    for each in plans:
        ref = each.queue
        if each.leased:
            found.setdefault(ref, []).append(each)
        elif ref not in first or each.position < first[ref].position:
            first[ref] = each
    for ref, each in first.items():
        found.setdefault(ref, []).append(each)
    return found


def settled(plans: Plans, partition: Partition, rules: Rules) -> Plans:
    """`plans` with everything written down that `queued` lists, but for untouched drops."""
    if not _unplanned(plans, partition):
        return plans
    return msgspec.structs.replace(
        plans,
        queue=(*plans.queue, *_derived(plans, partition, rules)),
        last_id=max(plans.last_id, partition.last_id),
        unplanned=(),
    )


def _unplanned(plans: Plans, partition: Partition) -> list[IndexEntry]:
    if not plans.unplanned and partition.last_id <= plans.last_id:
        return []
    ids = frozenset(plans.unplanned)
    planned = {name for each in plans.queue if each.kind != "drop" for name in each.files}
    files = [
        file
        for file in partition.files.values()
        if (file.id > plans.last_id or file.id in ids) and _name(file.bare.path) not in planned
    ]
    files.sort(key=lambda file: file.id)
    return [file.bare for file in files]


def _derived(plans: Plans, partition: Partition, rules: Rules) -> list[Queued]:
    """Plans for files that others have added. The same files give the same plans and ids."""
    layers = {layer.name for layer in rules.layers} or {""}
    groups: dict[QueueRef, list[IndexEntry]] = {}
    found: list[Queued] = []
    for file in _unplanned(plans, partition):
        if file.layer not in layers:
            continue
        queue = rules.queue_for(file.layer, iteration_of(file.path))
        if isinstance(queue, MergeQueue):
            ref = QueueRef("merge", file.layer, file.writer_id, queue.iteration)
            groups.setdefault(ref, []).append(file)
        elif isinstance(queue, MoveQueue):
            id = str(uuid.uuid5(_IDS, f"move\n{file.layer}\n{file.path}\n{file.chunk_time}"))
            found.append(_move(file, queue, id, file.chunk_time))
    for ref, files in groups.items():
        row = rules.merge_configurations[ref.iteration - 1]
        sizes = [file.size_bytes for file in files]
        for _, indices in pack(None, sizes, row.max_size):
            first = files[indices[0]]
            names = tuple(_name(files[index].path) for index in indices)
            id = str(uuid.uuid5(_IDS, f"merge\n{first.layer}\n{first.path}\n{first.chunk_time}"))
            due_s = merge_due_s(first.chunk_time // 1_000_000_000, row.timeout_sec)
            size = sum(sizes[index] for index in indices)
            found.append(_merge(ref, id, names, size, due_s, first.chunk_time))
    return found


def _drops(plans: Plans, partition: Partition) -> list[Queued]:
    touched = {each.id: each for each in plans.queue if each.kind == "drop"}
    found = []
    for number, drop in enumerate(partition.drops):
        position = drop.time_s * 1_000_000_000 + number
        found.append(touched.get(drop.id) or dropped(drop, position))
    return found


def dropped(drop: Drop, position: int) -> Queued:
    """The plan of a drop."""
    files = (_name(drop.path),)
    return Queued("drop", drop.id, drop.layer, drop.writer_id, files, drop.time_s, position)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def path_in(dir: str, name: str) -> str:
    """The path of the file called `name` in `dir`."""
    return f"{dir}/{name}" if dir else name
