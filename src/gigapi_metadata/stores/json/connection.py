"""Running requests on a catalog of folders. Above it there are only errors of our own."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from typing import Any, Self

import msgspec

from gigapi_metadata.errors import MetadataError, StoreError
from gigapi_metadata.model import Layer, check_layers
from gigapi_metadata.stores import surroundings
from gigapi_metadata.stores.broken_off import BrokenOff, Fate, in_thread
from gigapi_metadata.stores.json import journal, lock
from gigapi_metadata.stores.json.places import Places, TablePlaces, refuse_links
from gigapi_metadata.stores.json.session import FileCache, Session
from gigapi_metadata.stores.watch import Watch

_READ_ATTEMPTS = 5


class TableRequest(msgspec.Struct, frozen=True):
    """One atomic request on a table: `work` on a session of its own.

    writes: alone, and what it changes is written; all of it, or, with an exception, nothing.
    makes: also when there is no such table yet.
    in_order: what it changes in one folder may arrive one after the other, entries first.
    fate: is told whether the changes were made.
    """

    places: TablePlaces
    work: Callable[[Session], Any]
    writes: bool = False
    makes: bool = False
    in_order: bool = False
    fate: Fate | None = None


class PlainRequest(msgspec.Struct, frozen=True):
    """A request that needs no table: `work` does all of it."""

    work: Callable[[JSONConnection], Any]


class JSONConnection:
    """The catalog in the folder `root`, or in the folders of `layers`. Threads may share it, and so
    may processes that list the same layers. Nothing stays open between requests.
    """

    def __init__(self, root: str | os.PathLike[str], layers: Iterable[Layer] | None = None) -> None:
        self.layers = check_layers(layers)
        self.places = Places(root, self.layers)
        self.root = self.places.root
        self._cache = FileCache()
        self._watch = Watch("json", str(self.root))
        self.broken_off = BrokenOff()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.root!r})"

    def perform(self, request: TableRequest | PlainRequest) -> Any:
        """Run `request`; all of its writes happen, or, with an exception, none."""
        try:
            if isinstance(request, PlainRequest):
                return request.work(self)
            if request.writes:
                result = self._write(request)
                if self._watch.due():
                    self._look()
                return result
            return self.read(request.places, request.work)
        except OSError as error:
            raise _mapped(error) from error

    def _look(self) -> None:
        for home in sorted(self.places.homes):
            self._watch.say(surroundings.harms(home, [home], surroundings.FOLDERS_FAR_AWAY))

    def close(self) -> None:
        """Forget what was read. May be called again."""
        self._cache.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def read(self, places: TablePlaces, work: Callable[[Session], Any]) -> Any:
        """What `work` finds in the table, seeing each change whole or not at all."""
        refuse_links(os.path.dirname(places.home), places.home)
        for _ in range(_READ_ATTEMPTS):
            before = journal.read(places)
            result = work(Session(places, self._cache, before.moved(places)))
            if journal.read(places).sequence == before.sequence:
                return result
        with lock.shared(places.lock):
            return work(Session(places, self._cache, journal.read(places).moved(places)))

    def _write(self, request: TableRequest) -> Any:
        places = request.places
        if not request.makes and not any(os.path.isdir(p.folder) for p in places.places):
            return request.work(Session(places, self._cache))
        Session(places, self._cache).check_inside()
        with lock.exclusive(places.lock):
            state = journal.recover(places)
            session = Session(places, self._cache)
            result = request.work(session)
            writes = session.writes()
            if writes:
                fate = request.fate or Fate()
                one_folder = len({(write.place, write.dir) for write in writes}) == 1
                try:
                    versions = journal.commit(
                        places, state, writes, in_order=request.in_order and one_folder
                    )
                    fate.made = True
                except Exception:
                    raise
                except BaseException:  # a signal has raised
                    fate.made = journal.has_made(places, writes)
                    raise
                session.written(writes, versions)
            return result


class AsyncJSONConnection:
    """As JSONConnection; a request runs in a thread while the event loop goes on.

    Cancelling stops the waiting, not a request under way: it ends by itself, whole.
    """

    def __init__(self, root: str | os.PathLike[str], layers: Iterable[Layer] | None = None) -> None:
        self._blocking = JSONConnection(root, layers)
        self.root, self.layers = self._blocking.root, self._blocking.layers
        self.places = self._blocking.places
        self.broken_off = self._blocking.broken_off

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.root!r})"

    async def perform(self, request: TableRequest | PlainRequest) -> Any:
        """As `JSONConnection.perform`, awaitable."""
        fate = request.fate if isinstance(request, TableRequest) else None
        return await in_thread(self._blocking.perform, request, fate)

    async def close(self) -> None:
        """Forget what was read. May be called again."""
        self._blocking.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


def _mapped(error: OSError) -> MetadataError:
    where = error.filename or "the catalog's folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(f"{where}: the disk is full; nothing was written")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreError(f"{where} can't be used: {error.strerror}")
    return StoreError(f"{where}: {error.strerror or error}")
