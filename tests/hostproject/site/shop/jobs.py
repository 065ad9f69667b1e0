"""Jobs of RQ that the shop had before, and the worker that runs them."""

from rq import Worker, get_current_job


class ShopWorker(Worker):
    """A worker that signs what it runs."""

    def perform_job(self, job, queue, *rest):
        job.meta["served_by"] = type(self).__name__
        job.save_meta()
        return super().perform_job(job, queue, *rest)


def send(addresses):
    """Takes a set, which JSON does not know."""
    return sorted(addresses), get_current_job().meta["served_by"]
