"""The old path of the queue class in RQ's settings."""

from plugspace_queue.rq.queue import Queue

__all__ = ["Queue"]
