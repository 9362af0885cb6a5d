"""Redis: batches, single commits and queries beside the bare commands they can't do without.

python -m benchmarks.measure_redis [--sizes 17280,200000,1000000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import redis

from benchmarks.lake import FILES_AN_HOUR, HOUR_NS, START_NS, entries
from benchmarks.rows import Row, as_table, compare
from benchmarks.servers import private_redis
from gigapi_metadata import IndexEntry, RedisIndex
from gigapi_metadata.stores.redis import documents, keys

SIZES = (17_280, 200_000, 1_000_000)
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
    bare, ours = entries(100_000, seed=1), entries(100_000, seed=2)

    def floor() -> None:
        entry = next(bare)
        client.execute_command("HSET", "files:bare", entry.path, documents.encode(entry))

    with RedisIndex(url, "bench", "t", merge_configurations=MERGES) as index:
        return compare(
            "Redis", "single-file commit", 1, floor, lambda: index.batch([next(ours)]),
            at_most=2.5, repeat=500,
        )  # fmt: skip


def queries(url: str, sizes: Sequence[int]) -> Iterator[Row]:
    """One hour, 240 files, out of ever more."""
    client = redis.Redis.from_url(url)
    client.flushdb()
    with RedisIndex(url, "bench", "t", merge_configurations=MERGES) as index:
        source, there = entries(max(sizes)), 0
        for size in sizes:
            while there < size:
                batch = list(islice(source, min(CHUNK, size - there)))
                index.batch(batch)
                there += len(batch)
            hour = size // FILES_AN_HOUR // 2
            yield _query(client, index, "query of 1 h", size, START_NS + hour * HOUR_NS, 1.8)


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

    repeat = max(1, 2000 // len(wanted))
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
        store="Redis", work="memory, in bytes an entry", size=BATCH, floor_s=alone / BATCH,
        ours_s=both / BATCH, ratio=both / alone, at_most=1.3,
    )  # fmt: skip


def measure(sizes: Sequence[int] = SIZES) -> list[Row]:
    """Every row, on a server of its own."""
    with private_redis() as url:
        return [
            batches(url), single_commits(url), *queries(url, sizes), dense_query(url), memory(url),
        ]  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="entries in the table")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here as well")
    options = parser.parse_args()
    rows = measure([int(size) for size in options.sizes.split(",")])
    print(as_table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
