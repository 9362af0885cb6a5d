"""How numbers among statistics have been rounded since they were exact.

Lua's cjson, which GigAPI passes entries through, keeps 14 significant digits; Go's JSON keeps those
of a float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from gigapi_metadata.pruning.values import Number, float_32

CJSON_DIGITS = 14
_CJSON_LIMIT = 10**CJSON_DIGITS
_EXACT_IN_FLOAT = 2**53
_HUGEST = 2**130
MOST_ROUNDED = 1e-12
"""No number is off by a larger part of it."""


def rounds_to(exact: int, found: Any) -> bool:
    """Whether `found` may be what has become of a number."""
    if type(found) not in (int, float):
        return False
    return bool(exact == found or float(f"{exact:.{CJSON_DIGITS}g}") == found)


def slack_of(statistics: Iterable[Any]) -> Callable[[Number], Number]:
    """By how much a number may differ from the true one that is among `statistics`, which are all
    of one entry."""
    numbers = [value for value in statistics if type(value) in (int, float) and is_plausible(value)]
    # Digits that cjson would not have left prove that it has not had any number of that kind.
    exact = {type(number) for number in numbers if _is_exact(number)}
    rounded = any(type(number) is float and abs(number) >= _CJSON_LIMIT for number in numbers)
    # cjson writes 30.0 as 30 and 10**15 as 1e+15, and 30.00000000000001 as 30 as well.
    small_exact = not rounded and (exact or not all(map(_is_as_cjson_writes, numbers)))

    def slack(number: Number) -> Number:
        if type(number) in exact:
            return _go_slack(number)
        if type(number) is int and abs(number) < _CJSON_LIMIT and small_exact:
            return 0
        return _cjson_slack(number)

    return slack


def is_plausible(number: Number) -> bool:
    """Whether any type of a column has such numbers."""
    return bool(isinstance(number, float) or abs(number) < _HUGEST)


def _is_as_cjson_writes(number: Number) -> bool:
    """Whether a number read from JSON is of the type that it has after cjson."""
    small = bool(abs(number) < _CJSON_LIMIT)
    whole = number == 0 or isinstance(number, int)
    return small if whole else not (small and number.is_integer())


def _is_exact(number: Number) -> bool:
    """Whether it has digits that cjson would not have left."""
    if isinstance(number, int) and len(str(abs(number)).rstrip("0")) <= CJSON_DIGITS:
        return False
    return bool(float(f"{number:.{CJSON_DIGITS}g}") != number)


def _go_slack(number: Number) -> Number:
    """Go's JSON has integers as float64, and writes their shortest digits."""
    if isinstance(number, int) and abs(number) > _EXACT_IN_FLOAT:
        # Digits that a float64 would not have left prove that it has not been one.
        near = float(number)
        written = int(near), int(Decimal(repr(near)))
        return int(math.ulp(near)) if number in written else 0
    return 0


def _cjson_slack(number: Number) -> Number:
    if isinstance(number, int) and abs(number) >= _CJSON_LIMIT:
        return 10 ** (len(str(abs(number))) - CJSON_DIGITS) + int(math.ulp(number))
    return abs(float(number)) * 10.0 ** (1 - CJSON_DIGITS)


def is_single(number: Any) -> bool:
    """Whether a column of float32 may hold it, before it was rounded. (No bound: it may.)"""
    if number is None:
        return True
    single = float_32(number)
    return bool(single == number or float(f"{single:.{CJSON_DIGITS}g}") == number)
