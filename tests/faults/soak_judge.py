"""What a table of the soak must hold, by what the processes wrote down (soak_load.py)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gigapi_metadata import IndexEntry


class Call:
    """A call that may have changed something. `answer`: "ok", "no" (nothing was changed), "maybe":
    its answer was lost, or its process killed before it came."""

    def __init__(self, kind: str, about: dict[str, Any]) -> None:
        self.kind, self.about = kind, about
        self._tries, self._answers = 1, list[str]()

    def tried_again(self) -> None:
        self._tries += 1

    def told(self, answer: str) -> None:
        self._answers.append(answer)

    @property
    def answer(self) -> str:
        if "ok" in self._answers:
            return "ok"
        return "no" if self._answers == ["no"] * self._tries else "maybe"


class History:
    """What happened to a table, read from the journals of a folder; more may be read later."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.leases: Counter[tuple[str, int]] = Counter()
        self.counts: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        """Why calls failed, by the beginnings of the messages."""

    def read(self, folder: Path, table: str) -> None:
        for journal in sorted(folder.glob("*.journal")):
            lines = iter(journal.read_bytes().splitlines())
            _, role, about = json.loads(next(lines, '["", "", ""]'))  # killed at once
            if about == table:
                self.counts[role] += 1
                self._read(json.loads(line) for line in lines)

    def _read(self, facts: Iterator[list[Any]]) -> None:
        calls: dict[int, Call] = {}
        for what, *fact in facts:
            if what == "call":
                number, kind, about = fact
                calls[number] = Call(kind, about)
            elif what == "again":
                calls[fact[0]].tried_again()
            elif what == "told":
                calls[fact[0]].told(fact[1])
                if fact[2]:
                    self.told[_kind(fact[2])] += 1
            elif what == "lease":
                self.leases[fact[0], fact[1]] += 1
            elif what == "job":
                self.counts[f"{fact[0]} {fact[1]}"] += 1
                if fact[2]:
                    self.told[_kind(fact[2])] += 1
            else:
                self.counts[what] += 1
                if what == "no answer":
                    self.told[_kind(fact[0])] += 1
        for call in calls.values():
            self.calls.append(call)
            self.counts[f"{call.kind} {call.answer}"] += 1


def _kind(message: str) -> str:
    """Messages that differ in numbers and names only are one kind."""
    words = (word.strip(".,:;()'") for word in message.split()[:14])
    return " ".join(word for word in words if word.isalpha())


def judge(history: History, entries: Iterable[IndexEntry], origins: Counter[str]) -> list[str]:
    """What is wrong with a table that holds these entries, whose files hold rows of these origins,
    each so often."""
    paths = {entry.path for entry in entries}
    wrong = [
        f"lease {lease} was handed out {times} times"
        for lease, times in history.leases.items()
        if times > 1
    ]
    wrong += [f"{origin} is there {n} times" for origin, n in origins.items() if n != 1]
    removing = _removals(history)
    batches = [call for call in history.calls if call.kind == "batch"]
    known: set[str] = set()
    for call in batches:
        known.update(call.about["add"])
        wrong += _wrong_batch(call, paths, origins, removing)
    wrong += [f"{origin} was never added" for origin in origins.keys() - known]
    for call in history.calls:
        if call.kind != "merge":
            continue
        left = paths.intersection(call.about["sources"])
        if call.answer == "ok" and left:
            wrong.append(f"merged, and there yet: {sorted(left)}")
        if call.answer == "no" and call.about["result"] in paths:
            wrong.append(f"the result of a merge that was refused: {call.about['result']}")
    return wrong


def _removals(history: History) -> dict[str, str]:
    """What the removal of each origin's file was answered: "ok" or "maybe"."""
    return {
        origin: call.answer
        for call in history.calls
        if call.kind == "batch" and call.answer != "no"
        for origin in call.about["remove"]
    }


def _wrong_batch(
    call: Call, paths: set[str], origins: Counter[str], removing: dict[str, str]
) -> list[str]:
    add, remove = call.about["add"], call.about["remove"]
    kept = [origin for origin in add if origin not in removing]
    there = [origin for origin in kept if origins[origin]]
    wrong = []
    if call.answer == "ok":
        lost = sorted(set(kept) - set(there))
        wrong += [f"acknowledged and lost: {origin} {add[origin]}" for origin in lost]
    elif call.answer == "no":
        wrong += [f"refused and there: {origin} {add[origin]}" for origin in there]
    elif there and len(there) < len(kept):
        wrong.append(f"half a batch is there: {there} of {kept}")
    if call.answer == "no":
        return wrong
    done = call.answer == "ok" or bool(there)
    for origin, path in remove.items():
        if done and path in paths:
            wrong.append(f"removed and there: {origin} {path}")
        if not done and kept and not origins[origin]:
            wrong.append(f"removed by a batch that added nothing: {origin} {path}")
    return wrong
