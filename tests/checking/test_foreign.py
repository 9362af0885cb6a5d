"""What a Go-like writer and its mishaps leave behind is mended to a clean state."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import redis
from check_lab import DAY, Lake
from fix_golden import golden_cases, layers, load, restore
from go_like import GoLike

from gigapi_metadata import IndexEntry, RedisIndex
from gigapi_metadata.checking import CheckOptions, Footers, check_table, repair_table
from gigapi_metadata.storage import Storages

CATALOG_ONLY = CheckOptions(storage=False)


@pytest.mark.parametrize("case", golden_cases("redis_scars"))
def test_scars_are_mended(case: str, redis_url: str, tmp_path: Path) -> None:
    golden = load(case)
    with redis.Redis.from_url(redis_url) as client:
        restore(client, golden["dump"])
    given = golden["open"]
    tiers = layers(given, tmp_path)
    index = RedisIndex(redis_url, given["database"], given["table"], tiers, given["merge"])
    with index, Footers(1) as footers:
        parts = (index, Storages(tiers), footers)
        found = check_table(*parts, CATALOG_ONLY)
        kinds = {each.kind for each in found.faults}
        assert kinds == {"planned-twice"}
        assert {each.kind for each in found.notes} == {"undated-plan"}
        assert not repair_table(*parts, found, CATALOG_ONLY).left
        assert check_table(*parts, CATALOG_ONLY).faults == []
        moves = [plan for plan in index.plans() if plan.kind == "move"]
        assert sorted(plan.paths[0] for plan in moves) == sorted(golden["live"])
        assert len({plan.id for plan in moves}) == len({p.path_to for p in moves}) == len(moves)


def bare(entry: IndexEntry) -> IndexEntry:
    """As GigAPI's ingester registers it: without statistics."""
    return msgspec.structs.replace(entry, min_data=None, max_data=None)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("way", ["check", "reindex"])
def test_a_day_whose_counts_were_all_lost(lake: Lake, way: str, alone: bool) -> None:
    """It is named by nothing, and we have never written to it."""
    if lake.kind != "redis":
        pytest.skip("GigAPI writes there")
    entries = [] if alone else lake.fill()
    entry = lake.entry(lake.write("of-gigapi.1", 3))
    path = entry.path.replace("2024-01-15", "2024-01-17")
    GoLike(lake.client, lake.layers, ((3600, 10**9, 1),)).add(
        bare(msgspec.structs.replace(entry, path=path))
    )
    lake.client.hdel("folders:db:t", path.rpartition("/")[0])
    assert len(lake.index.get_all()) == len(entries), "GigAPI does not find it, either"
    if way == "check":
        wrong = [each for each in lake.check(storage=False).faults if each.kind == "wrong-count"]
        assert [each.path for each in wrong] == [path.rpartition("/")[0]]
        lake.repair(storage=False)
        assert lake.kinds(storage=False) == []
        assert lake.index.paths()[-1] == path.rpartition("/")[0]
    else:
        lake.index.reindex()
    for found in (lake.index.get_all(), lake.index.query(after=0)):
        assert path in [each.path for each in found]
        assert len(found) == len(entries) + 1


def test_what_harms_only_where_gigapi_works(lake: Lake) -> None:
    """A file that comes back is planned again, and still waits to be deleted. We pass over that."""
    if lake.kind != "redis":
        pytest.skip("GigAPI writes there")
    entries = lake.fill()
    lake.index.batch([], entries[:1])
    lake.index.batch(entries[:1])
    assert (lake.kinds(), lake.notes()) == ([], ["drop-of-living-file", "planned-twice"])
    GoLike(lake.client, lake.layers, ((3600, 10**9, 1),)).add(
        bare(lake.entry(lake.write("of-gigapi.1", 3)))
    )
    assert (lake.kinds(), lake.notes()) == (["drop-of-living-file", "planned-twice"], [])
    lake.repair()
    assert (lake.kinds(), lake.notes()) == ([], [])


def test_statistics_do_not_look_like_gigapi(lake: Lake) -> None:
    entry = lake.entry(lake.write("slash.1"))
    odd = msgspec.structs.replace(entry, min_data={"v": "a\\/b"}, max_data={"v": "z"})
    lake.index.batch([odd])
    assert not [each for each in lake.stored() if each.foreign]


def test_a_go_like_writer_with_mishaps(lake: Lake) -> None:
    if lake.kind != "redis":
        pytest.skip("GigAPI writes there")
    go = GoLike(lake.client, lake.layers, ((3600, 10**9, 1),))
    entries = [bare(lake.entry(lake.write(f"go{n}.1", n % 2))) for n in range(6)]
    go.add(*entries)
    go.add(entries[0], entries[1])  # counted and planned twice
    go.remove(entries[2])  # its plan still names it
    go.remove(bare(lake.entry(lake.write("unknown.1", 5))))  # a count below zero
    lake.index.import_entries([entries[2]])  # and its drop waits
    found = lake.kinds()
    assert {"wrong-count", "planned-twice", "drop-of-living-file"} <= set(found)
    for _ in range(2):
        lake.repair()
    assert lake.kinds() == []
    assert sorted(go.read()) == sorted(each.path for each in entries), "Go can read all of it"
    assert lake.client.hgetall("folders:db:t") == {
        f"{DAY}/hour=00".encode(): b"3",
        f"{DAY}/hour=01".encode(): b"3",
    }
    # Both go on from there.
    go.add(bare(lake.entry(lake.write("more.1"))))
    assert lake.kinds() == []
    assert len(lake.index.query(after=0)) == 7
