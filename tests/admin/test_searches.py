"""Searches of the admin read what an index finds, and say what they need for it."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from plugspace_queue import queue_manager
from tests.admin.test_records import TASKS, rows_of
from tests.factories import arguments, make_organization, make_task

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("term", ["user:u-1", "user:u-1 org:other", "user:u-2 org:org-1"])
def test_a_user_is_searched_in_one_organization_only(root: Client, term: str):
    task = make_task(user_id="u-1", organization=make_organization("org-1"))

    page = rows_of(root, f"{TASKS}?q={term}")

    assert str(task.pk) not in page
    assert ("Add the organization" in page) == (term == "user:u-1")


def test_an_idempotency_key_is_searched_in_one_organization_only(root: Client):
    for organization_id in ("acme", "other"):
        make_organization(organization_id)
        new = arguments(organization_id=organization_id, idempotency_key="day 1")
        queue_manager.add_task(**new)
    address = reverse("admin:plugspace_queue_idempotencykey_changelist")

    with CaptureQueriesContext(connection) as queries:
        alone = rows_of(root, f"{address}?q=day 1")
    asked = [q["sql"] for q in queries if "plugspace_queue_idempotencykey" in q["sql"]]
    within = rows_of(root, f"{address}?q=day 1 org:acme")

    assert not asked
    assert "Add the organization" in alone
    assert "field-key" not in alone
    assert within.count('class="field-organization_id"') == 1
