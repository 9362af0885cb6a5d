"""Whether an answer is one that a Redis server gives to the request. Pure.

Something else may listen at the address, or a proxy between may be out of step. That is to be one
clear error, and not a TypeError wherever the answer is used.
"""

from __future__ import annotations

from typing import Any

from redis.exceptions import InvalidResponse

from gigapi_metadata.stores.redis.scripts import (
    COMMIT,
    FILTER,
    LEASE,
    RELEASE,
    RENEW,
    REPAIR,
    RETRY,
    SELECT,
    VERIFY,
    Call,
    Pipeline,
    Request,
    Scan,
)

_TEXT_OR_NONE = (bytes, type(None))
_COMMANDS: dict[str | bytes, tuple[type, ...]] = {
    "GET": _TEXT_OR_NONE,
    "HGET": _TEXT_OR_NONE,
    "HGETALL": (dict,),
    "HKEYS": (list,),
    "HMGET": (list,),
    "HVALS": (list,),
    "LRANGE": (list,),
    "TIME": (tuple, list),
    "ZRANGE": (list,),
}
_OF_TEXTS = ("HGETALL", "HKEYS", "HMGET", "HVALS", "LRANGE", "ZRANGE")
_SCRIPTS: dict[str, tuple[type, ...]] = {
    **{script.name: (list,) for script in (COMMIT, SELECT, FILTER, REPAIR, VERIFY)},
    **{script.name: (bytes,) for script in (LEASE, RENEW, RELEASE, RETRY)},
}
_NOT_EMPTY = (COMMIT.name, SELECT.name, VERIFY.name)


def check_answer(request: Request, answer: Any) -> None:
    """Raises InvalidResponse, which is as good as no answer."""
    if isinstance(request, Scan):
        return
    if isinstance(request, Pipeline):
        for command, each in zip(request.commands, answer, strict=True):
            _check(str(command[0]), each, _COMMANDS.get(command[0]))
        return
    if isinstance(request, Call):
        name = request.script.name
        _check(name, answer, _SCRIPTS.get(name))
        if not answer and name in _NOT_EMPTY:
            raise InvalidResponse(f"{name} was answered by nothing")
        return
    _check(str(request.args[0]), answer, _COMMANDS.get(request.args[0]))


def _check(name: str, answer: Any, expected: tuple[type, ...] | None) -> None:
    if expected is not None and not isinstance(answer, expected):
        raise InvalidResponse(
            f"{name} was answered by {type(answer).__name__}; is it a Redis server?"
        )
    if name in _OF_TEXTS and not set(map(type, answer)) <= set(_TEXT_OR_NONE):
        raise InvalidResponse(f"{name} was answered by more than texts; is it a Redis server?")
