"""DuckDB, locked down: it can open the files of a catalog's layers and nothing else.

One instance serves every query over the same layers. Nothing of it can be changed from SQL: no
setting, no extension, no other file, no variable of the Python program.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from gigapi_metadata.errors import MissingExtra
from gigapi_metadata.model import Layer
from gigapi_metadata.sql.remote import PROTOCOL, Remote
from gigapi_metadata.sql.schemas import Schemas, is_special
from gigapi_metadata.storage import Storages
from gigapi_metadata.storage.url import FolderURL, parse_layer_url

_OLDEST = 2
"""The tree of its parser was another one before."""


def duckdb() -> Any:
    """The module.

    Raises:
        MissingExtra: it is not installed, or too old.
    """
    try:
        import duckdb as found
    except ImportError as fault:
        raise MissingExtra(
            "SQL and data frames need duckdb; pip install 'gigapi-metadata[sql]'"
        ) from fault
    if int(found.__version__.partition(".")[0]) < _OLDEST:
        raise MissingExtra(
            f"SQL and data frames need duckdb {_OLDEST}.0 or newer, not {found.__version__}; "
            "pip install -U 'gigapi-metadata[sql]'"
        )
    return found


class Served(Protocol):
    """What an engine is for: a catalog or an index. `root` is the folder of the files when there
    are no layers."""

    @property
    def layers(self) -> list[Layer]: ...
    @property
    def connection(self) -> Any: ...

    root: str | None


def engine_for(served: Served) -> Engine:
    """The engine of this process for a catalog under these layers."""
    root = None if served.root is None else os.path.abspath(served.root)
    # Relative layers depend on the working folder, and DuckDB does not survive a fork.
    return _engine(repr(served.connection), tuple(served.layers), root, os.getcwd(), os.getpid())


@lru_cache(maxsize=8)
def _engine(
    catalog: str, layers: tuple[Layer, ...], root: str | None, folder: str, process: int
) -> Engine:
    return Engine(layers, root)


class Engine:
    """One instance of DuckDB, and what is known of the files it has read. Safe to share between
    threads: each query gets a connection of its own."""

    def __init__(self, layers: Iterable[Layer], root: str | None) -> None:
        layers = tuple(layers)
        self.storages = Storages(layers, root)
        self.remote = Remote()
        self.schemas = Schemas()
        self._lock = Lock()
        places = [parse_layer_url(layer.name, layer.url) for layer in layers]
        if not places and root is not None:
            places = [FolderURL(Path(root))]
        self._count = len(places)
        self._folders = [
            os.path.realpath(place.path) for place in places if isinstance(place, FolderURL)
        ]
        self._spill = tempfile.mkdtemp(prefix="gigapi-metadata-sql-")
        weakref.finalize(self, _remove, self._spill, os.getpid())
        self._database: Any = None

    def connect(self) -> Any:
        """A new connection; other connections never wait for it."""
        with self._lock:
            if self._database is None:
                self._database = self._start()
            return self._database.cursor()

    def _start(self) -> Any:
        database = duckdb().connect(
            ":memory:",
            config={
                "python_enable_replacements": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            },
        )
        places = [os.path.join(folder, "") for folder in self._folders if not is_special(folder)]
        if len(places) < self._count:
            # Before it is allowed: DuckDB would take its names for those of local files.
            database.register_filesystem(self.remote.filesystem())
            places.append(f"{PROTOCOL}://")
        folders = ", ".join(map(literal, places))
        database.execute(
            f"SET GLOBAL temp_directory = {literal(self._spill)};"
            f"SET GLOBAL allowed_directories = [{folders}];"
            "SET GLOBAL errors_as_json = true;"
            "SET GLOBAL enable_external_access = false;"
            "SET GLOBAL lock_configuration = true"
        ).fetchall()
        return database

    def __repr__(self) -> str:
        return f"<Engine over {self.storages!r}>"


def _remove(folder: str, process: int) -> None:
    """Remove what DuckDB spilled; not from a fork."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def literal(text: str) -> str:
    """A string in SQL."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'
