"""A private Redis server for a measurement: a free port on loopback, nothing written to disk."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import redis


@contextmanager
def private_redis() -> Iterator[str]:
    """The URL of a server that ends with the block.

    Raises:
        RuntimeError: no redis-server or valkey-server is on the PATH, or it does not start.
    """
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        raise RuntimeError("the measurements on Redis need redis-server on the PATH")
    with tempfile.TemporaryDirectory(prefix="gigapi-metadata-bench-") as folder:
        port = _free_port()
        command = [
            binary,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            folder,
        ]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        url = f"redis://127.0.0.1:{port}/0"
        try:
            _wait_for(url, server)
            yield url
        finally:
            server.terminate()
            server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    client = redis.Redis.from_url(url)
    while server.poll() is None:
        try:
            client.ping()
            return
        except redis.ConnectionError:
            continue
    raise RuntimeError(f"redis-server ended with exit code {server.returncode}")
