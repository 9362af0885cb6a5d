"""A writer that was killed and has a log of what it wrote: what of it is to be added.

docs/guarantees.md, "What is not promised", gives the rule that is followed here.
"""

from __future__ import annotations

from typing import Any

from fix_stores import Backend, OpenIndex, entry, path_of

from gigapi_metadata import IndexEntry


def to_add(index: Any, log: list[IndexEntry], files: set[str]) -> list[str]:
    """The rule, in its order."""
    absent = [each.path for each in log if index.get(each.path) is None]
    leaving = {path for plan in index.plans() if plan.kind == "drop" for path in plan.paths}
    return [path for path in absent if path not in leaving and path in files]


def test_a_log_is_replayed_beside_merges(open_index: OpenIndex, backend: Backend) -> None:
    index = open_index(merge_configurations=[[0, 250, 1]])
    log = [entry(n) for n in (1, 2, 3, 4)]
    files = {each.path for each in log}
    index.batch(log[:3])  # the fourth was written, and not registered
    plan = index.get_merge_plan("", "", 1)
    index.complete_merge(plan, entry(path=plan.path_to))
    assert plan.paths_from == [path_of(1), path_of(2)]
    for _ in range(2):  # while the sources wait to be deleted, and while they are
        assert to_add(index, log, files) == [path_of(4)]
        backend.advance(30)
        drop = index.get_drop_queue("", "")
        assert to_add(index, log, files) == [path_of(4)]
        files.remove(drop.path)
        assert to_add(index, log, files) == [path_of(4)]
        index.rm_from_drop_queue(drop)
    assert to_add(index, log, files) == [path_of(4)]
    assert files == {path_of(3), path_of(4)}
