"""What is in force, and where each value came from."""

from __future__ import annotations

import os
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from gigapi_metadata.errors import InvalidConfiguration
from gigapi_metadata.model import Layer, MergeConfiguration

MetadataType = Literal["json", "redis"]

_FILE_URL = "file://"


class Setting(msgspec.Struct, frozen=True):
    """One value to be shown: `value` hides secrets, None is "not set". `source` is `default`,
    `argument`, `environment: GIGAPI_X`, `file: lake.toml: gigapi.root`, or `from` another key."""

    key: str
    value: str | int | bool | list[int] | None
    source: str


class Settings(msgspec.Struct, frozen=True):
    """A configuration, checked. Its repr hides secrets; `metadata_url` and the layers hold them.

    `metadata_type` is None when the catalog is of neither of GigAPI's kinds, such as SQLite.
    `global_layers` names the layers that all writers share. `shown` is every value with its source,
    in a fixed order; `unknown` names what looks meant for us or GigAPI and is known to neither.
    """

    metadata_type: MetadataType | None
    metadata_url: str | None
    root: str | None
    merge_timeout_s: int
    layers: list[Layer]
    global_layers: list[str]
    merge_configurations: list[MergeConfiguration]
    shown: list[Setting]
    unknown: list[str]

    def source(self, key: str) -> str:
        """Where the value of `key` (`gigapi.root`, `gigapi.layers[0].url`) came from."""
        return next((each.source for each in self.shown if each.key == key), "default")

    def catalog_url(self, default: str | None = None) -> str:
        """What `connect` takes. It may hold a password: show `urls.hide` of it.

        `default` is for when nothing at all says where the catalog is; a half-said one is an error.

        Raises:
            InvalidConfiguration: nothing says where the catalog is.
        """
        if self.metadata_url is not None:
            return self.metadata_url
        if self.metadata_type == "redis":
            raise InvalidConfiguration(
                "GIGAPI_METADATA_URL is missing: GIGAPI_METADATA_TYPE is redis "
                f"({self.source('gigapi.metadata.type')}), so it must name the server, "
                "such as redis://localhost:6379/0"
            )
        root = self.root or self._first_folder()
        if root is None and default is not None:
            return default
        if root is None:
            raise InvalidConfiguration(
                "no catalog is configured: name its URL, or set GIGAPI_METADATA_URL (redis://…, "
                "sqlite:///lake.db, a folder), or GIGAPI_ROOT for GigAPI's folders"
            )
        return json_url(root)

    def catalog_source(self) -> str:
        """Where `catalog_url` came from, to be named in errors about it."""
        if self.metadata_url is not None:
            return self.source("gigapi.metadata.url")
        if self.root is not None:
            return self.source("gigapi.root")
        first = next((n for n, layer in enumerate(self.layers) if layer.type == "fs"), 0)
        return self.source(f"gigapi.layers[{first}].url")

    def _first_folder(self) -> str | None:
        if self.metadata_type != "json" or self.source("gigapi.layers[0].name") == "argument":
            return None  # layers passed to a call say where files are, not where the catalog is
        urls = (layer.url.removeprefix(_FILE_URL) for layer in self.layers if layer.type == "fs")
        return next(urls, None)

    def __repr__(self) -> str:
        values = ", ".join(f"{each.key}={each.value!r}" for each in self.shown)
        return f"Settings({values})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec would give rich every field as it is.
        return [(each.key, each.value) for each in self.shown]


def json_url(root: str) -> str:
    """The URL of GigAPI's folders at `root`: json:///abs/olute, json://./rel/ative."""
    path = root if os.path.isabs(root) or root.startswith(("./", "../")) else f"./{root}"
    return f"json://{quote(path)}"
