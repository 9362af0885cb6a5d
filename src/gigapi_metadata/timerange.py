"""A time window as users write it -> a pair of nanosecond bounds.

One rule for the whole package: an int is nanoseconds since the epoch, a datetime without a zone is
local time (as everywhere in Python's datetime), None means no bound. Both bounds are inclusive.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

TimeBound = datetime | int | None


class Window(NamedTuple):
    """Inclusive bounds in nanoseconds; INT64_MIN and INT64_MAX stand for "no bound"."""

    after: int = INT64_MIN
    before: int = INT64_MAX

    @property
    def unbounded(self) -> bool:
        """Whether every representable time lies inside."""
        return self.after == INT64_MIN and self.before == INT64_MAX

    def overlaps(self, min_time: int, max_time: int) -> bool:
        """Whether a file covering [min_time, max_time] has an instant in common with the window."""
        return min_time <= self.before and max_time >= self.after


def window(after: TimeBound, before: TimeBound) -> Window:
    """The window from `after` to `before`.

    Raises:
        TypeError: a bound is neither a datetime nor an int nor None.
    """
    first = INT64_MIN if after is None else max(_exact(after), INT64_MIN)
    last = INT64_MAX if before is None else min(_exact(before), INT64_MAX)
    # Beyond 64 bits there are no files: a window that lies there holds nothing.
    return Window(first, last) if first <= last else Window(1, 0)


def nanoseconds(moment: datetime | int) -> int:
    """Nanoseconds since the epoch, clamped to 64 bits. Exact: no float is involved.

    Raises:
        TypeError: `moment` is neither a datetime nor an int.
    """
    return min(max(_exact(moment), INT64_MIN), INT64_MAX)


def _exact(moment: datetime | int) -> int:
    if isinstance(moment, datetime):
        return (_aware(moment) - _EPOCH) // _MICROSECOND * 1000
    if isinstance(moment, int) and not isinstance(moment, bool):
        return moment
    raise TypeError(
        "a time bound is a datetime, an int (nanoseconds since the epoch) or None, "
        f"not {type(moment).__name__}"
    )


def _aware(moment: datetime) -> datetime:
    if moment.utcoffset() is not None:
        return moment
    try:
        return moment.replace(tzinfo=None).astimezone()
    except (OverflowError, ValueError, OSError):
        # Within a day of datetime.min or .max there is no local time; int64 is exceeded anyway.
        return moment.replace(tzinfo=UTC)
