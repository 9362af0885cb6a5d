"""What several servers say, in as few lines: what holds for all alike is said once. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from gigapi_metadata.doctor.finding import Finding

_NUMBER = re.compile(r"(?<![\w.:])\d+(?:\.\d+)?(?![\w:]|\.\d)")
"""A number that stands alone: no part of a version, an address or a name."""

_CLI = "redis-cli "
_NAMED = 4


def together(found: Mapping[str, Sequence[Finding]], everywhere: str = "") -> Iterator[Finding]:
    """The findings of each server, by its `host:port`, as lines that name the servers they are of.

    Findings that differ in numbers alone are one line with the lowest and the highest of each. One
    that all servers agree on, of those that say anything on that check, names none of them.
    `everywhere`: what stands for `redis-cli` in a command that all servers need.
    """
    groups: dict[tuple[str, str, str, str], list[tuple[str, Finding]]] = {}
    said_by: dict[str, set[str]] = {}
    for name, findings in found.items():
        for each in findings:
            alike = _NUMBER.sub("#", each.message)
            key = (each.check, str(each.level), alike, each.remedy)
            groups.setdefault(key, []).append((name, each))
            said_by.setdefault(each.check, set()).add(name)
    order = {check: at for at, check in enumerate(said_by)}
    for key in sorted(groups, key=lambda key: order[key[0]]):
        names = [name for name, _ in groups[key]]
        messages = [each.message for _, each in groups[key]]
        check, _, _, remedy = key
        everyone = set(names) == said_by[check] and (len(names) > 1 or len(found) == 1)
        yield Finding(
            groups[key][0][1].level,
            check,
            _ranges(messages) if everyone else f"{_list(names)}: {_ranges(messages)}",
            _remedy(remedy, names, everywhere if everyone else ""),
        )


def _ranges(messages: Sequence[str]) -> str:
    numbers = [_NUMBER.findall(message) for message in messages]

    def shown(at: int) -> str:
        column = sorted((row[at] for row in numbers), key=float)
        low, high = column[0], column[-1]
        return low if low == high else f"{low} to {high}"

    texts = map(shown, range(len(numbers[0])))
    return _NUMBER.sub(lambda _: next(texts), messages[0])


def _list(names: Sequence[str]) -> str:
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{', '.join(names[: _NAMED - 1])} and {len(names) - _NAMED + 1} more"


def _remedy(remedy: str, names: Sequence[str], everywhere: str) -> str:
    if _CLI not in remedy:
        return remedy
    if len(names) == 1:
        return remedy.replace(_CLI, cli(names[0]))
    return remedy.replace(_CLI, everywhere) if everywhere else f"on each of them: {remedy}"


def cli(name: str) -> str:
    """`redis-cli `, for the server `name`."""
    host, _, port = name.rpartition(":")
    return f"{_CLI}-h {host.strip('[]')} -p {port} "
