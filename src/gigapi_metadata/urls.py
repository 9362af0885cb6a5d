"""URLs as text: what of one may be shown, and credentials put into one.

Pure, and made for text that may be no URL at all: what can't be parsed must not show a password
either, so nothing here raises.
"""

from __future__ import annotations

import re
from urllib.parse import quote

_SERVERS = ("redis", "rediss", "valkey", "valkeys")
REDIS_SCHEMES = (
    *_SERVERS,
    "unix",
    *[f"{name}+{kind}" for kind in ("sentinel", "cluster") for name in _SERVERS],
)
"""What the URL of a Redis or Valkey server begins with."""

HIDDEN = "***"
"""What stands where a secret was."""

_PATHS = ("file", "json", "sqlite")  # what follows is a path, and an @ in it an ordinary character
_SECRET_OPTION = (
    "(?i)pass|pwd|secret|token|credential|signature|(access|account|api|auth)[_-]?key|^key$"
)


def hide(url: str) -> str:
    """`url` as it may be shown; text without anything like a login comes back as it is.

    Passwords are hidden, so are options such as ``password=``, and with S3 the key as well.
    Whatever stands before the last ``@`` counts as credentials, since people forget to write the
    ``/`` of a secret as ``%2F``.
    """
    before, found, rest = url.partition("://")
    scheme = re.split(r"[^a-z0-9+.-]", before.lower())[-1]
    if not found:
        return _hide_login(url)
    if scheme in _PATHS:
        is_path = rest.startswith(("/", "./", "../"))
        return url if is_path else f"{before}://{_hide_login(rest)}"
    login, at, address = rest.rpartition("@")
    if at:
        name, colon, _ = login.partition(":")
        if scheme == "s3" or not colon or re.search("[/?#@]", login):
            name = HIDDEN
        login = f"{name}{colon}{HIDDEN}" if colon else name
    place, query, options = address.partition("?")
    shown = "&".join(_hide_option(option) for option in options.split("&"))
    return f"{before}://{login}{at}{place}{query}{shown}"


def _hide_login(text: str) -> str:
    """Text that may be a mistyped URL, `redis:/user:password@host`: what stands between its first
    colon and its last ``@`` is hidden."""
    login, at, address = text.rpartition("@")
    name, colon, _ = login.partition(":")
    return f"{name}:{HIDDEN}@{address}" if at and colon else text


def looks_mistyped(text: str) -> bool:
    """Whether text without ``://`` is rather a mistyped URL than a path: with a login in it, or
    beginning with the name of a scheme."""
    if "://" in text or (text.startswith((".", "/")) and not text.startswith("//")):
        return False
    word = text.partition(":")[0].lower()
    has_scheme = ":" in text and word in (*REDIS_SCHEMES, *_PATHS, "s3")
    return has_scheme or _hide_login(text) != text or (text.startswith("//") and "@" in text)


def _hide_option(option: str) -> str:
    name, equals, _ = option.partition("=")
    return f"{name}={HIDDEN}" if equals and re.search(_SECRET_OPTION, name) else option


def quoted(text: str, shown: str) -> str:
    """`text`, a part of a URL, in quotes for a message; hidden if `shown`, the URL as `hide` shows
    it, does not show it: then it may belong to a password in which a ? stands."""
    return repr(text if text in shown else HIDDEN)


def has_credentials(url: str) -> bool:
    """Whether a user, key or password stands before the host."""
    login, at, _ = _authority(url).rpartition("@")
    return bool(at and login.strip(":"))


def with_credentials(url: str, key: str, secret: str) -> str:
    """`url` with `key` and `secret`, percent-encoded; one that has credentials keeps its own."""
    scheme, found, rest = url.partition("://")
    if not found or has_credentials(url):
        return url
    rest = rest.removeprefix(_authority(url).rpartition("@")[0]).removeprefix("@")
    return f"{scheme}://{quote(key, safe='')}:{quote(secret, safe='')}@{rest}"


def has_bad_port(url: str) -> bool:
    """Whether what follows the host's colon is no port; mostly a secret that was not encoded."""
    host = _authority(url).rpartition("@")[2]
    port = host.rpartition("]")[2].partition(":")[2]
    return bool(port) and not (port.isascii() and port.isdecimal() and int(port[:6]) < 65536)


def _authority(url: str) -> str:
    return re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]
