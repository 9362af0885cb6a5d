"""Why a query opens the files it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from gigapi_metadata.html import table_html
from gigapi_metadata.model import IndexEntry
from gigapi_metadata.names import dir_of

_SHOWN_FILES = 20  # of a folder, in text


@dataclass(frozen=True)
class Decision:
    """What becomes of one file. `reason` says why it is skipped, "" if it is kept."""

    entry: IndexEntry
    reason: str = ""

    @property
    def kept(self) -> bool:
        """Whether a query opens it."""
        return not self.reason


@dataclass(frozen=True)
class Folder:
    """What becomes of one folder's files."""

    path: str
    decisions: tuple[Decision, ...]

    @property
    def kept(self) -> int:
        """How many files are kept."""
        return sum(decision.kept for decision in self.decisions)

    @property
    def kept_bytes(self) -> int:
        """The size of those."""
        return sum(each.entry.size_bytes for each in self.decisions if each.kept)

    @property
    def size_bytes(self) -> int:
        """The size of all its files."""
        return sum(each.entry.size_bytes for each in self.decisions)


class Explanation(list[IndexEntry]):
    """A query's answer, by (min_time, path), with an account of every file of the table: whether it
    is kept or skipped, and why. Its `str` is for people. All sizes are bytes."""

    def __init__(self, table: str, question: str, decisions: Sequence[Decision]) -> None:
        super().__init__(decision.entry for decision in decisions if decision.kept)
        self.table = table
        self.question = question
        self.decisions = tuple(decisions)

    @property
    def kept(self) -> list[IndexEntry]:
        """The entries that the query answers with, by (min_time, path)."""
        return [decision.entry for decision in self.decisions if decision.kept]

    @property
    def skipped(self) -> list[IndexEntry]:
        """The others, in the same order."""
        return [decision.entry for decision in self.decisions if not decision.kept]

    @property
    def kept_bytes(self) -> int:
        """The size of the files that are kept."""
        return sum(entry.size_bytes for entry in self.kept)

    @property
    def skipped_bytes(self) -> int:
        """The size of the files that are skipped."""
        return sum(entry.size_bytes for entry in self.skipped)

    @cached_property
    def folders(self) -> list[Folder]:
        """The same by folder, sorted."""
        found: dict[str, list[Decision]] = {}
        for decision in self.decisions:
            found.setdefault(dir_of(decision.entry.path), []).append(decision)
        return [Folder(path, tuple(found[path])) for path in sorted(found)]

    def __repr__(self) -> str:
        return f"<Explanation: {len(self.kept)} of {len(self.decisions)} files of {self.table}>"

    def __str__(self) -> str:
        lines = [f"{self.table}: {self.question}", self._summary]
        for folder in self.folders:
            lines += _folder_lines(folder)
        return "\n".join(lines)

    @property
    def _summary(self) -> str:
        total = self.kept_bytes + self.skipped_bytes
        return (
            f"keeps {len(self.kept):,} of {len(self.decisions):,} files, "
            f"{self.kept_bytes:,} of {total:,} bytes"
        )

    def _repr_html_(self) -> str:
        cut = f", the first {_SHOWN_FILES} shown" if len(self.decisions) > _SHOWN_FILES else ""
        rows = [
            (
                each.entry.path,
                f"{each.entry.size_bytes:,}",
                "keep" if each.kept else "skip",
                each.reason,
            )
            for each in self.decisions[:_SHOWN_FILES]
        ]
        caption = f"{self.table}: {self.question}; {self._summary}{cut}"
        return table_html(("path", "bytes", "", "reason"), rows, caption)


def _folder_lines(folder: Folder) -> list[str]:
    count, kept = len(folder.decisions), folder.kept
    reasons = {decision.reason for decision in folder.decisions}
    name = folder.path or "(no folder)"
    head = f"{name}: keeps {kept:,} of {count:,} files, {folder.kept_bytes:,} bytes"
    if kept == 0:
        head = f"{name}: skips its {count:,} files" if count > 1 else f"{name}: skips its file"
        if len(reasons) == 1:
            return [f"{head}; {reasons.pop()}"]
    lines = [head]
    for decision in folder.decisions[:_SHOWN_FILES]:
        file = decision.entry.path.rpartition("/")[2]
        lines.append(f"  keep {file}" if decision.kept else f"  skip {file}: {decision.reason}")
    if count > _SHOWN_FILES:
        lines.append(f"  … and {count - _SHOWN_FILES:,} more files")
    return lines
