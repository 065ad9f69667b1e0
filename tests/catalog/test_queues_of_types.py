"""Each declared type has an entry in RQ_QUEUES, and the host's own entries stay as they are."""

import copy
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from redis import Redis

from plugspace_queue import TaskType, checks, conf, queue_manager
from plugspace_queue.broker import connection
from plugspace_queue.broker.connection import client
from plugspace_queue.domain import catalog
from plugspace_queue.models import QueueSettings
from tests.catalog.conftest import Declare
from tests.factories import arguments, make_organization

HOSTS = {"URL": "redis://host:6379/3", "DEFAULT_TIMEOUT": 5}


def test_a_type_gets_the_connection_of_the_first_queue_that_is_ours(settings: Any):
    ours, _ = conf.rq_settings(url="redis://ours:6379/1", task_types=["CODE"])
    settings.RQ_QUEUES = {"default": HOSTS, **ours}

    conf.fill_queues(["code", "transcribe"])

    assert settings.RQ_QUEUES["transcribe"] == ours["code"]
    assert settings.RQ_QUEUES["default"] is HOSTS
    assert settings.RQ_QUEUES["code"] is ours["code"]


def test_the_setting_names_another_entry_for_it(settings: Any):
    settings.RQ_QUEUES = {"default": HOSTS}
    settings.PLUGSPACE_QUEUE = {"QUEUE_CONNECTION": "default"}

    conf.fill_queues(["transcribe"])

    entry = settings.RQ_QUEUES["transcribe"]
    assert entry == {"URL": HOSTS["URL"], **conf.QUEUE_CLASSES}


def test_without_one_it_is_the_embedded_server(settings: Any):
    settings.RQ_QUEUES = {"default": HOSTS}

    conf.fill_queues(["transcribe"])

    assert settings.RQ_QUEUES["transcribe"]["UNIX_SOCKET_PATH"]


def test_a_named_entry_that_is_missing_is_told(settings: Any):
    settings.PLUGSPACE_QUEUE = {"QUEUE_CONNECTION": "nowhere"}

    with pytest.raises(ImproperlyConfigured, match="nowhere"):
        conf.fill_queues(["transcribe"])


def test_rq_settings_takes_names_and_gives_the_hosts_entries_back_equal():
    queues, rq = conf.rq_settings(
        url="redis://ours:6379/1",
        task_types=["TRANSCRIBE", "SUMMARIZE"],
        base={"default": HOSTS},
        rq={"SHOW_ADMIN_LINK": True},
    )

    assert set(queues) == {"default", "transcribe", "summarize"}
    assert queues["default"] == HOSTS
    assert rq["SHOW_ADMIN_LINK"] is True
    assert queues["transcribe"]["QUEUE_CLASS"] == conf.QUEUE_CLASSES["QUEUE_CLASS"]


def test_what_the_host_has_set_before_and_sets_afterwards_stays(settings: Any):
    mail, jobs = {"URL": "redis://host:6379/4"}, {"WORKER_CLASS": "shop.Worker", "BURST": True}
    before = {"default": HOSTS, "mail": mail}
    kept = copy.deepcopy((before, jobs))

    queues, rq = conf.rq_settings(url="redis://ours:6379/1", base=before, rq=jobs)
    queues["late"] = {"URL": "redis://host:6379/5", "DEFAULT_TIMEOUT": 7}
    queues["code"] = queues["code"] | {"DEFAULT_TIMEOUT": 60}
    rq |= {"SHOW_ADMIN_LINK": True, "STOCK_JOB_CLASS": "shop.Job"}
    settings.RQ_QUEUES, settings.RQ = queues, rq
    as_set = copy.deepcopy((queues, rq))
    # As when Django starts.
    conf.fill_queues([*catalog.queue_names(), "transcribe"])

    assert (before, jobs) == kept
    assert {name: settings.RQ_QUEUES[name] for name in as_set[0]} == as_set[0]
    assert as_set[1] == settings.RQ
    assert settings.RQ["STOCK_WORKER_CLASS"] == "shop.Worker"
    assert set(settings.RQ_QUEUES) - set(as_set[0]) == {"transcribe"}


def test_starting_changes_no_entry_and_no_other_setting_of_a_host(settings: Any):
    names = [name for name in dir(settings) if name.isupper() and name != "RQ_QUEUES"]
    kept = {name: copy.deepcopy(getattr(settings, name)) for name in names}
    settings.RQ_QUEUES = {"architect": {"URL": "redis://x:1/0", "QUEUE_CLASS": "shop.Queue"}}

    apps.get_app_config("plugspace_queue").ready()

    assert settings.RQ_QUEUES["architect"] == {"URL": "redis://x:1/0", "QUEUE_CLASS": "shop.Queue"}
    assert {name: getattr(settings, name) for name in names} == kept


def test_rq_settings_refuses_a_name_that_the_host_uses():
    with pytest.raises(ImproperlyConfigured, match=r"email.*EMAIL"):
        conf.rq_settings(task_types=["EMAIL"], base={"email": HOSTS})


def test_the_check_names_the_line_that_adds_a_queue(settings: Any):
    settings.RQ_QUEUES = {n: e for n, e in settings.RQ_QUEUES.items() if n != "code"}

    (found,) = checks.queues_are_ours(None)

    assert (found.id, found.msg) == ("psq.E004", "RQ_QUEUES has no 'code'.")
    assert 'RQ_QUEUES["code"] = {**RQ_QUEUES["architect"]}' in str(found.hint)


def test_a_queue_that_the_host_uses_otherwise_is_an_error(declare: Declare, settings: Any):
    settings.RQ_QUEUES = settings.RQ_QUEUES | {"email": HOSTS}
    declare("EMAIL")

    found = checks.queues_are_ours(None)

    assert {one.id for one in found} == {"psq.E004"}
    assert "'email'" in found[0].msg
    assert "another name" in str(found[0].hint)


def test_the_home_queue_is_that_of_the_first_type_or_the_settings(settings: Any):
    assert connection.home_queue() == "architect"

    settings.PLUGSPACE_QUEUE = {"HOME_QUEUE": "export"}
    assert connection.home_queue() == "export"
    assert checks.home_queue_is_ours(None) == []

    settings.PLUGSPACE_QUEUE = {"HOME_QUEUE": "nowhere"}
    (found,) = checks.home_queue_is_ours(None)
    assert (found.id, "nowhere" in found.msg) == ("psq.E013", True)


@pytest.mark.django_db(transaction=True)
def test_keys_of_no_queue_are_on_the_server_of_the_home_queue(settings: Any, redis: Redis):
    settings.PLUGSPACE_QUEUE = {"HOME_QUEUE": "code"}
    settings.RQ_QUEUES = settings.RQ_QUEUES | {"code": settings.RQ_QUEUES["code"] | {"DB": 5}}
    make_organization("acme")

    queue_manager.add_task(**arguments())

    assert not redis.exists("plugspace:events", "plugspace:ratelimit:acme")
    assert client("code").exists("plugspace:events", "plugspace:ratelimit:acme") == 2


@pytest.mark.django_db
def test_migrate_makes_a_row_for_each_new_type(declare: Declare):
    declare("TRANSCRIBE")

    call_command("migrate", verbosity=0)

    assert QueueSettings.objects.filter(type="TRANSCRIBE").exists()
    assert QueueSettings.objects.count() == len(TaskType)


@pytest.mark.django_db
def test_declaring_types_needs_no_migration(declare: Declare):
    for number in range(60):
        declare(f"TYPE_{number}")

    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
