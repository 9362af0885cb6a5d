"""Times as SQL has them -> nanoseconds, with or without a zone.

Statistics hold UTC. DuckDB compares a time without a zone with a column that has one (and the
reverse) by the zone of its session; which kind a column is, an entry does not say. So a time is
the interval that holds both readings. Where the session's zone is UTC, that is a single instant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_SECOND_NS = 10**9
DAY_NS = 86_400 * _SECOND_NS
ZONES_NS = 26 * 3600 * _SECOND_NS
"""More than any zone is ever from UTC, or has ever skipped at once."""

_INSTANT = re.compile(
    r"\s*(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[ T](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})"
    r"(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?)?"
    r"\s?(?P<zone>Z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)?)?\s*"
)


@dataclass(frozen=True)
class Zone:
    """The time zone of a session; `rules` is None for the system's own, and `known` False for one
    that Python has no rules of."""

    rules: tzinfo | None = None
    known: bool = True

    def of_naive(self, wall_ns: int) -> tuple[int, int]:
        """What a time without a zone may be: in UTC, and in this zone."""
        return self._both(wall_ns, -1)

    def of_aware(self, instant_ns: int) -> tuple[int, int]:
        """What an instant may be compared with: itself, and this zone's clock at the time."""
        return self._both(instant_ns, 1)

    def is_utc(self, instant_ns: int) -> bool:
        """Whether it surely is UTC, at the time."""
        return self.of_aware(instant_ns) == (instant_ns, instant_ns)

    def _both(self, time_ns: int, sign: int) -> tuple[int, int]:
        offsets = {self._offset_ns(time_ns + shift) for shift in (-ZONES_NS, 0, ZONES_NS)}
        if len(offsets) == 1:
            offset = offsets.pop()
            if offset is not None:
                other = time_ns + sign * offset
                return min(time_ns, other), max(time_ns, other)
        # The clock is changed about then, or nothing is known.
        return time_ns - ZONES_NS, time_ns + ZONES_NS

    def _offset_ns(self, instant_ns: int) -> int | None:
        if not self.known:
            return None
        if self.rules is UTC:
            return 0
        try:
            moment = datetime.fromtimestamp(instant_ns // _SECOND_NS, UTC).astimezone(self.rules)
            offset = moment.utcoffset()
        except (OverflowError, ValueError, OSError):
            return None
        return None if offset is None else offset // _MICROSECOND * 1000


SYSTEM_ZONE = Zone()
UTC_ZONE = Zone(UTC)


def zone_of(name: str | None) -> Zone:
    """The zone that a DuckDB session's `TimeZone` names; None is the system's, which is also what
    DuckDB takes by default."""
    if name is None:
        return SYSTEM_ZONE
    if name.upper() in ("UTC", "ETC/UTC", "GMT"):
        return UTC_ZONE
    from zoneinfo import ZoneInfo

    try:
        return Zone(ZoneInfo(name))
    except (KeyError, ValueError, OSError):
        return Zone(known=False)


@dataclass(frozen=True)
class Instant:
    """A time as it is written: what its clock shows and, if it says, how far that is ahead of
    UTC."""

    wall_ns: int
    offset_ns: int | None
    has_time: bool

    def naive(self, zone: Zone) -> tuple[int, int]:
        """As a TIMESTAMP or DATE, whose cast from text drops an offset (or once applied it)."""
        low, high = zone.of_naive(self.wall_ns)
        if self.offset_ns:
            other = zone.of_naive(self.wall_ns - self.offset_ns)
            return min(low, other[0]), max(high, other[1])
        return low, high

    def aware(self, zone: Zone) -> tuple[int, int]:
        """As a TIMESTAMP WITH TIME ZONE."""
        if self.offset_ns is not None:
            return zone.of_aware(self.wall_ns - self.offset_ns)
        low, high = zone.of_naive(self.wall_ns)
        first, last = zone.of_aware(low)[0], zone.of_aware(high)[1]
        return min(low, first), max(high, last)

    def of_literal(self, zone: Zone) -> tuple[int, int]:
        """As a string that is cast to whatever the column is: a TIMESTAMP loses its nanoseconds. (A
        DATE loses its time of day, which is not seen to here.)"""
        low, high = self.naive(zone)
        if self.offset_ns is not None:
            instant = self.wall_ns - self.offset_ns
            low, high = min(low, instant), max(high, instant)
        return low - low % 1000, high


def parse_instant(text: str) -> Instant | None:
    """`2024-01-15`, `2024-01-15 14:00:00.123456789+02`: ISO 8601 as DuckDB takes it. None if it is
    anything else, which DuckDB may still understand."""
    found = _INSTANT.fullmatch(text)
    if found is None:
        return None
    hour, minute, second = (int(found[part] or 0) for part in ("hour", "minute", "second"))
    try:
        day = datetime.fromisoformat(found["day"])
    except ValueError:
        return None
    if hour > 23 or minute > 59 or second > 59:
        return None
    seconds = (hour * 60 + minute) * 60 + second
    fraction = int((found["fraction"] or "").ljust(9, "0"))
    wall = naive_ns(day) + seconds * _SECOND_NS + fraction
    return Instant(wall, _offset(found["zone"]), found["hour"] is not None)


def naive_ns(moment: datetime) -> int:
    """Nanoseconds from 1970 to a time, both without a zone. Exact."""
    return (moment - _EPOCH) // _MICROSECOND * 1000


def iso(time_ns: int) -> str:
    """A time in UTC for people, to the second if it is a whole one."""
    seconds, rest = divmod(time_ns, _SECOND_NS)
    moment = (_EPOCH + timedelta(seconds=seconds)).isoformat(" ")
    return f"{moment}.{rest:09}".rstrip("0") + "Z" if rest else f"{moment}Z"


def _offset(zone: str | None) -> int | None:
    if zone is None:
        return None
    if zone in ("Z", "UTC"):
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return (-seconds if zone[0] == "-" else seconds) * _SECOND_NS
