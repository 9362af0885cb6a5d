"""requirements/lock.txt: what `make venv LOCKED=1` installs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def test_all_that_pyproject_asks_for_is_pinned_and_new_enough() -> None:
    lock = (ROOT / "requirements" / "lock.txt").read_text()
    pinned = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;]+)", lock, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = [each for group in groups for each in group if _name(each) != project["name"]]
    assert len(wanted) > 10
    assert {_name(each) for each in wanted} - set(pinned) == set(), "run `make lock`"
    for each in wanted:
        least = re.search(r">=([\d.]+)", each)
        if least is not None:
            assert _version(pinned[_name(each)]) >= _version(least[1]), f"{each}: run `make lock`"
    assert lock.count("--hash=sha256:") >= len(pinned)
