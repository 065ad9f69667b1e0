"""The first gate of a submit: an active organization, with a request left in its window.

Requests are counted in Redis; without Redis the window is open.
"""

import contextlib
from typing import NamedTuple

from django.utils.translation import gettext as _

from plugspace_queue import metrics
from plugspace_queue.broker import task_store
from plugspace_queue.broker.connection import home_queue
from plugspace_queue.broker.scripts import Sent
from plugspace_queue.broker.task_store import Window
from plugspace_queue.domain.ids import SYSTEM
from plugspace_queue.errors import RequestRateLimited, Unavailable
from plugspace_queue.limits.policies import Plan, read_tenant, remembered_tenant


class RequestsLeft(NamedTuple):
    """An organization's window after an admitted request."""

    limit: int
    remaining: int
    reset: int
    """Seconds until the window ends."""


class Admission:
    """An organization that may submit: active, and with a request left in its window.

    Within the `with` block the request is being counted by Redis; the block's end waits for the
    answer, which wins over whatever the block raised.
    """

    def __init__(self, organization_id: object, *, limit_requests: bool) -> None:
        remembered = remembered_tenant(organization_id)
        self.tenant = remembered or read_tenant(organization_id)
        self._is_remembered = remembered is not None
        self._is_limited = limit_requests and self.tenant.organization_id != SYSTEM
        self.window: RequestsLeft | None = None
        """After the block; None for a request that was not counted."""

    def __enter__(self) -> "Admission":
        self._hit = self._begin() if self._is_limited else None
        return self

    def __exit__(self, *error: object) -> None:
        if self._hit is None:
            return
        try:
            self.window = self._hit.take()
        except RequestRateLimited:
            if not self.has_changed():
                raise
            self.window = self._begin().take()

    def has_changed(self) -> bool:
        """Whether the organization has another tier than was remembered; it is read again."""
        if not self._is_remembered:
            return False
        remembered = self.tenant
        self.renew()
        return self.tenant.plan != remembered.plan

    def confirm(self) -> None:
        """Where nothing is reserved, which would find out: raise unless it is active now.

        Raises OrganizationSuspended, OrganizationUnknown.
        """
        if self._is_remembered:
            self.renew()

    def renew(self) -> None:
        """Read the organization and its tier again."""
        self.tenant = read_tenant(self.tenant.organization_id)
        self._is_remembered = False

    def _begin(self) -> "Hit":
        return Hit(self.tenant.organization_id, self.tenant.plan)


class Hit:
    """One request that is being counted: sent at once, its answer is read by `take`.

    Other work in between overlaps with the round trip. `take` must always be called.
    """

    def __init__(self, organization_id: str, plan: Plan) -> None:
        self._plan = plan
        call = task_store.hit_request_window(
            organization_id, plan.request_limit, int(plan.request_window * 1000)
        )
        self._sent: Sent[Window] | None = None
        with contextlib.suppress(Unavailable):
            self._sent = Sent(call, home_queue())

    def take(self) -> RequestsLeft | None:
        """Wait for the answer; without Redis the request passes uncounted, which is None.

        Raises RequestRateLimited when the window is full; a refused call is not counted.
        """
        try:
            window = self._sent.take() if self._sent else None
        except Unavailable:
            window = None
        if window is None:
            metrics.count(metrics.UNCOUNTED)
            return None
        if not window.allowed:
            raise _limited(window, self._plan)
        limit = self._plan.request_limit
        return RequestsLeft(limit, max(limit - window.used, 0), -(-window.reset_ms // 1000))


def _limited(window: Window, plan: Plan) -> RequestRateLimited:
    seconds = window.reset_ms / 1000
    return RequestRateLimited(
        _(
            "%(request_limit)s requests in %(request_window)g s are the limit; try"
            " again in %(seconds).1f s."
        )
        % {
            "request_limit": plan.request_limit,
            "request_window": plan.request_window,
            "seconds": seconds,
        },
        retry_after=seconds,
        used=window.used,
        limit=plan.request_limit,
    )
