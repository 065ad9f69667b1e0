"""Probes for load balancers: alive, and ready to take requests. No credentials, no details."""

from django.db import Error, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache

from plugspace_queue.broker import presence, server


@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """503 without the database; without Redis it is `degraded`, for tasks are still accepted.

    So it is when the data of a queue is damaged, which `redis` tells then.
    """
    database, redis = _database_answers(), _redis()
    status = "unavailable" if not database else "ok" if redis == "ok" else "degraded"
    body = {"status": status, "database": "ok" if database else "down", "redis": redis}
    return JsonResponse(body, status=200 if database else 503)


def _redis() -> str:
    if not server.answers():
        return "down"
    return "damaged" if presence.troubles() else "ok"


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True
