"""Text and JSON for stdout; notes for people to stderr.

Only data goes to stdout, so that it can be piped. JSON is an array with one element a line, or one
object; the shapes are in docs/cli.md and only ever grow.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gigapi_metadata.model import IndexEntry

PROGRAM = "gigapi-metadata"

_YEAR_S = 365 * 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_NS = 253_402_300_799 * 10**9


def write(text: str) -> None:
    """Data, to stdout."""
    print(text)


def note(text: str) -> None:
    """A word to the person at the terminal, to stderr."""
    print(printable(text), file=sys.stderr)


def write_json(value: Any) -> None:
    """One JSON value; a list as an array with one element a line."""
    import json

    import msgspec

    def encode(element: Any) -> bytes:
        try:
            return msgspec.json.encode(element)
        except OverflowError:  # somebody has stored an integer of over 64 bits
            return json.dumps(msgspec.to_builtins(element), ensure_ascii=False).encode()

    if isinstance(value, list):
        lines = ",\n".join(encode(element).decode() for element in value)
        write(f"[\n{lines}\n]" if value else "[]")
    else:
        write(encode(value).decode())


def write_names(names: Sequence[str], as_json: bool) -> None:
    """A list of names: one a line, or a JSON array of strings."""
    if as_json:
        write_json(list(names))
    else:
        for name in names:
            write(name)


def write_table(headings: str, rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns. `headings` are divided by spaces; > before one aligns it to the right."""
    names = headings.split()
    right = [name.startswith(">") for name in names]
    lines = [[name.lstrip(">").replace("_", " ") for name in names]]
    lines += [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = zip(line, widths, right, strict=True)
        text = "  ".join(
            cell.rjust(w) if to_right else cell.ljust(w) for cell, w, to_right in cells
        )
        write(text.rstrip())


def printable(text: str) -> str:
    """`text` with what could upset a terminal written as escapes."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def utf8(text: str) -> str:
    """`text`, with what no UTF-8 can stand for - a file's name may hold it - written as escapes."""
    return text.encode(errors="backslashreplace").decode()


def iso(time_ns: int) -> str:
    """A time in UTC, with as many digits of a second as it has: none, 3, 6 or 9. The last second of
    the year 9999 stands for all later ones."""
    seconds, rest = divmod(min(time_ns, _LAST_NS), 10**9)
    digits = f"{rest:09}"
    while digits.endswith("000"):
        digits = digits[:-3]
    try:
        moment = (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]
    except OverflowError:  # no year of a calendar
        return f"{time_ns} ns"
    return f"{moment}.{digits}Z" if digits else f"{moment}Z"


def size(amount: int) -> str:
    """A number of bytes in a size for people."""
    if amount < 1024:
        return f"{amount} B"
    value = float(amount)
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        value /= 1024
        if value < 1023.95 or unit == "EiB":
            return f"{value:.1f} {unit}"
    raise AssertionError


def count(number: int, thing: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def period(seconds: float) -> str:
    """A length of time in one unit: `0.25 s`, `42 s`, `7 min`, `3 h`, `5 d`, `20 y`."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    for unit, length, limit in (
        ("s", 1, 120),
        ("min", 60, 7200),
        ("h", 3600, 172_800),
        ("d", 86_400, 2 * _YEAR_S),
    ):
        if seconds < limit:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds // _YEAR_S:.0f} y"


def entry_object(entry: IndexEntry) -> dict[str, Any]:
    """An entry as JSON has it: exact nanoseconds, and the same times for people."""
    from gigapi_metadata.names import iteration_of

    return {
        "database": entry.database,
        "table": entry.table,
        "path": entry.path,
        "layer": entry.layer,
        "writer_id": entry.writer_id,
        "iteration": iteration_of(entry.path),
        "size_bytes": entry.size_bytes,
        "row_count": entry.row_count,
        "min_time": entry.min_time,
        "max_time": entry.max_time,
        "chunk_time": entry.chunk_time,
        "min_time_iso": iso(entry.min_time),
        "max_time_iso": iso(entry.max_time),
        "chunk_time_iso": iso(entry.chunk_time),
        "min": entry.min_data,
        "max": entry.max_data,
    }
