"""Who may do what: the one table that the admin, the API, RQ's pages and `queue_roles` read.

Staff need Django's permission and see every organization. Members and keys act for their own
organization only: a member by its role, a key by its scopes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from plugspace_queue.domain.enums import Role, Scope

APP = "plugspace_queue"

VIEW = "view_task"
OPERATE = "operate_queue"
ADMINISTER = "administer_queue"

OWN_PERMISSIONS = (
    (OPERATE, "Can retry and cancel tasks, pause, resume and limit queues"),
    (ADMINISTER, "Can change tiers, organizations, members, API keys and policies"),
)
"""What Django must add to the permissions it makes for every model."""


class Verb(StrEnum):
    """What can be done, whatever the surface."""

    VIEW = "view"
    """Look at tasks, workflows, queues and usage: of the own organization, staff of all."""
    VIEW_FLEET = "view_fleet"
    """Look at what belongs to no organization: the admin's pages, RQ's pages, `/metrics`."""
    SUBMIT = "submit"
    CANCEL = "cancel"
    RETRY = "retry"
    PAUSE = "pause"
    """Pause and resume a queue or an organization."""
    LIMIT = "limit"
    """Change slots, caps and limiter of a queue."""
    STOP_WORKER = "stop_worker"
    TRIAGE = "triage"
    """Mute, resolve and reopen a group of failures."""
    PRESS_RQ = "press_rq"
    """Press a button on RQ's pages."""
    SET_POLICY = "set_policy"
    """Change policy and default priority of a queue."""
    SET_ORGANIZATION = "set_organization"
    """Change tier, name and suspension of an organization."""
    GRANT = "grant"
    """Grant tasks beside a quota, or put another quota in its place."""
    SET_MEMBERS = "set_members"
    SET_TIERS = "set_tiers"
    """Change what a tier grants."""
    SET_KEYS = "set_keys"
    """Issue and revoke API keys."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may do one thing."""

    permission: str
    """Of staff; a codename."""
    roles: frozenset[Role] = frozenset()
    scopes: frozenset[Scope] = frozenset()
    """Of an API key; one of them is enough."""


_ADMIN_MEMBERS = frozenset({Role.ADMIN})
_OPERATE_KEYS = frozenset({Scope.OPERATE})

TABLE: Mapping[Verb, Rule] = {
    Verb.VIEW: Rule(VIEW, frozenset(Role), frozenset({Scope.READ})),
    Verb.VIEW_FLEET: Rule(VIEW),
    Verb.SUBMIT: Rule(OPERATE, frozenset({Role.MEMBER, Role.ADMIN}), frozenset({Scope.SUBMIT})),
    Verb.CANCEL: Rule(OPERATE, _ADMIN_MEMBERS, _OPERATE_KEYS),
    Verb.RETRY: Rule(OPERATE, _ADMIN_MEMBERS, _OPERATE_KEYS),
    Verb.PAUSE: Rule(OPERATE),
    Verb.LIMIT: Rule(OPERATE),
    Verb.STOP_WORKER: Rule(OPERATE),
    Verb.TRIAGE: Rule(OPERATE),
    Verb.PRESS_RQ: Rule(OPERATE),
    Verb.SET_POLICY: Rule(ADMINISTER),
    Verb.SET_ORGANIZATION: Rule(ADMINISTER),
    Verb.GRANT: Rule(ADMINISTER),
    Verb.SET_MEMBERS: Rule(ADMINISTER),
    Verb.SET_TIERS: Rule(ADMINISTER),
    Verb.SET_KEYS: Rule(ADMINISTER),
}

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Queue viewer": (VIEW,),
    "Queue operator": (VIEW, OPERATE),
    "Queue admin": (VIEW, OPERATE, ADMINISTER),
}
"""The groups that `queue_roles` makes, with their permissions."""


class User(Protocol):
    """The part of Django's user that is used here."""

    def has_perm(self, perm: str, /) -> bool: ...


def staff_may(user: User, verb: Verb) -> bool:
    """Whether a user who is staff may do it; the caller has made sure of that.

    Every verb also needs the view permission: without it the API does not treat a user as staff.
    """
    needed = {VIEW, TABLE[verb].permission}
    return all(user.has_perm(f"{APP}.{codename}") for codename in needed)


def verbs_of_staff(user: User) -> frozenset[Verb]:
    """What a user who is staff may do to every organization."""
    return frozenset(verb for verb in Verb if staff_may(user, verb))


def verbs_of_role(role: Role) -> frozenset[Verb]:
    """What a member may do for its organization.

    >>> Verb.SUBMIT in verbs_of_role(Role.MEMBER), Verb.CANCEL in verbs_of_role(Role.MEMBER)
    (True, False)
    """
    return frozenset(verb for verb, rule in TABLE.items() if role in rule.roles)


def verbs_of_scopes(scopes: Iterable[Scope]) -> frozenset[Verb]:
    """What an API key with these scopes may do for its organization.

    >>> sorted(verbs_of_scopes([Scope.OPERATE]))
    [<Verb.CANCEL: 'cancel'>, <Verb.RETRY: 'retry'>]
    """
    held = frozenset(scopes)
    return frozenset(verb for verb, rule in TABLE.items() if rule.scopes & held)
