"""What a catalog's URL means. Nothing is connected to.

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
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from gigapi_metadata.errors import InvalidConfiguration
from gigapi_metadata.urls import REDIS_SCHEMES, hide, looks_mistyped

FOLDER_CATALOG = os.path.join(".gigapi", "catalog.db")
"""Where the catalog of a bare folder lies, inside it."""

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
        if (colon and not word) or looks_mistyped(text):
            scheme = word if word in ("sqlite", "json", *REDIS_SCHEMES) else "sqlite"
            scheme = "redis" if "@" in text and word not in ("sqlite", "json") else scheme
            shown = hide(text)
            raise InvalidConfiguration(
                f"{shown!r} is no path and no URL; write {scheme}://… or ./{shown}"
            )
        path = Path(text)
        is_file = os.path.isfile(path) or (
            path.suffix in _FILE_SUFFIXES and not os.path.isdir(path)
        )
        return Target("sqlite", text if is_file else _catalog_in(text))
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


def _catalog_in(folder: str) -> str:
    """The file in a folder of data files, to which other people may write: no link is followed."""
    file = os.path.join(folder, FOLDER_CATALOG)
    for path in (os.path.dirname(file), file):
        if os.path.islink(path):
            raise InvalidConfiguration(
                f"{path} is a symbolic link, which is not followed; name the catalog's file itself"
            )
    return file


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
        raise InvalidConfiguration(_names_a_host(url))
    path = "/" + rest.lstrip("/")
    return path[1:] if rest == path and path.count("/") == 1 else path


def _folder_of(url: str, rest: str) -> str:
    if rest and not rest.startswith(("/", "./", "../")) and rest not in (".", ".."):
        raise InvalidConfiguration(_names_a_host(url))
    return rest


def _names_a_host(url: str) -> str:
    scheme, _, rest = hide(url).partition("://")
    return f"{scheme}://{rest} names a host; write {scheme}:///{rest} or {scheme}://./{rest}"
