"""What a measurement gives: each figure beside its floor, both taken in turn in one run."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any, TypedDict

RUNS = 7


class Row(TypedDict):
    """One line of the table. Seconds are medians; `ratio` is ours to the floor. Of memory, both
    figures are bytes."""

    store: str
    work: str
    size: int
    floor_s: float
    ours_s: float
    ratio: float
    at_most: float | None


def compare(
    store: str,
    work: str,
    size: int,
    floor: Callable[[], Any],
    ours: Callable[[], Any],
    *,
    at_most: float | None = None,
    runs: int = RUNS,
    repeat: int = 1,
    between: Callable[[], Any] | None = None,
) -> Row:
    """Time `floor` and `ours` in turn, `runs` times each after one round to warm up.

    repeat: how many calls make one timing, for work of microseconds.
    between: what puts things back before each timing; it is not timed.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(runs + 1):
        for work_of, taken in zip((floor, ours), times, strict=True):
            if between is not None:
                between()
            gc.collect()
            if between is None:
                work_of()  # what was collected has emptied the processor's caches
            started = time.perf_counter()
            for _ in range(repeat):
                work_of()
            if run:
                taken.append((time.perf_counter() - started) / repeat)
    floor_s, ours_s = (statistics.median(taken) for taken in times)
    return Row(
        store=store,
        work=work,
        size=size,
        floor_s=floor_s,
        ours_s=ours_s,
        ratio=ours_s / floor_s,
        at_most=at_most,
    )


def as_table(rows: list[Row], *, heading: bool = True) -> str:
    """The rows as text, one line each, with a mark where a figure is above what it may be."""
    columns = (
        f"{'store':7} {'work':58}",
        "  entries",
        "     floor",
        "      ours",
        " ratio",
        " at most",
    )
    lines = [" ".join(columns)] if heading else []
    for row in rows:
        limit = row["at_most"]
        figure = _bytes if row["work"].startswith("memory") else _time
        missed = limit is not None and row["ratio"] > limit
        lines.append(
            f"{row['store']:7} {row['work']:58} {row['size']:9,} {figure(row['floor_s']):>10} "
            f"{figure(row['ours_s']):>10} {row['ratio']:6.2f} "
            f"{'' if limit is None else format(limit, '.2f'):>8}{' missed' if missed else ''}"
        )
    return "\n".join(lines)


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 0.001:
        return f"{seconds * 1e3:.2f} ms"
    return f"{seconds * 1e6:.1f} µs"


def _bytes(number: float) -> str:
    return f"{number:.0f} B"
