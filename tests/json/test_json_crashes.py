"""A process may die between any two steps, a disk may fill: all of a change is there, or nothing.

`$JSON_KILLS` says how often a real process is killed (20; the issue asks for 300 now and then).
"""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from crash_writer import KEPT, batch_of
from json_lab import HOURS, Clock, contents, data, index, made, tiers

from gigapi_metadata import IndexEntry, JSONIndex, OutcomeUnknown, StoreError
from gigapi_metadata.stores.json import files

STEPS = ("write_flushed", "rename", "flush_folder", "make_folder", "remove")
KILLS = int(os.environ.get("JSON_KILLS", "20"))


class Killed(BaseException):
    """Nothing of ours may catch it."""


@contextmanager
def dying(at: int, *, after: bool, error: BaseException | None = None) -> Iterator[list[str]]:
    """Raise at the n-th step, before or after it has been made; all later ones fail as well. The
    list that is given names the steps that were begun."""
    begun: list[str] = []

    def step(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            begun.append(name)
            if len(begun) == at and after:
                real(*args)
            if len(begun) == at or (len(begun) > at and error is None):
                raise error or Killed
            return real(*args)

        return run

    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(files, name, step(name, getattr(files, name)))
        yield begun


def prepared(root: Path) -> None:
    table = JSONIndex(root, "db", "t", tiers(root), [[0, 1000, 1]])
    table.batch([made(1, layer="hot"), made(2, HOURS[1], layer="hot"), made(3, layer="cold")])


def one_folder(root: Path) -> None:
    _open(root).batch([made(4, layer="hot"), made(5, layer="hot")])


def many_folders(root: Path) -> None:
    _open(root).batch(
        [made(4, layer="hot"), made(5, HOURS[1], layer="cold"), made(6, HOURS[3], layer="cold")],
        [made(2, HOURS[1]), made(3)],
    )


def to_another_layer(root: Path) -> None:
    _open(root).batch([made(1, layer="cold")])


def completing(root: Path) -> None:
    table = _open(root)
    for _ in range(2):
        plan = table.get_merge_plan("", "hot", 1)
        assert plan is not None
        if plan.path_to.startswith(HOURS[0]):
            table.complete_merge(plan, made(9, path=plan.path_to, layer="hot"))
            return


CHANGES = [one_folder, many_folders, to_another_layer, completing]


def _open(root: Path) -> JSONIndex:
    return JSONIndex(root, "db", "t", tiers(root), [[0, 1000, 1]])


def seen(root: Path) -> tuple[Any, ...]:
    table = _open(root)
    entries = [
        (each.path.rpartition("/")[0], each.layer, each.row_count) for each in table.get_all()
    ]
    return sorted(entries), sorted(plan.paths for plan in table.plans() if plan.kind == "drop")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_dying_at_any_step_leaves_all_or_nothing(
    tmp_path: Path, change: Callable[[Path], None], after: bool
) -> None:
    prepared(tmp_path / "whole")
    old = seen(tmp_path / "whole")
    change(tmp_path / "whole")
    new = seen(tmp_path / "whole")
    assert new != old
    outcomes = []
    for at in range(1, 200):
        root = tmp_path / f"{at}"
        prepared(root)
        with dying(at, after=after) as begun:
            try:
                change(root)
                break
            except Killed:
                pass
        left = seen(root)
        assert left in (old, new), f"after {begun[:at]}"
        table = _open(root)
        table.batch([made(50, HOURS[2], layer="hot")])
        table.batch(None, [made(50, HOURS[2])])
        again = seen(root)
        assert again[0] == left[0], "the next writer completes what readers saw already"
        assert not list(root.rglob(".gigapi/new/*")), "nothing is left lying about"
        outcomes.append(left == new)
    assert at > 5
    assert outcomes == sorted(outcomes), "from one step on it has happened"
    if change is not completing:
        assert set(outcomes) == {False, True}


@pytest.mark.parametrize("after", [False, True])
def test_dying_again_while_carrying_a_change_to_its_end(tmp_path: Path, after: bool) -> None:
    prepared(tmp_path / "whole")
    many_folders(tmp_path / "whole")
    new = seen(tmp_path / "whole")
    for at in range(1, 100):
        root = tmp_path / f"{at}"
        prepared(root)
        with pytest.raises(Killed), dying(_first_renaming(root), after=True):
            many_folders(root)
        assert seen(root) == new
        with dying(at, after=after):
            try:
                _open(root).batch([made(1, layer="hot")])
                break
            except Killed:
                pass
        assert seen(root) == new
        _open(root).batch([made(1, layer="hot")])
        assert seen(root) == new
    assert at > 10


def _first_renaming(root: Path) -> int:
    """The step of `many_folders` that puts the journal into place."""
    other = root.with_name(f"{root.name}-probe")
    prepared(other)
    with dying(10**9, after=False) as begun:
        many_folders(other)
    return begun.index("rename") + 1


def test_a_reader_without_the_right_to_write_sees_the_whole_change(tmp_path: Path) -> None:
    prepared(tmp_path / "whole")
    many_folders(tmp_path / "whole")
    root = tmp_path / "root"
    prepared(root)
    with pytest.raises(Killed), dying(_first_renaming(root) + 2, after=True):
        many_folders(root)
    before = contents(root)
    with dying(1, after=False) as begun:
        assert seen(root) == seen(tmp_path / "whole")
        assert not begun, "a reader takes none of these steps"
    assert contents(root) == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("change", [one_folder, many_folders])
def test_a_disk_that_fails_leaves_all_or_nothing(
    tmp_path: Path, change: Callable[[Path], None], code: int
) -> None:
    prepared(tmp_path / "whole")
    old = seen(tmp_path / "whole")
    change(tmp_path / "whole")
    new = seen(tmp_path / "whole")
    for at in range(1, 100):
        root = tmp_path / f"{at}"
        prepared(root)
        failure = OSError(code, os.strerror(code), "/some/file")
        caught: StoreError | None = None
        with dying(at, after=False, error=failure):
            try:
                change(root)
                break
            except StoreError as error:
                caught = error
        assert "/some/file" in str(caught)
        if isinstance(caught, OutcomeUnknown):
            _open(root).batch([made(1, layer="hot")])
            assert seen(root) == new
        else:
            assert seen(root) == old
            assert code != errno.ENOSPC or "full" in str(caught)
    assert at > 5


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    index(tmp_path).batch([made(1)])
    before = contents(tmp_path)
    full = OSError(errno.ENOSPC, "No space left", "x")
    with pytest.raises(StoreError), dying(_nth(tmp_path), after=False, error=full):
        index(tmp_path).batch([made(2), made(3)])
    assert contents(tmp_path) == before


def _nth(root: Path) -> int:
    """The step that writes the second new version of a change to one folder."""
    probe = root.with_name("probe")
    index(probe).batch([made(1)])
    with dying(10**9, after=False) as begun:
        index(probe).batch([made(2), made(3)])
    return [n for n, name in enumerate(begun, 1) if name == "write_flushed"][1]


# Real processes


def _writer(root: Path, what: str, argument: int) -> subprocess.Popen[str]:
    here = Path(__file__).parent
    return subprocess.Popen(
        [sys.executable, str(here / "crash_writer.py"), str(root), what, str(argument)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])},
    )


def _killed(process: subprocess.Popen[str], draw: random.Random) -> list[str]:
    """What a writer has said before it was killed at a random moment."""
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(draw.random() * 0.1)
    process.send_signal(signal.SIGKILL)
    said = [first, *process.stdout.read().splitlines()]
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    return [line for line in said if line.strip()]


def test_batches_of_a_killed_process_are_there_whole_or_not_at_all(
    tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    following = 0
    for kill in range(KILLS):
        said = _killed(_writer(tmp_path, "batches", following), draw)
        acknowledged = int(said[-1])
        entries = _open(tmp_path).get_all()
        numbers = {int(each.path.rpartition("/b")[2][:6]) for each in entries}
        where = f"kill {kill}, seed {seed}"
        newest = max(numbers)
        assert newest in (acknowledged, acknowledged + 1), where
        expected = [
            path for n in range(max(0, newest - KEPT + 1), newest + 1) for path in batch_of(n)
        ]
        assert sorted(each.path for each in entries) == sorted(expected), where
        following = newest + 1


def test_a_killed_merger_neither_loses_nor_doubles_a_row(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    rows = 0
    for kill in range(KILLS):
        said = _killed(_writer(tmp_path, "merges", seed + kill), draw)
        rows += 3 * len(said)
        found = sum(each.row_count for each in _open(tmp_path).get_all())
        assert found in (rows, rows + 3), f"kill {kill}, seed {seed}"
        rows = found
        _every_entry_is_planned_or_done(tmp_path)


def _every_entry_is_planned_or_done(root: Path) -> None:
    table = JSONIndex(root, "db", "t", tiers(root), [[0, 300, n + 1] for n in range(60)])
    planned = [path for plan in table.plans() if plan.kind == "merge" for path in plan.paths]
    living: list[IndexEntry] = table.get_all()
    assert {each.path for each in living} <= set(planned), "no file is forgotten"
    assert len([p for p in planned if p in {each.path for each in living}]) == len(living)


def test_a_lock_is_released_by_a_crash(tmp_path: Path) -> None:
    program = (
        "import sys, os, time; from gigapi_metadata.stores.json import lock\n"
        f"with lock.exclusive({str(tmp_path / 'db/t/.gigapi/lock')!r}):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    started = time.monotonic()
    index(tmp_path, clock=Clock()).batch([made(1)])
    assert time.monotonic() - started < 10
    assert (data(tmp_path) / "metadata.json").exists()
