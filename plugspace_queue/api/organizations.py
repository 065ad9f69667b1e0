"""Organizations over HTTP: how they are set, what they used of their month and window."""

from typing import Any, ClassVar

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from plugspace_queue import audit_log
from plugspace_queue.api import authentication
from plugspace_queue.api.base import ApiView
from plugspace_queue.api.openapi import CHANGES, answers, operation, parameters
from plugspace_queue.api.pagination import query
from plugspace_queue.api.requests import OrganizationChange, UsageQuery
from plugspace_queue.api.responses import OrganizationShape, TypeUsage, Usage
from plugspace_queue.api.submits import window_of
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.domain.tiers import UNLIMITED
from plugspace_queue.limits.policies import tier_of
from plugspace_queue.limits.quota import end_of_month, month_of
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import MonthlyUsage, Organization


class _OneOrganization(ApiView):
    """Base of what is asked of one organization: the caller's own, or any for staff."""

    def _organization(self, organization_id: str) -> Organization:
        if self.caller.organization_id not in (None, organization_id):
            raise authentication.not_yours()
        return authentication.organization(organization_id)


class OrganizationDetail(_OneOrganization):
    """One organization."""

    verbs: ClassVar = {"PATCH": Verb.SET_ORGANIZATION}

    @operation(
        "getOrganization",
        summary="Look at your organization",
        responses=answers(200, OrganizationShape),
    )
    def get(self, request: Request, organization_id: str) -> Response:
        return Response(_shown(self._organization(organization_id)))

    @operation(
        "changeOrganization",
        summary="Change tier, name, or suspend (staff who administer)",
        request=OrganizationChange,
        responses=answers(200, OrganizationShape, CHANGES),
    )
    def patch(self, request: Request, organization_id: str) -> Response:
        wanted = self.body(OrganizationChange)
        row = self._organization(organization_id)
        before = _set_values(row)
        changed = queue_manager.change_organization(row.pk, wanted.changes())
        if words := audit_log.differences(before, _set_values(changed)):
            self.note(changed, words, wanted.reason)
        return Response(_shown(changed))


class OrganizationUsage(_OneOrganization):
    """Reserved units per task type of one month, and the running request window."""

    @operation(
        "getUsage",
        summary="Usage and quotas of a month (UTC), and the running request window",
        parameters=parameters(UsageQuery),
        responses=answers(200, Usage),
    )
    def get(self, request: Request, organization_id: str) -> Response:
        asked = query(request, UsageQuery)
        organization = self._organization(organization_id)
        month = asked.month or month_of(timezone.now())
        usage = Usage(
            organization_id=organization.pk,
            tier=organization.tier_id,
            month=month,
            period_end=end_of_month(month),
            usage=_usage(organization, month),
            requests=window_of(organization),
        )
        return Response(usage.model_dump(mode="json", by_alias=True))


def _set_values(row: Organization) -> dict[str, Any]:
    values = audit_log.values(row, ("tier_id", "name", "is_suspended"))
    return values | {"tier_id": row.tier_id or ""}


def _shown(row: Organization) -> dict[str, object]:
    shape = OrganizationShape(
        id=row.pk,
        name=row.name,
        tier=row.tier_id,
        is_suspended=row.is_suspended,
        is_paused=row.is_paused,
        created_at=row.created_at,
    )
    return shape.model_dump(mode="json", by_alias=True)


def _usage(organization: Organization, month: str) -> dict[TaskType, TypeUsage]:
    rows = MonthlyUsage.objects.filter(organization=organization, month=month)
    used = dict(rows.values_list("type", "used"))
    plan = tier_of(organization)
    return {kind: _of_type(used.get(kind, 0), plan.quota(kind)) for kind in TaskType}


def _of_type(used: int, quota: int) -> TypeUsage:
    if quota == UNLIMITED:
        return TypeUsage(used=used, quota=None, remaining=None)
    return TypeUsage(used=used, quota=quota, remaining=max(0, quota - used))
