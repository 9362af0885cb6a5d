"""Scans of ./lake, for the tests of scanning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli_lab import Cli

DATA = Path("lake/db/t/data")
SUMMARY_FIELDS = [
    "found", "registered", "updated", "unchanged", "leaving", "pruned", "vanished", "bad",
    "links", "prune_refused", "outside", "tables", "dry_run", "seconds", "files_per_second",
]  # fmt: skip


def counts(summary: dict[str, Any]) -> dict[str, int]:
    """The counts that are not zero."""
    found = {
        name: value if isinstance(value, int) else len(value)
        for name, value in summary.items()
        if name in SUMMARY_FIELDS[:9]
    }
    return {name: value for name, value in found.items() if value}


def scan(cli: Cli, *words: object) -> dict[str, int]:
    """The counts of a scan of ./lake that had no bad files."""
    result = cli("scan", "lake", "--json", *words)
    assert (result.code, result.err) == (0, "")
    return counts(result.json)


def files(cli: Cli, *words: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cli("files", "db.t", "--catalog", "lake", "--json", *words).json
    return found
