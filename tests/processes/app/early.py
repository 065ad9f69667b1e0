"""A worker that is told to stop at the moment when RQ has heard of it, and not a line later."""

import signal

from plugspace_queue.rq.worker import Worker


class ToldAtBirth(Worker):
    """Gets its SIGTERM inside the registration."""

    def register_birth(self) -> None:
        """As in the base class, then the signal."""
        super().register_birth()  # type: ignore[no-untyped-call]
        signal.raise_signal(signal.SIGTERM)
