"""Never a wrong skip: random data, files, statistics and conditions, judged by DuckDB itself.

The judge filters the rows in memory, where no statistics are at work. Conditions that DuckDB
refuses (a comparison of types that don't go together, a cast that fails) are passed over.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigapi_metadata import IndexEntry
from gigapi_metadata.pruning import parse_condition

ZONES = ["UTC", "Europe/Berlin", "Pacific/Apia", "America/St_Johns"]
REFUSALS = (duckdb.BinderException, duckdb.ConversionException, duckdb.OutOfRangeException)
EXAMPLES = 20
CONDITIONS = 25  # for each table

HOUR = 3600 * 10**9
BASE = 1_705_327_200 * 10**9  # 2024-01-15 14:00 UTC
INSTANTS = [
    *(BASE + hours * HOUR for hours in (-26, -14, -1, 0, 1, 10, 24)),
    BASE - 1,
    BASE + 123_456_789,
    BASE + 123_456_000,
    1_711_846_800 * 10**9,  # clocks change in Berlin
    1_325_239_200 * 10**9,  # Samoa skips a day
    -1_000_000_001,
    0,
]
FLOATS = [0.0, -0.0, 0.1, 0.30000000000000004, 30.5, 1.0000000000000002, 123.45678901234567]
FLOATS += [
    30.00000000000001,
    1e300,
    -1e-300,
    math.nan,
    math.inf,
    -math.inf,
    16777217.0,
    9007199254740993.0,
]
INTEGERS = [0, 1, -1, 5, 30, 2**24 + 1, 2**53 + 1, 10**14 + 7, 1_152_921_504_606_846_977, 2**63 - 1]
TEXTS = [
    "",
    "a",
    "ab",
    "b",
    "A",
    "5",
    "2024-01-15",
    "é",
    "\U0001f600",
    "a_b",
    "a%b",
    "x" * 70,
    "nan",
]

TYPES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "i": (pa.int64(), [*INTEGERS, -(2**63)]),
    "u": (pa.uint64(), [0, 5, 2**53 + 1, 2**63, 2**64 - 1]),
    "n": (pa.int32(), [-1, 0, 5, 30, 2**24 + 1]),
    "f": (pa.float64(), FLOATS),
    "g": (pa.float32(), FLOATS),
    "s": (pa.string(), TEXTS),
    "b": (pa.bool_(), [True, False]),
    "d": (pa.date32(), [dt.date(2024, 1, day) for day in (14, 15, 16)] + [dt.date(1969, 12, 31)]),
    "ts": (pa.timestamp("us"), [time // 1000 for time in INSTANTS]),
    "tn": (pa.timestamp("ns"), INSTANTS),
    "tm": (pa.timestamp("ms"), [time // 10**6 for time in INSTANTS]),
    "tz": (pa.timestamp("us", "UTC"), [time // 1000 for time in INSTANTS]),
    "c": (pa.time64("us"), [0, 36_000_000_000, 86_399_999_999]),
    "m": (
        pa.decimal128(10, 2),
        [Decimal("5.00"), Decimal("5.25"), Decimal("-0.10"), Decimal("30")],
    ),
    "r": (pa.struct([("q", pa.int64())]), [{"q": 5}, {"q": None}, {"q": 30}]),
    "__timestamp": (pa.int64(), INSTANTS),
}


def _clock(time: int) -> str:
    moment = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=time // 1000)
    return f"{moment}".removesuffix(".000000")


NUMBERS = [
    "0",
    "5",
    "-1",
    "30",
    "30.5",
    "0.1",
    "1e0",
    "5.25",
    "-0.0",
    "16777217",
    "9007199254740993",
]
NUMBERS += ["1152921504606846977", "1152921504606846976.5", "9007199254740992e0", "0.1::float"]
NUMBERS += ["16777216::float", "'nan'::double", "'inf'::double", "18446744073709551615", "1e300"]
NUMBERS += ["0.30000000000000004", "123.45678901234567", "1.0000000000000002", str(BASE), "2 + 3"]
MOMENTS = [f"timestamp '{_clock(time)}'" for time in INSTANTS]
MOMENTS += [f"timestamptz '{_clock(time)}+00'" for time in INSTANTS]
MOMENTS += [f"timestamptz '{_clock(time)}'" for time in INSTANTS]
MOMENTS += ["date '2024-01-15'", "date '1969-12-31'", "now()", "now() - interval '800 days'"]
MOMENTS += [f"make_timestamp_ns({BASE + 123_456_789})", "to_timestamp(1705327200.123456)"]
MOMENTS += [f"timestamp '{_clock(BASE)}' + interval 1 month", "current_date - 3"]
STRINGS = [repr(text) for text in TEXTS if "'" not in text]
STRINGS += ["'30'", "'30.5'", "'1e1'", "' 5 '", "'2024-01-15 14:00:00'", "'2024-01-15T14:00:00Z'"]
STRINGS += [
    "'2024-01-15 14:00:00.123456789'",
    "'2024-01-15 16:30:00+02:30'",
    "'10:00:00'",
    "'true'",
]
STRINGS += ["'2024-01-15 14:00:00 Europe/Berlin'", "'1969-12-31'", "'2024-1-15'", "'0x10'"]
LITERALS = [*NUMBERS, *MOMENTS, *STRINGS, "true", "false", "null", "time '10:00'", "interval 1 day"]

PLAIN = [*(name for name in TYPES if name != "r"), "r.q", "TS", '"S"']
ON_TIMES = ["cast({0} as date)", "cast({0} as timestamp)", "cast({0} as timestamptz)"]
ON_TIMES += ["date_trunc('hour', {0})", "date_trunc('day', {0})", "date_trunc('month', {0})"]
ON_TIMES += ["epoch_ns({0})", "epoch_us({0})", "epoch_ms({0})", "epoch({0})"]
ON_NUMBERS = [
    "{0} * 2",
    "{0} + 1",
    "{0} - 0.5",
    "{0} / 3",
    "{0} // 7",
    "{0} // 0.5",
    "{0} * 1e300",
    "{0} * 0.1",
    "abs({0})",
]
ON_NUMBERS += ["-{0}", "cast({0} as double)"]
ON_NANOSECONDS = [
    "make_timestamp_ns({0})",
    "to_timestamp({0} / 1e9)",
    "make_timestamp({0} // 1000)",
]
WRAPPED = {
    **dict.fromkeys(["d", "ts", "tn", "tm", "tz", "TS"], ON_TIMES),
    **dict.fromkeys(["i", "u", "n", "f", "g", "m", "r.q"], ON_NUMBERS),
    "__timestamp": ON_NANOSECONDS,
}
OPERATORS = ["=", "<>", "<", "<=", ">", ">=", "is distinct from", "is not distinct from"]
PATTERNS = ["'a%'", "'%'", "'a_b'", "'a\\_%'", "''", "'ab'", "'%b'", "'xxx%'", "'a%b%'"]


def _own(name: str, value: Any) -> list[str]:
    """Constants near a value of a column: itself, as other types have it, and rounded."""
    text = f"{value}".removesuffix("+00:00").removesuffix(".000000")
    quoted = "'" + text.replace("'", "''") + "'"
    if value is None or isinstance(value, bool):
        found = ["null" if value is None else text.lower()]
    elif name == "__timestamp":
        found = [text, f"epoch_ns(timestamp_ns '{_clock(value)}')"]
    elif isinstance(value, float) and math.isfinite(value):
        found = [f"{quoted}::double", text, f"{value:.14g}", quoted]
    elif isinstance(value, float):
        found = [f"{quoted}::double", quoted]
    elif isinstance(value, (int, Decimal)):
        found = [text, f"{text}.0" if isinstance(value, int) else quoted, quoted, f"{text}::float"]
    elif name == "tz":
        found = [f"timestamptz '{text}+00'", f"'{text}+00'", f"timestamp {quoted}", quoted]
    elif isinstance(value, dt.datetime):
        found = [f"timestamp {quoted}", quoted, f"date '{text[:10]}'", f"timestamptz {quoted}"]
    else:
        found = [quoted]
    return found


def _constants(table: pa.Table) -> dict[str, list[str]]:
    found = {}
    for name in table.column_names:
        column = table[name]
        if name == "tn":
            column = column.cast(pa.timestamp("us"), safe=False)
        held = [literal for value in column.to_pylist() for literal in _own(name, value)]
        found[name] = held if name != "r" else []
    return found


@st.composite
def atoms(draw: st.DrawFn, own: dict[str, list[str]]) -> str:
    """A comparison, mostly of a column with something like what it holds."""
    name = draw(st.sampled_from(PLAIN))
    column = name
    if draw(st.integers(0, 4)) == 0:
        column = draw(st.sampled_from(WRAPPED.get(name, ["lower({0})"]))).format(name)
    near = own.get(name.lower().strip('"')) or LITERALS
    if column != name and name in ("__timestamp", "d", "ts", "tn", "tm", "tz"):
        near = [*own["ts"], *own["tz"], *NUMBERS]
    literal = st.sampled_from(near) | st.sampled_from(near) | st.sampled_from(LITERALS)
    one, other = draw(literal), draw(literal)
    operator = draw(st.sampled_from(OPERATORS))
    form = draw(st.integers(0, 10))
    return [
        *[f"{column} {operator} {one}"] * 4,
        f"{one} {operator} {column}",
        f"{column} between {one} and {other}",
        f"{column} not between {one} and {other}",
        f"{column} {draw(st.sampled_from(['in', 'not in']))} ({one}, {other})",
        f"{column} is {draw(st.sampled_from(['null', 'not null', 'true', 'not true', 'false']))}",
        f"s {draw(st.sampled_from(['like', 'not like', 'ilike']))} "
        f"{draw(st.sampled_from(PATTERNS))}",
        draw(st.sampled_from(["starts_with(s, 'a')", "s ^@ 'ab'", column, "true"])),
    ][form]


def conditions_on(own: dict[str, list[str]]) -> st.SearchStrategy[str]:
    return atoms(own) | st.recursive(
        atoms(own),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) and ({pair[1]})"),
            st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) or ({pair[1]})"),
            inner.map(lambda part: f"not ({part})"),
            inner.map(lambda part: f"({part}) is not true"),
        ),
        max_leaves=3,
    )


@st.composite
def questions(draw: st.DrawFn) -> tuple[pa.Table, list[str]]:
    table = draw(tables())
    condition = conditions_on(_constants(table))
    return table, draw(st.lists(condition, min_size=CONDITIONS, max_size=CONDITIONS))


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(1, 3))
    columns = {}
    for name, (kind, values) in TYPES.items():
        some = st.sampled_from([*values, *[None] * (len(values) // 2)])
        held = draw(st.lists(some, min_size=rows, max_size=rows))
        if name == "__timestamp":
            held = [0 if value is None else value for value in held]
        columns[name] = pa.array(held, pa.int64() if name == "tn" else kind).cast(kind)
    return pa.table(columns)


def _round(stats: Any) -> Any:
    """Statistics after Lua's cjson, which writes %.14g."""
    return {name: _cjson(value) for name, value in stats.items()}


def _cjson(value: Any) -> Any:
    if type(value) not in (int, float):
        return value
    text = f"{value:.14g}"
    return float(text) if "e" in text or "." in text else int(text)


def _as_written(entry: IndexEntry) -> IndexEntry:
    return entry


def _rounded(entry: IndexEntry) -> IndexEntry:
    return msgspec.structs.replace(
        entry, min_data=_round(entry.min_data), max_data=_round(entry.max_data)
    )


def _rounded_and_still_numbers(entry: IndexEntry) -> IndexEntry:
    """As by a program that rounds floats alone, to floats."""
    low, high = (
        {k: float(f"{v:.14g}") if type(v) is float else v for k, v in stats.items()}
        for stats in (entry.min_data or {}, entry.max_data or {})
    )
    return msgspec.structs.replace(entry, min_data=low, max_data=high)


def _through_go(entry: IndexEntry) -> IndexEntry:
    """Integers as float64, in their shortest digits."""
    low, high = (
        {k: int(Decimal(repr(float(v)))) if type(v) is int else v for k, v in stats.items()}
        for stats in (entry.min_data or {}, entry.max_data or {})
    )
    return msgspec.structs.replace(entry, min_data=low, max_data=high)


def _without(entry: IndexEntry) -> IndexEntry:
    return msgspec.structs.replace(entry, min_data=None, max_data={})


@pytest.mark.parametrize("writer", ["pyarrow", "duckdb"])
@pytest.mark.parametrize(
    "altered", [_as_written, _rounded, _rounded_and_still_numbers, _through_go, _without]
)
def test_a_file_that_is_skipped_has_no_matching_row(
    tmp_path: Path, writer: str, altered: Callable[[IndexEntry], IndexEntry]
) -> None:
    connection = duckdb.connect(config={"threads": 1})
    judged = [0, 0]

    @settings(max_examples=EXAMPLES)
    @given(
        question=questions(),
        zone=st.sampled_from(ZONES),
    )
    def check(question: tuple[pa.Table, list[str]], zone: str) -> None:
        table, conditions = question
        connection.execute(f"SET TimeZone = '{zone}'")
        connection.register("data", table)
        connection.execute("CREATE OR REPLACE TEMP TABLE held AS SELECT * FROM data")
        file = tmp_path / "file.1.parquet"
        if writer == "pyarrow":
            pq.write_table(table, file)
        else:
            connection.execute(f"COPY held TO '{file}' (FORMAT parquet)")
        entry = altered(IndexEntry.from_parquet(file, root=tmp_path, database="db", table="t"))
        for sql in conditions:
            condition = parse_condition(sql, time_zone=zone)
            window = condition.window("__timestamp")
            kept = condition.may_match(entry) and window.overlaps(entry.min_time, entry.max_time)
            try:
                rows = connection.execute(f"SELECT * FROM held WHERE {sql}").fetchall()
            except REFUSALS:
                continue
            judged[bool(kept)] += 1
            assert kept or not rows, (
                f"{sql} skips a file with {len(rows)} matching rows: {condition.why_not(entry)}; "
                f"{table.to_pylist()}; {entry.min_data}; {entry.max_data}"
            )

    check()
    assert sum(judged) > 0
    assert judged[0] > 0, "nothing was ever skipped"
