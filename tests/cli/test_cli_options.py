"""Which catalog, which configuration, and wrong usage: one line and exit code 2."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest
from conftest import Cli, write_lake

from gigapi_metadata import Layer
from gigapi_metadata.cli import context
from gigapi_metadata.cli.app import parser
from gigapi_metadata.cli.errors import one_line
from gigapi_metadata.cli.options import joined


def parsed(*words: str) -> argparse.Namespace:
    return parser().parse_args(list(words))


def url_of(*words: str, environ: dict[str, str] | None = None) -> str | None:
    return context.settings(parsed(*words), environ or {}).url


def test_the_catalog_comes_from_the_nearest_place(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('catalog = "from-file"')
    environ = {"GIGAPI_METADATA_URL": "from-environment"}
    named = ["databases", "--config", str(config)]
    assert url_of(*named, "--catalog", "from-option", environ=environ) == "from-option"
    assert url_of(*named, environ=environ) == "from-environment"
    assert url_of(*named) == "from-file"
    assert url_of("databases") is None


@pytest.mark.parametrize(
    "words",
    [
        ("--json", "--catalog", "x", "files", "db.t"),
        ("files", "db.t", "--json", "--catalog", "x"),
        ("--json", "files", "--catalog=x", "db.t"),
        ("--catalog", "y", "files", "--catalog", "x", "db.t", "--json"),
    ],
)
def test_global_options_go_before_and_after_the_command(words: tuple[str, ...]) -> None:
    args = parsed(*words)
    assert (args.json, args.catalog) == (True, "x")


def test_layers_are_taken_in_order_from_both_places() -> None:
    args = parsed("--layers", "a=/a", "databases", "--layers", "b=/b,ttl=1h30m")
    assert context.settings(args, {}).layers == [Layer("/a", "a"), Layer("/b", "b", "fs", 5400)]


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        ("hot=/data", Layer("/data", "hot")),
        ("hot=file:///a,b,ttl=90", Layer("file:///a,b", "hot", "fs", 90)),
        ("cold=s3://k:s@h/b?x=1,ttl=10m", Layer("s3://k:s@h/b?x=1", "cold", "s3", 600)),
        ("odd=http://h/b,ttl=0,type=s3", Layer("http://h/b", "odd", "s3")),
    ],
)
def test_a_layer_is_read(text: str, layer: Layer) -> None:
    assert context.settings(parsed("--layers", text, "databases"), {}).layers == [layer]


def test_layers_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "layers.json"
    rows = [{"name": "a", "url": "/a", "ttl_sec": 5}, {"name": "b", "url": "s3://b", "type": "s3"}]
    expected = [Layer("/a", "a", "fs", 5), Layer("s3://b", "b", "s3")]
    for content in (rows, {"layers": rows}):
        file.write_text(json.dumps(content))
        args = parsed("--layers", f"@{file}", "databases")
        assert context.settings(args, {}).layers == expected


def test_merge_configurations() -> None:
    def rows(*words: str) -> list[list[int]] | None:
        merge = context.settings(parsed(*words, "databases"), {}).merge
        return merge and [[row.timeout_sec, row.max_size, row.iteration] for row in merge]

    assert rows() is None
    assert rows("--merge", "none") == []
    assert rows("--merge", "10s,1MiB", "--merge", "100,2KB") == [[10, 1 << 20, 1], [100, 2000, 2]]


@pytest.mark.parametrize("ending", ["toml", "json"])
def test_a_configuration_file(tmp_path: Path, cli: Cli, ending: str) -> None:
    write_lake(tmp_path / "lake")
    lake = str(tmp_path / "lake")
    config = tmp_path / f"c.{ending}"
    config.write_text(
        f"catalog = {lake!r}\nmerge_configurations = []\n[[layers]]\nname = 'a'\nurl = '/a'\n"
        if ending == "toml"
        else json.dumps(
            {
                "catalog": lake,
                "merge_configurations": [],
                "layers": [{"name": "a", "url": "/a"}],
            }
        )
    )
    assert cli("scan", lake, "--config", config).code == 0
    found = cli("--config", config, "files", "db.t", "--json").json
    assert {entry["layer"] for entry in found} == {"a"}
    assert cli("--config", config, "plans", "db.t").code == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a command"),
        (["filez"], "invalid choice: 'filez'"),
        (["files"], "required: DB.TABLE; see gigapi-metadata files --help"),
        (["files", "dbt"], "'dbt' is no DB.TABLE"),
        (["files", ".t"], "database name is empty"),
        (["files", "db."], "table name is empty"),
        (["files", "d*.t"], "holds one of"),
        (["files", "db.t", "extra"], "unrecognized arguments: extra"),
        (["files", "db.t", "--limit", "0"], "--limit: '0' must be a whole number from 1"),
        (["files", "db.t", "--limit", "x"], "--limit: 'x'"),
        (["files", "db.t", "--iteration", "-1"], "--iteration"),
        (["files", "db.t", "--after", "soon"], "argument --after: 'soon' is no time; write -1h"),
        (["files", "db.t", "--after", "-1h", "--before", "-2h"], "is later than"),
        (["files", "db.t", "--after"], "--after: expected one argument"),
        (["files", "db.t", "--paths", "--json"], "not allowed with"),
        (["--catlog", "redis://u:pw@h", "databases"], "--catlog is no option; did you mean"),
        (["databases", "--xyzzy"], "--xyzzy is no option; see gigapi-metadata --help"),
        (["--catalog", "", "databases"], "argument --catalog must be the URL"),
        (["--catalog", "foo://x", "databases"], "foo:// is no kind of catalog"),
        (["--catalog", "redis://u:pw@h:x/0", "databases"], "redis://u:***@h:x/0"),
        (["--layers", "hot", "databases"], "argument --layers must be NAME=URL"),
        (["--layers", "hot=", "databases"], "layer 'hot' has no URL"),
        (["--layers", "hot=/x,ttl=soon", "databases"], "layer 'hot': ttl"),
        (["--layers", "hot=/x,ttl=1,ttl=2", "databases"], "ttl twice"),
        (["--layers", "hot=/x,type=tape", "databases"], "'tape'"),
        (["--layers", "a=/x", "--layers", "a=/y", "databases"], "two layers are named 'a'"),
        (["--layers", "a:b=s3://k:pw@h/b", "databases"], "layer name 'a:b'"),
        (["--layers", "@missing.json", "databases"], "missing.json: No such file"),
        (["--merge", "10s", "databases"], "argument --merge: '10s' must be TIMEOUT,SIZE"),
        (["--merge", "10s,lots", "databases"], "argument --merge"),
        (["--merge", "soon,1MiB", "databases"], "argument --merge"),
        (["--config", "missing.toml", "databases"], "missing.toml: No such file"),
        (["--config", "c.yaml", "databases"], "must end in .toml or .json"),
        (["scan", "missing"], "ROOT missing does not exist"),
        (["scan", "redis://u:pw@h"], "is a URL; ROOT must be a local folder"),
        (["scan", ".", "--table", "t"], "go together"),
        (["scan", ".", "--layer", "hot"], "not one of the layers"),
        (["scan", ".", "--layers", "a=/a", "--layers", "b=/b"], "say with --layer"),
        (["scan", ".", "--writer-id", "a:b"], "writer name"),
        (["plans", "db.t", "--kind", "mrge"], "invalid choice: 'mrge'"),
        (["show", "db.t", "/etc/passwd"], "is absolute"),
        (["rm", "db.t", "a/../b"], "'..' segment"),
        (["rm", "db.t"], "required: PATH"),
    ],
)
def test_wrong_usage_is_one_clear_line(cli: Cli, words: list[str], message: str) -> None:
    result = cli(*words)
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith("gigapi-metadata: error: ")
    assert message in result.err
    assert "pw" not in result.err
    assert not os.listdir(".")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "must hold an object"),
        ('{"catlog": "x"}', "'catlog' is no setting"),
        ('{"catalog": 5}', "catalog must be the URL"),
        ('{"layers": {}}', "layers: Expected `array`"),
        ('{"layers": [{"url": "s3://k:pw@h/b"}]}', "required field `name`"),
        ('{"merge_configurations": 5}', "must be a list"),
        ('{"merge_configurations": [[1]]}', "must be [timeout_sec"),
        ("{", "can't be understood"),
        ("\xff", "can't be understood"),
    ],
)
def test_a_wrong_configuration_file(cli: Cli, content: str, message: str) -> None:
    Path("c.json").write_bytes(content.encode("latin-1"))
    result = cli("--config", "c.json", "databases")
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert message in result.err
    assert "pw" not in result.err


def test_a_broken_toml_file(cli: Cli) -> None:
    Path("c.toml").write_text("catalog = ")
    result = cli("--config", "c.toml", "databases")
    assert result.code == 2
    assert "c.toml can't be understood" in result.err


@pytest.mark.parametrize("words", [["databases"], ["files", "db.t"], ["rm", "db.t", "x"]])
def test_a_missing_catalog_is_named_with_the_remedy(cli: Cli, words: list[str]) -> None:
    result = cli(*words)
    assert (result.code, result.out) == (1, "")
    assert "there is no catalog in this folder; name one with --catalog" in result.err
    result = cli(*words, "--catalog", "elsewhere")
    assert result.code == 1
    assert f"--catalog: there is no catalog at {Path('elsewhere', '.gigapi')}" in result.err
    assert not os.listdir(".")


def test_an_unreachable_server_is_one_line_without_its_password(cli: Cli) -> None:
    result = cli("--catalog", "redis://u:pw@127.0.0.1:1/0", "databases")
    assert (result.code, len(result.err.splitlines())) == (1, 1)
    assert "pw" not in result.err


def test_a_file_that_is_no_catalog(cli: Cli) -> None:
    Path("x.db").write_text("hello, this is no database at all" * 100)
    result = cli("--catalog", "x.db", "databases")
    assert (result.code, len(result.err.splitlines())) == (1, 1)
    assert "x.db" in result.err


@pytest.mark.parametrize("by_option", [True, False])
def test_a_bug_is_one_line_and_a_traceback_on_demand(
    cli: Cli, lake: list[str], monkeypatch: pytest.MonkeyPatch, by_option: bool
) -> None:
    def broken(self: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("gigapi_metadata.catalog.Catalog.databases", broken)
    result = cli("databases")
    assert result.code == 1
    assert result.err == (
        "gigapi-metadata: error: unexpected ZeroDivisionError: oops; --traceback shows where\n"
    )
    if not by_option:
        monkeypatch.setenv("GIGAPI_METADATA_TRACEBACK", "1")
    result = cli("databases", *["--traceback"][:by_option])
    assert result.code == 1
    assert "Traceback (most recent call last)" in result.err


def test_an_interrupt_is_one_line(
    cli: Cli, lake: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gigapi_metadata.catalog.Catalog.databases", interrupted)
    assert (cli("databases").code, cli("databases").err) == (130, "gigapi-metadata: interrupted\n")


def test_version_and_help(cli: Cli) -> None:
    assert cli("--version").out.startswith("gigapi-metadata 0.")
    assert cli("--help").code == 0
    assert "exit codes: 0 done" in cli("--help").out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--after", "-1h"], ["--after=-1h"]),
        (["files", "--before", "-1h", "x"], ["files", "--before=-1h", "x"]),
        (["--after", "--before", "-1h"], ["--after", "--before=-1h"]),
        (["--after", "-h"], ["--after", "-h"]),
        (["--", "--after", "-1h"], ["--", "--after", "-1h"]),
        (["--limit", "-1"], ["--limit", "-1"]),
    ],
)
def test_relative_times_need_no_equals_sign(words: list[str], expected: list[str]) -> None:
    assert joined(words) == expected


def test_messages_are_one_line_without_passwords() -> None:
    assert one_line("a\nb redis://u:pw@h/0, c") == "a b redis://u:***@h/0, c"


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert url_of("databases", environ={"GIGAPI_METADATA_URL": ""}) is None


def test_a_wrong_url_names_its_source(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGAPI_METADATA_URL", "foo://")
    assert "error: GIGAPI_METADATA_URL: foo:// is no kind" in cli("databases").err
