"""docs/cli.md and the program describe the same commands and options."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
from cli_lab import Cli

from gigapi_metadata.cli.app import parser

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()
COMMANDS: dict[str, argparse.ArgumentParser] = parser().commands.choices


def options(command: argparse.ArgumentParser) -> set[str]:
    return {
        flag
        for action in command._actions
        for flag in action.option_strings
        if flag.startswith("--")
    }


COMMON = options(parser())


def usages() -> dict[str, str]:
    """Command -> its usage in the docs."""
    found = {}
    for block in re.findall(r"```\n(gigapi-metadata .*?)```", DOCS, re.DOTALL):
        for usage in re.split(r"^gigapi-metadata ", block, flags=re.MULTILINE)[1:]:
            found[usage.split()[0]] = usage
    return found


def test_every_command_is_described() -> None:
    assert set(usages()) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described_and_no_other(name: str) -> None:
    own = options(COMMANDS[name]) - COMMON
    assert set(re.findall(r"--[a-z-]+", usages()[name])) == own
    for action in COMMANDS[name]._actions:
        if not action.option_strings:
            assert str(action.metavar) in usages()[name]


def test_every_common_option_is_described() -> None:
    table = DOCS.partition("## What every command has in common")[2].partition("**Which")[0]
    assert set(re.findall(r"^\| `(--[a-z]+)", table, re.MULTILINE)) == COMMON


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_everything(cli: Cli, name: str) -> None:
    result = cli(name, "--help")
    assert (result.code, result.err) == (0, "")
    assert all(len(line) <= 100 for line in result.lines)
    for action in COMMANDS[name]._actions:
        assert action.help


def test_the_json_fields_are_described() -> None:
    from scanning import SUMMARY_FIELDS
    from test_cli_commands import ENTRY_FIELDS, PLAN_FIELDS
    from test_cli_config import FIELDS as SETTING_FIELDS
    from test_cli_demo import FIELDS

    json = DOCS.partition("## JSON")[2]
    for fields in (ENTRY_FIELDS, PLAN_FIELDS, FIELDS, SUMMARY_FIELDS, SETTING_FIELDS):
        assert not [name for name in fields if f'"{name}"' not in json]


def test_every_variable_is_named() -> None:
    from gigapi_metadata.config.files import LAYER_FIELDS
    from gigapi_metadata.config.loading import _VARIABLES

    paragraph = DOCS.partition("**Variables.**")[2].partition("\n\n")[0]
    named = re.findall(r"`(GIGAPI_\w+)`", paragraph)
    assert named == list(_VARIABLES.values())
    layer = [field.upper().replace(".", "_") for field in LAYER_FIELDS]
    for field in layer:
        assert re.search(rf"`(GIGAPI_LAYERS_<i>|…)_{field}`", paragraph)


def test_the_example_of_config(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.search(
        r"```console\n\$ (GIGAPI_.*) gigapi-metadata (config.*)\n((?:.*\n)*?)```", DOCS
    )
    assert example
    for variable in example[1].split():
        monkeypatch.setenv(*variable.split("=", 1))
    result = cli(*example[2].split())
    assert result.out + result.err == example[3]


@pytest.mark.parametrize("code", range(4))
def test_the_exit_codes_are_described(code: int) -> None:
    assert f"\n| {code} | " in DOCS
