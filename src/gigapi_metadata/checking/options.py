"""What a check is asked, and what it answers."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from gigapi_metadata.checking import plans
from gigapi_metadata.checking.files import DEFAULT_MIN_AGE_S
from gigapi_metadata.checking.findings import Finding


class CheckOptions(msgspec.Struct, frozen=True):
    """What to look at.

    deep: read every file's footer, not only of those whose size differs.
    storage: look at the files at all.
    min_age_s: files younger than this are nobody's business.
    max_lease_s: a longer lease has no end.
    force: mend also where most entries or files of a layer would go.
    adopt: files that nobody names are to be registered, not to be taken away.
    quarantine_age_s: quarantined files older than this are to be deleted; None: none are.
    clock: the Unix time, to judge the age of files by.
    """

    deep: bool = False
    storage: bool = True
    min_age_s: float = DEFAULT_MIN_AGE_S
    max_lease_s: int = plans.DEFAULT_MAX_LEASE_S
    force: bool = False
    adopt: bool = False
    quarantine_age_s: float | None = None
    clock: Callable[[], float] = time.time


class Checked(msgspec.Struct):
    """What was looked at, and what was found."""

    database: str
    table: str
    entries: int = 0
    plans: int = 0
    files: int = 0
    findings: list[Finding] = []

    @property
    def faults(self) -> list[Finding]:
        """The findings that make a check fail."""
        return [each for each in self.findings if each.level == "fault"]

    @property
    def notes(self) -> list[Finding]:
        """The other findings: left over, and harmless."""
        return [each for each in self.findings if each.level == "note"]
