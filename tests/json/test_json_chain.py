"""JSON to SQLite to Redis to JSON: the same catalog, to the last digit and the last bit."""

from __future__ import annotations

import itertools
from pathlib import Path

from fix_stores import SECOND, START_S
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from json_lab import HOURS, index, made

from gigapi_metadata import IndexEntry, JSONIndex, RedisIndex, SQLiteIndex

INT64 = st.integers(-(2**63), 2**63 - 1)
SIZE = st.integers(0, 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
STATS = st.none() | st.dictionaries(TEXT, VALUES, max_size=4)


@st.composite
def entries(draw: st.DrawFn) -> list[IndexEntry]:
    found = []
    for number in range(draw(st.integers(1, 5))):
        low, high = sorted([draw(INT64), draw(INT64)])
        entry = made(
            number,
            draw(st.sampled_from(HOURS)),
            size_bytes=draw(SIZE),
            row_count=draw(SIZE),
            chunk_time=draw(INT64),
            min_time=low,
            max_time=high,
            min_data=draw(STATS),
            max_data=draw(STATS),
        )
        found.append(entry)
    return found


_numbers = itertools.count()


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(given_entries=entries())
def check_chain(folder: Path, url: str, given_entries: list[IndexEntry]) -> None:
    root = folder / f"{next(_numbers)}"
    first = index(root / "first")
    first.batch(given_entries)
    found = JSONIndex(root / "first", "db", "t").get_all()
    with SQLiteIndex(root / "lake.db", "db", "t") as sqlite, RedisIndex(url, "db", "t") as redis:
        for each in redis.get_all():
            redis.batch(None, [each])
        sqlite.batch(found)
        redis.batch(sqlite.get_all())
        found = redis.get_all()
    last = index(root / "last")
    last.batch(found)
    expected = sorted(given_entries, key=lambda each: (each.min_time, each.path))
    assert repr(JSONIndex(root / "last", "db", "t").get_all()) == repr(expected)
    for dir in HOURS:
        one, other = (
            root / name / "db/t/data" / dir / "metadata.json" for name in ("first", "last")
        )
        assert one.exists() == other.exists()


def test_a_catalog_goes_through_every_store_unchanged(tmp_path: Path, redis_url: str) -> None:
    check_chain(tmp_path, redis_url)


def test_the_longest_numbers_go_through(tmp_path: Path) -> None:
    table = index(tmp_path)
    entry = made(1, min_data={"a": 2**64 - 1, "b": 0.1, "c": -0.0}, chunk_time=START_S * SECOND)
    table.batch([entry])
    assert repr(JSONIndex(tmp_path, "db", "t").get_all()) == repr([entry])
