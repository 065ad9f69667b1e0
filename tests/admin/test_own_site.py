"""A project whose only admin is a site of its own finds our pages there."""

import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.admin import site as default
from django.test import Client, override_settings
from django.urls import include, path

from plugspace_queue.admin.sites import admin_site_is_found, join_named_site
from plugspace_queue.models import Organization, Task
from tests.factories import make_organization, make_task

pytestmark = pytest.mark.django_db

SITE: Any = None
NO_SITE = AdminSite
DEFAULT = path("admin/", default.urls)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[AdminSite]:
    """The site of a project that names it in its settings."""
    made = AdminSite(name="backoffice")
    monkeypatch.setattr(sys.modules[__name__], "SITE", made)
    with override_settings(PLUGSPACE_QUEUE={"ADMIN_SITE": f"{__name__}.SITE"}):
        yield made


def urls_of(site: AdminSite, *others: Any) -> Any:
    """The URL configuration of a project with this admin, and others."""
    urls = ModuleType("urls")
    queue = path("queue/", include("plugspace_queue.urls"))
    urls.urlpatterns = [path("backoffice/", site.urls), queue, *others]  # type: ignore[attr-defined]
    return urls


@pytest.mark.parametrize("others", [(), (DEFAULT,)], ids=["alone", "beside Django's own"])
@pytest.mark.slow
def test_every_page_of_ours_is_there_and_leads_to_pages_of_that_site(
    root: Client, own: AdminSite, others: tuple[Any, ...]
):
    make_organization("acme")
    task = make_task()
    join_named_site()
    todo, seen = ["/backoffice/plugspace_queue/"], set()

    with override_settings(ROOT_URLCONF=urls_of(own, *others)):
        while todo:
            seen.add(place := todo.pop())
            answer = root.get(place)
            assert answer.status_code == 200, place
            found = set(re.findall(r'href="(/[^"?#]*)', answer.content.decode()))
            assert {link.split("/")[1] for link in found} <= {"", "backoffice", "static"}
            pages = {link for link in found if link.startswith("/backoffice/plugspace_queue/")}
            todo += pages - seen - set(todo)

    assert {
        f"/backoffice/plugspace_queue/task/{task.pk}/change/",
        "/backoffice/plugspace_queue/organization/acme/change/",
        "/backoffice/plugspace_queue/dashboard/architect/",
    } <= seen


def test_what_the_project_registered_itself_stays(own: AdminSite):
    class Mine(ModelAdmin):
        pass

    own.register(Organization, Mine)
    join_named_site()

    assert type(own.get_model_admin(Organization)) is Mine
    assert own.is_registered(Task)


def test_without_the_setting_no_site_is_looked_for():
    join_named_site()

    assert admin_site_is_found(None) == []


@pytest.mark.parametrize("wrong", ["shop.admin.site", f"{__name__}.NO_SITE"])
def test_a_path_that_names_no_site_is_told(wrong: str):
    with override_settings(PLUGSPACE_QUEUE={"ADMIN_SITE": wrong}):
        join_named_site()
        (error,) = admin_site_is_found(None)

    assert (error.id, "ADMIN_SITE" in error.msg) == ("psq.E024", True)
