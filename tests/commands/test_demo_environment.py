"""The demo's admin: its own user, never somebody else's, and not in production."""

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from project.demo import environment

pytestmark = pytest.mark.django_db
User = get_user_model()


def test_a_fresh_database_gets_the_user_admin_in_every_run_with_a_new_password():
    environment.create_organizations()

    first, second = environment.create_admin(), environment.create_admin()

    assert (first.user, second.user) == ("admin", "admin")
    assert not User.objects.get().check_password(first.password)
    assert User.objects.get().check_password(second.password)
    assert User.objects.get().is_superuser


def test_an_admin_of_somebody_elses_is_left_alone():
    theirs = User.objects.create_user("admin", password="their own")
    environment.create_organizations()

    made = [environment.create_admin() for _ in range(2)]

    assert [login.user for login in made] == ["demo-admin", "demo-admin"]
    theirs.refresh_from_db()
    assert theirs.check_password("their own")
    assert not theirs.is_superuser


def test_where_both_names_are_taken_the_demo_says_so():
    for name in ("admin", "demo-admin"):
        User.objects.create_user(name)
    environment.create_organizations()

    with pytest.raises(CommandError, match="demo-admin"):
        environment.create_admin()


def test_without_debug_there_is_no_demo(settings):
    settings.DEBUG = False

    with pytest.raises(CommandError, match="DEBUG=1"):
        call_command("queue_demo")

    assert not User.objects.exists()
