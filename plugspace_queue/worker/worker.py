"""The old path of the worker class in RQ's settings."""

from plugspace_queue.rq.worker import Worker

__all__ = ["Worker"]
