"""The request limiter: calls per window and organization, counted in Redis; open without Redis."""

import contextlib

from plugspace_queue import metrics
from plugspace_queue.broker import routing, task_store
from plugspace_queue.broker.scripts import Sent
from plugspace_queue.broker.task_store import Window
from plugspace_queue.errors import RequestRateLimited, Unavailable
from plugspace_queue.policies import Plan


class Hit:
    """One request that is being counted: sent at once, answered when that is asked for.

    What happens in between costs no time of its own. `take` must follow, whatever happens.
    """

    def __init__(self, organization_id: str, plan: Plan) -> None:
        self._plan = plan
        call = task_store.hit_request_window(
            organization_id, plan.request_limit, int(plan.request_window * 1000)
        )
        self._sent: Sent[Window] | None = None
        with contextlib.suppress(Unavailable):
            self._sent = routing.begin(call)

    def take(self) -> Window | None:
        """The window after the request; None when Redis is away and it passes uncounted.

        Raises RequestRateLimited when the window is full; a refused call is not counted.
        """
        window = self._answer()
        if window is None:
            metrics.count(metrics.UNCOUNTED)
        elif not window.allowed:
            raise _limited(window, self._plan)
        return window

    def _answer(self) -> Window | None:
        try:
            return self._sent.take() if self._sent else None
        except Unavailable:
            return None


def _limited(window: Window, plan: Plan) -> RequestRateLimited:
    seconds = window.reset_ms / 1000
    return RequestRateLimited(
        f"{window.limit} requests in {plan.request_window:g} s are the limit;"
        f" try again in {seconds:.1f} s.",
        retry_after=seconds,
        used=window.used,
        limit=window.limit,
    )
