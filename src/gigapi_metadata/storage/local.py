"""Files of this machine.

Every folder below the layer's root is opened relative to the one above it and without following
symbolic links, so that no link, not even one made a moment ago, leads out of the root. The root
itself may be a link: whoever configured it meant it.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import IO, NoReturn

from gigapi_metadata.errors import FileExists, FileMissing, StorageError
from gigapi_metadata.names import check_path, dir_of
from gigapi_metadata.storage.base import TEMP_PREFIX, TEMP_SUFFIX, FileInfo

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS = {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES}
_CHUNK = 1024 * 1024
_STEM_BYTES = 180
_OPEN_FOLDERS = "/proc/self/fd"  # Linux; elsewhere folders are named as ever

MAX_DEPTH = 100
"""How many folders below a day are looked into."""


class LocalStorage:
    """`root`/`below`/… : one table's files. See Storage and InPlace for what each call promises.

    layer: the layer's name, for messages.
    root: an existing folder, or one to be made.
    below: the folders between the root and the table's files.
    """

    def __init__(self, layer: str, root: Path, below: tuple[str, ...]) -> None:
        self._layer = layer
        self._root = Path(os.path.abspath(root))
        self._below = below

    @property
    def root(self) -> Path:
        """The layer's own folder."""
        return self._root

    @property
    def below(self) -> tuple[str, ...]:
        """The folders between the root and the table's files."""
        return self._below

    @property
    def folder(self) -> Path:
        """The folder that paths are relative to."""
        return self._root.joinpath(*self._below)

    def head(self, path: str) -> FileInfo:
        """See `Storage.head`."""
        with self._errors(path), self.opened(path) as file:
            return _info(path, os.fstat(file))

    def get(self, path: str, target: Path) -> FileInfo:
        """See `Storage.get`."""
        with self._errors(path), self.opened(path) as file:
            status = os.fstat(file)
            with open(file, "rb", closefd=False) as source, open(target, "wb") as copy:
                shutil.copyfileobj(source, copy, _CHUNK)
                if copy.tell() != status.st_size:
                    raise StorageError(f"{self._shown(path)} changed while it was read")
            return _info(path, status)

    def read(self, path: str, start: int, end: int) -> bytes:
        """The bytes of a file from `start` up to `end`, all of them or an error."""
        with self._errors(path), self.opened(path) as file:
            data = os.pread(file, end - start, start)
            if len(data) != end - start:
                raise StorageError(f"{self._shown(path)} has {len(data)} of {end - start} bytes")
            return data

    def put(self, path: str, source: Path) -> FileInfo:
        """See `Storage.put`."""
        with self._errors(path), self._parent(path, create=True) as (folder, name):
            temporary = _temporary(name)
            try:
                _write(source, temporary, folder)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                _discard(temporary, folder)
                raise
            os.fsync(folder)
            return _info(path, os.stat(name, dir_fd=folder, follow_symlinks=False))

    def put_if_absent(self, path: str, source: Path) -> FileInfo:
        """See `Storage.put_if_absent`."""
        with self._errors(path), self._parent(path, create=True) as (folder, name):
            temporary = _temporary(name)
            try:
                _write(source, temporary, folder)
                os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            finally:
                _discard(temporary, folder)
            os.fsync(folder)
            return _info(path, os.stat(name, dir_fd=folder, follow_symlinks=False))

    def copy(self, path: str, target: str) -> FileInfo:
        """See `Storage.copy`. A second name for the same bytes where the file system has that."""
        with (
            self._errors(path),
            self._parent(path) as (source, source_name),
            self._parent(target, create=True) as (folder, name),
            self.opened(path) as file,
        ):
            temporary = _temporary(name)
            try:
                try:
                    os.link(
                        source_name,
                        temporary,
                        src_dir_fd=source,
                        dst_dir_fd=folder,
                        follow_symlinks=False,
                    )
                except OSError as fault:
                    if fault.errno not in _NO_LINKS:
                        raise
                    with open(file, "rb", closefd=False) as bytes_:
                        _write_from(bytes_, temporary, folder)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            finally:
                # Renaming one name of a file onto another leaves both.
                _discard(temporary, folder)
            os.fsync(folder)
            return _info(target, os.stat(name, dir_fd=folder, follow_symlinks=False))

    def delete(self, path: str) -> bool:
        """See `Storage.delete`. A link is deleted, not what it leads to. That a file is gone can't
        be said while the layer's folder is not there, as when its disk is not mounted."""
        if not self._root.is_dir():
            raise StorageError(f"{self._shown(path)}: its layer's folder is not there")
        try:
            with self._errors(path), self._parent(path) as (folder, name):
                os.unlink(name, dir_fd=folder)
                os.fsync(folder)
        except FileMissing:
            return False
        return True

    def folders(self) -> list[str]:
        """See `Storage.folders`. Links are left out."""
        try:
            with self._errors(""), self._parent("x") as (opened, _), os.scandir(opened) as all_:
                return sorted(each.name for each in all_ if each.is_dir(follow_symlinks=False))
        except FileMissing:
            return []

    def walk(self, folder: str) -> list[FileInfo]:
        """See `Storage.walk`. Links are left out and not followed.

        Of a folder more than MAX_DEPTH deep, `{folder}//*.parquet` stands for what is in it: no
        path, so that whoever goes through the files says so.
        """
        found: list[FileInfo] = []
        try:
            with self._errors(folder), self._parent(f"{folder}/x") as (opened, _):
                _walk(folder, opened, found)
        except FileMissing:
            return []
        return sorted(found)

    def list(self, folder: str, prefixes: tuple[str, ...] = ("",)) -> list[FileInfo]:
        """See `Storage.list`. Links and folders are left out."""
        found: list[FileInfo] = []
        path = f"{folder}/x" if folder else "x"
        try:
            with (
                self._errors(folder),
                self._parent(path) as (opened, _),
                os.scandir(opened) as all_,
            ):
                for each in all_:
                    if not each.name.startswith(prefixes):
                        continue
                    with suppress(FileNotFoundError):  # gone since
                        status = each.stat(follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode):
                            name = f"{folder}/{each.name}" if folder else each.name
                            found.append(_info(name, status))
        except FileMissing:
            return []
        return sorted(found)

    def remove_empty(self, folder: str) -> None:
        """Remove `folder`, and the folders below it, as far as nothing is in them."""
        with suppress(FileMissing), self._errors(folder), self._parent(folder) as (opened, name):
            if not stat.S_ISDIR(os.stat(name, dir_fd=opened, follow_symlinks=False).st_mode):
                return
            with suppress(RecursionError):  # nothing of ours is as deep
                for _, below, _, inner in os.fwalk(name, topdown=False, dir_fd=opened):
                    for each in below:
                        with suppress(OSError):  # a link, or somebody has put something there
                            os.rmdir(each, dir_fd=inner)
            with suppress(OSError):
                os.rmdir(name, dir_fd=opened)

    @contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """The opened file, a plain one, until the block ends."""
        with self._errors(path), self._parent(path) as (folder, name):
            # Looked at before opening: to open a pipe is to wait for its writer.
            self._check_plain(path, name, folder)
            file = os.open(name, _READ, dir_fd=folder)
        try:
            yield file
        finally:
            os.close(file)

    # The ability InPlace

    def local(self, path: str) -> Path:
        """See `InPlace.local`. Links are looked for now, not when the file is read."""
        with self._errors(path), self.opened(path):
            return self.folder / path

    def locate(self, paths: Sequence[str]) -> Iterator[str]:
        """As `local` for many files, in their order, each folder opened once. The names are those
        of the files themselves: where the root is a link, below what it leads to."""
        base = os.path.join(os.path.realpath(self._root), *self._below)
        for folder, group in groupby(paths, dir_of):
            path = ""
            names = list(group)
            try:
                with self._parent(names[0]) as (opened, _):
                    for path in names:
                        name = check_path(path).rpartition("/")[2]
                        self._check_plain(path, name, opened)
                        yield f"{base}/{path}"
            except OSError as fault:
                self._raise(path or f"{folder}/", fault)

    @contextmanager
    def draft(self, path: str) -> Iterator[Path]:
        """See `InPlace.draft`. Where the system can name an open folder, the name leads into that
        very folder, whatever has taken its place since."""
        with ExitStack() as stack:
            with self._errors(path):
                folder, name = stack.enter_context(self._parent(path, create=True))
            name = _temporary(name)
            opened = Path(_OPEN_FOLDERS, str(folder))
            is_named = opened.is_dir() and os.path.samestat(os.stat(opened), os.fstat(folder))
            try:
                yield (opened / name) if is_named else (self.folder / path).with_name(name)
            finally:
                _discard(name, folder)

    def place(self, draft: Path, path: str) -> FileInfo:
        """See `InPlace.place`."""
        with self._errors(path), self._parent(path) as (folder, name):
            file = os.open(draft.name, _READ, dir_fd=folder)
            try:
                os.fsync(file)
            finally:
                os.close(file)
            os.rename(draft.name, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
            return _info(path, os.stat(name, dir_fd=folder, follow_symlinks=False))

    # Getting there

    @contextmanager
    def _parent(self, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """The opened folder that `path` lies in, and its name there."""
        *folders, name = check_path(path).split("/")
        if create:
            os.makedirs(self._root, exist_ok=True)
        opened = os.open(self._root, _FOLDER)
        try:
            for folder in (*self._below, *folders):
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(folder, dir_fd=opened)
                        os.fsync(opened)
                inner = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=opened)
                os.close(opened)
                opened = inner
            yield opened, name
        finally:
            os.close(opened)

    def _check_plain(self, path: str, name: str, folder: int) -> None:
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise StorageError(f"{self._shown(path)} is a link, folder or device, not a file")

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            self._raise(path, fault)

    def _raise(self, path: str, fault: OSError) -> NoReturn:
        shown = self._shown(path)
        if isinstance(fault, FileNotFoundError):
            raise FileMissing(f"{shown} is not there") from fault
        if isinstance(fault, FileExistsError):
            raise FileExists(f"{shown} is there already") from fault
        if fault.errno in (errno.ELOOP, errno.ENOTDIR):
            raise StorageError(
                f"{shown} leads through a symbolic link or a file; below a layer's root all "
                "folders must be real ones"
            ) from fault
        raise StorageError(f"{shown}: {fault.strerror or fault}") from fault

    def _shown(self, path: str) -> str:
        layer = f" (layer {self._layer!r})" if self._layer else ""
        return f"{os.fspath(self.folder / path)!r}{layer}"

    def __repr__(self) -> str:
        return f"<LocalStorage {self.folder}>"


def _walk(top: str, opened: int, found: list[FileInfo]) -> None:
    """Add the files in the opened folder `top` and below. Each folder is opened from the one above
    it, so that as many are open at a time as there are levels."""
    above: list[tuple[int, Iterator[str]]] = []
    path, folder, below = top, os.dup(opened), _look_into(top, opened, found)
    try:
        while True:
            name = next(below, None)
            if name is None:
                os.close(folder)
                folder = -1
                if not above:
                    return
                folder, below = above.pop()
                path = dir_of(path)
            elif len(above) == MAX_DEPTH:
                found.append(FileInfo(f"{path}/{name}//*.parquet", 0, "", math.inf))
            else:
                try:
                    inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
                except FileNotFoundError:  # gone since
                    continue
                above.append((folder, below))
                path, folder = f"{path}/{name}", inner
                below = _look_into(path, inner, found)
    finally:
        for each in [folder, *(folder for folder, _ in above)]:
            if each >= 0:
                os.close(each)


def _look_into(path: str, folder: int, found: list[FileInfo]) -> Iterator[str]:
    """Add the files right in a folder; the names of its folders, sorted."""
    folders = []
    with os.scandir(folder) as all_:
        for each in all_:
            if each.is_dir(follow_symlinks=False):
                folders.append(each.name)
            elif each.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # gone since
                    status = each.stat(follow_symlinks=False)
                    found.append(_info(f"{path}/{each.name}", status))
    return iter(sorted(name for name in folders if not name.startswith(".")))


def _info(path: str, status: os.stat_result) -> FileInfo:
    return FileInfo(path, status.st_size, "", status.st_mtime)


def _temporary(name: str) -> str:
    """A new name for the unfinished `name`; not ending in .parquet, so that no pattern for data
    files finds it. What it is for stays readable: the next attempt removes it by that. At most 255
    bytes, as file systems want it."""
    stem = os.fsencode(name)[:_STEM_BYTES].decode(errors="ignore")
    return f"{TEMP_PREFIX}{stem}-{os.urandom(4).hex()}{TEMP_SUFFIX}"


def _write(source: Path, name: str, folder: int) -> None:
    with open(source, "rb") as data:
        _write_from(data, name, folder)


def _write_from(data: IO[bytes], name: str, folder: int) -> None:
    file = os.open(name, _NEW, 0o666, dir_fd=folder)
    with open(file, "wb") as copy:
        shutil.copyfileobj(data, copy, _CHUNK)
        copy.flush()
        os.fsync(copy.fileno())


def _discard(name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
