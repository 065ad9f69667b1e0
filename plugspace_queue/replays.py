"""Idempotency keys: the first submit with a key is done, equal ones later get its outcome."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

from django.db import IntegrityError, router, transaction

from plugspace_queue.errors import IdempotencyConflict, Unavailable
from plugspace_queue.models import IdempotencyKey

Subject = TypeVar("Subject")


class Submitted(NamedTuple, Generic[Subject]):
    """What a submit stands for; `is_replay` when an earlier one with the same key did it."""

    subject: Subject
    is_replay: bool


def once(
    row: IdempotencyKey,
    find: Callable[[IdempotencyKey], Subject],
    store: Callable[[], Subject],
) -> Submitted[Subject]:
    """Do `store` unless the key was used; of racing callers one stores, the others get its row.

    `row` is the unsaved key. Raises IdempotencyConflict when the key was used with other
    arguments. The caller's transaction stays usable in either case.
    """
    known = _known(row)
    if known is None:
        try:
            # The key goes first: who races waits here, before anything is reserved.
            with transaction.atomic(using=router.db_for_write(IdempotencyKey)):
                with _taken_key():
                    row.save(force_insert=True)
                return Submitted(store(), is_replay=False)
        except _KeyTaken as error:
            known = _known(row)
            if known is None:
                raise Unavailable("A submit with the same key is under way.") from error
    _require_same(known, row)
    return Submitted(find(known), is_replay=True)


class _KeyTaken(Exception):
    """Somebody else was first."""


@contextmanager
def _taken_key() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise _KeyTaken from error


def _known(row: IdempotencyKey) -> IdempotencyKey | None:
    found = IdempotencyKey.objects.filter(organization_id=row.organization_id, key=row.key)
    return found.select_related("task", "workflow").first()


def _require_same(known: IdempotencyKey, row: IdempotencyKey) -> None:
    if known.fingerprint != row.fingerprint:
        raise IdempotencyConflict(
            f"The idempotency key {row.key!r} was used before with other arguments; take a new"
            " key.",
            key=row.key,
        )
