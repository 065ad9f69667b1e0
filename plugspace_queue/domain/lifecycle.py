"""States of a task and the one table of transitions."""

from plugspace_queue.domain.enums import State, Status
from plugspace_queue.errors import InvalidTransition
from plugspace_queue.errors import translated as _

S = State

TRANSITIONS: dict[State, frozenset[State]] = {
    S.BLOCKED: frozenset({S.WAITING, S.SCHEDULED, S.CANCELLED}),
    S.SCHEDULED: frozenset({S.WAITING, S.PROCESSING, S.CANCELLED, S.EXPIRED, S.FAILED}),
    S.WAITING: frozenset({S.PROCESSING, S.CANCELLED, S.EXPIRED, S.FAILED}),
    S.PROCESSING: frozenset(
        {S.COMPLETE, S.FAILED, S.CANCELLED, S.RETRYING, S.WAITING}  # waiting: handed back, reaped
    ),
    S.RETRYING: frozenset({S.PROCESSING, S.CANCELLED, S.FAILED}),
    S.COMPLETE: frozenset(),
    S.FAILED: frozenset({S.WAITING, S.BLOCKED}),  # retry by hand
    S.CANCELLED: frozenset({S.WAITING, S.BLOCKED}),
    S.EXPIRED: frozenset({S.WAITING, S.BLOCKED}),
}

FINAL = frozenset({S.COMPLETE, S.FAILED, S.CANCELLED, S.EXPIRED})
"""States that a task only leaves by a manual retry."""

MISSED = frozenset({S.FAILED, S.EXPIRED})
"""Endings of a step that its workflow may go on without; a cancel ends what waits for it too."""

STARTABLE = frozenset({S.WAITING, S.SCHEDULED, S.RETRYING})
"""States a granted lease may turn into processing."""

STATUSES: dict[State, Status] = {
    S.BLOCKED: Status.PENDING,
    S.SCHEDULED: Status.PENDING,
    S.WAITING: Status.PENDING,
    S.PROCESSING: Status.PROCESSING,
    S.RETRYING: Status.RETRYING,
    S.COMPLETE: Status.COMPLETE,
    S.FAILED: Status.FAILED,
    S.CANCELLED: Status.FAILED,
    S.EXPIRED: Status.FAILED,
}


def require(source: State, target: State) -> None:
    """Raise InvalidTransition unless the table knows source → target.

    >>> require(State.WAITING, State.PROCESSING)
    >>> require(State.COMPLETE, State.WAITING)
    Traceback (most recent call last):
    ...
    plugspace_queue.errors.InvalidTransition: complete → waiting is not a transition
    """
    if target not in TRANSITIONS[source]:
        raise InvalidTransition(
            _("%(source)s → %(target)s is not a transition") % {"source": source, "target": target}
        )


def status_of(state: State | str) -> Status:
    """The public status of a state.

    >>> status_of(State.BLOCKED).value, status_of("expired").value
    ('pending', 'failed')
    """
    return STATUSES[State(state)]


def states_of(status: Status | str) -> frozenset[State]:
    """All states that show as this status.

    >>> sorted(states_of("failed"))
    [<State.CANCELLED: 'cancelled'>, <State.EXPIRED: 'expired'>, <State.FAILED: 'failed'>]
    """
    return frozenset(state for state, shown in STATUSES.items() if shown == Status(status))
