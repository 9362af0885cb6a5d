"""One process of the load: commits or leases against a catalog, and reports what it was told.

python load.py {commit|lease} URL NUMBER SEED {COUNT|SECONDSs}  ->  one line of JSON
"""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any

from gigapi_metadata import Conflict, IndexEntry, LeaseLost, connect

DIRS = [f"date=2027-01-1{day}/hour=0{hour}" for day in (5, 6) for hour in range(4)]
ROWS = [[0, 400, 1], [0, 4000, 2]]
LEASE_S = 1


def file(path: str, rows: int = 1) -> IndexEntry:
    return IndexEntry("db", "t", path, 100, 1, 2, row_count=rows)


class Until:
    """Whether to go on: for so many turns, or for so many seconds."""

    def __init__(self, limit: str) -> None:
        self._end = time.monotonic() + float(limit[:-1]) if limit.endswith("s") else None
        self._left = 0 if self._end else int(limit)

    def __bool__(self) -> bool:
        if self._end:
            return time.monotonic() < self._end
        self._left -= 1
        return self._left >= 0


def commit(index: Any, number: int, draw: random.Random, until: Until) -> dict[str, Any]:
    """Adds new files; now and then adds its own again, or removes some, merged or not."""
    added: list[str] = []
    asked_to_remove: set[str] = set()
    calls = 0
    while until:
        new = [
            f"{draw.choice(DIRS)}/w{number}-{len(added) + n}.1.parquet"
            for n in range(draw.randint(1, 4))
        ]
        remove = draw.sample(added, 1) if added and draw.random() < 0.15 else []
        # The same batch twice over, as after an OutcomeUnknown. A source that was merged in between
        # would rightly come to life again, so they
        # are of a level that nobody merges.
        twice = draw.random() < 0.2
        if twice:
            new = [path.replace(".1.parquet", ".9.parquet") for path in new]
            index.batch([file(path) for path in new])
        index.batch([file(path) for path in new], remove)
        added += new
        asked_to_remove.update(remove)
        calls += 1
    return {"added": added, "asked_to_remove": sorted(asked_to_remove), "calls": calls}


def lease(index: Any, number: int, draw: random.Random, until: Until) -> dict[str, Any]:
    """Carries plans out; now and then dies with one, and finds that it is too late."""
    leases: list[tuple[str, int]] = []
    merged: list[tuple[str, list[str], str, int]] = []
    lost = conflicts = 0
    late: list[Any] = []
    while until:
        iteration = draw.choice([1, 1, 1, 2])
        plan = index.get_merge_plan("", "", iteration, lease_s=draw.choice([LEASE_S, 30]))
        if plan is None:
            continue
        leases.append((plan.id, plan.lease_s))
        fate = draw.random()
        if fate < 0.1:
            late.append(plan)
            continue
        if fate < 0.2:
            index.release(plan, "fate")
            continue
        if fate < 0.3:
            plan = index.renew(plan, lease_s=40)
            leases.append((plan.id, plan.lease_s))
        if late and draw.random() < 0.2:
            plan = late.pop(0)
        try:
            sources = [index.get(path) for path in plan.paths_from]
            rows = sum(source.row_count for source in sources if source)
            index.complete_merge(plan, file(plan.path_to, rows))
        except LeaseLost:
            lost += 1
        except Conflict:
            conflicts += 1
            index.release(plan)
        else:
            merged.append((plan.id, plan.paths_from, plan.path_to, rows))
    return {"leases": leases, "merged": merged, "lost": lost, "conflicts": conflicts}


def main() -> None:
    role, url, number, seed, limit = sys.argv[1:]
    draw = random.Random(f"{seed}/{role}/{number}")
    with connect(url, merge_configurations=ROWS, drop_grace_s=0) as catalog:
        index = catalog.table("db", "t")
        print("ready", flush=True)
        sys.stdin.readline()
        work = commit if role == "commit" else lease
        print(json.dumps(work(index, int(number), draw, Until(limit))), flush=True)


if __name__ == "__main__":
    main()
