"""Organizations over HTTP: their settings, and what they used of their month and window."""

from typing import Any, ClassVar

from django.utils import timezone
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from plugspace_queue import audit_log
from plugspace_queue.api.base import ApiViewSet
from plugspace_queue.api.openapi import CHANGES, answers, operation, parameters
from plugspace_queue.api.pagination import parse_query
from plugspace_queue.api.permissions import visible_organization
from plugspace_queue.api.requests import OrganizationChange, UsageQuery
from plugspace_queue.api.responses import (
    OrganizationShape,
    QuotaChange,
    TypeUsage,
    Usage,
    window_of,
)
from plugspace_queue.domain import clock
from plugspace_queue.domain.catalog import public_types
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.domain.tiers import UNLIMITED
from plugspace_queue.limits.allowances import Allowance, allowances, moment_of
from plugspace_queue.limits.policies import tier_of
from plugspace_queue.limits.quota import end_of_month, month_of
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import Organization, tenancy_queries


class OrganizationViewSet(ApiViewSet):
    """The caller's own organization; for staff any."""

    lookup_url_kwarg = "organization_id"
    lookup_value_converter = "str"
    verbs: ClassVar = {"partial_update": Verb.SET_ORGANIZATION}

    @operation(
        "getOrganization",
        summary="Look at your organization",
        responses=answers(200, OrganizationShape),
    )
    def retrieve(self, request: Request, organization_id: str) -> Response:
        """One organization."""
        return Response(_shown(self._organization(organization_id)))

    @operation(
        "changeOrganization",
        summary="Change tier, name, or suspend (staff who administer)",
        request=OrganizationChange,
        responses=answers(200, OrganizationShape, CHANGES),
    )
    def partial_update(self, request: Request, organization_id: str) -> Response:
        """Change one organization."""
        change = self.body(OrganizationChange)
        row = self._organization(organization_id)
        before = _audited(row)
        changed = queue_manager.change_organization(row.pk, change.changes())
        if text := audit_log.differences(before, _audited(changed)):
            self.audit(changed, text, change.reason)
        return Response(_shown(changed))

    @operation(
        "getUsage",
        summary="Usage and quotas of a month (UTC), and the running request window",
        parameters=parameters(UsageQuery),
        responses=answers(200, Usage),
    )
    @action(detail=True, url_name="usage")
    def usage(self, request: Request, organization_id: str) -> Response:
        """Reserved units per task type of one month, and the running request window."""
        params = parse_query(request, UsageQuery)
        organization = self._organization(organization_id)
        month = params.month or month_of(timezone.now())
        usage = Usage(
            organization_id=organization.pk,
            tier=organization.tier_id,
            month=month,
            period_end=end_of_month(month),
            usage=_usage(organization, month),
            requests=window_of(organization),
        )
        body = usage.model_dump(mode="json", by_alias=True)
        for entry in body["usage"].values():
            if not entry["overrides"]:
                del entry["granted"], entry["overrides"]
        return Response(body)

    def _organization(self, organization_id: str) -> Organization:
        return visible_organization(organization_id, only=self.caller.organization_id)


def _audited(row: Organization) -> dict[str, Any]:
    values = audit_log.values(row, ("tier_id", "name", "is_suspended"))
    return values | {"tier_id": row.tier_id or ""}


def _shown(row: Organization) -> dict[str, Any]:
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
    used = tenancy_queries.usage_of_month(organization, month)
    found = allowances(organization.pk, tier_of(organization), moment_of(month, clock.now()))
    return {one: _type_usage(used.get(one, 0), found[one]) for one in public_types()}


def _type_usage(used: int, allowance: Allowance) -> TypeUsage:
    quota = None if allowance.quota == UNLIMITED else allowance.quota
    return TypeUsage(
        used=used,
        quota=quota,
        remaining=None if quota is None else max(0, quota - used),
        granted=allowance.granted,
        overrides=[
            QuotaChange.model_validate({"key": row.key, "value": row.value, "ends_at": row.ends_at})
            for row in allowance.overrides
        ],
    )
