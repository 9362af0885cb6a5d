"""The time index on Redis: whatever others write, and whatever is lost of it, a query finds every
file that a full scan finds."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import redis
from fix_redis import PATIENCE_S, RedisServer
from fix_stores import entry
from go_like import GoLike
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gigapi_metadata import IndexEntry, InvalidEntry, RedisIndex, StoreError
from gigapi_metadata.stores.base import TableRef
from gigapi_metadata.stores.redis import reading
from gigapi_metadata.stores.redis.session import FULL_CHECK_EVERY_S, FullChecks
from gigapi_metadata.stores.redis.store import LONGEST_PATH

HOUR = 3600 * 10**9
START = 1_800_000_000 * 10**9
OWN = "gigapi-metadata:*"
CELLS = "gigapi-metadata:cells:db:t"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
        yield client


@pytest.fixture
def index(redis_url: str) -> Iterator[RedisIndex]:
    with RedisIndex(redis_url, "db", "t") as index:
        yield index


def file(hour: int, number: int, *, low: int = 0, high: int = HOUR - 1, iteration: int = 1) -> Any:
    """A file in the folder of an hour; its times count from that hour's begin."""
    at = START + hour * HOUR
    dir = f"date=2027-01-{15 + hour // 24:02}/hour={hour % 24:02}"
    return entry(
        number, path=f"{dir}/f{number}.{iteration}.parquet", min_time=at + low, max_time=at + high
    )


def scan(client: redis.Redis, after: int, before: int) -> list[IndexEntry]:
    """By the rule itself, from all there is."""
    with RedisIndex(_url(client), "db", "t", shared=True) as index:
        everything = index.get_all()
    assert len(everything) == sum(client.hlen(key) for key in client.scan_iter("files:db:t:*"))
    return [each for each in everything if each.min_time <= before and each.max_time >= after]


def _url(client: redis.Redis) -> str:
    arguments = client.connection_pool.connection_kwargs
    return f"redis://{arguments['host']}:{arguments['port']}/{arguments.get('db', 0)}"


def calls_of(client: redis.Redis, command: str) -> int:
    """How often a command was carried out, in scripts too."""
    found = client.info("commandstats").get(f"cmdstat_{command}", {})
    calls: int = found.get("calls", 0)
    return calls


OPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["add", "add", "remove", "again", "go add", "go add", "go again", "go remove", "query"]
        ),
        st.integers(0, 2**32),
    ),
    max_size=30,
)


def test_whoever_writes_a_query_equals_a_scan(
    client: redis.Redis, index: RedisIndex, redis_url: str, seed: int
) -> None:
    @settings(
        max_examples=40,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(OPS)
    def check(ops: list[tuple[str, int]]) -> None:
        client.flushdb()
        play(client, index, GoLike(client, seed=seed), ops)

    check()


def play(client: redis.Redis, index: RedisIndex, go: GoLike, ops: list[tuple[str, int]]) -> None:
    for op, seed in [*ops, ("query", 0), ("query", 1)]:
        dice = random.Random(seed)
        there = scan(client, -(2**63), 2**63 - 1)
        length = dice.choice([1, HOUR // 2, HOUR, 3 * HOUR, 30 * HOUR])
        new = file(
            dice.randrange(60), dice.randrange(40), low=dice.randrange(-HOUR, HOUR),
            high=HOUR + length,
        )  # fmt: skip
        some = dice.choice(there) if there else new
        # The same path, somewhere else in time.
        moved = msgspec.structs.replace(
            some, min_time=new.min_time - 50 * HOUR, max_time=new.max_time
        )
        if op == "add":
            index.batch([new, file(dice.randrange(60), 99)])
        elif op == "remove":
            index.batch([], [some])
        elif op == "again":
            index.batch([moved])
        elif op == "go add":
            go.add(new)
        elif op == "go again":
            go.add(moved)
        elif op == "go remove":
            go.remove(some)
        else:
            after = START + dice.randrange(-5 * HOUR, 60 * HOUR)
            before = after + dice.choice([0, 1, HOUR, 20 * HOUR])
            assert index.query(after=after, before=before) == scan(client, after, before)


def test_queries_use_the_index_and_leave_other_days_alone(
    client: redis.Redis, index: RedisIndex
) -> None:
    index.batch([file(hour, 1) for hour in range(72)])
    index.query(after=START, before=START + HOUR)
    before = calls_of(client, "hgetall"), calls_of(client, "hvals")
    found = index.query(after=START + 30 * HOUR, before=START + 31 * HOUR - 1)
    assert found == [file(30, 1)]
    # Counts are looked at, documents of whole days are not.
    assert calls_of(client, "hvals") == before[1]
    assert calls_of(client, "hgetall") - before[0] <= 4


def test_times_are_told_apart_by_the_microsecond_and_answers_by_the_nanosecond(
    index: RedisIndex,
) -> None:
    index.batch([file(0, 1, low=0, high=999), file(0, 2, low=1001, high=1500)])
    assert index.query(after=START + 1000, before=START + 1000) == []
    assert index.query(after=START + 1501, before=START + 1999) == []
    assert index.query(after=START + 999, before=START + 999) == [file(0, 1, low=0, high=999)]
    assert len(index.query(after=START + 999, before=START + 1001)) == 2


def test_no_key_of_the_index_can_be_lost_without_notice(
    client: redis.Redis, index: RedisIndex, seed: int
) -> None:
    dice = random.Random(seed)
    entries = [file(hour, number) for hour in range(30) for number in range(3)]
    index.batch(entries)
    kept = [key for key in client.scan_iter(OWN) if b":ready:" not in key]
    for key in [*kept, *(tuple(dice.sample(kept, 3)) for _ in range(10))]:
        client.delete(*(key if isinstance(key, tuple) else [key]))
        hour = dice.randrange(30)
        window = START + hour * HOUR, START + (hour + 1) * HOUR - 1
        assert index.query(after=window[0], before=window[1]) == scan(client, *window), key
        extra = file(hour, 7, low=5)
        client.delete(*(key if isinstance(key, tuple) else [key]))
        index.batch([extra])
        assert index.query(after=window[0], before=window[1]) == scan(client, *window), key
        index.batch([], [extra])


def test_full_cells_are_closed_and_files_found_in_and_taken_out_of_all_of_them(
    client: redis.Redis, index: RedisIndex
) -> None:
    entries = [file(0, n, low=n * 1_000_000, high=n * 1_000_000 + 10) for n in range(3000)]
    for start in range(0, 3000, 500):
        index.batch(entries[start : start + 500])
    assert client.hget("gigapi-metadata:full:db:t", "date=2027-01-15/hour=00") is not None
    assert client.zcard(CELLS) > 2
    for n in (0, 1, 1499, 2999):
        at = START + n * 1_000_000
        assert index.query(after=at, before=at + 10) == [entries[n]]
    index.batch([], entries[::2])
    assert index.query(after=START, before=START + HOUR) == entries[1::2]
    index.batch([], entries)
    assert client.zcard(CELLS) == 0
    assert not list(client.scan_iter("gigapi-metadata:cell:*"))


def test_all_that_is_kept_of_files_goes_with_them(client: redis.Redis, index: RedisIndex) -> None:
    entries = [file(hour, 1) for hour in range(30)]
    index.batch(entries)
    index.batch([], entries)
    left = {key.split(b":")[1] for key in client.scan_iter(OWN)}
    assert left <= {b"receipt", b"indexed", b"noted", b"ready", b"dropping"}
    assert client.hgetall("gigapi-metadata:indexed:db:t") == {b"/noted": b"1"}


def test_a_foreign_file_near_the_window_is_found_at_once_in_a_large_table(
    client: redis.Redis, index: RedisIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("days", "dirs"):
        monkeypatch.setitem(reading._LIMITS, name, 0)
    index.batch([file(hour, 1) for hour in range(24 * 10)])
    window = START + 100 * HOUR, START + 101 * HOUR - 1
    for _ in range(2):
        index.query(after=window[0], before=window[1])
    go = GoLike(client)
    # From another hour of the day, reaching into the window; then the same path again, elsewhere.
    far = file(110, 50, low=-20 * HOUR)
    go.add(far)
    assert far in index.query(after=window[0], before=window[1])
    again = msgspec.structs.replace(file(90, 1), max_time=START + 105 * HOUR)
    go.add(again)
    assert again in index.query(after=window[0], before=window[1])
    go.remove(far)
    assert far not in index.query(after=window[0], before=window[1])


def test_a_foreign_file_far_from_its_time_is_found_by_the_next_full_check(
    client: redis.Redis, index: RedisIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("days", "dirs"):
        monkeypatch.setitem(reading._LIMITS, name, 0)
    now = [1000.0]
    index.connection.session.full_checks = FullChecks(lambda: now[0])
    index.batch([file(hour, 1) for hour in range(24 * 10)])
    window = START + 200 * HOUR, START + 201 * HOUR - 1
    index.query(after=window[0], before=window[1])
    lost = file(3, 50, low=150 * HOUR, high=250 * HOUR)
    GoLike(client).add(lost)
    now[0] += FULL_CHECK_EVERY_S
    assert lost in index.query(after=window[0], before=window[1])


def test_a_full_check_takes_its_share_of_the_time() -> None:
    now = [0.0]
    checks, table = FullChecks(lambda: now[0]), TableRef("db", "t")
    with checks.turn(table) as due:
        assert due
        now[0] += 0.05
    with checks.turn(table) as due:
        assert not due, "it took 0.05 s, so the next one is in 5 s"
    now[0] += 4.9
    with checks.turn(table) as due:
        assert not due
    with checks.turn(TableRef("db", "other")) as due:
        assert due
    now[0] += 0.1
    with checks.turn(table) as due:
        assert due


def test_shared_does_without_the_index(
    client: redis.Redis, index: RedisIndex, redis_url: str
) -> None:
    index.batch([file(hour, 1) for hour in range(5)])
    client.delete(*client.scan_iter("gigapi-metadata:cell*"))
    for url, shared in ((redis_url + "?shared=1", None), (redis_url, True)):
        with RedisIndex(url, "db", "t", shared=shared) as other:
            found = other.query(after=START + HOUR, before=START + 2 * HOUR - 1)
            assert found == [file(1, 1)]
    assert not client.exists(CELLS.replace("cells", "cell")), "nothing was mended"


def test_a_merge_between_the_two_calls_of_a_query_is_no_hole(
    index: RedisIndex, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [file(0, n) for n in range(4)]
    index.batch(sources)
    merged = file(0, 100, iteration=2)
    real = reading._fetched
    merges = iter([([merged], sources)])

    def between(*args: Any) -> Any:
        for add, remove in merges:
            with RedisIndex(redis_url, "db", "t") as other:
                other.batch(add, remove)
        return (yield from real(*args))

    monkeypatch.setattr(reading, "_fetched", between)
    assert index.query(after=START, before=START + 1) == [merged]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_is_in_order_and_whole(
    client: redis.Redis, index: RedisIndex, size: int, seed: int
) -> None:
    dice = random.Random(seed)
    entries = [
        file(dice.randrange(96), n, low=dice.randrange(-30 * HOUR, 30 * HOUR), high=31 * HOUR)
        for n in range(200)
    ]
    entries.append(msgspec.structs.replace(file(0, 300), min_time=-(2**63), max_time=-(2**63)))
    entries.append(msgspec.structs.replace(file(0, 301), min_time=2**63 - 1, max_time=2**63 - 1))
    index.batch(entries)
    for after, before in ((None, None), (START + 9 * HOUR, START + 40 * HOUR), (None, 5)):
        expected = index.query(after=after, before=before)
        assert list(index.iter_query(after=after, before=before, size=size)) == expected
        with RedisIndex(_url(client), "db", "t", shared=True) as shared:
            assert list(shared.iter_query(after=after, before=before, size=size)) == expected


def test_a_stream_goes_on_beside_merges(index: RedisIndex, redis_url: str) -> None:
    """Rows are numbers of files here: a merged file stands for its sources."""
    entries = [file(hour, n) for hour in range(72) for n in range(4)]
    index.batch(entries)
    seen: list[str] = []
    with RedisIndex(redis_url, "db", "t") as other:
        for position, each in enumerate(index.iter_query(size=5)):
            seen.append(each.path)
            if position % 10 == 0:
                hour = (position // 10 * 5) % 72
                sources = [e for e in other.get_all() if f"hour={hour % 24:02}/" in e.path]
                days = {e.path[:15] for e in sources}
                for day in days:
                    some = [e for e in sources if e.path.startswith(day)]
                    if len(some) == 4:
                        result = msgspec.structs.replace(
                            some[0], path=some[0].path.replace(".1.", ".2.")
                        )
                        other.batch([result], some)
    rows = sum(4 if path.endswith(".2.parquet") else 1 for path in seen)
    assert rows == len(entries)
    assert len(seen) == len(set(seen))


def test_a_document_that_cannot_be_read_is_not_passed_over(
    client: redis.Redis, index: RedisIndex
) -> None:
    from gigapi_metadata import CorruptState

    index.batch([file(0, 1)])
    client.hset("files:db:t:date=2027-01-15", "date=2027-01-15/hour=00/x.1.parquet", "{")
    client.hincrby("folders:db:t", "date=2027-01-15/hour=00", 1)
    with pytest.raises(CorruptState, match="date=2027-01-15"):
        index.query(after=START, before=START + 1)


def swapped(client: redis.Redis, go: GoLike, gone: IndexEntry, new: IndexEntry) -> None:
    """A file for another in one folder: what is counted stays as it was."""
    go.remove(gone)
    go.add(new)


def test_a_swap_is_noticed_when_what_was_noted_is_lost(
    client: redis.Redis, index: RedisIndex
) -> None:
    index.batch([file(0, n) for n in range(5)])
    index.query(after=START, before=START)
    client.delete("gigapi-metadata:noted:db:t")
    swapped(client, GoLike(client), file(0, 1), file(0, 9))
    assert file(0, 9) in index.query(after=START, before=START)
    assert client.exists("gigapi-metadata:noted:db:t")


def test_a_swap_is_noticed_though_its_drop_has_the_id_of_the_one_before(
    client: redis.Redis, index: RedisIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = GoLike(client)
    monkeypatch.setattr(go, "draw", lambda: "00000000-0000-4000-8000-000000000000")
    index.batch([file(0, n) for n in range(5)])
    for n in range(3):
        new = file(0, 10 + n, low=50 * HOUR, high=51 * HOUR)
        swapped(client, go, file(0, n), new)
        assert new in index.query(after=START + 50 * HOUR, before=START + 51 * HOUR)


def test_a_file_added_again_is_noticed_where_the_count_is_below_zero(
    client: redis.Redis, index: RedisIndex
) -> None:
    go = GoLike(client)
    go.add(file(0, 1))
    for n in range(5):
        go.remove(file(0, 100 + n))  # never there: counted down all the same
    index.query(after=START, before=START)
    moved = msgspec.structs.replace(file(0, 1), max_time=START + 50 * HOUR)
    go.add(moved)
    assert index.query(after=START + 49 * HOUR, before=START + 50 * HOUR) == [moved]


@pytest.mark.parametrize("at", [-(2**63), -(2**63) + 5 * 10**9, 2**63 - 10**9, -(10**9)])
def test_foreign_files_are_found_to_the_nanosecond_centuries_away(
    client: redis.Redis, index: RedisIndex, at: int, seed: int
) -> None:
    dice = random.Random(seed)
    times = [at + dice.randrange(10**9) for _ in range(60)]
    GoLike(client).add(
        *(
            msgspec.structs.replace(file(0, n), min_time=time, max_time=time)
            for n, time in enumerate(times)
        )
    )
    with RedisIndex(_url(client), "db", "t", shared=True) as shared:
        for time in times:
            for each in (index, shared):
                found = each.query(after=time, before=time + 700)
                assert {e.min_time for e in found} == {t for t in times if time <= t <= time + 700}


def test_a_lost_cell_is_made_anew(client: redis.Redis, index: RedisIndex) -> None:
    index.batch([file(hour, 1) for hour in range(5)])
    client.delete("gigapi-metadata:cell:db:t:0:date=2027-01-15/hour=03")
    assert len(index.query(after=START, before=START + 5 * HOUR)) == 5
    before = calls_of(client, "hvals"), calls_of(client, "evalsha")
    assert len(index.query(after=START, before=START + 5 * HOUR)) == 5
    assert (calls_of(client, "hvals"), calls_of(client, "evalsha") - 1) == before


def test_what_is_named_and_has_gone_without_a_trace_is_forgotten(
    client: redis.Redis, index: RedisIndex
) -> None:
    index.batch([file(0, n) for n in range(5)])
    index.query(after=START, before=START)
    swapped(client, GoLike(client), file(0, 1), file(0, 9))
    assert client.delete("drop:db:t:::idle")
    for _ in range(2):
        before = calls_of(client, "hmget")
        assert file(0, 9) in index.query(after=START, before=START)
    # One to check, in the script, and one to fetch.
    assert calls_of(client, "hmget") - before == 2


def test_a_name_that_the_index_has_no_room_for_is_refused(index: RedisIndex) -> None:
    longest = "date=2027-01-15/hour=00/"
    longest += "\N{GRINNING FACE}" * (LONGEST_PATH - len(longest))
    index.batch([msgspec.structs.replace(file(0, 1), path=longest)])
    assert [each.path for each in index.query(after=START, before=START)] == [longest]
    outcomes = [
        index.submit([file(0, 2)]),
        index.submit([msgspec.structs.replace(file(0, 3), path=longest + "x")]),
    ]
    assert outcomes[0].result(30) == 0
    with pytest.raises(InvalidEntry, match="16384 characters"):
        outcomes[1].result(30)


def test_a_replica_answers_though_its_index_cannot_be_mended(
    new_redis_server: Callable[..., RedisServer],
) -> None:
    primary = new_redis_server()
    replica = new_redis_server("--replicaof", "127.0.0.1", str(primary.port))
    with primary.client() as client, replica.client() as copy:
        with RedisIndex(primary.url(), "db", "t") as index:
            index.batch([file(0, 1)])
        GoLike(client).add(file(0, 2))
        deadline = time.monotonic() + PATIENCE_S
        while copy.hlen("files:db:t:date=2027-01-15") != 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with RedisIndex(replica.url(), "db", "t") as index:
            both = [file(0, 1), file(0, 2)]
            assert index.query(after=START, before=START) == both
            assert list(index.iter_query(after=START)) == both
            assert index.query_arrow(after=START)["path"].to_pylist() == [e.path for e in both]
            with pytest.raises(StoreError, match="can't be mended"):
                index.reindex()


def test_a_swap_is_noticed_when_our_worker_has_taken_the_drop(
    client: redis.Redis, index: RedisIndex
) -> None:
    go = GoLike(client)
    index.batch([file(0, n) for n in range(5)])
    index.query(after=START, before=START)
    new = file(0, 9, low=50 * HOUR, high=51 * HOUR)
    swapped(client, go, file(0, 1), new)
    go.make_due("drop:db:t::")
    plan = index.get_drop_queue("", "")
    assert plan is not None
    index.rm_from_drop_queue(plan)
    assert index.query(after=START + 50 * HOUR, before=START + 51 * HOUR) == [new]


def test_a_drop_of_our_own_changes_no_day(client: redis.Redis, redis_url: str) -> None:
    with RedisIndex(redis_url, "db", "t", drop_grace_s=0) as index:
        index.batch([file(0, n) for n in range(5)])
        index.batch([], [file(0, 1), file(0, 2)])
        before = client.hgetall("gigapi-metadata:indexed:db:t")
        for _ in range(2):
            plan = index.get_drop_queue("", "")
            assert plan is not None
            index.rm_from_drop_queue(plan)
        assert client.hgetall("gigapi-metadata:indexed:db:t") == before
