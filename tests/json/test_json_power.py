"""What is acknowledged is on the disk: what is flushed, and before what, as the kernel is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from json_lab import HOURS, index, made, tiers

from gigapi_metadata import JSONIndex


class Step(NamedTuple):
    """`what` is fsync, replace or mkdir; of a replace, `path` is the target."""

    what: str
    path: str
    source: str = ""


@contextmanager
def watched() -> Iterator[list[Step]]:
    steps: list[Step] = []

    def noting(note: Callable[..., Step], real: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            result = real(*args)
            steps.append(note(*args))
            return result

        return run

    with pytest.MonkeyPatch.context() as patch:
        for name, note in {
            "fsync": lambda file: Step("fsync", os.readlink(f"/proc/self/fd/{file}")),
            "replace": lambda source, target: Step("replace", target, source),
            "mkdir": lambda path: Step("mkdir", path),
        }.items():
            patch.setattr(os, name, noting(note, getattr(os, name)))
        yield steps


def one_folder(table: JSONIndex) -> None:
    table.batch([made(2)])


def many_folders(table: JSONIndex) -> None:
    table.batch([made(n, hour) for n, hour in enumerate(HOURS[:3], 2)])


def two_layers(table: JSONIndex) -> None:
    table.batch([made(2, layer="hot"), made(3, layer="cold")])


def removal(table: JSONIndex) -> None:
    table.batch([], [made(1)])


@pytest.mark.parametrize("change", [one_folder, many_folders, two_layers, removal])
def test_a_change_is_on_the_disk_when_it_is_acknowledged(
    tmp_path: Path, change: Callable[[JSONIndex], None]
) -> None:
    table = (
        JSONIndex(tmp_path, "db", "t", tiers(tmp_path)) if change is two_layers else index(tmp_path)
    )
    with table:
        table.batch([made(1, layer="hot" if change is two_layers else "")])
        with watched() as steps:
            change(table)
    replaced = [at for at, step in enumerate(steps) if step.what == "replace"]
    assert replaced
    for at in replaced:
        assert Step("fsync", steps[at].source) in steps[:at], f"{steps[at]} before it is flushed"
    journals = [at for at in replaced if os.path.basename(steps[at].path) == "journal.json"]
    for at, step in enumerate(steps):
        # Closing a journal may be lost: it is carried out again, without effect.
        if step.what in ("replace", "mkdir") and at not in journals[1:]:
            folder = Step("fsync", os.path.dirname(step.path))
            assert folder in steps[at:], f"{step} may be gone after a power cut"
    if journals:
        opened, closed = journals
        before, between = steps[:opened], steps[opened:closed]
        moved = [step for step in between[1:] if step.what == "replace"]
        assert moved
        for step in moved:
            assert Step("fsync", step.source) in before
            assert Step("fsync", os.path.dirname(step.source)) in before
        home = between.index(Step("fsync", os.path.dirname(steps[opened].path)))
        assert home < between.index(moved[0]), "files are replaced before the journal is on disk"
    else:
        assert change in (one_folder, removal)
