"""Times as users write them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigapi_metadata.cli.output import iso, period, size
from gigapi_metadata.cli.times import parse_time
from gigapi_metadata.timerange import INT64_MAX, INT64_MIN

NOW = 1_705_327_200_123_456_789  # 2024-01-15T14:00:00.123456789Z
SECOND = 10**9


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        (" now ", NOW),
        ("-1h", NOW - 3600 * SECOND),
        ("-90s", NOW - 90 * SECOND),
        ("-1h30m", NOW - 5400 * SECOND),
        ("-1.5h", NOW - 5400 * SECOND),
        ("-2d", NOW - 172_800 * SECOND),
        ("-1w", NOW - 7 * 86_400 * SECOND),
        ("-1ns", NOW - 1),
        ("-250ms", NOW - 250 * 10**6),
        ("-0s", NOW),
        ("+5m", NOW + 300 * SECOND),
        ("2024-01-15T14:00:00.123456789Z", NOW),
        ("2024-01-15T14:00:00,123456789z", NOW),
        ("2024-01-15 14:00Z", NOW - 123_456_789),
        ("2024-01-15T16:00+02:00", NOW - 123_456_789),
        ("2024-01-15T16:00+0200", NOW - 123_456_789),
        ("2024-01-15T16:00+02", NOW - 123_456_789),
        ("2024-01-15T09:30:00.1-04:30", NOW - 23_456_789),
        ("0", 0),
        ("1705327200", 1_705_327_200 * SECOND),
        ("1705327200.123456789", NOW),
        ("1705327200123", NOW - 456_789),
        ("1705327200123.456789", NOW),
        ("1705327200123456", NOW - 789),
        ("1705327200123456789", NOW),
        ("100000000", 10**8 * SECOND),
        ("99999999999", 99_999_999_999 * SECOND),  # clamped
        ("100000000000", 10**11 * 10**6),
        ("9223372036854775807", INT64_MAX),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("0001-01-01T00:00Z", INT64_MIN),
        ("9999-12-31T23:59:59Z", INT64_MAX),
        ("-999999w", INT64_MIN),
    ],
)
def test_a_time_is_read_exactly(text: str, expected: int) -> None:
    assert parse_time(text, NOW) == min(max(expected, INT64_MIN), INT64_MAX)


@pytest.mark.usefixtures("berlin")
def test_without_a_zone_it_is_local_time() -> None:
    noon = 1_705_316_400 * SECOND  # 12:00 in Berlin
    assert parse_time("2024-01-15T12:00", NOW) == noon
    assert parse_time("2024-01-15", NOW) == noon - 12 * 3600 * SECOND
    assert parse_time("2024-01-15T12:00Z", NOW) == noon + 3600 * SECOND


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "yesterday", "-", "+", "-1", "-5.5", "-1x", "-h", "-1h30", "--1h", "1h-",
        "2024", "20240115", "99999999", "2024-13-01", "2024-02-30", "2024-1-5", "2024-01-15T25:00",
        "2024-01-15T14:60", "2024-01-15T14:00:60", "2024-01-15T14:00:00.1234567890",
        "2024-01-15T14", "2024-01-15T14:00+25:00", "1e9", "0x10", "1_000_000_000", "nan", "inf",
        "١٧٠٥٣٢٧٢٠٠", "17053272001234567890", "1705327200.1234567890", "0.5", "2024-01-15T14:00 Z",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no|too small") as refused:
        parse_time(text, NOW)
    assert repr(text) in str(refused.value)


def test_a_duration_without_its_sign_is_explained() -> None:
    with pytest.raises(ValueError, match="write -1h for 1h ago"):
        parse_time("1h", NOW)


@given(st.integers(INT64_MIN, INT64_MAX))
def test_what_is_printed_can_be_read(time_ns: int) -> None:
    assert parse_time(iso(time_ns), NOW) == time_ns


@given(st.integers(10**17, INT64_MAX))
def test_nanoseconds_stay_exact(time_ns: int) -> None:
    assert parse_time(str(time_ns), NOW) == time_ns


@given(st.integers(10**8, 9 * 10**9), st.integers(0, 999_999_999))
def test_a_fraction_of_a_second_stays_exact(second: int, ns: int) -> None:
    assert parse_time(f"{second}.{ns:09}", NOW) == second * SECOND + ns


@given(st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)))
def test_iso_agrees_with_datetime(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    whole = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() // 1)
    expected = whole * SECOND + moment.microsecond * 1000
    assert parse_time(moment.isoformat(), NOW) == expected


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        value = parse_time(text, NOW)
    except ValueError:
        return
    assert INT64_MIN <= value <= INT64_MAX


def test_times_beyond_the_calendar() -> None:
    """A plan may wait for a TTL of any length."""
    assert iso(2**53 * 10**9) == "9999-12-31T23:59:59Z"


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1024**2 - 1, "1.0 MiB"), (2**63, "8.0 EiB")],
)
def test_sizes_for_people(amount: int, shown: str) -> None:
    assert size(amount) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.251, "0.25 s"),
        (42, "42 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (1e6, "11 d"),
        (63_072_000, "2 y"),
    ],
)
def test_periods_for_people(seconds: float, shown: str) -> None:
    assert period(seconds) == shown
