"""Probes for load balancers: alive, and ready to take requests. No credentials, no details."""

from django.db import Error, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache

from plugspace_queue.engine import server


@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """503 without the database; without Redis it is `degraded`, for tasks are still accepted."""
    database, redis = _database_answers(), server.answers()
    status = "ok" if database and redis else "degraded" if database else "unavailable"
    words = {True: "ok", False: "down"}
    body = {"status": status, "database": words[database], "redis": words[redis]}
    return JsonResponse(body, status=200 if database else 503)


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True
