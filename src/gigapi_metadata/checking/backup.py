"""What a table holds, written down before anything of it is changed.

Two files: `….ndjson` is what `import` takes back, entries and plans; `….raw.ndjson` holds what
can't be imported, as it was stored: one object a line with `place`, `name` and `raw` (base64).
"""

from __future__ import annotations

import os
from base64 import b64encode
from typing import BinaryIO, NamedTuple

import msgspec

from gigapi_metadata.copying import ndjson, opened
from gigapi_metadata.errors import MetadataError
from gigapi_metadata.index.repairs import TableRepairs
from gigapi_metadata.model import IndexEntry, QueuedPlan
from gigapi_metadata.planning import check_queued
from gigapi_metadata.stores.repairing import StoredEntry, StoredPlan
from gigapi_metadata.validation import check_entry

_encode = msgspec.json.Encoder().encode_lines


class Backup(NamedTuple):
    """The files that were written. `raw` is "" when everything could be exported."""

    name: str
    raw: str


def write_backup(table: TableRepairs, folder: str, moment: str) -> Backup:
    """Write both files into `folder`; each appears when it is complete, and is flushed."""
    database, name = table.ref
    base = os.path.join(folder, f"{database}.{name}.{moment}")
    backup = Backup(f"{base}.ndjson", f"{base}.raw.ndjson")
    odd = False
    with opened(backup.name) as file, opened(backup.raw) as raw_file:
        sink = ndjson.Sink(file)
        for place in table.places():
            entries, rest = _sorted_out(table, table.stored(place))
            sink.entries(entries)
            odd |= _write_raw(raw_file, rest)
        plans, rest_plans = _plans_sorted_out(table.stored_plans())
        sink.plans(database, name, plans)
        odd |= _write_raw(raw_file, rest_plans)
    if not odd:
        os.unlink(backup.raw)
    return backup if odd else backup._replace(raw="")


def _sorted_out(
    table: TableRepairs, stored: list[StoredEntry]
) -> tuple[list[IndexEntry], list[StoredEntry]]:
    good: list[IndexEntry] = []
    rest: list[StoredEntry] = []
    for each in stored:
        try:
            if each.entry is None or each.misplaced:
                rest.append(each)
            else:
                good.append(check_entry(each.entry, *table.ref))
        except MetadataError:
            rest.append(each)
    return good, rest


def _plans_sorted_out(stored: list[StoredPlan]) -> tuple[list[QueuedPlan], list[StoredPlan]]:
    good: list[QueuedPlan] = []
    rest: list[StoredPlan] = []
    ids: set[tuple[str, str]] = set()
    for each in stored:
        try:
            if each.plan is None or each.due_s is None or (each.plan.kind, each.plan.id) in ids:
                rest.append(each)
            else:
                good.append(check_queued(each.plan))
                ids.add((each.plan.kind, each.plan.id))
        except MetadataError:
            rest.append(each)
    return good, rest


def _write_raw(file: BinaryIO, stored: list[StoredEntry] | list[StoredPlan]) -> bool:
    lines = [
        {
            "place": _text(each.place),
            "name": _text(each.name) if isinstance(each, StoredEntry) else "",
            "raw": b64encode(each.raw).decode(),
        }
        for each in stored
    ]
    file.write(_encode(lines))
    return bool(lines)


def _text(name: str) -> str:
    """A name that may be no UTF-8, for people."""
    return name.encode(errors="backslashreplace").decode()
