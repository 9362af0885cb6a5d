"""A TCP proxy before a server: cuts connections at chosen moments, or speaks TLS to the client."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Cut = Literal["before", "after"]


class Proxy:
    """Listens on a free port and passes everything on, until told otherwise.

    `cut("after", 1)`: the next request that holds `marker` reaches the server and is carried out;
    its answer does not come back, the connection ends. "before": the request does not get there.
    """

    def __init__(
        self, port: int, tls: ssl.SSLContext | None = None, marker: bytes = b"EVAL"
    ) -> None:
        self._target = ("127.0.0.1", port)
        self._tls, self._marker = tls, marker
        self._cuts: list[Cut] = []
        self._always: Cut | None = None
        self.requests = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def cut(self, where: Cut, times: int) -> None:
        """Cut the next `times` marked requests."""
        self._cuts = [where] * times

    def cut_always(self, where: Cut | None) -> None:
        self._always = where

    def close(self) -> None:
        # shutdown() wakes the thread that waits in accept(); close() alone does not.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._hang_up(*list(self._open))
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._tls is not None:
                    client = self._tls.wrap_socket(client, server_side=True)
                server = socket.create_connection(self._target)
            except OSError:  # a client that does not like our certificate, a server that is down
                client.close()
                continue
            self._open |= {client, server}
            doomed = threading.Event()
            self._start(self._pass_requests, client, server, doomed)
            self._start(self._pass_answers, client, server, doomed)

    def _pass_requests(
        self, client: socket.socket, server: socket.socket, doomed: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if self._marker in data:
                    with self._lock:
                        self.requests += 1
                        where = self._cuts.pop() if self._cuts else self._always
                    if where == "before":
                        break
                    if where == "after":
                        doomed.set()
                server.sendall(data)
        self._hang_up(client, server)

    def _pass_answers(
        self, client: socket.socket, server: socket.socket, doomed: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if doomed.is_set():
                    break
                client.sendall(data)
        self._hang_up(client, server)

    def _hang_up(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
            self._open.discard(each)


@contextmanager
def proxy(port: int, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    made = Proxy(port, tls)
    try:
        yield made
    finally:
        made.close()
