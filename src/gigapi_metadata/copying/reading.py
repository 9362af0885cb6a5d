"""Reading a table a day at a time, so that no more than a day is held in memory."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from gigapi_metadata.index.sync import Index
from gigapi_metadata.model import IndexEntry, QueuedPlan
from gigapi_metadata.names import day_of

_IDS = uuid.UUID("c6f0a9be-6a3c-5d0e-9d59-8a3b1f5f2c44")


def days_of(index: Index[Any]) -> list[str]:
    """The first folders that hold files, sorted; "" stands for files without a folder."""
    return sorted({day_of(dir) for dir in index.paths()})


def entries_of(index: Index[Any], day: str) -> list[IndexEntry]:
    """The entries below one of `days_of`, by (min_time, path)."""
    if day:
        return index.query(folder=f"{day}/")
    return [entry for entry in index.query() if "/" not in entry.path]


def plans_of(index: Index[Any]) -> list[QueuedPlan]:
    """The plans of a table, in their queues' order: those that could ever be carried out.

    GigAPI hands the same id to different plans; all but the first get one made from id and path.
    """
    return list(_distinct(index.plans()))


def _distinct(plans: Iterable[QueuedPlan]) -> Iterator[QueuedPlan]:
    seen: dict[tuple[str, str], str] = {}
    for plan in plans:
        if not plan.paths or not plan.paths[0]:
            continue  # it names no file
        first = plan.paths[0]
        if plan.id and seen.setdefault((plan.kind, plan.id), first) == first:
            yield plan
        else:
            id = uuid.uuid5(_IDS, f"{plan.kind}\n{plan.id}\n{first}")
            yield msgspec.structs.replace(plan, id=str(id))
