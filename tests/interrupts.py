"""Interrupting a call at a chosen line of code, as a signal does that raises there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


def interrupted_at_each_line(call: Callable[[], Any], *parts: str, step: int = 1) -> Iterator[str]:
    """Make the call with a KeyboardInterrupt at a line of modules whose files' names contain one of
    `parts`; again with one at the next line, until the call gets through. Yields where it was."""
    number = 1
    while (where := _interrupted(call, number, parts)) is not None:
        yield where
        number += step


def _interrupted(call: Callable[[], Any], number: int, parts: tuple[str, ...]) -> str | None:
    left = number

    def at_line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        return at_line

    def at_call(frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        return at_line if any(part in name for part in parts) else None

    before = sys.gettrace()
    sys.settrace(at_call)
    try:
        call()
    except KeyboardInterrupt as interrupt:
        return str(interrupt)
    finally:
        sys.settrace(before)
    return None
