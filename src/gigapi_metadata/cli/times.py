"""A time as it is written on a command line -> nanoseconds since the epoch, exactly.

Pure: `now_ns` is passed in.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from gigapi_metadata.timerange import INT64_MAX, INT64_MIN, nanoseconds

FORMS = (
    "-1h, -30m or -1h30m (ago), now, 2024-01-15, 2024-01-15T14:00:00Z, "
    "or seconds, ms, us or ns since 1970"
)
"""What a time may be, for error messages."""

_SECOND = 10**9
_ONE_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS_NS = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
    "d": 86_400 * _SECOND,
    "w": 7 * 86_400 * _SECOND,
}
_PART = re.compile(rf"([0-9]{{1,18}})(?:\.([0-9]{{1,18}}))?({'|'.join(_UNITS_NS)})")
_NUMBER = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,9}))?")
_ISO = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?P<minute>[0-9]{2}:[0-9]{2})"
    r"(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
    r"(?P<zone>Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?",
    re.IGNORECASE,
)


def parse_time(text: str, now_ns: int) -> int:
    """The nanosecond that `text` means.

    `now`; a duration before (`-1h30m`) or after (`+5m`) now; ISO 8601 with up to nine digits of a
    second, local time without a zone, a bare date its midnight; a number since the epoch, whose
    size tells its unit: below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds, then
    nanoseconds. So a number lies between 1973 and 5138; smaller ones are no time, they are more
    likely a year or a date without its dashes. Beyond 64 bits, the nearest representable time.

    Raises:
        ValueError: it is none of these. The message says what is accepted.
    """
    found = text.strip()
    if found == "now":
        return now_ns
    if found[:1] in ("-", "+"):
        offset = _duration(found[1:])
        if offset is None:
            raise ValueError(f"{text!r} is no time; a duration is -90s, -30m, -1h30m, -2d or -1w")
        value = now_ns - offset if found[0] == "-" else now_ns + offset
    elif number := _NUMBER.fullmatch(found):
        value = _since_epoch(text, number)
    elif match := _ISO.fullmatch(found):
        value = _iso(text, match)
    elif _duration(found) is not None:
        raise ValueError(f"{text!r} is no time; write -{found} for {found} ago")
    else:
        raise ValueError(f"{text!r} is no time; write {FORMS}")
    return min(max(value, INT64_MIN), INT64_MAX)


def _duration(text: str) -> int | None:
    """`1h30m` or `1.5h` in nanoseconds; None if it is no duration."""
    total, position = 0, 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            return None
        fraction = part[2] or ""
        total += int(part[1] + fraction) * _UNITS_NS[part[3]] // 10 ** len(fraction)
        position = part.end()
    return total if text else None


def _since_epoch(text: str, number: re.Match[str]) -> int:
    whole = int(number[1])
    if whole == 0 and not number[2]:
        return 0
    if whole < 10**8:
        raise ValueError(f"{text!r} is too small for a time since 1970, and no date; write {FORMS}")
    fraction = (number[2] or "").ljust(9, "0")
    for limit, unit in ((10**11, _SECOND), (10**14, 10**6), (10**17, 10**3)):
        if whole < limit:
            return whole * unit + int(fraction) * unit // _SECOND
    return whole


def _iso(text: str, match: re.Match[str]) -> int:
    zone = (match["zone"] or "").upper()
    moment = f"{match['day']}T{match['minute'] or '00:00'}:{match['second'] or '00'}{zone}"
    try:
        found = datetime.fromisoformat(moment)
    except ValueError as fault:
        raise ValueError(f"{text!r} is no time: {fault}") from None
    try:
        since_epoch = (found if zone else found.astimezone()) - _EPOCH
    except (OverflowError, ValueError, OSError):  # in the first or last year there is
        return nanoseconds(found)
    return since_epoch // _ONE_SECOND * _SECOND + int((match["fraction"] or "").ljust(9, "0"))
