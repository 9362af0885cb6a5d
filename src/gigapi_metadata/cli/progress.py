"""A progress bar on the terminal, if stderr is one and rich is installed; nothing otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Advance = Callable[[int], None]


def can_show() -> bool:
    """Whether a bar would be seen."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def progress_bar(
    total: Callable[[], int | None], doing: str = "scanning", unit: str = "files"
) -> Iterator[Advance]:
    """A bar over `total()` steps (None: nobody knows), which is only asked for if it is shown."""
    bar = _rich_bar(unit) if can_show() else None
    if bar is None:
        yield lambda steps: None
        return
    with bar:
        task = bar.add_task(doing, total=None)
        bar.update(task, total=total())
        yield lambda steps: bar.advance(task, steps)


def _rich_bar(unit: str) -> Any:
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )
    except ImportError:
        return None
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
