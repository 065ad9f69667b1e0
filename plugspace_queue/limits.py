"""The request limiter: calls per window and organization, counted in Redis; open without Redis."""

from plugspace_queue import metrics
from plugspace_queue.broker import routing, task_store
from plugspace_queue.broker.task_store import Window
from plugspace_queue.errors import RequestRateLimited, Unavailable
from plugspace_queue.policies import Plan


def hit(organization_id: str, plan: Plan) -> Window | None:
    """Count one request; None when Redis is away and it passes uncounted.

    Raises RequestRateLimited when the window is full; a refused call is not counted.
    """
    call = task_store.hit_request_window(
        organization_id, plan.request_limit, int(plan.request_window * 1000)
    )
    try:
        window: Window = routing.ask(call)
    except Unavailable:
        metrics.count(metrics.UNCOUNTED)
        return None
    if not window.allowed:
        raise _limited(window, plan)
    return window


def _limited(window: Window, plan: Plan) -> RequestRateLimited:
    seconds = window.reset_ms / 1000
    return RequestRateLimited(
        f"{window.limit} requests in {plan.request_window:g} s are the limit;"
        f" try again in {seconds:.1f} s.",
        retry_after=seconds,
        used=window.used,
        limit=window.limit,
    )
