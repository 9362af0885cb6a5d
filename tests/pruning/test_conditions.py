"""What conditions mean, what each skips, and how bad ones are refused."""

from __future__ import annotations

import datetime as dt
import random
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from gigapi_metadata import IndexEntry, InvalidCondition
from gigapi_metadata.pruning import Where, condition_from_duckdb, constants, parse_condition
from gigapi_metadata.pruning.parser import serialize
from gigapi_metadata.timerange import INT64_MAX, INT64_MIN, Window

SECOND = 10**9
HOUR = 3600 * SECOND
DAY_START = 1_705_276_800 * SECOND  # 2024-01-15
FILES = 24


def stats_entry(
    low: dict[str, Any] | None, high: dict[str, Any] | None, **fields: Any
) -> IndexEntry:
    given = {"min_time": DAY_START, "max_time": DAY_START + HOUR - 1, **fields}
    return IndexEntry("db", "t", "date=x/f.1.parquet", 1, min_data=low, max_data=high, **given)


def hour_entry(hour: int) -> IndexEntry:
    """File n of 24: an hour of a day; id from 10n to 10n + 9, temp to 9.25, sensors snna-snnz."""
    first, last = DAY_START + hour * HOUR, DAY_START + (hour + 1) * HOUR - 1
    low = {
        "ts": first,
        "temp": 10.0 * hour,
        "id": 10 * hour,
        "sensor": f"s{hour:02}a",
        "lit": False,
    }
    high = {"ts": last, "temp": 10 * hour + 9.25, "id": 10 * hour + 9, "sensor": f"s{hour:02}z"}
    return stats_entry(
        low, {**high, "lit": hour >= 12}, min_time=first, max_time=last, row_count=10
    )


ENTRIES = [hour_entry(hour) for hour in range(FILES)]


# Each keeps exactly the files that hold such rows.
@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("id = 55", 1),
        ("id = 59", 1),
        ("id > 229", 1),
        ("id >= 229", 2),
        ("id < 10", 1),
        ("id <= 10", 2),
        ("229 < id", 1),
        ("id between 15 and 35", 3),
        ("id not between 10 and 219", 3),
        ("id between 35 and 15", 0),
        ("id in (5, 6, 105, null)", 2),
        ("id not in (5, null)", 0),
        ("id not in (5, 6)", 24),
        ("not id > 9", 1),
        ("not (id > 9 and id < 230)", 2),
        ("not (id <= 9 or id >= 20)", 1),
        ("id > 9 and (id < 20 or id = 55)", 2),
        ("id = 5.5", 1),
        ("id = 9.5", 0),
        ("id = -1", 0),
        ("id = '55'", 1),
        ("id > 1e300", 0),
        ("id > 170141183460469231731687303715884105727", 0),
        ("id is not distinct from 55", 1),
        ("id is distinct from 55", 24),
        ("(id > 229) is true", 1),
        ("(id > 229) is not true", 24),
        ("temp > 229", 2),
        ("temp > 229.5", 1),
        ("temp = 5.5 and id = 5", 1),
        ("temp = 5.5 and id = 15", 0),
        ("temp * 2 > 460", 1),
        ("temp + 1 < 5", 1),
        ("sensor = 's05k'", 1),
        ("sensor > 's22'", 2),
        ("sensor like 's05%'", 1),
        ("sensor like 's0%'", 10),
        ("sensor not like 's%'", 0),
        ("sensor not like 's05%'", 23),
        ("sensor like 's05_%'", 1),
        ("sensor ilike 'S05%'", 24),
        ("starts_with(sensor, 's05')", 1),
        ("sensor ^@ 's05'", 1),
        ("sensor in ('s05b', 's07b')", 2),
        ("lit", 12),
        ("lit = true", 12),
        ("not lit", 24),
        ("lit is true", 12),
        ("ts >= '2024-01-15 14:00'", 10),
        ("ts >= timestamp '2024-01-15 14:00:00'", 10),
        ("ts > timestamptz '2024-01-15 13:59:59.999999+00'", 11),
        ("ts >= timestamptz '2024-01-15 15:00:00+01'", 10),
        ("ts < timestamp '2024-01-15 14:00:00'", 14),
        ("ts between '2024-01-15 14:00' and '2024-01-15 14:30'", 1),
        ("ts < date '2024-01-15'", 0),
        ("ts >= date '2024-01-16'", 0),
        ("ts < now() - interval '1 hour'", 24),
        ("ts > now() - interval '1 hour'", 0),
        ("ts > now() - interval 1 day", 0),
        ("ts > current_date - 3", 0),
        ("ts >= to_timestamp(1705327200)", 10),
        ("ts >= make_timestamp(2024, 1, 15, 14, 0, 0)", 10),
        ("ts >= '2024-01-14'::timestamp + interval '38 hours'", 10),
        ("cast(ts as date) = '2024-01-15'", 24),
        ("cast(ts as date) > '2024-01-15'", 0),
        ("ts::date < '2024-01-15'", 0),
        ("date_trunc('hour', ts) = '2024-01-15 14:00:00'", 1),
        ("epoch_ns(ts) < 1705327200000000000", 14),
        ("epoch_ms(ts) >= 1705327200000", 11),  # nanoseconds are rounded up
        ("epoch_ms(ts) > 1705327200000", 10),
        ("epoch(ts) >= 1705327200", 11),
        ("SENSOR = 's05k'", 1),
        ("\"Sensor\" = 's05k'", 1),
        ("false", 0),
        ("null", 0),
        ("true", 24),
        ("id = null", 0),
        ("id > id", 24),
        ("id > (select 5)", 24),
        ("abs(id) > 1000", 24),
        ("missing = 5", 24),
        ("missing is null", 24),
        ("id is null", 24),
        ("id is not null", 24),
        ("sensor = 's05k' collate nocase", 24),
        ("case when id > 5 then true end", 24),
        ("random() > 2 or id = 55", 24),
        ("random() > 2 and id = 55", 1),
        (("id", ">", 229), 1),
        ([("id", ">", 9), ("id", "<", 20)], 1),
        ([[("id", "=", 5)], [("id", "=", 15), ("temp", "<", 5)], [("id", "=", 25)]], 2),
        ([("id", "in", [5, 105, None])], 2),
        ([("id", "not in", {5, None})], 0),
        ([("id", "is", None)], 24),
        ([("id", "==", None)], 0),
        ([("ts", ">=", dt.datetime(2024, 1, 15, 14, tzinfo=dt.UTC))], 10),
        ([("ts", "<", dt.date(2024, 1, 15))], 0),
        ([("lit", "=", True)], 12),
    ],
)
def test_what_a_condition_keeps(where: Where, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # current_date decides nothing in the last minute of a quarter of an hour.
    monkeypatch.setattr(constants, "time", SimpleNamespace(time=lambda: 0.0))
    condition = parse_condition(where, time_zone="UTC")
    window = condition.window("ts")
    found = [
        entry
        for entry in ENTRIES
        if condition.may_match(entry) and window.overlaps(entry.min_time, entry.max_time)
    ]
    assert len(found) == kept
    for entry in ENTRIES:
        assert (condition.why_not(entry) is None) == condition.may_match(entry)


@pytest.mark.parametrize(
    ("where", "low", "high"),
    [
        ("x > 5", {"x": 1}, {}),  # no upper bound
        ("x > 5", {"x": 1}, {"x": None}),
        ("x > 5", {"x": 9}, {"x": 1}),  # crossed
        ("x > 5", {"x": "a"}, {"x": 1}),
        ("x > 5", {"x": [1]}, {"x": [2]}),
        ("x = 'b'", {"x": 1}, {"x": 2}),  # the types don't go together
        ("x = 5", {"x": "a"}, {"x": "b"}),
        ("x = true", {"x": 5}, {"x": 6}),
        ("x = 5", {"x": False}, {"x": True}),
        ("x > 5", {"x": 1, "X": 1}, {"x": 2, "X": 2}),  # which of them?
        ("x = 1152921504606846977", {"x": 1.1529215046068e18}, {"x": 1.1529215046068e18}),
        ("x = 1152921504606846977", {"x": 1152921504606800000}, {"x": 1152921504606800000}),
        ("x > 0.3", {"x": 0.1}, {"x": 0.3}),  # was 0.1 + 0.2
        ("x = 16777217", {"x": 16777216.0}, {"x": 16777216.0}),  # float32
        ("x = 0.1", {"x": 0.10000000149011612}, {"x": 0.10000000149011612}),
        ("x = 0.1", {"x": 0.10000000149012}, {"x": 0.10000000149012}),  # and rounded
        ("x = -0.0", {"x": 0.0}, {"x": 0.0}),
        ("x > 'nan'", {"x": 1.0}, {"x": 2.0}),
        ("x = 'abcdefghijklmnopqrstuvwxyz'", {"x": "a"}, {"x": "abcdefghijklmnop"}),  # cut
        ("x > '2024-01-15 10:00'", {"x": "2024-01-15"}, {"x": "2024-01-15T12:00:00"}),
        ("x = '2024-01-15 10:00'", {"x": DAY_START}, {"x": DAY_START}),  # a date
        ("x = timestamp 'infinity'", {"x": DAY_START}, {"x": DAY_START}),
        # All of a BETWEEN or IN are cast to one type.
        ("x between 39600000000002 and 1e14::float", {"x": 39600000000000}, {"x": 39600000000000}),
        ("x in (9007199254740993, 1e0)", {"x": 9007199254740992}, {"x": 9007199254740992}),
        ("x in ('2147483648', 1::float)", {"x": 2147483647}, {"x": 2147483647}),
        ("x between '05' and 5", {"x": "5"}, {"x": "5"}),
        ("x between 39600000000002 and y", {"x": 39600000000000}, {"x": 39600000000000}),
        ("39600000000002 between y and x", {"x": 39600000000000}, {"x": 39600000000000}),
        ("x >= '2099-12-31'", {"x": 0}, {"x": HOUR}),  # times of day: it is midnight
        ("x between '2099-12-31' and time '10:00'", {"x": HOUR}, {"x": HOUR}),
        ("x > 5", {"x": 10**400}, {"x": 10**400}),
        ("x <> 30", {"x": 30}, {"x": 30}),  # Lua writes 30.00000000000001 so
        ("x = 9223372036854775807", {"x": 9223372036854800384}, {"x": 9223372036854800384}),
        ("x // 0.5 >= 0.2", {"x": 0.1}, {"x": 0.1}),
        ("x // 2 > 3", {"x": 7}, {"x": 7}),  # 3.5 of a decimal
        ("x * 1e300 > 1.7e308", {"x": 1e300}, {"x": 1e300}),
        ("x * 1e30::float > 1e100", {"x": 2.0**99}, {"x": 2.0**99}),
        ("ts > '2030-01-01'", {}, {}),  # nothing says that it is the time column
        ("ts > '2030-01-01'", {"__timestamp": 5}, {"__timestamp": 6}),
        ("__timestamp > 2000000000000000000", {"time": 5}, {"time": 6}),
    ],
)
def test_when_unsure_a_file_stays(where: str, low: dict[str, Any], high: dict[str, Any]) -> None:
    assert parse_condition(where).may_match(stats_entry(low, high))
    assert parse_condition(f"not not ({where})").may_match(stats_entry(low, high))


def test_numbers_that_no_time_can_have_are_shown() -> None:
    huge = stats_entry({"x": 1e37}, {"x": 1e38})
    assert "1e+37" in (parse_condition("x < timestamp '2024-01-15 00:00:00'").why_not(huge) or "")


def test_times_of_the_entry_stand_for_its_time_column() -> None:
    bare = stats_entry(None, None)
    late = f"> {DAY_START + HOUR}"
    assert not parse_condition(f"__timestamp {late}").may_match(bare)
    assert parse_condition(f"event {late}").may_match(bare)
    assert not parse_condition(f"event {late}").may_match(bare, time_column="Event")
    assert parse_condition("event > 1705280400000").may_match(bare, time_column="event")
    rounded = stats_entry({"ts": 1.7052768e18}, {"ts": 1.7052804e18})  # as Lua leaves it
    assert not parse_condition("ts > '2024-01-15 01:00'", time_zone="UTC").may_match(rounded)


@pytest.mark.parametrize(
    ("where", "window"),
    [
        ("ts >= '2024-01-15'", Window(DAY_START, INT64_MAX)),
        ("ts < '2024-01-15'", Window(INT64_MIN, DAY_START - 1)),
        ("ts = '2024-01-15' and temp > 5", Window(DAY_START, DAY_START)),
        ("temp > 5", Window()),
        ("ts < '2024-01-15' or temp > 5", Window()),
        ("ts > '2024-01-15' and ts < '2024-01-15'", Window(1, 0)),
        ("not (ts < '2024-01-15' or ts > '2024-01-15')", Window(DAY_START, DAY_START)),
        ("ts in ('2024-01-15', '2024-01-16')", Window(DAY_START, DAY_START + 24 * HOUR)),
        ("ts::date = '2024-01-15'", Window(DAY_START, DAY_START + 24 * HOUR - 1)),
        ("ts::date = '2024-01-15 10:00'", Window(DAY_START, DAY_START + 34 * HOUR - 1)),
        ("ts > 1705276800", Window()),  # seconds, it seems
        (f"__timestamp >= {DAY_START}", Window(DAY_START, INT64_MAX)),
        ("ts <= '9999-12-31'", Window()),
        ("ts <> '2024-01-15'", Window()),
    ],
)
def test_the_window_that_a_condition_implies(where: str, window: Window) -> None:
    assert parse_condition(where, time_zone="UTC").window() == window


def test_a_time_without_a_zone_is_utc_or_the_sessions() -> None:
    window = parse_condition("ts = '2024-01-15'", time_zone="Asia/Tokyo").window("ts")
    assert window == Window(DAY_START - 9 * HOUR, DAY_START)
    unknown = parse_condition("ts = '2024-01-15'", time_zone="Not/Known").window("ts")
    assert unknown.after < DAY_START - 12 * HOUR
    assert unknown.before > DAY_START + 12 * HOUR


def test_now_is_good_for_a_minute() -> None:
    window = parse_condition("ts < now()").window("ts")
    now = int(dt.datetime.now(dt.UTC).timestamp()) * SECOND
    assert now + 50 * SECOND < window.before < now + 70 * SECOND


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("temp >", "character 6"),
        ("temp > 30 andd x = 1", "at character 11: 'andd x = 1'"),
        ("é = 'é' or or", "character 12"),
        ("(temp > 5", "character 9"),
        ("", "empty"),
        ("a = 1; drop table t", "no SELECT"),
        ("a = 1) or (b = 2", "character 6"),
        ("a = 1 order by a", "more than a condition"),
        ("a = 1 limit 1", "more than a condition"),
        ("a = 1 union select 2", "more than a condition"),
        ("a = 1 group by a", "more than a condition"),
        ("a\0 = 1", "zero character"),
        ("a = '\ud800'", "Unicode"),
        ([], "no condition"),
        (5, "no condition"),
        ([("a", ">")], "no condition"),
        (("a", "~", 5), "operator must be one of"),
        (("a", 5, 5), "operator must be a string"),
        (("a", "in", "abc"), "list of values"),
        (("a", "is", 5), "None alone"),
        (("a", "=", object()), "a value is"),
    ],
)
def test_what_is_no_condition_is_refused(where: Any, message: str) -> None:
    with pytest.raises(InvalidCondition, match=message):
        parse_condition(where)


def test_nodes_of_duckdbs_tree_with_names_of_ones_own() -> None:
    tree = serialize("SELECT 1 FROM t a JOIN t b ON a.id = b.id WHERE a.id > 229 AND b.id < 5")
    node = tree["statements"][0]["node"]["where_clause"]

    def resolve(names: list[str]) -> str | None:
        return names[1] if names[0] == "a" else None

    condition = condition_from_duckdb(node, resolve=resolve)
    assert sum(map(condition.may_match, ENTRIES)) == 1
    assert condition.columns == {"id"}


def test_an_unknown_tree_is_no_error_and_keeps_everything() -> None:
    for node in ({}, {"class": "NEW", "type": "NEW"}, {"class": "COMPARISON", "type": "COMPARE_X"}):
        condition = condition_from_duckdb(node)
        assert all(map(condition.may_match, ENTRIES))


def test_what_is_nested_deeply_keeps_everything_or_is_refused() -> None:
    deep = parse_condition("not " * 100 + "(id > 1000)")
    assert all(map(deep.may_match, ENTRIES))
    assert not any(map(parse_condition("not " * 20 + "(id > 1000)").may_match, ENTRIES))
    many = parse_condition(" or ".join(f"id = {number}" for number in range(3000, 8000)))
    assert not any(map(many.may_match, ENTRIES))
    with pytest.raises(InvalidCondition):
        parse_condition("(" * 5000 + "id" + ")" * 5000)


@pytest.mark.parametrize("kind", ["numbers", "texts", "cut"])
def test_of_a_long_list_each_value_counts(kind: str) -> None:
    """IN looks at few of its values; they must be the right ones."""
    dice = random.Random(kind)
    for _ in range(200):
        values: list[Any] = [dice.randrange(500) / 4 for _ in range(20)]
        if kind != "numbers":
            values = [f"{'long enough to be cut ' * (kind == 'cut')}s{each}" for each in values]
        low, high = sorted((dice.choice(values), dice.choice(values)))
        if kind == "cut" and dice.random() < 0.5:
            high = high[:-2]
        entry = stats_entry({"x": low}, {"x": high})
        few = dice.sample(values, 5)
        singly = [parse_condition(("x", "=", each)).may_match(entry) for each in few]
        assert parse_condition(("x", "in", few)).may_match(entry) == any(singly), (low, high, few)
        differ = [parse_condition(("x", "!=", each)).may_match(entry) for each in few]
        assert parse_condition(("x", "not in", few)).may_match(entry) == all(differ)


def test_conditions_are_values() -> None:
    one, other = parse_condition("id > 5 and not lit"), parse_condition("id > 5 and not lit")
    assert one == other
    assert hash(one) == hash(other)
    assert parse_condition(one) is one
    assert str(one) == "id > 5 and not lit = true"
    both = one & parse_condition("id < 10") | ~parse_condition("id = 5")
    assert sum(map(both.may_match, ENTRIES)) == FILES


def test_tuples_need_no_duckdb() -> None:
    program = (
        "import sys; from gigapi_metadata.pruning import parse_condition; "
        "parse_condition([('temp', '>', 30), ('s', 'in', ['a'])]); print('duckdb' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout == "False\n"
