"""Which tables a query mentions, and which of its conditions hold for each mention.

Pure: it reads the parser's tree and nothing else. Two mentions of a table are two references, each
with its own conditions. A condition is taken only where a row that fails it can't be missed: what
is on the side of an outer join that may be filled with NULLs keeps its rows, and so on. When in
doubt there is no condition, which reads more files and never gives another answer.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Any

from gigapi_metadata.errors import QueryFailed
from gigapi_metadata.sql.syntax import Node

TABLE_FUNCTIONS = frozenset(
    (
        *("range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"),
        *("duckdb_functions", "duckdb_types", "duckdb_keywords"),
        *("pg_timezone_names", "icu_calendar_names"),
    )
)
"""Those that read no file, no memory and no text of SQL."""

_KEEPS_ROWS_OF_BOTH = ("REGULAR", "CROSS", "NATURAL")


class Scope:
    """One SELECT: what stands in its FROM, and the names that it gives to its columns."""

    def __init__(self, aliases: frozenset[str] = frozenset()) -> None:
        self.sources: list[Source] = []
        self.aliases = aliases
        self.shared: set[str] = set()
        """Columns that inner joins have USING, which are the same on both sides."""
        self.takes_all = False
        """Whether it gives all columns, as `*` does."""
        self.doubtful: frozenset[str] = frozenset()
        """Names in its WHERE that mean a column if there is such a one, else what it calls so."""


class Source:
    """What stands in a FROM, by the name that its columns may be qualified with, in lower case."""

    def __init__(self, name: str) -> None:
        self.name = name


class Reference(Source):
    """A mention of a table of the catalog; `database` is "" when it is not named.

    Each of its `conditions` holds for every row that the query needs of the table.
    """

    def __init__(self, name: str, scope: Scope, node: Node, database: str, table: str) -> None:
        super().__init__(name)
        self.scope = scope
        self.node = node
        self.database = database
        self.table = table
        self.conditions: list[Node] = []


def find_references(query: Node) -> list[Reference]:
    """Every mention of a table in `query`, in the order of the text.

    Raises:
        QueryFailed: it uses what a query over a catalog may not, such as a function that reads
            files.
    """
    found: list[Reference] = []
    _visit(query, frozenset(), found)
    return found


def _visit(value: Any, ctes: frozenset[str], found: list[Reference]) -> None:
    """Look for queries in any part of the tree."""
    if isinstance(value, list):
        for each in value:
            _visit(each, ctes, found)
    elif isinstance(value, dict):
        kind = value.get("type")
        if kind == "SELECT_NODE":
            _visit_select(value, _with_ctes(value, ctes, found), found)
        elif isinstance(kind, str) and kind.endswith("_NODE"):
            inner = _with_ctes(value, ctes, found)
            _visit([each for key, each in value.items() if key != "cte_map"], inner, found)
        else:
            _visit(list(value.values()), ctes, found)


def _with_ctes(node: Node, ctes: frozenset[str], found: list[Reference]) -> frozenset[str]:
    """The names of common table expressions that `node` sees; its own are visited."""
    for entry in (node.get("cte_map") or {}).get("map", ()):
        name, query = entry["key"].lower(), entry["value"]["query_node"]
        recursive = query.get("type") == "RECURSIVE_CTE_NODE"
        _visit(entry["value"], ctes | {name} if recursive else ctes, found)
        ctes |= {name}
    return ctes


def _visit_select(node: Node, ctes: frozenset[str], found: list[Reference]) -> None:
    aliases = [each.get("alias", "").lower() for each in node["select_list"]]
    scope = Scope(frozenset(filter(None, aliases)))
    scope.takes_all = any(_has_star(each) for each in node["select_list"])
    if scope.aliases and node.get("where_clause"):
        scope.doubtful = scope.aliases & bare_names([node["where_clause"]])
    where = [] if node.get("sample") else _conjuncts(node.get("where_clause"))
    _visit_from(node["from_table"], where, scope, ctes, found)
    _qualify_plainly(node, scope)
    _visit(
        [each for key, each in node.items() if key not in ("from_table", "cte_map")], ctes, found
    )


def _has_star(value: Any) -> bool:
    if isinstance(value, dict):
        return value.get("class") == "STAR" or any(map(_has_star, value.values()))
    return isinstance(value, list) and any(map(_has_star, value))


def _visit_from(
    node: Node,
    conditions: list[Node],
    scope: Scope,
    ctes: frozenset[str],
    found: list[Reference],
) -> None:
    """`conditions` hold for all rows that are needed of what `node` stands for."""
    kind = node["type"]
    if kind == "BASE_TABLE":
        _visit_table(node, conditions, scope, ctes, found)
    elif kind == "JOIN":
        left, right = _sides(node, conditions)
        if node["join_type"] == "INNER" and node["ref_type"] == "REGULAR":
            scope.shared.update(each.lower() for each in node["using_columns"])
        _visit_from(node["left"], left, scope, ctes, found)
        _visit_from(node["right"], right, scope, ctes, found)
        _visit(node["condition"], ctes, found)
        _visit(node.get("ranking_expression"), ctes, found)
    elif kind == "TABLE_FUNCTION":
        name = node["function"].get("function_name", "")
        if name.lower() not in TABLE_FUNCTIONS:
            raise QueryFailed(
                f"the function {name} can't be used in FROM; a query reads tables of the catalog"
            )
        _add_other(node, scope)
        _visit(node["function"], ctes, found)
    elif kind in ("PIVOT", "SHOW_REF", "SUBQUERY", "EXPRESSION_LIST", "EMPTY"):
        if kind == "SHOW_REF" and not node.get("query"):
            raise QueryFailed(
                "there is nothing to show; write DESCRIBE database.table, or ask for the catalog's "
                "tables: catalog.tables(database), gigapi-metadata tables DB"
            )
        if kind == "PIVOT":
            _visit_from(node["source"], [], Scope(), ctes, found)
        if kind != "EMPTY":
            _add_other(node, scope)
        _visit([v for key, v in node.items() if key != "source"], ctes, found)
    else:
        raise QueryFailed(f"{kind} can't be used in FROM; a query reads tables of the catalog")


def _add_other(node: Node, scope: Scope) -> None:
    scope.sources.append(Source(node.get("alias", "").lower()))


def _visit_table(
    node: Node,
    conditions: list[Node],
    scope: Scope,
    ctes: frozenset[str],
    found: list[Reference],
) -> None:
    database, table, alias = node["schema_name"], node["table_name"], node.get("alias", "")
    if table.lower() in ctes and database.lower() in ("", "recurring"):
        scope.sources.append(Source((alias or table).lower()))
        return
    if node["catalog_name"]:
        raise QueryFailed(
            f"{node['catalog_name']}.{database}.{table} has three parts; write database.table, and "
            'a name that holds a dot in quotes: "my.db".table'
        )
    if node["at_clause"]:
        raise QueryFailed(f"{table}: the catalog keeps no past versions of a table (AT)")
    reference = Reference((alias or table).lower(), scope, node, database, table)
    if not node.get("sample") and not node.get("column_name_alias"):
        reference.conditions = list(conditions)
    scope.sources.append(reference)
    found.append(reference)


def _conjuncts(condition: Node | None) -> list[Node]:
    """What is joined by AND at the top of a condition."""
    if not condition:
        return []
    if condition.get("type") == "CONJUNCTION_AND":
        return [part for child in condition["children"] for part in _conjuncts(child)]
    return [condition]


def _sides(join: Node, above: list[Node]) -> tuple[list[Node], list[Node]]:
    """Of the conditions on a join's result and those in its ON, which hold for the rows of its
    left side, and which for those of its right side."""
    kind = join["join_type"]
    if join["ref_type"] == "ASOF":
        # Which row of the right side is the nearest depends on all of them.
        return (above if kind in ("INNER", "LEFT") else []), []
    if join["ref_type"] not in _KEEPS_ROWS_OF_BOTH:
        return [], []
    on = _conjuncts(join["condition"])
    left = above if kind in ("INNER", "LEFT", "SEMI", "ANTI") else []
    right = above if kind in ("INNER", "RIGHT") else []
    if kind in ("INNER", "RIGHT", "SEMI"):
        left = left + on
    if kind in ("INNER", "LEFT", "SEMI", "ANTI"):
        right = right + on
    return left, right


# Whose column a name means


def column_of(
    reference: Reference, names: Sequence[str], owned: Container[str] | None
) -> str | None:
    """The column of `reference` that a name means, its parts joined by dots; None if it may mean
    anything else.

    owned: the names, in lower case, that mean a column of this reference when they stand alone;
        None when all do.
    """
    if len(names) == 1:
        return names[0] if owned is None or names[0].lower() in owned else None
    called = [source for source in reference.scope.sources if source.name == names[0].lower()]
    return ".".join(names[1:]) if called == [reference] else None


def bare_names(conditions: Sequence[Node]) -> set[str]:
    """The names, in lower case, of columns that stand alone in `conditions`."""
    return {
        names[0].lower()
        for condition in conditions
        for names in _column_names(condition)
        if len(names) == 1
    }


def _column_names(value: Any) -> Iterator[list[str]]:
    if isinstance(value, list):
        for each in value:
            yield from _column_names(each)
    elif isinstance(value, dict):
        if value.get("class") == "COLUMN_REF":
            yield value["column_names"]
        else:
            for each in value.values():
                yield from _column_names(each)


def _qualify_plainly(node: Node, scope: Scope) -> None:
    """`db.t.column` becomes `t.column`: the files that stand in for a table have no database. Where
    a FROM has tables of one name and two databases, each is called by both names in one."""
    own = [source for source in scope.sources if isinstance(source, Reference)]
    twins = [
        one
        for one in own
        if any(o.name == one.name and o.database.lower() != one.database.lower() for o in own)
    ]
    for reference in own:
        given = reference.node["alias"]
        whole = not given and reference.database != ""
        alias = given or reference.table
        if whole and reference in twins:
            alias = f"{reference.database}.{reference.table}"
        if whole:
            _rename(node, [reference.database.lower(), reference.table.lower()], alias)
        reference.node["alias"] = alias
        reference.name = alias.lower()


def _rename(value: Any, qualifier: list[str], alias: str) -> None:
    if isinstance(value, list):
        for each in value:
            _rename(each, qualifier, alias)
    elif isinstance(value, dict):
        if value.get("class") == "COLUMN_REF":
            names = value["column_names"]
            if len(names) > 2 and [name.lower() for name in names[:2]] == qualifier:
                value["column_names"] = [alias, *names[2:]]
        else:
            _rename(list(value.values()), qualifier, alias)
