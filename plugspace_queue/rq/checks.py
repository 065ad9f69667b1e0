"""System checks of what a project tells RQ beside its queues: classes, commands and pages."""

import sys
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Warning
from django.core.management import load_command_class
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _

from plugspace_queue.rq import stock

Apps = Sequence[AppConfig] | None
WORKER_COMMANDS = ("rqworker", "rqworker-pool")


@checks.register("plugspace_queue")
def stock_classes_are_found(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """The classes that RQ names for queues that are not ours."""
    hint = _("Name the class as RQ would without plugspace_queue, or leave the key out.")
    return [Error(fault, hint=hint, id="psq.E020") for fault in stock.faults()]


@checks.register("plugspace_queue")
def a_worker_has_one_kind_of_queues(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """The queues of the `rqworker` or `rqworker-pool` that is being started, if one is.

    django-rq refuses both kinds as well, but with a traceback and without saying why.
    """
    program, *words = sys.argv
    if not words or words[0] not in WORKER_COMMANDS:
        return []
    parser = load_command_class("django_rq", words[0]).create_parser(program, words[0])
    options, _unknown_words = parser.parse_known_args(words[1:])
    reason = stock.mixed(options.args)
    return [Error(reason, id="psq.E021")] if reason else []


@checks.register(checks.Tags.urls)
def rq_pages_stay_in_the_admin(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """RQ's own URLs ask for is_staff only and bypass the manager."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    try:
        address = reverse("django_rq:home")
    except NoReverseMatch:
        return []
    return [
        Warning(
            _(
                "django_rq.urls is included at %(address)s: its pages ask for is_staff"
                " only, and their buttons bypass the queue manager."
            )
            % {"address": address},
            hint=_(
                "Remove the include; the admin has the same pages, each queue under its own rule."
            ),
            id="psq.W002",
        )
    ]
