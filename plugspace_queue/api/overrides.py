"""Overrides of a queue's limits, and an organization's quotas and grants, over HTTP; for staff."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.utils.translation import gettext as _
from pydantic.alias_generators import to_camel
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from plugspace_queue.api.base import ApiViewSet
from plugspace_queue.api.openapi import CHANGES, answers, operation, parameters
from plugspace_queue.api.pagination import parse_query
from plugspace_queue.api.permissions import visible_organization
from plugspace_queue.api.queues import task_type_of
from plugspace_queue.api.requests import GrantRequest, OverrideQuery, OverrideRequest
from plugspace_queue.api.responses import OverrideResults, OverrideShape
from plugspace_queue.domain import clock
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.errors import NotFound
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import Override, tenancy_queries
from plugspace_queue.models.overrides import LONGEST_AUTHOR
from plugspace_queue.services import overrides


class _StaffViewSet(ApiViewSet):
    """What only staff may read."""

    lookup_url_kwarg = "override_id"
    lookup_value_converter = "int"

    def required_verb(self) -> Verb:
        is_read = self.request.method in SAFE_METHODS
        return Verb.VIEW_FLEET if is_read else super().required_verb()

    def terms(self, body: GrantRequest | OverrideRequest) -> dict[str, Any]:
        """Start, end, reason and author."""
        author = self.request.user.get_username()
        return {**body.terms(), "author": author[:LONGEST_AUTHOR]}


class GrantViewSet(_StaffViewSet):
    """The quotas and grants of one organization."""

    verbs: ClassVar = {"create": Verb.GRANT, "destroy": Verb.GRANT}

    @operation(
        "listGrants",
        summary="Grants and quotas of an organization beside those of its tier (staff)",
        parameters=parameters(OverrideQuery),
        responses=answers(200, OverrideResults),
    )
    def list(self, request: Request, organization_id: str) -> Response:
        """Those in force and to come, the newest first."""
        row, query = visible_organization(organization_id), parse_query(request, OverrideQuery)
        found = queue_manager.get_overrides(organization_id=row.pk, has_ended=query.ended)
        return Response(_results(found))

    @operation(
        "addGrant",
        summary="Grant tasks beside the quota of a type, or put another quota in its place "
        "(staff who administer)",
        request=GrantRequest,
        responses=answers(201, OverrideShape, CHANGES),
    )
    def create(self, request: Request, organization_id: str) -> Response:
        """Grant, or override the quota."""
        row, body = visible_organization(organization_id), self.body(GrantRequest)
        before = overrides.quota_in_force(row, body.type)
        if body.amount is not None:
            made = queue_manager.grant(row.pk, body.type, body.amount, **self.terms(body))
        else:
            quota = -1 if body.quota is None else body.quota
            made = queue_manager.override_quota(row.pk, body.type, quota, **self.terms(body))
        after = overrides.quota_in_force(row, body.type)
        self.audit(row, overrides.audit_text([made], before, after), body.reason)
        return Response(_to_wire(made), status=201)

    @operation(
        "endGrant",
        summary="End a grant, or a quota in the place of the tier's (staff who administer)",
        request=None,
        responses=answers(200, OverrideShape, CHANGES),
    )
    def destroy(self, request: Request, organization_id: str, override_id: int) -> Response:
        """End it now."""
        row = visible_organization(organization_id)
        made = _own(override_id, organization_id=row.pk)
        before = overrides.quota_in_force(row, made.type)
        ended = queue_manager.end_override(made.pk)
        after = overrides.quota_in_force(row, made.type)
        self.audit(row, overrides.audit_text([ended], before, after, is_end=True))
        return Response(_to_wire(ended))


class OverrideViewSet(_StaffViewSet):
    """The overrides of the limits of one queue."""

    verbs: ClassVar = {"create": Verb.LIMIT, "destroy": Verb.LIMIT}

    @operation(
        "listOverrides",
        summary="Limits of a queue that hold for a while (staff)",
        parameters=parameters(OverrideQuery),
        responses=answers(200, OverrideResults),
    )
    def list(self, request: Request, type: str) -> Response:
        """Those in force and to come, the newest first."""
        query = parse_query(request, OverrideQuery)
        found = queue_manager.get_overrides(task_type_of(type), has_ended=query.ended)
        return Response(_results(found))

    @operation(
        "addOverride",
        summary="Put other limits in the place of a queue's for a while (staff); in force within a "
        "second",
        request=OverrideRequest,
        responses=answers(201, OverrideResults, CHANGES),
    )
    def create(self, request: Request, type: str) -> Response:
        """One override for each limit that is given."""
        task_type, body = task_type_of(type), self.body(OverrideRequest)
        before = overrides.limits_in_force(task_type)
        made = queue_manager.override_queue(task_type, **body.limits(), **self.terms(body))
        text = overrides.audit_text(made, before, overrides.limits_in_force(task_type))
        self.audit(tenancy_queries.queue_row(task_type.value), text, body.reason)
        return Response(_results(made), status=201)

    @operation(
        "endOverride",
        summary="End an override of a queue's limits (staff); in force within a second",
        request=None,
        responses=answers(200, OverrideShape, CHANGES),
    )
    def destroy(self, request: Request, type: str, override_id: int) -> Response:
        """End it now."""
        task_type = task_type_of(type)
        made = _own(override_id, task_type=task_type.value)
        before = overrides.limits_in_force(task_type)
        ended = queue_manager.end_override(made.pk)
        after = overrides.limits_in_force(task_type)
        text = overrides.audit_text([ended], before, after, is_end=True)
        self.audit(tenancy_queries.queue_row(task_type.value), text)
        return Response(_to_wire(ended))


def _own(
    override_id: int, *, organization_id: str | None = None, task_type: str | None = None
) -> Override:
    """The override when it belongs to what the address names. Raises NotFound."""
    row = overrides.override_of(override_id)
    if row.organization_id != organization_id or task_type not in (None, row.type):
        raise NotFound(_("No override '%(override_id)s' here.") % {"override_id": override_id})
    return row


def _results(rows: Iterable[Override]) -> dict[str, Any]:
    return {"results": [_to_wire(row) for row in rows]}


def _to_wire(row: Override) -> dict[str, Any]:
    shape = OverrideShape(
        id=row.pk,
        type=row.type,
        key=to_camel(row.key),
        value=row.value,
        duration=row.duration,
        state=row.state_at(clock.now()),
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        reason=row.reason,
        author=row.author,
        created_at=row.created_at,
    )
    return shape.model_dump(mode="json", by_alias=True)
