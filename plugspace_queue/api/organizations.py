"""What an organization used of its month."""

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from plugspace_queue.api import callers
from plugspace_queue.api.base import ApiView
from plugspace_queue.api.bodies import UsageQuery
from plugspace_queue.api.pages import query
from plugspace_queue.api.schema import answers, operation, parameters
from plugspace_queue.api.shapes import TypeUsage, Usage
from plugspace_queue.models import MonthlyUsage, Organization
from plugspace_queue.policies import tier_of
from plugspace_queue.quotas import end_of_month, month_of
from plugspace_queue.rules.tiers import UNLIMITED
from plugspace_queue.types import TaskType


class OrganizationUsage(ApiView):
    """Reserved units per task type of one month."""

    @operation(
        "getUsage",
        summary="Usage and quotas of a month (UTC)",
        parameters=parameters(UsageQuery),
        responses=answers(200, Usage),
    )
    def get(self, request: Request, organization_id: str) -> Response:
        asked = query(request, UsageQuery)
        if self.caller.organization_id not in (None, organization_id):
            raise callers.not_yours()
        organization = callers.organization(organization_id)
        month = asked.month or month_of(timezone.now())
        usage = Usage(
            organization_id=organization.pk,
            tier=organization.tier_id,
            month=month,
            period_end=end_of_month(month),
            usage=_usage(organization, month),
        )
        return Response(usage.model_dump(mode="json", by_alias=True))


def _usage(organization: Organization, month: str) -> dict[TaskType, TypeUsage]:
    rows = MonthlyUsage.objects.filter(organization=organization, month=month)
    used = dict(rows.values_list("type", "used"))
    plan = tier_of(organization)
    return {kind: _of_type(used.get(kind, 0), plan.quota(kind)) for kind in TaskType}


def _of_type(used: int, quota: int) -> TypeUsage:
    if quota == UNLIMITED:
        return TypeUsage(used=used, quota=None, remaining=None)
    return TypeUsage(used=used, quota=quota, remaining=max(0, quota - used))
