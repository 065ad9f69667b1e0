"""What the demo needs: a server, a migrated database, four organizations, an admin, a key."""

import secrets
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from plugspace_queue import queue_manager
from plugspace_queue.conf import embedded_redis

# The second when another user has the first.
ADMINS = ("admin", "demo-admin")
KEY_NAME = "queue_demo"
ORGANIZATIONS = {tier: f"demo-{tier}" for tier in ("free", "starter", "professional", "enterprise")}
HOME = ORGANIZATIONS["enterprise"]
"""The organization of the scenario, and of the admin."""


@dataclass(frozen=True, kw_only=True)
class Login:
    """A user of the admin; the password is made anew in each run."""

    user: str
    password: str


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Printed once."""

    login: Login
    api_key: str


def refuse_production() -> None:
    """Raise CommandError unless DEBUG is on."""
    if not settings.DEBUG:
        raise CommandError(
            "The demo makes a superuser and organizations in the database of these settings: it "
            "runs with DEBUG=1 only."
        )


def uses_embedded() -> bool:
    """Whether the queues live on the embedded server."""
    queue = settings.RQ_QUEUES.get("architect", {})
    return bool(queue.get("UNIX_SOCKET_PATH") == embedded_redis.socket_path())


def start_embedded() -> bool:
    """Make the embedded server run, if it is the one; True when this call started it."""
    if not uses_embedded() or embedded_redis.is_running():
        return False
    embedded_redis.ensure_running()
    return True


def migrate() -> None:
    """Bring the database to the present schema."""
    call_command("migrate", verbosity=0, interactive=False)


def create_admin() -> Login:
    """A superuser with a new password: of an earlier run, or new.

    Nobody else's user is touched: ours is known by its membership in the demo's organization.
    Raises CommandError when both names are somebody else's.
    """
    user = next(filter(None, map(_our_user, ADMINS)), None)
    if user is None:
        raise CommandError(
            f"The users {' and '.join(ADMINS)} are there and not the demo's: take another database."
        )
    password = secrets.token_urlsafe(9)
    user.set_password(password)
    for right in ("is_staff", "is_superuser"):
        setattr(user, right, True)
    user.save()
    queue_manager.set_member(HOME, user, role="admin")
    return Login(user=user.get_username(), password=password)


def _our_user(name: str) -> Any:
    """The demo's user of this name, unsaved when there is none; None when it is not the demo's."""
    users = get_user_model()
    named: dict[str, Any] = {users.USERNAME_FIELD: name}
    user = users._default_manager.filter(**named).first()
    if user is None:
        return users(**named)
    return user if user.queue_memberships.filter(organization_id=HOME).exists() else None


def create_organizations() -> None:
    """One organization of each tier."""
    for tier, organization_id in ORGANIZATIONS.items():
        name = f"Demo {tier.title()}"
        queue_manager.set_organization(organization_id, tier=tier, name=name)


def issue_key(organization_id: str) -> str:
    """A new API key; those of earlier runs are revoked, nobody knows them any more."""
    queue_manager.revoke_keys(organization_id, name=KEY_NAME)
    scopes = ("read", "submit", "operate")
    _, text = queue_manager.create_key(organization_id, scopes=scopes, name=KEY_NAME)
    return text
