"""Lists of what operators set: no COUNT, page by page, and organizations that stay."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from plugspace_queue.models import ApiKey, Membership, Organization
from tests.admin.test_records import rows_of
from tests.factories import make_organization, make_task

pytestmark = pytest.mark.django_db

ORGANIZATIONS = "/admin/plugspace_queue/organization/"
LISTS = ("organization", "membership", "apikey", "queuesettings", "tierpolicy")


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_settings_counts_no_rows_of_its_own(root: Client, admin_user, name: str):
    for number in range(3):
        organization = make_organization(f"org-{number}")
        Membership.objects.create(organization=organization, user=admin_user)
        ApiKey.issue(organization, ["read"])

    with CaptureQueriesContext(connection) as queries:
        rows_of(root, reverse(f"admin:plugspace_queue_{name}_changelist"))

    assert not [q["sql"] for q in queries if "COUNT(*)" in q["sql"]]


def test_organizations_go_from_page_to_page_by_id(root: Client):
    for number in range(51):
        make_organization(f"org-{number:02}")

    first = rows_of(root, ORGANIZATIONS)
    second = rows_of(root, f"{ORGANIZATIONS}?before=org-49")

    assert first.index(">org-00<") < first.index(">org-49<")
    assert ">org-50<" not in first
    assert "before=org-49" in first
    assert ">org-50<" in second
    assert ">org-49<" not in second
    assert "First" in second


@pytest.mark.parametrize("place", ["a\x00b", "\ud800", "x" * 5_000, "ü"])
def test_a_place_that_is_no_id_breaks_no_list(root: Client, place: str):
    make_organization("acme")

    query = place.encode("utf-8", "surrogatepass").decode("latin-1")
    assert root.get(ORGANIZATIONS, {"before": query}).status_code == 200


def test_tiers_keep_their_order_of_priority(root: Client):
    page = rows_of(root, reverse("admin:plugspace_queue_tierpolicy_changelist"))

    places = [page.index(f">{slug}<") for slug in ("enterprise", "professional", "free")]
    assert places == sorted(places)


def test_an_organization_is_suspended_and_never_deleted(root: Client):
    make_task(organization=make_organization("acme"))

    delete = reverse("admin:plugspace_queue_organization_delete", args=["acme"])
    chosen = {"action": "delete_selected", "_selected_action": ["acme"], "post": "yes"}

    assert root.get(delete).status_code == 403
    assert root.post(delete, {"post": "yes"}).status_code == 403
    root.post(ORGANIZATIONS, chosen)
    assert Organization.objects.filter(pk="acme").exists()
    assert "delete_selected" not in rows_of(root, ORGANIZATIONS)
