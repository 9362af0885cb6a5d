"""The constants that conditions compare columns with.

An entry's statistics don't say of which type their column is, and DuckDB casts a constant to the
column's type. So a constant is kept as an interval that holds every value it may be cast to: 0.1
lies between the float32 and the decimal, a time without a zone may be UTC's or the session's.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, TypeAlias

from gigapi_metadata.pruning.instants import SYSTEM_ZONE, Zone, naive_ns, parse_instant

# Int, float and Decimal compare exactly with each other.
Number: TypeAlias = Any

_EXACT_IN_FLOAT = 2**53
_DOUBLE_DIGITS, _SINGLE_DIGITS = 53, 24
_SECOND_NS = 10**9
_MAX_DIGITS = 400  # of a number in text; beyond lies no type's range
_NUMBER = re.compile(r"\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)\s*")
PLAUSIBLE_NS = 10**17
"""1973. Smaller numbers may be seconds, milliseconds or microseconds."""


@dataclass(frozen=True)
class Value:
    """A constant. Each interval is inclusive; None means that it is nothing of that kind.

    `numbers` are the numbers and `times` the nanoseconds that it may stand for, `text` itself if it
    is a string, `flag` if it is a boolean. One that is nothing at all is never decided on.
    """

    shown: str
    numbers: tuple[Number, Number] | None = None
    times: tuple[int, int] | None = None
    text: str | None = None
    flag: bool | None = None
    dated: bool = False
    """Whether it is a string with a time of day, which a DATE column makes it lose; or any string
    that may be cast to a type of time which is not that of its column."""
    digits: int | None = None
    """Bits that its type keeps of a number, if it is a floating-point type."""

    @cached_property
    def interval(self) -> tuple[Number, Number] | None:
        """What it may be when compared with a number or a time."""
        return self.times if self.numbers is None else self.numbers

    @cached_property
    def interval_32(self) -> tuple[Number, Number] | None:
        """The same beside a column of float32, which it is rounded to."""
        if self.numbers is None:
            return self.times
        low, high = self.numbers
        return min(low, float_32(low)), max(high, float_32(high))

    def __str__(self) -> str:
        return self.shown


UNDECIDED = Value("?")
"""A constant that is not understood."""


def value_of(constant: Any, zone: Zone = SYSTEM_ZONE) -> Value | None:
    """A Python object as a constant; None for None.

    A datetime without a zone is local time, as everywhere in this package, or UTC, as a column
    without a zone has it: both count.

    Raises:
        TypeError: it is of a type that no column has.
    """
    if hasattr(constant, "item"):  # one of numpy's
        constant = constant.item()
    if constant is None:
        return None
    for kinds, convert in _CONVERTERS:
        if isinstance(constant, kinds):
            return convert(constant, zone)
    raise TypeError(f"{constant!r} is of type {type(constant).__name__}")


def _flag_value(flag: bool, _zone: Zone) -> Value:
    return Value(str(flag).lower(), flag=flag)


def _moment_value(moment: datetime, zone: Zone) -> Value:
    shown = f"'{moment.isoformat(' ')}'"
    offset = moment.utcoffset()
    wall = naive_ns(moment.replace(tzinfo=None))
    if offset is None:
        return Value(shown, times=zone.of_naive(wall))
    return Value(shown, times=zone.of_aware(wall - offset // timedelta(microseconds=1) * 1000))


def _day_value(day: date, zone: Zone) -> Value:
    midnight = naive_ns(datetime(day.year, day.month, day.day))
    return Value(f"'{day}'", times=zone.of_naive(midnight))


def _time_value(moment: time, _zone: Zone) -> Value:
    seconds = (moment.hour * 60 + moment.minute) * 60 + moment.second
    since_midnight = (seconds * 10**6 + moment.microsecond) * 1000
    return Value(f"'{moment}'", times=(since_midnight, since_midnight))


def number_value(number: Number, shown: str = "", *, double: bool = False) -> Value:
    """A number. With `double` it is of a floating-point type, to which integers are cast."""
    shown = shown or str(number)
    if math.isnan(number):
        return Value(shown)  # NaN: the greatest of all, and in no statistics
    near = float_of(number)
    low, high = min(number, near), max(number, near)
    if double and abs(near) >= _EXACT_IN_FLOAT:
        low, high = math.nextafter(low, -math.inf), math.nextafter(high, math.inf)
    return Value(shown, (low, high), digits=_DOUBLE_DIGITS if double else None)


def single_value(number: float, shown: str) -> Value:
    """A number of type float32, to which integers and doubles may be cast."""
    if math.isnan(number):
        return Value(shown)
    slack = abs(number) * 2.0**-23
    return Value(shown, (number - slack, number + slack), digits=_SINGLE_DIGITS)


def text_value(text: str, zone: Zone = SYSTEM_ZONE) -> Value:
    """A string literal: beside a column of another type it is cast to that."""
    shown = "'" + text.replace("'", "''") + "'"
    found = _NUMBER.fullmatch(text)
    if found is not None and len(text) <= _MAX_DIGITS:
        number = Decimal(found[1])
        # Cast to an integer or a decimal, it is rounded.
        low, high = Decimal(math.floor(number)), Decimal(math.ceil(number))
        if low != high:
            low, high = low - 1, high + 1
        return Value(shown, _widest(low, high), text=text)
    instant = parse_instant(text)
    if instant is None:
        return Value(shown, text=text)
    return Value(shown, times=instant.of_literal(zone), text=text, dated=instant.has_time)


def together(values: Sequence[Value], sure: bool = True) -> list[Value]:
    """The constants of one BETWEEN or IN: they and the column are cast to one type, which may be
    that of any of them; of any number at all if not `sure`."""
    if len({value.text is None for value in values}) > 1:
        values = [_no_text(value) for value in values]
    digits = [value.digits for value in values if value.digits is not None]
    if not sure:
        digits.append(_SINGLE_DIGITS)
    return [_rounded(value, min(digits)) for value in values] if digits else list(values)


def loosened(value: Value) -> Value:
    """A constant that is cast to some type that is not known."""
    return together([_no_text(value)], sure=False)[0]


def _no_text(value: Value) -> Value:
    """A string that may be cast, even if its column is of strings."""
    times = value.times
    if value.text is not None and times is not None:
        # A type of time may round to whole seconds.
        times = times[0] - _SECOND_NS, times[1] + _SECOND_NS
    return replace(value, text=None, times=times, dated=times is not None)


def _rounded(value: Value, digits: int) -> Value:
    """What may be equal to a number that is, as the column, rounded to so many bits."""
    if value.numbers is None:
        return value
    low, high = map(float_of, value.numbers)
    slack = 2.0 ** (2 - digits)
    if math.isfinite(low):
        low = min(value.numbers[0], low - abs(low) * slack)
    if math.isfinite(high):
        high = max(value.numbers[1], high + abs(high) * slack)
    return replace(value, numbers=(low, high), digits=digits)


def float_of(number: Number) -> float:
    """The nearest float, which may be infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _widest(low: Decimal, high: Decimal) -> tuple[Number, Number]:
    first, last = number_value(low).numbers, number_value(high).numbers
    return (first[0] if first else -math.inf, last[1] if last else math.inf)


def float_32(number: Number) -> float:
    """The nearest float32."""
    try:
        found: float = struct.unpack("<f", struct.pack("<f", float_of(number)))[0]
    except OverflowError:
        return math.inf if number > 0 else -math.inf
    return found


_CONVERTERS: tuple[tuple[Any, Callable[[Any, Zone], Value]], ...] = (
    (bool, _flag_value),
    (str, text_value),
    ((int, float, Decimal), lambda number, _: number_value(number)),
    (datetime, _moment_value),
    (date, _day_value),
    (time, _time_value),
)
