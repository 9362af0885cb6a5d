"""What a server has refused, and why: in the words of our errors, with what mends it. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable

from redis.exceptions import ResponseError

from gigapi_metadata.errors import CorruptState, MetadataError, StoreError
from gigapi_metadata.stores.redis import keys
from gigapi_metadata.stores.redis.scripts import Command, Pipeline, Plain, Request

NO_CLUSTER = "cluster support disabled"
_NO_RIGHT = re.compile("(?i)no permissions to run the '([^']+)' command|can't run this command")
"""What a server says, and Redis 6.2 of a command in a script. The command is named in small."""

_NO_SENTINEL = re.compile("(?i)unknown command .sentinel")
_UNKNOWN_COMMAND = re.compile("unknown command ['`]([^'`]*)['`]")
_NO_KEYS = re.compile("(?i)no permissions to access|can't access")


def _lacks(text: str) -> str:
    """What to grant a user by the server's words for a right that it lacks; "" if they are none."""
    if match := _NO_RIGHT.search(text):
        right = f"+{match[1].lower()}" if match[1] else "+<command>"
        return f"grant it (ACL SETUSER <user> {right}); docs/security.md lists what each role needs"
    if _NO_KEYS.search(text):
        return "grant the keys (ACL SETUSER <user> ~<pattern>) that docs/security.md lists"
    return ""


_WRONG_TYPE = " holds another type of value than it should"
"""As lua/lib.lua says it, behind the key."""

_FEW = 3
"""So many keys an error names."""


def meaning_of(error: ResponseError, url: str, request: Request) -> MetadataError:
    """The error of ours for what a server at `url` answered to `request`."""
    text = str(error)
    if "CORRUPT " in text:
        found = text[text.index("CORRUPT ") + len("CORRUPT ") :].partition(" script:")[0]
        key, wrong_type, _ = found.partition(_WRONG_TYPE)
        return CorruptState(found + (_remedy([key]) if wrong_type else ""))
    if "WRONGTYPE" in text:
        return CorruptState(_of_another_type(_keys_read(request), url, text))
    return StoreError(f"{url}{_refusal(text)}")


def _refusal(text: str) -> str:
    if NO_CLUSTER in text:
        return f": this is no cluster ({text}): write redis:// for redis+cluster://"
    if _NO_SENTINEL.search(text):
        return ": this is no sentinel: write redis:// for redis+sentinel://"
    if match := _UNKNOWN_COMMAND.match(text):
        # What follows there are the arguments, which may be binary and long.
        return (
            f" knows no command {match[1]}: it is a Sentinel (write redis+sentinel:// and the "
            "service), another kind of server, or one whose provider has turned it off"
        )
    if remedy := _lacks(text):
        return f": the user lacks a right: {text.strip()}: {remedy}"
    return f" refused a request: {text}"


def _of_another_type(names: list[str], url: str, text: str) -> str:
    if not names:
        return f"{url}: a key of the catalog holds another type of value: {text}"
    some = "" if len(names) == 1 else "one of "
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return f"{url}: {some}{', '.join(names[:_FEW])}{more}{_WRONG_TYPE}{_remedy(names)}"


def _keys_read(request: Request) -> list[str]:
    """The keys of plain commands that read one each."""
    commands = request.commands if isinstance(request, Pipeline) else []
    if isinstance(request, Command | Plain):
        commands = [request.args]
    keys_read = [args[1] for args in commands if len(args) > 1]
    return [
        key.decode(errors="backslashreplace") if isinstance(key, bytes) else str(key)
        for key in keys_read
    ]


def _remedy(names: Iterable[str]) -> str:
    remedies = sorted({keys.remedy(name) for name in names} - {""})
    return f": {' or '.join(remedies)} mends it" if remedies else ""
