"""What type checkers make of the public names: mypy's own words on a short program."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

PROGRAM = """
from gigapi_metadata import (
    AsyncRedisIndex, IndexEntry, RedisIndex, RedisKVStore, SQLiteIndex, connect, connect_async
)

def blocking(index: RedisIndex, other: SQLiteIndex, kv: RedisKVStore) -> None:
    reveal_type(index.get("p"))                         # R: IndexEntry | None
    reveal_type(index.query(after=0))                   # R: list[IndexEntry]
    reveal_type(index.batch([]))                        # R: int
    reveal_type(index.get_move_plan("", ""))            # R: MovePlan | None
    reveal_type(other.get_drop_queue("", ""))           # R: DropPlan | None
    plan = other.get_merge_plan("", "", 1)
    reveal_type(plan)                                   # R: MergePlan | None
    if plan is not None:
        reveal_type(other.renew(plan))                  # R: MergePlan
        reveal_type(plan.paths_from)                    # R: list[str]
    reveal_type(kv.get("k"))                            # R: bytes | None
    reveal_type(index.connection.client)                # R: Redis
    with RedisIndex("redis://", "db", "t") as opened:
        reveal_type(opened)                             # R: RedisIndex
    with connect("./lake") as catalog:
        reveal_type(catalog.table("db", "t").get_all()) # R: list[IndexEntry]
        reveal_type(catalog.databases())                # R: list[str]
        reveal_type(catalog.kv.get("k"))                # R: bytes | None
    index.merge_configurations = [[1, 2, 3]]
    reveal_type(index.merge_configurations)             # R: list[MergeConfiguration]

async def awaiting(index: AsyncRedisIndex) -> None:
    reveal_type(await index.get_all())                  # R: list[IndexEntry]
    async with connect_async("redis://") as catalog:
        reveal_type(await catalog.table("db", "t").get_merge_plan("", "", 1)) # R: MergePlan | None

def wrong(index: RedisIndex, entry: IndexEntry) -> None:
    index.get(5)                                        # E: arg-type
    index.query(after="now")                            # E: arg-type
    index.end_merge(index.get_move_plan("", ""))        # E: arg-type
    entry.size_bytes = 5                                # E: misc
"""


def test_mypy_sees_the_types_that_the_design_promises(tmp_path: Path) -> None:
    assert find_spec("mypy"), "mypy is missing: pip install -e '.[lint]'"
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-color", "--config-file=", str(program)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    said = dict(re.findall(r"program\.py:(\d+): (.*)", run.stdout))
    for number, line in enumerate(PROGRAM.splitlines(), 1):
        wanted = re.search(r"# ([RE]): (.*)$", line)
        if wanted is None:
            assert str(number) not in said, said.get(str(number))
        elif wanted[1] == "R":
            found = re.search(r'Revealed type is "(.*)"', said[str(number)])
            assert found is not None, said[str(number)]
            short = re.sub(r"\b(?:\w+\.)+(?=\w)", "", found[1]).replace("builtins.", "")
            assert short == wanted[2], line
        else:
            assert f"[{wanted[2]}]" in said[str(number)], line
