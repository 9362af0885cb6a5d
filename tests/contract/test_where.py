"""`query(where=…)` and `explain` on every store: the index narrows, statistics prune."""

from __future__ import annotations

import pytest
from fix_stores import SECOND, START_S, OpenIndex, entry

import gigapi_metadata as gm

HOUR = 3600 * SECOND
START = START_S * SECOND


def hourly(column: str = "ts", stats: bool = True, **more: tuple[int, int]) -> list[gm.IndexEntry]:
    """Six files of an hour each; temp from 10n to 10n + 9."""
    found = []
    for number in range(6):
        first, last = START + number * HOUR, START + (number + 1) * HOUR - 1
        low: dict[str, int] = {column: first, "temp": 10 * number}
        high: dict[str, int] = {column: last, "temp": 10 * number + 9}
        for name, (least, most) in more.items():
            low[name], high[name] = least, most
        found.append(
            entry(
                number,
                path=f"date=2027-01-15/hour={8 + number:02}/f.1.parquet",
                min_time=first,
                max_time=last,
                min_data=low if stats else None,
                max_data=high if stats else None,
            )
        )
    return found


def test_a_condition_narrows_the_query(open_index: OpenIndex) -> None:
    index = open_index()
    entries = hourly()
    index.batch(entries)
    assert index.query(where="temp > 30") == entries[3:]
    assert index.query(where=("temp", ">", 30)) == entries[3:]
    assert index.query(where="temp > 30", before=START + 4 * HOUR - 1) == entries[3:4]
    assert index.query(where="temp > 30", folder="date=2027-01-15/hour=12/") == entries[4:5]
    assert index.query(where=[("ts", ">=", START + HOUR), ("temp", "<", 20)]) == entries[1:2]
    assert index.query(where=[("ts", ">=", START + 6 * HOUR)]) == []
    assert index.query(where="false") == []
    assert index.query(where="true") == entries
    with pytest.raises(gm.InvalidCondition, match="no condition"):
        index.query(where=[])
    with pytest.raises(gm.InvalidConfiguration, match="time_column"):
        index.query(where="true", time_column=5)


def test_times_of_another_column_do_not_narrow(open_index: OpenIndex) -> None:
    """The catalog's times are those of `time`, the first of its candidates; `ts` is another."""
    index = open_index()
    entries = hourly("time", ts=(5, START + 100 * HOUR))
    index.batch(entries)
    assert index.query(where=[("ts", ">", START + 50 * HOUR)]) == entries
    assert index.query(where=[("ts", ">", START + 200 * HOUR)]) == []
    assert index.query(where=[("time", ">", START + 5 * HOUR)]) == entries[5:]


def test_without_statistics_only_gigapis_own_column_or_a_named_one_narrows(
    open_index: OpenIndex,
) -> None:
    index = open_index()
    entries = hourly(stats=False)
    index.batch(entries)
    late = START + 5 * HOUR
    assert index.query(where=[("__timestamp", ">=", late)]) == entries[5:]
    assert index.query(where=[("ts", ">=", late)]) == entries
    assert index.query(where=[("ts", ">=", START + 50 * HOUR)]) == entries
    assert index.query(where=[("ts", ">=", late)], time_column="ts") == entries[5:]
    assert index.query(where=[("ts", ">=", START + 50 * HOUR)], time_column="ts") == []


def test_an_explanation_accounts_for_every_file(open_index: OpenIndex) -> None:
    index = open_index()
    entries = hourly()
    index.batch(entries)
    found = index.explain(where="temp > 30 and temp < 50", before=START + 4 * HOUR - 1)
    assert found == index.query(where="temp > 30 and temp < 50", before=START + 4 * HOUR - 1)
    assert found.kept == entries[3:4]
    assert found.skipped == [*entries[:3], *entries[4:]]
    assert found.kept_bytes == 103
    assert found.kept_bytes + found.skipped_bytes == sum(each.size_bytes for each in entries)
    assert [decision.entry for decision in found.decisions] == entries
    assert found.decisions[0].reason == "temp > 30: temp is 0 to 9"
    assert found.decisions[4].reason.startswith("outside the time window")
    assert [folder.kept for folder in found.folders] == [0, 0, 0, 1, 0, 0]
    text = str(found)
    assert "keeps 1 of 6 files, 103 of 615 bytes" in text
    assert "date=2027-01-15/hour=08: skips its file; temp > 30: temp is 0 to 9" in text
    assert index.query(where="temp > 30", explain=True).kept == entries[3:]
    assert index.explain().skipped == []
