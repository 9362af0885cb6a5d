"""Which files a merged file was made of, noted in its footer. Pure.

While a merge's sources wait to be deleted, their rows lie twice in storage. Who has a catalog knows
which file counts. Who has lost it and makes it anew from the files (`rebuild`) knows by this note.

The note lists the sources' paths, and what their own notes list, as far as there is room: twelve
characters each, the first nine bytes of a SHA-256 in base64.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from hashlib import sha256

KEY = b"gigapi-metadata:merged-from"
"""The footer key of the note."""

MOST = 4096
"""How many paths a note lists, unless a merge has more sources: some 50 KB."""

_LENGTH = 12


def mark(path: str) -> str:
    """What stands for a path in a note."""
    return urlsafe_b64encode(sha256(path.encode()).digest()[:9]).decode()


def note(sources: Iterable[str], inherited: Iterable[bytes] = ()) -> bytes:
    """The note of a file merged from the paths `sources`, whose own notes are `inherited`."""
    marks = dict.fromkeys(map(mark, sources))
    for text in inherited:
        for each in sorted(marks_in(text)):
            if len(marks) >= MOST:
                break
            marks.setdefault(each)
    return "".join(marks).encode()


def marks_in(text: bytes) -> frozenset[str]:
    """What a note lists. Nothing, if it is none."""
    if len(text) % _LENGTH or not text.isascii():
        return frozenset()
    marks = text.decode()
    return frozenset(marks[at : at + _LENGTH] for at in range(0, len(marks), _LENGTH))
