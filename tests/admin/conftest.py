"""Operators of the admin, and rows for its lists."""

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.test import Client

from plugspace_queue.broker import connection
from plugspace_queue.dashboards import failure_groups, queues, slot_shares
from plugspace_queue.limits import policies
from plugspace_queue.services import queue_stats


@pytest.fixture(autouse=True)
def fresh_reads() -> None:
    policies.clear_cache()
    queue_stats.clear_cache()
    queues.clear_cache()
    failure_groups.clear_cache()
    slot_shares.clear_cache()


@pytest.fixture
def signed_in(db: None) -> Callable[[str], Client]:
    """A client of a staff user in one of our groups ("" = in none)."""

    def make(role: str) -> Client:
        user = get_user_model().objects.create_user(f"{role or 'clerk'}", is_staff=True)
        if role:
            call_command("queue_roles", verbosity=0)
            user.groups.add(Group.objects.get(name=f"Queue {role}"))
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def operator(signed_in: Callable[[str], Client]) -> Client:
    return signed_in("operator")


@pytest.fixture
def root(admin_client: Client) -> Client:
    """A superuser."""
    return admin_client


@pytest.fixture
def cut_off() -> Iterator[None]:
    """Redis is away for this thread."""
    with connection.cut_off():
        yield
