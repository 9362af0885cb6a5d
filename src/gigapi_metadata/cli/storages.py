"""Where the files of a catalog are, for the commands that touch them."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from gigapi_metadata.cli.context import settings
from gigapi_metadata.cli.errors import WrongUsage

if TYPE_CHECKING:
    from gigapi_metadata.catalog import Catalog
    from gigapi_metadata.storage import Storages


def storages_of(args: argparse.Namespace, catalog: Catalog) -> Storages:
    """Where the files of a catalog are: in its layers, in --root, or in the catalog's folder.

    Raises:
        WrongUsage: --root is none, or goes with layers; nothing says where they are.
    """
    from gigapi_metadata.storage import Storages

    check_root(args, catalog)
    if catalog.layers:
        return Storages(catalog.layers)
    return Storages(None, args.root or _folder_of(args))


def check_root(args: argparse.Namespace, catalog: Catalog) -> None:
    """Refuse a --root that is no folder, or that has no meaning beside layers (WrongUsage)."""
    if args.root is None:
        return
    if catalog.layers:
        raise WrongUsage(
            "argument --root: the catalog has layers, whose URLs say where the files are"
        )
    check_folder("root", args.root)


def _folder_of(args: argparse.Namespace) -> str:
    """The folder that a catalog without layers is for."""
    from gigapi_metadata.catalog import FOLDER_CATALOG, parse

    found = settings(args)
    url = found.catalog_url(default="")
    if not url:
        return os.path.abspath(".")
    if found.root:
        return found.root
    target = parse(url)
    if target.module == "redis":
        raise WrongUsage(
            "this catalog has no layers, so it does not say where the files are: name their "
            "folder with --root, or configure --layers"
        )
    if target.module == "json":
        return target.address
    address = os.path.abspath(target.address)
    if address.endswith(os.sep + FOLDER_CATALOG):
        return address.removesuffix(os.sep + FOLDER_CATALOG) or os.sep
    return os.path.dirname(address)


def check_folder(option: str, name: str) -> None:
    """Refuse what is no folder (WrongUsage)."""
    if not os.path.isdir(name):
        reason = "is not a folder" if os.path.lexists(name) else "does not exist"
        raise WrongUsage(f"argument --{option}: {name or repr(name)} {reason}")
