"""The demo project's own pages: the start, 404 and 500."""

import pytest
from django.template.loader import render_to_string
from django.test import Client, override_settings


@pytest.mark.django_db
def test_the_start_leads_to_admin_api_and_readiness():
    page = Client().get("/").content.decode()

    for address in ("/admin/", "/api/v1/docs/", "/readyz", "/api/v1/schema/"):
        assert f'href="{address}"' in page
        assert Client().get(address).status_code in (200, 302)
    assert 'lang="en"' in page
    assert "prefers-color-scheme: dark" in page


@pytest.mark.django_db
def test_a_missing_page_is_told_in_words():
    with override_settings(DEBUG=False):
        response = Client().get("/nowhere/")

    assert response.status_code == 404
    assert "nothing at this address" in response.content.decode()


def test_the_page_of_a_broken_site_needs_nothing_of_the_site():
    assert "It was logged" in render_to_string("500.html")
