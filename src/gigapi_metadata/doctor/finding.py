"""What a check has found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

Level = Literal["ok", "note", "warning", "error"]

LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "error")
"""From the best to the worst. "note": worth knowing, or could not be read. "warning": will hurt one
day. "error": loses data, or does not work, now."""


class Finding(msgspec.Struct, frozen=True):
    """One line: what was looked at, how it is, and the command that mends it ("" where none)."""

    level: Level
    check: str
    message: str
    remedy: str = ""

    def line(self) -> str:
        """For people."""
        text = f"{self.level:<7}  {self.check}: {self.message}"
        return f"{text}. Mend: {self.remedy}" if self.remedy else text


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level there is; "ok" for no findings."""
    return max((each.level for each in findings), key=LEVELS.index, default="ok")


def ok(check: str, message: str) -> Finding:
    """As it should be."""
    return Finding("ok", check, message)


def note(check: str, message: str, remedy: str = "") -> Finding:
    """Worth knowing, or could not be read."""
    return Finding("note", check, message, remedy)


def warning(check: str, message: str, remedy: str = "") -> Finding:
    """Will hurt one day."""
    return Finding("warning", check, message, remedy)


def error(check: str, message: str, remedy: str = "") -> Finding:
    """Loses data, or does not work."""
    return Finding("error", check, message, remedy)


def size(amount: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def seconds(number: float) -> str:
    """A length of time for people."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if number >= 2 * length:
            return f"{number / length:.0f} {unit}"
    return f"{number:.0f} s"
