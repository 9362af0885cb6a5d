"""A drop: a file that has left the catalog is deleted, once its readers had time to finish."""

from __future__ import annotations

from gigapi_metadata.model import DropPlan
from gigapi_metadata.planning import UNFINISHED
from gigapi_metadata.worker.jobs import Job
from gigapi_metadata.worker.unfinished import settle


def drop(job: Job) -> None:
    """Delete the file of the plan that `job` holds, unless a living entry names it.

    Deleting twice does no harm, so a crash before the plan ends just repeats it.

    Raises:
        LeaseLost, Cancelled, Later: to be given back.
        MetadataError: it failed.
    """
    plan = job.hold.plan
    assert isinstance(plan, DropPlan)
    job.work.path = plan.path
    if plan.writer_id == UNFINISHED:
        settle(job, plan)
    elif job.index.get(plan.path, plan.layer) is not None:
        job.work.note = "kept: it is in the catalog again"
    else:
        job.step("checked")
        job.work.files_in = 1
        if not job.storage(plan.layer).delete(plan.path):
            job.work.note = "was gone already"
        job.step("deleted")
    job.hold.complete(job.index.rm_from_drop_queue, job.tools.sleep)
    job.step("completed")
