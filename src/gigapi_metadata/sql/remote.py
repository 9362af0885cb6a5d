"""Files that are not local, as DuckDB reads them: ranges of bytes through our own storages.

DuckDB is told names such as `layer://cold/db/t/date=…/x.parquet`. They hold no credential, are
taken literally, and only those that a query was planned with can be opened.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any

from gigapi_metadata.errors import FileMissing, MissingExtra

if TYPE_CHECKING:
    from gigapi_metadata.storage import S3Storage

PROTOCOL = "layer"

BLOCK_BYTES = 1024 * 1024
"""What is asked for at a time at least: a request costs more than the bytes."""

_BLOCKS = 8  # kept for each open file
_KNOWN = 200_000


class Remote:
    """The files that queries have named, and where each of them is."""

    def __init__(self) -> None:
        self._places: OrderedDict[str, tuple[S3Storage, str, int]] = OrderedDict()
        self._lock = Lock()

    def name(self, storage: S3Storage, layer: str, table: str, path: str, size: int) -> str:
        """What DuckDB is to call a file of `size` bytes."""
        found = f"{PROTOCOL}://{layer}/{table}/{path}"
        with self._lock:
            self._places[found] = (storage, path, size)
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
        return RemoteFile(*place)

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
    """A file on S3, read block by block. For one thread."""

    def __init__(self, storage: S3Storage, path: str, size: int) -> None:
        self._storage = storage
        self._path = path
        self.size = size
        self._at = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

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
            data = self._storage.read(self._path, self._at, end)
        else:
            first = self._at // BLOCK_BYTES
            last = (end - 1) // BLOCK_BYTES
            joined = b"".join(self._block(number) for number in range(first, last + 1))
            data = joined[self._at - first * BLOCK_BYTES : end - first * BLOCK_BYTES]
        self._at = end
        return data

    def _block(self, number: int) -> bytes:
        block = self._blocks.get(number)
        if block is None:
            start = number * BLOCK_BYTES
            block = self._storage.read(self._path, start, min(start + BLOCK_BYTES, self.size))
            self._blocks[number] = block
            if len(self._blocks) > _BLOCKS:
                self._blocks.popitem(last=False)
        return block
