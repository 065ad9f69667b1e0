"""Where the events of a commit go when each queue may have its own Redis server."""

from collections.abc import Sequence

from plugspace_queue.broker.connection import client
from plugspace_queue.broker.task_store import Note
from plugspace_queue.worker import templates
from plugspace_queue.worker.commit import CommitBatch
from plugspace_queue.worker.state import Announce, Settle

Message = Settle | Announce


def starts_elsewhere(batch: CommitBatch) -> list[Note]:
    """Events of starts whose queue is on another server than the event stream.

    The follow-up thread appends them before the events of endings, so that a task's events keep
    their order and the loop never waits for the stream's server.
    """
    away = {held.queue for held in batch.guarded if not _has_stream(held.queue)}
    started = [one.execution for one in batch.guarded if one.queue in away and one.execution]
    return [Note(one.task_id, event=templates.started_event(one)) for one in started]


def split_events_by_server(messages: Sequence[Message]) -> tuple[list[Message], list[Note]]:
    """Split off the events of queues that are not on the event stream's Redis server.

    On the stream's server, a settle writes its event atomically. Events of queues on other servers
    are appended separately after the commit; while the stream's server is unavailable they are
    lost to listeners.
    """
    elsewhere: list[Note] = []
    queues = {one.queue if isinstance(one, Announce) else one.held.queue for one in messages}
    here = {queue for queue in queues if _has_stream(queue)}
    if here == queues:
        return list(messages), elsewhere
    return [_as_server_gets(one, here, elsewhere) for one in messages], elsewhere


def _has_stream(queue: str) -> bool:
    """Whether the queue's server also holds the event stream."""
    return client(queue) is client()


def _as_server_gets(one: Message, here: set[str], elsewhere: list[Note]) -> Message:
    if isinstance(one, Announce):
        if one.queue in here:
            return one
        elsewhere += [Note(note.task_id, event=note.event) for note in one.notes if note.event]
        notes = [note._replace(event=None) for note in one.notes if note.snapshot]
        return one._replace(notes=notes)
    if one.held.queue in here:
        return one
    if one.settlement.event:
        elsewhere.append(_ending(one))
    return one._replace(settlement=one.settlement._replace(event=None))


def _ending(message: Settle) -> Note:
    """The event of an ending, with the result that it tells."""
    settled = message.settlement
    lease = message.held.lease
    note = Note(settled.task_id, event=settled.event, organization_id=lease.organization_id)
    if not settled.tells_result:
        return note
    return note._replace(result=settled.result or "", is_large=settled.is_large)
