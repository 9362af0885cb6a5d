"""What docs/security.md grants, to be tried."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text()
PASSWORD = "secret"


def _line(match: str) -> str:
    return match.replace("REPLACE-ME", PASSWORD)


USERS = {
    name: _line(line) for line, name in re.findall(r"^(ACL SETUSER (\w+) .*)$", DOCS, re.MULTILINE)
}
"""The commands that make users, by name."""

ROLES = {name: line for name, line in USERS.items() if name != "client"}
"""Those of the servers; the other is the sentinels'."""

_BLOCKS = re.findall(r"^([^\n]+):\n\n```\n(\+[^\n]*)\n```$", DOCS, re.MULTILINE)


def further(words: str) -> str:
    """The rights under the sentence that holds `words`."""
    (rights,) = [rights for sentence, rights in _BLOCKS if words in sentence]
    return str(rights)
