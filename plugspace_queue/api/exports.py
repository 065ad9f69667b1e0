"""Downloads of what EXPORT tasks made."""

from django.http import HttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from rest_framework.request import Request

from plugspace_queue import exports
from plugspace_queue.api.base import ApiView
from plugspace_queue.api.openapi import answers, operation
from plugspace_queue.errors import NotFound

# `x:meta` would name the description of the export x: a key of another type.
NEVER_AN_ID = ":meta"


class ExportDetail(ApiView):
    """The bytes of an export, as long as they are kept."""

    @operation(
        "getExport",
        summary="Download an export",
        responses=answers((200, "application/octet-stream"), OpenApiTypes.BINARY),
    )
    def get(self, request: Request, export_id: str) -> HttpResponse:
        if export_id.endswith(NEVER_AN_ID):
            raise NotFound
        found = exports.get(export_id, self.caller.organization_id)
        if found is None:
            raise NotFound
        response = HttpResponse(found.data, content_type="application/octet-stream")
        response["Content-Disposition"] = str(content_disposition_header(True, found.filename))
        response["X-Content-Type-Options"] = "nosniff"
        return response
