"""Idempotency keys: the first submit with a key is stored, later equal ones return its result."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from django.db import IntegrityError, router, transaction
from django.utils.translation import gettext as _

from plugspace_queue.errors import IdempotencyConflict, Unavailable
from plugspace_queue.limits.request_limit import RequestsLeft
from plugspace_queue.models import IdempotencyKey

Subject = TypeVar("Subject")

BATCH = 500
"""Most keys looked up in one statement."""


class SubmitResult(NamedTuple, Generic[Subject]):
    """The result of a submit; `is_replay` when an earlier one with the same key stored it."""

    subject: Subject
    is_replay: bool
    window: RequestsLeft | None = None
    """The requests that the organization has left; None for a call that was not counted."""


def run_once(
    row: IdempotencyKey,
    find: Callable[[IdempotencyKey], Subject],
    store: Callable[[], Subject],
) -> SubmitResult[Subject]:
    """Call `store` unless the key was used; of concurrent callers one stores, the others find it.

    `row` is the unsaved key. Raises IdempotencyConflict when the key was used with other
    arguments. The caller's transaction stays usable in either case.
    """
    known = _known(row)
    if known is None:
        try:
            # The key is inserted first, so that other callers wait before anything is reserved.
            with transaction.atomic(using=router.db_for_write(IdempotencyKey)):
                take([row])
                return SubmitResult(store(), is_replay=False)
        except KeyTaken as error:
            known = _known(row)
            if known is None:
                raise Unavailable(_("A submit with the same key is under way.")) from error
    _require_same(known, row)
    return SubmitResult(find(known), is_replay=True)


class KeyTaken(Exception):
    """Another caller took the key first; roll back the savepoint around `take`."""


def take(rows: Sequence[IdempotencyKey]) -> None:
    """Insert unused keys, in a fixed order to avoid deadlocks.

    Waits for other callers with the same keys; raises KeyTaken if one of them commits.
    """
    try:
        IdempotencyKey.objects.bulk_create(
            sorted(rows, key=lambda row: (row.organization_id, row.key))
        )
    except IntegrityError as error:
        raise KeyTaken from error


def used(keys: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """The (organization, key) pairs that are used already."""
    by_organization: dict[str, list[str]] = defaultdict(list)
    for organization_id, key in keys:
        by_organization[organization_id].append(key)
    return {
        (organization_id, key)
        for organization_id, asked in by_organization.items()
        for at in range(0, len(asked), BATCH)
        for key in IdempotencyKey.objects.filter(
            organization_id=organization_id, key__in=asked[at : at + BATCH]
        ).values_list("key", flat=True)
    }


def unused(rows: Sequence[IdempotencyKey]) -> list[IdempotencyKey]:
    """The unsaved rows, all of one key, whose organization has not used the key.

    Raises IdempotencyConflict if it was used with other arguments.
    """
    by_organization = {row.organization_id: row for row in rows}
    found = IdempotencyKey.objects.filter(
        organization_id__in=by_organization, key__in={row.key for row in rows}
    )
    for known in found if rows else ():
        _require_same(known, by_organization.pop(known.organization_id))
    return list(by_organization.values())


def _known(row: IdempotencyKey) -> IdempotencyKey | None:
    found = IdempotencyKey.objects.filter(organization_id=row.organization_id, key=row.key)
    return found.select_related("task", "workflow").first()


def _require_same(known: IdempotencyKey, row: IdempotencyKey) -> None:
    if known.fingerprint != row.fingerprint:
        message = (
            _(
                "The idempotency key %(key)r was used before with other arguments, for the task"
                " %(id)s; take a new key."
            )
            if known.task_id
            else _(
                "The idempotency key %(key)r was used before with other arguments, for the workflow"
                " %(id)s; take a new key."
            )
        )
        raise IdempotencyConflict(
            message % {"key": row.key, "id": known.task_id or known.workflow_id},
            key=row.key,
            task_id=str(known.task_id) if known.task_id else None,
            workflow_id=str(known.workflow_id) if known.workflow_id else None,
        )
