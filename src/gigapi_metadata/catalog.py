"""One door to every store: `connect` and `connect_async`.

redis://host:6379/0    and rediss://, unix://, valkey://, valkeys://: a server, GigAPI's format;
                       redis+sentinel://host:port,host:port/service/0: the master behind sentinels;
                       redis+cluster://host:port,host:port: a cluster
sqlite:///lake.db      one file: a bare name lies in the working folder, any other path is
                       absolute; sqlite://./sub/lake.db is relative
./lake                 a folder of Parquet files: its catalog is ./lake/.gigapi/catalog.db
json:///data/root      GigAPI's own folders of metadata.json; json://./root is relative, and
                       json:// alone means the folders of the layers
lake.db                a path that is a file, or ends in .db or .sqlite: that file
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import unquote

from gigapi_metadata.errors import InvalidConfiguration
from gigapi_metadata.model import Layer, check_layers, merge_configurations
from gigapi_metadata.planning import DEFAULT_DROP_GRACE_S, DEFAULT_LEASE_S
from gigapi_metadata.urls import REDIS_SCHEMES

if TYPE_CHECKING:
    import pyarrow

    from gigapi_metadata.index.aio import AsyncIndex
    from gigapi_metadata.index.base import Family, MergeRows
    from gigapi_metadata.index.sync import Index
    from gigapi_metadata.index.values import AsyncKVStore, KVStore
    from gigapi_metadata.sql import Relation

FOLDER_CATALOG = os.path.join(".gigapi", "catalog.db")
"""Where the catalog of a bare folder lies, inside it."""

_SHOWN_TABLES = 50
"""A notebook shows so many tables of a catalog."""

_FILE_SUFFIXES = (".db", ".sqlite", ".sqlite3")


class Target(NamedTuple):
    """What a URL means: the module of the store's classes, and what their connection takes."""

    module: str
    address: str


def parse(url: str | os.PathLike[str]) -> Target:
    """What `url` means. Pure, but that a bare path is looked at.

    Raises:
        InvalidConfiguration: no store has such a URL.
    """
    text = os.fspath(url) if isinstance(url, os.PathLike) else url
    if not isinstance(text, str):
        raise InvalidConfiguration(
            f"the catalog's URL must be a string or a path, not {type(text).__name__}"
        )
    if not text:
        raise InvalidConfiguration("the catalog's URL is empty")
    scheme, found, rest = text.partition("://")
    if not found:
        word, colon, _ = text.partition(":")
        if colon and word in ("", "sqlite", "json", *REDIS_SCHEMES):
            raise InvalidConfiguration(
                f"{text!r} is no path and no URL; write {word or 'sqlite'}://… or ./{text}"
            )
        path = Path(text)
        is_file = os.path.isfile(path) or (
            path.suffix in _FILE_SUFFIXES and not os.path.isdir(path)
        )
        return Target("sqlite", text if is_file else os.path.join(text, FOLDER_CATALOG))
    if scheme in REDIS_SCHEMES:
        return Target("redis", text)
    if scheme == "sqlite":
        return Target("sqlite", _file_of(text, unquote(rest)))
    if scheme == "json":
        return Target("json", _folder_of(text, unquote(rest)))
    raise InvalidConfiguration(
        f"{scheme}:// is no kind of catalog; use redis://, rediss://, unix://, valkey://, "
        "redis+sentinel://, redis+cluster://, sqlite:///, json:/// or the path of a folder"
    )


def data_root(target: Target) -> str | None:
    """The folder of the data files of a catalog without layers: the one that it lies in, as
    `scan ROOT` has it. None when it lies in none."""
    if target.module == "redis" or not target.address:
        return None
    address = os.path.abspath(target.address)
    if target.module == "json":
        return address
    if address.endswith(os.sep + FOLDER_CATALOG):
        return address.removesuffix(os.sep + FOLDER_CATALOG) or os.sep
    return os.path.dirname(address)


def check_url(url: str) -> None:
    """Refuse what `connect` would refuse. Connects to nothing.

    Raises:
        InvalidConfiguration: as `connect`.
    """
    if parse(url).module == "redis":
        from gigapi_metadata.stores.redis.url import parse_url

        parse_url(url)


def _file_of(url: str, rest: str) -> str:
    if not rest.strip("/"):
        raise InvalidConfiguration(f"{url} names no file; write sqlite:///lake.db")
    if not rest.startswith("/"):
        if rest.startswith(("./", "../")):
            return rest
        raise InvalidConfiguration(
            f"{url} names a host; write sqlite:///{rest} or sqlite://./{rest}"
        )
    path = "/" + rest.lstrip("/")
    return path[1:] if rest == path and path.count("/") == 1 else path


def _folder_of(url: str, rest: str) -> str:
    if rest and not rest.startswith(("/", "./", "../")) and rest not in (".", ".."):
        raise InvalidConfiguration(f"{url} names a host; write json:///{rest} or json://./{rest}")
    return rest


class _Settings:
    """What every table of a catalog is opened with."""

    def __init__(
        self,
        layers: Iterable[Layer] | None,
        rows: MergeRows | None,
        lease_s: int,
        drop_grace_s: int,
        durability: str | None,
    ) -> None:
        self.root: str | None = None
        self.layers = list(check_layers(layers))
        self.merge_configurations = list(merge_configurations(rows))
        self._options = {"lease_s": lease_s, "drop_grace_s": drop_grace_s}
        self._durability = durability

    def family(self, module: str, kind: str) -> Family:
        """The classes of a kind of store. Folders have to be known before the first table is."""
        family: Family = getattr(_load(module), kind)
        options: dict[str, Any] = {} if module != "json" else {"layers": self.layers}
        if self._durability is not None:
            options |= _durable(module, self._durability)
        return family._replace(connection=partial(family.connection, **options))

    def open(self, family: Family, connection: Any, database: str, table: str) -> Any:
        return family.table(
            connection,
            database,
            table,
            self.layers,
            self.merge_configurations,
            **self._options,
        )


def _durable(module: str, durability: str) -> dict[str, Any]:
    """What the connection of a kind of store takes for it. JSON folders flush every write."""
    if module == "redis":
        return {"durability": durability}
    if durability not in ("local", "fsynced"):
        raise InvalidConfiguration(
            f"durability must be local or fsynced where the catalog is files, not {durability!r}"
        )
    if module == "sqlite":
        return {"synchronous": "FULL" if durability == "fsynced" else "NORMAL"}
    return {}


class Catalog:
    """A catalog of many tables over one connection, which it closes.

    Tables share its layers and merge configurations; a table's own may be assigned. `root` is the
    folder of the data files when there are no layers: that of the catalog, None for one on a
    server; it may be assigned.
    """

    root: str | None

    def __init__(self, family: Family, address: str, settings: _Settings) -> None:
        self._family = family
        self._settings = settings
        self.connection = family.connection(address)
        self._databases = family.databases(self.connection)
        self.root = settings.root
        self.kv: KVStore[Any] = family.values(self.connection)

    @property
    def layers(self) -> list[Layer]:
        """The storage tiers, hottest first."""
        return list(self._settings.layers)

    def table(self, database: str, table: str) -> Index[Any]:
        """The index of one table. Cheap; nothing is written until something is added."""
        index: Index[Any] = self._settings.open(self._family, self.connection, database, table)
        index.root = self.root
        return index

    def sql(self, query: str) -> Relation:
        """A SQL query over the catalog's tables, as a relation of DuckDB. Read-only and lazy: rows
        are read by `fetchall`, `df`, `pl`, `to_arrow_table` and so on.

        Tables are `database.table`, or `table` where one database alone has it. Each mention of
        one is narrowed to the files that its own conditions leave; see docs/sql.md. A file that a
        worker has replaced since is no error, see `gigapi_metadata.sql.Relation`.

        Raises:
            QueryFailed: it is no query, names no table of the catalog, or DuckDB refuses it. The
                message marks the place.
            StorageError: a file can't be read.
            MissingExtra: duckdb is not installed.
        """
        from gigapi_metadata.sql import query as over

        return over(self, query)

    def planned(self) -> list[tuple[str, str]]:
        """(database, table) of those that may hold plans, also when their last file is gone."""
        found: list[tuple[str, str]] = self._databases.planned()
        return found

    def databases(self) -> list[str]:
        """The databases that hold files, sorted."""
        found: list[str] = self._databases.databases()
        return found

    def tables(self, database: str) -> list[str]:
        """The tables of `database` that hold files, sorted."""
        found: list[str] = self._databases.tables(database)
        return found

    def paths(self, database: str, table: str) -> list[str]:
        """The folders of a table that hold files, sorted."""
        found: list[str] = self._databases.paths(database, table)
        return found

    def close(self) -> None:
        """Close the connection. May be called again."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Catalog on {self.connection!r}>"

    def _repr_html_(self) -> str:
        from gigapi_metadata.html import table_html

        names = [
            (database, table) for database in self.databases() for table in self.tables(database)
        ]
        cut = f", the first {_SHOWN_TABLES} shown" if len(names) > _SHOWN_TABLES else ""
        noun = "table" if len(names) == 1 else "tables"
        caption = f"{self!r}: {len(names):,} {noun}{cut}"
        return table_html(("database", "table"), names[:_SHOWN_TABLES], caption)


class AsyncCatalog:
    """As Catalog, awaitable. For one event loop. `root` as there."""

    root: str | None

    def __init__(self, family: Family, address: str, settings: _Settings) -> None:
        self._family = family
        self._settings = settings
        self.root = settings.root
        self.connection = family.connection(address)
        self._databases = family.databases(self.connection)
        self.kv: AsyncKVStore[Any] = family.values(self.connection)

    @property
    def layers(self) -> list[Layer]:
        """See `Catalog.layers`."""
        return list(self._settings.layers)

    def table(self, database: str, table: str) -> AsyncIndex[Any]:
        """See `Catalog.table`."""
        index: AsyncIndex[Any] = self._settings.open(self._family, self.connection, database, table)
        index.root = self.root
        return index

    async def sql(self, query: str) -> pyarrow.Table:
        """The rows of a SQL query as a pyarrow table; see `Catalog.sql`. It runs in a thread,
        and is stopped when the task is cancelled. A relation could not be awaited, so there is
        none here."""
        from gigapi_metadata.sql.awaiting import table_of_query

        return await table_of_query(self, query)

    async def planned(self) -> list[tuple[str, str]]:
        """See `Catalog.planned`."""
        found: list[tuple[str, str]] = await self._databases.planned()
        return found

    async def databases(self) -> list[str]:
        """See `Catalog.databases`."""
        found: list[str] = await self._databases.databases()
        return found

    async def tables(self, database: str) -> list[str]:
        """See `Catalog.tables`."""
        found: list[str] = await self._databases.tables(database)
        return found

    async def paths(self, database: str, table: str) -> list[str]:
        """See `Catalog.paths`."""
        found: list[str] = await self._databases.paths(database, table)
        return found

    async def close(self) -> None:
        """Close the connection. May be called again."""
        await self.connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncCatalog on {self.connection!r}>"


def connect(
    url: str | os.PathLike[str] | None = None,
    layers: Iterable[Layer] | None = None,
    merge_configurations: MergeRows | None = None,
    *,
    lease_s: int = DEFAULT_LEASE_S,
    drop_grace_s: int = DEFAULT_DROP_GRACE_S,
    durability: str | None = None,
) -> Catalog:
    """The catalog at `url`. Connects when first used; a SQLite file is made by the first write.

    Without a URL, it is what the environment says, and so are the layers and merge configurations
    that are not passed (see `config.load`). With one, only what is passed counts.

    durability: what a write has survived by the time it is acknowledged (docs/stores.md): "local",
    "fsynced", or on Redis "replicated:N". Without it, as the URL says (`?durability=fsynced`), or
    "local"; JSON folders are always "fsynced".

    Raises:
        InvalidConfiguration: the URL, the layers or the merge configurations can't be used, or
            there is no URL in the environment either. It names the variable that is wrong.
    """
    place, tiers, rows, source = _in_force(url, layers, merge_configurations)
    settings = _Settings(tiers, rows, lease_s, drop_grace_s, durability)
    with _naming(source):
        module, address = parse(place)
        settings.root = data_root(Target(module, address))
        return Catalog(settings.family(module, "BLOCKING"), address, settings)


def connect_async(
    url: str | os.PathLike[str] | None = None,
    layers: Iterable[Layer] | None = None,
    merge_configurations: MergeRows | None = None,
    *,
    lease_s: int = DEFAULT_LEASE_S,
    drop_grace_s: int = DEFAULT_DROP_GRACE_S,
    durability: str | None = None,
) -> AsyncCatalog:
    """As `connect`, for asyncio; not a coroutine itself."""
    place, tiers, rows, source = _in_force(url, layers, merge_configurations)
    settings = _Settings(tiers, rows, lease_s, drop_grace_s, durability)
    with _naming(source):
        module, address = parse(place)
        settings.root = data_root(Target(module, address))
        return AsyncCatalog(settings.family(module, "AWAITABLE"), address, settings)


class _InForce(NamedTuple):
    url: str | os.PathLike[str]
    layers: Iterable[Layer] | None
    merge_configurations: MergeRows | None
    source: str | None


def _in_force(
    url: str | os.PathLike[str] | None, layers: Iterable[Layer] | None, rows: MergeRows | None
) -> _InForce:
    """What was passed; without a URL, completed from the environment."""
    if url is not None:
        return _InForce(url, layers, rows, None)
    from gigapi_metadata.config import load

    settings = load(layers=layers, merge_configurations=rows)
    return _InForce(
        settings.catalog_url(),
        settings.layers,
        settings.merge_configurations,
        settings.catalog_source(),
    )


@contextmanager
def _naming(source: str | None) -> Iterator[None]:
    """Errors about a URL that the caller did not pass say where it came from."""
    try:
        yield
    except InvalidConfiguration as fault:
        if source is None:
            raise
        raise InvalidConfiguration(f"{source}: {fault}") from fault


def _load(module: str) -> Any:
    return import_module(f"gigapi_metadata.index.{module}")
