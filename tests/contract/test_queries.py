"""A query returns every entry that overlaps, no other, once, by (min_time, path)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fix_stores import Backend, OpenIndex, entry, path_of
from hypothesis import given, settings
from hypothesis import strategies as st

from gigapi_metadata import IndexEntry, InvalidConfiguration, InvalidName, Layer, QueryOptions

MIN, MAX = -(2**63), 2**63 - 1
HOUR = 3600 * 10**9
ZONES = ["UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Pago_Pago"]


def paths(entries: list[IndexEntry]) -> list[str]:
    return [each.path for each in entries]


def covering(name: str, min_time: int, max_time: int, **changes: Any) -> IndexEntry:
    path = f"date=2027-01-15/hour=08/{name}.1.parquet"
    return entry(**{"path": path, "min_time": min_time, "max_time": max_time, **changes})


@pytest.mark.parametrize(
    ("after", "before", "found"),
    [
        (None, None, True),
        (100, None, True),
        (200, None, True),
        (201, None, False),
        (None, 100, True),
        (None, 99, False),
        (200, 300, True),
        (201, 300, False),
        (0, 100, True),
        (0, 99, False),
        (150, 150, True),
        (120, 130, True),
        (0, 1000, True),
        (130, 120, False),
        (0, None, True),
        (None, 0, False),
        (0, 0, False),
        (MIN, MAX, True),
        (MIN, None, True),
        (None, MAX, True),
        (MAX, None, False),
        (None, MIN, False),
        (-(2**70), 2**70, True),
        (2**70, None, False),
        (None, -(2**70), False),
    ],
)
def test_bounds_are_inclusive_and_either_may_be_absent(
    open_index: OpenIndex, after: int | None, before: int | None, found: bool
) -> None:
    index = open_index()
    index.batch([covering("a", 100, 200)])
    expected = ["date=2027-01-15/hour=08/a.1.parquet"] if found else []
    assert paths(index.query(after=after, before=before)) == expected
    assert paths(index.query(QueryOptions(after=after, before=before))) == expected


def test_zero_is_a_bound_and_not_the_absence_of_one(open_index: OpenIndex) -> None:
    index = open_index()
    index.batch([covering("before", -10, -1), covering("at", -1, 0), covering("after", 1, 2)])
    assert len(index.query(before=0)) == 2
    assert len(index.query(after=0)) == 2
    assert len(index.query(after=0, before=0)) == 1


def test_the_extremes_of_64_bits_are_times_as_any_other(open_index: OpenIndex) -> None:
    index = open_index()
    always = covering("always", MIN, MAX)
    dawn, dusk = covering("dawn", MIN, MIN), covering("dusk", MAX, MAX)
    index.batch([always, dawn, dusk])
    assert index.get_all() == [always, dawn, dusk]
    assert index.query(before=MIN) == [always, dawn]
    assert index.query(after=MAX) == [always, dusk]
    assert index.query(after=0, before=0) == [always]
    assert index.query(after=MIN + 1, before=MAX - 1) == [always]


def test_nothing_lies_beyond_64_bits(open_index: OpenIndex) -> None:
    index = open_index()
    index.batch([covering("always", MIN, MAX)])
    assert index.query(after=MAX + 1) == []
    assert index.query(before=MIN - 1) == []


def test_results_are_ordered_by_time_then_path(open_index: OpenIndex) -> None:
    index = open_index()
    dirs = ["date=2027-01-16/hour=00", "date=2027-01-15/hour=23", "date=2027-01-15/hour=é"]
    entries = [
        entry(path=path_of(n, dir=dir), min_time=n % 3, max_time=10)
        for n in range(7)
        for dir in dirs
    ]
    index.batch(reversed(entries))
    expected = sorted(entries, key=lambda each: (each.min_time, each.path))
    assert index.get_all() == expected
    assert index.query(after=0) == expected


@pytest.mark.parametrize(
    "folder",
    ["date=2027-01-15/hour=23", "date=1970-01-01/hour=00", "whatever", "not-a-date/aaaaa/c"],
)
def test_a_folders_name_is_no_reason_to_skip_a_file(open_index: OpenIndex, folder: str) -> None:
    index = open_index()
    day = int(datetime(2027, 1, 15, tzinfo=UTC).timestamp()) * 10**9
    over_midnight = entry(
        path=f"{folder}/a.1.parquet", min_time=day + 23 * HOUR, max_time=day + 25 * HOUR
    )
    all_day = entry(path=f"{folder}/b.1.parquet", min_time=day, max_time=day + 24 * HOUR - 1)
    index.batch([over_midnight, all_day])
    next_day = {"after": day + 24 * HOUR, "before": day + 26 * HOUR}
    assert index.query(**next_day) == [over_midnight]
    assert index.query(after=day + 23 * HOUR, before=day + 25 * HOUR) == [all_day, over_midnight]
    assert index.query(after=day + 8 * HOUR, before=day + 9 * HOUR) == [all_day]
    assert index.query(after=day + 25 * HOUR + 1) == []


@pytest.fixture(params=ZONES)
def local_zone(request: pytest.FixtureRequest) -> Iterator[ZoneInfo]:
    """The host's timezone is another one while the test runs."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield ZoneInfo(request.param)
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def test_a_datetime_without_zone_is_local_time(open_index: OpenIndex, local_zone: ZoneInfo) -> None:
    index = open_index()
    naive = datetime(2027, 7, 1, 12, 30, 0, 123456)
    moment = (
        int(
            (naive.replace(tzinfo=local_zone) - datetime(1970, 1, 1, tzinfo=UTC))
            / timedelta(microseconds=1)
        )
        * 1000
    )
    index.batch([covering("a", moment, moment)])
    microsecond = timedelta(microseconds=1)
    for spelled in (naive, naive.replace(tzinfo=local_zone), naive.astimezone(UTC)):
        assert len(index.query(after=spelled, before=spelled)) == 1
        assert index.query(after=spelled + microsecond) == []
        assert index.query(before=spelled - microsecond) == []


def test_the_hosts_zone_does_not_matter_to_zoned_windows(
    open_index: OpenIndex, local_zone: ZoneInfo
) -> None:
    index = open_index()
    start = datetime(2027, 1, 15, 23, tzinfo=UTC)
    first = int(start.timestamp()) * 10**9
    files = [covering(f"f{n}", first + n * HOUR, first + n * HOUR + HOUR - 1) for n in range(-1, 3)]
    index.batch(files)
    kathmandu = timezone(timedelta(hours=5, minutes=45))
    two_hours = timedelta(hours=2) - timedelta(microseconds=1)
    for zone in (UTC, kathmandu, local_zone):
        after = start.astimezone(zone)
        assert index.query(after=after, before=after + two_hours) == files[1:3]


def test_datetimes_beyond_64_bits_are_no_error(open_index: OpenIndex) -> None:
    index = open_index()
    index.batch([covering("a", 5, 6)])
    for low, high in (
        (datetime.min, datetime.max),
        (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
    ):
        assert len(index.query(after=low, before=high)) == 1
        assert index.query(before=low) == []
        assert index.query(after=high) == []


@pytest.mark.parametrize("bound", ["2027-01-15", 1.5, True, timedelta(1)])
def test_a_bound_of_another_type_is_refused(open_index: OpenIndex, bound: Any) -> None:
    with pytest.raises(InvalidConfiguration):
        open_index().query(after=bound)


def test_a_folder_is_a_prefix_of_the_path(open_index: OpenIndex) -> None:
    index = open_index()
    dirs = ["date=2027-01-15/hour=1", "date=2027-01-15/hour=10", "date=2027-01-150/hour=10"]
    files = [entry(n, path=path_of(n, dir=dir)) for n, dir in enumerate(dirs)]
    index.batch(files)
    for folder, expected in (
        ("", files),
        ("date", files),
        ("date=2027-01-15", files),
        ("date=2027-01-15/", files[:2]),
        ("date=2027-01-15/hour=1", files[:2]),
        ("date=2027-01-15/hour=1/", files[:1]),
        ("date=2027-01-15/hour=10/file0001", files[1:2]),
        ("date=2027-01-15/hour=1_", []),
        ("date%", []),
        ("Date", []),
        ("/date", []),
        ("ate=2027", []),
    ):
        assert index.query(folder=folder) == expected, folder
        assert index.query(folder=folder, after=0) == expected, folder


def test_an_iteration_is_read_off_the_end_of_the_name(open_index: OpenIndex) -> None:
    index = open_index()
    dir = "date=2027-01-15/hour=08"
    names = [
        "a.1.parquet",
        "a.11.parquet",
        "a.2.parquet",
        "a.parquet",
        "a.1.parquet.x",
        "a1.parquet",
    ]
    index.batch([entry(path=f"{dir}/{name}", min_time=1, max_time=1) for name in names])
    assert paths(index.query(iteration=1)) == [f"{dir}/a.1.parquet"]
    assert paths(index.query(iteration=11)) == [f"{dir}/a.11.parquet"]
    assert paths(index.query(iteration=2)) == [f"{dir}/a.2.parquet"]
    assert len(index.query(iteration=0)) == len(names)
    assert index.query(iteration=3) == []


@pytest.mark.parametrize(
    "wrong", [{"iteration": -1}, {"iteration": True}, {"iteration": "1"}, {"folder": 5}]
)
def test_options_of_another_type_are_refused(open_index: OpenIndex, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfiguration):
        open_index().query(**wrong)


def test_a_layer_narrows_queries_and_gets(open_index: OpenIndex) -> None:
    index = open_index(layers=[Layer("file:///a", "a"), Layer("file:///b", "b")])
    index.batch([entry(1, layer="a"), entry(2, layer="b")])
    assert index.query(layer="a") == [entry(1, layer="a")]
    assert index.query(layer="b", after=0) == [entry(2, layer="b")]
    assert index.query(layer="") == []
    assert index.query(layer="c") == []
    assert index.get(path_of(1), "a") == index.get(path_of(1)) == entry(1, layer="a")
    assert index.get(path_of(1), layer="b") is None
    assert index.get(path_of(1), "") is None


def test_every_narrowing_holds_at_once(open_index: OpenIndex) -> None:
    index = open_index(layers=[Layer("file:///a", "a"), Layer("file:///b", "b")])
    files = [
        entry(path=path_of(n, iteration, dir), layer=layer, min_time=n * 10, max_time=n * 10 + 5)
        for n in range(3)
        for iteration in (1, 2)
        for layer in ("a", "b")
        for dir in (
            f"date=2027-01-15/hour={layer}{iteration}",
            f"date=2027-01-16/hour={layer}{iteration}",
        )
    ]
    index.batch(files)

    def wanted(folder: str, iteration: int, starts: tuple[int, ...]) -> list[IndexEntry]:
        return [
            each
            for each in files
            if (each.path.startswith(folder), each.layer, each.min_time in starts)
            == (True, "b", True)
            and each.path.endswith(f".{iteration}.parquet")
        ]

    options = QueryOptions(folder="date=2027-01-16", after=15, before=20, iteration=2)
    assert index.query(options, layer="b") == wanted("date=2027-01-16", 2, (10, 20))
    assert index.query(
        options, layer="b", iteration=1, after=25, before=30, folder="date=2027-01-15"
    ) == wanted("date=2027-01-15", 1, (20,))


@pytest.mark.parametrize("path", ["", "/a", "a/../b", "a//b", "a\\b", "a/", None])
def test_a_get_of_an_impossible_path_is_refused(open_index: OpenIndex, path: Any) -> None:
    with pytest.raises(InvalidName):
        open_index().get(path)


def test_a_folder_name_is_no_path(open_index: OpenIndex) -> None:
    index = open_index()
    index.batch([entry(1)])
    assert index.get("date=2027-01-15") is None
    assert index.get("date=2027-01-15/hour=08") is None


times = st.one_of(
    st.integers(MIN, MAX),
    st.integers(-300, 300),
    st.sampled_from([MIN, MIN + 1, -1, 0, 1, MAX - 1, MAX]),
    st.builds(
        lambda bits, off: max(MIN, min(MAX, (1 << bits) + off)),
        st.integers(0, 63),
        st.integers(-1, 1),
    ),
)
spans = st.tuples(times, times).map(sorted)
bounds = st.one_of(st.none(), times)


@settings(max_examples=25)
@given(
    files=st.lists(spans, min_size=1, max_size=30),
    windows=st.lists(st.tuples(bounds, bounds), min_size=1, max_size=12),
)
def check_windows(
    backend: Backend, files: list[list[int]], windows: list[tuple[int | None, int | None]]
) -> None:
    backend.fresh()
    index = backend.index()
    entries = [
        entry(path=path_of(n, dir=f"date={n % 3:05}/hour={n % 5:02}"), min_time=low, max_time=high)
        for n, (low, high) in enumerate(files)
    ]
    index.batch(entries)
    for after, before in windows:
        expected = [
            each
            for each in entries
            if (before is None or each.min_time <= before)
            and (after is None or each.max_time >= after)
            and not (after is not None and before is not None and after > before)
        ]
        expected.sort(key=lambda each: (each.min_time, each.path))
        assert index.query(after=after, before=before) == expected


def test_any_windows_over_any_files_equal_the_rule_itself(backend: Backend) -> None:
    check_windows(backend)
