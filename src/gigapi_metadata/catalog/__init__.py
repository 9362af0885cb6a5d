"""One door to every store: `connect` and `connect_async`.

target.py says what their URLs mean, tables.py what is behind the door.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from gigapi_metadata.catalog.tables import AsyncCatalog, Catalog, Settings
from gigapi_metadata.catalog.target import FOLDER_CATALOG, Target, check_url, data_root, parse
from gigapi_metadata.errors import InvalidConfiguration
from gigapi_metadata.model import Layer
from gigapi_metadata.planning import DEFAULT_DROP_GRACE_S, DEFAULT_LEASE_S

if TYPE_CHECKING:
    from gigapi_metadata.index.base import MergeRows

__all__ = [
    "FOLDER_CATALOG",
    "AsyncCatalog",
    "Catalog",
    "Target",
    "check_url",
    "connect",
    "connect_async",
    "data_root",
    "parse",
]


def connect(
    url: str | os.PathLike[str] | None = None,
    layers: Iterable[Layer] | None = None,
    merge_configurations: MergeRows | None = None,
    *,
    lease_s: int = DEFAULT_LEASE_S,
    drop_grace_s: int = DEFAULT_DROP_GRACE_S,
    durability: str | None = None,
) -> Catalog:
    """The catalog at `url`: redis://…, sqlite:///…, json:///… or a path; catalog/target.py has all
    forms. Connects when first used; a SQLite file is made by the first write.

    Without a URL, it is what the environment says, and so are the layers and merge configurations
    that are not passed (see `config.load`). With one, only what is passed counts.

    durability: what a write has survived by the time it is acknowledged (docs/stores.md): "local",
    "fsynced", or on Redis "replicated:N". Without it, as the URL says (`?durability=fsynced`), or
    "local"; JSON folders are always "fsynced".

    Raises:
        InvalidConfiguration: the URL, the layers or the merge configurations can't be used, or
            there is no URL in the environment either. It names the variable that is wrong.
    """
    found = _in_force(url, layers, merge_configurations)
    with _opening(found, lease_s, drop_grace_s, durability) as (place, settings):
        return Catalog(settings.family(place.module, "BLOCKING"), place.address, settings)


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
    found = _in_force(url, layers, merge_configurations)
    with _opening(found, lease_s, drop_grace_s, durability) as (place, settings):
        return AsyncCatalog(settings.family(place.module, "AWAITABLE"), place.address, settings)


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
def _opening(
    found: _InForce, lease_s: int, drop_grace_s: int, durability: str | None
) -> Iterator[tuple[Target, Settings]]:
    """What the URL means, and the settings of its tables. Errors about a URL that the
    caller did not pass say where it came from."""
    settings = Settings(found.layers, found.merge_configurations, lease_s, drop_grace_s, durability)
    try:
        place = parse(found.url)
        settings.root = data_root(place)
        yield place, settings
    except InvalidConfiguration as fault:
        if found.source is None:
            raise
        raise InvalidConfiguration(f"{found.source}: {fault}") from fault
