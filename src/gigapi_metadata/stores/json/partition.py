"""One `metadata.json`: the entries of the files in one folder, and those that wait for deletion.

What others wrote is kept to the letter: every entry is held beside its own text, which is written
again as it stands, and fields of the document that we don't know go back where they were. Reading
takes the drop queue in all three spellings, writing makes it the one that GigAPI can read. Nothing
here touches the disk.
"""

from __future__ import annotations

import uuid
from collections.abc import Container
from functools import lru_cache
from typing import Any, Self

import msgspec

from gigapi_metadata.errors import CorruptState, InvalidName
from gigapi_metadata.model import IndexEntry, Int64, Stats
from gigapi_metadata.names import check_path, dir_of
from gigapi_metadata.stores.base import TableRef
from gigapi_metadata.timerange import INT64_MAX

_NULL = msgspec.Raw(b"null")
_DROP_IDS = uuid.UUID("0f7c1d1e-4c55-5a53-9d5c-0a3f4f6a7b10")
_TOTALS = ("parquet_size_bytes", "row_count", "min_time", "max_time")
_KNOWN = ("type", *_TOTALS, "wal_sequence")

_encode = msgspec.json.Encoder().encode
_document = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_texts = msgspec.json.Decoder(list[msgspec.Raw] | None).decode
_stats = msgspec.json.Decoder(Stats | None).decode

Fault = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises on text that is damaged."""


class _FileText(msgspec.Struct, frozen=True):
    """An entry as it is read: what the older form lacks has a default."""

    path: str
    size_bytes: Int64 = 0
    row_count: Int64 = 0
    chunk_time: Int64 = 0
    min_time: Int64 = 0
    max_time: Int64 = 0
    layer: str | None = None
    min: msgspec.Raw = _NULL
    max: msgspec.Raw = _NULL
    writer_id: str = ""
    id: int = 0


class _NewFile(msgspec.Struct, frozen=True):
    """An entry as it is written: GigAPI's fields, in its order."""

    layer: str
    database: str
    table: str
    path: str
    size_bytes: int
    row_count: int
    chunk_time: int
    min: Stats | None
    max: Stats | None
    min_time: int
    max_time: int
    writer_id: str
    id: int
    range: str = "1h"
    type: str = "compacted"


class _DropText(msgspec.Struct, frozen=True):
    writer_id: str = ""
    layer: str = ""
    database: str = ""
    table: str = ""
    path: str = ""
    time_s: int | float = 0


class _GoDropText(msgspec.Struct, frozen=True, rename="pascal"):
    """A drop as GigAPI writes it, and can't read it."""

    writer_id: str = msgspec.field(default="", name="WriterID")
    layer: str = ""
    database: str = ""
    table: str = ""
    path: str = ""
    time_s: int | float = msgspec.field(default=0, name="TimeS")


_file = msgspec.json.Decoder(_FileText).decode
_drop = msgspec.json.Decoder(dict[str, msgspec.Raw] | str).decode
_plain_drop = msgspec.json.Decoder(_DropText).decode
_go_drop = msgspec.json.Decoder(_GoDropText).decode


class File(msgspec.Struct, frozen=True):
    """An entry in its folder. `bare` is without statistics, which are decoded when asked for."""

    id: int
    bare: IndexEntry
    min: msgspec.Raw
    max: msgspec.Raw
    text: msgspec.Raw

    @property
    def entry(self) -> IndexEntry:
        """The entry. Its dicts belong to the caller."""
        min_data, max_data = _stats(self.min), _stats(self.max)
        if min_data is None and max_data is None:
            return self.bare
        return msgspec.structs.replace(self.bare, min_data=min_data, max_data=max_data)


class Drop(msgspec.Struct, frozen=True):
    """A file of the folder that has left the catalog, to be deleted from `time_s` on.

    `number` tells apart what is otherwise the same: removed, added and removed within a second.
    """

    writer_id: str
    layer: str
    path: str
    time_s: int
    number: int = 0

    @property
    def id(self) -> str:
        """GigAPI's form has no place for an id, so it is made from what there is."""
        return _drop_id(self.layer, self.path, self.time_s, self.number)


@lru_cache(maxsize=65536)
def _drop_id(layer: str, path: str, time_s: int, number: int) -> str:
    return str(uuid.uuid5(_DROP_IDS, f"{layer}\n{path}\n{time_s}\n{number}"))


class Partition:
    """The content of one `metadata.json`. Shared between readers: only a `copy` is changed."""

    def __init__(self, dir: str, source: str = "") -> None:
        self.dir = dir
        self.source = source
        self.files: dict[str, File] = {}
        self.drops: list[Drop] = []
        self.last_id = 0
        self._foreign_drops: list[msgspec.Raw] = []
        self._wal_sequence = msgspec.Raw(b"0")
        self._others: dict[str, msgspec.Raw] = {}
        self._times: tuple[int, int] | None = None
        self.said: dict[str, msgspec.Raw] = {}
        """The totals as they stand in the document."""
        self._last_drops: dict[tuple[str, str], Drop] | None = None
        self.memo: tuple[Any, Any, Any] | None = None
        """For whoever derives something of the files that is worth keeping."""

    def copy(self) -> Self:
        """One that may be changed."""
        other = type(self)(self.dir, self.source)
        other.__dict__.update(self.__dict__, memo=None, _times=None, _last_drops=None)
        other.files = dict(self.files)
        other.drops = list(self.drops)
        return other

    def overlaps(self, after: int, before: int) -> bool:
        """Whether any file may overlap these bounds."""
        if self._times is None:
            entries = [file.bare for file in self.files.values()]
            self._times = (
                min((entry.min_time for entry in entries), default=0),
                max((entry.max_time for entry in entries), default=-1),
            )
        return bool(self.files) and self._times[0] <= before and self._times[1] >= after

    def put(self, entry: IndexEntry) -> int:
        """Add a file, or replace its entry; its id."""
        known = self.files.get(entry.path)
        if known is None:
            self.last_id += 1
        id = self.last_id if known is None else known.id
        text = _encode(
            _NewFile(
                entry.layer,
                entry.database,
                entry.table,
                entry.path,
                entry.size_bytes,
                entry.row_count,
                entry.chunk_time,
                entry.min_data,
                entry.max_data,
                entry.min_time,
                entry.max_time,
                entry.writer_id,
                id,
            )
        )
        self.files[entry.path] = File(
            id,
            msgspec.structs.replace(entry, min_data=None, max_data=None),
            _NULL if entry.min_data is None else msgspec.Raw(_encode(entry.min_data)),
            _NULL if entry.max_data is None else msgspec.Raw(_encode(entry.max_data)),
            msgspec.Raw(text),
        )
        return id

    def add_drop(self, writer_id: str, layer: str, path: str, time_s: int) -> Drop:
        """Have a file deleted."""
        last = self.last_drops.get((layer, path))
        number = last.number + 1 if last is not None and last.time_s == time_s else 0
        drop = Drop(writer_id, layer, path, time_s, number)
        self.drops.append(drop)
        self.last_drops[layer, path] = drop
        return drop

    def remove_drops(self, ids: Container[str]) -> None:
        """Forget deletions."""
        self.drops = [drop for drop in self.drops if drop.id not in ids]
        self._last_drops = None

    @property
    def last_drops(self) -> dict[tuple[str, str], Drop]:
        """By layer and path: of a file that was removed more than once, what waits the longest."""
        if self._last_drops is None:
            self._last_drops = {}
            for drop in self.drops:
                last = self._last_drops.get((drop.layer, drop.path))
                if last is None or last.time_s <= drop.time_s:
                    self._last_drops[drop.layer, drop.path] = drop
        return self._last_drops

    def totals(self) -> dict[str, int]:
        """What the document says of its files together."""
        entries = [file.bare for file in self.files.values()]
        return {
            "parquet_size_bytes": min(sum(entry.size_bytes for entry in entries), INT64_MAX),
            "row_count": min(sum(entry.row_count for entry in entries), INT64_MAX),
            "min_time": min((entry.min_time for entry in entries), default=0),
            "max_time": max((entry.max_time for entry in entries), default=0),
        }

    def encode(self, table: TableRef) -> bytes:
        """The document, as GigAPI writes it."""
        totals = self.totals()
        self.said = {name: msgspec.Raw(_encode(total)) for name, total in totals.items()}
        fields: dict[str, Any] = {
            "type": table.table,
            **totals,
            "wal_sequence": self._wal_sequence,
            "drop_queue": [
                *(
                    _DropText(drop.writer_id, drop.layer, *table, drop.path, drop.time_s)
                    for drop in self.drops
                ),
                *self._foreign_drops,
            ],
            **self._others,
        }
        head = _encode(fields)[:-1]
        return b'%b,"files":[%b]}' % (head, b",".join(file.text for file in self.files.values()))


def decode(
    content: bytes, source: str, table: TableRef, layer: str, dir: str, *, older: bool = False
) -> Partition:
    """The partition of `dir` from the text of its `metadata.json`.

    layer: what entries are said to lie in that don't say it.
    older: GigAPI's older form, where a path may be absolute: only its last part counts.

    Raises:
        CorruptState: naming `source`.
    """
    try:
        partition = _decode(content, table, layer, dir, older)
    except Fault as error:
        raise damaged(source, error) from error
    except InvalidName as error:
        raise CorruptState(f"{source}: {error}") from error
    partition.source = source
    return partition


def damaged(source: str, error: Exception) -> CorruptState:
    """What to raise about a file that can't be understood."""
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return CorruptState(f"{source} is damaged: {reason}")


def _decode(content: bytes, table: TableRef, layer: str, dir: str, older: bool) -> Partition:
    fields = _document(content)
    partition = Partition(dir)
    for text in _texts(fields.pop("files", _NULL)) or ():
        file = _file(text)
        path = _path_in(dir, file.path, older)
        if path is None:
            raise InvalidName(f"it lists {file.path!r}, which does not lie in {dir!r}")
        bare = IndexEntry(
            *table,
            path,
            file.size_bytes,
            file.min_time,
            file.max_time,
            layer if file.layer is None else file.layer,
            file.row_count,
            file.chunk_time,
            writer_id=file.writer_id,
        )
        partition.files[path] = File(file.id, bare, file.min, file.max, text)
        partition.last_id = max(partition.last_id, file.id)
    for text in _texts(fields.pop("drop_queue", _NULL)) or ():
        drop = _drop_of(text, layer, dir, older)
        if drop is None:
            partition._foreign_drops.append(text)
        else:
            partition.add_drop(drop.writer_id, drop.layer, drop.path, drop.time_s)
    partition.said = {name: fields[name] for name in _TOTALS if name in fields}
    partition._wal_sequence = fields.get("wal_sequence", partition._wal_sequence)
    partition._others = {name: text for name, text in fields.items() if name not in _KNOWN}
    return partition


def _drop_of(text: msgspec.Raw, layer: str, dir: str, older: bool) -> Drop | None:
    """The drop; None for one of a file that is not in this folder, which is nothing we could do."""
    fields = _drop(text)
    if isinstance(fields, str):
        found: _DropText | _GoDropText = _DropText(layer=layer, path=fields)
    else:
        found = _go_drop(text) if "Path" in fields else _plain_drop(text)
    path = _path_in(dir, found.path, older or isinstance(fields, str))
    if path is None:
        return None
    return Drop(found.writer_id, found.layer or layer, path, int(found.time_s))


def _path_in(dir: str, path: str, older: bool) -> str | None:
    """`path` as the catalog names it, None when it does not lie in `dir`."""
    if dir_of(path) == dir:
        return check_path(path)
    name = path.rpartition("/")[2]
    local = f"{dir}/{name}" if dir else name
    if older or (path.startswith("/") and path.endswith(f"/{local}")):
        return check_path(local)
    return None
