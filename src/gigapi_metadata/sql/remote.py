"""Files that are not local, as DuckDB reads them: ranges of bytes through our own storages.

DuckDB is told names such as `layer://cold/db/t/date=…/x.parquet`. They hold no credential and no
character that means a pattern, and only those that a query was planned with can be opened.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, NamedTuple, Protocol

from gigapi_metadata.errors import FileMissing, MissingExtra, StorageError

PROTOCOL = "layer"

BLOCK_BYTES = 256 * 1024
"""What is asked for at a time at least: a request costs more than the bytes."""

CACHE_BYTES = 128 * 1024 * 1024
"""How much of all files is kept. Files never change, so it is never out of date."""

_PLAIN = str.maketrans({char: f"%{ord(char):02X}" for char in "%*?["})
"""DuckDB takes a name that holds one of these for a pattern."""

AT_ONCE = 16
_AHEAD = CACHE_BYTES // BLOCK_BYTES // 2
_KNOWN = 200_000


class Readable(Protocol):
    """A storage that gives parts of files."""

    def read(self, path: str, start: int, end: int) -> bytes: ...


class _Place(NamedTuple):
    storage: Readable
    path: str
    size: int


class Remote:
    """The files that queries have named, and where each of them is."""

    def __init__(self) -> None:
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._kept = 0
        self._lock = Lock()

    def name(self, storage: Readable, layer: str, table: str, path: str, size: int) -> str:
        """What DuckDB is to call a file of `size` bytes."""
        found = f"{PROTOCOL}://{f'{layer}/{table}/{path}'.translate(_PLAIN)}"
        with self._lock:
            self._places[found] = _Place(storage, path, size)
            if len(self._places) > _KNOWN:
                self._places.popitem(last=False)
        return found

    def open(self, name: str) -> RemoteFile:
        """The file that was named so.

        Raises:
            FileMissing: none was.
        """
        with self._lock:
            place = self._places.get(name)
        if place is None:
            raise FileMissing(f"{name} is no file of this catalog")
        return RemoteFile(self, name, place)

    def read_ahead(self, names: Sequence[str]) -> None:
        """Get the ends of files, where their footers are, many at once: DuckDB reads them one after
        the other. What can't be read is left for whoever needs it."""
        wanted = [(name, (self._places[name].size - 1) // BLOCK_BYTES) for name in names[:_AHEAD]]
        with self._lock:
            wanted = [each for each in wanted if each[1] >= 0 and each not in self._blocks]
        if len(wanted) < 2:
            return

        def get(key: tuple[str, int]) -> None:
            with suppress(StorageError):
                self.block(*key)

        from concurrent.futures import ThreadPoolExecutor  # costs those who read no S3 5 ms

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(get, wanted):
                pass

    def block(self, name: str, number: int) -> bytes:
        """So many'th BLOCK_BYTES of a file.

        Raises:
            StorageError: they can't be read.
        """
        key = (name, number)
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
            place = self._places[name]
        start = number * BLOCK_BYTES
        block = place.storage.read(place.path, start, min(start + BLOCK_BYTES, place.size))
        with self._lock:
            if key not in self._blocks:
                self._blocks[key] = block
                self._kept += len(block)
            while self._kept > CACHE_BYTES:
                self._kept -= len(self._blocks.popitem(last=False)[1])
        return block

    def filesystem(self) -> Any:
        """What DuckDB registers. A class made here, for its base may not be installed."""
        try:
            from fsspec import AbstractFileSystem
        except ImportError as fault:
            raise MissingExtra(
                "SQL over files on S3 needs fsspec; pip install 'gigapi-metadata[sql]'"
            ) from fault
        remote = self

        class LayerFileSystem(AbstractFileSystem):  # type: ignore[misc]
            protocol = PROTOCOL
            cachable = False

            def glob(self, path: str, **options: Any) -> list[str]:
                return [path]

            def exists(self, path: str, **options: Any) -> bool:
                return path in remote._places

            def info(self, path: str, **options: Any) -> dict[str, Any]:
                return {"name": path, "size": remote.open(path).size, "type": "file"}

            def modified(self, path: str) -> Any:
                from datetime import UTC, datetime

                return datetime.fromtimestamp(0, UTC)  # a path never gets other bytes

            def open(self, path: str, mode: str = "rb", **options: Any) -> RemoteFile:
                return remote.open(path)

        return LayerFileSystem()


class RemoteFile(io.RawIOBase):
    """A file read block by block. For one thread."""

    def __init__(self, remote: Remote, name: str, place: _Place) -> None:
        self._remote = remote
        self._name = name
        self._place = place
        self.size = place.size
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of any file."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """So many bytes, fewer at the end of the file.

        Raises:
            StorageError: they can't be had.
        """
        end = self.size if size is None or size < 0 else min(self._at + size, self.size)
        if end <= self._at:
            return b""
        if end - self._at > BLOCK_BYTES:
            data = self._place.storage.read(self._place.path, self._at, end)
        else:
            first = self._at // BLOCK_BYTES
            last = (end - 1) // BLOCK_BYTES
            blocks = (self._remote.block(self._name, each) for each in range(first, last + 1))
            data = b"".join(blocks)[self._at - first * BLOCK_BYTES : end - first * BLOCK_BYTES]
        self._at = end
        return data
