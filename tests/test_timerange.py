"""A time window as users write it -> nanosecond bounds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigapi_metadata.timerange import INT64_MAX, INT64_MIN, Window, nanoseconds, window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def in_new_york() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "America/New_York"
    time.tzset()
    yield
    del os.environ["TZ"]
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def test_no_bound_is_the_whole_of_time() -> None:
    assert window(None, None) == Window(INT64_MIN, INT64_MAX) == Window()
    assert window(None, None).unbounded
    assert not window(INT64_MIN + 1, None).unbounded
    assert not window(None, INT64_MAX - 1).unbounded


def test_zero_is_a_bound() -> None:
    assert window(0, None) == Window(0, INT64_MAX)
    assert window(None, 0) == Window(INT64_MIN, 0)
    assert nanoseconds(EPOCH) == 0


@given(st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1)), st.integers(-1439, 1439))
def test_zoned_datetimes_are_exact(moment: datetime, offset: int) -> None:
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    exact = zoned - EPOCH
    whole = (exact.days * 86400 + exact.seconds) * 10**9 + exact.microseconds * 1000
    assert nanoseconds(zoned) == whole


@given(st.integers(INT64_MIN, INT64_MAX))
def test_integers_are_nanoseconds_as_they_stand(number: int) -> None:
    assert nanoseconds(number) == number


@pytest.mark.usefixtures("in_new_york")
def test_datetimes_without_zone_are_local_on_either_side_of_a_clock_change() -> None:
    first = datetime(2024, 11, 3, 1, 30)
    second = first.replace(fold=1)
    assert nanoseconds(first) == nanoseconds(datetime(2024, 11, 3, 5, 30, tzinfo=UTC))
    assert nanoseconds(second) - nanoseconds(first) == 3600 * 10**9
    assert nanoseconds(datetime(2024, 7, 1)) == nanoseconds(datetime(2024, 7, 1, 4, tzinfo=UTC))
    assert nanoseconds(datetime(1969, 12, 31, 19)) == 0


@pytest.mark.parametrize(
    "zone", [None, UTC, timezone(timedelta(hours=23)), timezone(timedelta(hours=-23))]
)
def test_moments_beyond_64_bits_are_clamped(zone: Any) -> None:
    assert nanoseconds(datetime.min.replace(tzinfo=zone)) == INT64_MIN
    assert nanoseconds(datetime.max.replace(tzinfo=zone)) == INT64_MAX
    assert nanoseconds(datetime(2300, 1, 1, tzinfo=zone)) == INT64_MAX


@pytest.mark.parametrize("wrong", ["now", 1.0, True, b"1", timedelta(1), (2024, 1, 1)])
def test_other_types_are_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="datetime"):
        nanoseconds(wrong)
    for bounds in ((wrong, None), (None, wrong)):
        with pytest.raises(TypeError):
            window(*bounds)


def test_a_datetime_whose_zone_knows_no_offset_is_local() -> None:
    from datetime import tzinfo

    class Vague(tzinfo):
        def utcoffset(self, moment: datetime | None) -> None:
            return None

        def dst(self, moment: datetime | None) -> None:
            return None

        def tzname(self, moment: datetime | None) -> str:
            return "?"

    naive = datetime(2024, 1, 1)
    assert nanoseconds(naive.replace(tzinfo=Vague())) == nanoseconds(naive)


@given(*[st.integers(-9, 9)] * 4)
def test_overlapping_means_to_have_an_instant_in_common(
    a: int, b: int, low: int, high: int
) -> None:
    first, last = sorted((low, high))
    common = set(range(a, b + 1)) & set(range(first, last + 1))
    if a <= b:
        assert window(a, b).overlaps(first, last) == bool(common)
