"""What DuckDB says of a query that fails, told about the text that the user wrote."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

_AS_JSON = re.compile(r"(?:[\w ]+ Error: )?(\{.*\})\s*\Z", re.DOTALL)
_OURS = re.compile(r"^(?:[\w.]+\.)?(FileMissing|StorageError): (.*)", re.MULTILINE | re.DOTALL)
_WIDTH = 78
_NOWHERE = 2**64 - 1


class Fault(NamedTuple):
    """An error of DuckDB's. `position` counts bytes in the text that it was given, None for an
    error that has no place in it."""

    kind: str
    message: str
    position: int | None


def read_fault(error: BaseException) -> Fault:
    """What `error`, raised under `errors_as_json`, says."""
    text = str(error)
    found = _AS_JSON.match(text)
    if not found:
        return Fault(text.partition(" Error")[0], text, None)
    try:
        fields: dict[str, Any] = msgspec.json.decode(found[1])
    except ValueError:
        return Fault("", text, None)
    kind = fields.get("exception_type", "")
    position = fields.get("position")
    message = fields.get("exception_message", "")
    if found := _OURS.search(message):  # raised where DuckDB reads through our storages
        return Fault(found[1], found[2], None)
    return Fault(
        kind,
        f"{kind} Error: {message}".strip(),
        int(position) if position and position.isdecimal() else None,
    )


def marked(message: str, text: str, position: int | None) -> str:
    """`message`, with the line of `text` and a mark below the byte at `position`, as DuckDB has
    it."""
    if position is None or position >= _NOWHERE:
        return message
    data = text.encode()
    if position > len(data):
        return message
    before = data[:position].decode(errors="replace")
    number = before.count("\n") + 1
    column = len(before.rpartition("\n")[2])
    line = text.split("\n")[number - 1]
    shown, at = _cut(line.replace("\t", " "), column)
    label = f"LINE {number}: "
    return f"{message}\n\n{label}{shown}\n{' ' * (len(label) + at)}^"


def _cut(line: str, column: int) -> tuple[str, int]:
    """What of a long line is around the column, and where that is in it."""
    if len(line) <= _WIDTH:
        return line, column
    first = max(0, min(column - _WIDTH // 2, len(line) - _WIDTH))
    head, tail = "..." * (first > 0), "..." * (first + _WIDTH < len(line))
    return f"{head}{line[first : first + _WIDTH]}{tail}", column - first + len(head)
