"""A real S3 over HTTP (moto's), behind a proxy that misbehaves on demand.

s3: S3Lab          a server for the session; `s3.url()` is a layer's URL, each test a bucket
s3.faults          what the proxy does to the next requests that match, in order
"""

from __future__ import annotations

import http.client
import itertools
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import quote

import pytest
from moto.server import ThreadedMotoServer

KEY, SECRET = "AKIATESTKEY", "very/secret+key"


class Fault(NamedTuple):
    """What happens to the next request of `method` whose path holds `path`.

    "503": refused. "reset": the connection is closed without an answer. "lost": it is carried out,
    then the connection is closed. "cut": half of the answer comes. "silent": no answer at all.
    """

    kind: str
    method: str
    path: str = ""


class S3Lab:
    """moto and the proxy before it."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        self.moto_address = self._moto.get_host_and_port()
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.over = threading.Event()
        lab = self

        class Handler(_Proxy):
            pass

        Handler.lab = lab
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._proxy.daemon_threads = True
        self._thread = threading.Thread(target=self._proxy.serve_forever, args=(0.05,))
        self._thread.start()
        self._numbers = itertools.count()
        self.bucket = ""

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self._proxy.server_address[1]}"

    def new_bucket(self) -> None:
        self.bucket = f"bucket-{next(self._numbers)}"
        self.faults.clear()
        self.seen.clear()
        connection = http.client.HTTPConnection(*self.moto_address)
        connection.request("PUT", f"/{self.bucket}")
        assert connection.getresponse().status == 200
        connection.close()

    def put(self, key: str, content: bytes) -> None:
        """Store an object under any key, also one that no client of ours would take."""
        connection = http.client.HTTPConnection(*self.moto_address)
        connection.request("PUT", f"/{self.bucket}/{quote(key)}", content)
        assert connection.getresponse().status == 200
        connection.close()

    def url(self, prefix: str = "pre/fix") -> str:
        secret = SECRET.replace("/", "%2F").replace("+", "%2B")
        return f"s3://{KEY}:{secret}@{self.endpoint}/{self.bucket}/{prefix}?secure=false"

    def take(self, method: str, path: str) -> str:
        """The fault to make now, if any."""
        self.seen.append(f"{method} {path}")
        for fault in self.faults:
            if fault.method == method and fault.path in path:
                self.faults.remove(fault)
                return fault.kind
        return ""

    def close(self) -> None:
        self.over.set()
        self._proxy.shutdown()
        self._thread.join()
        self._proxy.server_close()
        self._moto.stop()


class _Proxy(BaseHTTPRequestHandler):
    lab: S3Lab
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.lab.take(self.command, self.path)
        if fault == "silent":
            self.lab.over.wait(20)
        if fault in ("silent", "reset"):
            self.close_connection = True
            return
        if fault == "503":
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status, headers, answer = self._forward(body)
        if fault == "lost":
            self.close_connection = True
            return
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = len(answer)
        if self.command == "HEAD":
            length = int(dict(headers).get("Content-Length", 0))
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(answer[: length // 2] if fault == "cut" else answer)
        if fault == "cut":
            self.close_connection = True

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(*self.lab.moto_address)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def running() -> Iterator[S3Lab]:
    lab = S3Lab()
    try:
        yield lab
    finally:
        lab.close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Lab]:
    with running() as lab:
        yield lab


@pytest.fixture
def s3(s3_server: S3Lab, monkeypatch: pytest.MonkeyPatch) -> S3Lab:
    """An empty bucket; what stands in the environment must not matter."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token of somebody")
    s3_server.new_bucket()
    return s3_server
