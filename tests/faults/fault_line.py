"""A TCP proxy that does one thing to the traffic, at one byte of it."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal, NamedTuple

Kind = Literal["cut", "reset", "split", "delay", "double"]
Side = Literal["request", "reply"]

KINDS: list[tuple[Kind, Side]] = [
    ("cut", "request"),
    ("cut", "reply"),
    ("reset", "request"),
    ("reset", "reply"),
    ("split", "request"),
    ("split", "reply"),
    ("delay", "request"),
    ("delay", "reply"),
    ("double", "request"),
    ("double", "reply"),
]

# Long enough for the first half to leave by itself; nothing depends on it.
SPLIT_S = 0.0002
HARD = b"\x01\0\0\0\0\0\0\0"  # struct linger: on, 0 seconds


class Fault(NamedTuple):
    """At byte `offset` of what goes to `side` from now on:

    cut, reset: the connection ends there, in order or by an RST.
    split: what follows comes in another packet.
    delay: what follows is held back until `release`, long after the client has given up.
    double: what came before it comes once more, over a connection of its own, as from a proxy that
        sends again. A reply comes again as a whole, over the same one.
    """

    kind: Kind
    side: Side
    offset: int


class FaultLine:
    """Listens on a free port and passes everything on, but for the fault that it is `armed` with,
    which happens once. `fired` says whether it has, `passed` how many bytes have gone by since.
    While it is `mute`, each answer is the end of its connection instead."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self._left = 0
        self.fired = self.mute = False
        self.passed = {"request": 0, "reply": 0}
        self._late = threading.Event()
        self._held: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def arm(self, fault: Fault) -> None:
        with self._lock:
            self._fault, self._left, self.fired = fault, fault.offset, False
            self.passed = {"request": 0, "reply": 0}
            self._late = threading.Event()

    def release(self) -> None:
        """Let go of what is held back, and wait until it has arrived and been dealt with."""
        with self._lock:
            self._fault = None
            held, self._held = self._held, []
        self._late.set()
        for thread in held:
            thread.join(10)

    @property
    def idle(self) -> bool:
        """Whether nobody is connected any more. What is held back may be there yet."""
        return not self._open

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.release()
        self._hang_up(*list(self._open))
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: object, *args: object) -> None:
        self._threads = [each for each in self._threads if each.is_alive()]
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
                server = socket.create_connection(self._target)
            except OSError:  # it is restarting
                client.close()
                continue
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open |= {client, server}
            self._start(self._pass, client, server)

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError, ValueError):  # `close` may have come meanwhile
            while True:
                readable, _, _ = select.select([client, server], [], [])
                for source in readable:
                    data = source.recv(1 << 16)
                    side: Side = "request" if source is client else "reply"
                    if not data or not self._deliver(data, side, client, server):
                        self._hang_up(client, server)
                        return
        self._hang_up(client, server)

    def _take(self, side: Side, size: int) -> tuple[Fault, int] | None:
        """The fault, if it falls into these `size` bytes, and where."""
        with self._lock:
            self.passed[side] += size
            fault = self._fault
            if fault is None or fault.side != side:
                return None
            if self._left > size:
                self._left -= size
                return None
            self._fault, self.fired = None, True
            return fault, self._left

    def _deliver(
        self, data: bytes, side: Side, client: socket.socket, server: socket.socket
    ) -> bool:
        """Pass `data` on. False: the connection is over."""
        target = server if side == "request" else client
        if self.mute and side == "reply":
            return False
        taken = self._take(side, len(data))
        if taken is None:
            target.sendall(data)
            return True
        fault, at = taken
        if fault.kind == "double":
            if side == "request":
                self._again(data[:at])
            else:
                target.sendall(data)
            target.sendall(data)
            return True
        target.sendall(data[:at])
        if fault.kind == "split":
            time.sleep(SPLIT_S)
            target.sendall(data[at:])
            return True
        if fault.kind == "delay":
            self._hold(data[at:], side, client, server)
        elif fault.kind == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, HARD)
        return False

    def _again(self, data: bytes) -> None:
        with socket.create_connection(self._target) as other:
            other.sendall(data)
            other.shutdown(socket.SHUT_WR)
            while other.recv(1 << 16):
                pass

    def _hold(self, data: bytes, side: Side, client: socket.socket, server: socket.socket) -> None:
        """Wait for the client to give up; then have `data` travel on by itself."""
        select.select([client], [], [], 10)
        if side == "reply":
            return
        self._open.discard(server)
        late = self._late

        def travel() -> None:
            late.wait(60)
            with suppress(OSError), server:
                server.sendall(data)
                server.shutdown(socket.SHUT_WR)
                while server.recv(1 << 16):
                    pass

        thread = threading.Thread(target=travel)
        thread.start()
        with self._lock:
            self._held.append(thread)
        # The connection's other end lives on in that thread.
        self._hang_up(client)

    def _hang_up(self, *sockets: socket.socket) -> None:
        for each in sockets:
            if each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
                self._open.discard(each)


@contextmanager
def fault_line(port: int) -> Iterator[FaultLine]:
    made = FaultLine(port)
    try:
        yield made
    finally:
        made.close()
