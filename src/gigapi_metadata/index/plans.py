"""What an index does about plans, blocking and awaitable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, cast

from gigapi_metadata.index.base import AsyncConnectionT, AsyncShell, ConnectionT, Shell
from gigapi_metadata.index.verbs import TableVerbs
from gigapi_metadata.model import DropPlan, IndexEntry, MergePlan, MovePlan, Plan, QueuedPlan
from gigapi_metadata.stores.base import QueueRef

PlanT = TypeVar("PlanT", MergePlan, MovePlan, DropPlan)


class Plans(Shell[ConnectionT]):
    """The part of `Index` that is about plans."""

    _verbs: TableVerbs

    def get_merge_plan(
        self, writer_id: str, layer: str, iteration: int, *, lease_s: int | None = None
    ) -> MergePlan | None:
        """The first merge that is due, over all folders in order, held for `lease_s` seconds
        (the index's own lease when None). None when nothing is due.

        The plan names files that are there now. Its holder merges them into `plan.path_to`, a name
        that is the same in every attempt at this plan, and calls `complete_merge`.
        """
        queue = QueueRef("merge", layer, writer_id, iteration)
        return cast("MergePlan | None", self._run(self._verbs.lease(queue, lease_s)))

    def get_merge_plans(
        self,
        writer_id: str,
        layer: str,
        iteration: int,
        *,
        limit: int,
        lease_s: int | None = None,
    ) -> list[MergePlan]:
        """As `get_merge_plan`, up to `limit` plans; on Redis in one call. Empty when nothing is
        due."""
        queue = QueueRef("merge", layer, writer_id, iteration)
        return cast("list[MergePlan]", self._run(self._verbs.lease_several(queue, lease_s, limit)))

    def end_merge(self, plan: MergePlan) -> None:
        """End a merge whose result was registered with `batch`. `complete_merge` does both at once.

        Raises:
            LeaseLost: the plan is not held under this lease. Ending it again has no effect.
        """
        self._run(self._verbs.end(plan, MergePlan))

    def complete_merge(self, plan: MergePlan, merged_entry: IndexEntry) -> None:
        """Register a merge's result: adds it, removes the sources, schedules their deletion, ends
        the plan. One atomic step; again after success it has no effect.

        Raises:
            LeaseLost: the plan is not held under this lease: throw the result away.
            Conflict: a source was removed since: throw the result away and release the plan.
            InvalidEntry: the entry is not of `plan.path_to`.
        """
        self._run(self._verbs.complete_merge(plan, merged_entry))

    def get_move_plan(
        self, writer_id: str, layer: str, *, lease_s: int | None = None
    ) -> MovePlan | None:
        """The first file whose time in `layer` has run out, held as in `get_merge_plan`."""
        queue = QueueRef("move", layer, writer_id)
        return cast("MovePlan | None", self._run(self._verbs.lease(queue, lease_s)))

    def end_move(self, plan: MovePlan) -> None:
        """As `end_merge`, for a move."""
        self._run(self._verbs.end(plan, MovePlan))

    def complete_move(self, plan: MovePlan, moved_entry: IndexEntry | None) -> None:
        """As `complete_merge`, for a move. `moved_entry` is None for a file that has expired
        (`plan.layer_to` is "")."""
        self._run(self._verbs.complete_move(plan, moved_entry))

    def get_drop_queue(
        self, writer_id: str, layer: str, *, lease_s: int | None = None
    ) -> DropPlan | None:
        """The first file that may be deleted now, held as in `get_merge_plan`. Its grace is over
        and no entry names it."""
        queue = QueueRef("drop", layer, writer_id)
        return cast("DropPlan | None", self._run(self._verbs.lease(queue, lease_s)))

    def rm_from_drop_queue(self, plan: DropPlan) -> None:
        """As `end_merge`, for a file that has been deleted."""
        self._run(self._verbs.end(plan, DropPlan))

    def renew(self, plan: PlanT, *, lease_s: int | None = None) -> PlanT:
        """The same plan under a lease that lasts at least `lease_s` seconds from now. The plan
        passed in must not be used any more.

        Raises:
            LeaseLost: the plan is not held under this lease.
        """
        return cast(PlanT, self._run(self._verbs.renew(plan, lease_s)))

    def release(self, plan: Plan, error: str | None = None, *, delay_s: int = 0) -> None:
        """Give the plan back, to be had again `delay_s` seconds from now. With `error`, an attempt
        is counted and its reason kept, for `plans` to show.

        Raises:
            LeaseLost: the plan is not held under this lease.
        """
        self._run(self._verbs.release(plan, error, delay_s))

    def retry(self, plan: QueuedPlan) -> bool:
        """Make a plan due now, one of `plans`, that waits or was given back with a delay, and
        forget its attempts. It goes to the head of its queue. False, and nothing is changed, if
        somebody holds it or it is gone."""
        return self._run(self._verbs.retry(plan))

    def plans(self) -> list[QueuedPlan]:
        """Every plan of the table, waiting or leased. For people: Redis scans its keys for it."""
        return self._run(self._verbs.plans())

    def import_plans(self, plans: Iterable[QueuedPlan]) -> int:
        """Queue plans that another catalog's `plans` listed; leased ones as well, to wait until
        their lease would have ended. Those that are there already, told by their id in their
        queue, are left alone. All of it or nothing; safe to repeat.

        Returns:
            How many were new.

        Raises:
            InvalidEntry: one of them is no plan that could be carried out.
            UnknownLayer: a JSON catalog was not told the folder of one's layer.
        """
        return self._run(self._verbs.import_plans(plans))

    def queues(self) -> list[QueueRef]:
        """The queues that hold plans: their kind, layer, writer and, for merges, iteration. Redis
        scans its keys for it."""
        return self._run(self._verbs.queues())


class AsyncPlans(AsyncShell[AsyncConnectionT]):
    """As Plans, awaitable."""

    _verbs: TableVerbs

    async def get_merge_plan(
        self, writer_id: str, layer: str, iteration: int, *, lease_s: int | None = None
    ) -> MergePlan | None:
        """See `Index.get_merge_plan`."""
        queue = QueueRef("merge", layer, writer_id, iteration)
        return cast("MergePlan | None", await self._run(self._verbs.lease(queue, lease_s)))

    async def get_merge_plans(
        self,
        writer_id: str,
        layer: str,
        iteration: int,
        *,
        limit: int,
        lease_s: int | None = None,
    ) -> list[MergePlan]:
        """See `Index.get_merge_plans`."""
        queue = QueueRef("merge", layer, writer_id, iteration)
        return cast(
            "list[MergePlan]", await self._run(self._verbs.lease_several(queue, lease_s, limit))
        )

    async def end_merge(self, plan: MergePlan) -> None:
        """See `Index.end_merge`."""
        await self._run(self._verbs.end(plan, MergePlan))

    async def complete_merge(self, plan: MergePlan, merged_entry: IndexEntry) -> None:
        """See `Index.complete_merge`."""
        await self._run(self._verbs.complete_merge(plan, merged_entry))

    async def get_move_plan(
        self, writer_id: str, layer: str, *, lease_s: int | None = None
    ) -> MovePlan | None:
        """See `Index.get_move_plan`."""
        queue = QueueRef("move", layer, writer_id)
        return cast("MovePlan | None", await self._run(self._verbs.lease(queue, lease_s)))

    async def end_move(self, plan: MovePlan) -> None:
        """See `Index.end_move`."""
        await self._run(self._verbs.end(plan, MovePlan))

    async def complete_move(self, plan: MovePlan, moved_entry: IndexEntry | None) -> None:
        """See `Index.complete_move`."""
        await self._run(self._verbs.complete_move(plan, moved_entry))

    async def get_drop_queue(
        self, writer_id: str, layer: str, *, lease_s: int | None = None
    ) -> DropPlan | None:
        """See `Index.get_drop_queue`."""
        queue = QueueRef("drop", layer, writer_id)
        return cast("DropPlan | None", await self._run(self._verbs.lease(queue, lease_s)))

    async def rm_from_drop_queue(self, plan: DropPlan) -> None:
        """See `Index.rm_from_drop_queue`."""
        await self._run(self._verbs.end(plan, DropPlan))

    async def renew(self, plan: PlanT, *, lease_s: int | None = None) -> PlanT:
        """See `Index.renew`."""
        return cast(PlanT, await self._run(self._verbs.renew(plan, lease_s)))

    async def release(self, plan: Plan, error: str | None = None, *, delay_s: int = 0) -> None:
        """See `Index.release`."""
        await self._run(self._verbs.release(plan, error, delay_s))

    async def retry(self, plan: QueuedPlan) -> bool:
        """See `Index.retry`."""
        return await self._run(self._verbs.retry(plan))

    async def plans(self) -> list[QueuedPlan]:
        """See `Index.plans`."""
        return await self._run(self._verbs.plans())

    async def import_plans(self, plans: Iterable[QueuedPlan]) -> int:
        """See `Index.import_plans`."""
        return await self._run(self._verbs.import_plans(plans))

    async def queues(self) -> list[QueueRef]:
        """See `Index.queues`."""
        return await self._run(self._verbs.queues())
