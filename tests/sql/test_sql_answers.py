# ruff: noqa: E501 - a query a line
"""The same SQL, asked of the catalog and of all files: the same answer from fewer files."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from sql_lab import DAY, HOUR, MINUTE, BruteForce, answer, files_read, fill, spoil

from gigapi_metadata import Catalog, connect

FROM, TO = DAY + 3 * HOUR, DAY + 5 * HOUR - 1000
IN_T = f"__timestamp BETWEEN {FROM} AND {TO}"
IN_U = "time >= '2024-01-15 03:00' AND time < '2024-01-15 05:00'"

# A query, and how many files each of its mentions may read: None for all of them.
T, U, ODD = 24, 12, 12
QUERIES: list[tuple[str, list[int]]] = [
    ("SELECT count(*) FROM db.t", [T]),
    (f"SELECT count(*), sum(n) FROM db.t WHERE {IN_T}", [4]),
    (f"SELECT * FROM db.t WHERE {IN_T}", [4]),
    (f"FROM db.t SELECT n, sensor WHERE {IN_T} ORDER BY n DESC LIMIT 3", [4]),
    (f"SELECT sensor, avg(n) AS a FROM db.t WHERE {IN_T} GROUP BY ALL HAVING a > 1", [4]),
    ("SELECT * FROM db.u WHERE time < '2024-01-15 01:00'", [1]),
    ("SELECT extra FROM db.u WHERE time < '2024-01-15 01:00'", [1]),
    (f"SELECT count(*) FROM u WHERE {IN_U}", [2]),
    ("SELECT * FROM db.u WHERE time < '2000-01-01'", [0]),
    ("SELECT count(*), max(n) FROM db.t WHERE n >= 1100", [2]),
    ("SELECT count(*) FROM db.t WHERE n < 20 OR n > 1149", [2]),
    ("SELECT count(*) FROM db.t WHERE n IN (5, 310) AND NOT sensor = 'zz'", [2]),
    ("SELECT count(*) FROM db.t WHERE temp IS NULL AND n < 20", [1]),
    ("SELECT count(*) FROM db.u WHERE extra LIKE 'x1%' AND level >= 110", [2]),
    ("SELECT place.room, count(*) FROM db.t WHERE n < 20 GROUP BY 1", [1]),
    # Names
    ("SELECT x.n FROM db.t AS x WHERE x.n = 310", [1]),
    ("SELECT t.n FROM db.t WHERE t.n = 310", [1]),
    ("SELECT db.t.n FROM db.t WHERE db.t.n = 310 ORDER BY db.t.n", [1]),
    ('SELECT "N" FROM "db"."t" WHERE "N" = 310', [1]),
    ("SELECT DB.T.N FROM DB.T WHERE DB.t.N = 310", [1]),
    ('SELECT "Value", "a ""b""", date FROM "My DB"."Odd Table" WHERE time < \'2024-01-15 00:30\'', [1]),
    ('SELECT * FROM "Odd Table" WHERE value > 10.5', [2]),
    ('SELECT "only here" FROM "My DB"."Odd Table" ORDER BY time', [ODD]),
    ('SELECT a.b FROM "My DB"."Odd Table" AS a("time", b) WHERE a."time" < \'2024-01-15\'', [ODD]),
    ("SELECT count(*) FROM other.w WHERE ts < '2024-01-15 02:00:00+00'", [2]),
    ("SELECT count(*) FROM other.w WHERE ts <= '2024-01-15 03:00:00.000000002+00'", [4]),
    ("SELECT * FROM other.days WHERE time = DATE '2024-01-16'", [1]),
    # Columns come in the order of all files
    ("SELECT * FROM db.strange WHERE v = 4.25", [1]),
    ("SELECT * FROM db.strange WHERE v > 2", [4]),
    ("SELECT * FROM db.strange WHERE time > '2024-01-15 04:30+00'", [1]),
    ("SELECT * FROM db.strange", [6]),
    ("SELECT time::VARCHAR AS time FROM db.u WHERE time < '2024-01-15 01:00'", [1]),
    ("SELECT level + 1000 AS level FROM db.u WHERE level > 1000", [U]),
    ("SELECT n AS extra FROM db.u WHERE extra > 'x2' AND time < '2024-01-15 04:00'", [4]),
    # Several tables
    (f"SELECT count(*) FROM db.t a JOIN db.u b USING (sensor) WHERE a.{IN_T} AND b.level < 20", [4, 2]),
    ("SELECT count(*) FROM db.t, db.u WHERE t.n = u.n AND t.n < 20 AND u.n < 20", [1, 1]),
    ("SELECT count(*) FROM db.t, db.u WHERE t.sensor = u.sensor AND temp > 12 AND level < 10", [2, 1]),
    ("SELECT count(*) FROM db.t a JOIN db.t b ON a.n = b.n AND b.n < 20 WHERE a.n < 120", [3, 1]),
    ("SELECT count(*) FROM db.t a JOIN db.u b USING (n) WHERE n < 20", [1, 1]),
    ("SELECT db.t.n, other.t.n FROM db.t JOIN other.t ON db.t.n = other.t.n WHERE db.t.n < 20", [1, 3]),
    ("SELECT * FROM db.t NATURAL JOIN db.u WHERE level < 10", [T, 1]),
    ("SELECT count(*) FROM db.t, (SELECT 1 AS n2) q WHERE n < 20", [T]),
    # Outer joins: what may be NULL keeps its rows
    ("SELECT a.n, b.level FROM db.t a LEFT JOIN db.u b ON a.n = b.n AND b.level < 10 AND a.n > 5 WHERE a.n < 20", [1, 1]),
    ("SELECT count(*), count(b.n) FROM db.t a LEFT JOIN db.u b ON a.n = b.n WHERE b.level IS NULL", [T, U]),
    ("SELECT count(*), count(b.n) FROM db.t a LEFT JOIN db.u b ON a.n = b.n AND a.n < 20", [T, U]),
    ("SELECT count(*), count(a.n) FROM db.t a RIGHT JOIN db.u b ON a.n = b.n AND a.n < 20 WHERE b.level < 10", [1, 1]),
    ("SELECT count(*), count(a.n) FROM db.t a RIGHT JOIN db.u b ON a.n = b.n WHERE a.n IS NULL", [T, U]),
    ("SELECT count(*), count(a.n), count(b.n) FROM db.t a FULL JOIN db.u b ON a.n = b.n AND a.n < 20 AND b.n < 20", [T, U]),
    ("SELECT count(*) FROM db.t a FULL JOIN db.u b ON a.n = b.n WHERE a.n < 20 OR a.n IS NULL", [T, U]),
    ("SELECT count(*) FROM db.t a SEMI JOIN db.u b ON a.n = b.n AND b.n < 20 AND a.n < 100", [2, 1]),
    ("SELECT count(*) FROM db.t a ANTI JOIN db.u b ON a.n = b.n AND b.n < 20 AND a.n < 100", [T, 1]),
    ("SELECT count(*) FROM db.t a ANTI JOIN db.u b ON a.n = b.n WHERE a.n < 20", [1, U]),
    ("SELECT a.n, b.n FROM db.t a ASOF JOIN db.u b ON a.sensor = b.sensor AND a.n >= b.n WHERE b.n < 20 AND a.n < 120", [3, U]),
    ("SELECT a.n, b.n FROM db.t a ASOF LEFT JOIN db.u b ON a.sensor = b.sensor AND a.n >= b.n WHERE a.n < 20", [1, U]),
    ("SELECT a.v, b.v FROM other.days a POSITIONAL JOIN other.days b WHERE a.v > 1 AND b.v > 0", [3, 3]),
    ("SELECT count(*) FROM (db.t a JOIN db.u b ON a.n = b.n AND b.n < 20) LEFT JOIN db.t c ON c.n = a.n AND c.n < 50 WHERE a.n < 120", [3, 1, 1]),
    ("SELECT count(*) FROM db.t a LEFT JOIN (db.u b JOIN db.t c ON b.n = c.n AND b.n < 20) ON a.n = b.n WHERE a.n < 20", [1, 1, T]),
    ("SELECT a.n, q.c FROM db.t a, LATERAL (SELECT count(*) AS c FROM db.u b WHERE b.n = a.n AND b.n < 20) q WHERE a.n < 20", [1, 1]),
    # Subqueries
    ("SELECT count(*) FROM db.t WHERE n IN (SELECT n FROM db.u WHERE level < 10) AND n < 150", [3, 1]),
    ("SELECT count(*) FROM db.t WHERE EXISTS (SELECT 1 FROM db.u WHERE u.n = t.n AND u.level < 10)", [T, 1]),
    ("SELECT count(*) FROM db.t WHERE NOT EXISTS (FROM db.u WHERE u.n = t.n AND level < 10 AND t.n < 20)", [T, 1]),
    ("SELECT n, (SELECT max(level) FROM db.u WHERE u.n <= t.n AND t.n < 50) AS m FROM db.t WHERE n < 20", [1, U]),
    ("SELECT max(n) FROM (SELECT * FROM db.t WHERE n < 20) WHERE n > 5", [1]),
    # Names that columns get of themselves tell of tables, not of files
    ("SELECT (SELECT count(*) FROM db.t WHERE n < 20), count(*) FROM db.u", [12, 1]),
    ("SELECT n IN (SELECT level FROM db.u), db.t.n + 1 FROM db.t WHERE db.t.n < 20", [1, 12]),
    ("SELECT * FROM (SELECT EXISTS (FROM db.u WHERE level < 5))", [1]),
    ("SELECT n FROM db.t WHERE n = (SELECT max(n) FROM db.t WHERE n < 120)", [T, 3]),
    # CTEs
    (f"WITH a AS (SELECT * FROM db.t WHERE {IN_T}) SELECT count(*) FROM a", [4]),
    ("WITH t AS (SELECT 1 AS one) SELECT * FROM t", []),
    ("WITH t AS (SELECT * FROM db.t WHERE n < 20) SELECT count(*) FROM t WHERE n > 3", [1]),
    ("WITH a AS MATERIALIZED (SELECT n FROM db.u WHERE level < 10), b AS (FROM a) SELECT count(*) FROM b JOIN db.t USING (n)", [1, T]),
    ("WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 3) SELECT r.i, count(*) FROM r, db.t WHERE t.n < 20 GROUP BY 1", [1]),
    # Sets of rows
    ("SELECT n FROM db.t WHERE n < 20 UNION SELECT n FROM db.u WHERE level < 10", [1, 1]),
    ("SELECT n FROM db.t WHERE n < 20 UNION ALL BY NAME SELECT level, n FROM db.u WHERE level < 10", [1, 1]),
    ("(SELECT n FROM db.t WHERE n < 120) EXCEPT SELECT n FROM db.t WHERE n < 20 ORDER BY 1", [3, 1]),
    # Around them
    ("SELECT n, row_number() OVER (PARTITION BY sensor ORDER BY n) AS r FROM db.t WHERE n < 120 QUALIFY r = 1", [3]),
    ("SELECT sensor, count(*) FILTER (WHERE n < 20) FROM db.t GROUP BY ROLLUP (sensor)", [T]),
    ("SELECT DISTINCT ON (sensor) sensor, n FROM db.t WHERE n < 20 ORDER BY sensor, n", [1]),
    ("SELECT * EXCLUDE (place) REPLACE (n + 1 AS n) FROM db.t WHERE n < 3", [1]),
    ("SELECT list_transform([n], lambda x: x + 1) FROM db.t WHERE n < 20", [1]),
    ("SELECT CASE WHEN n < 5 THEN 'low' END AS c, count(*) FROM db.t WHERE n < 20 GROUP BY c", [1]),
    ("DESCRIBE db.u", [U]),
    ("DESCRIBE SELECT level, extra FROM db.u WHERE time < '2024-01-15 01:00'", [1]),
    ("SELECT * FROM (UNPIVOT (SELECT n, level FROM db.u WHERE level < 5) ON n, level)", [1]),
    ("SELECT * FROM (SELECT sensor, n FROM db.t WHERE n < 20) PIVOT (sum(n) FOR sensor IN ('s0', 's1'))", [1]),
    ("SELECT count(*) FROM db.t TABLESAMPLE 100 PERCENT WHERE n < 20", [T]),
    ("SELECT count(*) FROM (SELECT n FROM db.t WHERE n < 20 USING SAMPLE 100 PERCENT)", [T]),
    ("VALUES (1, 'a'), (2, 'b')", []),
    ("SELECT i FROM range(3) r(i)", []),
    ("SELECT count(*) FROM db.t, range(30) r(i) WHERE n < i AND i = 20 AND n < 20", [T]),
    ("SELECT count(*) -- not the end\nFROM /* db.u */ db.t WHERE n < 20;", [1]),
]  # fmt: skip


@pytest.mark.parametrize(("query", "most"), QUERIES, ids=[query for query, _ in QUERIES])
def test_the_answer_of_all_files(
    catalog: Catalog, direct: BruteForce, query: str, most: list[int]
) -> None:
    found = catalog.sql(query)
    assert answer(found, query) == direct.rows(query)
    assert files_read(found) == most


def test_columns_are_matched_by_name_only_where_files_differ(catalog: Catalog) -> None:
    for query, by_name in (
        ("SELECT count(*) FROM db.t", False),
        ("SELECT count(*) FROM db.u", True),
        ("SELECT count(*) FROM db.u WHERE time < '2024-01-15 05:00'", False),
        ("SELECT count(*) FROM db.u WHERE time > '2024-01-15 05:00'", True),
    ):
        assert ("union_by_name" in catalog.sql(query).plan.sql) is by_name


def test_other_files_are_not_opened(tmp_path: Path) -> None:
    with connect(tmp_path) as catalog:
        fill(tmp_path, catalog)
        files = sorted((tmp_path / "db/t/data").rglob("*.parquet"))
        spoil(files[4:])
        query = f"SELECT count(*), min(temp) < 5 FROM db.t WHERE __timestamp < {DAY + 2 * HOUR}"
        assert catalog.sql(query).fetchall() == [(80, True)]


@pytest.mark.parametrize("seed", range(3))
def test_random_queries(catalog: Catalog, direct: BruteForce, seed: int) -> None:
    """Conditions at random over two tables, joined in every way."""
    dice = random.Random(f"sql {seed}")

    def condition(alias: str, depth: int = 0) -> str:  # noqa: PLR0911
        kind = dice.randrange(8 if depth < 2 else 5)
        number = dice.randrange(-5, 1205)
        if kind == 0:
            return f"{alias}.n {dice.choice(['<', '<=', '>', '>=', '=', '<>'])} {number}"
        if kind == 1:
            return f"{alias}.n BETWEEN {number} AND {number + dice.randrange(200)}"
        if kind == 2:
            return f"{alias}.sensor {dice.choice(['=', '<>', '<', '>'])} 's{dice.randrange(7)}'"
        if kind == 3:
            column = "a.temp" if alias == "a" else "b.level"
            return f"{column} {dice.choice(['<', '>', 'IS NULL OR a.n <'])} {dice.randrange(120)}"
        hour, minute = dice.randrange(12), dice.randrange(60)
        if kind == 4 and alias == "a":
            return f"a.__timestamp >= {DAY + hour * HOUR + minute * MINUTE}"
        if kind == 4:
            return f"b.time < TIMESTAMP '2024-01-15 {hour:02}:{minute:02}'"
        parts = [condition(alias, depth + 1) for _ in range(2)]
        joined = dice.choice([" AND ", " OR "]).join(parts)
        return f"NOT ({parts[0]})" if kind == 5 else f"({joined})"

    for _ in range(40):
        join = dice.choice(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
        on = " AND ".join(["a.n = b.n", *(condition(dice.choice("ab")) for _ in range(2))])
        where = " AND ".join(condition(dice.choice("ab")) for _ in range(dice.randrange(3)))
        query = (
            "SELECT count(*), sum(a.n), sum(b.n), min(a.temp), max(b.level) "
            f"FROM db.t a {join} db.u b ON {on}" + (f" WHERE {where}" if where else "")
        )
        assert answer(catalog.sql(query), query) == direct.rows(query), query
