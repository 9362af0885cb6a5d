"""Legal names and paths, and what a path says: its dir, its day, its iteration.

Everything here is pure. A name goes into Redis keys, SQL and folder names, so the characters that
mean something there are refused rather than escaped (FORMAT: "Where the Go engine is wrong").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from gigapi_metadata.errors import InvalidName

# Compiled when first used: a command line may have no use for them.
_NAME = r"[^:*?\[\]/\\\x00-\x1f\x7f-\x9f]+"
_SEGMENT = r"(?!\.\.?\Z)[^/\\\x00-\x1f\x7f]+"

GIGAPI_MIN_FOLDER = 5
"""A first or second folder shorter than this crashes a GigAPI reader (FORMAT, "Redis keys")."""


def check_name(kind: str, name: str) -> str:
    """`name` itself if it may name a `kind` ("database", "table", "layer").

    Raises:
        InvalidName: it is empty, not a string, or holds one of ``: * ? [ ] / \\``, a control
            character or half a surrogate pair, or is ``.`` or ``..``.
    """
    if not isinstance(name, str):
        raise InvalidName(f"{kind} name must be a string, not {type(name).__name__}")
    return _checked_name(kind, name)


@lru_cache(maxsize=1024)
def _checked_name(kind: str, name: str) -> str:
    if not name:
        raise InvalidName(f"{kind} name is empty")
    if not re.fullmatch(_NAME, name):
        raise InvalidName(
            rf"{kind} name {name!r} holds one of : * ? [ ] / \ or a control character; "
            "none of these may be in a name"
        )
    if name in (".", ".."):
        raise InvalidName(f"{kind} name {name!r} means a folder, it can't name a {kind}")
    _check_text(f"{kind} name", name)
    return name


_PLAIN = bytes(set(range(0x20, 0x7F)) - {ord("\\")})
"""What paths are made of nearly always: printable ASCII but for the backslash."""


def check_writer(name: str) -> str:
    """As `check_name`, for a writer: ``""`` is a legal one."""
    return name if name == "" else check_name("writer", name)


def check_path(path: str) -> str:
    """`path` itself if it is a clean path relative to its table's data folder.

    Raises:
        InvalidName: it is empty or absolute, ends with ``/``, or holds ``//``, a ``.`` or ``..``
            segment, a backslash or a control character.
    """
    if not isinstance(path, str):
        raise InvalidName(f"path must be a string, not {type(path).__name__}")
    if (
        path.isascii()
        and path.isprintable()
        and "\\" not in path
        and "//" not in path
        and "/." not in path
        and path[:1] not in ("", "/", ".")
        and path[-1] != "/"
    ):
        return path  # what nearly all are, without a regular expression
    if not all(re.fullmatch(_SEGMENT, segment) for segment in path.split("/")):
        raise InvalidName(f"path {path!r} {_path_fault(path)}")
    _check_text("path", path)
    return path


def are_plain_paths(paths: Sequence[str]) -> bool:
    """Whether `check_path` surely takes all of them: looks at all at once. False says nothing."""
    # What must not stand at either end of a path is the same as what must not stand beside a '/'.
    text = "/".join(("", *paths, ""))
    return (
        text.isascii()
        and not text.encode().translate(None, _PLAIN)
        and "//" not in text
        and "/." not in text
    )


def _path_fault(path: str) -> str:
    faults = {
        "is empty": not path,
        "is absolute; it must be relative to the table's data folder": path.startswith("/"),
        "ends with '/'; it must name a file": path.endswith("/"),
        "holds '//'": "//" in path,
        "holds a backslash; folders are separated by '/'": "\\" in path,
        "holds a '.' or '..' segment; write it out": not {".", ".."}.isdisjoint(path.split("/")),
        "holds a control character": True,
    }
    return next(fault for fault, found in faults.items() if found)


def _check_text(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidName(f"{what} {text!r} is not valid Unicode text") from None


@lru_cache(maxsize=4096)
def check_gigapi_dir(dir: str) -> None:
    """Refuse a dir that would crash a GigAPI process reading the same catalog.

    Raises:
        InvalidName: there is no folder, or the first or second one has under five characters.
    """
    if not dir:
        raise InvalidName(
            "the path has no folder, which crashes a GigAPI reader; "
            "use date=YYYY-MM-DD/hour=HH/<file>"
        )
    for folder in dir.split("/")[:2]:
        if len(folder.encode()) < GIGAPI_MIN_FOLDER:
            raise InvalidName(
                f"folder {folder!r} has under {GIGAPI_MIN_FOLDER} characters, which crashes a "
                "GigAPI reader; use date=YYYY-MM-DD/hour=HH/<file>"
            )


def dir_of(path: str) -> str:
    """Everything before the last ``/``; ``""`` for a file without a folder."""
    return path.rpartition("/")[0]


def day_of(dir: str) -> str:
    """The first segment of a dir (or path)."""
    return dir.partition("/")[0]


def iteration_of(path: str) -> int:
    """The merge level in the file name; 1 when it carries none."""
    if path.endswith(".1.parquet") or not path.endswith(".parquet"):
        return 1
    _, dot, level = path[: -len(".parquet")].rpartition(".")
    if dot and level.isdecimal() and level.isascii() and len(level) <= 9:
        return int(level)
    return 1


def file_path(dir: str, name: str, iteration: int) -> str:
    """The path of a data file called `name` at merge level `iteration` in `dir`."""
    file = f"{name}.{iteration}.parquet"
    return f"{dir}/{file}" if dir else file


def new_id() -> str:
    """A random UUID, for plans and file names."""
    from uuid import uuid4  # costs a command that only reads 5 ms

    return str(uuid4())
