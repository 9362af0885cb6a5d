"""The footers of a table's files in one layer, many at once.

Local files are read in processes (scan/reading.py). Of a file on S3, only the end is fetched: it is
put at the end of an empty local file of the same size, whose footer then reads as the real one's.
Only if more is needed - a time column without statistics - all of it is.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

import msgspec

from gigapi_metadata.errors import InvalidEntry, MetadataError, MissingExtra
from gigapi_metadata.names import check_path
from gigapi_metadata.parquet import ends_as_parquet, footer_length, read_footer
from gigapi_metadata.scan.reading import NotInFooter, Outcome, Readers, Source, read_file
from gigapi_metadata.storage import FileInfo, LocalStorage, S3Storage
from gigapi_metadata.worker.workspace import Workspace

END_BYTES = 64 * 1024
"""How much of the end of a file on S3 is fetched: holds most footers."""

LARGE_BYTES = 8 * 1024 * 1024
"""Of files on S3 with a larger footer, and of those that are fetched whole, one at a time."""

DOWNLOADS = 16
_AT_ONCE = 256


class Footers:
    """Reads footers for one table after the other. Close it.

    jobs: processes for local files. time_column: as `entry_from_parquet` has it.
    """

    def __init__(self, jobs: int, time_column: str | None = None) -> None:
        self._readers = Readers(jobs)
        self._threads = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="footers-s3")
        self._time_column = time_column
        self._workspace: Workspace | None = None
        self._numbers = count()
        self._large = Lock()

    def read(
        self,
        storage: LocalStorage | S3Storage,
        table: tuple[str, str],
        layer: str,
        files: Sequence[FileInfo],
        writer_id: str = "",
        *,
        raw: bool = False,
    ) -> Iterator[tuple[Outcome, bytes]]:
        """For each file, in order: its entry or why there is none, and its footer's bytes, b"" if
        there is no entry or without `raw`. `chunk_time` is when the file was last changed.

        Raises:
            StorageError: no temporary folder can be made, which files on S3 need.
        """
        if isinstance(storage, LocalStorage):
            root = os.fspath(storage.root)
            source = Source(root, *table, self._time_column, layer, writer_id, storage.below)
            outcomes = self._readers.read(source, [file.path for file in files])
            for file, outcome in zip(files, outcomes, strict=True):
                wanted = raw and not isinstance(outcome, str)
                yield outcome, _footer_of(storage, file.path) if wanted else b""
            return
        if not files:
            return
        if self._workspace is None:
            self._workspace = Workspace()
        folder = os.fspath(self._workspace.folder)
        source = Source(folder, *table, self._time_column, layer, writer_id)
        for start in range(0, len(files), _AT_ONCE):
            part = files[start : start + _AT_ONCE]
            yield from self._threads.map(lambda file: self._fetched(storage, source, file), part)

    def _fetched(self, storage: S3Storage, source: Source, file: FileInfo) -> tuple[Outcome, bytes]:
        # Not by the file's own name: S3 takes names that no folder here can have.
        stand_in = Path(source.root, f"{next(self._numbers)}.parquet")
        try:
            check_path(file.path)
            end = storage.end_of(file.path, file.size, END_BYTES) if file.size else b""
            length = _length_of_end(file, end)
            with self._large if length > LARGE_BYTES else nullcontext():
                if length > len(end):
                    end = storage.end_of(file.path, file.size, length)
                _write_end(end, file, stand_in)
                outcome = read_file(source, stand_in.name)
                footer = b"" if isinstance(outcome, str) else _footer(stand_in)
            if isinstance(outcome, NotInFooter):
                with self._large:
                    storage.get(file.path, stand_in)
                    _date(stand_in, file)
                    outcome = read_file(source, stand_in.name)
                    footer = b"" if isinstance(outcome, str) else _footer(stand_in)
            if isinstance(outcome, str):
                return outcome, b""
            return msgspec.structs.replace(outcome, path=file.path), footer
        except MissingExtra:
            raise
        except MetadataError as fault:
            return str(fault), b""
        except OSError as fault:
            if fault.errno not in (errno.EFBIG, errno.EINVAL):
                raise
            return f"has {file.size:,} bytes, more than a file may have here", b""
        finally:
            stand_in.unlink(missing_ok=True)

    def close(self) -> None:
        """End processes and threads. May be called again."""
        self._readers.close()
        self._threads.shutdown(cancel_futures=True)
        if self._workspace is not None:
            self._workspace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _footer_of(storage: LocalStorage, path: str) -> bytes:
    try:
        with storage.opened(path) as opened:
            return read_footer(opened, path)[0]
    except MetadataError:
        return b""


def _footer(file: Path) -> bytes:
    try:
        with open(file, "rb") as opened:
            return read_footer(opened.fileno(), file.name)[0]
    except InvalidEntry:
        return b""


def _length_of_end(file: FileInfo, end: bytes) -> int:
    """How many bytes at the end of a file are its footer and what follows; 0 for none.

    Raises:
        InvalidEntry: more than a footer has.
    """
    if not ends_as_parquet(file.size, end):
        return 0
    return footer_length(file.path, file.size, end) + 8


def _write_end(end: bytes, file: FileInfo, target: Path) -> None:
    with open(target, "wb") as copy:
        copy.truncate(file.size)
        copy.seek(file.size - len(end))
        copy.write(end)
    _date(target, file)


def _date(target: Path, file: FileInfo) -> None:
    os.utime(target, ns=(round(file.modified_s * 1e9), round(file.modified_s * 1e9)))
