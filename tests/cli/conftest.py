"""The command line, called as a user would, and a lake for it to work on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cli_lab import Cli, Result, write_lake

from gigapi_metadata.cli import main


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test works in a folder of its own, without anybody's settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GIGAPI_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process."""

    def run(*words: object) -> Result:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def lake(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A scanned lake, as the working folder; its paths."""
    root = tmp_path / "lake"
    paths = write_lake(root)
    monkeypatch.chdir(root)
    assert cli("scan", ".").code == 0
    return paths
