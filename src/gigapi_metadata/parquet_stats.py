"""Column statistics of a Parquet footer -> bounds that JSON can hold.

Pure. The one rule everything here obeys: what comes out is a bound, or is left out. A lower bound
may be too low and an upper one too high, never the other way round, since a reader skips a file
by them. What a column's values become:

    bool, string                 themselves; strings are cut to 64 characters, upper ones rounded up
    integers                     int, unsigned ones up to 2**64 - 1
    float16, float, double       float; an infinite bound a column with NaN bounds are left out
    decimal                      int when whole, else float; rounded outwards where inexact
    timestamp, date              int, nanoseconds since the epoch; a date is its midnight (UTC)
    time of day                  int, nanoseconds since midnight
    everything else              left out: binary, UUID, INT96, interval, ...

A column is named by its path in the file's schema, `a.b`; a list's items are `a.list.element`, and
their bounds cover every item of every row. Two columns that would have the same name (`b` in `a`
beside a top-level `a.b`) are both left out, as is a column that any row group with values in it
has no statistics of. Nulls lie outside all bounds.

Two things about float bounds. NaN lies outside them, and most writers don't say whether there is
one: who takes NaN for the greatest float (DuckDB, Spark) must not skip by an upper bound, unless
he knows better, as `parquet` does. (Where the footer counts NaN and there are some, the upper bound
is left out.) And a float's bounds are float32 values: round a literal to float32 before comparing.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from math import inf, isfinite, isnan, nextafter
from typing import Any, NamedTuple

from gigapi_metadata.model import Stats
from gigapi_metadata.parquet_footer import (
    BOOLEAN,
    BYTE_ARRAY,
    DATE,
    DECIMAL,
    DOUBLE,
    ENUM,
    FIXED_LEN_BYTE_ARRAY,
    FLOAT,
    FLOAT16,
    INT32,
    INT64,
    INTEGER,
    JSON,
    MICROS,
    MILLIS,
    NANOS,
    NO_LOGICAL,
    STRING,
    TIME,
    TIMESTAMP,
    Chunk,
    Column,
    Footer,
)
from gigapi_metadata.timerange import INT64_MAX, INT64_MIN

MAX_STRING = 64
"""Longer strings are cut to this many characters."""

SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS

_TIME_UNIT_NS = {MILLIS: 10**6, MICROS: 1000, NANOS: 1}

# Formats of `struct`.
_INTEGER_FORMATS = {INT32: "<i", INT64: "<q"}
_FLOAT_FORMATS = {
    (FLOAT, NO_LOGICAL): "<f",
    (DOUBLE, NO_LOGICAL): "<d",
    (FIXED_LEN_BYTE_ARRAY, FLOAT16): "<e",
}

_UINT64_MAX = 2**64 - 1
_MAX_CODE_POINT = 0x10FFFF
# Beyond what any decimal type has; without limits a damaged file could ask for endless arithmetic.
_MAX_DECIMAL_SCALE = 400
_MAX_DECIMAL_BYTES = 64


class Codec(NamedTuple):
    """How one type's statistics are read: `decode` gives values that compare as the type does,
    `lower` and `upper` make bounds of them, None where there is no such bound in JSON."""

    decode: Callable[[bytes], Any]
    lower: Callable[[Any], Any]
    upper: Callable[[Any], Any]
    legacy: bool
    """Whether the old `min` and `max` fields, which compared bytes or plain signed numbers, are
    right for this type as well."""


class Bounds(NamedTuple):
    """Smallest and largest value of a column in one or more row groups; None where unknown."""

    min: Any
    max: Any
    exact: bool
    """Whether both values occur, as far as the file says."""


def column_bounds(footer: Footer) -> tuple[Stats, Stats]:
    """The lower and the upper bounds of every column that has them."""
    lowest: Stats = {}
    highest: Stats = {}
    names = [".".join(column.path) for column in footer.columns]
    count = Counter(names)
    for index, (name, column) in enumerate(zip(names, footer.columns, strict=True)):
        codec = codec_of(column)
        if codec is None or count[name] > 1:
            continue
        bounds = _merged(
            column, codec, (group.chunks[index] for group in footer.row_groups if group.num_rows)
        )
        if bounds is None:
            continue
        low = None if bounds.min is None else codec.lower(bounds.min)
        if low is not None:
            lowest[name] = low
        high = None if bounds.max is None else codec.upper(bounds.max)
        if high is not None:
            highest[name] = high
    return lowest, highest


def _merged(column: Column, codec: Codec, chunks: Iterable[Chunk]) -> Bounds | None:
    """The bounds over all chunks; None when no chunk holds a value or one is damaged."""
    found = None
    for chunk in chunks:
        if all_null(chunk):
            continue
        bounds = chunk_bounds(column, codec, chunk)
        if bounds is None:
            return None
        found = bounds if found is None else merge_bounds(found, bounds)
        if found.min is None and found.max is None:
            return None
    return found


def merge_bounds(a: Bounds, b: Bounds) -> Bounds:
    """Bounds of what either covers; a side that one of them does not know is not known."""
    return Bounds(
        None if a.min is None or b.min is None else min(a.min, b.min),
        None if a.max is None or b.max is None else max(a.max, b.max),
        a.exact and b.exact,
    )


def all_null(chunk: Chunk) -> bool:
    """Whether the file says that the chunk holds no value but null."""
    return 0 < chunk.num_values == chunk.statistics.get(3)


def chunk_bounds(column: Column, codec: Codec, chunk: Chunk) -> Bounds | None:
    """The decoded statistics of one chunk; None when they can't be believed (of the wrong size,
    crossed, NaN)."""
    statistics = chunk.statistics
    low, high, exact = None, None, False
    if column.ordered or codec.legacy:
        low, high = statistics.get(6), statistics.get(5)
        exact = statistics.get(7) is not False and statistics.get(8) is not False
    if low is None and high is None and codec.legacy:
        low, high, exact = statistics.get(2), statistics.get(1), True
    if not isinstance(low, bytes | None) or not isinstance(high, bytes | None):
        return None
    try:
        smallest = None if low is None else codec.decode(low)
        largest = None if high is None else codec.decode(high)
    except (struct.error, ValueError):
        return None
    for value in (smallest, largest):
        if isinstance(value, float) and isnan(value):
            return None
    if isinstance(largest, float) and statistics.get(9):
        largest = None  # so many NaN, which some readers' order has above everything
    if smallest is not None and largest is not None and smallest > largest:
        return None
    return Bounds(smallest, largest, exact)


def codec_of(column: Column) -> Codec | None:
    """How to read the column's statistics; None for a type that has no bounds here."""
    return _codec(column.physical, column.kind, column.detail)


def is_float(column: Column) -> bool:
    """Whether the column may hold NaN."""
    return (column.physical, column.kind) in _FLOAT_FORMATS


def time_unit_ns(column: Column) -> int | None:
    """Nanoseconds in one unit of a column of instants: a timestamp, a date, or an int64 or uint64,
    which count nanoseconds. None for any other type."""
    if column.physical == INT32:
        return DAY_NS if column.kind == DATE else None
    if column.physical != INT64:
        return None
    if column.kind == TIMESTAMP:
        return _TIME_UNIT_NS.get(column.detail)
    return 1 if column.kind in (NO_LOGICAL, INTEGER) else None


@lru_cache(maxsize=1024)
def _codec(physical: int, kind: int, detail: Any) -> Codec | None:
    if kind == DECIMAL:
        return _decimal_codec(physical, detail)
    if (physical, kind) in _FLOAT_FORMATS:
        form = _FLOAT_FORMATS[physical, kind]
        return Codec(_unpacker(form), _float_lower, _float_upper, kind != FLOAT16)
    if physical == BYTE_ARRAY and kind in (STRING, ENUM, JSON):
        return Codec(_same, _string_lower, _string_upper, False)
    if physical == BOOLEAN and kind == NO_LOGICAL:
        return Codec(_unpacker("<?"), _same, _same, True)
    if physical in _INTEGER_FORMATS:
        return _integer_codec(_INTEGER_FORMATS[physical], kind, detail)
    return None


def _integer_codec(form: str, kind: int, detail: Any) -> Codec | None:
    if kind == NO_LOGICAL:
        return Codec(_unpacker(form), _same, _same, True)
    if kind == INTEGER:
        signed = detail[1]
        return Codec(_unpacker(form if signed else form.upper()), _same, _same, signed)
    unit = DAY_NS if kind == DATE else _TIME_UNIT_NS.get(detail)
    if unit is None or kind not in (DATE, TIME, TIMESTAMP):
        return None

    def nanoseconds(value: int) -> int | None:
        scaled = value * unit
        return scaled if INT64_MIN <= scaled <= INT64_MAX else None

    return Codec(_unpacker(form), nanoseconds, nanoseconds, True)


def _decimal_codec(physical: int, scale: int) -> Codec | None:
    if not 0 <= scale <= _MAX_DECIMAL_SCALE:
        return None
    one = 10**scale

    def lower(value: int) -> int | float:
        return _decimal_bound(value, one, -inf)

    def upper(value: int) -> int | float:
        return _decimal_bound(value, one, inf)

    if physical in _INTEGER_FORMATS:
        return Codec(_unpacker(_INTEGER_FORMATS[physical]), lower, upper, True)
    if physical in (BYTE_ARRAY, FIXED_LEN_BYTE_ARRAY):
        return Codec(_big_endian, lower, upper, False)
    return None


def _decimal_bound(value: int, one: int, outwards: float) -> int | float:
    """`value / one` as an int, else as the nearest float that is not on the inner side of it."""
    whole, rest = divmod(value, one)
    if rest == 0 and INT64_MIN <= whole <= _UINT64_MAX:
        return whole
    near = value / one  # correctly rounded, and finite: `_MAX_DECIMAL_BYTES` are under 2**511
    numerator, denominator = near.as_integer_ratio()
    excess = numerator * one - value * denominator
    if (excess < 0) if outwards > 0 else (excess > 0):
        near = nextafter(near, outwards)
    return near


def _big_endian(raw: bytes) -> int:
    if not 0 < len(raw) <= _MAX_DECIMAL_BYTES:
        raise ValueError("not a decimal")
    return int.from_bytes(raw, "big", signed=True)


def _unpacker(form: str) -> Callable[[bytes], Any]:
    unpack = struct.Struct(form).unpack

    def decode(raw: bytes) -> Any:
        return unpack(raw)[0]

    return decode


def _same(value: Any) -> Any:
    return value


def _float_lower(value: float) -> float | None:
    # Writers disagree on which zero is smaller: the lower one stands for both.
    return (value or -0.0) if isfinite(value) else None


def _float_upper(value: float) -> float | None:
    return (value or 0.0) if isfinite(value) else None


def _string_lower(raw: bytes) -> str:
    return _prefix(raw)


def _string_upper(raw: bytes) -> str | None:
    prefix = _prefix(raw)
    return prefix if prefix.encode() == raw else following(prefix)


def _prefix(raw: bytes) -> str:
    """The longest valid text, of `MAX_STRING` characters at most, that `raw` begins with. (A writer
    may have cut its statistics within a character.)"""
    raw = raw[: 4 * MAX_STRING]
    try:
        text = raw.decode()
    except UnicodeDecodeError as fault:
        text = raw[: fault.start].decode()
    return text[:MAX_STRING]


def following(prefix: str) -> str | None:
    """A string, no longer than `prefix`, above every one that begins with it, in the order of code
    points (which is that of UTF-8 bytes); None when there is none."""
    for end in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[end]) + 1
        if point <= _MAX_CODE_POINT:
            # The surrogates are no characters: the next one after U+D7FF is U+E000.
            return prefix[:end] + chr(0xE000 if point == 0xD800 else point)
    return None
