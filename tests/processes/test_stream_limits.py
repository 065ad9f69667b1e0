"""How many streams a process keeps open per owner, and when it ends those without permission."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.models import ApiKey, Membership
from tests.factories import arguments, make_organization
from tests.processes.web import Stream, Web, limits, serving
from tests.support import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120), pytest.mark.slow]

Serve = Callable[..., Web]
Open = Callable[..., Stream]


@pytest.fixture
def serve(transactional_db: None, tmp_path: Path) -> Iterator[Serve]:
    """A server with the limits that are given."""
    with ExitStack() as servers:
        yield lambda **given: servers.enter_context(
            serving(tmp_path / "web.log", **limits(**given))
        )


@pytest.fixture
def stream() -> Iterator[Open]:
    """A client of an organization's events; it has connected once, whatever the answer was."""
    made: list[Stream] = []

    def connect(web: Web, organization_id: str = "acme", **who: str) -> Stream:
        made.append(Stream(web, f"organizations/{organization_id}/events/", **who))
        made[-1].open()
        return made[-1]

    yield connect
    for client in made:
        client.close()


def key_of(organization_id: str = "acme") -> str:
    return ApiKey.issue(make_organization(organization_id), ["read"])[1]


def refusal(stream: Stream) -> tuple[int, dict[str, Any]]:
    """Status and problem of an answer that is no stream, and that says when to try again."""
    answer = stream.answer
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["RateLimit-Limit"] is None
    return answer.status, json.loads(answer.read())


def is_open(stream: Stream) -> bool:
    return stream.answer.status == 200


def test_a_key_and_an_organization_hold_so_many_streams_and_others_still_get_theirs(
    serve: Serve, stream: Open
):
    web = serve(streams=20, streams_per_organization=3, streams_per_key=2)
    first, second = key_of(), key_of()

    held = [stream(web, key=first), stream(web, key=first)]
    of_key = stream(web, key=first)
    held.append(stream(web, key=second))
    of_organization = stream(web, key=second)
    rival = stream(web, "rival", key=key_of("rival"))

    assert all(map(is_open, [*held, rival]))
    status, problem = refusal(of_key)
    assert (status, problem["code"]) == (429, "REQUEST_RATE_LIMITED")
    assert (problem["limitOf"], problem["limit"]) == ("key", 2)
    status, problem = refusal(of_organization)
    assert (status, problem["code"]) == (429, "REQUEST_RATE_LIMITED")
    assert (problem["limitOf"], problem["limit"]) == ("organization", 3)
    held[0].close()
    wait_until(lambda: of_key.open().status == 200, 10, "a stream that was closed still counts")


def test_one_user_holds_so_many_streams_too(serve: Serve, stream: Open):
    web = serve(streams_per_key=1)
    make_organization("acme")
    user = get_user_model().objects.create_user("ann")
    Membership.objects.create(organization_id="acme", user=user)
    cookie = session_of(user)

    assert is_open(stream(web, cookie=cookie))
    status, problem = refusal(stream(web, cookie=session_of(user)))

    assert (status, problem["limitOf"]) == (429, "user")


def test_one_organization_never_takes_all_streams_of_a_process(serve: Serve, stream: Open):
    web = serve(streams=5, reserved=0.4)
    greedy = key_of()

    taken = [stream(web, key=greedy) for _ in range(5)]
    victims = [stream(web, name, key=key_of(name)) for name in ("beta", "gamma", "delta")]

    assert [is_open(each) for each in taken] == [True] * 3 + [False] * 2
    status, problem = refusal(taken[-1])
    assert (status, problem["code"]) == (503, "UNAVAILABLE")
    assert "with few open streams" in problem["detail"]
    assert [is_open(each) for each in victims] == [True, True, False]
    status, problem = refusal(victims[-1])
    assert (status, problem["code"]) == (503, "UNAVAILABLE")
    assert "no room" in problem["detail"]
    victims[0].close()
    wait_until(lambda: victims[-1].open().status == 200, 10, "a free place is not given")


def session_of(user: Any) -> str:
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


def test_a_lost_permission_ends_its_streams_and_no_others(serve: Serve, stream: Open):
    web = serve()
    losses = [loss(web, stream) for loss in LOSSES]
    other = stream(web, "rival", key=key_of("rival"))
    assert all(is_open(each) for each, _, _ in losses)

    for _, take_away, _ in losses:
        take_away()
    ends = [(each.next()[1:], each.next()) for each, _, _ in losses]
    task = queue_manager.add_task(**arguments(organization_id="rival"))

    assert ends == [(("end", {"reason": "forbidden"}), ("", "", None))] * len(losses)
    assert [each.open().status for each, _, _ in losses] == [status for _, _, status in losses]
    assert other.take(1) == ["taskAdded"]
    assert other.events[0][2]["jobId"] == str(task.pk)


Loss = tuple[Stream, Callable[[], object], int]


def _key(web: Web, stream: Open, **change: Any) -> Loss:
    row, secret = ApiKey.issue(make_organization("acme"), ["read"])
    rows = ApiKey.objects.filter(pk=row.pk)
    status = 403 if "scopes" in change else 401
    return stream(web, key=secret), lambda: rows.update(**change), status


def revoked_key(web: Web, stream: Open) -> Loss:
    return _key(web, stream, revoked_at=timezone.now())


def expired_key(web: Web, stream: Open) -> Loss:
    return _key(web, stream, expires_at=timezone.now() - timedelta(seconds=1))


def key_without_its_scope(web: Web, stream: Open) -> Loss:
    return _key(web, stream, scopes=["submit"])


def suspended_organization(web: Web, stream: Open) -> Loss:
    key = key_of("gamma")
    suspend = partial(queue_manager.change_organization, "gamma", {"is_suspended": True})
    return stream(web, "gamma", key=key), suspend, 403


def lost_membership(web: Web, stream: Open) -> Loss:
    user = get_user_model().objects.create_user("member")
    row = Membership.objects.create(organization=make_organization("acme"), user=user)
    return stream(web, cookie=session_of(user)), row.delete, 403


def deactivated_user(web: Web, stream: Open) -> Loss:
    user = get_user_model().objects.create_user("former")
    Membership.objects.create(organization=make_organization("acme"), user=user)
    users = get_user_model().objects.filter(pk=user.pk)
    return stream(web, cookie=session_of(user)), lambda: users.update(is_active=False), 401


def staff_without_its_permission(web: Web, stream: Open) -> Loss:
    user = get_user_model().objects.create_user("operator", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_task"))
    return stream(web, cookie=session_of(user)), user.user_permissions.clear, 403


LOSSES = (
    revoked_key,
    expired_key,
    key_without_its_scope,
    suspended_organization,
    lost_membership,
    deactivated_user,
    staff_without_its_permission,
)
