"""One of several processes for test_json_processes.py.

python busy_process.py <root> add|flip|lease <number> <count>
"""

from __future__ import annotations

import sys
from pathlib import Path

from json_lab import HOURS, made, tiers

from gigapi_metadata import JSONIndex


def add(root: Path, number: int, count: int) -> None:
    """Files in the same folders as everyone's, one batch each."""
    table = JSONIndex(root, "db", "t", tiers(root))
    for n in range(count):
        dirs = HOURS[n % 4 :][:2]
        table.batch([made(number * 1000 + n, dir, layer="hot") for dir in dirs])


def flip(root: Path, number: int, count: int) -> None:
    """The same three files, all of them replaced with the same number of rows."""
    table = JSONIndex(root, "db", "t", tiers(root))
    for n in range(count):
        rows = number * 1000 + n + 1
        table.batch(
            [
                made(1, HOURS[0], layer="hot", row_count=rows),
                made(1, HOURS[1], layer="hot", row_count=rows),
                made(1, HOURS[2], layer="cold", row_count=rows),
            ]
        )


def lease(root: Path, number: int, count: int) -> None:
    """Says which plans it was handed."""
    table = JSONIndex(root, "db", "t", tiers(root), [[0, 0, 1]])
    while (plan := table.get_merge_plan("", "hot", 1)) is not None:
        print(plan.id, plan.paths_from[0], flush=True)
        if number % 2:
            table.complete_merge(plan, made(0, path=plan.path_to, layer="hot"))


if __name__ == "__main__":
    verbs = {"add": add, "flip": flip, "lease": lease}
    verbs[sys.argv[2]](Path(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4]))
