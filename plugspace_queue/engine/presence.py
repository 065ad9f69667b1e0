"""Workers tell each queue that they live and how many slots they have for it.

RQ's registry of workers keeps dead ones for minutes, and knows nothing of slots and processors.
"""

from plugspace_queue.engine.scripts import Call, on_queue

LEAVING = -1


def attend(queue: str, *, worker: str, slots: int) -> Call[None]:
    """Tell that the worker lives; with 0 slots it has no processor for this queue."""
    return on_queue("attend", queue, [worker, slots], lambda reply: None)


def leave(queue: str, *, worker: str) -> Call[None]:
    """Tell that the worker ends."""
    return on_queue("attend", queue, [worker, LEAVING], lambda reply: None)
