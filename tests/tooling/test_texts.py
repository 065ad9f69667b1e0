"""Texts that users read go through gettext: found in the source, and seen in another language."""

import uuid
from collections.abc import Iterator
from gettext import NullTranslations
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core import management
from django.test import Client
from django.urls import reverse
from django.utils import translation
from django.utils.translation import trans_real
from pydantic import ValidationError

from plugspace_queue import errors, queue_manager
from plugspace_queue.api import base
from plugspace_queue.checks import settings_are_known
from plugspace_queue.domain.catalog import task_type
from plugspace_queue.limits import quota
from plugspace_queue.models import TierPolicy
from plugspace_queue.processing import execute
from plugspace_queue.schemas.inputs import ArchitectInput
from scripts import messages
from tests.api.conftest import acme, key_of
from tests.factories import arguments, make_organization
from tests.tooling import texts
from tests.tooling.sources import modules

__all__ = ["acme", "key_of"]

NEW = {"type": "ARCHITECT", "projectId": "site", "input": {"prompt": "A bakery"}}

NOT_FOR_USERS = {
    "broker",
    "db",
    "embedded_redis",
    "exports",
    "conf",
    "task_log",
    "csp",
    "audit_log",
}
"""Their texts are SQL, logs, errors of settings, or written to rows and Redis; but checks."""

ALSO_NOT = {"engine", "events", "maintenance", "processing", "publishing", "testing", "worker"}
"""They run, log and write attempts: what they say is stored or is for programmers."""

DESCRIBING = {"api.components", "api.examples", "api.openapi"}
"""The OpenAPI document, one for all languages."""

STILL_READ = {"broker.checks", "broker.connection", "broker.server_settings"} | {
    "processing.checks",
    "processing.functions",
    "processing.registry",
}

ENGLISH = {
    # Written to rows: errors and reasons of tasks, the ledger, the audit, names of groups.
    "admin.actions": {"by {} in the admin"},
    "admin.failures": {"{} tasks that failed {} queued for retry"},
    "admin.tier_changes": {"; {} waiting tasks moved"},
    "api.submits": {"over the API by {}"},
    "api.tasks": {"cancelled or told to stop", "queued for retry"},
    "api.workflows": {"cancelled or told to stop", "queued for retry"},
    "catalogs.plugspace_kinds": {"Rebuild the site at {}."},
    "domain.permissions": {
        *{"Queue viewer", "Queue operator", "Queue admin"},
        "Can retry and cancel tasks, pause, resume and limit queues",
        "Can change tiers, organizations, members, API keys and policies",
    },
    "limits.policies": {
        "Work without a tenant",
        # Logged by a worker.
        "{} is registered with {} {}; the operator's row says {}, which counts",
        "{} is registered with concurrency {}, which counts; the setting CONCURRENCY says {}",
    },
    "models.overrides": {"{} starts in {} s", "{} more per month", "no limit"},
    "rq.admin": {"by {} on RQ's pages", "{}, on RQ's pages"},
    "rq.reading": {"(not JSON, not shown)"},
    "rq.verbs": {"requeued by RQ's means"},
    "services.cancellation": {"The task was cancelled."},
    "services.overrides": {"no limit", "nothing changes now", "%Y-%m-%d %H:%M UTC"},
    "services.retries": {"retry by hand"},
    "services.termination": {
        "A task this one waited for did not complete.",
        "Not started within its ttl of {} s.",
        "never started",
    },
    # Titles of problems are the phrases of HTTP's statuses.
    "api.exceptions": {
        *{"Content Too Large", "URI Too Long", "Range Not Satisfiable", "Unprocessable Content"}
    },
    # Parts of the OpenAPI document.
    "api.base": {base.DESCRIPTION, "{}, over the API"},
    "api.events": {"One event of the stream; `data` is an EventShape as JSON."},
    "domain.kinds": {"The recipes of workflows."},
    # Pydantic's words, as beside ours in the same list of errors.
    "schemas.requests": {"Input should be a valid dictionary"},
    # For programmers and their logs.
    "api.tenants": {"{}: {} cannot be an organization's id."},
    "rq.worker": {"the database"},
    "services.calls": {"Awaitable twin of `{}`."},
    # Protocols and markup.
    "admin.base": {'<a href="{}">{}</a>', '<pre class="psq-json" tabindex="0">{}</pre>'},
    "admin.records": {"KEY org:ID"},
    "admin.tasks": {"user:ID org:ID", '<time title="{}">{}</time>'},
    "admin.workflows": {
        '<span class="psq-step psq-{}" title="{}: {}">■</span>',
        '<span class="psq-steps">{}</span>',
    },
    "api.authentication": {'Bearer realm="plugspace"'},
    "api.sse": {"event: end\ndata: {}\n\n"},
    "dashboards.failure_charts": {"M{}.1 {}v-{}h.8v{}z", "%m-%d %H:%M"},
    "dashboards.graphs": {"M{} {}C{} {} {} {} {} {}", "M{} {}l-9 -5v10z"},
    "domain.fingerprint": {"Traceback (most recent call last):"},
    "management.commands.queue_redis_cli": {"{}(empty array)", "(error) no"},
    "templatetags.psq": {'<span class="psq-state psq-{}">{}</span>'},
}
"""By module the texts that stay as they are in every language."""


def is_read_by_users(name: str) -> bool:
    room = name.partition(".")[0]
    is_other = room in NOT_FOR_USERS | ALSO_NOT or name in DESCRIBING
    return name in STILL_READ or not is_other


def test_every_text_that_a_user_reads_goes_through_gettext():
    unmarked = [
        f"{name}:{line}: {text!r}"
        for name, module in modules().items()
        if is_read_by_users(name)
        for line, text in texts.untranslated(module)
        if text not in ENGLISH.get(name, ())
    ]

    assert not unmarked, "Wrap them in gettext, or say above why not:\n" + "\n".join(unmarked)


def test_the_list_of_texts_in_english_has_no_text_that_is_gone():
    found = {name: {text for _, text in texts.untranslated(modules()[name])} for name in ENGLISH}

    assert {name: said - found[name] for name, said in ENGLISH.items() if said - found[name]} == {}


def test_translators_get_texts_of_code_and_templates_and_default_messages_of_errors():
    found = messages.messages()

    assert "plugspace_queue/errors.py" in found[(str(errors.NotFound()),)]
    assert "plugspace_queue/limits/quota.py" in found[(str(quota.TierChanged()),)]
    assert ("Can read, cannot submit.",) in found
    assert ("Its tasks were pruned.",) in found
    assert len([texts for texts in found if len(texts) == 2]) > 20


class MadeUp(NullTranslations):
    """A language in which every text is the English one between marks."""

    def gettext(self, message: str) -> str:
        return f"«{message}»"

    def ngettext(self, one: str, many: str, n: int) -> str:
        return f"«{one if n == 1 else many}»"

    def language(self) -> str:
        return "eo"

    to_language = language


@pytest.fixture
def in_another_language(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(trans_real._translations, "eo", MadeUp())
    with translation.override("eo"):
        yield


@pytest.mark.django_db
@pytest.mark.usefixtures("in_another_language")
def test_refusals_of_the_api_are_in_the_language_of_the_request(acme: Any):
    export = acme.ask("exports/nothing/").json()
    missing = acme.ask(f"tasks/{uuid.uuid4()}/").json()
    blank = acme.send("tasks/", NEW | {"input": {"prompt": " "}}).json()
    late = acme.send("tasks/", NEW | {"runAt": "tomorrow"}).json()

    assert export["detail"] == "«No such task, workflow or export in this organization.»"
    assert (missing["code"], missing["detail"][:9]) == ("NOT_FOUND", "«No task ")
    assert blank["errors"][0]["msg"] == "Value error, «must not be blank»"
    assert late["errors"][0]["msg"] == "«must be a time with a zone (ISO 8601)»"


@pytest.mark.usefixtures("in_another_language")
def test_pages_and_labels_of_the_admin_are_in_the_language_of_the_request(admin_client: Client):
    page = admin_client.get(reverse("admin:plugspace_queue_organization_add"))

    assert "«Can read, cannot submit.»" in page.content.decode()
    assert str(TierPolicy._meta.verbose_name_plural) == "«tiers»"


@pytest.mark.django_db
@pytest.mark.usefixtures("in_another_language")
def test_commands_and_checks_speak_the_language_that_is_active(settings: Any):
    printed = StringIO()
    management.call_command("queue_pause", "CODE", stdout=printed)
    settings.PLUGSPACE_QUEUE = {"NOTHING": 1}

    assert "«" in printed.getvalue()
    (error,) = settings_are_known(None)
    assert str(error.msg).startswith("«PLUGSPACE_QUEUE has no key")


@pytest.mark.usefixtures("in_another_language")
def test_an_error_that_is_declared_says_it_in_the_language_that_is_active():
    with pytest.raises(errors.CatalogFrozen, match="«LATE is declared too late"):
        task_type("LATE")
    assert str(errors.NotFound()).startswith("«No such task")
    assert str(errors.NotFound("as given")) == "as given"


def test_an_error_before_django_has_started_is_in_english(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(apps, "ready", False)

    assert str(errors.NotFound()) == "No such task, workflow or export in this organization."


@pytest.mark.django_db
@pytest.mark.usefixtures("in_another_language")
def test_what_is_stored_is_english_whoever_makes_it_be_stored():
    make_organization()
    waiting = queue_manager.add_task(**arguments())

    queue_manager.cancel(waiting.pk)

    waiting.refresh_from_db()
    assert waiting.error["message"] == "The task was cancelled."


@pytest.mark.usefixtures("in_another_language")
def test_what_is_wrong_with_a_result_is_stored_in_english():
    with pytest.raises(ValidationError) as refused:
        ArchitectInput.model_validate({"prompt": " "})

    assert execute._summary(refused.value).endswith("must not be blank")
    assert "«must not be blank»" in str(refused.value)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("in_another_language")
def test_a_submit_that_is_not_refused_translates_nothing(monkeypatch: pytest.MonkeyPatch):
    make_organization()
    queue_manager.add_task(**arguments())
    asked: list[str] = []
    monkeypatch.setattr(MadeUp, "gettext", lambda _self, text: asked.append(text) or text)

    queue_manager.add_task(**arguments())

    assert asked == []
