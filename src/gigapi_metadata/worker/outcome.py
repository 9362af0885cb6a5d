"""What became of a job: for a line in a log, a JSON line, a progress display."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from gigapi_metadata.model import DropPlan, MergePlan, MovePlan, Plan, PlanKind

Status = Literal["done", "failed", "set aside", "lost", "given back"]


class Work(msgspec.Struct):
    """What a job has done so far. Bytes are those of data files."""

    files_in: int = 0
    bytes_in: int = 0
    rows: int = 0
    bytes_out: int = 0
    path: str = ""
    layer_to: str = ""
    note: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """A finished job. Of a merge that was not done, `work.path` is the folder, ending in a slash.

    status: "done"; "failed", to be tried again in `delay_s` seconds; "set aside", until `retry`;
        "lost", another worker has the plan; "given back", nobody's fault: the worker is stopping,
        or the files have changed under the plan.
    """

    kind: PlanKind
    database: str
    table: str
    layer: str
    writer_id: str
    plan: str
    status: Status
    seconds: float
    work: Work
    error: str = ""
    attempts: int = 0
    delay_s: int = 0

    def as_dict(self) -> dict[str, Any]:
        """One flat JSON object."""
        flat: dict[str, Any] = msgspec.to_builtins(self)
        flat["seconds"] = round(self.seconds, 3)
        flat.update(flat.pop("work"))
        return flat

    def line(self) -> str:
        """For people: what was done, on what, how much and how long."""
        work = self.work
        where = f"{self.database}.{self.table}" + (f" [{self.layer}]" if self.layer else "")
        parts = [f"{self.kind:<5} {self.status:<10} {where} {work.path}".rstrip()]
        if self.status == "done" and self.kind == "merge":
            parts.append(
                f"{count(work.files_in, 'file')}, {size(work.bytes_in)} -> {size(work.bytes_out)}, "
                f"{count(work.rows, 'row')}"
            )
        elif self.status == "done" and work.bytes_in:
            parts.append(size(work.bytes_in) + (f" -> {work.layer_to}" if work.layer_to else ""))
        parts.append(f"{self.seconds:.2f} s")
        if work.note:
            parts.append(work.note)
        if self.error:
            parts.append(self.error)
        if self.status == "failed":
            parts.append(f"attempt {self.attempts}, again in {self.delay_s} s")
        elif self.status == "set aside":
            parts.append(f"attempt {self.attempts}, left until you retry it: {self.plan}")
        return "  ".join(parts)


def kind_of(plan: Plan) -> PlanKind:
    """Which kind of plan it is."""
    if isinstance(plan, MergePlan):
        return "merge"
    return "move" if isinstance(plan, MovePlan) else "drop"


def layer_of(plan: Plan) -> str:
    """The layer that the plan's files are in."""
    return plan.layer_from if isinstance(plan, MovePlan) else plan.layer


def paths_of(plan: Plan) -> list[str]:
    """The files that the plan is about."""
    if isinstance(plan, MergePlan):
        return plan.paths_from
    return [plan.path if isinstance(plan, DropPlan) else plan.path_from]


def count(number: int, thing: str) -> str:
    """`1 file`, `2000 files`."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def size(count: int) -> str:
    """A number of bytes for people."""
    number = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
