"""Where things are: layers, tables, folders; and that nothing leaves its layer.

    {layer}/{database}/{table}/data/{dir}/metadata.json         the entries, GigAPI's form
    {layer}/{database}/{table}/data/{dir}/.gigapi-plans.json    our plans for these entries
    {layer}/{database}/{table}/.gigapi/new/                     files on their way to their place
    {layer}/{database}/{table}/.gigapi/lock, journal.json       of the table, in its home
    {layer}/{database}/{table}/date=…/hour=…/metadata.json      GigAPI's older form, read only

A layer of type `fs` is the folder in its URL: `file:///abs`, `file://./rel` or a bare path; like
GigAPI we take a relative one from the working directory, once, when the catalog is opened. Without
layers the root itself is the only one, called "". GigAPI keeps no record of the files in an `s3`
layer without a Redis; we keep it in the same form, out of its sight, in the table's home:
`.gigapi/layers/{layer}/data/{dir}/metadata.json`.

A table's home is its folder in the first `fs` layer (or in the root, when there is none). All
processes must therefore list the same first layer: its lock is what keeps them apart.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import NamedTuple

from gigapi_metadata.errors import InvalidConfiguration, InvalidName, StoreError, UnknownLayer
from gigapi_metadata.model import Layer
from gigapi_metadata.stores.base import TableRef
from gigapi_metadata.urls import looks_mistyped

METADATA = "metadata.json"
PLANS = ".gigapi-plans.json"
OWN = ".gigapi"
MAX_NAME = 255
"""How many bytes a folder's name may have."""

MAX_DEPTH = 100
"""How many folders a path may have. Deeper ones, of whoever made them, are not looked into."""


class Place(NamedTuple):
    """Where one layer of one table lies. `base` is the folder that `folder` must not leave."""

    layer: str
    folder: str
    base: str

    @property
    def new(self) -> str:
        """The folder of files on their way to their place."""
        return os.path.join(self.folder, OWN, "new")

    @property
    def aside(self) -> str:
        """The folder of what a repair has put aside."""
        return os.path.join(self.folder, OWN, "aside")

    def data(self, dir: str, name: str) -> str:
        """A file of ours or of GigAPI's beside the data files of `dir`."""
        return os.path.join(self.folder, "data", dir, name)

    def older(self, dir: str) -> str:
        """The `metadata.json` of `dir` in the older form."""
        return os.path.join(self.folder, dir, METADATA)


class TablePlaces(NamedTuple):
    """Where one table lies. `home` is the folder of what is kept once for the whole table, `base`
    the one that it must not leave."""

    ref: TableRef
    base: str
    home: str
    places: tuple[Place, ...]

    @property
    def lock(self) -> str:
        """The file that writers of the table lock."""
        return os.path.join(self.home, "lock")

    @property
    def journal(self) -> str:
        """The table's journal (journal.py)."""
        return os.path.join(self.home, "journal.json")

    @property
    def new(self) -> str:
        """The folder where journals are made."""
        return os.path.join(self.home, "new")

    def place(self, layer: str) -> Place | None:
        """The place of `layer`; None for one that is not configured."""
        for place in self.places:
            if place.layer == layer:
                return place
        return None

    def place_for(self, layer: str) -> Place:
        """Where what lies in `layer` is written. Without layers all of it has its place in the
        root, for there everything is read, whichever layer it says.

        Raises:
            UnknownLayer: nobody said which folder the layer's is.
        """
        place = self.place(layer)
        if place is None and [place.layer for place in self.places] == [""]:
            place = self.places[0]
        if place is None:
            known = ", ".join(repr(place.layer) for place in self.places)
            raise UnknownLayer(
                f"layer {layer!r} is unknown: a JSON catalog must know the folder of each layer, "
                f"this one has {known}"
            )
        return place


class Places:
    """Where the tables of a catalog lie. Without a root, the first layer's folder is it.

    Raises:
        InvalidConfiguration: the root is empty, or a layer's URL names no folder.
    """

    def __init__(self, root: str | os.PathLike[str], layers: Iterable[Layer] = ()) -> None:
        text = os.fspath(root)
        known = tuple(layers)
        self.layers = tuple(layer.name for layer in known) or ("",)
        self._bases = {layer.name: _folder_of(layer) for layer in known if layer.type == "fs"}
        if not text:
            text = next(iter(self._bases.values()), "")
        if not isinstance(text, str) or not text or not _can_be_a_path(text):
            raise InvalidConfiguration("a JSON catalog needs the path of a folder, or fs layers")
        self.root = os.path.abspath(text)
        if not known:
            self._bases[""] = self.root
        folders: dict[str, str] = {}
        for name, base in self._bases.items():
            other = folders.setdefault(os.path.realpath(base), name)
            if other != name:
                raise InvalidConfiguration(
                    f"layers {other!r} and {name!r} have the same folder: {base}"
                )

    def table(self, ref: TableRef) -> TablePlaces:
        """Where `ref` lies.

        Raises:
            InvalidName: a name is too long for a folder.
        """
        _check_length("database", ref.database)
        _check_length("table", ref.table)
        first = next(iter(self._bases.values()), self.root)
        home = os.path.join(first, *ref, OWN)
        return TablePlaces(
            ref,
            first,
            home,
            tuple(
                Place(layer, os.path.join(base, *ref), base)
                if (base := self._bases.get(layer)) is not None
                else Place(layer, os.path.join(home, "layers", layer), first)
                for layer in self.layers
            ),
        )

    @property
    def homes(self) -> set[str]:
        """The folders that files are listed in, whichever path leads there."""
        return {os.path.realpath(base) for base in [*self._bases.values()] or [self.root]}

    def databases(self) -> list[str]:
        """The names of folders that may be databases."""
        return self._names()

    def tables(self, database: str) -> list[str]:
        """The names of folders that may be tables of `database`. Or InvalidName, as `table`."""
        _check_length("database", database)
        return self._names(database)

    def _names(self, *below: str) -> list[str]:
        found: set[str] = set()
        for base in dict.fromkeys([*self._bases.values()] or [self.root]):
            folder = os.path.join(base, *below)
            check_inside(base, folder)
            found.update(name for name in _subfolders(folder) if name != OWN)
        return sorted(found)


def _check_length(kind: str, name: str) -> None:
    if len(name.encode()) > MAX_NAME:
        raise InvalidName(
            f"{kind} name {name!r} has over {MAX_NAME} bytes; no folder may have that"
        )


def _folder_of(layer: Layer) -> str:
    url = layer.url
    path = url.removeprefix("file://")
    is_odd = "://" in path or (path == url and looks_mistyped(path))
    if not path or not _can_be_a_path(path) or is_odd:
        raise InvalidConfiguration(
            f"layer {layer.name!r}: its URL must name a folder: file:///abs, file://./rel or a path"
        )
    return os.path.abspath(path)


def _can_be_a_path(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def dirs_of(place: Place, prefix: str) -> Iterator[str]:
    """Every folder under `data/` that may hold a `metadata.json` with paths that begin with
    `prefix`. In no order."""
    yield from _walk(place, os.path.join(place.folder, "data"), "", prefix)


def older_dirs_of(place: Place, prefix: str) -> Iterator[str]:
    """As `dirs_of`, of the older form: beside `data/`, in folders called `key=value`."""
    for name in _subfolders(place.folder):
        if "=" in name and _may_hold(name, prefix):
            yield from _walk(place, os.path.join(place.folder, name), name, prefix)


def _walk(place: Place, folder: str, dir: str, prefix: str) -> Iterator[str]:
    waiting = [(folder, dir)]
    while waiting:
        folder, dir = waiting.pop()
        try:
            found = os.lstat(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISLNK(found.st_mode):
            check_inside(place.base, folder)
            found = os.stat(folder)
        if not stat.S_ISDIR(found.st_mode):
            continue
        yield dir
        if found.st_nlink == 2 and os.path.lexists(os.path.join(folder, METADATA)):
            # File systems that count subfolders there say that this one has none. Among its data
            # files nobody puts symbolic links to folders; above them somebody might.
            continue
        if dir.count("/") + 1 < MAX_DEPTH:
            below = [name for name in _subfolders(folder) if _may_hold(_join(dir, name), prefix)]
            waiting += [(os.path.join(folder, name), _join(dir, name)) for name in below]


def _join(dir: str, name: str) -> str:
    return f"{dir}/{name}" if dir else name


def _may_hold(dir: str, prefix: str) -> bool:
    """Whether paths in or under `dir` can begin with `prefix`."""
    inside = f"{dir}/"
    return inside.startswith(prefix) or prefix.startswith(inside)


def _subfolders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def check_own_folders(places: TablePlaces) -> None:
    """Refuse folders of ours that are symbolic links, wherever these lead: what lies in them is
    written, and removed, without a look at what it is.

    Raises:
        StoreError: one is.
    """
    table = os.path.dirname(places.home)
    check_inside(places.base, places.home)
    refuse_links(table, places.new)
    for place in places.places:
        check_inside(place.base, place.new)
        is_in_home = place.folder.startswith(places.home + os.sep)
        refuse_links(table if is_in_home else place.folder, place.new)


def refuse_links(top: str, folder: str) -> None:
    """Refuse `folder` if it, or a folder between `top` and it, is a symbolic link.

    Raises:
        StoreError: one is.
    """
    path = top
    for name in os.path.relpath(folder, top).split(os.sep):
        path = os.path.join(path, name)
        if os.path.islink(path):
            raise StoreError(
                f"{path} is a symbolic link; the catalog's own folders must be real ones"
            )


def check_inside(base: str, path: str) -> None:
    """Refuse a path that symbolic links lead out of `base`.

    Raises:
        StoreError: they do.
    """
    real, root = os.path.realpath(path), os.path.realpath(base)
    if real != root and root not in (os.sep, real) and not PurePath(real).is_relative_to(root):
        raise StoreError(f"{path} leads out of {base} by a symbolic link; it is not followed")
