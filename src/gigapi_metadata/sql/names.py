"""The names of tables in SQL -> tables of the catalog."""

from __future__ import annotations

from typing import NamedTuple, NoReturn, Protocol

from gigapi_metadata.errors import QueryFailed


class TableName(NamedTuple):
    """A table of the catalog."""

    database: str
    table: str


class Listing(Protocol):
    """What knows the names: a catalog."""

    def databases(self) -> list[str]: ...
    def tables(self, database: str) -> list[str]: ...


class Finder(Protocol):
    """What turns a name into a table; see Names."""

    def find(self, database: str, table: str) -> TableName: ...
    def other_case(self, name: TableName) -> TableName: ...
    def refuse(self, name: TableName) -> NoReturn: ...


class Names:
    """Finds tables. A name is found as it is written; if there is none, whatever its case."""

    def __init__(self, catalog: Listing) -> None:
        self._catalog = catalog

    def find(self, database: str, table: str) -> TableName:
        """The table that a query means. With a database, the catalog is not asked: whether there
        is such a table shows when it is read.

        Raises:
            QueryFailed: a table without a database is in none of them, or in several.
        """
        if database:
            return TableName(database, table)
        everything = self._all()
        exact = [name for name in everything if name.table == table]
        for found in (exact, [n for n in everything if n.table.lower() == table.lower()]):
            if len(found) == 1:
                return found[0]
            if found:
                choices = " or ".join(f"{name.database}.{name.table}" for name in found)
                raise QueryFailed(f"table {table} is ambiguous; write {choices}")
        return self._refuse(table, everything)

    def other_case(self, name: TableName) -> TableName:
        """The one table whose name is the same but for its case.

        Raises:
            QueryFailed: there is none.
        """
        wanted = (name.database.lower(), name.table.lower())
        everything = self._all()
        found = [
            each for each in everything if (each.database.lower(), each.table.lower()) == wanted
        ]
        if len(found) != 1:
            self._refuse(f"{name.database}.{name.table}", everything)
        return found[0]

    def refuse(self, name: TableName) -> NoReturn:
        """Say that there is no such table.

        Raises:
            QueryFailed: always. It names a similar one.
        """
        self._refuse(f"{name.database}.{name.table}", self._all())

    def _all(self) -> list[TableName]:
        return [
            TableName(database, table)
            for database in self._catalog.databases()
            for table in self._catalog.tables(database)
        ]

    def _refuse(self, wanted: str, everything: list[TableName]) -> NoReturn:
        from difflib import get_close_matches

        known = [f"{name.database}.{name.table}" for name in everything]
        similar = get_close_matches(wanted, known, 1, 0.5)
        if not similar:
            similar = [name for name in known if name.rpartition(".")[2] == wanted][:1]
        hint = f"; did you mean {similar[0]}?" if similar else ""
        raise QueryFailed(f"there is no table {wanted} in the catalog{hint}")
