"""The first gate: an organization that may submit, and has a request left in its window."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from plugspace_queue import policies
from plugspace_queue.errors import RequestRateLimited
from plugspace_queue.limits import Hit
from plugspace_queue.models import Organization
from plugspace_queue.quotas import TierChanged

Answer = TypeVar("Answer")


class Admission:
    """An organization that may submit: active, and with a request left in its window.

    Within the `with` block the request is being counted by Redis; the block's end waits for the
    answer, which wins over whatever the block raised.
    """

    def __init__(self, organization_id: object, *, limit_requests: bool) -> None:
        remembered = policies.remembered_tenant(organization_id)
        self.tenant = remembered or policies.read_tenant(organization_id)
        self._is_remembered = remembered is not None
        self._is_limited = limit_requests

    def __enter__(self) -> "Admission":
        self._hit = self._begin() if self._is_limited else None
        return self

    def __exit__(self, *error: object) -> None:
        if self._hit is None:
            return
        try:
            self._hit.take()
        except RequestRateLimited:
            if not self._has_changed():
                raise
            self._begin().take()

    def _has_changed(self) -> bool:
        """Whether the organization has another tier than was remembered."""
        if not self._is_remembered:
            return False
        remembered = self.tenant
        self.renew()
        return self.tenant.plan != remembered.plan

    def renew(self) -> None:
        """Read the organization and its tier again."""
        self.tenant = policies.read_tenant(self.tenant.organization_id)

    def _begin(self) -> Hit:
        return Hit(self.tenant.organization_id, self.tenant.plan)


def with_tiers_of(admissions: Sequence[Admission], attempt: Callable[[], Answer]) -> Answer:
    """Do it, and once more when an organization turns out to have another tier than assumed."""
    try:
        return attempt()
    except TierChanged:
        for admission in admissions:
            admission.renew()
        return attempt()


def known(organization_id: object) -> Organization:
    """The organization with its tier; raises OrganizationUnknown."""
    found = None
    if policies.is_organization_id(organization_id):
        found = Organization.objects.select_related("tier").filter(pk=organization_id).first()
    if found is None:
        raise policies.unknown(organization_id)
    return found
