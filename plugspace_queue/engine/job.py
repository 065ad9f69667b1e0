"""The old path of the job class in RQ's settings."""

from plugspace_queue.rq.job import Job

__all__ = ["Job"]
