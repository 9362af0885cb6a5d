"""Saying once in a process what endangers a catalog that is written to."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import ClassVar

_HINT = "; `gigapi-metadata doctor` says more"


class Watch:
    """What one connection has looked at, and what any of this process has.

    It is looked beside the first write: opening a catalog does not say whether it will be written
    to, and asks no server. Logging and not `warnings`: it is the operator who can mend it, not the
    code that calls us, and a write must not fail where warnings are made errors.
    """

    _looking = threading.Lock()
    _looked_at: ClassVar[set[tuple[str, str]]] = set()

    def __init__(self, kind: str, catalog: str) -> None:
        self._log = logging.getLogger(f"gigapi_metadata.{kind}")
        self._catalog = catalog
        self._seen: set[str] = set()

    def due(self, part: str = "") -> bool:
        """Whether nobody in this process has looked yet; who is told so has to. `part`: of a
        catalog on several servers, the one."""
        if part in self._seen:
            return False
        self._seen.add(part)
        with self._looking:
            known = (self._catalog, part) in self._looked_at
            self._looked_at.add((self._catalog, part))
        return not known

    def say(self, harms: Iterable[str], part: str = "") -> None:
        """Log each."""
        where = f" (node {part})" if part else ""
        for text in harms:
            # Part of it are a server's words, which may be meant for a terminal.
            shown = "".join(each if each.isprintable() else "?" for each in f"{where} {text}")
            self._log.warning("%s%s%s", self._catalog, shown, _HINT)
