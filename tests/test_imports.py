"""The folder listing is the architecture: a module imports from those above it, never below."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGE = "gigapi_metadata"
SOURCE = Path(__file__).resolve().parents[1] / "src" / PACKAGE

# One line a floor, from the ground up. A module may import from any floor before its own, and from
# the package that it stands in; two entries on one floor know nothing of each other.
# `x.*` is the package x with all that is in it, "" the package's own `__init__`.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("html", "names", "timerange", "urls"),
    ("model",),
    ("validation",),
    ("config.*",),  # reads the environment and a file, when it is asked to
    ("planning", "pruning.*"),  # decide, without I/O
    ("stores", "stores.base"),  # the narrow waist
    ("stores.repairing", "stores.broken_off"),  # optional abilities of stores
    ("stores.surroundings", "stores.watch"),  # what endangers a catalog, said beside a write
    ("stores.redis.*", "stores.sqlite.*", "stores.json.*"),  # all I/O to catalogs
    ("index.*",),
    ("catalog.*",),
    ("copying.*",),  # from catalog to catalog, to files and back
    ("parquet_footer", "lineage"),
    ("parquet_stats",),
    ("parquet",),
    ("storage.*",),  # all I/O to data files
    ("scan.*",),
    ("worker.*",),
    ("checking.*",),  # finds damage and mends it; makes a catalog from its files
    ("doctor.*",),  # looks at stores and storages from outside
    ("sql.*",),
    ("",),  # the public names
    ("cli.*",),
    ("__main__",),
)

# (importer, imported): why. Allowed inside a function and for type
# checkers only, so that loading stays one-way.
EXCEPTIONS = {
    ("model", "parquet"): "IndexEntry.from_parquet is the name people look for; pyarrow is heavy",
    ("catalog.tables", "sql"): "catalog.sql is the name people look for; DuckDB is heavy",
    ("catalog.tables", "sql.awaiting"): "as above",
    ("index.sync", "sql"): "table.to_arrow is another such name",
    ("index.sync", "sql.frames"): "as above",
    ("index.aio", "sql"): "as above",
    ("index.aio", "sql.awaiting"): "as above",
    ("index.aio", "sql.frames"): "as above",
}

# What `import gigapi_metadata` must not load: a program that never uses them should not wait.
HEAVY = ("asyncio", "duckdb", "pyarrow", "redis", "rich", "sqlite3", "yaml")


@dataclass(frozen=True)
class Import:
    importer: str
    imported: str
    line: int
    deferred: bool

    def __str__(self) -> str:
        importer, imported = self.importer or "__init__", self.imported or "__init__"
        return f"{importer} imports {imported} (line {self.line})"


def modules() -> dict[str, Path]:
    """Module name, relative to the package -> its file."""
    found = {}
    for file in sorted(SOURCE.rglob("*.py")):
        parts = file.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def entry_of(module: str) -> str | None:
    """The entry of FLOORS that `module` belongs to."""
    entries = [entry for floor in FLOORS for entry in floor]
    if module in entries:
        return module
    package = module
    while package:
        if f"{package}.*" in entries:
            return f"{package}.*"
        package = package.rpartition(".")[0]
    return None


def floor_of(module: str) -> int:
    entry = entry_of(module)
    return next(number for number, floor in enumerate(FLOORS) if entry in floor)


def imports_of(name: str, text: str, *, is_package: bool, known: set[str]) -> Iterator[Import]:
    """Every import of ours in a module's `text`; those for type checkers only count too."""
    tree = ast.parse(text)
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(function, ast.If) and ast.unparse(function.test) == "TYPE_CHECKING")
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                here = f"{PACKAGE}.{name}".rstrip(".").split(".")
                base = here[: len(here) - node.level + is_package]
                source = ".".join([*base, *filter(None, [source])])
            # `from package import x`: x is a module of the package, or a name in its __init__.
            targets = [
                f"{source}.{alias.name}"
                if f"{source}.{alias.name}".removeprefix(f"{PACKAGE}.") in known
                else source
                for alias in node.names
            ]
        else:
            continue
        for target in dict.fromkeys(targets):
            if target == PACKAGE or target.startswith(f"{PACKAGE}."):
                imported = target.removeprefix(PACKAGE).removeprefix(".")
                yield Import(name, imported, node.lineno, id(node) in inside)


def all_imports() -> list[Import]:
    known = modules()
    return [
        found
        for name, file in known.items()
        for found in imports_of(
            name, file.read_text(), is_package=file.name == "__init__.py", known=set(known)
        )
    ]


def allowed(found: Import) -> bool:
    if (found.importer, found.imported) in EXCEPTIONS:
        return found.deferred
    same_package = entry_of(found.importer) == entry_of(found.imported)
    return same_package or floor_of(found.imported) < floor_of(found.importer)


def test_every_module_has_its_floor() -> None:
    homeless = [name for name in modules() if entry_of(name) is None]
    assert not homeless, (
        f"{', '.join(homeless)}: not in FLOORS in {Path(__file__).name}. Put each on the lowest "
        "floor that is above everything it imports, and into the listing of the architecture."
    )


def test_imports_point_one_way() -> None:
    known = modules()
    found = [each for each in all_imports() if each.imported in known and entry_of(each.importer)]
    wrong = [str(each) for each in found if entry_of(each.imported) and not allowed(each)]
    assert not wrong, "these imports point the wrong way: " + "; ".join(wrong)


def test_exceptions_are_still_needed() -> None:
    used = {(each.importer, each.imported) for each in all_imports()}
    assert set(EXCEPTIONS) <= used


@pytest.mark.parametrize(
    ("importer", "text", "ok"),
    [
        ("names", "from gigapi_metadata.errors import InvalidName", True),
        ("errors", "from gigapi_metadata.names import check_name", False),
        ("errors", "from gigapi_metadata import names", False),
        ("errors", "from . import names", False),
        ("errors", "from .names import check_name", False),
        ("errors", "import gigapi_metadata.names", False),
        ("errors", "if TYPE_CHECKING:\n    from gigapi_metadata.model import Layer", False),
        ("errors", "def f():\n    from gigapi_metadata.model import Layer", False),
        ("names", "from gigapi_metadata.timerange import Window", False),
        ("model", "def f():\n    from gigapi_metadata.parquet import x", True),
        ("model", "from gigapi_metadata.parquet import x", False),
        ("model", "from gigapi_metadata import Layer", False),
        ("stores.redis.store", "from gigapi_metadata.stores.redis.keys import x", True),
        ("stores.redis.store", "from .keys import x", True),
        ("stores.redis.store", "from ..base import x", True),
        ("stores.redis.store", "from ..sqlite import store", False),
        ("stores.base", "from gigapi_metadata.stores.redis import store", False),
        ("cli.plans", "from gigapi_metadata import connect", True),
    ],
)
def test_the_rule_itself(importer: str, text: str, ok: bool) -> None:
    known = {"errors", "names", "model", "parquet", "stores.redis.keys", "stores.sqlite.store"}
    found = list(imports_of(importer, text, is_package=False, known=known))
    assert len(found) == 1
    assert allowed(found[0]) is ok


@pytest.mark.parametrize(
    "module",
    [PACKAGE, *([f"{PACKAGE}.cli"] if find_spec(f"{PACKAGE}.cli") else [])],
)
def test_importing_loads_nothing_heavy(module: str) -> None:
    program = (
        "import sys; before = set(sys.modules); import importlib; "
        f"importlib.import_module({module!r}); print(*(set(sys.modules) - before))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert PACKAGE in loaded
    assert not loaded & set(HEAVY)
