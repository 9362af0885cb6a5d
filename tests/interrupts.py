"""Interrupting a call at a chosen step, as a signal does that raises there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


def interrupted_at_steps(call: Callable[[], Any], *parts: str, most: int = 1000) -> Iterator[str]:
    """Make the call with a KeyboardInterrupt where Python looks for signals: when a function begins
    or one in C has ended, in a module whose file's name contains one of `parts`. Once for each such
    step, the last one first, or for `most` of them. Yields where it was."""
    count = _run(call, None, parts)[0]
    assert count > 0, "no such step is made"
    step = -(-count // most)
    for number in range(count, 0, -step):
        where = _run(call, number, parts)[1]
        if where is not None:  # not every call makes as many steps
            yield where


def _run(
    call: Callable[[], Any], number: int | None, parts: tuple[str, ...]
) -> tuple[int, str | None]:
    """How many steps were made, and at which of them the call was interrupted."""
    count = 0

    def at_event(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        name = frame.f_code.co_filename
        if event in ("call", "c_return") and any(part in name for part in parts):
            count += 1
            if count == number:
                sys.setprofile(None)
                raise KeyboardInterrupt(f"{name}:{frame.f_lineno}")

    sys.setprofile(at_event)
    try:
        call()
    except KeyboardInterrupt as interrupt:
        return count, str(interrupt)
    finally:
        sys.setprofile(None)
    return count, None
