"""Files that are nobody's, kept for a while where no scan, reader or worker looks.

`{table's data folder}/.gigapi-quarantine/{moment}/{path}.orphan`: the path stays readable, hidden
folders are passed over by scans, and the ending by every pattern for data files. The moment, UTC,
says since when: copies on S3 have times of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256

from gigapi_metadata.checking.files import is_legal
from gigapi_metadata.errors import FileMissing, StorageError
from gigapi_metadata.storage.base import FileInfo, Storage

FOLDER = ".gigapi-quarantine"
SUFFIX = ".orphan"
_MAX_NAME_BYTES = 255
_MOMENT = "%Y%m%dT%H%M%SZ"


def kept_path(path: str, now_s: float) -> str:
    """Where the file `path` goes. A name that the ending makes too long is cut, and told apart."""
    moment = datetime.fromtimestamp(now_s, UTC).strftime(_MOMENT)
    folder, slash, name = path.rpartition("/")
    raw = name.encode()
    if len(raw) + len(SUFFIX) > _MAX_NAME_BYTES:
        digest = sha256(raw).hexdigest()[:12]
        cut = raw[: _MAX_NAME_BYTES - len(SUFFIX) - len(digest) - 1].decode(errors="ignore")
        name = f"{cut}-{digest}"
    return f"{FOLDER}/{moment}/{folder}{slash}{name}{SUFFIX}"


def kept_since(path: str) -> float | None:
    """The Unix second from which a quarantined file is there; None for anything else."""
    folder, _, rest = path.removeprefix(f"{FOLDER}/").partition("/")
    if not path.startswith(f"{FOLDER}/") or not rest.endswith(SUFFIX):
        return None
    try:
        return datetime.strptime(folder, _MOMENT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def kept_in(storage: Storage) -> list[FileInfo]:
    """The quarantined files of a table in one layer. What somebody has put beside them is not
    ours."""
    return [
        file
        for file in storage.walk(FOLDER)
        if kept_since(file.path) is not None and is_legal(file.path)
    ]


def take_away(storage: Storage, path: str, now_s: float, is_named: Callable[[], bool]) -> bool:
    """Move `path` into quarantine, unless `is_named()`: looked at before, between the two steps,
    and after them; a file that somebody registers meanwhile is put back. False: it stays, or is
    gone.

    Killed half-way, the file is there under both names; the next run begins anew.
    """
    kept = kept_path(path, now_s)
    try:
        if is_named():
            return False
        storage.copy(path, kept)
    except FileMissing:
        return False
    if is_named():
        storage.delete(kept)
        return False
    storage.delete(path)
    if is_named():
        try:
            storage.copy(kept, path)
        except StorageError as fault:
            raise StorageError(
                f"{path!r} was registered while it was moved to {kept!r}; move it "
                f"back by hand: {fault}"
            ) from fault
        storage.delete(kept)
        return False
    return True
