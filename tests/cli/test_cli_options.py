"""Which catalog, which configuration, and wrong usage: one line and exit code 2."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest
from cli_lab import Cli, write_lake

from gigapi_metadata import Layer
from gigapi_metadata.cli import context
from gigapi_metadata.cli.app import parser
from gigapi_metadata.cli.errors import one_line
from gigapi_metadata.cli.options import joined


def parsed(*words: str) -> argparse.Namespace:
    return parser().parse_args(list(words))


def url_of(*words: str, environ: dict[str, str] | None = None) -> str:
    """The URL that is configured, "" for none."""
    return context.settings(parsed(*words), environ or {}).catalog_url(default="")


def test_the_catalog_comes_from_the_nearest_place(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('catalog = "from-file"')
    environ = {"GIGAPI_METADATA_URL": "from-environment"}
    named = ["databases", "--config", str(config)]
    assert url_of(*named, "--catalog", "from-option", environ=environ) == "from-option"
    assert url_of(*named, environ=environ) == "from-environment"
    assert url_of(*named) == "from-file"
    assert url_of("databases") == ""


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
        ("odd=s3://h/b,c,ttl=0,type=s3", Layer("s3://h/b,c", "odd", "s3")),
    ],
)
def test_a_layer_is_read(text: str, layer: Layer) -> None:
    assert context.settings(parsed("--layers", text, "databases"), {}).layers == [layer]


def test_layers_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "layers.json"
    rows = [
        {"name": "a", "url": "/a", "ttl_sec": 5},
        {"name": "b", "url": "s3://b", "type": "s3", "ttl": "1h"},
    ]
    expected = [Layer("/a", "a", "fs", 5), Layer("s3://b", "b", "s3", 3600)]
    for content in (rows, {"layers": rows}):
        file.write_text(json.dumps(content))
        args = parsed("--layers", f"@{file}", "databases")
        assert context.settings(args, {}).layers == expected


def test_merge_configurations() -> None:
    def rows(*words: str, **environ: str) -> list[list[int]]:
        found = context.settings(parsed(*words, "databases"), environ).merge_configurations
        return [[row.timeout_sec, row.max_size, row.iteration] for row in found]

    mib = 1 << 20
    ladder = [[2, 100 * mib, 1], [20, 400 * mib, 2], [200, 4000 * mib, 3], [840, 4000 * mib, 4]]
    assert rows(GIGAPI_MERGE_TIMEOUT_S="2") == ladder
    assert rows()[0] == [10, 100 * mib, 1]
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
        (["--catalog", "", "databases"], "error: argument --catalog is ''; it must be redis://, "),
        (["--catalog", "a\nb", "databases"], "error: argument --catalog is 'a\\nb'; it must be"),
        (
            ["--catalog", "foo://u:pw@x", "databases"],
            "error: argument --catalog is 'foo://u:***@x'; it must be redis://, rediss://, "
            "valkey://, valkeys://, unix://, redis+sentinel://, redis+cluster://, "
            "sqlite:///lake.db, json:///folder or the path of a",
        ),
        (
            ["--catalog", "redis://u:pw@h:x/0", "databases"],
            "error: argument --catalog: redis://u:***@h:x/0",
        ),
        (
            ["--catalog", "sqlite://", "databases"],
            "error: argument --catalog: sqlite:// names no file; write sqlite:///lake.db",
        ),
        (
            ["--layers", "hot", "databases"],
            "argument --layers is 'hot'; it must be NAME=URL[,ttl=10m], such as hot=file:///data",
        ),
        (["--layers", "hot=", "databases"], "argument --layers is 'hot='; it must be NAME=URL"),
        (
            ["--layers", "hot=/x,ttl=soon", "databases"],
            "argument --layers: layer 'hot': ttl is 'soon'; it must be a Go duration, such as 90s",
        ),
        (
            ["--layers", "hot=/x,ttl=1,ttl=2", "databases"],
            "argument --layers: layer 'hot': ttl is there twice",
        ),
        (
            ["--layers", "hot=/x,type=tape", "databases"],
            "argument --layers: layer 'hot': type is 'tape'; it must be fs or s3",
        ),
        (
            ["--layers", "hot=/x,type=s3", "databases"],
            "argument --layers: layer 'hot': type is s3, but url is no s3:// URL: '/x'",
        ),
        (
            ["--layers", "hot=http://u:pw@h/b", "databases"],
            "argument --layers: layer 'hot': url is 'http://u:***@h/b'; it must be s3://…, file://",
        ),
        (
            ["--layers", "hot=s3://k:pw/x@h/b", "databases"],
            "layer 'hot': url is 's3://***:***@h/b'; it must be s3://host:port/bucket/prefix, wh",
        ),
        (
            ["--layers", "a=/x", "--layers", "a=/y", "databases"],
            "argument --layers: two layers are named 'a'",
        ),
        (["--layers", "a:b=s3://k:pw@h/b", "databases"], "argument --layers: layer name 'a:b'"),
        (["--layers", "s3://k:pw@h/b?x=1", "databases"], "'s3://***:***@h/b?x=1'; it must be NAME"),
        (["--layers", "@missing.json", "databases"], "--layers: @missing.json: No such file"),
        (["--merge", "10s", "databases"], "argument --merge: '10s' must be TIMEOUT,SIZE such as"),
        (
            ["--merge", "10s,lots", "databases"],
            "argument --merge: size 'lots' must be a number of bytes, or text such as 100MiB",
        ),
        (
            ["--merge", "soon,1MiB", "databases"],
            "argument --merge: duration 'soon' must be a Go duration, such as 90s",
        ),
        (["--merge", "99999999999,1MiB", "databases"], "argument --merge: duration '99999999999s'"),
        (["--merge", "1,1", "--merge", "none", "databases"], "argument --merge: 'none' must be"),
        (["--config", "", "databases"], "argument --config is ''; it must be a file's name, such"),
        (["--config", "missing.toml", "databases"], "file 'missing.toml': No such file"),
        (["--config", ".", "databases"], "configuration file '.': Is a directory"),
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
        ("[1]", "c.json holds a list; it must hold keys, such as gigapi.root"),
        ('{"catlog": "x"}', "c.json: catlog is no setting; did you mean catalog?"),
        ('{"catalog": 5}', "c.json: catalog is 5; it must be redis://, rediss://, valkey://"),
        ('{"catalog": "x://u:pw@h"}', "c.json: catalog is 'x://u:***@h'; it must be redis://"),
        ('{"layers": {}}', "c.json: layers: layers must be a list of layers, each with name and"),
        ('{"layers": [{"url": "s3://k:pw@h/b"}]}', "c.json: layers[0].name is missing: each layer"),
        ('{"merge_configurations": 5}', "c.json: merge_configurations is 5; it must be a list of"),
        (
            '{"merge_configurations": [[1]]}',
            "c.json: merge_configurations[0] is a list; it must be a row [timeout, size, ite",
        ),
        ('{"catalog": "redis://u:pw@h', "c.json is not valid JSON: line 1 column 13"),
        ("\xff", "c.json is not UTF-8 (byte 1); save it as UTF-8"),
    ],
)
def test_a_wrong_configuration_file(cli: Cli, content: str, message: str) -> None:
    Path("c.json").write_bytes(content.encode("latin-1"))
    result = cli("--config", "c.json", "databases")
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith(f"gigapi-metadata: error: {message}")
    assert "pw" not in result.err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("c.toml", "c.toml is not valid TOML: end of document"),
        ("c.yaml", "c.yaml is not valid YAML: line 1, column 11"),
        ("c.ini", "c.ini: the name must end in .yaml, .yml, .toml, .json"),
    ],
)
def test_a_broken_file_of_another_kind(cli: Cli, name: str, message: str) -> None:
    Path(name).write_text("catalog = " if name == "c.toml" else "catalog: {")
    result = cli("--config", name, "databases")
    assert (result.code, result.out, len(result.err.splitlines())) == (2, "", 1)
    assert result.err.startswith(f"gigapi-metadata: error: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", " is not valid JSON: "),
        ("5", " must hold a list of layers, each with name and url"),
        ("[{}]", " must hold a list of layers, each with name and url"),
        ('[{"name": "a"}]', ": layers[0].url is missing: each layer must have the place of its"),
        ('[{"name": "a", "url": 5}]', ": layers[0].url is 5; it must be a URL or the path of"),
        (
            '[{"name": "a", "url": "/a", "ttl": "soon"}]',
            ": layers[0].ttl is 'soon'; it must be a Go duration, such as 90s",
        ),
        (
            '[{"name": "a", "url": "/a", "ttl_secs": 5}]',
            ": layers[0].ttl_secs is no setting; known are name, url, type, ttl, ttl_sec",
        ),
        ('[{"name": "a", "url": "x://u:pw@h"}]', ": layers[0].url is 'x://u:***@h'; it must be"),
    ],
)
def test_a_wrong_file_of_layers(cli: Cli, content: str, message: str) -> None:
    Path("l.json").write_text(content)
    result = cli("--layers", "@l.json", "databases")
    assert (result.code, result.out, len(result.err.splitlines())) == (2, "", 1)
    assert result.err.startswith(f"gigapi-metadata: error: argument --layers: @l.json{message}")
    assert "pw" not in result.err


def test_layers_alone_do_not_choose_the_catalog(cli: Cli) -> None:
    """The SQLite catalog of the folder worked on is meant; layers of the environment do choose."""
    assert url_of("--layers", "a=/a", "databases") == ""
    environ = {"GIGAPI_LAYERS_0_NAME": "a", "GIGAPI_LAYERS_0_URL": "file:///a"}
    assert url_of("databases", environ=environ) == "json:///a"
    assert url_of("databases", environ={"GIGAPI_ROOT": "/lake"}) == "json:///lake"
    write_lake(Path("lake"))
    assert cli("scan", "lake", "--layers", "a=./lake").code == 0
    assert Path("lake", ".gigapi", "catalog.db").is_file()


@pytest.mark.parametrize("words", [["databases"], ["files", "db.t"], ["rm", "db.t", "x"]])
def test_a_missing_catalog_is_named_with_the_remedy(cli: Cli, words: list[str]) -> None:
    result = cli(*words)
    assert (result.code, result.out) == (1, "")
    assert "there is no catalog in this folder; name one with --catalog" in result.err
    result = cli(*words, "--catalog", "elsewhere")
    assert result.code == 1
    place = Path("elsewhere", ".gigapi", "catalog.db")
    assert f"error: argument --catalog: there is no catalog at {place}; the" in result.err
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
    assert url_of("databases", environ={"GIGAPI_METADATA_URL": ""}) == ""


def test_a_wrong_url_names_its_source(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGAPI_METADATA_URL", "foo://")
    result = cli("databases")
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert "error: GIGAPI_METADATA_URL is 'foo://'; it must be redis://" in result.err
    monkeypatch.setenv("GIGAPI_METADATA_URL", "sqlite://")
    message = "error: environment: GIGAPI_METADATA_URL: sqlite:// names no file; write sqlite:///"
    assert message in cli("databases").err
    monkeypatch.setenv("GIGAPI_METADATA_URL", "elsewhere")
    assert (
        "error: environment: GIGAPI_METADATA_URL: there is no catalog at" in cli("tables", "d").err
    )
    monkeypatch.delenv("GIGAPI_METADATA_URL")
    Path("c.toml").write_text("catalog = 'elsewhere'")
    result = cli("databases", "--config", "c.toml")
    assert "error: file: c.toml: catalog: there is no catalog at elsewhere" in result.err


def test_half_a_catalog(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGAPI_METADATA_TYPE", "redis")
    for words in (["databases"], ["config"]):
        result = cli(*words)
        assert (result.code, result.out, len(result.err.splitlines())) == (2, "", 1)
        assert "GIGAPI_METADATA_URL is missing: GIGAPI_METADATA_TYPE is redis" in result.err
        assert "such as redis://localhost:6379/0" in result.err
