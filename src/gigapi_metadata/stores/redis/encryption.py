"""Whether a server speaks TLS and the URL does not, or the other way round.

Such a pair fails with words that name no cause: a server without TLS waits for the rest of what it
takes for a command, one with TLS hangs up. So after the first failure of a connection that has
never worked, its hosts are asked.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from typing import Any

PROBE_S = 1.0
"""How long a host is given to answer."""

WRONG_CERTIFICATE = "CERTIFICATE_VERIFY_FAILED"
"""What the error of a certificate says that is not accepted."""

_TLS_ERROR = "ALERT"
"""In the reason of an SSLError: the server speaks TLS, and wants something else of us."""


def mismatch(hosts: Iterable[tuple[str, int]], *, tls: bool) -> str:
    """What is wrong with the first of `hosts` that lets us connect, if it speaks otherwise; "" if
    not. Takes some PROBE_S seconds for each host until then. No login is sent."""
    for host, port in hosts:
        try:
            with socket.create_connection((host, port), PROBE_S) as probe:
                if tls and speaks_plainly(probe):
                    return (
                        f"{host}:{port} does not speak TLS: write redis:// for rediss:// "
                        "(valkey:// for valkeys://), or name its TLS port"
                    )
                if not tls and speaks_tls(probe):
                    return (
                        f"{host}:{port} speaks TLS: write rediss:// for redis:// (valkeys:// for "
                        "valkey://), with ?ssl_ca_certs=FILE for an authority of your own"
                    )
                return ""
        except OSError:
            continue
    return ""


def speaks_plainly(probe: socket.socket) -> bool:
    """Whether the server answers a PING as Redis does, be it with an error."""
    try:
        probe.sendall(b"PING\r\n")
        return probe.recv(1) in (b"+", b"-")
    except OSError:
        return False


def speaks_tls(probe: socket.socket) -> bool:
    """Whether the server answers a TLS greeting. Its certificate is not looked at: nothing is sent
    to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with context.wrap_socket(probe):
            return True
    except ssl.SSLError as error:
        return _TLS_ERROR in (error.reason or "")
    except OSError:
        return False


def encrypts_in_time(connection_class: type[Any]) -> type[Any]:
    """redis-py's class of blocking TLS connections, whose greetings take no longer than connecting
    may: a server without TLS does not answer them at all."""

    class EncryptsInTime(connection_class):  # type: ignore[misc]
        socket_timeout: float | None

        def _connect(self) -> Any:
            longest = self.socket_timeout
            self.socket_timeout = self.socket_connect_timeout
            try:
                sock = super()._connect()
            finally:
                self.socket_timeout = longest
            sock.settimeout(longest)
            return sock

    return EncryptsInTime
