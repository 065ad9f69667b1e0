"""What a project's own authentication tells the API about a request."""

from dataclasses import dataclass

from plugspace_queue.domain.enums import Role


@dataclass(frozen=True)
class Tenant:
    """Who sent a request: the answer of the callable that `TENANT_OF_REQUEST` names."""

    organization_id: str
    """1 to 64 letters, digits, - or _."""

    user_id: str
    """Whose the tasks are; 1 to 128 characters."""

    role: Role | str
    """"viewer" looks, "member" submits as well, "admin" cancels and retries as well."""

    csrf_checked: bool = False
    """The credential is no cookie, or its CSRF token was checked: ours is not asked for."""

    create: bool = False
    """Make the organization when it is missing."""
