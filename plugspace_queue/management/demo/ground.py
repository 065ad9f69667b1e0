"""What the demo stands on: a server, a migrated database, an admin, four organizations, a key."""

import secrets
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.utils import timezone

from plugspace_queue import embedded
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import ApiKey, Organization
from plugspace_queue.types import Scope, Tier

ADMIN = "admin"
KEY_NAME = "queue_demo"
ORGANIZATIONS = {tier: f"demo-{tier.value}" for tier in Tier}


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Made anew in each run, printed once."""

    password: str
    api_key: str


def uses_embedded() -> bool:
    """Whether the queues live on the embedded server."""
    queue = settings.RQ_QUEUES.get("architect", {})
    return bool(queue.get("UNIX_SOCKET_PATH") == embedded.socket_path())


def start_embedded() -> bool:
    """Make the embedded server run, if it is the one; True when this call started it."""
    if not uses_embedded() or embedded.is_running():
        return False
    embedded.ensure_running()
    return True


def migrate() -> None:
    """Bring the database to the present schema."""
    call_command("migrate", verbosity=0, interactive=False)


def create_admin() -> str:
    """A superuser with a new password, which is returned."""
    users = get_user_model()
    password = secrets.token_urlsafe(9)
    named: dict[str, Any] = {users.USERNAME_FIELD: ADMIN}
    admin, _ = users._default_manager.get_or_create(**named)
    admin.set_password(password)
    for right in ("is_staff", "is_superuser"):
        setattr(admin, right, True)
    admin.save()
    return password


def create_organizations() -> None:
    """One organization of each tier."""
    for tier, organization_id in ORGANIZATIONS.items():
        name = f"Demo {tier.value.title()}"
        queue_manager.set_organization(organization_id, tier=tier.value, name=name)


def issue_key(organization_id: str) -> str:
    """A new API key; those of earlier runs are revoked, nobody knows them any more."""
    now = timezone.now()
    old = ApiKey.objects.valid(now).filter(organization_id=organization_id, name=KEY_NAME)
    old.update(revoked_at=now)
    organization = Organization.objects.get(pk=organization_id)
    _, text = ApiKey.issue(organization, [scope.value for scope in Scope], name=KEY_NAME)
    return text
