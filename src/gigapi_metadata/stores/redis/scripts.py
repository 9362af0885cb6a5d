"""The Lua scripts, and a call of one as a request.

Scripts live in `lua/*.lua`, each with a header that names its KEYS, ARGV and reply. Parts that they
share are put before them: `lib.lua` always, `index.lua` where the time index is read or kept,
`times.lua` where documents are looked at by their times. A script is called by its hash; a server
that does not know it (restarted, flushed, failed over) is sent the source instead, which makes it
known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from importlib.resources import files

import msgspec

from gigapi_metadata.stores.redis.durability import Confirm


class Script:
    """One script: its source with the shared parts before it, and the hash that names it.

    receipt: KEYS[1] is the receipt of the write.
    """

    def __init__(
        self,
        name: str,
        *,
        shared: Sequence[str] = ("lib",),
        writes: bool = True,
        receipt: bool = True,
    ) -> None:
        folder = files(__package__).joinpath("lua")
        parts = (folder.joinpath(f"{part}.lua").read_text("utf-8") for part in (*shared, name))
        self.name = name
        self.writes = writes
        self.receipt = writes and receipt
        self.source = "\n".join(parts)
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


_INDEXED = ("lib", "index")

COMMIT = Script("commit", shared=_INDEXED)
SELECT = Script("select", shared=_INDEXED, writes=False)
MEND = Script("mend", shared=(*_INDEXED, "times"), receipt=False)
FILTER = Script("filter", shared=("lib", "times"), writes=False)
LEASE = Script("lease", shared=_INDEXED)
RENEW = Script("renew")
RELEASE = Script("release")
RETRY = Script("retry")
IMPORT = Script("import")
SETTLE = Script("settle")
REPAIR = Script("repair", shared=_INDEXED, receipt=False)
VERIFY = Script("verify", shared=(*_INDEXED, "times"), writes=False)
ALL = (
    *(COMMIT, SELECT, MEND, FILTER, LEASE, RENEW, RELEASE, RETRY, IMPORT, SETTLE),
    *(REPAIR, VERIFY),
)


Argument = str | bytes
"""Never a number: see packing.py."""


class Call(msgspec.Struct, frozen=True):
    """A script call: one request. Safe to send again: a script that writes leaves a receipt, or
    does nothing new when it is repeated.

    `job` is ARGV[1], a MessagePack map; `arguments` are those that follow. `confirm`: what is sent
    behind it when more than the server's memory is to have it.
    """

    script: Script
    keys: Sequence[str]
    job: bytes
    arguments: Collection[bytes] = ()
    confirm: Confirm | None = None

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.script.writes

    def head(self, *, unknown_script: bool = False) -> tuple[Argument, ...]:
        """What is sent before `arguments`: the script by its hash, or its source; keys; the job."""
        script = ("EVAL", self.script.source) if unknown_script else ("EVALSHA", self.script.sha)
        return (*script, str(len(self.keys)), *self.keys, self.job)


class Command(msgspec.Struct, frozen=True):
    """One plain command, read-only or safe to repeat. Its answer is as redis-py has it."""

    args: Sequence[Argument]
    writes: bool = False
    confirm: Confirm | None = None


class Plain(msgspec.Struct, frozen=True):
    """One read-only command whose answer is the server's own: redis-py would not change it."""

    args: Sequence[Argument]

    writes = False
    confirm = None


class Pipeline(msgspec.Struct, frozen=True):
    """Several read-only commands in one round trip; the answers are a list. Not atomic."""

    commands: Sequence[Sequence[Argument]]

    writes = False
    confirm = None


SCAN_COUNT = 1000
"""How many keys one step of a Scan looks at."""


class Scan(msgspec.Struct, frozen=True):
    """All keys that match a pattern, as a set of bytes: on a cluster, those of all nodes. Others go
    first between its steps; it is not of one moment."""

    pattern: str

    writes = False
    confirm = None


Request = Call | Command | Plain | Pipeline | Scan
