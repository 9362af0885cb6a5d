"""What the user of the URL was not let do, and who else is let in. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from gigapi_metadata.doctor.finding import Finding, error, note, warning
from gigapi_metadata.doctor.redis_facts import RedisFacts

_RIGHTS = {
    "INFO": "+info",
    "CONFIG": "+config|get",
    "TIME": "+time",
    "PING": "+ping",
    "SCAN": "+scan",
    "MEMORY USAGE": "+memory|usage",
    "HLEN": "+hlen",
    "CLUSTER INFO": "+cluster|info +cluster|nodes +cluster|countkeysinslot",
    "scripts": "+evalsha +eval +script|load",
}
"""What to grant, by what was asked."""

_UNKNOWN = {
    "INFO": "whether it deletes keys, what a crash loses, memory and replicas are not known",
    "CONFIG": "how often it flushes and saves is not known",
    "TIME": "its clock is not known",
    "PING": "its latency is not known",
    "CLUSTER INFO": "whether it sees the cluster in order is not known",
}
_GROWTH = "how long memory lasts is not known"

_COMMAND = re.compile("(?i)permissions to run the '([^']+)' command")
_NO_KEYS = re.compile("(?i)permissions to access|can't access")


def findings(facts: RedisFacts) -> Iterator[Finding]:
    """What was refused, and what is open to others."""
    for what, why in facts.refused.items():
        say = error if what == "INFO" else note
        yield say(
            "access",
            f"{what} was refused ({why}): {_UNKNOWN.get(what, _GROWTH)}",
            grant(facts, what, why),
        )
    if facts.local:
        return
    if not facts.password:
        yield warning(
            "access",
            "the server takes commands over the network without a password",
            "make users with passwords, as docs/security.md has them; then redis-cli ACL SETUSER "
            "default off",
        )
    if not facts.encrypted:
        yield warning(
            "access", "traffic is not encrypted", "turn on TLS, and write rediss:// for redis://"
        )


def grant(facts: RedisFacts, what: str, why: str) -> str:
    """The command that lets our user do `what`, which was refused with the words `why`; "" where it
    is no right that is missing."""
    if _NO_KEYS.search(why):
        right = "~files:* ~gigapi-metadata:*"
    elif match := _COMMAND.search(why):
        refused, right = match[1].lower(), _RIGHTS.get(what, "")
        if not re.search(rf"\+{re.escape(refused)}(\||\s|$)", right):
            right = f"+{refused}"  # of another command, which goes before all others
    else:
        right = _RIGHTS.get(what, "") if "NOPERM" in why else ""
    if not right:
        return ""
    user = shlex.quote(facts.user)
    return f"redis-cli ACL SETUSER {user} {' '.join(map(shlex.quote, right.split()))}"
