"""Whatever a Redis catalog writes: each verb one script call, under a receipt.

A write that is sent twice is carried out once. One whose answer never came is remembered by the
client (unsettled.py): what it has done is not done again, and a plan goes on under the lease that
it gave.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from gigapi_metadata.errors import (
    Conflict,
    CorruptState,
    LeaseLost,
    MetadataError,
    OutcomeUnknown,
    Unavailable,
)
from gigapi_metadata.model import DropPlan, IndexEntry, MergePlan, MovePlan, Plan, QueuedPlan
from gigapi_metadata.names import dir_of
from gigapi_metadata.planning import Rules
from gigapi_metadata.stores.base import Change, QueueRef, Steps, TableRef
from gigapi_metadata.stores.redis import keys
from gigapi_metadata.stores.redis.commit import commit_call
from gigapi_metadata.stores.redis.durability import Confirm, Durability
from gigapi_metadata.stores.redis.importing import import_job
from gigapi_metadata.stores.redis.queues import plans_from, queue_of
from gigapi_metadata.stores.redis.scripts import (
    COMMIT,
    IMPORT,
    LEASE,
    RELEASE,
    RENEW,
    RETRY,
    SETTLE,
    Call,
    Script,
)
from gigapi_metadata.stores.redis.session import LEASE_RECEIPT_S, RECEIPT_S, Session
from gigapi_metadata.stores.redis.unsettled import Key, Ticket

PlanT = TypeVar("PlanT", bound=MergePlan | MovePlan | DropPlan)

_pack = msgspec.msgpack.Encoder().encode


class RedisWrites:
    """The writing verbs of RedisStore."""

    _session: Session
    _durability: Durability | None

    def commit(self, table: TableRef, change: Change, rules: Rules) -> Steps[None]:
        """See `Store.commit`. One script call, whatever the size.

        After OutcomeUnknown, what that write has done to a file is not done to it again, in
        whatever change it is repeated. The end of a plan needs no such memory: the server keeps one
        for longer (COMPLETION_MEMORY_S).
        """
        if change.ends is not None:
            held = yield from self._held(table, change.ends)
            yield from self._commit(table, msgspec.structs.replace(change, ends=held), rules)
            return
        rest = yield from self._not_done(table, change)
        if rest.add or rest.remove:
            yield from self._commit(table, rest, rules)
        if self._session.unsettled:
            self._session.unsettled.forget(_files(table, change))

    def _commit(self, table: TableRef, change: Change, rules: Rules) -> Steps[None]:
        call = commit_call(table, change, rules)
        about = None if change.ends is not None else lambda: _files(table, change)
        outcome, *missing = yield from self._write(COMMIT, table, *call, durable=True, about=about)
        if outcome == b"LOST":
            raise lease_lost(change.ends)
        if outcome == b"GONE":
            raise Conflict(
                f"{missing[0].decode()!r} is no longer in {table.database}.{table.table}: "
                "it was removed or changed its layer after the plan was handed out; nothing was "
                "changed"
            )

    def _not_done(self, table: TableRef, change: Change) -> Steps[Change]:
        """What of `change` is left to do after the writes of unknown outcome about its files. Those
        are settled by then, also the ones that did something else."""
        unsettled = self._session.unsettled
        if not unsettled:
            return change
        files = _files(table, change)
        known = unsettled.find(files)
        made: dict[Ticket, bool] = {}
        for write in known.values():
            if write.ticket not in made:
                answer = yield from self._settle(table, write.ticket, durable=True)
                made[write.ticket] = answer is not None
        done = {
            key for key, write in known.items() if made[write.ticket] and write.what == files[key]
        }
        if not done:
            return change
        return Change(
            [entry for entry in change.add if _file(table, entry.path) not in done],
            [path for path in change.remove if _file(table, path) not in done],
        )

    def lease(
        self, table: TableRef, queue: QueueRef, lease_s: int, limit: int
    ) -> Steps[list[Plan]]:
        """See `Store.lease`. One script call. What this client was given before in an answer that
        never came is given back first."""
        yield from self._give_back(table, queue)
        tail = ""
        if queue.kind == "merge":
            head, tail = keys.merge_queue(
                table, queue.iteration, "\n", queue.layer, queue.writer_id
            ).split("\n")
        elif queue.kind == "move":
            head = keys.move_queue(table, queue.layer, queue.writer_id)
        else:
            head = keys.drop_queue(table, queue.layer, queue.writer_id)
        found_in = [
            keys.folders(table),
            keys.attempts(table),
            keys.targets(table),
            keys.dropping(table),
            keys.ended(table),
        ]
        if queue.kind == "merge":
            of = (queue.iteration, queue.layer, queue.writer_id)
            found_in += (keys.ready(table, *of), keys.looked(table, *of))
        elif queue.kind == "drop":
            found_in += (keys.noted(table), keys.indexed(table))
        job = {
            "kind": queue.kind,
            "layer": queue.layer,
            "seconds": lease_s,
            "limit": limit,
            "head": head,
            "tail": tail,
            "files": keys.files(table, ""),
            "place": f"{queue.layer}:{queue.writer_id}",
            "receipt_s": min(max(lease_s, LEASE_RECEIPT_S), RECEIPT_S),
        }
        reply = b"AGAIN"
        while reply == b"AGAIN":
            reply = yield from self._write(
                LEASE, table, found_in, job, about=lambda: {_asked(table, queue): None}
            )
        return plans_from(table, queue, reply)

    def _give_back(self, table: TableRef, queue: QueueRef) -> Steps[None]:
        about = _asked(table, queue)
        reply = yield from self._outcome(table, about)
        if reply is None:
            return
        plans: list[Plan] = []
        with suppress(CorruptState):
            plans = plans_from(table, queue, reply)
        for plan in plans:
            with suppress(LeaseLost):
                yield from self.release(table, plan, None, 0)
        self._session.unsettled.forget([about])

    def renew(self, table: TableRef, plan: PlanT, lease_s: int) -> Steps[PlanT]:
        """See `Store.renew`."""
        plan = yield from self._held(table, plan)
        job = {"id": plan.id, "lease_s": plan.lease_s, "seconds": lease_s}
        held = [keys.processing(queue_of(table, plan)), keys.attempts(table)]
        about = _lease("renew", table, plan)
        reply = yield from self._write(RENEW, table, held, job, about=lambda: {about: None})
        if reply == b"LOST":
            raise lease_lost(plan)
        return msgspec.structs.replace(plan, lease_s=int(reply))

    def _held(self, table: TableRef, plan: PlanT) -> Steps[PlanT]:
        """`plan` under the lease that renewals of unknown outcome have given it."""
        while True:
            reply = yield from self._outcome(table, _lease("renew", table, plan))
            if reply is None or int(reply) == plan.lease_s:
                return plan
            plan = msgspec.structs.replace(plan, lease_s=int(reply))

    def release(self, table: TableRef, plan: Plan, error: str | None, delay_s: int) -> Steps[None]:
        """See `Store.release`."""
        plan = yield from self._held(table, plan)
        about = _lease("release", table, plan)
        done = yield from self._outcome(table, about)
        if done is not None:
            self._session.unsettled.forget([about])
            return
        queue = queue_of(table, plan)
        job: dict[str, Any] = {"id": plan.id, "lease_s": plan.lease_s, "delay_s": delay_s}
        if error is not None:
            job["error"] = error
        held = [keys.processing(queue), keys.idle(queue), keys.attempts(table)]
        if isinstance(plan, MergePlan):
            job["dir"] = dir_of(plan.path_to)
            held.append(keys.ready(table, plan.iteration, plan.layer, plan.writer_id))
        reply = yield from self._write(RELEASE, table, held, job, about=lambda: {about: None})
        if reply == b"LOST":
            raise lease_lost(plan)

    def retry(self, table: TableRef, plan: QueuedPlan) -> Steps[bool]:
        """See `Store.retry`."""
        job: dict[str, Any] = {"id": plan.id}
        of = (plan.layer, plan.writer_id)
        if plan.kind == "merge":
            queue = keys.merge_queue(table, plan.iteration, plan.dir, *of)
        elif plan.kind == "move":
            queue = keys.move_queue(table, *of)
        else:
            queue = keys.drop_queue(table, *of)
        found_in = [keys.processing(queue), keys.idle(queue), keys.attempts(table)]
        if plan.kind == "merge":
            job["dir"] = plan.dir
            found_in.append(keys.ready(table, plan.iteration, *of))
        elif plan.kind == "drop":
            job["dropped"] = f"{plan.layer}:{plan.paths[0]}"
            found_in.append(keys.dropping(table))
        reply = yield from self._write(RETRY, table, found_in, job)
        return bool(reply == b"OK")

    def import_plans(self, table: TableRef, plans: Sequence[QueuedPlan]) -> Steps[int]:
        """See `Store.import_plans`. One script call."""
        script_keys, job = import_job(table, plans)
        return int((yield from self._write(IMPORT, table, script_keys, job, durable=True)))

    # Receipts

    def _write(
        self,
        script: Script,
        table: TableRef,
        script_keys: Sequence[str],
        job: dict[str, Any],
        arguments: Collection[bytes] = (),
        *,
        durable: bool = False,
        ticket: Ticket | None = None,
        about: Callable[[], Mapping[Key, Any]] | None = None,
    ) -> Steps[Any]:
        """Call a script under a receipt: sent twice, it is carried out once.

        durable: it counts only when it is as safe as asked.
        ticket: of the earlier write that it is about.
        about: what to remember of it when nobody knows whether it was carried out: its answer never
            came, or whoever waited for that was interrupted.
        """
        receipts = self._session.receipts
        used = ticket or receipts.take()
        client, slot, token, _ = used
        job = {"receipt_s": RECEIPT_S, **job, "token": token}
        receipt = keys.receipt(table, client, slot)
        confirm = None
        if durable and self._durability is not None:
            confirm = Confirm(self._durability, (receipt, token, RECEIPT_S))
        try:
            answer = yield Call(script, [receipt, *script_keys], _pack(job), arguments, confirm)
            receipts.give_back(client, slot, receipt, reusable=ticket is None)
            return answer
        except BaseException as fault:
            unknown = isinstance(fault, OutcomeUnknown) or not isinstance(fault, MetadataError)
            if unknown and about is not None:
                receipts.withhold(slot)
                self._session.unsettled.add(about(), used)
            raise

    def _settle(
        self, table: TableRef, ticket: Ticket, *, durable: bool = False
    ) -> Steps[bytes | None]:
        """The answer to an earlier write; None: it was not made, and never will be.

        Raises:
            OutcomeUnknown: it can't be said yet, also if no more than that could be asked.
        """
        try:
            answer: bytes = yield from self._write(
                SETTLE, table, (), {}, durable=durable, ticket=ticket
            )
        except Unavailable as fault:
            raise OutcomeUnknown(
                f"{fault}; an earlier write may have happened. Repeating the same call is safe."
            ) from fault
        if answer != b"VOID":
            return answer
        self._session.unsettled.forget_write(ticket)
        return None

    def _outcome(self, table: TableRef, about: Key) -> Steps[bytes | None]:
        """The answer to the write of unknown outcome about this; None if there is none."""
        write = self._session.unsettled.find([about]).get(about)
        return None if write is None else (yield from self._settle(table, write.ticket))


def _file(table: TableRef, path: str) -> Key:
    return ("file", table, path)


def _files(table: TableRef, change: Change) -> dict[Key, IndexEntry | None]:
    """What a change does to each of its files: the entry that it gets, or None."""
    files: dict[Key, IndexEntry | None] = {_file(table, path): None for path in change.remove}
    files.update((_file(table, entry.path), entry) for entry in change.add)
    return files


def _lease(verb: str, table: TableRef, plan: Plan) -> Key:
    return (verb, queue_of(table, plan), plan.id, plan.lease_s)


def _asked(table: TableRef, queue: QueueRef) -> Key:
    return ("lease", table, queue)


def lease_lost(plan: Plan | None) -> LeaseLost:
    """The error of a plan that is no longer held."""
    name = "" if plan is None else f" {plan.id}"
    return LeaseLost(
        f"plan{name} is no longer held under this lease: it ran out and someone else has the plan, "
        "or it was given back or ended; nothing was changed"
    )
