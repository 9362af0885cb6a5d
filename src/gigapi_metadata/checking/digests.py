"""Telling files apart that look alike by size and footer: by all their bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

from gigapi_metadata.checking import overlaps
from gigapi_metadata.checking.overlaps import Candidate
from gigapi_metadata.errors import StorageError
from gigapi_metadata.model import IndexEntry
from gigapi_metadata.storage import LocalStorage, S3Storage

_CHUNK = 8 * 1024 * 1024


def told_apart(
    candidates: Sequence[Candidate], storages: Mapping[str, LocalStorage | S3Storage]
) -> tuple[list[Candidate], list[str]]:
    """`candidates`, with digests that are equal only if the files are, and a sentence for each that
    can't be read and so counts as another one. `storages`: those of the candidates' layers.

    Read are files that look alike, each once and in parts.
    """
    digests: dict[overlaps.Key, bytes] = {}
    doubtful = []
    for each in overlaps.alike(candidates):
        entry = each.entry
        try:
            digests[each.key] = _digest(storages[entry.layer], entry)
        except StorageError as fault:
            digests[each.key] = repr(each.key).encode()
            doubtful.append(
                f"{entry.path} can't be compared with others of its size, so all of them count: "
                f"{fault}"
            )
    return [
        each._replace(digest=digests.get(each.key, each.digest)) for each in candidates
    ], doubtful


def _digest(storage: LocalStorage | S3Storage, entry: IndexEntry) -> bytes:
    digest = sha256()
    for start in range(0, entry.size_bytes, _CHUNK):
        digest.update(storage.read(entry.path, start, min(start + _CHUNK, entry.size_bytes)))
    return digest.digest()
