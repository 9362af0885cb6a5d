"""The footers of a table's files in one layer, many at once.

Local files are read in processes (scan/reading.py). Of a file on S3, only the end is fetched: it is
put at the end of an empty local file of the same size, whose footer then reads as the real one's.
Only if more is needed - a time column without statistics - all of it is.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from gigapi_metadata.errors import InvalidEntry, MetadataError, MissingExtra
from gigapi_metadata.parquet import read_footer
from gigapi_metadata.scan.reading import Outcome, Readers, Source, read_file
from gigapi_metadata.storage import FileInfo, LocalStorage, S3Storage

END_BYTES = 64 * 1024
"""How much of the end of a file on S3 is fetched: holds most footers."""

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
        self._folder = Path(tempfile.mkdtemp(prefix="gigapi-metadata-footers-"))

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
        it can't be read or without `raw`. `chunk_time` is when the file was last changed."""
        if isinstance(storage, LocalStorage):
            folder = os.fspath(storage.folder)
            source = Source(folder, *table, self._time_column, layer, writer_id)
            outcomes = self._readers.read(source, [file.path for file in files])
            for file, outcome in zip(files, outcomes, strict=True):
                yield outcome, _footer(os.path.join(folder, file.path)) if raw else b""
            return
        source = Source(os.fspath(self._folder), *table, self._time_column, layer, writer_id)
        for start in range(0, len(files), _AT_ONCE):
            part = files[start : start + _AT_ONCE]
            yield from self._threads.map(lambda file: self._fetched(storage, source, file), part)

    def _fetched(self, storage: S3Storage, source: Source, file: FileInfo) -> tuple[Outcome, bytes]:
        stand_in = self._folder / file.path
        stand_in.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_end(storage, file, stand_in)
            outcome = read_file(source, file.path)
            if isinstance(outcome, str) and "Parquet file" not in outcome:
                storage.get(file.path, stand_in)
                _date(stand_in, file)
                outcome = read_file(source, file.path)
            return outcome, _footer(os.fspath(stand_in))
        except MissingExtra:
            raise
        except MetadataError as fault:
            return str(fault), b""
        finally:
            stand_in.unlink(missing_ok=True)

    def close(self) -> None:
        """End processes and threads. May be called again."""
        self._readers.close()
        self._threads.shutdown(cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _footer(file: str) -> bytes:
    try:
        return read_footer(file)[0]
    except InvalidEntry:
        return b""


def _write_end(storage: S3Storage, file: FileInfo, target: Path) -> None:
    end = storage.end_of(file.path, file.size, END_BYTES) if file.size else b""
    if len(end) >= 8:
        length = int.from_bytes(end[-8:-4], "little") + 8
        if len(end) < length <= file.size:
            end = storage.end_of(file.path, file.size, length)
    with open(target, "wb") as copy:
        copy.truncate(file.size)
        copy.seek(file.size - len(end))
        copy.write(end)
    _date(target, file)


def _date(target: Path, file: FileInfo) -> None:
    os.utime(target, ns=(round(file.modified_s * 1e9), round(file.modified_s * 1e9)))
