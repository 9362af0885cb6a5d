"""Writes batches until its disk is full, then goes on removing. Says what it was told, as JSON.

python disk_process.py {sqlite|json} {mount|limit} FOLDER BYTES

mount: the folder becomes a file system of so many bytes, in a mount namespace of this process.
limit: no file may become larger (RLIMIT_FSIZE), which fails writes in the same places.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent))

from fault_checks import check_invariants, paths_of

from gigapi_metadata import IndexEntry, StoreError, connect

DIR = "date=2027-01-15/hour=08"
ROUNDS = 3


def entries(number: int, count: int) -> list[IndexEntry]:
    return [
        IndexEntry("db", "t", f"{DIR}/b{number}-{n}.1.parquet", 100, 1, 2, row_count=1)
        for n in range(count)
    ]


def fill(index: Any, there: set[str], number: int) -> tuple[int, str]:
    """Add batches until one is refused; the next number, and why."""
    while True:
        number += 1
        # Each is as large as the space that is left might be: some fail late, some at once.
        batch = entries(number, 1 + number * 7 % 90)
        try:
            index.batch(batch)
        except StoreError as error:
            return number, str(error)
        there |= {each.path for each in batch}


def main() -> None:
    kind, how, folder, size = sys.argv[1:]
    if how == "mount":
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
    url = f"sqlite://{folder}/catalog.db" if kind == "sqlite" else f"json://{folder}"
    there: set[str] = set()
    reasons, number, refused = [], 0, 0
    for _ in range(ROUNDS):
        with connect(url, merge_configurations=[[0, 5000, 1]], drop_grace_s=0) as catalog:
            index = catalog.table("db", "t")
            number, reason = fill(index, there, number)
            reasons.append(reason)
            assert paths_of(index.get_all()) == sorted(there), "a refused batch left something"
            # Small writes go on being whole, whether they fit or not.
            for path in sorted(there)[:20]:
                try:
                    index.batch(None, [path])
                    there.discard(path)
                except StoreError as error:
                    reasons.append(str(error))
                    refused += 1
                assert paths_of(index.get_all()) == sorted(there)
            try:
                index.get_merge_plan("", "", 1)
            except StoreError as error:
                reasons.append(str(error))
    if how == "mount":
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
    with connect(url, merge_configurations=[[0, 5000, 1]], drop_grace_s=0) as catalog:
        index = catalog.table("db", "t")
        if how == "mount":
            index.batch(entries(0, 50))
            there |= {each.path for each in entries(0, 50)}
        found = paths_of(check_invariants(index))
    assert found == sorted(there)
    left = [str(each) for each in Path(folder).rglob("*") if each.match(".gigapi/new/*")]
    print(json.dumps({"reasons": reasons, "files": len(found), "left": left, "pid": os.getpid()}))


if __name__ == "__main__":
    main()
