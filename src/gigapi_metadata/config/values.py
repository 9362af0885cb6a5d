"""From what is written to a typed value: durations, sizes, numbers, truth values, text.

Each reader takes what was `Found` and either returns the value or says which variable (or file and
key) is wrong and what it may be. Pure.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import NamedTuple

from gigapi_metadata.errors import InvalidConfiguration
from gigapi_metadata.timerange import INT64_MAX
from gigapi_metadata.urls import HIDDEN, hide

DURATION_RULE = (
    "a Go duration, such as 90s, 10m, 1h30m or 1.5h (units: ns, us, ms, s, m, h), "
    "not negative, up to 2562047h; or 0"
)
SIZE_RULE = "a number of bytes, or text such as 100MiB, 1.5GiB or 500MB"

_UNITS_NS = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,  # the micro sign
    "\u03bcs": 10**3,  # the Greek letter
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
# Compiled when first used, which is seldom.
_PART = r"(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))(" + "|".join(_UNITS_NS) + ")"
_LONGEST = 100  # characters of a duration or size; no sensible one is longer
_UNITS_BYTES: dict[str, int] = {"": 1, "B": 1} | {
    f"{prefix}{unit}": base ** (power + 1)
    for power, prefix in enumerate("KMGTP")
    for unit, base in (("B", 1000), ("IB", 1024))
}
_SIZE = r"([0-9]+)(?:\.([0-9]+))? ?([A-Za-z]*)"
_TRUTH = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


class Level(IntEnum):
    """Where a value comes from; the higher one wins."""

    DEFAULT = 0
    FILE = 1
    ENVIRONMENT = 2
    ARGUMENT = 3


class Found(NamedTuple):
    """A value as written. `where` names it in an error, `source` says where it came from."""

    value: object
    where: str
    source: str
    level: Level

    def __repr__(self) -> str:  # the value may be a secret
        return f"<{self.source}>"


def wrong(found: Found, rule: str, *, secret: bool = False) -> InvalidConfiguration:
    """The error for `found`, which must be `rule`. A secret's value is not shown."""
    value = found.value
    if secret:
        shown = HIDDEN
    elif isinstance(value, str):
        shown = repr(hide(value) if len(value) <= _LONGEST else hide(value)[:_LONGEST] + "…")
    elif isinstance(value, bool | int | float) and abs(value) < 10**20:
        shown = str(value)
    else:
        shown = kind_of(value)
    return InvalidConfiguration(f"{found.where} is {shown}; it must be {rule}")


def kind_of(value: object) -> str:
    """What a file's value is, in words."""
    if value is None:
        return "nothing"
    kinds = {dict: "a group of keys", list: "a list", int: "a number", float: "a number"}
    return kinds.get(type(value), f"a value of type {type(value).__name__}")


def text(found: Found, rule: str = "text", *, secret: bool = False) -> str:
    """Text as it stands; in a file a number is no text, it must be quoted."""
    value = found.value
    if not isinstance(value, str):
        raise wrong(found, f"{rule}, in quotes" if rule == "text" else rule, secret=secret)
    if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value):
        raise wrong(
            found, f"{rule}, in UTF-8 and without line ends or control characters", secret=secret
        )
    return value


def choice(found: Found, choices: tuple[str, ...]) -> str:
    """One of `choices`, whatever its case."""
    value = found.value.strip().lower() if isinstance(found.value, str) else ""
    if value not in choices:
        raise wrong(found, " or ".join(choices))
    return value


def truth(found: Found) -> bool:
    """A truth value: what Go's ParseBool takes, whatever its case."""
    if isinstance(found.value, bool):
        return found.value
    known = _TRUTH.get(found.value.strip().lower()) if isinstance(found.value, str) else None
    if known is None:
        raise wrong(found, "true or false")
    return known


def whole(found: Found, low: int, high: int, rule: str) -> int:
    """A whole number from `low` to `high`; as text too."""
    value = found.value
    if isinstance(value, str) and re.fullmatch("[+-]?[0-9]{1,20}", digits := value.strip(" \t")):
        value = int(digits)
    if type(value) is not int or not low <= value <= high:
        raise wrong(found, rule)
    return value


def seconds(found: Found) -> int:
    """A duration in whole seconds, rounded up. A bare number other than 0 has no unit: refused."""
    if type(found.value) is int and found.value == 0:
        return 0
    try:
        return parse_duration(text(found))
    except InvalidConfiguration:
        raise wrong(found, DURATION_RULE) from None


def parse_duration(text: str) -> int:
    """The seconds of a Go duration (`1h30m`, `1.5h`, `500ms`, a bare `0`), exactly as Go reads it,
    then rounded up to a whole second: 0 means "never" to a layer, and 500ms does not.

    Raises:
        InvalidConfiguration: it is none, is negative, or is longer than Go can hold (292 years).
    """
    rest = text.strip().removeprefix("+")
    if rest == "0":
        return 0
    refused = InvalidConfiguration(f"duration {text[:_LONGEST]!r} must be {DURATION_RULE}")
    if not rest or len(rest) > _LONGEST:
        raise refused
    scale: int = 10**_LONGEST
    total = position = 0
    while position < len(rest):
        part = re.compile(_PART).match(rest, position)
        if part is None:
            raise refused
        digits, fraction = part[1] or "", part[2] or part[3] or ""
        total += int(digits + fraction) * _UNITS_NS[part[4]] * (scale // 10 ** len(fraction))
        position = part.end()
    if total > INT64_MAX * scale:
        raise refused
    return -(-total // (10**9 * scale))


def format_duration(seconds: int) -> str:
    """`seconds`, not negative, as the shortest Go duration: `1h30m`, `90s` is `1m30s`, 0 is `0`."""
    hours, rest = divmod(seconds, 3600)
    parts = ((hours, "h"), (rest // 60, "m"), (rest % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0"


def parse_size(text: str) -> int:
    """The bytes of `100MiB`, `1.5 GiB`, `500MB` (1000s) or a bare number, whatever their case.

    Raises:
        InvalidConfiguration: it is no size, no whole number of bytes, or needs more than 63 bits.
    """
    match = re.fullmatch(_SIZE, text.strip()) if len(text) <= _LONGEST else None
    unit = _UNITS_BYTES.get(match[3].upper()) if match else None
    if match is None or unit is None:
        raise InvalidConfiguration(f"size {text[:_LONGEST]!r} must be {SIZE_RULE}")
    fraction = match[2] or ""
    scale: int = 10 ** len(fraction)
    size, rest = divmod(int(match[1] + fraction) * unit, scale)
    if rest or size > INT64_MAX:
        raise InvalidConfiguration(f"size {text!r} must be whole bytes, below 8 EiB")
    return size
