"""Commands in the server's protocol, by hiredis: ours, and those that redis-py sends by itself.

hiredis makes text of numbers, and crashes Python when a signal raises meanwhile (Ctrl-C). So it is
given none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis

from gigapi_metadata.stores.redis.scripts import Argument


def pack(arguments: Sequence[Argument]) -> bytes:
    """One command, each argument as it is."""
    try:
        command: bytes = hiredis.pack_command(tuple(arguments))  # type: ignore[arg-type]
    except UnicodeEncodeError:
        command = hiredis.pack_command(tuple(as_stored(arguments)))
    return command


def as_stored(arguments: Sequence[Any]) -> list[Any]:
    """Arguments of which some are names that were read off the server and are no UTF-8: what could
    not be decoded stands in them as Python has it."""
    return [
        each.encode(errors="surrogateescape") if isinstance(each, str) else each
        for each in arguments
    ]


class Packer:
    """What redis-py's blocking connections pack by: SELECT, SCAN and the like."""

    def pack(self, *args: Any) -> list[bytes]:
        """One command; its name may be several words."""
        name, *rest = args
        words = (name if isinstance(name, bytes) else name.encode()).split()
        return [pack([*words, *map(_text, rest)])]


def _text(argument: Any) -> Argument:
    if isinstance(argument, (bytes, str)):
        return argument
    return bytes(argument) if isinstance(argument, (bytearray, memoryview)) else str(argument)
