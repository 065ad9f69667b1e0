"""Sixty types cost no page, command, scrape or turn of maintenance more than six do.

Counted are statements of SQL, and round trips to Redis: commands in one pipeline are one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from redis.connection import AbstractConnection

from plugspace_queue import queue_manager
from plugspace_queue.api import openapi, prometheus
from plugspace_queue.broker import server
from plugspace_queue.dashboards import failure_groups, slot_shares
from plugspace_queue.dashboards import queues as board
from plugspace_queue.limits import policies
from plugspace_queue.maintenance import expiry, queue_config, statistics
from plugspace_queue.maintenance.reconcile.compare import compare_all
from plugspace_queue.maintenance.relay import RowCursor, relay
from plugspace_queue.maintenance.rescue import OrphanDetector
from plugspace_queue.models import ApiKey, QueueMinute, Task
from plugspace_queue.services import queue_stats
from tests.catalog.conftest import Declare
from tests.factories import arguments, make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)

ADMIN = "/admin/plugspace_queue"

Clients = tuple[Client, Client]
Use = Callable[[Clients], object]


def page(address: str) -> Use:
    return lambda clients: _get(clients[0], address)


def rest(address: str) -> Use:
    return lambda clients: _get(clients[1], f"/api/v1/{address}")


def command(*words: str) -> Use:
    return lambda _: call_command(*words, stdout=StringIO(), skip_checks=True)


def _get(client: Client, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 200, answer.content


def maintenance(_: Clients) -> None:
    """What the maintenance thread of a worker does within some seconds."""
    now = timezone.now()
    relay(now, RowCursor())
    expiry.expire_due(now)
    expiry.finish_cancels(now)
    expiry.free_blocked(now, RowCursor(["blocked"]))
    expiry.refund_owed(now)
    OrphanDetector().check(now)
    statistics.sample(now)
    queue_config.OverrideWatch().turn(now)


def reconciler_round(_: Clients) -> None:
    assert [one for part in compare_all(timezone.now()) for one in part.findings] == []


def pause_and_resume(_: Clients) -> None:
    queue_manager.pause(organization_id="acme")
    queue_manager.resume(organization_id="acme")


def explain(_: Clients) -> None:
    queue_manager.explain(Task.objects.filter(type="CODE").values_list("pk", flat=True)[0])


USES: dict[str, Use] = {
    "the dashboard": page(f"{ADMIN}/dashboard/"),
    "the live part of the dashboard": page(f"{ADMIN}/dashboard/live/"),
    "the charts of the dashboard": page(f"{ADMIN}/dashboard/series/"),
    "the slots of the dashboard": page(f"{ADMIN}/dashboard/slots/"),
    "failures in the admin": page(f"{ADMIN}/failuregroup/"),
    "quotas of organizations in the admin": page(f"{ADMIN}/organization/shares/"),
    "a queue of the dashboard": page(f"{ADMIN}/dashboard/code/"),
    "queues in the admin": page(f"{ADMIN}/queuesettings/"),
    "a queue in the admin": page(f"{ADMIN}/queuesettings/CODE/change/"),
    "tasks in the admin": page(f"{ADMIN}/task/"),
    "tiers in the admin": page(f"{ADMIN}/tierpolicy/"),
    "a tier in the admin": page(f"{ADMIN}/tierpolicy/free/change/"),
    "workers in the admin": page(f"{ADMIN}/worker/"),
    "organizations in the admin": page(f"{ADMIN}/organization/"),
    "an organization in the admin": page(f"{ADMIN}/organization/acme/change/"),
    "/metrics": page("/metrics"),
    "/healthz": page("/healthz"),
    "/readyz": page("/readyz"),
    "queues over REST for staff": page("/api/v1/queues/"),
    "a queue over REST for staff": page("/api/v1/queues/CODE/"),
    "queues over REST": rest("queues/"),
    "usage over REST": rest("organizations/acme/usage/"),
    "tasks over REST": rest("tasks/"),
    "the OpenAPI document": rest("schema/"),
    "get_queue_stats": lambda _: queue_manager.get_queue_stats(),
    "get_queue_stats of one type": lambda _: queue_manager.get_queue_stats("CODE"),
    "explain": explain,
    "manage.py queue_stats": command("queue_stats"),
    "manage.py queue_reconcile": command("queue_reconcile", "--check"),
    "a submit": lambda _: queue_manager.add_task(**arguments()),
    "a pause of an organization": pause_and_resume,
    "a turn of maintenance": maintenance,
    "a round of the reconciler": reconciler_round,
    "whether the servers answer": lambda _: server.answers(),
}


@contextmanager
def counted() -> Iterator[list[int]]:
    """Statements and round trips within the block; the list is filled at its end."""
    sent = 0
    send: Any = AbstractConnection.send_packed_command

    def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal sent
        sent += 1
        return send(self, *args, **kwargs)

    found: list[int] = []
    with pytest.MonkeyPatch.context() as patch, CaptureQueriesContext(connection) as captured:
        patch.setattr(AbstractConnection, "send_packed_command", counting)
        yield found
    found += [len(captured), sent]


def cost(use: Use, clients: Clients) -> list[int]:
    """Statements and round trips of a use, the second time, when nothing is made any more."""
    for _ in range(2):
        policies.clear_cache()
        queue_stats.clear_cache()
        prometheus.clear_cache()
        board.clear_cache()
        slot_shares.clear_cache()
        failure_groups.clear_cache()
        QueueMinute.objects.all().delete()
        with counted() as found:
            use(clients)
    return found


@pytest.fixture
def clients(admin_client: Client) -> Clients:
    """Of an administrator, and of an organization with some work."""
    _, secret = ApiKey.issue(make_organization("acme"), ["read"])
    for kind in ("ARCHITECT", "CODE"):
        queue_manager.add_task(**arguments(type=kind))
    make_task(type="DEPLOY")
    call_command("queue_reconcile", fix=True, stdout=StringIO())
    return admin_client, Client(headers={"Authorization": f"Bearer {secret}"})


def declare_54(declare: Declare) -> None:
    for number in range(54):
        declare(f"TYPE_{number}", quotas={"*": 5})
    call_command("migrate", verbosity=0, skip_checks=True)
    queue_config.repair(timezone.now())
    openapi.clear_cache()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_sixty_types_cost_what_six_cost(declare: Declare, clients: Clients, settings: Any):
    settings.PLUGSPACE_QUEUE = {"LEASE": 0.2}
    six = {name: cost(use, clients) for name, use in USES.items()}
    declare_54(declare)

    sixty = {name: cost(use, clients) for name, use in USES.items()}

    openapi.clear_cache()
    dearer = {name: (six[name], sixty[name]) for name in USES if sixty[name] > six[name]}
    assert dearer == {}


def test_queues_of_one_server_are_read_in_one_round_trip_whatever_their_number(
    declare: Declare, settings: Any, redis: Any
):
    for number in range(54):
        declare(f"TYPE_{number}")
    settings.RQ_QUEUES = {
        name: config | ({"DB": 5} if at % 2 else {})
        for at, (name, config) in enumerate(settings.RQ_QUEUES.items())
    }

    with counted() as found:
        rows = queue_manager.get_queue_stats()

    assert len(rows) == 60
    # One connection each, made just now: its greeting is a round trip of its own.
    with counted() as found:
        queue_manager.get_queue_stats()
    assert found[1] == 2


def test_all_gates_that_a_server_lost_are_written_in_few_round_trips(declare: Declare, redis: Any):
    def lose_and_repair() -> list[int]:
        queue_config.repair(timezone.now())
        redis.flushdb()
        with counted() as found:
            assert queue_config.repair(timezone.now())
        return found

    lose_and_repair()
    six = lose_and_repair()
    for number in range(54):
        declare(f"TYPE_{number}")

    assert lose_and_repair() == six
    assert redis.hget("plugspace:type_53:meta", "limiter") == b"0"
