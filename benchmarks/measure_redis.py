"""Redis: batches, single commits and queries beside the bare commands they can't do without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import msgspec
import redis
from msgspec.structs import replace

from benchmarks.lake import FILES_AN_HOUR, HOUR_NS, START_NS, entries
from benchmarks.rows import Row, compare
from benchmarks.servers import private_redis
from gigapi_metadata import IndexEntry, RedisIndex
from gigapi_metadata.stores.redis import documents, keys

SIZES = (17_280, 200_000, 1_000_000)
LISTED = 200_000
THREADS = 16
FILES_A_THREAD = 250
BATCH = 17_280
CHUNK = 5_000
MERGES = [[10, 100 << 20, 1]]

_decode = msgspec.json.Decoder(documents._Document).decode


def _by_day(found: Sequence[IndexEntry], encode: bool) -> dict[str, list[str]]:
    days: dict[str, list[str]] = {}
    for entry in found:
        document = documents.encode(entry) if encode else entry.path
        days.setdefault(entry.path[:15], []).extend((entry.path, document))
    return days


def batches(url: str) -> Row:
    """One batch of new entries into an empty catalog; the floor encodes the same documents."""
    client = redis.Redis.from_url(url)
    new = list(entries(BATCH))

    def floor() -> None:
        pipeline = client.pipeline(transaction=False)
        for day, fields in _by_day(new, True).items():
            pipeline.execute_command("HSET", f"files:bench:t:{day}", *fields)
        pipeline.execute()

    with RedisIndex(url, "bench", "t", merge_configurations=MERGES) as index:
        return compare(
            "Redis", "batch of new entries", BATCH, floor, lambda: index.batch(new),
            at_most=1.8, between=client.flushdb,
        )  # fmt: skip


def single_commits(url: str) -> Row:
    """One client that registers file after file."""
    client = redis.Redis.from_url(url)
    client.flushdb()
    bare, ours = (iter(list(entries(8 * 501, seed=seed))) for seed in (1, 2))

    def floor() -> None:
        entry = next(bare)
        client.execute_command("HSET", "files:bare", entry.path, documents.encode(entry))

    with RedisIndex(url, "bench", "t", merge_configurations=MERGES) as index:
        return compare(
            "Redis", "single-file commit", 1, floor, lambda: index.batch([next(ours)]),
            at_most=2.5, repeat=500,
        )  # fmt: skip


def submitted(url: str) -> Row:
    """Threads that register single files and wait for each; the floor is a bare HSET a file."""
    client = redis.Redis.from_url(url)
    client.flushdb()
    number = THREADS * FILES_A_THREAD
    bare, ours = (list(entries(number, seed=seed)) for seed in (3, 4))

    def put(entry: IndexEntry) -> None:
        client.execute_command("HSET", "files:bare", entry.path, documents.encode(entry))

    with (
        RedisIndex(url, "bench", "t", merge_configurations=MERGES) as index,
        ThreadPoolExecutor(THREADS) as pool,
    ):

        def run(work: Callable[[IndexEntry], object], files: Sequence[IndexEntry]) -> None:
            parts = [files[n::THREADS] for n in range(THREADS)]
            list(pool.map(lambda part: [work(entry) for entry in part], parts))

        return compare(
            "Redis", f"{THREADS} threads, files one by one through submit", number,
            lambda: run(put, bare), lambda: run(lambda e: index.submit([e]).result(), ours),
            at_most=1.0, between=client.flushdb,
        )  # fmt: skip


def reads(url: str, sizes: Sequence[int]) -> Iterator[Row]:
    """One hour, 240 files, out of ever more; one file; all of them."""
    client = redis.Redis.from_url(url)
    client.flushdb()
    with RedisIndex(url, "bench", "t", merge_configurations=MERGES) as index:
        source, there = entries(max(sizes)), 0
        for size in sizes:
            while there < size:
                batch = list(islice(source, min(CHUNK, size - there)))
                index.batch(batch)
                there += len(batch)
            start = START_NS + size // FILES_AN_HOUR // 2 * HOUR_NS
            yield _query(client, index, "query of 1 h", size, start, 1.8)
            path = index.query(after=start, before=start)[0].path
            yield _get(client, index, path, size)
            if size == min(sizes):
                small = RedisIndex(url, "bench", "small", merge_configurations=MERGES)
                small.batch([replace(each, table="small") for each in index.get_all()])
            elif size == max(sizes):
                yield _flatness(small, index, min(sizes), size)
            if size == LISTED:
                yield from _listings(client, index, size)


def _get(client: redis.Redis, index: RedisIndex, path: str, size: int) -> Row:
    key = keys.files(index._verbs.ref, path[:15])
    return compare(
        "Redis", "get", size, lambda: _decode(client.execute_command("HGET", key, path)),
        lambda: index.get(path), at_most=1.4, repeat=2000,
    )  # fmt: skip


def _flatness(small: RedisIndex, large: RedisIndex, few: int, many: int) -> Row:
    """The same hour out of the smallest table and out of the largest, in turn."""
    start = START_NS + few // FILES_AN_HOUR // 2 * HOUR_NS
    hour = {"after": start, "before": start + HOUR_NS - 1}
    assert len(small.query(**hour)) == len(large.query(**hour)) == FILES_AN_HOUR
    return compare(
        "Redis", f"query of 1 h, the floor being {few:,}", many,
        lambda: small.query(**hour), lambda: large.query(**hour), at_most=1.3, repeat=20,
    )  # fmt: skip


def _listings(client: redis.Redis, index: RedisIndex, size: int) -> Iterator[Row]:
    days = list(client.scan_iter(keys.files(index._verbs.ref, "*"), count=1000))

    def floor() -> list[documents._Document]:
        return [
            _decode(document)
            for key in days
            for document in client.execute_command("HGETALL", key).values()
        ]

    yield compare("Redis", "list everything", size, floor, index.get_all, at_most=1.5, runs=5)
    yield compare(
        "Redis", "list everything, query_arrow", size, floor, index.query_arrow,
        at_most=1.0, runs=5,
    )  # fmt: skip


def leases(url: str) -> Iterator[Row]:
    """Lease and end of a merge, with few and with many folders that wait; the floor is two scripts
    that do nothing."""
    client = redis.Redis.from_url(url)
    nothing = client.script_load("return 1")
    few, many = 10, 10_000
    indexes = {}
    for folders in (few, many):
        client.flushdb() if folders == few else None
        index = RedisIndex(url, "bench", f"f{folders}", merge_configurations=[[0, 1, 1]])
        source = entries(folders * (6000 // folders + 1), every_s=86_400 // 2)
        files = [
            replace(
                each, table=index.table, path=f"date=2024-01-15/part={n % folders:06}/{n}.1.parquet"
            )
            for n, each in enumerate(source)
        ]  # fmt: skip
        for first in range(0, len(files), CHUNK):
            index.batch(files[first : first + CHUNK])
        indexes[folders] = index

        def floor() -> None:
            client.evalsha(nothing, 1, "x")
            client.evalsha(nothing, 1, "x")

        yield compare(
            "Redis", "lease and end of a merge, by folders", folders, floor,
            lambda index=index: _lease_and_end(index), at_most=2.0, repeat=200,
        )  # fmt: skip
    yield compare(
        "Redis", f"lease and end, the floor being {few} folders", many,
        lambda: _lease_and_end(indexes[few]), lambda: _lease_and_end(indexes[many]),
        at_most=1.5, repeat=200,
    )  # fmt: skip


def _lease_and_end(index: RedisIndex) -> None:
    plan = index.get_merge_plan("", "", 1)
    assert plan is not None
    index.end_merge(plan)


def dense_query(url: str) -> Row:
    """An hour that lies across two folders, out of a day with a file a second."""
    client = redis.Redis.from_url(url)
    client.flushdb()
    with RedisIndex(url, "bench", "t", merge_configurations=MERGES) as index:
        new = list(entries(86_400, every_s=1))
        for first in range(0, len(new), CHUNK):
            index.batch(new[first : first + CHUNK])
        start = START_NS + 12 * HOUR_NS + HOUR_NS // 3
        return _query(client, index, "query of 1 h, across folders", len(new), start, 1.6)


def _query(
    client: redis.Redis, index: RedisIndex, work: str, size: int, after: int, at_most: float
) -> Row:
    before = after + HOUR_NS - 1
    wanted = [entry.path for entry in index.query(after=after, before=before)]
    days: dict[str, list[str]] = {}
    for path in wanted:
        days.setdefault(keys.files(index._verbs.ref, path[:15]), []).append(path)

    def floor() -> list[documents._Document]:
        return [
            _decode(document)
            for key, paths in days.items()
            for document in client.execute_command("HMGET", key, *paths)
        ]

    repeat = max(1, 10_000 // len(wanted))
    return compare(
        "Redis", f"{work}, {len(wanted):,} files", size, floor,
        lambda: index.query(after=after, before=before), at_most=at_most, repeat=repeat,
    )  # fmt: skip


def memory(url: str) -> Row:
    """Bytes an entry, in place of seconds: GigAPI's keys alone, and with ours."""
    client = redis.Redis.from_url(url)
    client.flushdb()
    empty = client.info("memory")["used_memory"]
    with RedisIndex(url, "bench", "t", merge_configurations=MERGES) as index:
        new = list(entries(BATCH))
        for first in range(0, len(new), 100):
            index.batch(new[first : first + 100])
    both = client.info("memory")["used_memory"] - empty
    for key in client.scan_iter("gigapi-metadata:*", count=1000):
        client.delete(key)
    alone = client.info("memory")["used_memory"] - empty
    return Row(
        store="Redis", work="memory of an entry", size=BATCH, floor_s=alone / BATCH,
        ours_s=both / BATCH, ratio=both / alone, at_most=1.3,
    )  # fmt: skip


def measure(sizes: Sequence[int] = SIZES) -> list[Row]:
    """Every row, each part on a server of its own."""
    rows: list[Row] = []
    for work in (batches, single_commits, submitted, dense_query, leases, memory):
        with private_redis() as url:
            found = work(url)
            rows += [found] if isinstance(found, dict) else list(found)
    with private_redis() as url:
        rows += reads(url, sizes)
    return rows
