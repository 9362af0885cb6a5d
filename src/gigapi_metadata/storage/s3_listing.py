"""Listing a bucket in which somebody has put keys that can be no path.

S3 takes any key: with `//`, a `..` folder, control characters. obstore gives up a whole listing
over one of them. Here such a key is noted, and the listing goes on behind it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from obstore.store import S3Store

MAX_ODD = 1000
"""So many odd keys are passed over in one listing; with more, it fails."""

_ODD = re.compile(r'Path "(.*?)"(?: contained empty path segment|: Encountered illegal)', re.DOTALL)


class Listing(NamedTuple):
    """Objects by key, and of each key that can be no path the folder it lies in."""

    objects: dict[str, Any]
    odd: set[str]


def list_below(obs: Any, store: S3Store, prefix: str) -> Listing:
    """All that lies below the folder `prefix`: a request for a thousand, or one for each folder if
    there are odd keys.

    Of a folder with odd keys, those that sort before one of them may be missing: with names that
    begin with a space or one of ``!"#$%&'()*+,-.``, or any if there are several odd keys.
    """
    found = Listing({}, set())
    odd = _list(obs, store, prefix, None, found)
    if odd is None:
        return found
    waiting = [prefix]
    while waiting:
        folder = waiting.pop()
        try:
            part = obs.list_with_delimiter(store, folder)
        except _errors() as fault:
            odd = _odd_key(fault, folder)
            while odd is not None:
                head, offset = _behind(odd)
                found.odd.add(head)
                if len(found.odd) > MAX_ODD:
                    raise ValueError(f"over {MAX_ODD} folders hold keys that are no path") from None
                odd = _list(obs, store, folder, offset, found)
        else:
            found.objects.update((each["path"], each) for each in part["objects"])
            waiting += [each.rstrip("/") for each in part["common_prefixes"]]
    return found


def list_folder(obs: Any, store: S3Store, prefix: str) -> tuple[list[Any], list[str]]:
    """The objects and the names of folders right below `prefix`. Odd keys are passed over."""
    head = f"{prefix}/" if prefix else ""
    try:
        part = obs.list_with_delimiter(store, prefix)
    except _errors() as fault:
        _odd_key(fault, prefix)
        objects = list_below(obs, store, prefix).objects
        below = {key.removeprefix(head): each for key, each in objects.items()}
        folders = {key.partition("/")[0] for key in below if "/" in key}
        return [each for key, each in below.items() if "/" not in key], sorted(folders)
    names = [each.rstrip("/").removeprefix(head) for each in part["common_prefixes"]]
    return part["objects"], sorted(names)


def _list(obs: Any, store: S3Store, prefix: str, offset: str | None, found: Listing) -> str | None:
    """Add all that is below `prefix` and behind `offset`; the odd key that it ended at, if any."""
    try:
        for part in obs.list(store, prefix or None, offset=offset, chunk_size=1000):
            found.objects.update((each["path"], each) for each in part)
    except _errors() as fault:
        return _odd_key(fault, prefix)
    return None


def _odd_key(fault: Exception, prefix: str) -> str:
    """The key below `prefix` that obstore gave up at; raises what it raised for any other cause."""
    told = _ODD.search(str(fault))
    if told is None or not told[1].startswith(f"{prefix}/" if prefix else ""):
        raise fault
    return told[1]


def _behind(key: str) -> tuple[str, str]:
    """The folder that an odd key's first odd name lies in, and a legal key that sorts behind all
    with that name."""
    names = key.split("/")
    for number, name in enumerate(names):
        head = "/".join(names[:number])
        if name in ("", ".", ".."):
            return head, f"{head}/{name}0"  # what follows there is a '/', and '0' is next to it
        odd = re.search(r"[\x00-\x1f\x7f]", name)
        if odd is not None:
            next_ = "\x80" if odd[0] == "\x7f" else " "
            return head, f"{head}/{name[: odd.start()]}{next_}"
    raise ValueError(f"{key!r} can't be listed")


def _errors() -> type[Exception]:
    from obstore.exceptions import BaseError

    error: type[Exception] = BaseError
    return error
