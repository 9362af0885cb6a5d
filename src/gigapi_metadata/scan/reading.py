"""Reading many footers at once, in processes of our own.

Processes, because a footer is decoded in Python: on two cores, threads came to 0.7 times the speed
of one (they wait for each other), two processes to 1.9 times. Plain child processes over pipes,
because these end by themselves when we are killed, need no `if __name__ == "__main__"` in the
program that uses us, and one that a damaged file brings down costs that file only.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, Self

from gigapi_metadata.errors import MetadataError, MissingExtra
from gigapi_metadata.model import IndexEntry
from gigapi_metadata.parquet import TimesNotRead, entry_from_opened, entry_from_parquet
from gigapi_metadata.storage import LocalStorage

AT_ONCE = 64
"""Files a request: enough to forget the pipe's cost, few enough to keep all processes busy."""

BEFORE_PROCESSES = 200
"""So many files are read here before processes are started; that takes as long as starting them."""

_READY = "ready"
_CHILD = "from gigapi_metadata.scan.reading import serve; serve()"


class Source(NamedTuple):
    """What the entries of a table's files have in common.

    root/below: the folder that paths are relative to. Below the root no symbolic link is followed,
    not even one made a moment ago; with None for `below`, they are.
    """

    root: str
    database: str
    table: str
    time_column: str | None
    layer: str
    writer_id: str
    below: tuple[str, ...] | None = None


Outcome = IndexEntry | str
"""A file's entry, or why there is none."""


class NotInFooter(str):
    """Why there is no entry: more than the footer is needed, and can't be read."""


def read_file(source: Source, path: str) -> Outcome:
    """The outcome for the file at `path` below the source's root. Never raises for a bad file.

    Raises:
        MissingExtra: pyarrow is not installed, which is no fault of the file's.
    """
    file = os.path.join(source.root, *(source.below or ()), path)
    try:
        if source.below is not None:
            storage = LocalStorage(source.layer, Path(source.root), source.below)
            with storage.opened(path) as opened:
                return entry_from_opened(opened, file, path, *source[1:6])
        return entry_from_parquet(
            file,
            root=source.root,
            database=source.database,
            table=source.table,
            time_column=source.time_column,
            layer=source.layer,
            writer_id=source.writer_id,
        )
    except MissingExtra:
        raise
    except MetadataError as fault:
        kind = NotInFooter if isinstance(fault, TimesNotRead) else str
        return kind(str(fault).removeprefix(repr(file)).lstrip(": "))
    except Exception as fault:
        return f"can't be read: {type(fault).__name__}: {fault}"


def serve() -> None:
    """The life of a child: answer requests from stdin until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library may print must not get among the answers
    try:
        pickle.dump(_READY, answers)
        answers.flush()
        while True:
            source, paths = pickle.load(requests)
            pickle.dump([read_file(source, path) for path in paths], answers, -1)
            answers.flush()
    except (EOFError, BrokenPipeError):
        pass


class Readers:
    """Up to `jobs` processes that read footers. Closing it ends them at once."""

    def __init__(self, jobs: int) -> None:
        self._jobs = max(1, jobs)
        self._served = 0
        self._closed = False
        self._children: list[_Child] = []
        self._idle: SimpleQueue[_Child] = SimpleQueue()
        self._threads: ThreadPoolExecutor | None = None

    def read(self, source: Source, paths: Sequence[str]) -> Iterator[Outcome]:
        """The outcome of each path, in order. Only a few requests are under way at a time."""
        start = 0
        while start < len(paths) and (self._jobs == 1 or self._served < BEFORE_PROCESSES):
            yield read_file(source, paths[start])
            self._served += 1
            start += 1
        under_way: deque[Future[list[Outcome]]] = deque()
        try:
            for first in range(start, len(paths), AT_ONCE):
                chunk = paths[first : first + AT_ONCE]
                under_way.append(self._pool().submit(self._ask, source, chunk))
                if len(under_way) > 2 * self._jobs:
                    yield from under_way.popleft().result()
            while under_way:
                yield from under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()

    def close(self) -> None:
        """End the processes. May be called again."""
        self._closed = True
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._kill()
            self._threads.shutdown()
            self._kill()  # whatever was about to be started just now

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _pool(self) -> ThreadPoolExecutor:
        """The threads that wait for the children, one each."""
        if self._threads is None:
            self._children = [_Child() for _ in range(self._jobs)]
            for child in self._children:
                self._idle.put(child)
            self._threads = ThreadPoolExecutor(self._jobs, thread_name_prefix="footers")
        return self._threads

    def _kill(self) -> None:
        for child in self._children:
            child.kill()

    def _ask(self, source: Source, paths: Sequence[str]) -> list[Outcome]:
        child = self._idle.get()
        try:
            return self._answer(child, source, paths)
        finally:
            self._idle.put(child)

    def _answer(self, child: _Child, source: Source, paths: Sequence[str]) -> list[Outcome]:
        try:
            return child.ask(source, paths)
        except _ChildEnded as end:
            if self._closed:
                raise
            if not child.was_ready:
                raise MetadataError(
                    f"{sys.executable} can't be started to read files ({end}); use one job"
                ) from end
            if len(paths) == 1:
                return [f"reading it ended the reading process ({end})"]
            # One by one, to find out which it was.
            return [outcome for path in paths for outcome in self._answer(child, source, [path])]


class _ChildEnded(Exception):
    pass


class _Child:
    """A process that reads files, started when it is first asked and again after it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.was_ready = False

    def ask(self, source: Source, paths: Sequence[str]) -> list[Outcome]:
        """The outcomes of `paths`; _ChildEnded if it ended over them."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if not self.was_ready:
                self.was_ready = pickle.load(process.stdout) == _READY
            pickle.dump((source, list(paths)), process.stdin, -1)
            process.stdin.flush()
            outcomes: list[Outcome] = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            with suppress(subprocess.TimeoutExpired):
                process.wait(1)  # it is ending by itself: let it tell why
            self.kill()
            raise _ChildEnded(f"exit code {process.returncode}") from error
        return outcomes

    def kill(self) -> None:
        """End the process. May be called by another thread than the one that asks."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # what was still to be sent to it
                if pipe is not None:
                    pipe.close()

    def _start(self) -> subprocess.Popen[bytes]:
        self.was_ready = False
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # It must find what we have found, wherever that came from.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        return self._process
