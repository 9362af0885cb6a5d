"""A process for test_json_crashes.py to kill: changes a table and says what has been acknowledged.

python crash_writer.py <root> batches|merges <seed>
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from json_lab import HOURS, made, tiers

from gigapi_metadata import JSONIndex

KEPT = 4
"""How many batches are there at a time."""


def batch_of(number: int) -> list[str]:
    """The paths of a batch: over three folders, two of them in another layer."""
    return [f"{HOURS[n % 3]}/b{number:06}-{n}.1.parquet" for n in range(6)]


def layer_of(path: str) -> str:
    return "cold" if path.startswith(HOURS[1]) else "hot"


def batches(root: Path, start: int) -> None:
    """Each batch adds one and removes the one of `KEPT` before."""
    table = JSONIndex(root, "db", "t", tiers(root), [[0, 10**9, 1]])
    number = start
    while True:
        add = [made(number, path=path, layer=layer_of(path)) for path in batch_of(number)]
        table.batch(add, batch_of(number - KEPT) if number >= KEPT else [])
        print(number, flush=True)
        number += 1


def merges(root: Path, seed: int) -> None:
    """Files of one row each are added and merged; no row may be lost or doubled."""
    random.seed(seed)
    table = JSONIndex(root, "db", "t", tiers(root), [[0, 300, n + 1] for n in range(60)])
    number = 0
    while True:
        if random.random() < 0.4:
            name = f"{random.getrandbits(64):x}-{number}"
            table.batch([made(0, path=f"{dir}/{name}.1.parquet", layer="hot") for dir in HOURS[:3]])
            number += 1
            print("rows", flush=True)
            continue
        level = random.randrange(1, 4)
        plan = table.get_merge_plan("", "hot", level, lease_s=1)
        if plan is not None:
            sources = [table.get(path) for path in plan.paths_from]
            rows = sum(source.row_count for source in sources if source)
            merged = made(0, path=plan.path_to, layer="hot", row_count=rows, size_bytes=100 * rows)
            table.complete_merge(plan, merged)
            table.complete_merge(plan, merged)
        drop = table.get_drop_queue("", "hot", lease_s=1)
        if drop is not None:
            table.rm_from_drop_queue(drop)


if __name__ == "__main__":
    {"batches": batches, "merges": merges}[sys.argv[2]](Path(sys.argv[1]), int(sys.argv[3]))
