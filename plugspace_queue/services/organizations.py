"""Creates and changes organizations, one or a whole list at once."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from plugspace_queue.domain.ids import SYSTEM
from plugspace_queue.errors import ValidationRefused
from plugspace_queue.limits.policies import is_organization_id
from plugspace_queue.models import Organization, tenancy_queries
from plugspace_queue.publishing import projections
from plugspace_queue.schemas.refusals import refuse
from plugspace_queue.services import arguments
from plugspace_queue.services.lookup import organization_of
from plugspace_queue.services.submission import alias

LONGEST_NAME = 200
FIELDS = {"id", "tier", "name"}
CHANGEABLE = {"tier", "name", "is_suspended"}
BATCH = 500


def set_organization(
    organization_id: str, *, tier: str | None = None, name: str = ""
) -> Organization:
    """Create or change an organization; omitted values stay as they are, tier "" removes the tier.

    Raises ValidationRefused.
    """
    _require_id(organization_id)
    changes = _changes(tier, name, _known_tiers())
    with transaction.atomic(using=alias()):
        tenancy_queries.keep_organization(organization_id, changes)
    return organization_of(organization_id)


def change_organization(organization_id: object, changes: Mapping[str, Any]) -> Organization:
    """Change some of an organization's tier (None: none), name and is_suspended.

    Raises OrganizationUnknown, ValidationRefused.
    """
    for field in set(changes) - CHANGEABLE:
        refuse(str(field), _("is not known"))
    with transaction.atomic(using=alias()):
        row = organization_of(organization_id)
        columns = _columns(changes, _known_tiers())
        for field, value in columns.items():
            setattr(row, field, value)
        if columns:
            row.save(update_fields=list(columns))
    return organization_of(organization_id)


def set_organizations(rows: Iterable[Mapping[str, Any]]) -> int:
    """Create or change many, all or none, from mappings with id, tier and name; return how many.

    Unlike in `set_organization`, an omitted tier or name is removed. Raises ValidationRefused with
    the row's index in `details["index"]`.
    """
    tiers = _known_tiers()
    wanted = {
        row.pk: row for row in (_row(index, given, tiers) for index, given in enumerate(rows))
    }
    with transaction.atomic(using=alias()):
        tenancy_queries.keep_organizations(wanted.values())
        projections.write_tiers_on_commit(wanted.values())
    return len(wanted)


@dataclass(frozen=True)
class SyncResult:
    """How many organizations a sync made, changed, and found to be as they should."""

    created: int
    changed: int
    unchanged: int


def sync_organizations(rows: Iterable[Mapping[str, Any] | str]) -> SyncResult:
    """Make what is missing and change what differs, all or none; nothing is removed.

    Rows are ids, or mappings with `id` and any of tier, name and is_suspended; what one omits
    stays. Ids may be integers or UUIDs. Raises ValidationRefused with the row's index in
    `details["index"]`.
    """
    tiers = _known_tiers()
    wanted: dict[str, dict[str, Any]] = {}
    for index, given in enumerate(rows):
        organization_id, columns = _with_index(index, given, tiers)
        wanted.setdefault(organization_id, {}).update(columns)
    with transaction.atomic(using=alias()):
        return _synced(wanted)


def _with_index(index: int, given: object, tiers: set[str]) -> tuple[str, dict[str, Any]]:
    try:
        row = dict(given) if isinstance(given, Mapping) else {"id": given}
        for field in set(row) - {"id", *CHANGEABLE}:
            refuse(str(field), _("is not known"))
        organization_id = row.pop("id", None)
        if type(organization_id) is int or isinstance(organization_id, uuid.UUID):
            organization_id = str(organization_id)
        _require_id(organization_id)
        return str(organization_id), _columns(row, tiers)
    except ValidationRefused as error:
        error.details["index"] = index
        raise


def _synced(wanted: Mapping[str, dict[str, Any]]) -> SyncResult:
    ids = list(wanted)
    missing: list[Organization] = []
    differing: list[Organization] = []
    known = tenancy_queries.known_organizations(ids)
    for organization_id, columns in wanted.items():
        row = known.get(organization_id)
        if row is None:
            missing.append(Organization(id=organization_id, **columns))
        elif any(getattr(row, column) != value for column, value in columns.items()):
            for column, value in columns.items():
                setattr(row, column, value)
            differing.append(row)
    tenancy_queries.write_organizations(missing, differing)
    projections.write_tiers_on_commit([*missing, *differing])
    unchanged = len(ids) - len(missing) - len(differing)
    return SyncResult(len(missing), len(differing), unchanged)


def _row(index: int, given: Mapping[str, Any], tiers: set[str]) -> Organization:
    try:
        for field in set(given) - FIELDS:
            refuse(str(field), _("is not known"))
        _require_id(given.get("id"))
        fields = _changes(given.get("tier"), given.get("name") or "", tiers)
        return Organization(id=given["id"], **fields)
    except ValidationRefused as error:
        error.details["index"] = index
        raise


def _require_id(organization_id: object) -> None:
    if not is_organization_id(organization_id):
        refuse("id", _("must be 1 to 64 letters, digits, - or _"))
    if organization_id == SYSTEM:
        refuse("id", _("%(system)s is reserved for work without a tenant") % {"system": SYSTEM})


def _columns(changes: Mapping[str, Any], tiers: set[str]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if "tier" in changes:
        given = changes["tier"]
        columns |= _changes("" if given is None else given, "", tiers)
    if "name" in changes:
        given = changes["name"]
        columns["name"] = given if given == "" else arguments.name("name", given, LONGEST_NAME)
    if "is_suspended" in changes:
        columns["is_suspended"] = arguments.truth("is_suspended", changes["is_suspended"])
    return columns


def _changes(tier: object, name: object, tiers: set[str]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if tier is not None:
        if tier != "" and str(tier) not in tiers:
            refuse("tier", _("must be one of %(names)s") % {"names": ", ".join(sorted(tiers))})
        changes["tier_id"] = str(tier) or None
    if name:
        changes["name"] = arguments.name("name", name, LONGEST_NAME)
    return changes


def _known_tiers() -> set[str]:
    return tenancy_queries.tier_slugs()
