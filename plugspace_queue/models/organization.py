"""Tenants: the organization, its members, its API keys."""

import hashlib
import secrets
from datetime import datetime
from typing import Any, Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.domain.enums import Role, Scope
from plugspace_queue.domain.ids import SYSTEM
from plugspace_queue.models.tier import TierPolicy

KEY_PREFIX = "psq_"
"""How every API key begins."""

ORGANIZATION_ID = r"^[A-Za-z0-9_-]{1,64}$"

ROLE_CHOICES = [(role.value, role.value) for role in Role]


def validate_tenant(organization_id: str) -> None:
    """Any organization but the reserved one, for which there are no credentials."""
    if organization_id == SYSTEM:
        raise ValidationError(
            _("%(system)s is reserved for work without a tenant.") % {"system": SYSTEM}
        )


class Organization(models.Model):
    """A tenant. Without a tier it has free's quotas and limits."""

    id = models.CharField(
        primary_key=True, max_length=64, validators=[RegexValidator(ORGANIZATION_ID)]
    )
    name = models.CharField(max_length=200, blank=True)
    tier = models.ForeignKey(
        TierPolicy, on_delete=models.PROTECT, null=True, blank=True, related_name="organizations"
    )
    is_suspended = models.BooleanField(
        default=False, help_text=gettext_lazy("Can read, cannot submit.")
    )
    is_paused = models.BooleanField(
        default=False, help_text=gettext_lazy("Its waiting tasks stay where they are.")
    )
    paused_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name or self.id


class Membership(models.Model):
    """A user of the project who acts for an organization."""

    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="memberships"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="queue_memberships"
    )
    role = models.CharField(max_length=16, choices=ROLE_CHOICES, default=Role.MEMBER)

    class Meta:
        ordering = ["organization_id", "user_id"]
        constraints = [
            models.UniqueConstraint(fields=["organization", "user"], name="psq_membership_once"),
            models.CheckConstraint(
                condition=models.Q(role__in=[role.value for role in Role]),
                name="psq_membership_role_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.organization_id} ({self.role})"

    def clean(self) -> None:
        validate_tenant(self.organization_id)


def validate_scopes(scopes: Any) -> None:
    """A list of known scopes, at least one."""
    known = {scope.value for scope in Scope}
    if not isinstance(scopes, list) or not scopes or not set(scopes) <= known:
        raise ValidationError(
            _("Scopes are a list out of %(names)s.") % {"names": ", ".join(sorted(known))}
        )


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def valid(self, now: datetime) -> Self:
        """Keys neither revoked nor expired at `now`."""
        open_ended = models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=now)
        return self.filter(open_ended, revoked_at__isnull=True)


class ApiKey(models.Model):
    """A credential of one organization. Only its hash is stored."""

    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="api_keys"
    )
    name = models.CharField(max_length=100, blank=True)
    prefix = models.CharField(max_length=16, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list, validators=[validate_scopes])
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = gettext_lazy("API key")
        ordering = ["organization_id", "-created_at"]

    def __str__(self) -> str:
        return f"{self.prefix}… of {self.organization_id}"

    def clean(self) -> None:
        validate_tenant(self.organization_id)

    @staticmethod
    def digest_of(key: str) -> str:
        """What is stored of a key: keys are random, so a plain SHA-256 is enough."""
        return hashlib.sha256(key.encode()).hexdigest()

    @classmethod
    def issue(
        cls, organization: Organization, scopes: list[str], **fields: Any
    ) -> tuple["ApiKey", str]:
        """A new key's row and its text, which is never to be seen again."""
        secret = f"{KEY_PREFIX}{secrets.token_urlsafe(32)}"
        row = cls(
            organization=organization,
            scopes=scopes,
            prefix=secret[:12],
            digest=cls.digest_of(secret),
            **fields,
        )
        row.full_clean()
        row.save(force_insert=True)
        return row, secret
