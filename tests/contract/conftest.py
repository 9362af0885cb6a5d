"""What holds for each request that the contract suite makes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gigapi_metadata.stores.redis import packing


@pytest.fixture(autouse=True)
def only_texts_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """hiredis is given no numbers: it crashes Python when it is interrupted at making them text."""
    plain = packing.hiredis.pack_command

    def checked(arguments: tuple[Any, ...]) -> bytes:
        assert {type(each) for each in arguments} <= {str, bytes}, arguments
        return plain(arguments)

    monkeypatch.setattr(packing, "hiredis", SimpleNamespace(pack_command=checked))
