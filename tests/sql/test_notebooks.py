"""What a notebook shows of catalogs, tables, entries and relations."""

from __future__ import annotations

from pathlib import Path

from gigapi_metadata import Catalog, IndexEntry, Layer, connect

NASTY = "<script>alert(1)</script>&"


def test_entries_are_a_list(catalog: Catalog) -> None:
    table = catalog.table("db", "t")
    found = table.get_all()
    plain = list(found)
    assert isinstance(found, list)
    assert found == plain
    assert plain == found
    assert repr(table.query(folder="date=2024-01-15/hour=00/")) == repr(plain[:2])
    assert repr(found).endswith("… 4 more]")
    assert len(repr(found)) < 20 * 600


def test_html_of_entries(catalog: Catalog) -> None:
    html = catalog.table("db", "t").get_all()._repr_html_()
    assert html.count("<tr>") == 21
    assert "24 files" in html
    assert "the first 20 shown" in html
    assert "2024-01-15T00:00:00Z" in html


def test_everything_is_escaped(tmp_path: Path) -> None:
    name = NASTY.replace("/", "|")
    layers = [Layer("s3://key:geheim@host/bucket?secure=false", name.replace("|", "!"), "s3")]
    with connect(tmp_path / "x.db", layers=layers) as catalog:
        entry = IndexEntry(name, name, f"date=x/{name}.1.parquet", 1, 2, 3, layer=layers[0].name)
        table = catalog.table(name, name)
        table.batch([entry])
        shown = [catalog._repr_html_(), table._repr_html_(), table.get_all()._repr_html_()]
        shown.append(table.explain(where="x = '<script>' or true")._repr_html_())
        for html in shown:
            assert "<script" not in html
            assert "&lt;script&gt;" in html
            assert "geheim" not in html


def test_a_relation(catalog: Catalog) -> None:
    relation = catalog.sql("SELECT 'a<b' AS x FROM db.t WHERE n < 5")
    assert "a<b" in repr(relation)
    assert "a&lt;b" in relation._repr_mimebundle_()["text/html"]
    assert relation.columns == ["x"]
    assert "x" in relation
    assert len(relation) == 5
    assert "fetchall" in dir(relation)
    assert relation.limit(2).fetchall() == [("a<b",)] * 2
