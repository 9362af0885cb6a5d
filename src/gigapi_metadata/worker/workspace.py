"""The worker's own temporary folder: its downloads, and what DuckDB spills.

Each process has a folder of its own under a common one and keeps a lock on it. What a killed
process left behind has no lock, and the next worker removes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from gigapi_metadata.errors import StorageError


class Workspace:
    """A folder that goes when it is closed, or when the next worker starts.

    parent: the common folder; by default one in the system's temporary folder.
    """

    def __init__(self, parent: str | os.PathLike[str] | None = None) -> None:
        name = f"gigapi-metadata-{os.getuid()}"
        self.parent = Path(tempfile.gettempdir(), name) if parent is None else Path(parent)
        try:
            self.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if parent is None and self.parent.lstat().st_uid != os.getuid():
                raise StorageError(f"{self.parent} is somebody else's; name another folder")
            self._sweep()
            self.folder, self._lock = self._make()
        except OSError as fault:
            raise StorageError(f"no temporary folder can be made: {fault}") from fault

    def _make(self) -> tuple[Path, int]:
        while True:
            folder = Path(tempfile.mkdtemp(prefix="worker-", dir=self.parent))
            with suppress(FileNotFoundError):  # swept by another worker before it was locked
                lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(lock, fcntl.LOCK_EX)
                if folder.exists():
                    return folder, lock
                os.close(lock)

    @contextmanager
    def folder_for_job(self) -> Iterator[Path]:
        """An empty folder, gone after the block."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove the folder. May be called again."""
        if self._lock >= 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1

    def _sweep(self) -> None:
        for folder in self.parent.glob("worker-*"):
            with suppress(OSError):
                opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(opened)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
